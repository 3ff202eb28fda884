/**
 * Owner, group and permissions of files inside the container.
 *
 * @module
 */

import type { Difference } from "../../events.ts";

/** The wanted owner, group and permissions of a file or folder inside. */
export interface Attributes {
  /** Name or number. */
  readonly owner: string;
  /** Name or number. */
  readonly group: string;
  /** Permissions in octal digits. */
  readonly mode: string;
}

/** The owner, group and permissions that a file or folder inside has. */
export interface FoundAttributes {
  /** Number and name of the owner, as `stat` prints them. */
  readonly owner: readonly [number: string, name: string];
  /** Number and name of the group, as `stat` prints them. */
  readonly group: readonly [number: string, name: string];
  /** Permissions in octal digits. */
  readonly mode: string;
}

/** The differences in owner, group and mode. `of` is added to their names, where there are several files. */
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

/** Whether only the owner may read a file: then its content does not belong in a log. */
export function isPrivate(mode: number): boolean {
  return (mode & 0o044) === 0;
}

/** Throws a `TypeError` unless `mode` consists of permission bits. */
export function requireMode(mode: number, path: string): void {
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777) {
    throw new TypeError(`Cannot use ${mode} as the mode of "${path}": expected permissions such as 0o644`);
  }
}

/** Throws a `TypeError` unless `owner` is a possible name or number of a user or group. */
export function requireOwner(owner: string | number, path: string): void {
  if (!/^(?:\d+|[A-Za-z_][\w.-]*\$?)$/.test(String(owner))) {
    throw new TypeError(
      `Cannot use "${owner}" as an owner of "${path}": expected the name or number of a user or group`,
    );
  }
}
