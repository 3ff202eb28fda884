/**
 * Guards: commands whose exit code tells whether something is needed.
 *
 * @module
 */

import { failureOf, type Output } from "../../container/container.ts";
import { CommandFailed } from "../../errors.ts";

/**
 * Whether an exit code is an answer of a guard, rather than "cannot be executed", "not found" or the end by a signal.
 */
export function hasAnswered(code: number): boolean {
  return code !== 126 && code !== 127 && !(code > 128 && code <= 128 + 64);
}

/** The failure of a guard that has not answered. `what` is what it guards, as part of a sentence. */
export function failureOfGuard(what: string, output: Output): CommandFailed {
  const { message, evidence } = failureOf(
    output,
    `Cannot tell whether ${what} is needed as its guard ended with exit code ${output.code}`,
  );
  const hint = "Where the guard's program may be missing, let the guard say so: command -v PROGRAM >/dev/null && …";
  return new CommandFailed(message, evidence, output.code > 128 ? {} : { hint });
}
