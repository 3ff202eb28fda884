/**
 * The laws that every setup obeys. A setup falls under them by being in `setups/`; nobody has to write a test for it.
 *
 * The random parts print their seed; `PHOENIX_SEED` repeats them.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { availableSetups, setupFile } from "../bin/setups.ts";
import type { RunEvent } from "../lib/events.ts";
import { beginFleetHost, damage, leaksOf, stateOf } from "./support/fleet.ts";
import { testWith } from "./support/permission.ts";
import { randomFrom } from "./support/random.ts";
import { eventsOf, skipReason, type TestHost, type TestRun, testWithHosts } from "./support/test_host.ts";
import { describeKill, Killer, randomKill } from "./torture/kills.ts";

const seed = Number(
  (skipReason === undefined && Deno.env.get("PHOENIX_SEED")) || crypto.getRandomValues(new Uint32Array(1))[0]!,
);

type StepFinished = RunEvent & { event: "step finished" };

/** Runs the setup with JSON lines; all that it printed is kept for the law of secrets. */
async function run(
  testHost: TestHost,
  emitted: string[],
  ...options: string[]
): Promise<Pick<TestRun, "code" | "pctCalls"> & { steps: StepFinished[] }> {
  const { code, stdout, stderr, pctCalls } = await testHost.run(testHost.own, "--json", ...options);
  emitted.push(stdout, stderr, ...pctCalls.flat());
  const steps = eventsOf(stdout).filter((event): event is StepFinished => event.event === "step finished");
  if (code !== 0 && code !== 10) console.error(stdout, stderr);
  return { code, steps, pctCalls };
}

const unchanged = (steps: StepFinished[]) =>
  steps.map(({ title, outcome }) => `${title}: ${outcome}`).filter((line) => !line.endsWith(": unchanged"));

testWithHosts("every setup obeys the laws", async (t) => {
  console.log(`PHOENIX_SEED=${seed}`);
  // All at once, each on a host of its own: most of the time goes into waiting for what was started.
  const concurrent = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false };
  await Promise.all(
    availableSetups().map((ctid) => t.step({ name: String(ctid), fn: (t) => obeysTheLaws(ctid, t), ...concurrent })),
  );
});

async function obeysTheLaws(ctid: number, t: Deno.TestContext): Promise<void> {
  const random = randomFrom(seed + ctid);
  const emitted: string[] = [];
  await using testHost = await beginFleetHost(ctid);
  let reference = "";

  await t.step("check mode writes nothing, and predicts what the run then changes", async () => {
    const before = await stateOf(testHost);
    const predicted = await run(testHost, emitted, "--check");
    assertEquals(predicted.code, 10);
    assertEquals(await stateOf(testHost), before);
    const { code, steps } = await run(testHost, emitted);
    assertEquals(code, 0);
    assertEquals(predicted.steps.map(({ title }) => title), steps.map(({ title }) => title));
    // Of a wait for what is not started yet, check mode says that it cannot tell.
    const told = predicted.steps.filter(({ outcome }) => outcome !== "skipped").map(({ title }) => title);
    assertEquals(
      steps.filter(({ title, outcome }) => outcome === "changed" && told.includes(title)).map(({ title }) => title),
      predicted.steps.filter(({ outcome }) => outcome === "would change").map(({ title }) => title),
    );
    reference = await stateOf(testHost);
  });

  await t.step("run twice, the second run is all unchanged, in two processes of pct", async () => {
    const { code, steps, pctCalls } = await run(testHost, emitted);
    assertEquals([code, unchanged(steps)], [0, []]);
    assertEquals(pctCalls.map(([subcommand]) => subcommand).sort(), ["exec", "status"]);
  });

  await t.step("after random damage, one run mends it, and check mode predicts that", async () => {
    const done = (await damage(testHost, random)).join("; ");
    let before = "";
    let predicted = { code: 0 };
    // systemd may start a service again meanwhile, some seconds after it was damaged.
    for (let look = 0; look < 5 && (look === 0 || await stateOf(testHost) !== before); look++) {
      before = await stateOf(testHost);
      predicted = await run(testHost, emitted, "--check");
    }
    assertEquals(await stateOf(testHost), before, `check mode after: ${done}`);
    assertEquals((await run(testHost, emitted)).code, 0, done);
    assertEquals(await stateOf(testHost), reference, done);
    assertEquals(predicted.code, before === reference ? 0 : 10, done);
    const { steps } = await run(testHost, emitted);
    assertEquals(unchanged(steps), [], done);
  });

  // A sample of `deno task torture --only kills`.
  await t.step("killed at any moment, then run again, the end is that of an undisturbed run", async () => {
    await using killer = new Killer(ctid, { settled: testHost });
    const kill = randomKill(ctid, await killer.steps(), random);
    assertEquals((await killer.kill(kill)).wrong, [], describeKill(kill));
  });

  await t.step("no secret is anywhere in what was emitted", async () => {
    assertEquals(await leaksOf(testHost, emitted), []);
  });
}

testWith(["read"], "no setup imports another one", async () => {
  for (const ctid of availableSetups()) {
    const text = await Deno.readTextFile(setupFile(ctid));
    assertEquals([...text.matchAll(/\bfrom "(.*)"|\bimport\("(.*)"\)/g)].map(([, path]) => path), ["../lib/mod.ts"]);
  }
});
