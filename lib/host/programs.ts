/**
 * Running the programs of the host that a setup declares.
 *
 * @module
 */

import { Output } from "../container/container.ts";
import { ProcessRunner } from "../container/process.ts";
import { ExitCode, Failure } from "../errors.ts";

const ENVIRONMENT = {
  PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  LC_ALL: "C.UTF-8",
  HOME: "/root",
};

/** How much of stdout, and how much of stderr, a program may write, in bytes. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** The programs that one run starts on the host. */
export class HostPrograms {
  readonly #runner = new ProcessRunner(ENVIRONMENT, failureToStart);

  /**
   * Runs a program to its end, without stdin and without a shell, for `timeout` milliseconds at the most. Throws a
   * {@linkcode Failure} where it cannot be started, takes longer or writes more than 64 MiB, after it has been killed.
   */
  async run(program: string, args: readonly string[], timeout: number): Promise<Output> {
    const limits = { timeout, onTimeout: "kill", maxOutputBytes: MAX_OUTPUT_BYTES, onExcess: "kill" } as const;
    const { code, stdout, stderr, hasExcess } = await this.#runner.run(program, args, limits);
    if (code === undefined) {
      throw new Failure(
        ExitCode.Timeout,
        `"${program}" did not end on the host within ${timeout / 1000} s and was ended`,
      );
    }
    if (hasExcess) {
      throw new Failure(
        ExitCode.Step,
        `Cannot hold the output of "${program}" on the host as it exceeds ${MAX_OUTPUT_BYTES} bytes; it was ended`,
      );
    }
    return new Output([program, ...args].join(" "), { code, stdout, stderr });
  }

  /** Asks those that are running to end. */
  interrupt(): void {
    this.#runner.signalAll("SIGTERM");
  }
}

function failureToStart(program: string, error: unknown): unknown {
  const why = error instanceof Deno.errors.NotFound
    ? "there is no such program on the host"
    : error instanceof Deno.errors.PermissionDenied
    ? "the host does not let it be executed"
    : undefined;
  return why === undefined ? error : new Failure(ExitCode.Step, `Cannot run "${program}" as ${why}`);
}
