/**
 * What became of each case in the lab, and for each world which of them cannot run there and which are different there.
 *
 * @module
 */

import { CannotRunHere } from "./lab_host.ts";
import { type WorldName, worldOf } from "./worlds.ts";

/** What became of one case: a test, or a step of a test that has steps. */
export interface CaseResult {
  readonly name: string;
  readonly outcome: "passed" | "failed" | "cannot run";
  /** Why it cannot run, or has failed. */
  readonly reason?: string;
  /** Whether it is a test with steps, which are cases themselves. */
  readonly hasSteps: boolean;
}

/** The name of the test that compares the two hosts; its steps are calls, not cases. */
export const COMPARISON = "the simulated pct is like the lab's";

/** Separates the names of tests and steps. */
const WITHIN = " › ";

/** The file with the results of a world, one JSON object a line. */
export const resultsFile = (state: string): string => `${state}/results.jsonl`;

/** Runs a test of the lab and notes what became of it and its steps. */
export async function noteCase(
  state: string,
  t: Deno.TestContext,
  name: string,
  body: (t: Deno.TestContext) => Promise<void>,
): Promise<void> {
  let hasSteps = false;
  let failed = false;
  const note = (result: Omit<CaseResult, "name" | "hasSteps">) =>
    Deno.writeTextFile(resultsFile(state), `${JSON.stringify({ name, hasSteps, ...result })}\n`, { append: true });
  const step = async (
    stated: string | Deno.TestStepDefinition,
    fn?: (t: Deno.TestContext) => void | Promise<void>,
  ) => {
    const definition = typeof stated === "string" ? { name: stated, fn: fn! } : stated;
    hasSteps = true;
    const passed = await t.step({
      ...definition,
      fn: (t) => noteCase(state, t, name + WITHIN + definition.name, async (t) => await definition.fn(t)),
    });
    failed ||= !passed;
    return passed;
  };
  const reason = Object.entries(CANNOT_RUN[worldOf(state)]).find(([, names]) => names.includes(name))?.[0];
  try {
    if (reason !== undefined) throw new CannotRunHere(reason);
    await body({ ...t, step: step as Deno.TestContext["step"] });
    await note({ outcome: failed ? "failed" : "passed" });
  } catch (error) {
    if (error instanceof CannotRunHere) {
      console.log(`    cannot run in the lab: ${error.message}`);
      return await note({ outcome: "cannot run", reason: error.message });
    }
    await note({ outcome: "failed", reason: String(error) });
    throw error;
  }
}

/** Of one reason, the cases: a test by its name, with all of its steps, or a step. */
type Reasons = Readonly<Record<string, readonly string[]>>;

const EVERYWHERE: Reasons = {
  "it moves Docker's folder, which is a mount here": [
    "an image from an archive on the host › is refused, with nothing fetched, when there is no room for it",
  ],
  "there is no GPU": ["GPUs that the container is given, and Docker's containers in it"],
  "the stand-in for apt is told so in a file of its own": [
    "packages: other people's apt, interrupted dpkg, failing sources, unknown names › without a network, what the lists have and the archive does not give is apt's failure",
  ],
  "there are no stand-ins": ["the stand-ins refuse what they do not know, and say so"],
};

const DEBIAN_13: Reasons = {};

/** The cases that a world does not try, with the reason. */
const CANNOT_RUN: Readonly<Record<WorldName, Reasons>> = {
  bookworm: EVERYWHERE,
  trixie: { ...EVERYWHERE, ...DEBIAN_13 },
  "trixie-containerd": { ...EVERYWHERE, ...DEBIAN_13 },
  busybox: { ...EVERYWHERE },
};

/** A test that goes another way in a world than in the first one. */
interface DifferentTest {
  /** The beginning of its name. */
  readonly test: string;
  /** What is different for it. */
  readonly because: string;
}

/** What is tried of a world where there is no time for all of it. */
export const DIFFERENT: Readonly<Record<WorldName, readonly DifferentTest[]>> = {
  bookworm: [],
  trixie: [],
  "trixie-containerd": [],
  busybox: [],
};
