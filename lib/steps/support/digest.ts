/**
 * The SHA-256 of files inside the container.
 *
 * @module
 */

import type { Secret } from "../../secret.ts";
import { type Script, sh } from "../../shell.ts";

/** The state of a file inside whose content was read and found right. While it has it, there is no need to read it again. */
export interface Verified {
  /** File system, file and time of its last change, as `stat` prints {@linkcode FILE_STATE}; what writes to a file changes it. */
  readonly state: string;
  /** The hash of its content. */
  readonly sha256: string | Secret;
}

/** See {@linkcode Verified}. Owner, mode and name are not in it. */
export const FILE_STATE = "%d:%i %y";

/**
 * From this size on a file that was verified is not read once more. To hash it takes longer than a tick of the clock by which file
 * systems date changes: who writes to it afterwards dates it anew.
 */
export const MIN_TRUSTED_BYTES = 16 * 1024 * 1024;
/** Up to this size it takes longer to start OpenSSL than it saves. */
const MAX_COREUTILS_BYTES = 64 * 1024;

/**
 * Prints the SHA-256 of a file inside, as `sha256sum` does. Of a large one OpenSSL prints it where it is there: unlike coreutils it uses
 * the processor's own instructions, 0.8 s instead of 3 s for 1 GiB. One that is as it was `verified` is not read at all, unless the
 * time of its last change is told in whole seconds, in which much can happen. `path` is one word of shell.
 */
export function digestOf(path: Script, size: number, verified?: Verified): Script {
  if (size <= MAX_COREUTILS_BYTES) return sh`sha256sum <${path}`;
  const read = sh`openssl dgst -sha256 -r <${path} 2>/dev/null || sha256sum <${path}`;
  if (verified === undefined || size < MIN_TRUSTED_BYTES || !/\.\d/.test(verified.state)) return read;
  return sh`if [ "$(stat -c ${FILE_STATE} ${path})" = ${verified.state} ]; then echo ${verified.sha256}; else ${read}; fi`;
}
