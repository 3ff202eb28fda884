/**
 * Polling: the one loop behind everything that is waited for.
 *
 * @module
 */

import type { Reading } from "../../step.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "../../errors.ts";
import { type Duration, formatDuration, milliseconds, within } from "../../time.ts";

/** Something that a wait depends on: once it is gone, there is nothing to wait for. */
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
  /** What has to stay alive meanwhile, such as `docker.running("portainer")`: the wait fails at once when it is gone. */
  readonly while?: Alive;
}

/** What is polled, and until when. */
export interface Poll<State> {
  /** What is waited for, as the end of a sentence: `"https://localhost" to answer 200`. */
  readonly subject: string;
  /** Looks once more. */
  look(): Promise<State>;
  /** Whether that is what is waited for. */
  isDone(state: State): boolean;
  /** What was seen, as a phrase. */
  describe(state: State): string;
  /** How long a look may go on beyond the deadline, in milliseconds. Default: 15 seconds. */
  readonly maxLastLookMs?: number;
}

/** How long a look that is under way at the deadline may go on. */
const MAX_LAST_LOOK_MS = 15_000;
/** The time before the second look: most services that are nearly there are there soon. */
const FIRST_PAUSE_MS = 100;
/** By how much each time between two looks is longer than the one before. */
const PAUSE_GROWTH = 1.5;

/**
 * Looks again and again until it is done, from what the `first` look saw. Throws a {@linkcode Failure} with exit code 5 at the deadline
 * that says what was seen last, and one with exit code 4 at once when what has to stay alive is gone.
 *
 * A container that does not answer meanwhile, as a backup froze or stopped it, is waited for like everything else, with a warning.
 */
export async function pollUntil<State>(
  at: Reading,
  poll: Poll<State>,
  first: State,
  options: WaitOptions,
): Promise<void> {
  const { deadline, longestPause } = requireWaitOptions(options);
  const { subject, maxLastLookMs = MAX_LAST_LOOK_MS } = poll;
  const started = performance.now();
  const left = () => deadline - (performance.now() - started);
  let last = first;
  /** Why the container does not answer at the moment. */
  let silence: string | undefined;
  const unlessSilent = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    const before = silence;
    try {
      // A container that a backup holds can keep a look for as long as the backup takes.
      const answer = await within(work().then((result) => ({ result })), Math.max(left(), 0) + maxLastLookMs);
      silence = answer
        ? undefined
        : before ?? `the last look had not ended ${formatDuration(maxLastLookMs)} after the deadline`;
      return answer?.result;
    } catch (error) {
      silence = silenceIn(error);
      if (before === undefined && silence !== poll.describe(first)) at.warn(`Waiting for ${subject}: ${silence}`);
    }
  };
  for (let pause = Math.min(FIRST_PAUSE_MS, longestPause);; pause = Math.min(pause * PAUSE_GROWTH, longestPause)) {
    if (silence === undefined) {
      if (poll.isDone(last)) return;
      const gone = await unlessSilent(async () => await whyGone(at, options.while));
      if (gone !== undefined) throw new Failure(ExitCode.Step, `Stopped waiting for ${subject}: ${gone}`);
    }
    const seen = silence ?? poll.describe(last);
    const rest = left();
    if (rest <= 0) throw timedOut(deadline, subject, seen);
    at.progress(seen);
    await at.pause(Math.min(pause, rest));
    last = await unlessSilent(() => poll.look()) ?? last;
  }
}

/**
 * The first look, which is the probe of a step that polls. Where the container does not answer, it gives what `whenSilent` makes of
 * that, for {@linkcode pollUntil} to go on from. `title` is that of the step. Throws a {@linkcode Failure} with exit code 5 when the
 * look itself takes longer than the wait may.
 */
export async function pollOnce<State>(
  at: Reading,
  title: string,
  options: WaitOptions,
  look: () => Promise<State>,
  whenSilent: (why: string) => State,
): Promise<State> {
  const { deadline } = requireWaitOptions(options);
  try {
    const answer = await within(look().then((state) => ({ state })), deadline + MAX_LAST_LOOK_MS);
    if (answer !== undefined) return answer.state;
  } catch (error) {
    const why = silenceIn(error);
    at.warn(`${title}: ${why}`);
    return whenSilent(why);
  }
  throw timedOut(deadline, "the container to answer");
}

/** The bounds of a wait, in milliseconds. Throws a `TypeError` for what is no duration. */
export function requireWaitOptions(options: WaitOptions): { readonly deadline: number; readonly longestPause: number } {
  return { deadline: milliseconds(options.within ?? "1m"), longestPause: milliseconds(options.interval ?? "1s") };
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

/** That the container does not answer, where that is why a look failed: its shell is gone, or a command never ended. Throws what else it is. */
function silenceIn(error: unknown): string {
  const isSilent = error instanceof SessionLost ||
    (error instanceof CommandFailed && error.exitCode === ExitCode.Timeout);
  if (!isSilent) throw error;
  return `the container does not answer, perhaps as a backup froze or stopped it: ${error.message}`;
}

function timedOut(deadline: number, subject: string, seen?: string): Failure {
  const last = seen === undefined ? "" : `; last seen: ${seen}`;
  return new Failure(ExitCode.Timeout, `Timed out after ${formatDuration(deadline)} waiting for ${subject}${last}`);
}
