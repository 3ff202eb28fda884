/**
 * One run per container.
 *
 * @module
 */

import { ExitCode, Failure, messageOf } from "../errors.ts";

/** How often, and at what intervals, the holder of a lock is looked for where it has not said yet who it is. */
const MAX_LOOKS = 50;
const LOOK_MS = 10;

/** How much of what a holder has left is read. */
const MAX_HOLDER_BYTES = 100;

/** A lock on one container that dies with its holder: a kill, also by SIGKILL, frees it. */
export class RunLock {
  readonly #file: Deno.FsFile;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /**
   * Takes the lock of container `ctid` in `folder`, which is made where it is missing. Throws a {@linkcode Failure}
   * with exit code 6 that says who holds it, and with exit code 2 when the folder or the file in it cannot be used.
   */
  static take(folder: string, ctid: number): RunLock {
    const path = `${folder}/setup_${ctid}.lock`;
    const file = open(folder, path, ctid);
    for (let looks = 1; !file.tryLockSync(true); looks++) {
      const holder = read(file);
      if (holder !== "" || looks > MAX_LOOKS) {
        file.close();
        throw new Failure(
          ExitCode.Held,
          `Cannot set up container ${ctid} as another run holds it: ${holder || "it does not say which process it is"}`,
          { hint: "Wait until it ends; the container is free as soon as its process has ended" },
        );
      }
      // It has taken it and not said so yet, or it is giving it back.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS);
    }
    file.truncateSync(0);
    file.seekSync(0, Deno.SeekMode.Start);
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

/** Opens the lock file, which is emptied later: so it must not be a way to a file of somebody else. */
function open(folder: string, path: string, ctid: number): Deno.FsFile {
  try {
    Deno.mkdirSync(folder, { recursive: true, mode: 0o755 });
    try {
      // Nobody else may open it: even who can only read a file can lock it, and keep every run out.
      return Deno.openSync(path, { read: true, write: true, createNew: true, mode: 0o600 });
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    }
    const there = Deno.lstatSync(path);
    if (!there.isFile || there.nlink !== 1) throw new Error("it is a link or not a regular file. Remove it");
    const file = Deno.openSync(path, { read: true, write: true });
    const { dev, ino } = file.statSync();
    if (dev === there.dev && ino === there.ino) return file;
    file.close();
    throw new Error("it was replaced while it was opened. Run this again");
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new Failure(
      ExitCode.Configuration,
      `Cannot use the lock file "${path}", without which two runs could work on container ${ctid} at once: ` +
        messageOf(error),
    );
  }
}

/** The line that the holder has left. */
function read(file: Deno.FsFile): string {
  const line = new Uint8Array(MAX_HOLDER_BYTES);
  file.seekSync(0, Deno.SeekMode.Start);
  return new TextDecoder().decode(line.subarray(0, file.readSync(line) ?? 0)).trim();
}
