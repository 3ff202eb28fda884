/**
 * Running Proxmox's `pct`: the session through dax, a single call without it.
 *
 * @module
 */

import type { CommandChild } from "dax";
import { PCT_PATH } from "../build.ts";
import { ExitCode, Failure, messageOf } from "../errors.ts";
import { within } from "../time.ts";

/**
 * The whole environment of `pct`. It is Perl in taint mode: `BASH_ENV`, `ENV`, `CDPATH` or `IFS` kill it, a C locale corrupts
 * non-ASCII arguments, and what it is given leaks into the container.
 */
const PCT_ENVIRONMENT = { PATH: "/sbin:/bin:/usr/sbin:/usr/bin", LC_ALL: "C.UTF-8" };

/** How long the output of a process that has ended is waited for, in milliseconds: what it has started may hold the pipes. */
export const LAST_OUTPUT = 2_000;

/** What a `pct` process left behind. */
export interface PctResult {
  /** Exit code; `undefined` when it did not end within its time. */
  readonly code: number | undefined;
  /** The first 64 KiB of stdout. */
  readonly stdout: string;
  /** The first 64 KiB of stderr. */
  readonly stderr: string;
}

/** Whether this is what `pct` says of a container that somebody else has locked. */
export function isLocked(stderr: string): boolean {
  return /CT is locked|can't lock file|got (?:lock )?timeout/i.test(stderr);
}

/** A `pct` that runs with streams attached. */
export interface PctProcess {
  /** Settles with the exit code when the process and everything that holds its pipes have ended. */
  readonly ended: Promise<number>;
  /** Sends SIGKILL to the process. What it started inside the container lives on. */
  kill(): void;
}

/** The `pct` of this host. */
export class Pct {
  /** The program that is run. */
  readonly path: string;
  readonly #waitedFor = new Set<Deno.ChildProcess>();

  /** Creates a runner for the program at `path`. */
  constructor(path: string = PCT_PATH) {
    this.path = path;
  }

  /**
   * Runs `pct` to its end, without stdin, for `timeout` milliseconds at the most. Then it is killed, or with `leave` left to itself:
   * a snapshot that is killed leaves a lock behind that only an administrator may take away.
   *
   * @throws {Failure} where there is no such program, or the system does not let it run
   */
  async run(args: readonly string[], timeout: number, late: "kill" | "leave" = "kill"): Promise<PctResult> {
    const stdout = new Gathered();
    const stderr = new Gathered();
    const child = this.#spawn(args, "null");
    if (late === "kill") this.#waitedFor.add(child);
    const enough = new AbortController();
    const { signal } = enough;
    const read = Promise.allSettled([
      child.stdout.pipeTo(stdout.sink(), { signal }),
      child.stderr.pipeTo(stderr.sink(), { signal }),
    ]);
    const status = await within(child.status, timeout);
    this.#waitedFor.delete(child);
    if (status !== undefined) await within(read, LAST_OUTPUT);
    else if (late === "kill") endChild(child, "SIGKILL");
    // One that is left to itself must not be ended by what it still has to say.
    if (status !== undefined || late === "kill") enough.abort();
    return { code: status?.code, stdout: stdout.text(), stderr: stderr.text() };
  }

  /** Kills every `pct` that {@linkcode run} still waits for, but those that are to be left to themselves. */
  abandon(): void {
    for (const child of this.#waitedFor) endChild(child, "SIGKILL");
  }

  /** Starts `pct` with `stdin`; the sinks see its output as it comes and slow it down when they are slow. */
  start(
    args: readonly string[],
    stdin: ReadableStream<Uint8Array>,
    stdout: (chunk: Uint8Array) => void,
    stderr: (chunk: Uint8Array) => void,
  ): PctProcess {
    const sink = (write: (chunk: Uint8Array) => void) => new WritableStream<Uint8Array>({ write });
    let child: CommandChild | undefined;
    let unwanted = false;
    const run = async () => {
      const { build$, CommandBuilder } = await import("dax");
      if (unwanted) return 128 + 9;
      const $ = build$({ commandBuilder: new CommandBuilder().clearEnv().env(PCT_ENVIRONMENT).noThrow() });
      child = $`${this.path} ${args}`.stdin(stdin).stdout(sink(stdout)).stderr(sink(stderr)).spawn();
      const { code } = await child;
      if (code === 127) await this.#requireReadable();
      return code;
    };
    return {
      ended: run(),
      kill() {
        unwanted = true;
        child?.kill("SIGKILL");
      },
    };
  }

  /** To dax, a program that may not be looked at is one that is not there. */
  async #requireReadable(): Promise<void> {
    await Deno.stat(this.path).catch((error) => {
      if (error instanceof Deno.errors.NotCapable) throw error;
    });
  }

  /**
   * Starts `pct` without dax, for payloads: dax feeds stdin in pieces of 1 KiB, which is a hundred times slower. Only the exit
   * code and the streams are the same.
   */
  startRaw(args: readonly string[]): Deno.ChildProcess {
    return this.#spawn(args, "piped");
  }

  #spawn(args: readonly string[], stdin: "null" | "piped"): Deno.ChildProcess {
    try {
      return new Deno.Command(this.path, {
        args: [...args],
        clearEnv: true,
        env: PCT_ENVIRONMENT,
        stdin,
        stdout: "piped",
        stderr: "piped",
      }).spawn();
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      throw error instanceof Deno.errors.NotFound
        ? new Failure(ExitCode.Usage, `Cannot find "${this.path}", so this is not a Proxmox VE host`, {
          hint: "Run it on the host, as root; to try it elsewhere: deno task setup",
        })
        : new Failure(ExitCode.Usage, `Cannot run "${this.path}": ${messageOf(error)}`);
    }
  }
}

/** Sends a signal to a process, if it has not ended. */
export function endChild(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch { /* It has just ended by itself. */ }
}

/** The first 64 KiB of a stream, as text. */
class Gathered {
  readonly #chunks: Uint8Array[] = [];
  #room = 64 * 1024;

  sink(): WritableStream<Uint8Array> {
    return new WritableStream({
      write: (chunk) => {
        const part = chunk.slice(0, this.#room);
        this.#room -= part.length;
        if (part.length > 0) this.#chunks.push(part);
      },
    });
  }

  text(): string {
    const decoder = new TextDecoder();
    return this.#chunks.map((chunk) => decoder.decode(chunk, { stream: true })).join("") + decoder.decode();
  }
}
