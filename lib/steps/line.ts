/**
 * Single lines of text files inside the container.
 *
 * @module
 */

import type { Step } from "../step.ts";
import { CannotEdit, joinLines, linesOf, textEditStep } from "./support/text_edit.ts";

/** A line that has to be in a file, or must not be. */
export type LineSpec = {
  /** The line, without its line break. */
  readonly line: string;
  /** The line to be replaced, if there is one. Default: none. */
  readonly match?: RegExp;
  /** If the line is missing, it is added after the last line that matches. Default: at the end. */
  readonly after?: RegExp;
  readonly absent?: never;
} | {
  /** The line to be removed: exactly this one, or all that match. */
  readonly absent: string | RegExp;
  readonly line?: never;
  readonly match?: never;
  readonly after?: never;
};

/**
 * A line in a text file. It is added if it is missing, or replaces the one line that matches. With `absent` it is
 * removed. The file is replaced completely or not at all, and keeps its owner and mode. Regular expressions are applied
 * to each line by itself.
 *
 * A missing file is fine for `absent`; otherwise the step fails, as the rest of the file has to come from elsewhere.
 * The step also fails if several lines match `match`, if no line matches `after`, for a symbolic link, for a file of
 * more than 1 MiB, and for one that is not UTF-8. The difference is shown unless only the owner may read the file. The
 * line itself is part of the title: put a secret into a {@linkcode file} of its own.
 *
 * Throws a `TypeError` for text that is not exactly one line, and for a path that is not absolute.
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
