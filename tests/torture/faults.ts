/**
 * Everything around a run that can break: `pct`, the container, its disk, its locks. Whatever it is, a run ends in the
 * state that it should, or with one clear error and the exit code for it; never with a success that is none, never with
 * half a file, never not at all. The next run, with all mended, converges.
 *
 * @module
 */

import { messageOf } from "../../lib/errors.ts";
import { randomFrom } from "../support/random.ts";
import { AT_RANDOM, FAULTS } from "./fault_cases.ts";
import { type FaultCase, FaultHost, SECRET_TRACES } from "./fault_host.ts";
import { ProcessWatch } from "./processes.ts";
import type { Failed, Report } from "./result.ts";

/** How many moments are tried of each thing that happens at a random one. */
const MOMENTS = 12;

/** Tries every fault, in a random order, and then others at random moments. */
export async function faults(report: Report, seed: number): Promise<void> {
  await using host = await FaultHost.begin(seed);
  const watch = await ProcessWatch.start(SECRET_TRACES);
  const random = randomFrom(seed);
  const again = `deno task torture --only faults --seed ${seed}`;
  // What cannot even be tried must not keep the others from it.
  const attempt = (one: FaultCase) =>
    host.try(one).catch((error) => ({ code: undefined, wrong: [`cannot be tried: ${messageOf(error)}`] }));
  const order = FAULTS.map((one) => [random(1 << 30), one] as const).sort(([a], [b]) => a - b);
  for (const [, one] of order) {
    const { code, wrong } = await attempt(one);
    const failures: Failed[] = wrong.map((what) => ({ what, again }));
    report({ part: "faults", kind: one.fault, tried: 1, ended: `exit ${code}`, failures });
  }
  for (const [name, code, act] of AT_RANDOM) {
    const ended = new Map<number | undefined, number>();
    const failures: Failed[] = [];
    for (let i = 0; i < MOMENTS; i++) {
      const moment = random(700);
      const result = await attempt({
        fault: name,
        code,
        // What comes too late, or finds the container as it wants it, changes nothing.
        before: (at) => Promise.resolve(at.at(moment, () => act(at).catch(() => {}))),
        bound: 20,
      });
      ended.set(result.code, (ended.get(result.code) ?? 0) + 1);
      failures.push(...result.wrong.map((what) => ({ what: `after ${moment} ms: ${what}`, again })));
    }
    const codes = [...ended].sort(([a = -1], [b = -1]) => a - b).map(([code, times]) => `${times} × exit ${code}`);
    report({ part: "faults", kind: `${name} at a random moment`, tried: MOMENTS, ended: codes.join(", "), failures });
  }
  const { looks, seen } = await watch.stop();
  report({
    part: "faults",
    kind: "secrets in arguments and environments of processes",
    tried: looks,
    ended: "looks at all processes",
    // A setup may hand a secret to a command inside by its environment.
    failures: seen.filter(({ where, inside }) => where === "cmdline" || !inside)
      .map(({ where, command }) => ({ what: `seen in ${where} of ${command}`, again })),
  });
}
