/**
 * Differences, as a person reads them.
 *
 * @module
 */

import type { Difference } from "./events.ts";
import { counted } from "./text.ts";

/** How many lines of each of two texts are shown. */
const MAX_SHOWN_LINES = 40;

/** The lines that two texts do not share at their beginning and end, as `-` and `+`; of each text the first 40. */
export function contentDifference(from: string, to: string): Difference {
  const before = from.split("\n");
  const after = to.split("\n");
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let end = 0;
  const most = Math.min(before.length, after.length) - start;
  while (end < most && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const part = (lines: string[], sign: string) => {
    const own = lines.slice(start, lines.length - end);
    const hidden = own.length - MAX_SHOWN_LINES;
    const more = hidden > 0 ? [`${sign} (${counted(hidden, "more line")})`] : [];
    return [...own.slice(0, MAX_SHOWN_LINES).map((line) => `${sign} ${line}`), ...more];
  };
  return { what: ["content:", `@ line ${start + 1}`, ...part(before, "-"), ...part(after, "+")].join("\n") };
}

/** A difference as one phrase: `mode: 644 -> 600`. */
export function describeDifference({ what, from, to }: Difference): string {
  if (from === undefined) return to === undefined ? what : `${what}: ${to}`;
  return to === undefined ? `${what}: ${from} (to be removed)` : `${what}: ${from} -> ${to}`;
}
