/**
 * stdout and stderr of this process, written so that a reader who is slow, stalled or gone stops nothing else.
 *
 * @module
 */

import { within } from "../time.ts";

/** Takes text for a stream. */
export interface TextSink {
  /** Takes all of `text`, in the order in which it comes. Never throws. */
  write(text: string): void;
  /** How much of that is not written yet, in characters; `undefined` for a sink that writes at once. */
  readonly waiting?: number;
}

/** What {@linkcode ProcessOutput} writes to, such as `Deno.stdout`. */
export interface OutputStream {
  /** Writes the first of `bytes`, and tells how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** How much is written at once, in characters. */
const PIECE = 64 * 1024;

/**
 * How much a pipe takes whole or not at all, in bytes (PIPE_BUF). Of more, one that does not wait for its reader may take a part, and
 * `Deno.stdout.write` does not tell how much.
 */
const ATOMIC = 4096;

/** How long a stream that takes nothing just now is left alone, in milliseconds. */
const RETRY = 10;

/**
 * What a process says, on several streams in one order: whoever reads them together reads it as it was said. Nobody waits for a
 * reader before {@linkcode ProcessOutput.drain}, so that signals and timers go on; a stream whose reader went away is no longer written to.
 */
export class ProcessOutput {
  readonly #queue: { readonly stream: OutputStream; text: string }[] = [];
  readonly #gone = new Set<OutputStream>();
  #current: OutputStream | undefined;
  #waiting = 0;
  #writing: Promise<void> | undefined;
  #turn = 0;

  /** The sink of one of the streams. Its `waiting` counts all of them, as they wait for each other. */
  sink(stream: OutputStream): TextSink {
    const waiting = () => this.#waiting;
    return {
      write: (text) => this.#add(stream, text),
      get waiting() {
        return waiting();
      },
    };
  }

  /** Waits until all is written. A stream that takes more than `patience` milliseconds (default: any time) is given up. */
  async drain(patience = Infinity): Promise<void> {
    while (this.#writing !== undefined && await within(this.#writing.then(() => true), patience) === undefined) {
      this.#gone.add(this.#current!);
      // What is under way cannot be called back; the other stream gets what is its own.
      this.#writing = this.#queue.length > 0 ? this.#writeQueue() : undefined;
    }
  }

  #add(stream: OutputStream, text: string): void {
    if (text === "" || this.#gone.has(stream)) return;
    this.#waiting += text.length;
    const last = this.#queue.at(-1);
    // Together, as each piece takes a turn of a thread.
    if (last?.stream === stream && last.text.length < PIECE) last.text += text;
    else this.#queue.push({ stream, text });
    this.#writing ??= this.#writeQueue();
  }

  async #writeQueue(): Promise<void> {
    const turn = ++this.#turn;
    for (let next; (next = this.#queue.shift()) !== undefined; this.#waiting -= next.text.length) {
      this.#current = next.stream;
      await this.#writeAll(next.stream, new TextEncoder().encode(next.text));
      if (turn !== this.#turn) return; // The stream was given up.
    }
    this.#writing = undefined;
  }

  async #writeAll(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#gone.has(stream);) {
      try {
        at += await stream.write(bytes.subarray(at, at + ATOMIC));
      } catch (error) {
        // Who made a pipe can have made it one that does not wait for its reader.
        if (error instanceof Deno.errors.WouldBlock) await new Promise((resolve) => setTimeout(resolve, RETRY));
        else this.#gone.add(stream);
      }
    }
  }
}
