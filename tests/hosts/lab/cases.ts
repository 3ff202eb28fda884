/**
 * What became of each case in the lab, and for each world which of them cannot run there and which are different there.
 *
 * @module
 */

import { CannotRunHere } from "../host.ts";
import { type WorldName, worldOf } from "./worlds.ts";

/** What became of one case: a test, or a step of a test that has steps. */
export interface CaseResult {
  readonly name: string;
  readonly outcome: "passed" | "failed" | "known fault" | "cannot run";
  /** Why it cannot run, or has failed. */
  readonly reason?: string;
  /** The known fault for which it should have failed. */
  readonly fault?: string;
  /** Whether it is a test with steps, which are cases themselves. */
  readonly hasSteps: boolean;
}

/** How the names of the tests begin that compare the two hosts; their steps are calls, not cases. */
export const COMPARISON = "the simulated host is like the lab's";

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
  const world = worldOf(state);
  const reason = reasonIn(CANNOT_RUN[world], name);
  const fault = reasonIn(KNOWN_FAULTS[world], name);
  try {
    if (reason !== undefined) throw new CannotRunHere(reason);
    await body({ ...t, step: step as Deno.TestContext["step"] });
    await note(
      failed ? { outcome: "failed" } : fault === undefined ? { outcome: "passed" } : { outcome: "passed", fault },
    );
  } catch (error) {
    if (error instanceof CannotRunHere) {
      console.log(`    cannot run in the lab: ${error.message}`);
      return await note({ outcome: "cannot run", reason: error.message });
    }
    if (fault !== undefined) {
      console.log(`    fails in the lab: ${fault}: ${error}`);
      return await note({ outcome: "known fault", reason: fault });
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

/** The cases that a world does not try, with the reason. */
const CANNOT_RUN: Readonly<Record<WorldName, Reasons>> = {
  bookworm: EVERYWHERE,
  trixie: EVERYWHERE,
  "trixie-containerd": EVERYWHERE,
  busybox: {
    ...EVERYWHERE,
    "there is no Docker": [
      "901: first run, second run, check mode, and after somebody changed things",
      "a new container that does not run is undone",
      "a secret reaches its place, and nothing that is emitted",
      "an image from an archive on the host",
      "an image of a registry that wants a login",
      "containers with networks, health and files that they read, and without",
      "every setup obeys the laws",
      "the orchestrator's way of calling: bare environment, C locale, another directory, by its name",
    ],
    "there is no systemd": [
      "a restart, and another run of a script, are predicted",
      "a service that does not live on fails the step, with its journal",
      "a service: absent, right, wrong in every way",
      "waits: what is there, what comes, and what never comes",
    ],
    "there is no apt": [
      "packages: absent, right, of a wrong version, no longer wanted",
      "packages: other people's apt, interrupted dpkg, failing sources, unknown names",
    ],
  },
};

/**
 * The cases that fail in a world since what is tried is wrong there, with the fault. The lab says of one that passes that
 * it is here.
 */
const KNOWN_FAULTS: Readonly<Record<WorldName, Reasons>> = {
  bookworm: {},
  trixie: {},
  "trixie-containerd": {},
  busybox: {
    "the `user:` of a script wants runuser, and there is su only": [
      "files, folders, lines and scripts: absent, right and wrong › absent: a run makes it so",
      "files, folders, lines and scripts: absent, right and wrong › right: nothing is done, in two processes of pct, and check mode agrees",
      "files, folders, lines and scripts: absent, right and wrong › wrong: a run puts it right",
    ],
  },
};

function reasonIn(reasons: Reasons, name: string): string | undefined {
  return Object.entries(reasons).find(([, names]) => names.includes(name))?.[0];
}

/**
 * What is tried of a world where there is no time for all of it: the tests that go another way there than in the first
 * world, by the beginnings of their names.
 */
export const DIFFERENT: Readonly<Record<WorldName, Reasons>> = {
  bookworm: {},
  trixie: {
    "apt and dpkg are newer, and say other things": ["packages: "],
    "so is systemd": ["a service: ", "a service that does not live on"],
    "so is Docker's engine, and its client": ["901: ", "an image from an archive"],
  },
  "trixie-containerd": {
    "an image is there by another id, and elsewhere": ["an image", "containers with networks"],
  },
  busybox: {
    "the shell and all tools are others": [
      "commands: ",
      "files, folders",
      "content of every kind",
      "a script that is ended",
    ],
    "so is the init, and what ends what": ["two runs at once"],
  },
};
