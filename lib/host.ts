/**
 * The Proxmox host as steps see it: like the container, a small port with separate verbs for looking and for changing.
 *
 * @module
 */

import { dirname } from "@std/path";
import { Output } from "./container.ts";
import { ExitCode, Failure, messageOf } from "./errors.ts";
import type { Pct, PctResult } from "./pct.ts";
import { within } from "./time.ts";

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
  /** Its content from this byte on, by default all of it, as it is read: memory stays flat whatever the size. */
  stream(from?: number): ReadableStream<Uint8Array>;
  /** Its content as text. Throws a {@linkcode Failure} for more than 16 MiB and for what is not UTF-8. */
  text(): Promise<string>;
  /** The SHA-256 of its content, in hexadecimal digits. */
  sha256(): Promise<string>;
}

/** A host that can be looked at. What a setup does not declare is refused: the run ends with exit code 70. */
export interface HostReader {
  /** Sends a GET request from the host. Redirects are not followed; of the body, the first 64 KiB are kept. */
  request(url: string, options: RequestOptions): Promise<HttpReply>;
  /** Whether something accepts a TCP connection at an address, and if not, why. */
  connects(hostname: string, port: number, timeout: number): Promise<string | undefined>;
  /** A regular file, or `undefined` where there is nothing. Throws a {@linkcode Failure} for anything else. */
  file(path: string): Promise<HostFile | undefined>;
  /** The names in a folder, with what they are; `undefined` where there is no folder. */
  folder(
    path: string,
  ): Promise<readonly { readonly name: string; readonly kind: "file" | "folder" | "other" }[] | undefined>;
  /** Asks `pct` something about this run's container. */
  pctRead(subcommand: "status" | "config" | "listsnapshot"): Promise<PctResult>;
  /** Runs a program that changes nothing, for a minute at the most. Any exit code is an answer. */
  read(program: string, args: readonly string[]): Promise<Output>;
}

/** A host that can be changed. */
export interface Host extends HostReader {
  /** Writes a file whole or not at all, beside it first, then moved into place. Its folder has to be there. */
  writeFile(path: string, content: string, mode: number): Promise<void>;
  /** Removes a file, if it is there. */
  removeFile(path: string): Promise<void>;
  /** Makes `pct` change this run's container. A `code` of 0 is no evidence: look afterwards. */
  pctWrite(
    subcommand: "snapshot" | "delsnapshot" | "shutdown" | "stop" | "start" | "reboot",
    args: readonly string[],
    timeout: number,
  ): Promise<PctResult>;
  /** Runs a program that may change something, for at most `timeout` milliseconds. Any exit code is an answer. */
  write(program: string, args: readonly string[], timeout: number): Promise<Output>;
}

/** How much of a file is read as text, in bytes. */
const LARGEST_TEXT = 16 * 1024 * 1024;

/** The host that this program runs on, for the run of one container. */
export function thisHost(pct: Pct, ctid: number): Host {
  return {
    request,
    connects,
    file,
    folder,
    pctRead: (subcommand) => pct.run([subcommand, String(ctid)], 60_000),
    read: (program, args) => runProgram(program, args, 60_000),
    async writeFile(path, content, mode) {
      const temporary = `${dirname(path)}/.${path.slice(path.lastIndexOf("/") + 1)}.phoenix_setup`;
      await Deno.remove(temporary).catch(ignoreMissing);
      const handle = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
      try {
        const bytes = new TextEncoder().encode(content);
        for (let at = 0; at < bytes.length;) at += await handle.write(bytes.subarray(at));
        await handle.sync();
        handle.close();
        await Deno.chmod(temporary, mode);
        await Deno.rename(temporary, path);
      } catch (error) {
        await Deno.remove(temporary).catch(ignoreMissing);
        throw error;
      }
    },
    removeFile: (path) => Deno.remove(path).catch(ignoreMissing),
    pctWrite: (subcommand, args, timeout) => pct.run([subcommand, String(ctid), ...args], timeout, "leave"),
    write: runProgram,
  };
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
    pctRead: (subcommand) => host.pctRead(subcommand),
    read: (program, args) => host.read(program, args),
    writeFile: (path) => refuse(`write "${path}"`),
    removeFile: (path) => refuse(`remove "${path}"`),
    pctWrite: (subcommand) => refuse(`run "pct ${subcommand}"`),
    write: (program) => refuse(`run "${program}"`),
  };
}

async function file(path: string): Promise<HostFile | undefined> {
  const info = await Deno.stat(path).catch(ignoreMissing);
  if (info === undefined) return undefined;
  if (!info.isFile) throw new Failure(ExitCode.Step, `Cannot use "${path}" on the host as it is not a regular file`);
  const stream = (from = 0) => {
    let handle: Deno.FsFile;
    // Opened when it is read: a stream that nobody reads must not hold a file.
    return new ReadableStream<Uint8Array>({
      async start() {
        handle = await Deno.open(path);
        if (from > 0) await handle.seek(from, Deno.SeekMode.Start);
      },
      async pull(controller) {
        const buffer = new Uint8Array(256 * 1024);
        const read = await handle.read(buffer);
        if (read === null) {
          handle.close();
          controller.close();
        } else {
          controller.enqueue(buffer.subarray(0, read));
        }
      },
      cancel: () => handle.close(),
    });
  };
  return {
    path,
    size: info.size,
    mode: (info.mode ?? 0o644) & 0o7777,
    stream,
    async text() {
      if (info.size > LARGEST_TEXT) {
        throw new Failure(ExitCode.Step, `Cannot read "${path}" as text as it has ${info.size} bytes`);
      }
      try {
        return new TextDecoder("utf-8", { fatal: true }).decode(await Deno.readFile(path));
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
        throw new Failure(ExitCode.Step, `Cannot read "${path}" as text as it is not UTF-8`);
      }
    },
    async sha256() {
      // The web's digest wants the whole content at once.
      const { createHash } = await import("node:crypto");
      const hash = createHash("sha256");
      for await (const chunk of stream()) hash.update(chunk);
      return hash.digest("hex");
    },
  };
}

async function folder(path: string) {
  try {
    const entries = await Array.fromAsync(Deno.readDir(path));
    return entries.map(({ name, isFile, isDirectory }) => ({
      name,
      kind: isFile ? "file" as const : isDirectory ? "folder" as const : "other" as const,
    })).sort((a, b) => a.name < b.name ? -1 : 1);
  } catch (error) {
    return ignoreMissing(error);
  }
}

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Deno.errors.NotFound) return undefined;
  throw error;
}

/** Runs a program of the host with a bare environment; no shell is involved. */
async function runProgram(program: string, args: readonly string[], timeout: number): Promise<Output> {
  const child = new Deno.Command(program, {
    args: [...args],
    clearEnv: true,
    env: { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8", HOME: "/root" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = await within(child.output(), timeout);
  if (output === undefined) {
    child.kill("SIGKILL");
    throw new Failure(
      ExitCode.Timeout,
      `"${program}" did not end on the host within ${timeout / 1000} s and was ended`,
    );
  }
  return new Output([program, ...args].join(" "), output);
}

const BODY = 64 * 1024;

async function request(url: string, { insecure, timeout }: RequestOptions): Promise<HttpReply> {
  try {
    return insecure && url.startsWith("https:")
      ? await requestWithoutVerifying(url, timeout)
      : await requestWithFetch(url, timeout);
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
  const response = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(timeout) });
  let body = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    body += decoder.decode(chunk, { stream: true });
    if (body.length >= BODY) break;
  }
  return { status: response.status, body: body.slice(0, BODY) };
}

/** `fetch` can skip the verification of certificates only for the whole process; Node's client can for one request. */
async function requestWithoutVerifying(url: string, timeout: number): Promise<HttpReply> {
  const { request } = await import("node:https");
  const { promise, resolve, reject } = Promise.withResolvers<HttpReply>();
  // An empty list of authorities keeps the client from reading the system's, which would need a permission of its own.
  const outgoing = request(url, { rejectUnauthorized: false, ca: [], agent: false }, (response) => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (text: string) => {
      body = (body + text).slice(0, BODY);
    });
    response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    response.on("error", reject);
  });
  outgoing.on("error", reject);
  const timer = setTimeout(() => outgoing.destroy(new Error(`no answer within ${timeout / 1000} s`)), timeout);
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
