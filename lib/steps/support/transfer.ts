/**
 * Files that are sent to the container, completely or not at all, whatever their size.
 *
 * @module
 */

import { concat } from "../../bytes.ts";
import { failureOf } from "../../container/container.ts";
import type { Reading, Writing } from "../../step.ts";
import { ExitCode, Failure } from "../../errors.ts";
import type { Difference } from "../../events.ts";
import { Secret } from "../../secret.ts";
import { lines, type Script, sh } from "../../shell.ts";
import type { Attributes } from "./attributes.ts";
import { digestOf, FILE_STATE, MIN_TRUSTED_BYTES, type Verified } from "./digest.ts";
import { freeBytesIn } from "./disk_space.ts";
import type { Source } from "./source.ts";

/**
 * What fits into a frame of the session. More than this is sent by a `pct exec` of its own, after a check for free
 * space.
 */
const MAX_FRAME_BYTES = 64 * 1024;
/** How many files are sent together at most: each adds to the script of a frame. */
const MAX_BATCH_FILES = 200;

/** How long sending a file may take, in addition to the time for its size. */
const SEND_TIMEOUT_MS = 10 * 60_000;
/** How long sending a batch of files may take, in addition to the time for their size. */
const BATCH_TIMEOUT_MS = 60_000;

/**
 * Writes the file at `path`: the content is sent to a temporary file in the same folder that only root can read,
 * verified by size and hash, given its owner and mode, and moved into place. Missing parent folders are created (0755).
 * If this fails, a {@linkcode Failure} is thrown and the file is unchanged.
 *
 * `replaces` is the SHA-256 that the file had when it was read: a file that has changed since then is not replaced.
 * Returns the verified state of a large file.
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
  if (size > MAX_FRAME_BYTES) await requireSpace(at, folder, size, temporary);
  const requireUnchanged = replaces === undefined
    ? sh`:`
    : sh`h=$(sha256sum <${path}) && [ "\${h%% *}" = ${replaces} ] ||
  { echo ${`${path} was changed meanwhile`} >&2; fail 4; }`;
  // Moved onto a symbolic link to a folder, the file would end up in that folder. The owner of the folder can replace
  // the temporary file with something else, such as a link, at any time: so it is opened once and used by the number of
  // its descriptor, and its name serves only to move it.
  const output = await at.container.write(
    sh`t=${temporary} f=/proc/self/fd/4
fail() { rm -f "$t"; exit "$1"; }
mkdir -p ${folder} && rm -f "$t" && umask 077 && set -C && exec 4>"$t" && cat >&4 || fail 1
s=$(stat -L -c %s $f) && v=$(stat -L -c ${FILE_STATE} $f) && h=$(${digestOf(sh`$f`, size)}) || fail 1
[ "$s" -eq ${size} ] && [ "\${h%% *}" = ${sha256} ] || { echo "not all of the ${size} bytes arrived whole: $s came" >&2; fail 3; }
${setOpenFile(attributes)} && exec 4>&- || fail 1
${requireUnchanged}
{ [ ! -d ${path} ] || rm -f ${path}; } && mv -f "$t" ${path} || fail 1
${size >= MIN_TRUSTED_BYTES ? sh`echo "size and hash are right, of file $v"` : sh`:`}`,
    // Content in chunks is always sent by a process of its own.
    {
      stdin: size > MAX_FRAME_BYTES
        ? source.chunks(sendingProgress(size, (text) => at.progress(text)))
        : await bytesOf(source),
      timeout: timeFor(SEND_TIMEOUT_MS, size),
      codes: "any",
    },
  );
  if (output.code !== 0) throw failureOf(output, `Cannot write "${path}", which is unchanged`);
  const state = /, of file (.*)$/.exec(output.text)?.[1];
  return state === undefined ? undefined : { state, sha256 };
}

/**
 * A function that is told how many of `size` bytes were sent, and reports it as progress, at most once for each
 * percent.
 */
export function sendingProgress(size: number, progress: (text: string) => void): (sent: number) => void {
  let told = -1;
  return (sent) => {
    const percent = Math.floor(sent * 100 / size);
    if (percent === told) return;
    told = percent;
    progress(`${formatBytes(sent)} of ${formatBytes(size)} sent`);
  };
}

/** A script that sets owner and mode of the file that is open as descriptor 4. */
function setOpenFile({ owner, group, mode }: Attributes): Script {
  return sh`chown ${`${owner}:${group}`} /proc/self/fd/4 && chmod ${mode} /proc/self/fd/4`;
}

/**
 * Sets owner and mode of an existing file. The owner of its folder could replace it with a link to another file in the
 * meantime, which is noticed.
 */
export async function setAttributes({ container }: Writing, path: string, attributes: Attributes): Promise<void> {
  await container.write(
    sh`exec 4<${path} && [ "$(stat -L -c %d:%i /proc/self/fd/4)" = "$(stat -c %d:%i ${path})" ] ||
  { echo ${`${path} was changed meanwhile`} >&2; exit 4; }
${setOpenFile(attributes)}`,
  );
}

/** A file that is sent to a folder. */
export interface FileToSend {
  /** Relative to the folder. Folders in it have to exist. */
  readonly path: string;
  /** Its content. */
  readonly source: Source;
  /** Its owner, group and mode. */
  readonly attributes: Attributes;
}

/**
 * Writes files to a folder, each completely or not at all, as {@linkcode send} does. As many small files as fit into a
 * frame of the session are sent together, and all of them are verified before the first one is moved into place.
 */
export async function sendAll(at: Writing, folder: string, files: readonly FileToSend[]): Promise<void> {
  let batch: FileToSend[] = [];
  let sent = 0;
  const flush = async () => {
    if (batch.length > 0) await sendBatch(at, folder, batch);
    sent += batch.length;
    batch = [];
  };
  for (const file of files) {
    const isLarge = file.source.size > MAX_FRAME_BYTES;
    const size = batch.reduce((sum, { source }) => sum + source.size, file.source.size);
    const isTaken = batch.some(({ path }) => temporaryName(path) === temporaryName(file.path));
    if (isLarge || isTaken || size > MAX_FRAME_BYTES || batch.length === MAX_BATCH_FILES) await flush();
    at.progress(`file ${sent + batch.length + 1} of ${files.length}: ${file.path}`);
    if (isLarge) {
      await send(at, `${folder}/${file.path}`, file.source, file.attributes);
      sent++;
    } else batch.push(file);
  }
  await flush();
}

async function sendBatch(at: Writing, folder: string, files: readonly FileToSend[]): Promise<void> {
  const contents: Uint8Array[] = [];
  const cuts: Script[] = [];
  let size = 0;
  for (const { path, source } of files) {
    contents.push(await bytesOf(source));
    cuts.push(sh`take ${size + 1} ${source.size} ${temporaryName(`./${path}`)}`);
    size += source.size;
  }
  const temporaries = (of: readonly FileToSend[]) => of.map(({ path }) => temporaryName(`./${path}`));
  const all = temporaries(files);
  const hashes = files.map(({ source }) => source.sha256).join("\n");
  const owned = Map.groupBy(files, ({ attributes: { owner, group } }) => `${owner}:${group}`);
  const permitted = Map.groupBy(files, ({ attributes: { mode } }) => mode);
  // stdin is first saved to a file without a name, and cut from there: not every `head` leaves the rest of a pipe
  // unread.
  const output = await at.container.write(
    lines(
      sh`cd ${folder} && umask 077 && set -C || exit
fail() { rm -f .phoenix_setup ${all}; exit "$1"; }
rm -f .phoenix_setup ${all} && cat >.phoenix_setup && exec 4<.phoenix_setup && rm .phoenix_setup || fail 1
take() { tail -c "+$1" /proc/self/fd/4 | head -c "$2" >"$3" || fail 1; }
place() { { [ ! -d "$2" ] || rm -f "$2"; } && mv -f "$1" "$2" || fail 1; }`,
      ...cuts,
      sh`h=$(sha256sum ${all} | sed 's/^\\//; s/ .*//') && [ "$h" = ${hashes} ] || { echo not all files arrived whole >&2; fail 3; }`,
      ...[...owned].map(([owner, of]) => sh`chown -h ${owner} ${temporaries(of)} || fail 1`),
      ...[...permitted].map(([mode, of]) => sh`chmod ${mode} ${temporaries(of)} || fail 1`),
      ...files.map(({ path }) => sh`place ${temporaryName(`./${path}`)} ${`./${path}`}`),
    ),
    { stdin: concat(contents), timeout: timeFor(BATCH_TIMEOUT_MS, size), codes: "any" },
  );
  const what = files.length === 1 ? `"${folder}/${files[0]!.path}"` : `${files.length} files in "${folder}"`;
  if (output.code !== 0) throw failureOf(output, `Cannot write ${what}; none of them was written in part`);
}

/** The whole content of a small source. */
async function bytesOf(source: Source): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source.chunks()) chunks.push(chunk.slice());
  return concat(chunks);
}

/**
 * The name of a temporary file. It is the same in every run, so that a file that a killed run has left is replaced, and
 * short enough for any name.
 */
function temporaryName(path: string): string {
  const name = path.lastIndexOf("/") + 1;
  return `${path.slice(0, name)}.${[...path.slice(name)].slice(0, 50).join("")}.phoenix_setup`;
}

/**
 * How long something with `size` bytes may take, in milliseconds: `base`, and 1 s for each 4 MiB, which a slow disk
 * manages.
 */
export function timeFor(base: number, size: number): number {
  return Math.ceil(base + size / (4 * 1024 * 1024) * 1000);
}

/** A number of bytes for people: `66560 bytes`, `3.2 MiB`. */
export function formatBytes(bytes: number): string {
  const power = Math.min(Math.floor(Math.log2(bytes) / 10), 4);
  if (power < 2) return `${bytes} bytes`;
  return `${(bytes / 1024 ** power).toFixed(1)} ${["MiB", "GiB", "TiB"][power - 2]}`;
}

/**
 * The difference between contents that are not shown, by their sizes in bytes. Two sizes can look the same when
 * rounded.
 */
export function sizeDifference(what: string, found: number, wanted: number): Difference {
  const [from, to] = [formatBytes(found), formatBytes(wanted)];
  return from === to ? { what, to: `other ${to}` } : { what, from, to };
}

/**
 * Throws a {@linkcode Failure} unless `size` bytes are free where `folder` is or will be. The space of `temporary`
 * counts as free, as an interrupted run may have left most of a large file there.
 */
async function requireSpace({ container }: Reading, folder: string, size: number, temporary: string): Promise<void> {
  const output = await container.read(sh`d=${folder}
until [ -d "$d" ]; do d=\${d%/*}; d=\${d:-/}; done
df -Pk "$d" | tail -n 1
du -k ${temporary} 2>/dev/null || :`);
  const [fileSystem = "", left = ""] = output.text.split("\n");
  const free = freeBytesIn(fileSystem) + (parseInt(left) || 0) * 1024;
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
