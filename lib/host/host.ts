/**
 * The Proxmox host as steps see it: like the container, a small port with separate verbs for looking and for changing.
 *
 * @module
 */

import { dirname } from "@std/path";
import { concat } from "../bytes.ts";
import { Output } from "../container/container.ts";
import { ExitCode, Failure, messageOf } from "../errors.ts";
import { endChild, LAST_OUTPUT, type Pct, type PctResult } from "../container/pct.ts";
import { within } from "../time.ts";

/** How an HTTP request is made. */
export interface RequestOptions {
  /** Accept any certificate: a service that was just set up has a self-signed one. */
  readonly insecure: boolean;
  /** Milliseconds for the whole request. */
  readonly timeout: number;
}

/** What an HTTP server answered, or why it did not. */
export type HttpReply =
  | { readonly status: number; readonly body: string }
  | { readonly status: undefined; readonly error: string };

/** A file on the host. */
export interface HostFile {
  /** Its absolute path. */
  readonly path: string;
  /** Its size, in bytes. */
  readonly size: number;
  /** Its permissions, such as `0o644`. */
  readonly mode: number;
  /**
   * Its content from this byte on, by default all of it, as it is read: memory stays flat whatever the size. A chunk is good until
   * the next one is asked for. The file is opened for the first one.
   */
  chunks(from?: number): AsyncIterable<Uint8Array>;
  /** Its content as text. Throws a {@linkcode Failure} for more than 16 MiB and for what is not UTF-8. */
  text(): Promise<string>;
  /** The SHA-256 of its present content, in hexadecimal digits; it is read once, and again where something has written to it. */
  sha256(): Promise<string>;
}

/** A host that can be looked at. What a setup does not declare is refused: the run ends with exit code 70. */
export interface HostReader {
  /**
   * Sends a GET request from the host. Redirects are not followed. Of the body, the first 64 KiB are kept, and what has come of it
   * when the time is up.
   */
  request(url: string, options: RequestOptions): Promise<HttpReply>;
  /** Whether something accepts a TCP connection at an address, and if not, why. */
  connects(hostname: string, port: number, timeout: number): Promise<string | undefined>;
  /** A regular file, or `undefined` where there is nothing. Throws a {@linkcode Failure} for anything else. */
  file(path: string): Promise<HostFile | undefined>;
  /** The names in a folder, with what they are; `undefined` where there is no folder. */
  folder(
    path: string,
  ): Promise<readonly { readonly name: string; readonly kind: "file" | "folder" | "other" }[] | undefined>;
  /** Asks `pct` for the status of this run's container. */
  pctStatus(): Promise<PctResult>;
  /** Runs a program that changes nothing, for a minute at the most. Any exit code is an answer; more output than 64 MiB is none. */
  read(program: string, args: readonly string[]): Promise<Output>;
}

/** A host that can be changed. */
export interface Host extends HostReader {
  /** Writes a file whole or not at all, beside it first, then moved into place. Its folder has to be there. */
  writeFile(path: string, content: string, mode: number): Promise<void>;
  /**
   * Writes what `edited` makes of a file's text (empty where there is none) like {@linkcode writeFile}, with the owner and mode that
   * it has. A symbolic link stays one. Runs that edit files of one folder at once do so one after the other.
   */
  editFile(path: string, edited: (text: string) => string): Promise<void>;
  /** Removes a file, if it is there. */
  removeFile(path: string): Promise<void>;
  /** Makes `pct` change this run's container. A `code` of 0 is no evidence: look afterwards. */
  pctWrite(
    subcommand: "snapshot" | "delsnapshot" | "shutdown" | "stop" | "start" | "reboot",
    args: readonly string[],
    timeout: number,
  ): Promise<PctResult>;
  /** Runs a program that may change something, for at most `timeout` milliseconds; otherwise like {@linkcode HostReader.read}. */
  write(program: string, args: readonly string[], timeout: number): Promise<Output>;
  /** Tells the programs that run to end. A `pct` that changes something is left to itself. */
  interrupt(): void;
}

/** How much of a file is read as text, in bytes. */
const LARGEST_TEXT = 16 * 1024 * 1024;

/** How long an edit waits for those of others, in milliseconds; each takes a few. */
const EDIT_TIMEOUT = 60_000;

/** How much of stdout, and how much of stderr, a program may write, in bytes. */
const LARGEST_OUTPUT = 64 * 1024 * 1024;

/** The host that this program runs on, for the run of one container. */
export function thisHost(pct: Pct, ctid: number): Host {
  const programs = new Set<Deno.ChildProcess>();
  return {
    request,
    connects,
    file,
    folder,
    pctStatus: () => pct.run(["status", String(ctid)], 60_000),
    read: (program, args) => runProgram(program, args, 60_000, programs),
    writeFile: (path, content, mode) => replaceFile(path, content, mode, ctid),
    async editFile(path, edited) {
      try {
        const real = await Deno.realPath(path).catch(ignoreMissing) ?? path;
        using folder = await Deno.open(dirname(real));
        // Setups of two containers can have their blocks in one file: neither may write what the other one has not seen.
        // Where the file system has no locks, such as NFS for folders, they have to do without.
        const asked = folder.lock(true).catch(() => {});
        if (await within(asked.then(() => true), EDIT_TIMEOUT) === undefined) {
          throw new Failure(ExitCode.Timeout, `Cannot edit "${path}" on the host as somebody has locked its folder`);
        }
        const found = await file(real);
        const { uid = 0, gid = 0 } = found === undefined ? {} : await Deno.stat(real);
        await replaceFile(real, edited(await found?.text() ?? ""), found?.mode ?? 0o644, ctid, [uid!, gid!]);
      } catch (error) {
        throw error instanceof Failure ? error : refusedByHost(`Cannot edit "${path}" on the host`, error);
      }
    },
    async removeFile(path) {
      try {
        await Deno.remove(path).catch(ignoreMissing);
      } catch (error) {
        throw refusedByHost(`Cannot remove "${path}" on the host`, error);
      }
    },
    pctWrite: (subcommand, args, timeout) => pct.run([subcommand, String(ctid), ...args], timeout, "leave"),
    write: (program, args, timeout) => runProgram(program, args, timeout, programs),
    interrupt() {
      for (const child of programs) endChild(child, "SIGTERM");
    },
  };
}

async function replaceFile(
  path: string,
  content: string,
  mode: number,
  ctid: number,
  owner?: readonly [uid: number, gid: number],
): Promise<void> {
  // A name of this container's own, as the setup of another one may write the same file; a killed run's is replaced.
  const temporary = `${dirname(path)}/.${path.slice(path.lastIndexOf("/") + 1)}.phoenix_setup_${ctid}`;
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

/** A host that refuses to be changed: what check mode hands to steps. */
export function readOnlyHost(host: HostReader): Host {
  const refuse = (what: string) =>
    Promise.reject(new Failure(ExitCode.Defect, `Cannot ${what} as nothing may be changed in check mode`));
  return {
    request: (url, options) => host.request(url, options),
    connects: (hostname, port, timeout) => host.connects(hostname, port, timeout),
    file: (path) => host.file(path),
    folder: (path) => host.folder(path),
    pctStatus: () => host.pctStatus(),
    read: (program, args) => host.read(program, args),
    writeFile: (path) => refuse(`write "${path}"`),
    editFile: (path) => refuse(`edit "${path}"`),
    removeFile: (path) => refuse(`remove "${path}"`),
    pctWrite: (subcommand) => refuse(`run "pct ${subcommand}"`),
    write: (program) => refuse(`run "${program}"`),
    interrupt() {},
  };
}

/** The hashes of files by their states: a large file is looked at before and after it is sent. */
const digests = new Map<string, string>();

async function file(path: string): Promise<HostFile | undefined> {
  const info = await reading(path, () => Deno.stat(path).catch(ignoreMissing));
  if (info === undefined) return undefined;
  if (!info.isFile) throw new Failure(ExitCode.Step, `Cannot use "${path}" on the host as it is not a regular file`);
  return {
    path,
    size: info.size,
    mode: (info.mode ?? 0o644) & 0o7777,
    chunks: (from = 0) => chunksOf(path, from),
    async text() {
      if (info.size > LARGEST_TEXT) {
        throw new Failure(ExitCode.Step, `Cannot read "${path}" as text as it has ${info.size} bytes`);
      }
      try {
        const bytes = await reading(path, () => Deno.readFile(path));
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
        throw new Failure(ExitCode.Step, `Cannot read "${path}" as text as it is not UTF-8`);
      }
    },
    async sha256() {
      const { dev, ino, size, mtime, ctime } = await reading(path, () => Deno.stat(path));
      // What changes a file changes one of these, unless it did the same a moment ago: the clock of file systems ticks some 100 times a second.
      const state = [path, dev, ino, size, mtime?.getTime(), ctime?.getTime()].join();
      const isSettled = ctime !== null && Date.now() - ctime.getTime() > 100;
      const known = digests.get(state);
      if (known !== undefined) return known;
      // The web's digest wants the whole content at once.
      const { createHash } = await import("node:crypto");
      const hash = createHash("sha256");
      for await (const chunk of chunksOf(path, 0)) hash.update(chunk);
      const digest = hash.digest("hex");
      if (isSettled) digests.set(state, digest);
      return digest;
    },
  };
}

/** How much of a file is read at once, in bytes. */
const CHUNK = 128 * 1024;

/** The content of a file. While one chunk is worked with, the next is read; the two share their memory with those after them. */
async function* chunksOf(path: string, from: number): AsyncGenerator<Uint8Array> {
  using handle = await reading(path, () => Deno.open(path));
  await reading(path, () => handle.seek(from, Deno.SeekMode.Start));
  let buffers = [new Uint8Array(CHUNK), new Uint8Array(CHUNK)] as const;
  const read = () => reading(path, () => handle.read(buffers[0]));
  let next = read();
  for (let size; (size = await next) !== null;) {
    const chunk = buffers[0].subarray(0, size);
    buffers = [buffers[1], buffers[0]];
    next = read();
    next.catch(() => {}); // Whoever has enough does not hear of it.
    yield chunk;
  }
}

async function folder(path: string) {
  const entries = await reading(path, () => Array.fromAsync(Deno.readDir(path)).catch(ignoreMissing));
  return entries?.map(({ name, isFile, isDirectory }) => ({
    name,
    kind: isFile ? "file" as const : isDirectory ? "folder" as const : "other" as const,
  })).sort((a, b) => a.name < b.name ? -1 : 1);
}

/** What the host's file system says no to is no defect of this program; what this program may not do is another matter. */
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

/** Runs a program of the host with a bare environment; no shell is involved. */
async function runProgram(
  program: string,
  args: readonly string[],
  timeout: number,
  running: Set<Deno.ChildProcess>,
): Promise<Output> {
  const child = start(program, args);
  running.add(child);
  let isTooMuch = false;
  const onTooMuch = () => {
    isTooMuch = true;
    endChild(child, "SIGKILL");
  };
  const stdout = gather(child.stdout, onTooMuch);
  const stderr = gather(child.stderr, onTooMuch);
  const status = await within(child.status, timeout);
  running.delete(child);
  if (status === undefined) endChild(child, "SIGKILL");
  await within(Promise.all([stdout.ended, stderr.ended]), LAST_OUTPUT);
  for (const output of [stdout, stderr]) await output.cancel();
  if (status === undefined) {
    throw new Failure(
      ExitCode.Timeout,
      `"${program}" did not end on the host within ${timeout / 1000} s and was ended`,
    );
  }
  if (isTooMuch) {
    throw new Failure(
      ExitCode.Step,
      `Cannot hold the output of "${program}" on the host as it exceeds ${LARGEST_OUTPUT} bytes; it was ended`,
    );
  }
  const { code } = status;
  return new Output([program, ...args].join(" "), { code, stdout: stdout.bytes(), stderr: stderr.bytes() });
}

/** Reads a stream until it ends, is cancelled, or is too much. */
function gather(stream: ReadableStream<Uint8Array<ArrayBuffer>>, onTooMuch: () => void) {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const reader = stream.getReader();
  const ended = (async () => {
    let size = 0;
    for (let read; !(read = await reader.read()).done;) {
      if ((size += read.value.length) > LARGEST_OUTPUT) return onTooMuch();
      chunks.push(read.value);
    }
  })();
  return { ended, cancel: () => reader.cancel(), bytes: () => concat(chunks) };
}

function start(program: string, args: readonly string[]): Deno.ChildProcess {
  try {
    return new Deno.Command(program, {
      args: [...args],
      clearEnv: true,
      env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8", HOME: "/root" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "there is no such program on the host"
      : error instanceof Deno.errors.PermissionDenied
      ? "the host does not let it be executed"
      : undefined;
    if (why === undefined) throw error;
    throw new Failure(ExitCode.Step, `Cannot run "${program}" as ${why}`);
  }
}

/** How much of an answer's body is kept, in characters. */
const BODY = 64 * 1024;

async function request(url: string, { insecure, timeout }: RequestOptions): Promise<HttpReply> {
  try {
    return url.startsWith("https:") && !insecure
      ? await requestWithFetch(url, timeout)
      : await requestWithNode(url, timeout);
  } catch (error) {
    // A refused permission is the setup's missing declaration, not the server's silence.
    if (error instanceof Deno.errors.NotCapable) throw error;
    return { status: undefined, error: rootCause(error) };
  }
}

async function connects(hostname: string, port: number, timeout: number): Promise<string | undefined> {
  try {
    const connecting = Deno.connect({ hostname, port });
    const connection = await within(connecting, timeout);
    if (connection === undefined) connecting.then((late) => late.close(), () => {});
    connection?.close();
    return connection === undefined ? `no answer within ${timeout / 1000} s` : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return messageOf(error);
  }
}

async function requestWithFetch(url: string, timeout: number): Promise<HttpReply> {
  const signal = AbortSignal.timeout(timeout);
  const response = await fetch(url, { redirect: "manual", signal });
  let body = "";
  const decoder = new TextDecoder();
  try {
    for await (const chunk of response.body ?? []) {
      body += decoder.decode(chunk, { stream: true });
      if (body.length >= BODY) break;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return { status: response.status, body: body.slice(0, BODY) };
}

/**
 * `fetch` asks the proxy that the environment names, which knows nothing of the containers' network, and can skip the verification of
 * certificates only for the whole process. Node's client asks directly, and can skip it for one request.
 */
async function requestWithNode(url: string, timeout: number): Promise<HttpReply> {
  const { request } = url.startsWith("https:") ? await import("node:https") : await import("node:http");
  const { promise, resolve, reject } = Promise.withResolvers<HttpReply>();
  let answer: (() => void) | undefined; // as far as there is one
  // An empty list of authorities keeps the client from reading the system's, which would need a permission of its own.
  const outgoing = request(url, { rejectUnauthorized: false, ca: [], agent: false }, (response) => {
    let body = "";
    const enough = answer = () => resolve({ status: response.statusCode ?? 0, body });
    response.setEncoding("utf8");
    response.on("data", (text: string) => {
      body = (body + text).slice(0, BODY);
      if (body.length === BODY) enough();
    });
    response.on("end", enough);
    response.on("error", reject);
  });
  outgoing.on("error", (error: Error & { code?: string; syscall?: string }) => {
    // This is how Node's client says of a name that the permission for it is missing.
    const isRefused = error.syscall === "getaddrinfo" && error.code === "EPERM";
    reject(
      isRefused
        ? new Deno.errors.NotCapable(`Requires net access to "${new URL(url).host}", run again with it`)
        : error,
    );
  });
  const timer = setTimeout(
    () => answer ? answer() : outgoing.destroy(new Error(`no answer within ${timeout / 1000} s`)),
    timeout,
  );
  try {
    outgoing.end();
    return await promise;
  } finally {
    clearTimeout(timer);
    outgoing.destroy();
  }
}

/** "error sending request" says nothing; its cause does. */
function rootCause(error: unknown): string {
  let deepest = error;
  while (deepest instanceof Error && deepest.cause instanceof Error) deepest = deepest.cause;
  return messageOf(deepest);
}
