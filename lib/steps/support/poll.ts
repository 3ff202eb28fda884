/**
 * Waiting: the one loop behind every wait.
 *
 * @module
 */

import type { Reading } from "../../step.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "../../errors.ts";
import { type Duration, formatDuration, milliseconds, within } from "../../time.ts";

/** Something that a wait depends on: once it has gone, waiting is pointless. */
export interface Alive {
  /** Why it is gone for good, as a sentence; `undefined` while there is hope. */
  whyGone(at: Reading): Promise<string | undefined>;
}

/** How long a wait lasts, and what ends it early. */
export interface WaitOptions {
  /** The deadline, from the end of the first look on; a look that is under way then may take 15 seconds more. Default: 1 minute. */
  readonly within?: Duration;
  /** The longest time between two looks. Default: 1 second. */
  readonly interval?: Duration;
  /** What has to live on meanwhile, such as `docker.running("portainer")`: the wait fails at once when it is gone. */
  readonly while?: Alive;
}

/** How long a look that is under way at the deadline may go on, in milliseconds. */
const LAST_LOOK = 15_000;

/**
 * Looks again and again until `done`. Throws a {@linkcode Failure} with exit code 5 at the deadline that says what was seen last,
 * and with exit code 4 at once when what has to live on is gone. `subject` goes on the sentence: `Waited 1 min for "…" to answer`.
 *
 * A container that does not answer meanwhile, as a backup froze or stopped it, is waited for like everything else, with a warning.
 */
export async function waitUntil<State>(
  at: Reading,
  subject: string,
  first: State,
  wait: {
    readonly look: () => Promise<State>;
    readonly done: (state: State) => boolean;
    readonly seen: (state: State) => string;
    /** How long a look may go on beyond the deadline, in milliseconds. Default: 15 seconds. */
    readonly lastLook?: number;
  },
  options: WaitOptions,
): Promise<void> {
  const { deadline, longest } = requireWaitOptions(options);
  const started = performance.now();
  const left = () => deadline - (performance.now() - started);
  const { lastLook = LAST_LOOK } = wait;
  let last = first;
  let away: string | undefined;
  const unlessAway = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    const before = away;
    try {
      // A container that a backup holds can keep a look for as long as the backup takes.
      const looked = await within(work().then((result) => ({ result })), Math.max(left(), 0) + lastLook);
      away = looked ? undefined : before ?? `a look did not end within ${formatDuration(lastLook)} after the deadline`;
      return looked?.result;
    } catch (error) {
      if (!isAway(error)) throw error;
      away = awayBecause(error);
      if (before === undefined && away !== wait.seen(first)) at.warn(`Waiting for ${subject}: ${away}`);
    }
  };
  // Short at first: most services that are nearly there are there soon.
  for (let pause = Math.min(100, longest);; pause = Math.min(pause * 1.5, longest)) {
    if (away === undefined) {
      if (wait.done(last)) return;
      const gone = await unlessAway(async () => await whyGone(at, options.while));
      if (gone !== undefined) throw new Failure(ExitCode.Step, `Waiting for ${subject} is pointless: ${gone}`);
    }
    const rest = left();
    if (rest <= 0) {
      throw new Failure(
        ExitCode.Timeout,
        `Waited ${formatDuration(deadline)} for ${subject} in vain; seen last: ${away ?? wait.seen(last)}`,
      );
    }
    at.progress(away ?? wait.seen(last));
    await at.pause(Math.min(pause, rest));
    last = await unlessAway(wait.look) ?? last;
  }
}

/**
 * The first look of a wait, which is the probe of its step: where the container does not answer, that is what was seen, and
 * {@linkcode waitUntil} goes on from there. `title` is that of the step. Throws a {@linkcode Failure} with exit code 5 when
 * the look itself takes longer than the wait may.
 */
export async function firstLook<State>(
  at: Reading,
  title: string,
  options: WaitOptions,
  look: () => Promise<State>,
  seen: (why: string) => State,
): Promise<State> {
  const { deadline } = requireWaitOptions(options);
  try {
    const looked = await within(look().then((state) => ({ state })), deadline + LAST_LOOK);
    if (looked !== undefined) return looked.state;
    throw new Failure(ExitCode.Timeout, `Waited ${formatDuration(deadline)} in vain for the container to answer`);
  } catch (error) {
    if (!isAway(error)) throw error;
    const why = awayBecause(error);
    at.warn(`${title}: ${why}`);
    return seen(why);
  }
}

/** That it cannot be asked, as while the container starts, is no evidence that it is gone; that nothing can ask for it, is. */
async function whyGone(at: Reading, alive: Alive | undefined): Promise<string | undefined> {
  try {
    return await alive?.whyGone(at);
  } catch (error) {
    const hasAnswered = error instanceof CommandFailed && error.exitCode !== ExitCode.Timeout;
    if (!hasAnswered || error.evidence.code === 127) throw error;
  }
}

/** The bounds of a wait, in milliseconds. Throws a `TypeError` for what is no duration. */
export function requireWaitOptions(options: WaitOptions): { readonly deadline: number; readonly longest: number } {
  return { deadline: milliseconds(options.within ?? "1m"), longest: milliseconds(options.interval ?? "1s") };
}

/** Whether a look failed because the container is not there at the moment: its shell is gone, or a command never ended. */
function isAway(error: unknown): error is Failure {
  return error instanceof SessionLost || (error instanceof CommandFailed && error.exitCode === ExitCode.Timeout);
}

function awayBecause(error: Failure): string {
  return `the container does not answer, as when a backup froze or stopped it: ${error.message}`;
}
