/**
 * One run per container.
 *
 * @module
 */

import { ExitCode, Failure, messageOf } from "./errors.ts";

/** A lock on one container that dies with its holder: a kill, also by SIGKILL, frees it. */
export class RunLock {
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /**
   * Takes the lock of container `ctid` in `folder`, which is made where it is missing. Throws a {@linkcode Failure} with exit code
   * 6 that says who holds it, and with exit code 2 when the folder cannot be used.
   */
  static take(folder: string, ctid: number): RunLock {
    const path = `${folder}/setup_${ctid}.lock`;
    let file: Deno.FsFile;
    try {
      Deno.mkdirSync(folder, { recursive: true, mode: 0o755 });
      file = Deno.openSync(path, { read: true, write: true, create: true, mode: 0o644 });
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      throw new Failure(
        ExitCode.Configuration,
        `Cannot create the lock file "${path}", without which two runs could work on container ${ctid} at once: ` +
          messageOf(error),
      );
    }
    if (!file.tryLockSync(true)) {
      const holder = Deno.readTextFileSync(path).trim();
      file.close();
      throw new Failure(
        ExitCode.Held,
        `Cannot set up container ${ctid} as another run holds it: ${holder === "" ? "it has just started" : holder}`,
        { hint: "Wait for it to end; it is free at once when its process ends" },
      );
    }
    file.truncateSync(0);
    file.writeSync(new TextEncoder().encode(`process ${Deno.pid}, since ${new Date().toISOString()}\n`));
    return new RunLock(file);
  }

  /** Gives it back. */
  release(): void {
    try {
      this.#file.truncateSync(0);
      this.#file.close();
    } catch { /* it was given back before */ }
  }
}
