/**
 * What the commands of the stand-in for Docker have in common: how they speak, and how they reach the state.
 *
 * @module
 */

import { EngineDown, Exit, type Given, notSupported, Refusal } from "./flags.ts";
import { changeState, engineRuns, readState, type State } from "./state.ts";

/** Text as it is written. */
export const encoder = new TextEncoder();

/** Writes all of it, however often that takes. */
export function writeAll(file: { writeSync(data: Uint8Array): number }, data: Uint8Array): void {
  for (let at = 0; at < data.length;) at += file.writeSync(data.subarray(at));
}

/** A line on stdout. */
export function print(line: string): void {
  writeAll(Deno.stdout, encoder.encode(`${line}\n`));
}

/** A line on stderr. */
export function complain(line: string): void {
  writeAll(Deno.stderr, encoder.encode(`${line}\n`));
}

/** The state, for what only looks at it. */
export async function look(): Promise<State> {
  const state = await readState();
  if (!engineRuns()) throw new EngineDown();
  return state;
}

/** The state, for what changes it. */
export function change<Result>(work: (state: State) => Promise<Result> | Result): Promise<Result> {
  return changeState((state) => {
    if (!engineRuns()) throw new EngineDown();
    return work(state);
  });
}

/** Does the same to each of some things, as Docker does: says what fails and goes on. The answer is what failed. */
export async function each(names: string[], work: (name: string) => Promise<string | undefined>): Promise<string[]> {
  const failed: string[] = [];
  for (const name of names) {
    try {
      const line = await work(name);
      if (line !== undefined) print(line);
    } catch (error) {
      if (!(error instanceof Refusal) && !(error instanceof EngineDown)) throw error;
      complain(error.message);
      failed.push(name);
    }
  }
  return failed;
}

/** As {@linkcode each}; what fails ends the command with exit code 1. */
export async function eachOrFail(names: string[], work: (name: string) => Promise<string | undefined>): Promise<void> {
  if ((await each(names, work)).length > 0) throw new Exit(1);
}

/** The filters of a command, by name; one that is not known is not supported. */
export function filters(given: Given, known: string[]): [string, string][] {
  return given.list("filter").map((filter) => {
    const [name = "", ...value] = filter.split("=");
    if (known.includes(name)) return [name, value.join("=")];
    throw notSupported(`--filter ${filter}`);
  });
}

/** Throws unless it is a filter. */
export function requireFilter(value: string): void {
  if (!value.includes("=")) throw new Error("bad format of filter (expected name=value)");
}

/** The labels that a command gives. */
export function labelsOf(given: Given): Record<string, string> | null {
  const labels = given.list("label").map((label) => [label.split("=")[0] ?? "", label.split("=").slice(1).join("=")]);
  return labels.length === 0 ? null : Object.fromEntries(labels);
}
