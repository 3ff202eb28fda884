/**
 * One hash of all content at a path inside the container.
 *
 * @module
 */

import { type Script, sh } from "../../shell.ts";

/**
 * Defines the shell function `content_hash PATH`, which prints a hash of the content at a path, followed by ` -`. Of a
 * folder, all regular files below it count, with their names. Symbolic links are followed. That nothing is at the path
 * has a hash of its own. Owners, permissions and times do not count.
 */
export const CONTENT_HASH: Script = sh`content_hash() {
  { [ -e "$1" ] || echo absent; find -L "$1" -type f -exec sha256sum {} + 2>/dev/null; } | LC_ALL=C sort | sha256sum
}`;
