/**
 * Waiting for what another process does, instead of sleeping for as long as it usually takes.
 *
 * @module
 */

/**
 * How long a condition is waited for, in milliseconds: a machine can be busy, and what never comes should fail all the
 * same.
 */
export const MAX_WAIT_MS = 60_000;

/** The time between two looks, in milliseconds. */
const PAUSE_MS = 10;

/**
 * Looks until `condition` holds, for a minute at most, and throws when it does not; `what` is what has to be so: `the
 * lock is held`.
 */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const started = performance.now(); !await condition();) {
    if (performance.now() - started > MAX_WAIT_MS) throw new Error(`Waited a minute in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}
