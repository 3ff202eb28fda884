/**
 * Durations: as setups write them, as people read them, and as bounds of a wait.
 *
 * @module
 */

import { head } from "./text.ts";

/** A duration: milliseconds, or a number with a unit such as `"500ms"`, `"30s"`, `"2m"`, `"1h"`. */
export type Duration = number | `${number}${"ms" | "s" | "m" | "h"}`;

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const;

/** The longest duration that a timer can hold, in milliseconds: about 24 days. A longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Turns a duration into milliseconds. Throws a `TypeError` for anything that is not a positive duration of at most 24
 * days.
 *
 * @example
 * ```ts
 * milliseconds("2m"); // 120000
 * milliseconds(250); // 250
 * ```
 */
export function milliseconds(duration: Duration | string): number {
  const match = typeof duration === "string" ? /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(duration) : null;
  const value = match ? Number(match[1]) * UNITS[match[2] as keyof typeof UNITS] : Number(duration);
  if ((typeof duration === "string" && !match) || !(value > 0 && value <= MAX_TIMER_MS)) {
    throw new TypeError(
      `Cannot use ${JSON.stringify(head(String(duration), 64))} as a duration: ` +
        `expected a number with a unit, such as "30s" or "2m"`,
    );
  }
  return value;
}

/** A duration for a person: `38 ms`, `12.4 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatDuration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** What `promise` gives, or `undefined` when it takes longer than `ms` milliseconds. The promise itself goes on. */
export async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), Math.min(ms, MAX_TIMER_MS));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
