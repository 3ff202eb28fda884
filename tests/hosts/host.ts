/**
 * What a host to try setups on has to offer. There are two: the simulated one, which needs nothing but Linux namespaces, and
 * the lab's, with real LXC containers. The cases use a host through this only, so that each case says the same of both.
 *
 * @module
 */

/** A container to create. */
export interface ContainerToCreate {
  readonly ctid: number;
  readonly hostname: string;
  /** Its address, without the length of the prefix. Without one it has no network. */
  readonly ip?: string;
  /** Whether it starts now, and with the host from then on. Default: true. */
  readonly running?: boolean;
}

/** What a command on the host came to. */
export interface Result {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How {@linkcode ProxmoxHost.run} runs a command. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly clearEnv?: boolean;
  /** What the command reads. Default: nothing. */
  readonly stdin?: string | Uint8Array<ArrayBuffer>;
}

/** The faults of the host's `pct`; the head of each `pct` says which it has, what each does and what value it takes. */
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
  | "small-disk";

/** A Proxmox host that runs, with `/usr/sbin/pct` and its containers. Disposing of it closes it. */
export interface ProxmoxHost extends AsyncDisposable {
  /** The absolute path of the directory with all of its files, and a `pct` that can be run from outside of the host. */
  readonly stateDirectory: string;
  /** The configuration of the fleet: on the host `/usr/local/phoenix_hypervisor/etc`. */
  readonly etc: string;
  /** The central log: on the host `/var/log/phoenix_hypervisor.log`. */
  readonly logFile: string;

  /**
   * A command that runs on the host, as root: `Deno.Command` with the same options. No process stands between it and the
   * caller, so that signals, exit code and pid are the program's own; only a program that is not found exits with 127.
   */
  command(program: string, args?: readonly string[], options?: Deno.CommandOptions): Deno.Command;

  /** Runs a command on the host to its end. */
  run(program: string, args?: readonly string[], options?: RunOptions): Promise<Result>;

  /** Creates a container, and starts it unless it is to be stopped. */
  addContainer(container: ContainerToCreate): Promise<void>;

  /** Makes every later `pct` call suffer the fault, or with `undefined` no longer. */
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
