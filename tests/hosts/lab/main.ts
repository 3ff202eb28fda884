/**
 * Runs the cases on hosts with real LXC containers, prints what became of each, and takes everything down again.
 *
 *     deno task lab [--state DIR] [--keep] [FILE…]
 *     deno task lab [--state DIR] --down
 *
 * All of it, tests, hosts and containers, lives in one pid namespace, and ends with that. `--keep` leaves a host with
 * container 901 behind, which `--down` ends. Exit code 3: no lab can be made on this machine.
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { fromFileUrl } from "@std/path";
import { importArguments } from "../../../bin/toolchain.ts";
import { whatIsMissing } from "../simulated/simulated_host.ts";
import { type CaseResult, COMPARISON, resultsFile } from "./cases.ts";
import { LabHost } from "./lab_host.ts";

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
/** The files that compare the two. */
const COMPARISONS = ["tests/hosts/lab/comparison.ts"];

/** Where the lab is kept. */
export const LAB = `${project}.lab`;

/** Builds the lab, or says why none can be on this machine, as the end of a sentence. */
export async function buildLab(state: string): Promise<string | undefined> {
  const missing = await whatIsMissing(state);
  if (missing !== undefined) return missing;
  const { code, stdout } = await new Deno.Command(`${own}build`, { args: [state], stderr: "inherit" }).output();
  if (code !== 0) return new TextDecoder().decode(stdout).trim() || `build exited with ${code}`;
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

if (import.meta.main) {
  const options = parseArgs(Deno.args, {
    string: ["state"],
    boolean: ["keep", "down"],
    default: { state: LAB },
  });
  const started = performance.now();
  const state = options.state.startsWith("/") ? options.state : `${Deno.cwd()}/${options.state}`;
  const seconds = () => `${Math.round((performance.now() - started) / 1000)} s`;

  const kept = `${state}/kept`;
  if (options.down) {
    await LabHost.end(kept);
    await removeAll(`${state}/tmp`);
    Deno.exit();
  }
  const missing = await buildLab(state);
  if (missing !== undefined) {
    console.log(`No lab can be made on this machine: ${missing}`);
    Deno.exit(3);
  }
  console.log(`The lab is built, after ${seconds()}`);
  await Deno.remove(resultsFile(state)).catch(() => {});
  const files = options._.map(String);
  const code = await runInLab(state, "test", [
    "--parallel",
    ...(files.length > 0 ? files : [...CASES, ...COMPARISONS]),
  ]);
  if (options.keep) {
    await LabHost.end(kept);
    await LabHost.begin(state, [{ ctid: 901, hostname: "Portainer", ip: "10.0.0.99" }], kept);
  }

  const noted = await results(state);
  const isCall = ({ name }: CaseResult) => name.startsWith(COMPARISON);
  const all = noted.filter((result) => !isCall(result) || result.outcome === "failed");
  const of = (outcome: CaseResult["outcome"]) => all.filter((result) => result.outcome === outcome);
  console.log("\nOn real LXC containers");
  for (const { name } of of("passed")) console.log(`  passed      ${name}`);
  for (const { name, reason } of of("cannot run")) console.log(`  cannot run  ${name}: ${reason}`);
  for (const { name } of of("failed")) console.log(`  FAILED      ${name}`);
  const count = (outcome: CaseResult["outcome"]) => of(outcome).length;
  console.log(
    `lab: ${count("passed")} cases passed, ${count("failed")} failed, ${count("cannot run")} cannot run there; ` +
      `${noted.filter(isCall).length} calls of pct and docker compared; in ${seconds()}`,
  );
  if (options.keep) {
    const [pid] = (await Deno.readTextFile(`${kept}/init`)).split(" ");
    console.log(
      `Kept: nsenter -t ${pid} --mount --uts --net, there pct exec 901 -- bash; it ends with deno task lab --down`,
    );
  }
  Deno.exit(code);
}
