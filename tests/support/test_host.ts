/**
 * A host to try setups on, and the ways in which the tests use it.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { setupFile } from "../../bin/setups.ts";
import { importArguments } from "../../bin/toolchain.ts";
import type { RunEvent } from "../../lib/events.ts";
import { type ContainerToCreate, type ProxmoxHost, UNTIL_SERVICES_RUN } from "../hosts/host.ts";
import { noteCase } from "../hosts/lab/cases.ts";
import { LabHost } from "../hosts/lab/lab_host.ts";
import { type WorldName, worldOf } from "../hosts/lab/worlds.ts";
import { SimulatedHost, whatIsMissing } from "../hosts/simulated/simulated_host.ts";
import { denoCache } from "./denort.ts";
import { missingPermissions, testUnless } from "./permission.ts";
import { type ExportedSetup, permissionsIn, writeSetup } from "./setup_file.ts";
import { MAX_WAIT_MS } from "./until.ts";

/** The root of the project, with a slash at its end. */
export const project: string = fromFileUrl(new URL("../..", import.meta.url));

const missing = missingPermissions(["read", "write", "run", "env", "net"]);

/** Why no host can be simulated here, as the end of a sentence; `undefined` where one can. */
export const skipReason: string | undefined = missing ?? await whatIsMissing();

/** Where the lab is, when the tests are to run on hosts with real containers (`deno task lab`). */
const lab = missing === undefined ? Deno.env.get("PHOENIX_LAB") : undefined;

/** Whether the hosts are those of the lab. A case should not have to ask. */
export const isLab: boolean = lab !== undefined;

/** Which world of the lab it is, where the hosts are those of the lab. */
export const world: WorldName | undefined = lab === undefined ? undefined : worldOf(lab);

/** A run of a setup on the host. */
export interface TestRun {
  /** The file name of the program, and its arguments. */
  readonly command: readonly string[];
  /** The exit code. */
  readonly code: number;
  /** All that it wrote to stdout. */
  readonly stdout: string;
  /** All that it wrote to stderr. */
  readonly stderr: string;
  /** The outcome of each step, by its title. */
  readonly outcomes: Readonly<Record<string, string>>;
  /** The arguments of each `pct` that it started. */
  readonly pctCalls: readonly string[][];
}

/** The container that most tests work with. */
export const PORTAINER: ContainerToCreate = { ctid: 901, hostname: "Portainer", ip: "10.0.0.99" };

/** Boots a host with these containers, simulated or of the lab, which lasts until it is closed or this process ends. */
export async function beginHost(containers: readonly ContainerToCreate[]): Promise<ProxmoxHost> {
  return lab ? await LabHost.begin(lab, containers) : await SimulatedHost.temporary({ containers });
}

/**
 * What Deno needs in an environment that is empty otherwise, to find the project's imports where this process found
 * them.
 */
export function denoEnvironment(): Record<string, string> {
  const registries = ["JSR_URL", "NPM_CONFIG_REGISTRY"].map((name) => [name, Deno.env.get(name)]);
  return { DENO_DIR: denoCache(), ...Object.fromEntries(registries.filter(([, url]) => url !== undefined)) };
}

/** A host with one container, for one test. */
export class TestHost implements AsyncDisposable {
  private constructor(
    /** The host. */
    readonly host: ProxmoxHost,
    /** The id of its container. */
    readonly ctid: number,
  ) {}

  /** Boots a host with one container. */
  static async begin(container: ContainerToCreate = PORTAINER): Promise<TestHost> {
    return new TestHost(await beginHost([container]), container.ctid);
  }

  /** The file of the project's own setup of the container. */
  get own(): string {
    return setupFile(this.ctid);
  }

  /** A setup of the tests as a file that can be run; `args` are those of the function that makes it. */
  async setup<Arguments extends readonly unknown[]>(
    exported: ExportedSetup<Arguments>,
    ...args: Arguments
  ): Promise<string> {
    return await writeSetup(await Deno.makeTempDir({ dir: this.host.stateDirectory }), exported, ...args);
  }

  /** The arguments with which Deno runs a setup as its first line says. */
  async denoArguments(setup: string): Promise<string[]> {
    return ["run", "--quiet", ...await importArguments(), ...await permissionsIn(setup), setup];
  }

  /** Runs a setup of the container to its end, with these options. */
  async run(setup: string | Promise<string>, ...options: string[]): Promise<TestRun> {
    return await this.runWith(await setup, [...options, String(this.ctid)]);
  }

  /** Runs a setup to its end, with just these arguments. */
  async runWith(setup: string, args: readonly string[]): Promise<TestRun> {
    await this.host.forgetPctCalls();
    const result = await this.host.run(Deno.execPath(), [...await this.denoArguments(setup), ...args]);
    return {
      ...result,
      command: [setup.slice(setup.lastIndexOf("/") + 1), ...args],
      outcomes: outcomesOf(result.stdout),
      pctCalls: await this.host.pctCalls(),
    };
  }

  /** Starts a setup of the container, and gives its process; what it writes is lost unless `output` is `piped`. */
  async start(setup: string, output: "piped" | "null" = "null"): Promise<Deno.ChildProcess> {
    const args = [...await this.denoArguments(setup), String(this.ctid)];
    return this.host.command(Deno.execPath(), args, { stdin: "null", stdout: output, stderr: output }).spawn();
  }

  /**
   * Runs a setup in check mode, and sees to it that it changes nothing, in the container or in these folders of the
   * host.
   */
  async check(setup: string | Promise<string>, ...folders: string[]): Promise<TestRun> {
    const file = await setup;
    const stamp = `${this.host.stateDirectory}/stamp`;
    await Deno.writeTextFile(stamp, "");
    const result = await this.run(file, "--check");
    assertEquals(await this.#changedSince(stamp, folders), "", "check mode changes nothing");
    return result;
  }

  /**
   * What was made, changed or removed since a file of the host was written. What the stand-ins keep for speed does not
   * count, nor the books of containerd, which tidies them up when it likes.
   */
  async #changedSince(stamp: string, folders: readonly string[]): Promise<string> {
    // Of the container only its own layer: the machine's `/usr` below it is large, and nobody's to write. Of a folder,
    // an overlay touches the attributes as it is looked into.
    const script =
      `stamp=$0; cd "$1" && shift && find . "$@" \\( -path ./var/cache/simulated -o -path ./var/lib/containerd \\) -prune \\
      -o -type d -newer "$stamp" -print -o ! -type d -cnewer "$stamp" -print`;
    const args = ["-c", script, stamp, this.host.rootfs(this.ctid), ...folders];
    const { stdout, stderr } = await this.host.run("/bin/sh", args);
    return stdout + stderr;
  }

  /** Runs `pct` on the host, which has to succeed, and gives its stdout. */
  async pct(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.host.run("/usr/sbin/pct", args);
    assertEquals(code, 0, `pct ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Runs a script inside the container, which has to succeed, and gives its stdout. */
  async inside(script: string): Promise<string> {
    return (await this.pct("exec", String(this.ctid), "--", "sh", "-c", script)).trim();
  }

  /** Waits inside the container until a command of the shell succeeds, for so many milliseconds at most. */
  async until(condition: string, ms = MAX_WAIT_MS): Promise<void> {
    // All in one: a call of `pct` for each look would be slow, and stand in the log of calls.
    await this.inside(`i=0; until ${condition}; do [ $i -lt ${ms / 20} ] || exit 1; sleep 0.02; i=$((i+1)); done`);
  }

  /** The names of the container's snapshots, the oldest one first. */
  async snapshots(): Promise<string[]> {
    const list = await this.pct("listsnapshot", String(this.ctid));
    return [...list.matchAll(/`-> (\S+)/g)].map(([, name]) => name!).filter((name) => name !== "current");
  }

  /** Stops the container, starts it, and waits until its services run, for which `pct` does not. */
  async restart(how: "stop" | "shutdown" = "stop"): Promise<void> {
    for (const command of [how, "start"]) await this.pct(command, String(this.ctid));
    await this.inside(UNTIL_SERVICES_RUN);
  }

  /** Ends the host. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.host.close();
  }
}

/** The outcome of each step, by its title, from lines of a log. */
function outcomesOf(stdout: string): Record<string, string> {
  const pattern = /Step \d+: (.*): (unchanged|changed|would change|skipped|failed) \(.*\)$/gm;
  return Object.fromEntries([...stdout.matchAll(pattern)].map(([, title, outcome]) => [title!, outcome!]));
}

/**
 * The titles of the steps that were not unchanged, in their order: in a good run, those that it changed or would
 * change.
 */
export function changesIn({ outcomes }: TestRun): string[] {
  return Object.entries(outcomes).filter(([, outcome]) => outcome !== "unchanged").map(([title]) => title);
}

/** The events of a run with `--json`. */
export function eventsOf(stdout: string): RunEvent[] {
  return stdout.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

/**
 * Registers a test that boots hosts. It is ignored, with `reason` in its name, unless that is `undefined`. Default:
 * {@linkcode skipReason}.
 */
export function testWithHosts(
  name: string,
  fn: (t: Deno.TestContext) => Promise<void>,
  reason: string | undefined = skipReason,
): void {
  // The lab notes what becomes of it and of its steps.
  testUnless(reason, name, (t) => lab ? noteCase(lab, t, name, fn) : fn(t));
}

/** Registers a test with a host of its own that has one container. */
export function testOnHost(
  name: string,
  fn: (testHost: TestHost, t: Deno.TestContext) => Promise<void>,
  container?: ContainerToCreate,
): void {
  testWithHosts(name, async (t) => {
    await using testHost = await TestHost.begin(container);
    await fn(testHost, t);
  });
}
