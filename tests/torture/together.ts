/**
 * Twenty runs of one container that are started together, and one of another container beside them.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { setupFile } from "../../bin/setups.ts";
import { TestHost } from "../support/test_host.ts";
import type { Failed, Report } from "./result.ts";

const RUNS = 20;
const AGAIN = "deno task torture --only kills --kills 0";

/** One run does the work, and the others name it and end with 6; a run of another container does not wait for them. */
export async function together(report: Report): Promise<void> {
  await using testHost = await TestHost.begin();
  const { host } = testHost;
  await host.addContainer({ ctid: 902, hostname: "GPUtemplate", ip: "10.0.0.98" });
  const run = async (ctid: number) => {
    const args = await testHost.denoArguments(setupFile(ctid));
    const started = performance.now();
    const child = host.command(Deno.execPath(), [...args, String(ctid)], {
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const { code, stderr } = await child.output();
    return { pid: child.pid, code, stderr: new TextDecoder().decode(stderr), ms: performance.now() - started };
  };
  const [beside, ...runs] = await Promise.all([run(902), ...Array.from({ length: RUNS }, () => run(901))]);
  const log = await Deno.readTextFile(host.logFile);
  const failures: Failed[] = [];
  const must = (claim: () => void) => {
    try {
      claim();
    } catch (error) {
      failures.push({ what: String(error), again: AGAIN });
    }
  };
  const holder = runs.find(({ code }) => code === 0);
  const refused = runs.filter(({ code }) => code === 6);
  must(() => assertEquals(runs.map(({ code }) => code).sort(), [0, ...Array(RUNS - 1).fill(6)]));
  for (const { stderr } of refused) {
    must(() => assertMatch(stderr, new RegExp(`another run holds it: process ${holder?.pid}, since \\d{4}-`)));
  }
  report({
    part: "kills",
    kind: `${RUNS} runs of one container at once`,
    tried: RUNS,
    ended: `${refused.length} exit 6, ${refused.filter(({ ms }) => ms < 1_000).length} of them within a second, ` +
      `the last after ${Math.round(Math.max(...refused.map(({ ms }) => ms)))} ms`,
    failures: failures.splice(0),
  });
  must(() => assertEquals(beside!.code, 0, beside!.stderr));
  must(() => assertMatch(log, /Setting up container 902[^]*container 901 completed successfully/));
  report({
    part: "kills",
    kind: "a run of another container beside them",
    tried: 1,
    ended: "under way before the other had ended",
    failures,
  });
}
