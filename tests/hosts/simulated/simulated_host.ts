/**
 * The simulated Proxmox host: this machine's own file system with a Proxmox host's files, `pct` and containers laid
 * over it, in Linux namespaces. What runs in it runs unchanged, at the same paths, as root; the machine outside stays
 * as it is.
 *
 * ```ts
 * await using host = await SimulatedHost.temporary({ containers: [{ ctid: 901, hostname: "Portainer" }] });
 * const { code, stdout } = await host.run("/usr/sbin/pct", ["exec", "901", "--", "hostname"]);
 * ```
 *
 * - `boot` makes the namespaces, `host-init` what is in them, `container-init` a container; `pct` is the stand-in.
 * - Each container has its own processes, users, network and root; of the machine it sees `/usr`, read-only but for a
 *   layer of its own. Its tree lies in the state directory and lasts until {@link SimulatedHost.reset}.
 * - Every container reaches the host and the others at their configured addresses, and nothing else: no internet.
 * - Without root there is one user only, so a `chown` to another fails, in containers too.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { fleet } from "../fleet.ts";
import type { ContainerToCreate, Fault, ProxmoxHost, Result, RunOptions } from "../host.ts";
import { seed } from "./seed.ts";

/** How {@link SimulatedHost.open} makes a host. */
interface SimulatedHostOptions {
  /** The containers of a host that is new. Default: the fleet of `etc/phoenix_lxc_configs.json`. */
  containers?: readonly ContainerToCreate[];
  /**
   * End the host, a second later at most, when this process ends in whatever way. Default: it lasts until it is closed.
   */
  endsWithThisProcess?: boolean;
}

const scripts = fileURLToPath(new URL(".", import.meta.url));

/** The folders of the host that `host-init` binds, and where they are in the state directory. */
const BOUND: Readonly<Record<string, string>> = {
  "/etc/pve": "pve",
  "/usr/local/phoenix_hypervisor": "phoenix_hypervisor",
  "/var/log": "log",
  "/var/lib/lxc": "containers",
};

/**
 * Says why no simulated host can be on this machine, as the end of a sentence; `undefined` when one can. It tries the
 * parts that a host is made of, in some 25 ms.
 *
 * @param stateDirectory where the host's files are to be, since not every file system will do
 */
export async function whatIsMissing(stateDirectory?: string): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return `it is made of Linux namespaces, and this is ${Deno.build.os}`;
  const directory = stateDirectory ?? await Deno.makeTempDir({ prefix: "simulated-host-" });
  try {
    const { stdout } = await execute(`${scripts}missing`, [directory]);
    return stdout.trim() || undefined;
  } finally {
    if (stateDirectory === undefined) await Deno.remove(directory, { recursive: true });
  }
}

/** A simulated Proxmox host that runs. Disposing of it closes it. */
export class SimulatedHost implements ProxmoxHost {
  readonly stateDirectory: string;
  readonly pct: string;
  readonly etc: string;
  readonly logFile: string;
  readonly #enter: readonly string[];
  readonly #temporary: boolean;

  private constructor(stateDirectory: string, enter: readonly string[], temporary: boolean) {
    this.stateDirectory = stateDirectory;
    this.pct = `${stateDirectory}/pct`;
    this.etc = this.outside("/usr/local/phoenix_hypervisor/etc");
    this.logFile = this.outside("/var/log/phoenix_hypervisor.log");
    this.#enter = enter;
    this.#temporary = temporary;
  }

  /**
   * Boots the host whose files are in the directory, after creating them when there are none, or attaches to it when it
   * runs. Several processes may have it open; any of them closes it for all.
   *
   * @throws {Error} with what is missing on this machine, or what went wrong
   */
  static open(stateDirectory: string, options: SimulatedHostOptions = {}): Promise<SimulatedHost> {
    return SimulatedHost.#open(stateDirectory, options, false);
  }

  /** Boots a host in a new temporary directory; closing it removes that. It ends with this process in any case. */
  static async temporary(options: Pick<SimulatedHostOptions, "containers"> = {}): Promise<SimulatedHost> {
    const directory = await Deno.makeTempDir({ prefix: "simulated-host-" });
    try {
      return await SimulatedHost.#open(directory, { ...options, endsWithThisProcess: true }, true);
    } catch (error) {
      await SimulatedHost.reset(directory).catch(() => {}); // the first error says more
      throw error;
    }
  }

  static async #open(directory: string, options: SimulatedHostOptions, temporary: boolean): Promise<SimulatedHost> {
    await Deno.mkdir(directory, { recursive: true });
    const stateDirectory = await Deno.realPath(directory);
    const containers = options.containers ?? await fleet();
    const { code, stdout, stderr } = await execute(`${scripts}boot`, [
      stateDirectory,
      options.endsWithThisProcess ? String(Deno.pid) : "0",
      await Deno.realPath(Deno.execPath()),
      ...containers.flatMap((container) => asArguments(container)),
    ]);
    if (code !== 0) {
      const missing = await whatIsMissing(stateDirectory);
      throw new Error(
        `No simulated host can run in "${stateDirectory}": ${missing ?? (stderr.trim() || `boot exited with ${code}`)}`,
      );
    }
    await seed(`${stateDirectory}/phoenix_hypervisor/etc`);
    const [pid = "", ownUser] = stdout.trim().split(" ");
    const enter = ["-t", pid, "--mount", "--uts", "--net"];
    if (ownUser) enter.push("--user", "--preserve-credentials");
    const host = new SimulatedHost(stateDirectory, enter, temporary);
    const pct = `#!/bin/sh\nexec /usr/bin/nsenter ${enter.join(" ")} -- /usr/sbin/pct "$@"\n`;
    await Deno.writeTextFile(host.pct, pct, { mode: 0o755 });
    return host;
  }

  /** Ends the host of the directory, if it runs, and removes all of its files. */
  static async reset(stateDirectory: string): Promise<void> {
    await execute(`${scripts}close`, [stateDirectory]);
    await Deno.remove(stateDirectory, { recursive: true }).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
  }

  outside(path: string): string {
    const bound = Object.entries(BOUND).find(([folder]) => path === folder || path.startsWith(`${folder}/`));
    if (bound === undefined) throw new Error(`"${path}" of the host cannot be reached from outside of it`);
    const [folder, name] = bound;
    return `${this.stateDirectory}/${name}${path.slice(folder.length)}`;
  }

  command(program: string, args: readonly string[] = [], options: Deno.CommandOptions = {}): Deno.Command {
    const { cwd = Deno.cwd(), ...others } = options;
    const directory = cwd instanceof URL ? fileURLToPath(cwd) : cwd;
    // Entering puts one at the root. The shell that goes back is gone by the time the program runs, its variables too.
    const strange = others.clearEnv && others.env?.PWD === undefined ? "PWD OLDPWD" : "OLDPWD";
    return new Deno.Command("/usr/bin/nsenter", {
      ...others,
      args: [
        ...this.#enter,
        "--",
        "/bin/sh",
        "-c",
        `cd -- "$0" && unset ${strange} && exec "$@"`,
        directory,
        program,
        ...args,
      ],
    });
  }

  run(program: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Result> {
    const { stdin, ...others } = options;
    return complete(this.command(program, args, { ...others, ...piped(stdin) }), stdin);
  }

  async addContainer(container: ContainerToCreate): Promise<void> {
    const commands: [string, string[]][] = [[`${scripts}create-container`, asArguments(container)]];
    if (container.running ?? true) commands.push(["/usr/sbin/pct", ["start", String(container.ctid)]]);
    for (const [program, args] of commands) {
      const { code, stderr } = await this.run(program, args);
      if (code !== 0) throw new Error(`Simulated container ${container.ctid} cannot be added: ${stderr.trim()}`);
    }
  }

  async setFault(fault: Fault, value: string | number | true | undefined): Promise<void> {
    const file = `${this.stateDirectory}/faults/${fault}`;
    if (value === undefined) {
      await Deno.remove(file).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    } else await Deno.writeTextFile(file, value === true ? "" : String(value));
  }

  async pctCalls(): Promise<string[][]> {
    const log = await Deno.readTextFile(`${this.stateDirectory}/pct.log`).catch(() => "");
    return log.split("\n").slice(0, -1).map((line) =>
      line.split("\t").slice(2).map((argument) =>
        argument.replaceAll(/\\(.)/g, (_, c: string) => c === "n" ? "\n" : c === "t" ? "\t" : c)
      )
    );
  }

  async forgetPctCalls(): Promise<void> {
    await Deno.writeTextFile(`${this.stateDirectory}/pct.log`, "");
  }

  conf(ctid: number): string {
    return this.outside(`/etc/pve/lxc/${ctid}.conf`);
  }

  /**
   * The tree of a container's root, without what it shares with the machine (`/usr`) and what lasts no longer than its
   * processes.
   */
  rootfs(ctid: number): string {
    return this.outside(`/var/lib/lxc/${ctid}/rootfs`);
  }

  /** Ends the host and everything that runs in it, at once. The files stay, unless the host is a temporary one. */
  async close(): Promise<void> {
    if (this.#temporary) await SimulatedHost.reset(this.stateDirectory);
    else await execute(`${scripts}close`, [this.stateDirectory]);
  }

  /** Ends the host, as {@linkcode close} does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function asArguments({ ctid, hostname, ip = "", running = true }: ContainerToCreate): string[] {
  return [String(ctid), hostname, ip, running ? "1" : "0"];
}

function execute(script: string, args: string[]): Promise<Result> {
  return complete(new Deno.Command(script, { args, ...piped(undefined) }), undefined);
}

function piped(stdin: RunOptions["stdin"]): Pick<Deno.CommandOptions, "stdin" | "stdout" | "stderr"> {
  return { stdin: stdin === undefined ? "null" : "piped", stdout: "piped", stderr: "piped" };
}

async function complete(command: Deno.Command, stdin: RunOptions["stdin"]): Promise<Result> {
  const child = command.spawn();
  if (stdin !== undefined) {
    const writer = child.stdin.getWriter();
    // A command need not read all of it.
    writer.write(typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin)
      .then(() => writer.close()).catch(() => {});
  }
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
