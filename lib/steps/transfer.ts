/**
 * Content on its way into the container: whole or not at all, whatever its size.
 *
 * @module
 */

import { failureOf } from "../container.ts";
import type { Reading, Writing } from "../engine.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { HostFile } from "../host.ts";
import { sh } from "../shell.ts";

/** Content that can be sent. */
export interface Source {
  /** In bytes. */
  readonly size: number;
  /** In hexadecimal digits. */
  readonly sha256: string;
  /** The content. `onSent` hears how many bytes were taken so far. */
  open(onSent: (bytes: number) => void): Promise<Uint8Array | ReadableStream<Uint8Array>>;
}

/** What a file inside is to be besides its content. */
export interface Attributes {
  /** Name or number. */
  readonly owner: string;
  /** Name or number. */
  readonly group: string;
  /** Permissions in octal digits. */
  readonly mode: string;
}

/** What fits into a frame of the session, in bytes. More is sent by a `pct exec` of its own, and asked whether it has room. */
const SMALL = 64 * 1024;

/** A source for content that is at hand. */
export async function sourceOfBytes(bytes: Uint8Array): Promise<Source> {
  const digest = await crypto.subtle.digest("SHA-256", bytes.slice());
  return { size: bytes.length, sha256: new Uint8Array(digest).toHex(), open: () => Promise.resolve(bytes) };
}

/** A source for a file on the host, which is read as it is sent. What it gives is what was looked at, or a {@linkcode Failure}. */
export async function sourceOfHostFile(file: HostFile): Promise<Source> {
  const { size } = file;
  const sha256 = await file.sha256();
  return {
    size,
    sha256,
    async open(onSent) {
      const { createHash } = await import("node:crypto");
      const hash = createHash("sha256");
      const changed = (how: string) =>
        new Failure(ExitCode.Step, `Cannot copy "${file.path}" from the host as it was changed meanwhile: ${how}`, {
          hint: "Run this again when nothing writes to the file any more",
        });
      let sent = 0;
      const checked = file.stream().pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          transform(chunk, controller) {
            sent += chunk.length;
            // A file that grows may never end.
            if (sent > size) throw changed(`it has more than the ${size} bytes that it had`);
            hash.update(chunk);
            onSent(sent);
            controller.enqueue(chunk);
          },
          flush() {
            if (sent < size) throw changed(`it has ${sent} of the ${size} bytes that it had`);
            if (hash.digest("hex") !== sha256) throw changed("its content is another");
          },
        }),
      );
      // A stream always takes a process of its own.
      return size > SMALL ? checked : new Uint8Array(await new Response(checked).arrayBuffer());
    },
  };
}

/**
 * Puts a file at `path`: sent to a temporary file beside it that only root can read, verified by size and hash, given its owner and
 * mode, and moved into place. Missing parent folders are made (0755). Throws a {@linkcode Failure}; the file is then as it was.
 *
 * With `replaces`, the SHA-256 that the file had when it was looked at, a file that was changed since then is left alone.
 */
export async function send(
  at: Writing,
  path: string,
  source: Source,
  attributes: Attributes,
  replaces?: string,
): Promise<void> {
  const { size, sha256 } = source;
  const folder = path.slice(0, path.lastIndexOf("/")) || "/";
  if (size > SMALL) await requireSpace(at, folder, size);
  // The same name in every run, so that what a killed one left behind is replaced; short enough whatever the file is called.
  const name = [...path.slice(path.lastIndexOf("/") + 1)].slice(0, 50).join("");
  const temporary = `${folder === "/" ? "" : folder}/.${name}.phoenix_setup`;
  const unchanged = replaces === undefined ? sh`:` : sh`h=$(sha256sum <${path}) && [ "\${h%% *}" = ${replaces} ] ||
  { echo ${`${path} was changed meanwhile`} >&2; fail 4; }`;
  let percent = -1;
  const onSent = (bytes: number) => {
    const now = Math.floor(bytes * 100 / size);
    if (size <= SMALL || now === percent) return;
    percent = now;
    at.progress(`${formatBytes(bytes)} of ${formatBytes(size)} sent`);
  };
  // Moved onto a symbolic link to a folder, the file would end up in that folder.
  const output = await at.container.write(
    sh`t=${temporary}
fail() { rm -f "$t"; exit "$1"; }
mkdir -p ${folder} && rm -f "$t" && (umask 077; set -C; cat >"$t") || fail 1
s=$(stat -c %s "$t") && h=$(sha256sum <"$t") || fail 1
[ "$s" -eq ${size} ] && [ "\${h%% *}" = ${sha256} ] || { echo "only $s of ${size} bytes arrived whole" >&2; fail 3; }
chown ${`${attributes.owner}:${attributes.group}`} "$t" && chmod ${attributes.mode} "$t" || fail 1
${unchanged}
{ [ ! -d ${path} ] || rm -f ${path}; } && mv -f "$t" ${path} || fail 1`,
    { stdin: await source.open(onSent), timeout: timeFor(10 * 60_000, size), codes: "any" },
  );
  if (output.code !== 0) throw failureOf(output, `Cannot write "${path}", which is as it was`);
}

/** How long something may take with `size` bytes: `base` milliseconds, and 1 s for each 4 MiB, which a slow disk manages. */
export function timeFor(base: number, size: number): number {
  return Math.ceil(base + size / (4 * 1024 * 1024) * 1000);
}

/** A number of bytes for a person: `66560 bytes`, `3.2 MiB`. */
export function formatBytes(bytes: number): string {
  const power = Math.min(Math.floor(Math.log2(bytes) / 10), 4);
  if (power < 2) return `${bytes} bytes`;
  return `${(bytes / 1024 ** power).toFixed(1)} ${["MiB", "GiB", "TiB"][power - 2]}`;
}

/** Throws a {@linkcode Failure} unless `size` bytes are free where `folder` is, or will be. */
export async function requireSpace({ container }: Reading, folder: string, size: number): Promise<void> {
  const output = await container.read(sh`d=${folder}
until [ -d "$d" ]; do d=\${d%/*}; d=\${d:-/}; done
df -Pk "$d" | tail -n 1`);
  const free = Number(/\s(\d+)\s+(?:\d+%|-)\s/.exec(output.text)?.[1] ?? NaN) * 1024;
  if (free >= size) return;
  if (Number.isNaN(free)) {
    throw failureOf(output, `Cannot tell how much space is free for "${folder}" inside the container`);
  }
  throw new Failure(
    ExitCode.Step,
    `Only ${formatBytes(free)} are free for "${folder}" inside the container, expected at least ${formatBytes(size)}`,
    { hint: `Free some space, or enlarge the disk, such as: pct resize ${container.ctid} rootfs +8G` },
  );
}
