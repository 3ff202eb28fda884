/**
 * Files of a host that is not there, for tests of steps that copy them.
 *
 * @module
 */

import { dirname } from "@std/path";
import type { Host, HostFile } from "../../lib/host/host.ts";

/** What is at a path of the host: text, or a file with more to it. `null` is neither file nor folder. */
export type HostContent = string | { readonly text: string; readonly mode?: number } | null;

/** How much of a file comes at once, in bytes. */
const PIECE = 16 * 1024;

/** The part of a host that reads files: these, and the folders that they are in. */
export function hostFiles(files: Readonly<Record<string, HostContent>>): Pick<Host, "file" | "folder"> {
  return {
    file(path) {
      const content = files[path];
      if (content === undefined || content === null) return Promise.resolve(undefined);
      const { text, mode = 0o644 } = typeof content === "string" ? { text: content } : content;
      return Promise.resolve(hostFile(path, text, mode));
    },
    folder(path) {
      const inside = Object.keys(files).filter((file) => file.startsWith(`${path}/`));
      const names = new Set(inside.map((file) => file.slice(path.length + 1).split("/")[0]!));
      return Promise.resolve(
        inside.length === 0 ? undefined : [...names].sort().map((name) => ({
          name,
          kind: files[`${path}/${name}`] === null
            ? "other"
            : inside.some((file) => dirname(file) === path && file.endsWith(`/${name}`))
            ? "file"
            : "folder",
        })),
      );
    },
  };
}

/**
 * A file of the host. `sent` is what its stream gives, where that is something else than what it was when it was looked
 * at.
 */
export function hostFile(path: string, text: string, mode = 0o644, sent = text): HostFile {
  const bytes = new TextEncoder().encode(text);
  let now = bytes;
  return {
    path,
    size: bytes.length,
    mode,
    async *chunks() {
      const rest = now = new TextEncoder().encode(sent);
      for (let at = 0; at < rest.length;) yield rest.subarray(at, at += PIECE);
    },
    text: () => Promise.resolve(text),
    sha256: async () => new Uint8Array(await crypto.subtle.digest("SHA-256", now)).toHex(),
  };
}
