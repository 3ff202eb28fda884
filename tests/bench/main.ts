/**
 * The benchmark: our setups beside what a user could have instead, on simulated hosts. Prints Markdown and writes JSON.
 *
 * ```sh
 * deno task bench                                      # all, in some six minutes
 * deno task bench --runs 3 --json out.json session     # less of it
 * ```
 *
 * Nothing here is part of the tests: times say something only on a machine that does nothing else.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { dirname } from "@std/path";
import { pathFromCaller } from "../../bin/compile.ts";
import { messageOf } from "../../lib/errors.ts";
import { obstacle, project } from "../trial.ts";
import type { Bench } from "./bench.ts";
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

const USAGE = `Usage: deno task bench [--runs N] [--json FILE] [${Object.keys(SECTIONS).join("|")} …]`;

async function bench(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      runs: { type: "string", default: "7" },
      json: { type: "string", default: `${project}.simulated/bench.json` },
      help: { type: "boolean", short: "h" },
    },
  });
  const unknown = positionals.filter((name) => !Object.hasOwn(SECTIONS, name));
  const runs = Number(values.runs);
  if (values.help || unknown.length > 0 || !(Number.isInteger(runs) && runs > 0)) {
    console.error(USAGE);
    return values.help ? 0 : 1;
  }
  if (obstacle !== undefined) throw new Error(`Cannot measure anything here: the simulated host ${obstacle}`);

  const machine = {
    date: new Date().toISOString().slice(0, 10),
    cores: navigator.hardwareConcurrency,
    load: Deno.loadavg()[0]!,
    deno: Deno.version.deno,
  };
  if (machine.load > 0.5) console.error(`This machine is busy (load ${machine.load.toFixed(2)}): the times say little`);
  const report = new Report();
  const work = await Deno.makeTempDir({ prefix: "phoenix_bench_" });
  const started = performance.now();
  try {
    for (const [name, measure] of Object.entries(SECTIONS)) {
      if (positionals.length > 0 && !positionals.includes(name)) continue;
      await measure({ report, runs, few: Math.min(runs, 3), work, say: (text) => console.error(text) });
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  const seconds = Math.round((performance.now() - started) / 1000);
  console.log(
    `${machine.date}, ${machine.cores} cores, load ${machine.load.toFixed(2)} before, Deno ${machine.deno}, ${seconds} s

${report}`,
  );
  const json = pathFromCaller(values.json);
  await Deno.mkdir(dirname(json), { recursive: true });
  await Deno.writeTextFile(
    json,
    `${JSON.stringify({ ...machine, seconds, ...report.toJSON() as object }, null, 2)}\n`,
  );
  return 0;
}

try {
  Deno.exit(await bench(Deno.args));
} catch (error) {
  console.error(messageOf(error));
  Deno.exit(1);
}
