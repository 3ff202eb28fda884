/**
 * One command under way in a session, and what has come of it so far.
 *
 * @module
 */

import { concat } from "../bytes.ts";
import { ExitCode, Failure } from "../errors.ts";

/** How much of each of stdout and stderr may come by default, in bytes. */
const MAX_OUTPUT_BYTES = 256 * 1024 * 1024;

/** How much of what comes before a command has begun is kept, in bytes. */
const MAX_PREFACE_BYTES = 4096;

/** One of the two outputs of a command. */
export type OutputStream = "stdout" | "stderr";

/** What becomes of the output of a command. */
export interface OutputOptions {
  /** How much of each of stdout and stderr may come before the command is ended, in bytes. Default: 256 MiB. */
  readonly maxOutputBytes?: number | undefined;
  /** Sees the output as it comes. */
  readonly onOutput?: ((chunk: Uint8Array, stream: OutputStream) => void) | undefined;
}

/** What a command left behind. The code is proven by an end sentinel, never taken from `pct`. */
export interface CommandResult {
  /** Exit code; 128 + n after signal n. */
  readonly code: number;
  /** All of stdout. */
  readonly stdout: Uint8Array;
  /** All of stderr. */
  readonly stderr: Uint8Array;
}

/** One command under way. It has ended when both of its outputs have, each with its sentinel. */
export class Frame {
  /** Settles when the command has ended, or is given up. */
  readonly result: Promise<CommandResult>;
  /** The command, for a person. */
  readonly command: string;
  readonly #outputs: Readonly<Record<OutputStream, Collector>>;
  readonly #settle = Promise.withResolvers<CommandResult>();
  #pid: number | undefined;
  #excess: Failure | undefined;

  /** Begins to collect. `onExcess` is to end the command, which has written more than it may. */
  constructor(command: string, options: OutputOptions, onExcess: () => void) {
    this.command = command;
    const { maxOutputBytes = MAX_OUTPUT_BYTES, onOutput = () => {} } = options;
    const collector = (stream: OutputStream) =>
      new Collector(maxOutputBytes, (chunk) => onOutput(chunk, stream), () => {
        // The shell goes on to its next command only when this one has ended, and so does the session.
        this.#excess = new Failure(
          ExitCode.Step,
          `Cannot hold the output of a command as its ${stream} exceeds ${maxOutputBytes} bytes`,
          { hint: "Send the output to a file inside the container" },
        );
        onExcess();
      });
    this.#outputs = { stdout: collector("stdout"), stderr: collector("stderr") };
    this.result = this.#settle.promise;
    // A frame that is given up may have nobody who waits for it.
    this.result.catch(() => {});
  }

  /** The command's process inside, as soon as it has begun. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** What has come of stdout so far. */
  get stdout(): Uint8Array {
    return this.#outputs.stdout.bytes();
  }

  /** What has come of stderr so far. */
  get stderr(): Uint8Array {
    return this.#outputs.stderr.bytes();
  }

  /** Takes what came on one of the outputs. */
  take(stream: OutputStream, bytes: Uint8Array): void {
    this.#outputs[stream].take(bytes);
  }

  /** The command has begun, as one of the outputs says; stdout also has the process id. */
  begin(stream: OutputStream, pid: string | undefined): void {
    this.#outputs[stream].begin();
    if (pid !== undefined) this.#pid = Number(pid);
  }

  /** The command has ended with this exit code, as one of the outputs says. */
  end(stream: OutputStream, code: number): void {
    const { stdout, stderr } = this.#outputs;
    this.#outputs[stream].code = code;
    if (stdout.code === undefined || stderr.code === undefined) return;
    if (this.#excess) this.fail(this.#excess);
    else this.#settle.resolve({ code: stdout.code, stdout: this.stdout, stderr: this.stderr });
  }

  /** Gives the frame up. */
  fail(error: Error): void {
    this.#settle.reject(error);
  }
}

/** One output of one command. */
class Collector {
  /** The exit code, once the output has ended. */
  code: number | undefined;
  readonly #maxBytes: number;
  readonly #onChunk: (chunk: Uint8Array) => void;
  readonly #onExcess: () => void;
  #chunks: Uint8Array[] = [];
  #size = 0;
  #hasBegun = false;

  constructor(maxBytes: number, onChunk: (chunk: Uint8Array) => void, onExcess: () => void) {
    this.#maxBytes = maxBytes;
    this.#onChunk = onChunk;
    this.#onExcess = onExcess;
  }

  /** What came between the request and its beginning belongs to a background child of an earlier command. */
  begin(): void {
    this.#hasBegun = true;
    this.#chunks = [];
    this.#size = 0;
  }

  take(bytes: Uint8Array): void {
    if (this.code !== undefined || this.#size > this.#maxBytes) return;
    // The chunk's buffer is the reader's and may be used again.
    const own = bytes.slice();
    if (!this.#hasBegun) {
      // Kept because a command that cannot even start (no such user) says so before its beginning, in as many pieces as
      // it likes.
      this.#chunks = [concat([...this.#chunks, own]).slice(-MAX_PREFACE_BYTES)];
      return;
    }
    this.#size += own.length;
    if (this.#size > this.#maxBytes) return this.#onExcess();
    this.#chunks.push(own);
    this.#onChunk(own);
  }

  bytes(): Uint8Array {
    if (this.#chunks.length !== 1) this.#chunks = [concat(this.#chunks)];
    return this.#chunks[0]!;
  }
}
