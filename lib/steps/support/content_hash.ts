/**
 * What is at a path inside the container, as one hash.
 *
 * @module
 */

import { type Script, sh } from "../../shell.ts";

/**
 * The shell function `content_hash`, which prints a hash of what is at a path, followed by ` -`. Of a folder, all regular files below
 * it count, with their names. Symbolic links are followed, and count as what they lead to. Nothing at the path is a state of its own.
 * Owners, permissions and times do not count.
 */
export const CONTENT_HASH: Script = sh`content_hash() {
  { [ -e "$1" ] || echo absent; find -L "$1" -type f -exec sha256sum {} + 2>/dev/null; } | LC_ALL=C sort | sha256sum
}`;
