/**
 * Parts of text files inside the container: a line, or a marked block of lines.
 *
 * @module
 */

import { contentDifference } from "../difference.ts";
import type { Reading, Step } from "../step.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import { sh } from "../shell.ts";
import { isPrivate, requirePath } from "./support/path.ts";
import { type Attributes, send, sourceOfBytes } from "./support/transfer.ts";

/** Which line has to be in a file, or must not be. */
export type LineSpec = {
  /** The line, without its line break. */
  readonly line: string;
  /** The line that it replaces, where there is one. Default: none. */
  readonly match?: RegExp;
  /** A line that is not there yet is put after the last one that matches. Default: at the end. */
  readonly after?: RegExp;
  readonly absent?: never;
} | {
  /** The line that must not be there: exactly this one, or all that match. */
  readonly absent: string | RegExp;
  readonly line?: never;
  readonly match?: never;
  readonly after?: never;
};

/** What a block of lines has to be. */
export interface BlockSpec {
  /** Its name: letters, digits, `_`, `.` and `-`. */
  readonly name: string;
  /** Its lines. */
  readonly content: string;
}

/** A text file, as it is and as it should be. */
interface TextState {
  readonly before: string;
  readonly after: string;
  /** Of what it is. */
  readonly sha256: string;
  readonly attributes: Attributes;
}

/** The largest file that is edited, in bytes. */
const LARGEST = 1024 * 1024;

/**
 * A line in a text file. It is added where it is missing, or replaces the one line that matches. With `absent` it is removed. The file
 * is replaced whole, with the owner and mode that it has. Expressions are tried on each line by itself.
 *
 * A file that is not there has no line: for `absent` all is well, otherwise the step fails, since somebody else has to say what else
 * is in that file. So it does where several lines match `match`, where none matches `after`, and for a symbolic link, for a file of
 * more than 1 MiB and for one that is not UTF-8. What is replaced is shown for a file that not only its owner may read. The line itself
 * is part of the title: a secret goes into a {@linkcode file} of its own.
 *
 * Throws a `TypeError` for a text that is not exactly one line, and for a path that is not absolute.
 *
 * Requirements, section 2: "Executing commands inside the container: configure applications".
 *
 * @example
 * ```ts
 * const root = line("/etc/ssh/sshd_config", { line: "PermitRootLogin no", match: /^#?PermitRootLogin\s/ });
 * const swap = line("/etc/fstab", { absent: /\sswap\s/ });
 * ```
 */
export function line(path: string, spec: LineSpec): Step {
  const { line, absent, match, after } = spec;
  if ((line === undefined) === (absent === undefined)) {
    throw new TypeError(`Cannot manage a line of "${path}": expected either "line" or "absent"`);
  }
  const text = line ?? absent;
  if (typeof text === "string" && (text === "" || /[\n\0]/.test(text))) {
    throw new TypeError(
      `Cannot manage ${JSON.stringify(text)} as a line of "${path}": expected exactly one line of text`,
    );
  }
  return line === undefined
    ? edit(path, `no line ${absent} in ${path}`, (text) => withoutLine(text, absent!), {
      what: "line",
      from: "present",
    })
    : edit(path, `line "${line}" in ${path}`, (text) => withLine(text, line, match, after), { what: "line", to: line });
}

/**
 * A block of lines in a text file, between the lines `# BEGIN phoenix_setup name` and `# END phoenix_setup name`: added at the end
 * where it is missing. The rest of the file, its owner and its mode stay. Fails for the same files as {@linkcode line}, and where
 * one of the two marks is missing or there twice.
 *
 * Throws a `TypeError` for a name of other characters and for content with the marks of its own.
 *
 * Requirements, section 2: "Executing commands inside the container: configure applications".
 *
 * @example
 * ```ts
 * const names = block("/etc/hosts", { name: "fleet", content: "10.0.0.99 portainer\n10.0.0.111 llama\n" });
 * ```
 */
export function block(path: string, spec: BlockSpec): Step {
  return edit(path, `block ${spec.name} in ${path}`, blockEditor(path, spec), { what: "block", to: "present" });
}

/** The file cannot be edited; the message ends the sentence that says so. */
export class CannotEdit extends Error {}

/**
 * Puts a block into the text of a file, of which nothing else changes. Throws {@linkcode CannotEdit} where its marks are not there
 * once each or not at all, and at once a `TypeError` for a block that cannot be.
 */
export function blockEditor(path: string, { name, content }: BlockSpec): (text: string) => string {
  if (!/^[\w.-]+$/.test(name)) {
    throw new TypeError(`Cannot name a block "${name}": expected letters, digits, "_", "." and "-"`);
  }
  const [begin, end] = [`# BEGIN phoenix_setup ${name}`, `# END phoenix_setup ${name}`];
  if (content.includes("\0") || content.split("\n").some((line) => line === begin || line === end)) {
    throw new TypeError(
      `Cannot put the block "${name}" into "${path}": expected text without NUL and without its own marks`,
    );
  }
  return (text) => withBlock(text, begin, content, end);
}

/**
 * The change of a text file. `edited` throws {@linkcode CannotEdit} where it cannot be done. `brief` is the difference where the
 * content must not be shown or is not there; without a file there is nothing to remove.
 */
function edit(
  path: string,
  title: string,
  edited: (text: string) => string,
  brief: Difference,
): Step<TextState | undefined> {
  requirePath(path, "edit the file");
  return {
    title,

    async probe(at) {
      try {
        const found = await read(at, path);
        return found && { ...found, after: edited(found.before) };
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
  head -c ${LARGEST} "$p"
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
  if (Number(size) > LARGEST) throw new CannotEdit(`it has ${size} bytes, expected at most ${LARGEST}`);
  try {
    const before = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
    return { before, sha256, attributes: { owner, group, mode } };
  } catch {
    throw new CannotEdit("it is not UTF-8");
  }
}

function withLine(text: string, line: string, match: RegExp | undefined, after: RegExp | undefined): string {
  const lines = linesOf(text);
  const places = lines.flatMap((one, i) => one === line || matches(one, match) ? [i] : []);
  if (places.length === 0) {
    const place = after === undefined ? lines.length : lines.findLastIndex((one) => matches(one, after)) + 1;
    if (after !== undefined && place === 0) throw new CannotEdit(`none of its lines matches ${after}`);
    lines.splice(place, 0, line);
  } else {
    if (places.every((i) => lines[i] === line)) return text;
    if (places.length > 1) {
      const numbers = places.map((i) => i + 1).join(", ");
      throw new CannotEdit(`its lines ${numbers} are "${line}" or match ${match}, expected one at the most`);
    }
    lines[places[0]!] = line;
  }
  return joined(lines);
}

function withoutLine(text: string, absent: string | RegExp): string {
  const lines = linesOf(text);
  const left = lines.filter((one) => typeof absent === "string" ? one !== absent : !matches(one, absent));
  return left.length === lines.length ? text : joined(left);
}

function withBlock(text: string, begin: string, content: string, end: string): string {
  const lines = linesOf(text);
  const [from, to] = [lines.indexOf(begin), lines.indexOf(end)];
  const twice = lines.lastIndexOf(begin) !== from || lines.lastIndexOf(end) !== to;
  if (twice || (from === -1) !== (to === -1) || to < from) {
    throw new CannotEdit(`the lines "${begin}" and "${end}" are not there once each, in this order`);
  }
  const block = [begin, ...linesOf(content), end];
  if (from === -1) lines.push(...block);
  else lines.splice(from, to - from + 1, ...block);
  const result = joined(lines);
  // A missing line break at the very end is no reason to write.
  return result === `${text}\n` ? text : result;
}

function matches(line: string, expression: RegExp | undefined): boolean {
  return expression !== undefined && line.search(expression) !== -1;
}

function linesOf(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}

function joined(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join("");
}
