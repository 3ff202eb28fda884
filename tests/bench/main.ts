/**
 * The benchmark: our setups beside what a user could have instead, on simulated hosts. Prints Markdown and writes JSON.
 *
 * ```sh
 * deno task bench                                      # all, in some six minutes
 * deno task bench --runs 3 --json out.json session     # less of it
 * deno task bench --lab                                # on real LXC containers, as root on Debian
 * ```
 *
 * Nothing here is part of the tests: times say something only on a machine that does nothing else.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { dirname } from "@std/path";
import { pathFromCaller } from "../../bin/compile.ts";
import { messageOf } from "../../lib/errors.ts";
import { buildLab, LAB, runInLab } from "../hosts/lab/main.ts";
import { isLab, project, skipReason } from "../support/test_host.ts";
import type { Bench } from "./bench.ts";
import { BenchHost } from "./bench_host.ts";
import { files } from "./files.ts";
import { growing } from "./growth.ts";
import { Report } from "./report.ts";
import { session } from "./session.ts";
import { start } from "./start.ts";
import { twentySteps } from "./steps.ts";

const SECTIONS: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  steps: twentySteps,
  start,
  files,
  growth: growing,
  session,
};

/** What is measured on real containers: the others measure this program, and would be the same there. */
const LAB_SECTIONS = ["steps", "files", "session"];

const USAGE = `Usage: deno task bench [--lab] [--runs N] [--json FILE] [${Object.keys(SECTIONS).join("|")} …]`;

async function bench(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      runs: { type: "string", default: "7" },
      json: { type: "string", default: `${project}.simulated/bench.json` },
      lab: { type: "boolean", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  const unknown = positionals.filter((name) => !Object.hasOwn(SECTIONS, name));
  const runs = Number(values.runs);
  if (values.help || unknown.length > 0 || !(Number.isInteger(runs) && runs > 0)) {
    console.error(USAGE);
    return values.help ? 0 : 1;
  }
  if (skipReason !== undefined) throw new Error(`Cannot measure anything here: the simulated host ${skipReason}`);
  if (values.lab && !isLab) {
    const missing = await buildLab(LAB);
    if (missing !== undefined) throw new Error(`No lab can be made on this machine: ${missing}`);
    const json = pathFromCaller(values.json);
    return await runInLab(LAB, "run", [fileURLToPath(import.meta.url), ...args, `--json=${json}`]);
  }

  const machine = {
    date: new Date().toISOString().slice(0, 10),
    cores: navigator.hardwareConcurrency,
    load: Deno.loadavg()[0]!,
    deno: Deno.version.deno,
  };
  if (machine.load > 0.5) console.error(`This machine is busy (load ${machine.load.toFixed(2)}): the times say little`);
  const report = new Report();
  // Below the folder from which the setup that copies a file may read.
  const work = await Deno.makeTempDir({ dir: "/tmp", prefix: "phoenix_bench_" });
  const started = performance.now();
  const seconds = () => Math.round((performance.now() - started) / 1000);
  const say = (text: string) => console.error(`${`${seconds()} s`.padStart(6)}  ${text}`);
  try {
    await using host = await BenchHost.begin();
    const wanted = positionals.length > 0 ? positionals : isLab ? LAB_SECTIONS : Object.keys(SECTIONS);
    for (const [name, measure] of Object.entries(SECTIONS)) {
      if (!wanted.includes(name)) continue;
      await measure({ report, runs, few: Math.min(runs, 3), work, host, say });
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  console.log(
    `${isLab ? "On real LXC containers, " : ""}${machine.date}, ${machine.cores} cores, load ${
      machine.load.toFixed(2)
    } before, Deno ${machine.deno}, ${seconds()} s

${report}`,
  );
  const json = pathFromCaller(values.json);
  await Deno.mkdir(dirname(json), { recursive: true });
  await Deno.writeTextFile(
    json,
    `${JSON.stringify({ ...machine, seconds: seconds(), ...report.toJSON() as object }, null, 2)}\n`,
  );
  return 0;
}

try {
  Deno.exit(await bench(Deno.args));
} catch (error) {
  console.error(messageOf(error));
  Deno.exit(1);
}
