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

/** {@linkcode requirePath} for what is on the host. */
export function requireHostPath(path: string): void {
  requirePath(path, "use on the host");
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
