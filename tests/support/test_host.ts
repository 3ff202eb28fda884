/**
 * A host to try setups on, and the ways in which the tests use it.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { importArguments } from "../../bin/toolchain.ts";
import type { RunEvent } from "../../lib/events.ts";
import type { ContainerToCreate, ProxmoxHost } from "../hosts/host.ts";
import { SimulatedHost, whatIsMissing } from "../hosts/simulated/simulated_host.ts";
import { noteCase } from "../hosts/lab/cases.ts";
import { LabHost, UNTIL_SERVICES_RUN } from "../hosts/lab/lab_host.ts";
import { type WorldName, worldOf } from "../hosts/lab/worlds.ts";

/** The root of the project, with a slash at its end. */
export const project = fromFileUrl(new URL("../..", import.meta.url));

const permissions = (["read", "write", "run", "env", "net"] as const)
  .filter((name) => Deno.permissions.querySync({ name }).state !== "granted").map((name) => `--allow-${name}`);

/** Why no host can be simulated here, as the end of a sentence; `undefined` where one can. */
export const skipReason = permissions.length > 0 ? `needs ${permissions.join(" ")}` : await whatIsMissing();

/** Where the lab is, when the cases are to run on hosts with real containers (`deno task lab`). */
const lab = permissions.length > 0 ? undefined : Deno.env.get("PHOENIX_LAB");

/** A run of a setup on the host. */
export interface TestRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** The outcome of each step, by its title. */
  readonly outcomes: Record<string, string>;
  /** How many processes of `pct` it took. */
  readonly pctProcesses: number;
}

/** The container that most tests work with. */
export const PORTAINER: ContainerToCreate = { ctid: 901, hostname: "Portainer", ip: "10.0.0.99" };

/** Boots a host with these containers, simulated or of the lab, which lasts until it is closed or this process ends. */
export async function beginHost(containers: readonly ContainerToCreate[]): Promise<ProxmoxHost> {
  return lab ? await LabHost.begin(lab, containers) : await SimulatedHost.temporary({ containers });
}

/** A host of its own for one test. */
export class TestHost implements AsyncDisposable {
  private constructor(readonly host: ProxmoxHost, readonly ctid: number) {}

  /** Boots a host with one container. */
  static async begin(container: ContainerToCreate = PORTAINER): Promise<TestHost> {
    return new TestHost(await beginHost([container]), container.ctid);
  }

  /** The arguments with which Deno runs a setup as its first line says. */
  async deno(setup: string): Promise<string[]> {
    const [line = ""] = (await Deno.readTextFile(setup)).split("\n");
    return ["run", "--quiet", ...await importArguments(), ...line.split(" ").slice(4), setup];
  }

  /** Runs a setup to its end. */
  async run(
    setup = `${project}setups/${this.ctid}.ts`,
    args: readonly string[] = [String(this.ctid)],
    env: Record<string, string> = {},
  ): Promise<TestRun> {
    await this.host.forgetPctCalls();
    const { code, stdout, stderr } = await this.host.run(Deno.execPath(), [...await this.deno(setup), ...args], {
      env,
    });
    return { code, stdout, stderr, outcomes: outcomesOf(stdout), pctProcesses: (await this.host.pctCalls()).length };
  }

  /** A setup of the container with this body, as a file of its own; it is permitted what the real one of 901 is. */
  async setup(body: string): Promise<string> {
    const path = `${await Deno.makeTempDir({ dir: this.host.stateDirectory })}/${this.ctid}.ts`;
    const [line] = (await Deno.readTextFile(`${project}setups/901.ts`)).split("\n");
    const imports = Object.keys(await import("../../lib/mod.ts")).join(", ");
    await Deno.writeTextFile(
      path,
      `${line}
import { ${imports} } from "${project}lib/mod.ts";
await main(setup(${this.ctid}, "${await this.inside("hostname")}", async (${contextOf(body)}) => {${body}}));
`,
    );
    return path;
  }

  /** Runs a command inside the container, and gives its stdout. */
  async inside(script: string): Promise<string> {
    const args = ["exec", String(this.ctid), "--", "sh", "-c", script];
    const { code, stdout, stderr } = await this.host.run("/usr/sbin/pct", args);
    assertEquals(code, 0, `${script}: ${stderr}`);
    return stdout.trim();
  }

  /** Stops the container, starts it, and waits until its services run, for which `pct` does not. */
  async restart(how: "stop" | "shutdown" = "stop"): Promise<void> {
    for (const command of [how, "start"]) await this.host.run("/usr/sbin/pct", [command, String(this.ctid)]);
    await this.inside(UNTIL_SERVICES_RUN);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host.close();
  }
}

/** What the body takes from its context: to take the configuration is to need it. */
function contextOf(body: string): string {
  return `{ ${
    ["ensure", "config", "hypervisor", "secret", "environment"].filter((name) => body.includes(name)).join(", ")
  } }`;
}

/** The outcome of each step, by its title, from lines of a log. */
export function outcomesOf(stdout: string): Record<string, string> {
  const pattern = /Step \d+: (.*): (unchanged|changed|would change|skipped|failed) \(.*\)$/gm;
  return Object.fromEntries([...stdout.matchAll(pattern)].map(([, title, outcome]) => [title!, outcome!]));
}

/** The events of a run with `--json`. */
export function eventsOf(stdout: string): RunEvent[] {
  return stdout.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

/** Whether the hosts are the lab's, with real containers, and no GPUs. */
export const isLab = lab !== undefined;

/** Which world of the lab it is, if the hosts are the lab's. */
export const world: WorldName | undefined = lab === undefined ? undefined : worldOf(lab);

/** Runs the body of a test; the lab takes down what became of it and of its steps. */
export function noted(
  t: Deno.TestContext,
  name: string,
  body: (t: Deno.TestContext) => Promise<void>,
): Promise<void> {
  return lab ? noteCase(lab, t, name, body) : body(t);
}

/** Registers a test with a host of its own; it is ignored, saying why, where none can be simulated. */
export function testOnHost(
  name: string,
  fn: (testHost: TestHost, t: Deno.TestContext) => Promise<void>,
  container?: ContainerToCreate,
): void {
  Deno.test({
    name: skipReason === undefined ? name : `${name} (${skipReason})`,
    ignore: skipReason !== undefined,
    async fn(t) {
      await noted(t, name, async (t) => {
        await using testHost = await TestHost.begin(container);
        await fn(testHost, t);
      });
    },
  });
}
