/**
 * Waiting for a command that succeeds.
 *
 * @module
 */

import { CommandFailed, ExitCode } from "../errors.ts";
import type { Step } from "../step.ts";
import type { Script } from "../shell.ts";
import { head } from "../text.ts";
import { formatDuration } from "../time.ts";
import type { WaitOptions } from "./support/poll.ts";
import { waitStep } from "./support/wait_step.ts";

/** How long each attempt may take. */
const TRY_TIMEOUT_MS = 30_000;
/** How much of the last line of a failed attempt is shown. */
const MAX_SHOWN_CHARACTERS = 200;

/**
 * A command succeeds. It is run until it does, so it must change nothing. Each attempt may take half a minute.
 *
 * Throws a `TypeError` for an empty title.
 *
 * @example
 * ```ts
 * import { sh } from "../shell.ts";
 *
 * const ready = succeeds("the database answers", sh`pg_isready -q`, { within: "2m" });
 * ```
 */
export function succeeds(title: string, script: Script, options: WaitOptions = {}): Step {
  if (title === "") throw new TypeError("Cannot wait for a command without a title");
  return waitStep({ title, what: `"${script}"`, to: "successful" }, options, async ({ container }) => {
    try {
      const output = await container.read(script, { codes: "any", timeout: TRY_TIMEOUT_MS });
      const said = head((output.errorText || output.text).split("\n").at(-1)!, MAX_SHOWN_CHARACTERS);
      return { holds: output.code === 0, seen: `exit code ${output.code}${said === "" ? "" : `: ${said}`}` };
    } catch (error) {
      if (!(error instanceof CommandFailed) || error.exitCode !== ExitCode.Timeout) throw error;
      return { holds: false, seen: `no end within ${formatDuration(TRY_TIMEOUT_MS)}` };
    }
  });
}
