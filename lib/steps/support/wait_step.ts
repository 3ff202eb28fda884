/**
 * Steps that wait for what other steps have started.
 *
 * @module
 */

import type { Reading, Step } from "../../step.ts";
import { pollOnce, pollUntil, requireWaitOptions, type WaitOptions } from "./poll.ts";

/** What a look has found. */
export interface Look {
  /** Whether the wait is over. */
  readonly holds: boolean;
  /** The state as a phrase. */
  readonly seen: string;
}

/** What is waited for. */
export interface Awaited {
  /** The step's title. */
  readonly title: string;
  /** What has to reach a state, such as `port 80`. */
  readonly what: string;
  /** The state that it has to reach, such as `open`. */
  readonly to: string;
  /** Both as the end of a sentence. Default: `… to be …`, such as `port 80 to be open`. */
  readonly subject?: string;
}

/** How long one look may take: that a container is frozen and does not answer has to be noticed soon. */
export const LOOK_TIMEOUT = "15s";

/**
 * A step that looks until the wait is over, and changes nothing. `lookAgain` is used for all looks but the first one;
 * it can throw to end the wait early. Throws a `TypeError` for an invalid duration.
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
