/**
 * The files of the host that this program runs on.
 *
 * @module
 */

import { basename, dirname } from "@std/path";
import { ExitCode, Failure, messageOf } from "../errors.ts";
import { within } from "../time.ts";
import type { FolderEntry, HostFile } from "./host.ts";

/** How much of a file is read as text, in bytes. */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;

/** How much of a file is read at once, in bytes. */
const CHUNK_BYTES = 128 * 1024;

/** How long an edit waits for those of others, in milliseconds; each takes a few. */
const EDIT_TIMEOUT_MS = 60_000;

/**
 * How long after its last change a file may change again and keep its date, in milliseconds: file systems' clocks tick
 * every 10.
 */
const CLOCK_TICK_MS = 100;

/** See `HostReader.file`. */
export async function lookUpFile(path: string): Promise<HostFile | undefined> {
  const info = await reading(path, () => Deno.stat(path).catch(ignoreMissing));
  if (info === undefined) return undefined;
  if (!info.isFile) throw new Failure(ExitCode.Step, `Cannot use "${path}" on the host as it is not a regular file`);
  return {
    path,
    size: info.size,
    mode: (info.mode ?? 0o644) & 0o7777,
    chunks: (from = 0) => chunksOf(path, from),
    text: () => textOf(path, info.size),
    sha256: () => sha256Of(path),
  };
}

/** See `HostReader.folder`. */
export async function listFolder(path: string): Promise<readonly FolderEntry[] | undefined> {
  const entries = await reading(path, () => Array.fromAsync(Deno.readDir(path)).catch(ignoreMissing));
  return entries?.map(({ name, isFile, isDirectory }): FolderEntry => ({
    name,
    kind: isFile ? "file" : isDirectory ? "folder" : "other",
  })).sort((a, b) => a.name < b.name ? -1 : 1);
}

/** See `Host.writeFile`. Runs of several containers may write the same file at once: `ctid` keeps them apart. */
export async function writeFile(
  path: string,
  content: string,
  mode: number,
  ctid: number,
  owner?: readonly [uid: number, gid: number],
): Promise<void> {
  // The same name in every run of this container: what a killed one has left behind is replaced.
  const temporary = `${dirname(path)}/.${basename(path)}.phoenix_setup_${ctid}`;
  try {
    await Deno.remove(temporary).catch(ignoreMissing);
    using handle = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
    const bytes = new TextEncoder().encode(content);
    for (let at = 0; at < bytes.length;) at += await handle.write(bytes.subarray(at));
    await handle.sync();
    if (owner !== undefined) await Deno.chown(temporary, ...owner);
    await Deno.chmod(temporary, mode);
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw refusedByHost(`Cannot write "${path}" on the host`, error);
  }
}

/** See `Host.editFile`; for `ctid` see {@linkcode writeFile}. */
export async function editFile(path: string, edited: (text: string) => string, ctid: number): Promise<void> {
  try {
    const real = await Deno.realPath(path).catch(ignoreMissing) ?? path;
    using folder = await Deno.open(dirname(real));
    // Setups of two containers can have their blocks in one file: neither may write what the other one has not seen.
    // Where the file system has no locks, such as NFS for folders, they have to do without.
    const asked = folder.lock(true).catch(() => {});
    if (await within(asked.then(() => true), EDIT_TIMEOUT_MS) === undefined) {
      throw new Failure(ExitCode.Timeout, `Cannot edit "${path}" on the host as somebody has locked its folder`);
    }
    const found = await lookUpFile(real);
    const { uid = 0, gid = 0 } = found === undefined ? {} : await Deno.stat(real);
    await writeFile(real, edited(await found?.text() ?? ""), found?.mode ?? 0o644, ctid, [uid!, gid!]);
  } catch (error) {
    throw error instanceof Failure ? error : refusedByHost(`Cannot edit "${path}" on the host`, error);
  }
}

/** See `Host.removeFile`. */
export async function removeFile(path: string): Promise<void> {
  try {
    await Deno.remove(path).catch(ignoreMissing);
  } catch (error) {
    throw refusedByHost(`Cannot remove "${path}" on the host`, error);
  }
}

/**
 * The content of a file. While one chunk is in use, the next one is read; the chunks after them use the memory of these
 * two again.
 */
async function* chunksOf(path: string, from: number): AsyncGenerator<Uint8Array> {
  using handle = await reading(path, () => Deno.open(path));
  await reading(path, () => handle.seek(from, Deno.SeekMode.Start));
  let buffers = [new Uint8Array(CHUNK_BYTES), new Uint8Array(CHUNK_BYTES)] as const;
  const read = () => reading(path, () => handle.read(buffers[0]));
  let next = read();
  for (let size; (size = await next) !== null;) {
    const chunk = buffers[0].subarray(0, size);
    buffers = [buffers[1], buffers[0]];
    next = read();
    next.catch(() => {}); // Where the reader stops early, nobody waits for it any more.
    yield chunk;
  }
}

async function textOf(path: string, size: number): Promise<string> {
  if (size > MAX_TEXT_BYTES) throw new Failure(ExitCode.Step, `Cannot read "${path}" as text as it has ${size} bytes`);
  try {
    const bytes = await reading(path, () => Deno.readFile(path));
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Failure(ExitCode.Step, `Cannot read "${path}" as text as it is not UTF-8`);
  }
}

/** The hashes of files by their states: a large file is looked at before and after it is sent. */
const knownHashes = new Map<string, string>();

async function sha256Of(path: string): Promise<string> {
  const { dev, ino, size, mtime, ctime } = await reading(path, () => Deno.stat(path));
  // What changes a file changes one of these, unless it did the same within the same tick of the clock.
  const state = [path, dev, ino, size, mtime?.getTime(), ctime?.getTime()].join();
  const isSettled = ctime !== null && Date.now() - ctime.getTime() > CLOCK_TICK_MS;
  const known = knownHashes.get(state);
  if (known !== undefined) return known;
  // The web's digest wants the whole content at once.
  const { createHash } = await import("node:crypto");
  const hash = createHash("sha256");
  for await (const chunk of chunksOf(path, 0)) hash.update(chunk);
  const digest = hash.digest("hex");
  if (isSettled) knownHashes.set(state, digest);
  return digest;
}

/**
 * What the host's file system refuses is no defect of this program; what this program is not permitted is another
 * matter.
 */
async function reading<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new Failure(ExitCode.Step, `Cannot read "${path}" on the host: ${messageOf(error)}`, { cause: error });
  }
}

/** The same for what is changed there. */
function refusedByHost(what: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable) return error;
  return new Failure(
    ExitCode.Step,
    `${what}: ${error instanceof Deno.errors.NotFound ? "its folder is not there" : messageOf(error)}`,
    { cause: error },
  );
}

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
  throw error;
}
