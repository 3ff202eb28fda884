/**
 * How the commands speak, and how they do the same to each of several things.
 *
 * @module
 */

import { EngineDown, Exit, NotFound, Refusal } from "./cli.ts";

const encoder = new TextEncoder();

/** Writes all of a text to stdout or stderr, however often that takes. */
export function write(stream: "stdout" | "stderr", text: string): void {
  const data = encoder.encode(text);
  for (let at = 0; at < data.length;) at += Deno[stream].writeSync(data.subarray(at));
}

/** Writes a line to stdout. */
export function print(line: string): void {
  write("stdout", `${line}\n`);
}

/** Writes a line to stderr. */
export function printError(line: string): void {
  write("stderr", `${line}\n`);
}

/**
 * Does the same to each of some things, as Docker does: says what fails, and goes on. Gives those that failed, and why.
 */
export async function forEach(
  names: readonly string[],
  work: (name: string) => Promise<string | void> | string | void,
): Promise<Map<string, Error>> {
  const failed = new Map<string, Error>();
  for (const name of names) {
    try {
      const line = await work(name);
      if (line !== undefined) print(line);
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof EngineDown)) throw error;
      printError(error.message);
      failed.set(name, error);
    }
  }
  return failed;
}

/**
 * As {@linkcode forEach}; a failure ends the command with exit code 1, but for what is not there if that does not
 * matter.
 */
export async function forEachOrFail(
  names: readonly string[],
  work: (name: string) => Promise<string | void> | string | void,
  { mayBeMissing = false } = {},
): Promise<void> {
  const failed = await forEach(names, work);
  if ([...failed.values()].some((error) => !(mayBeMissing && error instanceof NotFound))) throw new Exit(1);
}
