/**
 * Paths that steps are given: what is refused when a step is described.
 *
 * @module
 */

import type { PathChange } from "../../step.ts";

/** Folders with a system in them: whoever removes one has made a mistake. Whatever has a single component is refused anyway. */
const SYSTEM = new Set([
  ...["bin", "include", "lib", "lib32", "lib64", "libexec", "libx32", "local", "sbin", "share"].map((n) => `/usr/${n}`),
  ...["backups", "cache", "lib", "lock", "log", "mail", "run", "spool", "tmp"].map((name) => `/var/${name}`),
]);

/** Throws a `TypeError` unless `path` is absolute and says where it leads by itself. `what` completes "Cannot …". */
export function requirePath(path: string, what: string): void {
  const parts = path.split("/");
  const last = parts.at(-1);
  if (
    !path.startsWith("/") || last === "" || parts.includes(".") || parts.includes("..") || path.includes("\0") ||
    !path.isWellFormed()
  ) {
    throw new TypeError(
      `Cannot ${what} ${
        JSON.stringify(path)
      }: expected an absolute path without "." and ".." and without a "/" at its end`,
    );
  }
}

/** Like {@linkcode requirePath}, and refuses what no setup may remove: `/etc`, `/usr/lib` and their like. */
export function requireRemovable(path: string, what: string): void {
  requirePath(path, what);
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.length < 2 || SYSTEM.has(`/${parts.join("/")}`) || ["dev", "proc", "sys"].includes(parts[0]!)) {
    throw new TypeError(`Cannot ${what} "${path}": expected a path below a folder that is not the system's own`);
  }
}

/** Whether a change is one of `path` as well: of the same, in that folder, or of a folder that goes with it. */
export function concerns(path: string, change: PathChange): boolean {
  return change.path === path || change.path.startsWith(`${path}/`) ||
    (change.goes === true && path.startsWith(`${change.path}/`));
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
