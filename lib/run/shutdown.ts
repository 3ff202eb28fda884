/**
 * How a run is ended from outside its steps: by a signal, by its deadline, by an error that nobody waits for.
 *
 * @module
 */

import { ExitCode, Failure } from "../errors.ts";
import type { Host } from "../host/host.ts";
import { formatDuration, within } from "../time.ts";

/** The signals that end a run in good order. */
export type ShutdownSignal = "SIGHUP" | "SIGINT" | "SIGTERM";

const CODES = { SIGHUP: ExitCode.Hangup, SIGINT: ExitCode.Interrupt, SIGTERM: ExitCode.Terminate } as const;

/** How much later than its effects a signal may be heard of. */
const MAX_SIGNAL_DELAY_MS = 100;

/** The end of one run. */
export class Shutdown {
  /** Rejects when the run is to end, with the reason. */
  readonly requested: Promise<never>;
  /** Whether {@linkcode requested} has rejected. */
  isRequested = false;
  readonly #timer: ReturnType<typeof setTimeout>;
  #closed = false;
  #host: Host | undefined;
  #changing: Promise<unknown> = Promise.resolve();

  /** Listens for what ends a run; after `timeout` milliseconds, its time is up. */
  constructor(
    listen: {
      readonly onSignal: (handle: (signal: ShutdownSignal) => void) => void;
      readonly onUnhandled: (handle: (error: unknown) => void) => void;
    },
    timeout: number,
  ) {
    const { promise, reject } = Promise.withResolvers<never>();
    this.requested = promise;
    promise.catch(() => this.isRequested = true);
    listen.onSignal((signal) =>
      reject(
        new Failure(CODES[signal], `Ended by ${signal}`, {
          hint: "Run it again: it does what is not done yet",
        }),
      )
    );
    // What a run leaves behind when it has ended is no reason to end it.
    listen.onUnhandled((error) => this.#closed ? undefined : reject(error));
    this.#timer = setTimeout(
      () => reject(new Failure(ExitCode.Timeout, `The run did not end within ${formatDuration(timeout)}`)),
      timeout,
    );
  }

  /**
   * What `phase` gives, unless the run is to end before that: then rejects with the reason, and the phase is no longer
   * waited for.
   */
  async race<T>(phase: Promise<T>): Promise<T> {
    return await Promise.race([phase, this.requested]);
  }

  /**
   * Why the run ends, when it has thrown `error`. A terminal and systemd send a signal to `pct` and to what runs inside
   * as well, and what is heard first is often their end.
   */
  async reason(error: unknown): Promise<unknown> {
    try {
      return await within(this.requested, MAX_SIGNAL_DELAY_MS) ?? error;
    } catch (requested) {
      return requested;
    }
  }

  /**
   * The host for the steps of a run, which a promise that nobody waits for any more cannot stop: once {@linkcode close}
   * was called, it refuses to be changed.
   */
  guard(host: Host): Host {
    const change =
      <Arguments extends unknown[], T>(act: (...args: Arguments) => Promise<T>) => (...args: Arguments) => {
        if (this.#closed) {
          return Promise.reject(new Failure(ExitCode.Step, "Cannot change the host as the run has ended"));
        }
        const acting = act(...args);
        this.#changing = acting.catch(() => {});
        return acting;
      };
    this.#host = host;
    return {
      ...host,
      writeFile: change(host.writeFile),
      editFile: change(host.editFile),
      removeFile: change(host.removeFile),
      changeContainer: change(host.changeContainer),
      write: change(host.write),
    };
  }

  /** Lets nothing change the host any more, tells what has begun to that it is over, and waits for it. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#host?.interrupt();
    await this.#changing;
  }

  /** Lets the deadline pass: the process is about to end. */
  stopTimer(): void {
    clearTimeout(this.#timer);
  }
}
