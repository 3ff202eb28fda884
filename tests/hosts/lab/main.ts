/**
 * Runs the cases on hosts with real LXC containers, prints what became of each, and takes everything down again.
 *
 *     deno task lab [--state DIR] [--world NAME] [--keep] [FILE…]
 *     deno task lab [--state DIR] --all | --ci [FILE…]
 *     deno task lab [--state DIR] --down
 *
 * Without options it is all cases in the first world of `worlds.ts`; `--world` names another one, `--all` is all cases in
 * all worlds, `--ci` all cases in the first world and in each other one those that differ there (`cases.ts` names them).
 *
 * All of it, tests, hosts and containers, lives in one pid namespace, and ends with that. `--keep` leaves a host with
 * container 901 behind, which `--down` ends. Exit code 1: a case has failed. Exit code 3: a world cannot be made on this
 * machine.
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { dirname, fromFileUrl, resolve } from "@std/path";
import { importArguments } from "../../../bin/toolchain.ts";
import { whatIsMissing } from "../simulated/simulated_host.ts";
import { type CaseResult, COMPARISON, DIFFERENT, resultsFile } from "./cases.ts";
import { LabHost } from "./lab_host.ts";
import { isWorldName, type WorldName, worldOf, WORLDS } from "./worlds.ts";

const own = fromFileUrl(new URL(".", import.meta.url));
const project = fromFileUrl(new URL("../../..", import.meta.url));

/** The files with the cases that the simulated host and the lab have in common. */
const CASES = [
  "tests/cases/end_to_end_test.ts",
  "tests/laws_test.ts",
  "tests/cases/docker_test.ts",
  "tests/cases/files_test.ts",
  "tests/cases/host_test.ts",
  "tests/cases/orchestrator_test.ts",
  "tests/cases/system_test.ts",
];
/** What the two are compared by: the simulated host follows the first world. */
const COMPARISONS = ["tests/hosts/lab/comparison.ts"];

const ALL = Object.keys(WORLDS).filter(isWorldName);
const DEFAULT = ALL[0]!;

/** Where the lab is kept: a folder for each world. */
const HOME = `${project}.lab`;

/** Where the default world is kept. */
export const LAB = `${HOME}/${DEFAULT}`;

/** Builds the world of this folder, or says why it cannot be on this machine, as the end of a sentence. */
export async function buildLab(state: string): Promise<string | undefined> {
  const world = worldOf(state);
  const missing = await whatIsMissing(state);
  if (missing !== undefined) return missing;
  const { code, stdout } = await new Deno.Command(`${own}build`, { args: [dirname(state), world], stderr: "inherit" })
    .output();
  if (code !== 0) return new TextDecoder().decode(stdout).trim() || `build exited with ${code}`;
  if (!WORLDS[world].isDebian) return undefined;
  const make = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-config", "-A", `${own}network.ts`, "make", state],
    stdout: "null",
    stderr: "piped",
  }).output();
  return make.success ? undefined : new TextDecoder().decode(make.stderr).trim();
}

/**
 * Runs a Deno for which the hosts are those of the lab, and gives its exit code. It runs below an init of its own,
 * which reaps what is left to it and ends with this process; with it ends everything that was started.
 */
export async function runInLab(state: string, subcommand: string, args: readonly string[]): Promise<number> {
  const init = 'exec 3<&0 </dev/null; "$@" 3<&- & child=$!; { read -r _ <&3; kill -KILL $child; } & wait $child';
  const temporary = `${state}/tmp`;
  await removeAll(temporary);
  await Deno.mkdir(temporary);
  const child = new Deno.Command("unshare", {
    args: [
      ...["--pid", "--fork", "--kill-child", "--mount-proc", "--", "bash", "-c", init, "lab-init"],
      ...[Deno.execPath(), subcommand, "--no-check", "-A", ...await importArguments(), ...args],
    ],
    cwd: project,
    env: { PHOENIX_LAB: state, DENO_JOBS: "2", TMPDIR: temporary },
    stdin: "piped",
  }).spawn();
  const { code } = await child.status;
  await child.stdin.close().catch(() => {});
  await removeAll(temporary);
  return code;
}

/**
 * Removes what hosts leave behind: their files, and the folders in which the kernel kept account of their containers.
 */
async function removeAll(temporary: string): Promise<void> {
  await Deno.remove(temporary, { recursive: true }).catch(() => {});
  await new Deno.Command("find", {
    args: [
      ...["/sys/fs/cgroup", "-depth", "-type", "d", "-path", "*/lxc.*"],
      ...["-exec", "rmdir", "--ignore-fail-on-non-empty", "{}", "+"],
    ],
    stderr: "null",
  }).output();
}

/** What became of the cases in the last run of the lab. */
async function results(state: string): Promise<CaseResult[]> {
  const text = await Deno.readTextFile(resultsFile(state)).catch(() => "");
  const all: CaseResult[] = text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
  // Of a test with steps, these count, and itself where it failed or could not run beside them.
  return all.filter(({ hasSteps, reason }) => !hasSteps || reason !== undefined);
}

/** Runs the cases in one world, prints what became of them, and gives the exit code. */
async function tryWorld(state: string, files: readonly string[], filter: readonly string[]): Promise<number> {
  const { title } = WORLDS[worldOf(state)];
  const started = performance.now();
  const seconds = () => `${Math.round((performance.now() - started) / 1000)} s`;
  const missing = await buildLab(state);
  if (missing !== undefined) {
    console.log(`No lab of ${title} can be made on this machine: ${missing}`);
    return 3;
  }
  console.log(`${title} is built, after ${seconds()}`);
  await Deno.remove(resultsFile(state)).catch(() => {});
  const code = await runInLab(state, "test", ["--parallel", ...filter, ...files]);

  const noted = await results(state);
  const isCall = ({ name }: CaseResult) => name.startsWith(COMPARISON);
  const all = noted.filter((result) => !isCall(result) || result.outcome === "failed");
  const of = (outcome: CaseResult["outcome"]) => all.filter((result) => result.outcome === outcome);
  console.log(`\nOn real LXC containers, ${title}`);
  for (const { name, fault } of of("passed")) {
    console.log(`  passed      ${name}${fault === undefined ? "" : `, which is known to fail: ${fault}`}`);
  }
  for (const { name, reason } of of("cannot run")) console.log(`  cannot run  ${name}: ${reason}`);
  for (const { name, reason } of of("known fault")) console.log(`  known fault ${name}: ${reason}`);
  for (const { name } of of("failed")) console.log(`  FAILED      ${name}`);
  const count = (outcome: CaseResult["outcome"]) => of(outcome).length;
  const calls = noted.filter(isCall).length;
  console.log(
    `lab: ${title}: ${count("passed")} cases passed, ${count("failed")} failed` +
      `${count("known fault") > 0 ? `, ${count("known fault")} failed for faults that are known` : ""}` +
      `, ${count("cannot run")} cannot run there; ${
        calls > 0 ? `${calls} calls of pct and docker compared; ` : ""
      }in ${seconds()}`,
  );
  return code;
}

/** Leaves a host with container 901 behind. */
async function keep(state: string): Promise<void> {
  const kept = `${state}/kept`;
  await LabHost.end(kept);
  await LabHost.begin(state, [{ ctid: 901, hostname: "Portainer", ip: "10.0.0.99" }], kept);
  const [pid] = (await Deno.readTextFile(`${kept}/init`)).split(" ");
  console.log(
    `Kept: nsenter -t ${pid} --mount --uts --net, there pct exec 901 -- sh; it ends with deno task lab --down`,
  );
}

if (import.meta.main) {
  const options = parseArgs(Deno.args, {
    string: ["state", "world"],
    boolean: ["all", "ci", "keep", "down"],
    default: { state: HOME, world: DEFAULT },
  });
  const folderOf = (world: WorldName) => `${resolve(options.state)}/${world}`;
  if (!isWorldName(options.world)) {
    console.error(`Cannot take "${options.world}" as a world: expected one of ${ALL.join(", ")}`);
    Deno.exit(1);
  }
  if (options.down) {
    for (const world of ALL) {
      await LabHost.end(`${folderOf(world)}/kept`);
      await removeAll(`${folderOf(world)}/tmp`);
    }
    Deno.exit();
  }
  const files = options._.map(String);
  const codes: number[] = [];
  for (const world of options.all || options.ci ? ALL : [options.world]) {
    const different = options.ci && world !== DEFAULT ? DIFFERENT[world] : undefined;
    codes.push(
      await tryWorld(
        folderOf(world),
        files.length > 0 ? files : [...CASES, ...world === DEFAULT ? COMPARISONS : []],
        different === undefined
          ? []
          : ["--filter", `/^(${Object.values(different).flat().map((name) => RegExp.escape(name)).join("|")})/`],
      ),
    );
    if (options.keep) await keep(folderOf(world));
  }
  Deno.exit([1, 3].find((code) => codes.includes(code)) ?? Math.max(...codes, 0));
}
