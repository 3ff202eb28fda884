/**
 * Markers: small files inside the container by which a step knows later what it has done.
 *
 * @module
 */

import { type Script, sh } from "../../shell.ts";

/** The folder of all markers inside the container; each kind of step has its own folder in it. */
export const MARKERS = "/var/lib/phoenix_setup";

/**
 * A script that writes what `content` prints into the marker at `path`. The marker appears whole or not at all, also when the script
 * is killed, and only root can read it: a marker can hold the hash of a short secret, which is as good as the secret. Missing
 * folders are made.
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
