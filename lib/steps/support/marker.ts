/**
 * Markers: small files inside the container in which a step records what it has done.
 *
 * @module
 */

import { type Script, sh } from "../../shell.ts";

/** The folder of all markers inside the container, in which each kind of step has its own folder. */
export const MARKERS = "/var/lib/phoenix_setup";

/**
 * A script that writes the output of `content` to the marker at `path`. The marker is replaced completely or not at
 * all, even if the script is killed. Only root can read it, as the hash of a short secret is as good as the secret.
 * Missing folders are created.
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
  const temporary = `${path}.new`;
  return sh`mkdir -p ${folder} && rm -f ${temporary} && (umask 077; ${content} >${temporary}) && mv -f ${temporary} ${path}`;
}
