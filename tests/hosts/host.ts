/**
 * What a host to try setups on has to offer. There are two: the simulated one, which needs nothing but Linux
 * namespaces, and the lab's, with real LXC containers. The cases use a host through this interface only, so that each
 * case says the same of both.
 *
 * @module
 */

/** A container to create. */
export interface ContainerToCreate {
  /** Its id. */
  readonly ctid: number;
  /** Its host name. */
  readonly hostname: string;
  /** Its address, without the length of the prefix. Without one it has no network. */
  readonly ip?: string;
  /** Whether it starts now, and with the host from then on. Default: true. */
  readonly running?: boolean;
}

/** How a command on the host ended. */
export interface Result {
  /** The exit code. */
  readonly code: number;
  /** All that it wrote to stdout. */
  readonly stdout: string;
  /** All that it wrote to stderr. */
  readonly stderr: string;
}

/** How {@linkcode ProxmoxHost.run} runs a command. */
export interface RunOptions {
  /** The folder in which it runs. Default: the caller's. */
  readonly cwd?: string;
  /** Variables that are added to its environment. */
  readonly env?: Record<string, string>;
  /** Whether its environment is empty but for these. Default: false. */
  readonly clearEnv?: boolean;
  /** What the command reads. Default: nothing. */
  readonly stdin?: string | Uint8Array<ArrayBuffer>;
}

/** What a host can be told to do wrong; the head of each `pct` says what each fault does and what value it takes. */
export type Fault =
  | "latency"
  | "hang"
  | "answers"
  | "exec-dies"
  | "exec-noise"
  | "exec-cuts-input"
  | "exec-forgets-signals"
  | "freeze"
  | "snapshot-takes"
  | "push-writes-nothing"
  | "push-writes-half"
  | "keep-env-unknown"
  | "locale-noise"
  | "ha-managed"
  | "ha-acts"
  | "pmxcfs-down"
  | "start-fails"
  | "slow-services"
  | "lock-wait"
  | "small-disk"
  /** The version of the NVIDIA driver that the host has instead of the one that the configuration states. */
  | "nvidia-driver";

/** Something that a host cannot do, with the reason. A test that meets it counts as one that cannot run there. */
export class CannotRunHere extends Error {
  /** The name of this kind of error. */
  override readonly name = "CannotRunHere";
}

/** A script that waits inside a container that was started until all its services run, and fails where one does not. */
export const UNTIL_SERVICES_RUN = `i=0
if [ ! -e /bin/systemctl ]; then # BusyBox
  until [ -e /run/started ] || [ $i = 600 ]; do usleep 50000; i=$((i+1)); done
  exit
fi
until s=$(systemctl is-system-running 2>&1) || [ "$s" = degraded ] || [ $i = 600 ]; do sleep 0.05; i=$((i+1)); done
[ "$s" = running ] || { echo "it is $s"; systemctl --failed; exit 1; } >&2`;

/** A Proxmox host that runs, with `/usr/sbin/pct` and its containers. Disposing of it closes it. */
export interface ProxmoxHost extends AsyncDisposable {
  /** The absolute path of the directory with all of its files. The host has it at the same path. */
  readonly stateDirectory: string;
  /** A program that does what the host's `/usr/sbin/pct` does, and can be run from outside of the host. */
  readonly pct: string;
  /** The configuration of the fleet: on the host `/usr/local/phoenix_hypervisor/etc`. */
  readonly etc: string;
  /** The central log: on the host `/var/log/phoenix_hypervisor.log`. */
  readonly logFile: string;

  /**
   * Where a file of the host is to be found from outside of it: one below `/etc/pve`, `/usr/local/phoenix_hypervisor`,
   * `/var/log` or `/var/lib/lxc`. Throws for any other.
   */
  outside(path: string): string;

  /**
   * A command that runs on the host, as root: `Deno.Command` with the same options. No process stands between it and
   * the caller, so that signals, exit code and pid are the program's own; only a program that is not found exits with
   * 127.
   */
  command(program: string, args?: readonly string[], options?: Deno.CommandOptions): Deno.Command;

  /** Runs a command on the host to its end. */
  run(program: string, args?: readonly string[], options?: RunOptions): Promise<Result>;

  /**
   * Creates a container, and starts it unless it is to be stopped. Throws {@linkcode CannotRunHere} for one that it
   * cannot have.
   */
  addContainer(container: ContainerToCreate): Promise<void>;

  /**
   * Makes every later call of `pct` suffer the fault, or with `undefined` no longer. Throws {@linkcode CannotRunHere}
   * for one it lacks.
   */
  setFault(fault: Fault, value: string | number | true | undefined): Promise<void>;

  /** The arguments of each `pct` call so far, the host's own at boot included. */
  pctCalls(): Promise<string[][]>;

  /** Empties the log of calls. */
  forgetPctCalls(): Promise<void>;

  /** A container's Proxmox configuration: on the host `/etc/pve/lxc/<CTID>.conf`. */
  conf(ctid: number): string;

  /** The tree of a container's root, without what lasts no longer than its processes (`/run`, `/dev`, `/proc`). */
  rootfs(ctid: number): string;

  /** Ends the host and everything that runs in it, at once. */
  close(): Promise<void>;
}
