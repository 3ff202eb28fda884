/**
 * Changes to a part of a text file inside the container.
 *
 * @module
 */

import { contentDifference } from "../../difference.ts";
import type { Reading, Step } from "../../step.ts";
import { ExitCode, Failure } from "../../errors.ts";
import type { Difference } from "../../events.ts";
import { sh } from "../../shell.ts";
import { type Attributes, isPrivate } from "./attributes.ts";
import { requirePath } from "./path.ts";
import { sourceOfBytes } from "./source.ts";
import { send } from "./transfer.ts";

/** A text file, as it is and as it should be. */
export interface TextState {
  /** The text as it is. */
  readonly before: string;
  /** The text as it should be. */
  readonly after: string;
  /** The hash of the file as it is. */
  readonly sha256: string;
  /** Its owner, group and mode, which are kept. */
  readonly attributes: Attributes;
}

/** The size of the largest file that is edited. */
const MAX_EDITED_BYTES = 1024 * 1024;

/** The text cannot be edited. The message says why, as the end of a sentence. */
export class CannotEdit extends Error {}

/**
 * A step that changes a part of a text file. The file is replaced completely or not at all, and keeps its owner and
 * mode. `edit` throws {@linkcode CannotEdit} if the text cannot be edited. `brief` is the difference that is shown if
 * the content must not be, or if there is no file; a missing file is fine if `brief` says that something should go.
 *
 * Throws a `TypeError` for a path that is not absolute.
 */
export function textEditStep(
  path: string,
  title: string,
  edit: (text: string) => string,
  brief: Difference,
): Step<TextState | undefined> {
  requirePath(path, "edit the file");
  return {
    title,

    async probe(at) {
      try {
        const found = await read(at, path);
        return found && { ...found, after: edit(found.before) };
      } catch (error) {
        if (!(error instanceof CannotEdit)) throw error;
        throw new Failure(ExitCode.Step, `Cannot edit "${path}" as ${error.message}`);
      }
    },

    diff(state) {
      if (state === undefined) return brief.to === undefined ? [] : [brief];
      const { before, after, attributes } = state;
      if (before === after) return [];
      return [isPrivate(parseInt(attributes.mode, 8)) ? brief : contentDifference(before, after)];
    },

    async apply(at, state) {
      if (state === undefined) {
        throw new Failure(ExitCode.Step, `Cannot edit "${path}" as there is no such file inside the container`);
      }
      const { after, attributes, sha256 } = state;
      await send(at, path, await sourceOfBytes(new TextEncoder().encode(after)), attributes, sha256);
    },

    changes: () => [{ path, content: true }],
  };
}

async function read({ container }: Reading, path: string): Promise<Omit<TextState, "after"> | undefined> {
  const { stdout } = await container.read(sh`p=${path}
if [ -L "$p" ]; then echo link; readlink "$p"
elif [ ! -e "$p" ]; then echo nothing
elif [ ! -f "$p" ]; then echo other
else
  a=$(stat -c '%a %u %g %s' "$p") && h=$(sha256sum <"$p") || exit
  echo "file \${h%% *} $a"
  head -c ${MAX_EDITED_BYTES} "$p"
fi`);
  const newline = stdout.indexOf(0x0a);
  const [kind, sha256 = "", mode = "", owner = "", group = "", size = ""] = new TextDecoder()
    .decode(stdout.subarray(0, newline)).split(" ");
  const content = stdout.subarray(newline + 1);
  if (kind === "nothing") return undefined;
  if (kind === "link") {
    throw new CannotEdit(`it is a symbolic link: edit "${new TextDecoder().decode(content).trimEnd()}"`);
  }
  if (kind !== "file") throw new CannotEdit("it is not a regular file");
  if (Number(size) > MAX_EDITED_BYTES) {
    throw new CannotEdit(`it has ${size} bytes, expected at most ${MAX_EDITED_BYTES}`);
  }
  try {
    const before = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
    return { before, sha256, attributes: { owner, group, mode } };
  } catch {
    throw new CannotEdit("it is not UTF-8");
  }
}

/** The lines of a text, whether or not the last one ends with a line break. */
export function linesOf(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

/** The text of these lines, each with a line break. */
export function joinLines(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
