/**
 * stdout and stderr of this process, written so that a reader who is slow, stalled or gone stops nothing else.
 *
 * @module
 */

import { within } from "../time.ts";

/** Takes text for a stream. */
export interface TextWriter {
  /** Takes all of `text`, in the order in which it comes. Never throws. */
  write(text: string): void;
  /** How much of that is not written yet, in characters; `undefined` for one that writes at once. */
  readonly waiting?: number;
}

/** What {@linkcode StandardStreams} writes to, such as `Deno.stdout`. */
export interface ByteWriter {
  /** Writes the first of `bytes`, and tells how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** How much is encoded at once, in characters. */
const MAX_PIECE_CHARACTERS = 64 * 1024;

/**
 * How much a pipe takes whole or not at all, in bytes. Of more, one that does not wait for its reader may take a part,
 * and `Deno.stdout.write` does not tell how much.
 */
const PIPE_BUF_BYTES = 4096;

/** How long a stream that takes nothing just now is left alone, in milliseconds. */
const RETRY_MS = 10;

/**
 * The standard streams, written in one order: whoever reads them together reads everything as it was said. Nothing
 * waits for a reader before {@linkcode StandardStreams.drain}, so that signals and timers go on; a stream whose reader
 * went away is no longer written to.
 */
export class StandardStreams {
  readonly #queue: { readonly stream: ByteWriter; text: string }[] = [];
  readonly #gone = new Set<ByteWriter>();
  #current: ByteWriter | undefined;
  #waiting = 0;
  #writing: Promise<void> | undefined;
  #turn = 0;

  /**
   * Takes text for one of the streams. Its `waiting` counts what waits for all of them, as they wait for each other.
   */
  writer(stream: ByteWriter): TextWriter {
    const waiting = () => this.#waiting;
    return {
      write: (text) => this.#add(stream, text),
      get waiting() {
        return waiting();
      },
    };
  }

  /**
   * Waits until all is written. A stream that takes more than `patienceMs` milliseconds (default: any time) is given
   * up.
   */
  async drain(patienceMs = Infinity): Promise<void> {
    while (this.#writing !== undefined && await within(this.#writing.then(() => true), patienceMs) === undefined) {
      this.#gone.add(this.#current!);
      // What is under way cannot be called back; the other stream gets what is its own.
      this.#writing = this.#queue.length > 0 ? this.#writeQueue() : undefined;
    }
  }

  #add(stream: ByteWriter, text: string): void {
    if (text === "" || this.#gone.has(stream)) return;
    this.#waiting += text.length;
    const last = this.#queue.at(-1);
    // Together, as each piece takes a turn of a thread.
    if (last?.stream === stream && last.text.length < MAX_PIECE_CHARACTERS) last.text += text;
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

  async #writeAll(stream: ByteWriter, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#gone.has(stream);) {
      try {
        at += await stream.write(bytes.subarray(at, at + PIPE_BUF_BYTES));
      } catch (error) {
        // Whoever made a pipe can have made it one that does not wait for its reader.
        if (error instanceof Deno.errors.WouldBlock) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        else this.#gone.add(stream);
      }
    }
  }
}
