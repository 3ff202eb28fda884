/**
 * Running Proxmox's `pct`: the session through dax, a single call without it.
 *
 * @module
 */

import type { CommandChild } from "dax";
import { PCT_PATH } from "../build.ts";
import { ExitCode, Failure, messageOf } from "../errors.ts";
import { ProcessRunner } from "./process.ts";

/**
 * The whole environment of `pct`. It is Perl in taint mode: `BASH_ENV`, `ENV`, `CDPATH` or `IFS` kill it, a C locale
 * corrupts non-ASCII arguments, and what it is given leaks into the container.
 */
const PCT_ENVIRONMENT = { PATH: "/sbin:/bin:/usr/sbin:/usr/bin", LC_ALL: "C.UTF-8" };

/** How much of stdout, and how much of stderr, a single call keeps, in bytes. */
const MAX_OUTPUT_BYTES = 64 * 1024;

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
  readonly #runner = new ProcessRunner(PCT_ENVIRONMENT, failureToStart);

  /** Creates a runner for the program at `path`. */
  constructor(path: string = PCT_PATH) {
    this.path = path;
  }

  /**
   * Runs `pct` to its end, without stdin, for `timeout` milliseconds at the most. One that takes longer is killed, or
   * left running: a snapshot that is killed leaves a lock behind that only an administrator may take away.
   *
   * @throws {Failure} where there is no such program, or the system does not let it run
   */
  async run(
    args: readonly string[],
    timeout: number,
    onTimeout: "kill" | "leave running" = "kill",
  ): Promise<PctResult> {
    const limits = { timeout, onTimeout, maxOutputBytes: MAX_OUTPUT_BYTES, onExcess: "drop" } as const;
    const { code, stdout, stderr } = await this.#runner.run(this.path, args, limits);
    return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  }

  /** Kills every `pct` that {@linkcode run} still waits for, but those that would be left running. */
  abandon(): void {
    this.#runner.signalAll("SIGKILL");
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
    let isUnwanted = false;
    const run = async () => {
      const { build$, CommandBuilder } = await import("dax");
      if (isUnwanted) return 128 + 9;
      const $ = build$({ commandBuilder: new CommandBuilder().clearEnv().env(PCT_ENVIRONMENT).noThrow() });
      child = $`${this.path} ${args}`.stdin(stdin).stdout(sink(stdout)).stderr(sink(stderr)).spawn();
      const { code } = await child;
      if (code === 127) await this.#requireReadable();
      return code;
    };
    return {
      ended: run(),
      kill() {
        isUnwanted = true;
        child?.kill("SIGKILL");
      },
    };
  }

  /**
   * Starts `pct` with a pipe for each of its streams, and without dax, for payloads: dax feeds stdin in pieces of 1
   * KiB, which is a hundred times slower.
   *
   * @throws {Failure} like {@linkcode run}
   */
  startPiped(args: readonly string[]): Deno.ChildProcess {
    return this.#runner.start(this.path, args, "piped");
  }

  /** To dax, a program that may not be looked at is one that is not there. */
  async #requireReadable(): Promise<void> {
    await Deno.stat(this.path).catch((error) => {
      if (error instanceof Deno.errors.NotCapable) throw error;
    });
  }
}

function failureToStart(path: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable) return error;
  return error instanceof Deno.errors.NotFound
    ? new Failure(ExitCode.Usage, `Cannot find "${path}", so this is not a Proxmox VE host`, {
      hint: "Run it on the host, as root; to try it elsewhere: deno task setup",
    })
    : new Failure(ExitCode.Usage, `Cannot run "${path}": ${messageOf(error)}`);
}
