/**
 * The large trials: what would take the tests too long to do each time.
 *
 * ```sh
 * deno task torture --only kills --kills 40
 * ```
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { formatDuration } from "../../lib/time.ts";
import { skipReason } from "../support/test_host.ts";
import { faults } from "./faults.ts";
import { fuzz } from "./fuzz.ts";
import { kills, parseKill } from "./kills.ts";
import type { Result } from "./result.ts";
import { together } from "./together.ts";

const PARTS = ["kills", "faults", "fuzz"] as const;

const USAGE = `Usage: deno task torture [options]

Tries the setups on simulated hosts until something breaks, and exits with 1 if anything does.

  --only ${PARTS.join("|")}  that part only; default: all
  --seed N                   what the random choices come from; default: another one each time
  --kills N                  how many runs are killed (default 240)
  --cases N                  how many cases of each kind are fuzzed (default 10000)
  --case "…"                 that kill only, as a failure names it
  -h, --help                 print this and exit`;

async function main(args: string[]): Promise<number> {
  const unknown: string[] = [];
  const options = parseArgs(args, {
    boolean: ["help"],
    string: ["_", "only", "seed", "kills", "cases", "case"],
    alias: { h: "help" },
    unknown: (argument) => void unknown.push(argument),
  });
  if (options.help) {
    console.log(USAGE);
    return 0;
  }
  const problems = unknown.map((argument) => `Unknown argument "${argument}"`);
  const number = (name: "seed" | "kills" | "cases", otherwise: number): number => {
    const text = options[name];
    if (text !== undefined && !/^\d{1,10}$/.test(text)) problems.push(`--${name} wants a number, not "${text}"`);
    return text === undefined ? otherwise : Number(text);
  };
  const seed = number("seed", crypto.getRandomValues(new Uint16Array(1))[0]!);
  const killCount = number("kills", 240);
  const cases = number("cases", 10_000);
  const kill = options.case === undefined ? undefined : parseKill(options.case);
  if (options.case !== undefined && kill === undefined) problems.push(`--case is not a kill: "${options.case}"`);
  const only = kill === undefined ? options.only : "kills";
  const parts = PARTS.filter((part) => only === undefined || part === only);
  if (parts.length === 0) problems.push(`--only is one of ${PARTS.join(", ")}, not "${only}"`);
  if (problems.length > 0) {
    console.error(`${problems.join("\n")}\n\n${USAGE}`);
    return 1;
  }

  if (skipReason !== undefined) console.error(`No host can be simulated here: ${skipReason}`);
  console.log(`Seed ${seed}: the same trials again with --seed ${seed}`);
  const results: Result[] = [];
  const missing: string[] = [];
  const started = performance.now();
  const report = (result: Result) => {
    results.push(result);
    console.log(
      `${at(started)} ${result.part}: ${result.kind}: ${result.tried} tried, ${result.failures.length} failed`,
    );
    for (const { what, again } of result.failures) console.log(`  ${what}\n  Again: ${again}`);
  };
  for (const part of parts) {
    // Most fuzz cases need no host; the others say so.
    if (part !== "fuzz" && skipReason !== undefined) {
      missing.push(part);
      continue;
    }
    console.log(`${at(started)} ${part}`);
    if (part === "kills") {
      if (kill === undefined) await together(report);
      if (killCount > 0) await kills(report, seed, killCount, kill);
    }
    if (part === "faults") await faults(report, seed);
    if (part === "fuzz") await fuzz(report, seed, cases);
  }
  console.log(`\n${table(results)}`);
  const failed = results.reduce((sum, { failures }) => sum + failures.length, 0);
  const tried = results.reduce((sum, { tried }) => sum + tried, 0);
  console.log(`\n${tried} tried, ${failed} failed, in ${formatDuration(performance.now() - started)} (seed ${seed})`);
  for (const part of missing) console.log(`NOT TRIED: ${part}, as no host can be simulated here: ${skipReason}`);
  const isUntried = missing.length > 0 || results.some(({ tried }) => tried === 0);
  return failed > 0 || isUntried ? 1 : 0;
}

function at(started: number): string {
  return `[${formatDuration(performance.now() - started)}]`;
}

function table(results: readonly Result[]): string {
  const rows = [
    ["part", "kind", "tried", "failed", "ended"],
    ...results.map(({ part, kind, tried, failures, ended = "" }) => [
      part,
      kind,
      String(tried),
      String(failures.length),
      ended,
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd()).join("\n");
}

if (import.meta.main) Deno.exit(await main(Deno.args));
