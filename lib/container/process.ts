/**
 * Programs of the host this runs on: started without a shell and with an environment of our own choice, heard up to a
 * bound, and ended in time. `pct` is run like this, and so are the other programs that a setup declares.
 *
 * @module
 */

import { concat } from "../bytes.ts";
import { within } from "../time.ts";

/** How long the output of a process that has ended is waited for: what it has started may hold the pipes for ever. */
const LAST_OUTPUT_MS = 2_000;

/** What a process may take, and what is done about one that takes more. */
export interface ProcessLimits {
  /** How long the process may run, in milliseconds. */
  readonly timeout: number;
  /** What happens to one that runs longer. One that is left running is no longer waited for, and still heard. */
  readonly onTimeout: "kill" | "leave running";
  /** How much of stdout, and how much of stderr, is kept, in bytes. */
  readonly maxOutputBytes: number;
  /** What happens when there is more output: it is dropped and the process goes on, or the process is killed. */
  readonly onExcess: "drop" | "kill";
}

/** What a process left behind. */
export interface ProcessResult {
  /** Exit code, 128 + n after signal n; `undefined` when the process did not end within its time. */
  readonly code: number | undefined;
  /** What it wrote to stdout, from the beginning up to the bound. */
  readonly stdout: Uint8Array;
  /** What it wrote to stderr, from the beginning up to the bound. */
  readonly stderr: Uint8Array;
  /** Whether it wrote more than that to one of them. */
  readonly hasExcess: boolean;
}

/** Runs programs, and knows those that it waits for. */
export class ProcessRunner {
  readonly #environment: Readonly<Record<string, string>>;
  readonly #failureToStart: (program: string, error: unknown) => unknown;
  readonly #waitedFor = new Set<Deno.ChildProcess>();

  /**
   * Programs get `environment` and nothing else. Of what the system throws about a program that cannot be started,
   * `failureToStart` makes what the caller is to see.
   */
  constructor(
    environment: Readonly<Record<string, string>>,
    failureToStart: (program: string, error: unknown) => unknown,
  ) {
    this.#environment = environment;
    this.#failureToStart = failureToStart;
  }

  /** Starts a program, with a pipe for each of stdout and stderr. */
  start(program: string, args: readonly string[], stdin: "null" | "piped"): Deno.ChildProcess {
    try {
      return new Deno.Command(program, {
        args: [...args],
        clearEnv: true,
        env: this.#environment,
        stdin,
        stdout: "piped",
        stderr: "piped",
      }).spawn();
    } catch (error) {
      throw this.#failureToStart(program, error);
    }
  }

  /** Runs a program to its end, without stdin. */
  async run(program: string, args: readonly string[], limits: ProcessLimits): Promise<ProcessResult> {
    const child = this.start(program, args, "null");
    const output = new CapturedOutput(child, limits.maxOutputBytes, () => {
      if (limits.onExcess === "drop") return;
      sendSignal(child, "SIGKILL");
      output.stopReading();
    });
    const isKilledWhenLate = limits.onTimeout === "kill";
    if (isKilledWhenLate) this.#waitedFor.add(child);
    const status = await within(child.status, limits.timeout);
    this.#waitedFor.delete(child);
    if (status !== undefined) await within(output.ended, LAST_OUTPUT_MS);
    else if (isKilledWhenLate) sendSignal(child, "SIGKILL");
    // The closed pipe would end one that is left running as soon as it has something more to say.
    if (status !== undefined || isKilledWhenLate) output.stopReading();
    const { stdout, stderr, hasExcess } = output;
    return { code: status?.code, stdout, stderr, hasExcess };
  }

  /** Sends a signal to every process that {@linkcode run} waits for, but those that would be left running. */
  signalAll(signal: Deno.Signal): void {
    for (const child of this.#waitedFor) sendSignal(child, signal);
  }
}

/** Sends a signal to a process, if it has not ended. */
export function sendSignal(child: Deno.ChildProcess, signal: Deno.Signal): void {
  try {
    child.kill(signal);
  } catch { /* It has just ended by itself. */ }
}

/**
 * The beginning of what a process writes. What comes after it is read, so that the process is not held up, and dropped.
 */
class CapturedOutput {
  /** Settles when both streams have ended, or are no longer read. */
  readonly ended: Promise<unknown>;
  /** Whether anything was dropped. */
  hasExcess = false;
  readonly #maxBytes: number;
  readonly #onExcess: () => void;
  readonly #chunks = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  readonly #sizes = { stdout: 0, stderr: 0 };
  readonly #stop = new AbortController();

  constructor(child: Deno.ChildProcess, maxBytes: number, onExcess: () => void) {
    this.#maxBytes = maxBytes;
    this.#onExcess = onExcess;
    const { signal } = this.#stop;
    this.ended = Promise.allSettled((["stdout", "stderr"] as const).map((stream) => {
      const write = (chunk: Uint8Array) => this.#take(stream, chunk);
      return child[stream].pipeTo(new WritableStream({ write }), { signal });
    }));
  }

  stopReading(): void {
    this.#stop.abort();
  }

  get stdout(): Uint8Array {
    return concat(this.#chunks.stdout);
  }

  get stderr(): Uint8Array {
    return concat(this.#chunks.stderr);
  }

  #take(stream: "stdout" | "stderr", chunk: Uint8Array): void {
    const part = chunk.subarray(0, this.#maxBytes - this.#sizes[stream]);
    this.#sizes[stream] += part.length;
    if (part.length > 0) this.#chunks[stream].push(part);
    if (part.length === chunk.length || this.hasExcess) return;
    this.hasExcess = true;
    this.#onExcess();
  }
}
