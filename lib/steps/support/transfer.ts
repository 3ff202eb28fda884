/**
 * Content on its way into the container: whole or not at all, whatever its size.
 *
 * @module
 */

import { concat } from "../../bytes.ts";
import { failureOf } from "../../container/container.ts";
import type { Reading, Writing } from "../../step.ts";
import { ExitCode, Failure } from "../../errors.ts";
import type { HostFile } from "../../host/host.ts";
import { Secret } from "../../secret.ts";
import { lines, type Script, sh } from "../../shell.ts";

/** Content that can be sent. */
export interface Source {
  /** In bytes. */
  readonly size: number;
  /** In hexadecimal digits. */
  readonly sha256: string;
  /** Whether the hash must not be shown either: that of a short secret is soon reversed. */
  readonly isSecret?: boolean;
  /** The content; a chunk is good until the next one is asked for. `onSent` hears how many bytes were taken so far. */
  chunks(onSent?: (bytes: number) => void): AsyncIterable<Uint8Array>;
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
/**
 * From this size on a file that was verified is not read once more, in bytes. To hash it takes longer than a tick of the clock by
 * which file systems date changes: who writes to it afterwards dates it anew.
 */
const LARGE = 16 * 1024 * 1024;
/** How many files go together at the most: each has its part in the script of a frame. */
const MOST = 200;

/** A source for content that is at hand. */
export async function sourceOfBytes(bytes: Uint8Array, isSecret = false): Promise<Source> {
  const digest = await crypto.subtle.digest("SHA-256", bytes.slice());
  return {
    size: bytes.length,
    sha256: new Uint8Array(digest).toHex(),
    isSecret,
    async *chunks() {
      yield bytes;
    },
  };
}

/** A source for a file on the host, which is read as it is sent. What it gives is what was looked at, or a {@linkcode Failure}. */
export async function sourceOfHostFile(file: HostFile): Promise<Source> {
  const { size } = file;
  const sha256 = await file.sha256();
  return {
    size,
    sha256,
    async *chunks(onSent) {
      const changed = (how: string) =>
        new Failure(ExitCode.Step, `Cannot copy "${file.path}" from the host as it was changed meanwhile: ${how}`, {
          hint: "Run this again when nothing writes to the file any more",
        });
      let sent = 0;
      for await (const chunk of file.chunks()) {
        sent += chunk.length;
        // A file that grows may never end.
        if (sent > size) throw changed(`it has more than the ${size} bytes that it had`);
        onSent?.(sent);
        yield chunk;
      }
      if (sent < size) throw changed(`it has ${sent} of the ${size} bytes that it had`);
      if (await file.sha256() !== sha256) throw changed("its content is another");
    },
  };
}

/** The state of a file inside whose content was read and found right. While it has it, there is no need to read it again. */
export interface Verified {
  /** File system, file and time of its last change, as `stat` prints {@linkcode STATE}; what writes to a file changes it. */
  readonly state: string;
  readonly sha256: string | Secret;
}

/** See {@linkcode Verified}. Owner, mode and name are not in it. */
export const STATE = "%d:%i %y";

/**
 * Puts a file at `path`: sent to a temporary file beside it that only root can read, verified by size and hash, given its owner and
 * mode, and moved into place. Missing parent folders are made (0755). Throws a {@linkcode Failure}; the file is then as it was.
 *
 * With `replaces`, the SHA-256 that the file had when it was looked at, a file that was changed since then is left alone. Gives what is
 * known of a large file from then on.
 */
export async function send(
  at: Writing,
  path: string,
  source: Source,
  attributes: Attributes,
  replaces?: string,
): Promise<Verified | undefined> {
  const { size } = source;
  const sha256 = source.isSecret ? new Secret("SHA-256 of the content", source.sha256) : source.sha256;
  const folder = path.slice(0, path.lastIndexOf("/")) || "/";
  const temporary = temporaryName(path);
  if (size > SMALL) await requireSpace(at, folder, size, temporary);
  const unchanged = replaces === undefined ? sh`:` : sh`h=$(sha256sum <${path}) && [ "\${h%% *}" = ${replaces} ] ||
  { echo ${`${path} was changed meanwhile`} >&2; fail 4; }`;
  let percent = -1;
  const onSent = (bytes: number) => {
    const now = Math.floor(bytes * 100 / size);
    if (now === percent) return;
    percent = now;
    at.progress(`${formatBytes(bytes)} of ${formatBytes(size)} sent`);
  };
  // Moved onto a symbolic link to a folder, the file would end up in that folder. Whose folder it is can put something else, such as
  // a link, in the place of the temporary file at any time: hence it has a number from its beginning on, and its name serves to move it.
  const output = await at.container.write(
    sh`t=${temporary} f=/proc/self/fd/4
fail() { rm -f "$t"; exit "$1"; }
mkdir -p ${folder} && rm -f "$t" && umask 077 && set -C && exec 4>"$t" && cat >&4 || fail 1
s=$(stat -L -c %s $f) && v=$(stat -L -c ${STATE} $f) && h=$(${digestOf(sh`$f`, size)}) || fail 1
[ "$s" -eq ${size} ] && [ "\${h%% *}" = ${sha256} ] || { echo "only $s of ${size} bytes arrived whole" >&2; fail 3; }
${give(attributes)} && exec 4>&- || fail 1
${unchanged}
{ [ ! -d ${path} ] || rm -f ${path}; } && mv -f "$t" ${path} || fail 1
${size >= LARGE ? sh`echo "size and hash are right, of file $v"` : sh`:`}`,
    // What comes in chunks always takes a process of its own.
    {
      stdin: size > SMALL ? source.chunks(onSent) : await bytesOf(source),
      timeout: timeFor(10 * 60_000, size),
      codes: "any",
    },
  );
  if (output.code !== 0) throw failureOf(output, `Cannot write "${path}", which is as it was`);
  const state = /, of file (.*)$/.exec(output.text)?.[1];
  return state === undefined ? undefined : { state, sha256 };
}

/** Gives the file that is open as number 4 its owner and mode. */
function give({ owner, group, mode }: Attributes): Script {
  return sh`chown ${`${owner}:${group}`} /proc/self/fd/4 && chmod ${mode} /proc/self/fd/4`;
}

/** Gives a file that is there its owner and mode. Whose folder it is could put a link to another file in its place meanwhile. */
export async function setAttributes({ container }: Writing, path: string, attributes: Attributes): Promise<void> {
  await container.write(
    sh`exec 4<${path} && [ "$(stat -L -c %d:%i /proc/self/fd/4)" = "$(stat -c %d:%i ${path})" ] ||
  { echo ${`${path} was changed meanwhile`} >&2; exit 4; }
${give(attributes)}`,
  );
}

/** A file on its way into a folder. */
export interface Parcel {
  /** Relative to the folder; the folders that it is in are there. */
  readonly path: string;
  readonly source: Source;
  readonly attributes: Attributes;
}

/**
 * Puts files into a folder, each as {@linkcode send} does: whole or not at all. As many small ones as fit into a frame of the session
 * go together, and are all verified before the first of them is moved into place.
 */
export async function sendAll(at: Writing, folder: string, parcels: readonly Parcel[]): Promise<void> {
  let batch: Parcel[] = [];
  let sent = 0;
  const flush = async () => {
    if (batch.length > 0) await sendBatch(at, folder, batch);
    sent += batch.length;
    batch = [];
  };
  for (const parcel of parcels) {
    const isLarge = parcel.source.size > SMALL;
    const size = batch.reduce((sum, { source }) => sum + source.size, parcel.source.size);
    const isTaken = batch.some(({ path }) => temporaryName(path) === temporaryName(parcel.path));
    if (isLarge || isTaken || size > SMALL || batch.length === MOST) await flush();
    at.progress(`file ${sent + batch.length + 1} of ${parcels.length}: ${parcel.path}`);
    if (isLarge) {
      await send(at, `${folder}/${parcel.path}`, parcel.source, parcel.attributes);
      sent++;
    } else batch.push(parcel);
  }
  await flush();
}

async function sendBatch(at: Writing, folder: string, parcels: readonly Parcel[]): Promise<void> {
  const contents: Uint8Array[] = [];
  const cuts: Script[] = [];
  let size = 0;
  for (const { path, source } of parcels) {
    contents.push(await bytesOf(source));
    cuts.push(sh`take ${size + 1} ${source.size} ${temporaryName(`./${path}`)}`);
    size += source.size;
  }
  const temporaries = (of: readonly Parcel[]) => of.map(({ path }) => temporaryName(`./${path}`));
  const all = temporaries(parcels);
  const hashes = parcels.map(({ source }) => source.sha256).join("\n");
  const owned = Map.groupBy(parcels, ({ attributes: { owner, group } }) => `${owner}:${group}`);
  const permitted = Map.groupBy(parcels, ({ attributes: { mode } }) => mode);
  // What comes on stdin becomes a file, which has no name by the time it is cut: not every `head` leaves in a pipe what it was not
  // asked for.
  const output = await at.container.write(
    lines(
      sh`cd ${folder} && umask 077 && set -C || exit
fail() { rm -f .phoenix_setup ${all}; exit "$1"; }
rm -f .phoenix_setup ${all} && cat >.phoenix_setup && exec 4<.phoenix_setup && rm .phoenix_setup || fail 1
take() { tail -c "+$1" /proc/self/fd/4 | head -c "$2" >"$3" || fail 1; }
place() { { [ ! -d "$2" ] || rm -f "$2"; } && mv -f "$1" "$2" || fail 1; }`,
      ...cuts,
      sh`h=$(sha256sum ${all} | sed 's/^\\//; s/ .*//') && [ "$h" = ${hashes} ] || { echo not all arrived whole >&2; fail 3; }`,
      ...[...owned].map(([owner, of]) => sh`chown -h ${owner} ${temporaries(of)} || fail 1`),
      ...[...permitted].map(([mode, of]) => sh`chmod ${mode} ${temporaries(of)} || fail 1`),
      ...parcels.map(({ path }) => sh`place ${temporaryName(`./${path}`)} ${`./${path}`}`),
    ),
    { stdin: concat(contents), timeout: timeFor(60_000, size), codes: "any" },
  );
  const what = parcels.length === 1 ? `"${folder}/${parcels[0]!.path}"` : `${parcels.length} files in "${folder}"`;
  if (output.code !== 0) throw failureOf(output, `Cannot write ${what}; none of it is written in part`);
}

/** All of what is small. */
async function bytesOf(source: Source): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.chunks()) chunks.push(chunk.slice());
  return concat(chunks);
}

/** The same in every run, so that what a killed one left behind is replaced; short enough whatever the file is called. */
function temporaryName(path: string): string {
  const name = path.lastIndexOf("/") + 1;
  return `${path.slice(0, name)}.${[...path.slice(name)].slice(0, 50).join("")}.phoenix_setup`;
}

/**
 * Prints the SHA-256 of a file inside, as `sha256sum` does. Of a large one OpenSSL prints it where it is there: unlike coreutils it uses
 * the processor's own instructions, 0.8 s instead of 3 s for 1 GiB. One that is as it was `verified` is not read at all, unless the
 * time of its last change is told in whole seconds, in which much can happen. `path` is one word of shell.
 */
export function digestOf(path: Script, size: number, verified?: Verified): Script {
  if (size <= SMALL) return sh`sha256sum <${path}`;
  const read = sh`openssl dgst -sha256 -r <${path} 2>/dev/null || sha256sum <${path}`;
  if (verified === undefined || size < LARGE || !/\.\d/.test(verified.state)) return read;
  return sh`if [ "$(stat -c ${STATE} ${path})" = ${verified.state} ]; then echo ${verified.sha256}; else ${read}; fi`;
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

/**
 * Throws a {@linkcode Failure} unless `size` bytes are free where `folder` is, or will be. What `temporary` takes up counts as free: a
 * run that was cut off may have left most of a large file there.
 */
async function requireSpace({ container }: Reading, folder: string, size: number, temporary: string): Promise<void> {
  const output = await container.read(sh`d=${folder}
until [ -d "$d" ]; do d=\${d%/*}; d=\${d:-/}; done
df -Pk "$d" | tail -n 1
du -k ${temporary} 2>/dev/null || :`);
  const [last = "", left = ""] = output.text.split("\n");
  const free = (Number(/\s(\d+)\s+(?:\d+%|-)\s/.exec(last)?.[1] ?? NaN) + (parseInt(left) || 0)) * 1024;
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
