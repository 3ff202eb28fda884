/**
 * Waiting for a line in a log.
 *
 * @module
 */

import type { Step } from "../step.ts";
import { type Script, sh } from "../shell.ts";
import { requirePath } from "./support/path.ts";
import type { WaitOptions } from "./support/poll.ts";
import { requireUnitName } from "./support/systemd.ts";
import { waitStep } from "./support/wait_step.ts";

/** How long one search may take: a log can be long. */
const SEARCH_TIMEOUT = "1m";
/** How much of a log's last line is shown. */
const MAX_SHOWN_BYTES = 500;

/**
 * A log has a line that contains a text. It is waited for. The log is a file (an absolute path), or the journal of a
 * systemd unit since the unit's last start. The text is not a pattern.
 *
 * Throws a `TypeError` for text with a line break, and for what is neither an absolute path nor the name of a unit.
 *
 * @example
 * ```ts
 * import { unitActive } from "./unit_active.ts";
 *
 * const loaded = logLine("llama-server", "model loaded", { within: "10m", while: unitActive("llama-server") });
 * const ready = logLine("/var/log/app.log", "ready to accept connections");
 * ```
 */
export function logLine(pathOrUnit: string, text: string, options: WaitOptions = {}): Step {
  if (text === "" || /[\n\0]/.test(text)) {
    throw new TypeError(`Cannot wait for the line ${JSON.stringify(text)}: expected a text without a line break`);
  }
  const isPath = pathOrUnit.startsWith("/");
  if (isPath) requirePath(pathOrUnit, "wait for a line in");
  const where = isPath ? pathOrUnit : requireUnitName(pathOrUnit);
  const log = isPath ? logOfFile(where) : journalOfLastStart(where);
  const what = `a line with ${JSON.stringify(text)} in ${isPath ? where : `the journal of ${where}`}`;
  return waitStep({ title: what, what, to: "there" }, options, async ({ container }) => {
    const output = await container.read(
      sh`${log}
log | grep -qF -e ${text} || {
  l=$(last | head -c ${MAX_SHOWN_BYTES}) && echo "\${l:+as the last line: }\${l:-nothing}"
  exit 1
}`,
      { codes: [0, 1], timeout: SEARCH_TIMEOUT },
    );
    // If systemd has not started yet, systemctl says so on stderr.
    return { holds: output.code === 0, seen: output.code === 0 ? "there" : output.text || output.errorText };
  });
}

/**
 * Defines the shell functions `log`, which prints a file, and `last`, which prints its last line. Exits if there is no
 * such file.
 */
function logOfFile(path: string): Script {
  return sh`[ -f ${path} ] || { echo 'no such file'; exit 1; }
log() { cat ${path}; }
last() { tail -n 1 ${path}; }`;
}

/** Defines the same functions for what a unit has written to the journal since its last start. */
function journalOfLastStart(unit: string): Script {
  // systemd's invocation id stands for one start of a unit: the output of earlier ones does not count.
  return sh`i=$(systemctl show -p InvocationID ${unit}) && i=\${i#*=} || exit
[ -n "$i" ] || { echo 'a unit that was not started'; exit 1; }
log() { journalctl -q --no-pager -o cat "$@" _SYSTEMD_INVOCATION_ID="$i"; }
last() { log -n 1; }`;
}
