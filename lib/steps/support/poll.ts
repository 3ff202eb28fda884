/**
 * Polling: the loop behind every wait.
 *
 * @module
 */

import type { Reading } from "../../step.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "../../errors.ts";
import { type Duration, formatDuration, milliseconds, within } from "../../time.ts";

/** Something that a wait depends on: once it is gone, waiting makes no sense. */
export interface Alive {
  /** Why it is gone for good, as a sentence; `undefined` if it is not. */
  whyGone(at: Reading): Promise<string | undefined>;
}

/** How long a wait lasts, and what ends it early. */
export interface WaitOptions {
  /**
   * How long to wait after the first look; a look that is under way at the deadline may take 15 seconds more. Default:
   * 1 minute.
   */
  readonly within?: Duration;
  /** The longest time between two looks. Default: 1 second. */
  readonly interval?: Duration;
  /**
   * What has to stay alive, such as `docker.running("portainer")`: the wait fails at once when it is gone. Default:
   * nothing.
   */
  readonly while?: Alive;
}

/** What is polled for. */
export interface Poll<State> {
  /** The end of "waiting for …", such as `port 80 to be open`. */
  readonly subject: string;
  /** Looks once. */
  look(): Promise<State>;
  /** Whether this state ends the wait. */
  isDone(state: State): boolean;
  /** The state as a phrase. */
  describe(state: State): string;
  /** How long a look may continue after the deadline, in milliseconds. Default: 15 seconds. */
  readonly maxLastLookMs?: number;
}

/** How long a look that is under way at the deadline may continue. */
const MAX_LAST_LOOK_MS = 15_000;
/** The time before the second look: what is nearly ready is ready soon. */
const FIRST_PAUSE_MS = 100;
/** The factor by which the time between two looks grows. */
const PAUSE_GROWTH = 1.5;

/**
 * Looks until the state is the wanted one, starting with the `first` state. Throws a {@linkcode Failure} with exit code
 * 5 at the deadline, which reports the last state, and one with exit code 4 as soon as what has to stay alive is gone.
 *
 * If the container does not answer in the meantime, for instance because a backup froze or stopped it, the wait goes
 * on, with a warning.
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
  /** Why the container does not answer at the moment, if it does not. */
  let silence: string | undefined;
  const unlessSilent = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    const before = silence;
    try {
      // In a container that a backup froze, a look can take as long as the backup.
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
 * The first look, which is the probe of a step that polls. If the container does not answer, the state is what
 * `whenSilent` returns for the reason, and {@linkcode pollUntil} continues from there. `title` is that of the step.
 * Throws a {@linkcode Failure} with exit code 5 if the look itself takes longer than the whole wait may.
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

/** The bounds of a wait, in milliseconds. Throws a `TypeError` for an invalid duration. */
export function requireWaitOptions(options: WaitOptions): { readonly deadline: number; readonly longestPause: number } {
  return { deadline: milliseconds(options.within ?? "1m"), longestPause: milliseconds(options.interval ?? "1s") };
}

/**
 * Why it is gone. That the question fails, for instance while the container starts, does not mean that it is gone,
 * unless there is no program that could answer it.
 */
async function whyGone(at: Reading, alive: Alive | undefined): Promise<string | undefined> {
  try {
    return await alive?.whyGone(at);
  } catch (error) {
    const hasAnswered = error instanceof CommandFailed && error.exitCode !== ExitCode.Timeout;
    if (!hasAnswered || error.evidence.code === 127) throw error;
  }
}

/**
 * The reason, if a look failed because the container does not answer: its shell is gone, or a command did not end.
 * Throws any other error.
 */
function silenceIn(error: unknown): string {
  const isSilent = error instanceof SessionLost ||
    (error instanceof CommandFailed && error.exitCode === ExitCode.Timeout);
  if (!isSilent) throw error;
  return `the container does not answer, perhaps because a backup froze or stopped it: ${error.message}`;
}

function timedOut(deadline: number, subject: string, seen?: string): Failure {
  const last = seen === undefined ? "" : `; last seen: ${seen}`;
  return new Failure(ExitCode.Timeout, `Timed out after ${formatDuration(deadline)} waiting for ${subject}${last}`);
}
