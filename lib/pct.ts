/**
 * Running Proxmox's `pct`, through dax.
 *
 * @module
 */

import { build$, CommandBuilder, type CommandChild } from "dax";
import { PCT_PATH } from "./build.ts";
import { within } from "./time.ts";

/**
 * The whole environment of `pct`. It is Perl in taint mode: `BASH_ENV`, `ENV`, `CDPATH` or `IFS` kill it, a C locale corrupts
 * non-ASCII arguments, and what it is given leaks into the container.
 */
const PCT_ENVIRONMENT = { PATH: "/sbin:/bin:/usr/sbin:/usr/bin", LC_ALL: "C.UTF-8" };

/** What a `pct` process left behind. A `code` of 0 alone proves nothing: dax reports it for a process that was killed, too. */
export interface PctResult {
  /** Exit code; `undefined` when it did not end within its time. */
  readonly code: number | undefined;
  /** The first 64 KiB of stdout. */
  readonly stdout: string;
  /** The first 64 KiB of stderr. */
  readonly stderr: string;
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
  readonly #$: ReturnType<typeof build$>;

  /**
   * Creates a runner for the program at `path`. `builder` is for tests: with dax's `registerCommand("pct", …)` and the path `pct`,
   * no process is started at all.
   */
  constructor(path: string = PCT_PATH, builder: CommandBuilder = new CommandBuilder()) {
    this.path = path;
    this.#$ = build$({ commandBuilder: builder.clearEnv().env(PCT_ENVIRONMENT).noThrow() });
  }

  /**
   * Runs `pct` to its end, without stdin, for `timeout` milliseconds at the most. Then it is killed, or with `leave` left to itself:
   * a snapshot that is killed leaves a lock behind that only an administrator may take away.
   */
  async run(args: readonly string[], timeout: number, late: "kill" | "leave" = "kill"): Promise<PctResult> {
    const stdout = new Gathered();
    const stderr = new Gathered();
    const child = this.#$`${this.path} ${args}`.stdin("null").stdout(stdout.sink()).stderr(stderr.sink()).spawn();
    const code = await within(child.then((result) => result.code), timeout);
    if (code === undefined && late === "kill") child.kill("SIGKILL");
    if (code === 127) await this.#requireReadable();
    return { code, stdout: stdout.text(), stderr: stderr.text() };
  }

  /** To dax, a program that may not be looked at is one that is not there. */
  async #requireReadable(): Promise<void> {
    if (!this.path.startsWith("/")) return;
    await Deno.stat(this.path).catch((error) => {
      if (error instanceof Deno.errors.NotCapable) throw error;
    });
  }

  /** Starts `pct` with `stdin`; the sinks see its output as it comes and slow it down when they are slow. */
  start(
    args: readonly string[],
    stdin: ReadableStream<Uint8Array>,
    stdout: (chunk: Uint8Array) => void,
    stderr: (chunk: Uint8Array) => void,
  ): PctProcess {
    const sink = (write: (chunk: Uint8Array) => void) => new WritableStream<Uint8Array>({ write });
    const child: CommandChild = this.#$`${this.path} ${args}`
      .stdin(stdin).stdout(sink(stdout)).stderr(sink(stderr)).spawn();
    return { ended: child.then((result) => result.code), kill: () => child.kill("SIGKILL") };
  }

  /**
   * Starts `pct` without dax, for payloads: dax feeds stdin in pieces of 1 KiB, which is a hundred times slower. Only the exit
   * code and the streams are the same; a stub that is registered with dax is not asked.
   */
  startRaw(args: readonly string[]): Deno.ChildProcess {
    return new Deno.Command(this.path, {
      args: [...args],
      clearEnv: true,
      env: PCT_ENVIRONMENT,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }
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
