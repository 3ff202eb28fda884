/**
 * Whether what a service or a Docker container has read at its start has changed since.
 *
 * Only content counts, no times: a clock that was set back or a restored backup neither hides a change nor invents one.
 *
 * @module
 */

import type { Output } from "../../container/container.ts";
import type { PathChange, Reading, Writing } from "../../step.ts";
import { lines, type Script, sh } from "../../shell.ts";
import type { Duration } from "../../time.ts";
import { CONTENT_HASH } from "./content_hash.ts";
import { MARKERS, writeMarker } from "./marker.ts";
import { concerns } from "./path.ts";

/** The paths that are read at a start, as they are now. */
export interface StartInputs {
  /** The hash of the content at each path. */
  readonly hashes: ReadonlyMap<string, string>;
  /** The paths whose content may differ from what was read at the last start. */
  readonly changed: readonly ChangedInput[];
}

/** A path that has to be read again, and why. */
export interface ChangedInput {
  /** The path. */
  readonly path: string;
  /** The reason, as the end of a sentence. */
  readonly why: string;
}

/** How long a look may take: it has to read all the content. */
const LOOK_TIMEOUT = "10m";
/** How long a look may take if there is nothing to read. */
const EMPTY_LOOK_TIMEOUT = "1m";
/** How long a start may take. */
const START_TIMEOUT = "30m";

/** The path of the record of `name`, which is removed together with what it is about. */
export function startRecordPath(kind: "docker" | "services", name: string): string {
  return `${MARKERS}/${kind}/${name}`;
}

/**
 * The record of what a service or a Docker container has read at its last start: a hash of the content at each path, in
 * a marker.
 *
 * If there is no record, or it does not contain a path, nobody knows what was read, and the path counts as changed. So
 * does a path that a step before this one has changed in this run, even if that only restored the recorded content:
 * somebody may have restarted the service or container by hand with what was there before.
 */
export class StartRecord {
  readonly #marker: string;
  readonly #paths: readonly string[];
  /** How many changes of earlier steps the last start in this run has seen. */
  #seen = 0;

  /** Describes the record of `name`, which reads `paths` at its start; does nothing yet. */
  constructor(kind: "docker" | "services", name: string, paths: readonly string[]) {
    this.#marker = startRecordPath(kind, name);
    this.#paths = [...new Set(paths)];
  }

  /** A script that prints the lines that {@linkcode compare} needs, which begin with `read ` or `content `. */
  get look(): Script {
    if (this.#paths.length === 0) return sh`:`;
    return lines(
      CONTENT_HASH,
      sh`sed 's/^/read /' ${this.#marker} 2>/dev/null
for p in ${this.#paths}; do
  h=$(content_hash "$p") && echo "content \${h%% *}"
done`,
    );
  }

  /** How long a command that contains {@linkcode look} may take. */
  get lookTimeout(): Duration {
    return this.#paths.length === 0 ? EMPTY_LOOK_TIMEOUT : LOOK_TIMEOUT;
  }

  /**
   * Compares what is there with the record, from the output of a command that contains {@linkcode look}, and considers
   * what the steps before this one have changed or would change.
   */
  compare({ text }: Output, at: Reading): StartInputs {
    const printed = text.split("\n");
    const after = (word: string) =>
      printed.filter((line) => line.startsWith(word)).map((line) => line.slice(word.length));
    const noted = `\n${after("read ").join("\n")}\n`;
    const printedHashes = after("content ").map((line) => line.slice(0, 64));
    const hashes = new Map(this.#paths.flatMap((path, i) => printedHashes[i] ? [[path, printedHashes[i]]] : []));
    const changed = this.#paths.flatMap((path) => {
      const why = !noted.includes(`\n${hashes.get(path)} ${path}\n`)
        ? "has changed since its last start"
        : isAmong(at.changed.slice(this.#seen), path)
        ? "was changed by a step before this one"
        : isAmong(at.predicted, path)
        ? "would be changed by a step before this one"
        : undefined;
      return why === undefined ? [] : [{ path, why }];
    });
    return { hashes, changed };
  }

  /**
   * Runs `start` and, if it succeeds, records the content from before: what changes during the start may not have been
   * read, and counts as changed later. This is one command; its output is returned whatever its exit code.
   */
  async start(at: Writing, start: Script): Promise<Output> {
    const script = this.#paths.length === 0
      // An old record would be wrong if the paths were stated again later.
      ? sh`${start} && rm -f ${this.#marker}`
      : lines(
        CONTENT_HASH,
        // The dot keeps the shell from taking away a newline at the end.
        sh`r=$(for p in ${this.#paths}; do h=$(content_hash "$p") && printf '%s %s\n' "\${h%% *}" "$p"; done; echo .)
${start} && ${writeMarker(this.#marker, sh`printf %s "\${r%.}"`)}`,
      );
    const output = await at.container.write(script, { codes: "any", timeout: START_TIMEOUT });
    if (output.code === 0) this.#seen = at.changed.length;
    return output;
  }

  /** Records the content that was found before a start that has succeeded since. */
  async note(at: Writing, { hashes }: StartInputs): Promise<void> {
    if (this.#paths.length === 0) return;
    const text = [...hashes].map(([path, hash]) => `${hash} ${path}\n`).join("");
    await at.container.write(writeMarker(this.#marker, sh`cat`), { stdin: text });
    this.#seen = at.changed.length;
  }
}

/** Whether one of the changes affects the content at `path`. */
function isAmong(changes: readonly PathChange[], path: string): boolean {
  return changes.some((change) => change.content && concerns(path, change));
}
