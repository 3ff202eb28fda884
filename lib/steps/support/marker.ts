/**
 * Markers: small files inside the container in which a step records what it has done.
 *
 * @module
 */

import { type Script, sh } from "../../shell.ts";

/** The folder of all markers inside the container, in which each kind of step has its own folder. */
export const MARKERS = "/var/lib/phoenix_setup";

/**
 * A script that writes the output of `content` to the marker at `path`. The marker is replaced completely or not at all,
 * even if the script is ended, and then nothing else is left behind. Only root can read it, as the hash of a short
 * secret is as good as the secret. Missing folders are created.
 *
 * @example
 * ```ts
 * import { sh } from "../../shell.ts";
 *
 * const note = writeMarker(`${MARKERS}/scripts/index`, sh`echo ${"0a1b2c"}`);
 * ```
 */
export function writeMarker(path: string, content: Script): Script {
  const folder = path.slice(0, path.lastIndexOf("/"));
  return sh`mkdir -p ${folder} && (
  m=${path}
  trap 'rm -f "$m.new"' EXIT
  trap 'exit 143' HUP INT TERM
  rm -f "$m.new" && umask 077 && ${content} >"$m.new" && mv -f "$m.new" "$m"
)`;
}
