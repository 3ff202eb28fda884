/**
 * What a service or a Docker container has read at its start: noted inside the container, and compared with what is there now.
 *
 * Content decides, and no clock. One that was set back, or a backup that was restored, neither hides a change nor invents one.
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

/** What there is at the paths that are read at a start. */
export interface StartInputs {
  /** The hash of the content, by the path. */
  readonly hashes: ReadonlyMap<string, string>;
  /** The paths of which what was read at the last start is not, or may not be, what is there. */
  readonly changed: readonly ChangedInput[];
}

/** A path that takes a new start, and why. */
export interface ChangedInput {
  /** The path. */
  readonly path: string;
  /** What has happened to it, as the end of a sentence. */
  readonly why: string;
}

/** How long a look at the content may take, in milliseconds. */
export const HASH_TIMEOUT_MS = 10 * 60_000;

/** How long a look may take: without paths, and with paths whose content is read whole, some seconds for each GiB. */
const [SHORT_LOOK_TIMEOUT, LOOK_TIMEOUT] = ["1m", "10m"] as const;
/** How long a start may take. */
const START_TIMEOUT = "30m";

/** Where the record of `name` is, for whoever removes what it is about. */
export function startRecordPath(kind: "docker" | "services", name: string): string {
  return `${MARKERS}/${kind}/${name}`;
}

/**
 * The record of what a service or container has read at its last start: a hash of each path's content, in a file below
 * `/var/lib/phoenix_setup` inside.
 *
 * Where there is no such record, or a path is not in it, nobody knows what was read, and the path counts as changed. So does one that
 * a step before this one has changed in this run, whatever is there now: with what was there until then, somebody may have made a
 * restart of their own.
 */
export class StartRecord {
  readonly #marker: string;
  readonly #paths: readonly string[];
  /** How many changes of the steps before the last start has seen. */
  #seen = 0;

  /** Describes the record of `name`, which reads `paths` at its start; touches nothing. */
  constructor(kind: "docker" | "services", name: string, paths: readonly string[]) {
    this.#marker = startRecordPath(kind, name);
    this.#paths = paths;
  }

  /** A script that prints what {@linkcode compare} has to know, in lines that begin with `read ` or `content `. */
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

  /** How long a command with {@linkcode look} in it may take. */
  get lookTimeout(): Duration {
    return this.#paths.length === 0 ? SHORT_LOOK_TIMEOUT : LOOK_TIMEOUT;
  }

  /** Compares what {@linkcode look} has printed, among other lines, and what the steps before this one have done or would do. */
  compare({ text }: Output, at: Reading): StartInputs {
    const printed = text.split("\n");
    const after = (word: string) =>
      printed.filter((line) => line.startsWith(word)).map((line) => line.slice(word.length));
    const noted = `\n${after("read ").join("\n")}\n`;
    const hashes = new Map(after("content ").map((line, i) => [this.#paths[i]!, line.slice(0, 64)]));
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
   * Runs `start`, and where it succeeds notes what was there before: what changes meanwhile may not have been read, and is another
   * start's to read. All of it is one command, whose output is given whatever its exit code.
   */
  async start(at: Writing, start: Script): Promise<Output> {
    const script = this.#paths.length === 0
      // A record of what is no longer stated would be wrong once it is stated again.
      ? sh`${start} && rm -f ${this.#marker}`
      : lines(
        CONTENT_HASH,
        sh`r=$(for p in ${this.#paths}; do h=$(content_hash "$p") && printf '%s %s\n' "\${h%% *}" "$p"; done)
${start} && ${writeMarker(this.#marker, sh`printf '%s\n' "$r"`)}`,
      );
    const output = await at.container.write(script, { codes: "any", timeout: START_TIMEOUT });
    if (output.code === 0) this.#seen = at.changed.length;
    return output;
  }

  /** Notes what was found before a start that has succeeded since. */
  async note(at: Writing, { hashes }: StartInputs): Promise<void> {
    if (this.#paths.length === 0) return;
    const text = [...hashes].map(([path, hash]) => `${hash} ${path}\n`).join("");
    await at.container.write(writeMarker(this.#marker, sh`cat`), { stdin: text });
    this.#seen = at.changed.length;
  }
}

/** Whether one of the changes is one of the content at `path`. */
function isAmong(changes: readonly PathChange[], path: string): boolean {
  return changes.some((change) => change.content && concerns(path, change));
}
