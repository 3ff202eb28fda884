/**
 * Steps that only wait for what other steps have started.
 *
 * @module
 */

import type { Reading, Step } from "../../step.ts";
import { pollOnce, pollUntil, requireWaitOptions, type WaitOptions } from "./poll.ts";

/** What a look came to. */
export interface Look {
  /** Whether it is what is waited for. */
  readonly holds: boolean;
  /** What was seen, as a phrase. */
  readonly seen: string;
}

/** What is waited for. */
export interface Awaited {
  /** The step's title. */
  readonly title: string;
  /** What differs until then, such as `port 80`. */
  readonly what: string;
  /** What it has to be, such as `open`. */
  readonly to: string;
  /** The same as the end of a sentence. Default: such as `port 80 to be open`. */
  readonly subject?: string;
}

/** How long one look may take: a container that is frozen does not answer, and that is to be told before long. */
export const LOOK_TIMEOUT = "15s";

/**
 * A step that looks until it holds, and changes nothing. `lookAgain` is for the looks after the first one, where those can end the wait
 * early. Throws a `TypeError` for what is no duration.
 */
export function waitStep(
  { title, what, to, subject = `${what} to be ${to}` }: Awaited,
  options: WaitOptions,
  look: (at: Reading) => Promise<Look>,
  lookAgain = look,
): Step<Look> {
  requireWaitOptions(options);
  return {
    title,
    waits: true,
    probe: (at) => pollOnce(at, title, options, () => look(at), (why) => ({ holds: false, seen: why })),
    diff: ({ holds, seen }) => holds ? [] : [{ what, from: seen, to }],
    apply: (at, first) =>
      pollUntil(
        at,
        {
          subject,
          look: () => lookAgain(at),
          isDone: ({ holds }) => holds,
          describe: ({ seen }) => seen,
        },
        first,
        options,
      ),
  };
}
