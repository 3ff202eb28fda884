/**
 * The part of `@std/path` that the project uses, for networks that do not reach JSR: POSIX paths, as text.
 *
 * Same results as the package. `node:path` agrees with it but for the ends of a path, mended below;
 * `conformance_test.ts` holds both to that.
 *
 * @module
 */
import { posix } from "node:path";

/** Joins path segments and normalizes the result: `join("/a", "../b")` is `/b`; of nothing, `.`. */
export function join(...segments: string[]): string {
  return posix.join(...segments);
}

/** Makes a path absolute, right to left, in the end from the working directory: `resolve("/a", "b")` is `/a/b`. */
export function resolve(...segments: string[]): string {
  return posix.resolve(...segments);
}

/** Returns the path without its last segment and without a slash at the end: `/a` of `/a//b/`, `.` of `a`. */
export function dirname(path: string): string {
  return posix.dirname(path).replace(/(?<=.)\/+$/s, "");
}

/** Returns the last segment of a path, without `suffix` unless that is all of it; `/` of the root. */
export function basename(path: string, suffix = ""): string {
  const name = posix.basename(path) || (path.startsWith("/") ? "/" : "");
  return suffix && name !== suffix && name.endsWith(suffix) ? name.slice(0, -suffix.length) : name;
}

/**
 * Returns the path that a `file:` URL stands for.
 *
 * @throws {TypeError} when the URL is none or has another scheme.
 */
export function fromFileUrl(url: string | URL): string {
  const { protocol, pathname } = new URL(url);
  if (protocol !== "file:") throw new TypeError(`URL must be a file URL: received "${protocol}"`);
  // A stray "%" stands for itself; decodeURIComponent() would throw on it.
  return decodeURIComponent(pathname.replace(/%(?![0-9A-Fa-f]{2})/g, "%25"));
}
