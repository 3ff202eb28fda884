/**
 * Single lines of text files inside the container.
 *
 * @module
 */

import type { Step } from "../step.ts";
import { CannotEdit, joinLines, linesOf, textEditStep } from "./support/text_edit.ts";

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
  if (line === undefined) {
    const brief = { what: "line", from: "present" };
    return textEditStep(path, `no line ${absent} in ${path}`, (text) => withoutLine(text, absent!), brief);
  }
  const brief = { what: "line", to: line };
  return textEditStep(path, `line "${line}" in ${path}`, (text) => withLine(text, line, match, after), brief);
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
  return joinLines(lines);
}

function withoutLine(text: string, absent: string | RegExp): string {
  const lines = linesOf(text);
  const left = lines.filter((one) => typeof absent === "string" ? one !== absent : !matches(one, absent));
  return left.length === lines.length ? text : joinLines(left);
}

function matches(line: string, expression: RegExp | undefined): boolean {
  return expression !== undefined && line.search(expression) !== -1;
}
