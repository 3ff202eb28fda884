/**
 * A host with real LXC containers: a simulated host without containers of its own, whose `pct` is the lab's. What tests
 * ask of the one they can ask of the other.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { fleet } from "../fleet.ts";
import {
  CannotRunHere,
  type ContainerToCreate,
  type Fault,
  type ProxmoxHost,
  type Result,
  type RunOptions,
  UNTIL_SERVICES_RUN,
} from "../host.ts";
import { SimulatedHost } from "../simulated/simulated_host.ts";

const scripts = fileURLToPath(new URL(".", import.meta.url));

/** The faults that the lab's `pct` has, too; the others would have a real `pct` lie. */
const FAULTS: readonly Fault[] = ["ha-managed", "latency", "lock-wait", "pmxcfs-down", "small-disk"];

/** A host of the lab that runs. */
export class LabHost implements ProxmoxHost {
  readonly stateDirectory: string;
  readonly pct: string;
  readonly etc: string;
  readonly logFile: string;
  readonly #host: SimulatedHost;

  private constructor(host: SimulatedHost) {
    this.#host = host;
    this.stateDirectory = host.stateDirectory;
    this.pct = host.pct;
    this.etc = host.etc;
    this.logFile = host.logFile;
  }

  /**
   * Boots a host with these containers, which are up when it returns; `state` is the folder of a world, which `build` has
   * filled. With a `directory` of its own it lasts beyond this process, until {@linkcode LabHost.end}.
   */
  static async begin(
    state: string,
    containers: readonly ContainerToCreate[],
    directory?: string,
  ): Promise<LabHost> {
    const host = new LabHost(
      directory === undefined
        ? await SimulatedHost.temporary({ containers: [] })
        : await SimulatedHost.open(directory, { containers: [] }),
    );
    try {
      await host.#must(`${scripts}seed-host`, [scripts, state, Deno.execPath()]);
      for (const container of containers) await host.addContainer(container);
      return host;
    } catch (error) {
      await host.close();
      throw error;
    }
  }

  /** Ends the host of the directory, if there is one, and removes all of its files. */
  static async end(directory: string): Promise<void> {
    if (!await Deno.stat(directory).then(() => true, () => false)) return;
    await new LabHost(await SimulatedHost.open(directory, { containers: [] })).close();
    await SimulatedHost.reset(directory);
  }

  outside(path: string): string {
    return this.#host.outside(path);
  }

  command(program: string, args?: readonly string[], options?: Deno.CommandOptions): Deno.Command {
    return this.#host.command(program, args, options);
  }

  run(program: string, args?: readonly string[], options?: RunOptions): Promise<Result> {
    return this.#host.run(program, args, options);
  }

  /** Creates a container, and starts it unless it is to be stopped; its services run when this returns. */
  async addContainer({ ctid, hostname, ip = "", running = true }: ContainerToCreate): Promise<void> {
    if ((await fleet()).some((container) => container.ctid === ctid && container.hasGpus)) {
      throw new CannotRunHere("there is no GPU");
    }
    await this.#must(`${scripts}create-container`, [String(ctid), hostname, ip]);
    if (!running) return;
    await this.#must("/usr/sbin/pct", ["start", String(ctid)]);
    await this.#must("/usr/sbin/pct", ["exec", String(ctid), "--", "sh", "-c", UNTIL_SERVICES_RUN]);
    // By this the cases tell what was there from the beginning, to which belongs what services make at their first
    // start.
    await this.#must("/usr/sbin/pct", ["exec", String(ctid), "--", "touch", "/etc/machine-id"]);
  }

  setFault(fault: Fault, value: string | number | true | undefined): Promise<void> {
    if (!FAULTS.includes(fault)) throw new CannotRunHere(`"${fault}" is a fault of the simulated pct`);
    return this.#host.setFault(fault, value);
  }

  pctCalls(): Promise<string[][]> {
    return this.#host.pctCalls();
  }

  forgetPctCalls(): Promise<void> {
    return this.#host.forgetPctCalls();
  }

  conf(ctid: number): string {
    return this.#host.conf(ctid);
  }

  /** What the container has written; the base below it is not in there. */
  rootfs(ctid: number): string {
    return `${this.stateDirectory}/containers/${ctid}/tree`;
  }

  async close(): Promise<void> {
    for await (const { name } of Deno.readDir(`${this.stateDirectory}/containers`)) {
      await this.#host.run("lxc-stop", ["-P", "/var/lib/lxc", "-n", name, "--kill"]);
    }
    await this.#host.close();
  }

  /** Ends the host, as {@linkcode close} does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #must(program: string, args: string[]): Promise<void> {
    const { code, stdout, stderr } = await this.#host.run(program, args, { cwd: "/" });
    if (code !== 0) throw new Error(`The lab cannot be made: ${[program, ...args].join(" ")}: ${stdout}${stderr}`);
  }
}
