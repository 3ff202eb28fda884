/**
 * Checks of the paths that steps are given.
 *
 * @module
 */

import type { PathChange } from "../../step.ts";

/** Folders of the system, which nobody removes on purpose. Paths with a single component are refused anyway. */
const SYSTEM = new Set([
  ...["bin", "include", "lib", "lib32", "lib64", "libexec", "libx32", "local", "sbin", "share"].map((n) => `/usr/${n}`),
  ...["backups", "cache", "lib", "lock", "log", "mail", "run", "spool", "tmp"].map((name) => `/var/${name}`),
]);

/** Throws a `TypeError` unless `path` is absolute and normalized, and not `/`. `what` completes "Cannot …". */
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

/** As {@linkcode requirePath}, for a path on the host. */
export function requireHostPath(path: string): void {
  requirePath(path, "use on the host");
}

/** As {@linkcode requirePath}. Also refuses folders that no setup may remove, such as `/etc` and `/usr/lib`. */
export function requireRemovable(path: string, what: string): void {
  requirePath(path, what);
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.length < 2 || SYSTEM.has(`/${parts.join("/")}`) || ["dev", "proc", "sys"].includes(parts[0]!)) {
    throw new TypeError(`Cannot ${what} "${path}": expected a path below a folder that is not the system's own`);
  }
}

/**
 * Whether a change affects `path`: it is a change of the same path, of one below it, or the removal of a folder above
 * it.
 */
export function concerns(path: string, change: PathChange): boolean {
  return change.path === path || change.path.startsWith(`${path}/`) ||
    (change.goes === true && path.startsWith(`${change.path}/`));
}
