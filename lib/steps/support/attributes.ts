/**
 * Owner, group and permissions of files inside the container.
 *
 * @module
 */

import type { Difference } from "../../events.ts";

/** What a file or folder inside is to be besides its content. */
export interface Attributes {
  /** Name or number. */
  readonly owner: string;
  /** Name or number. */
  readonly group: string;
  /** Permissions in octal digits. */
  readonly mode: string;
}

/** What a file or folder inside is besides its content. */
export interface FoundAttributes {
  /** Number and name of the owner, as `stat` gives them. */
  readonly owner: readonly [number: string, name: string];
  /** Number and name of the group, as `stat` gives them. */
  readonly group: readonly [number: string, name: string];
  /** Permissions in octal digits. */
  readonly mode: string;
}

/** What differs in owner, group and mode. `of` tells which file of several it is. */
export function attributeDifferences(found: FoundAttributes, wanted: Attributes, of = ""): Difference[] {
  const differences: Difference[] = [];
  if (found.mode !== wanted.mode) differences.push({ what: `mode${of}`, from: found.mode, to: wanted.mode });
  for (const what of ["owner", "group"] as const) {
    if (!found[what].includes(wanted[what])) {
      differences.push({ what: `${what}${of}`, from: found[what][1], to: wanted[what] });
    }
  }
  return differences;
}

/** Whether only its owner may read a file: its content then does not belong into a log. */
export function isPrivate(mode: number): boolean {
  return (mode & 0o044) === 0;
}

/** Throws a `TypeError` unless `mode` is made of permission bits. */
export function requireMode(mode: number, path: string): void {
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777) {
    throw new TypeError(`Cannot use ${mode} as the mode of "${path}": expected permissions such as 0o644`);
  }
}

/** Throws a `TypeError` unless `owner` is a name or number that a system can have for a user or group. */
export function requireOwner(owner: string | number, path: string): void {
  if (!/^(?:\d+|[A-Za-z_][\w.-]*\$?)$/.test(String(owner))) {
    throw new TypeError(
      `Cannot use "${owner}" as an owner of "${path}": expected the name or number of a user or group`,
    );
  }
}
