/**
 * Waiting: the one loop behind every wait.
 *
 * @module
 */

import type { Reading } from "../engine.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "../errors.ts";
import { type Duration, formatDuration, milliseconds } from "../time.ts";

/** Something that a wait depends on: once it has gone, waiting is pointless. */
export interface Alive {
  /** Why it is gone for good, as a sentence; `undefined` while there is hope. */
  whyGone(at: Reading): Promise<string | undefined>;
}

/** How long a wait lasts, and what ends it early. */
export interface WaitOptions {
  /** The deadline. Default: 1 minute. */
  readonly within?: Duration;
  /** The longest time between two looks. Default: 1 second. */
  readonly interval?: Duration;
  /** What has to live on meanwhile, such as `docker.running("portainer")`: the wait fails at once when it is gone. */
  readonly while?: Alive;
}

/**
 * Looks again and again until `done`. Throws a {@linkcode Failure} with exit code 5 at the deadline that says what was seen last,
 * and with exit code 4 at once when what has to live on is gone. `subject` goes on the sentence: `Waited 1 min for "…" to answer`.
 *
 * A container that does not answer meanwhile, as a backup froze or stopped it, is waited for like everything else.
 */
export async function waitUntil<State>(
  at: Reading,
  subject: string,
  first: State,
  wait: {
    readonly look: () => Promise<State>;
    readonly done: (state: State) => boolean;
    readonly seen: (state: State) => string;
  },
  options: WaitOptions,
): Promise<void> {
  const { deadline, longest } = requireWaitOptions(options);
  const started = performance.now();
  let last = first;
  let away: string | undefined;
  const unlessAway = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
    try {
      const result = await work();
      away = undefined;
      return result;
    } catch (error) {
      if (!isAway(error)) throw error;
      away = `the container does not answer, as when a backup froze or stopped it: ${error.message}`;
    }
  };
  // Short at first: most services that are nearly there are there soon.
  for (let pause = Math.min(100, longest);; pause = Math.min(pause * 1.5, longest)) {
    if (away === undefined) {
      if (wait.done(last)) return;
      const gone = await unlessAway(async () => await options.while?.whyGone(at));
      if (gone !== undefined) throw new Failure(ExitCode.Step, `Waiting for ${subject} is pointless: ${gone}`);
    }
    const left = deadline - (performance.now() - started);
    if (left <= 0) {
      throw new Failure(
        ExitCode.Timeout,
        `Waited ${formatDuration(deadline)} for ${subject} in vain; seen last: ${away ?? wait.seen(last)}`,
      );
    }
    at.progress(away ?? wait.seen(last));
    await at.pause(Math.min(pause, left));
    last = await unlessAway(wait.look) ?? last;
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
