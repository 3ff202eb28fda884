/**
 * Whole transcripts: all that a run prints and its exit code, compared with a file in `tests/cases/transcripts/`. What
 * differs from run to run stands there as a word in capitals, such as `TIME`.
 *
 * After a change of what is printed, write the files anew and look at the difference:
 *
 * ```sh
 * PHOENIX_UPDATE_TRANSCRIPTS=1 deno task test tests/cases/end_to_end_test.ts
 * ```
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { VERSION } from "../../lib/build.ts";
import { project, type TestRun } from "./test_host.ts";

const FOLDER = `${project}tests/cases/transcripts`;
const UPDATE = "PHOENIX_UPDATE_TRANSCRIPTS";

/** A pattern for what differs from run to run, and the word that replaces it everywhere. */
type Replacement = readonly [pattern: RegExp | string, word: string];

const DURATION = /\d+ ms|\d+\.\d s|\d+ min \d+ s|\d+ h \d+ min/.source;

/** What is replaced in every transcript. */
const REPLACEMENTS: readonly Replacement[] = [
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "TIME"],
  // Of a step and of a run, and in what curl says; a duration that somebody stated stays.
  [new RegExp(`(: (?:unchanged|changed|would change|skipped|failed) )\\((?:${DURATION})\\)$`, "gm"), "$1(DURATION)"],
  [new RegExp(`(\\d (?:unchanged|changed|would change|skipped|failed) in )(?:${DURATION})`, "g"), "$1DURATION"],
  // The curl of Debian 13 says "Could not".
  [/(Failed to connect to \S+ port \d+ after )\d+ ms: Could(?:n't| not) connect/g, "$1DURATION: Couldn't connect"],
  [/"milliseconds":[\d.e-]+/g, '"milliseconds":DURATION'],
  // Which steps took a second and more.
  [/; slowest: .*$/gm, ""],
  [/"slowest":\[.*?\]/g, '"slowest":[…]'],
  [/\b(process|pid) \d+/g, "$1 PID"],
  [/\b(?:sha256:)?[0-9a-f]{12,64}\b/g, "ID"],
  [VERSION, "VERSION"],
];

/** A run as a transcript, with a word for each thing that differs from run to run. */
export function transcriptOf(
  { command, code, stdout, stderr }: Pick<TestRun, "command" | "code" | "stdout" | "stderr">,
  replacements: readonly Replacement[] = [],
): string {
  let text = `$ ${command.join(" ")}\n--- stdout ---\n${stdout}--- stderr ---\n${stderr}--- exit code ${code} ---\n`;
  for (const [pattern, word] of [...REPLACEMENTS, ...replacements]) text = text.replaceAll(pattern, word);
  return text;
}

/**
 * Makes sure that a run printed and ended with what is in the file `<name>.txt`. `replacements` are what else differs
 * from run to run in this one; they come last.
 */
export async function assertTranscript(
  name: string,
  run: TestRun,
  replacements: readonly Replacement[] = [],
): Promise<void> {
  const file = `${FOLDER}/${name}.txt`;
  const transcript = transcriptOf(run, replacements);
  if (Deno.env.get(UPDATE)) return await Deno.writeTextFile(file, transcript);
  const expected = await Deno.readTextFile(file).catch(() => "");
  assertEquals(transcript, expected, `This is not what ${file} has; with ${UPDATE}=1 it is written anew`);
}
