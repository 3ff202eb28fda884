/**
 * Marked blocks of lines in text files inside the container.
 *
 * @module
 */

import type { Step } from "../step.ts";
import { CannotEdit, joinLines, linesOf, textEditStep } from "./support/text_edit.ts";

/** A block of lines. */
export interface BlockSpec {
  /** Its name, which its markers show: letters, digits, `_`, `.` and `-`. */
  readonly name: string;
  /** Its lines, without the markers. */
  readonly content: string;
}

/**
 * A block of lines in a text file, between the lines `# BEGIN phoenix_setup name` and `# END phoenix_setup name`: added
 * at the end if it is missing. The rest of the file, its owner and its mode are kept. The step fails for the same files
 * as {@linkcode line}, and if one of the two markers is missing or occurs twice.
 *
 * Throws a `TypeError` for a name with other characters, and for content that contains the block's own markers.
 *
 * @example
 * ```ts
 * const names = block("/etc/hosts", { name: "fleet", content: "10.0.0.99 portainer\n10.0.0.111 llama\n" });
 * ```
 */
export function block(path: string, spec: BlockSpec): Step {
  return textEditStep(path, `block ${spec.name} in ${path}`, blockEditor(path, spec), { what: "block", to: "present" });
}

/**
 * A function that puts a block into the text of a file and changes nothing else. It throws {@linkcode CannotEdit}
 * unless both markers occur once, in order, or neither occurs. Throws a `TypeError` for an invalid block.
 */
export function blockEditor(path: string, { name, content }: BlockSpec): (text: string) => string {
  if (!/^[\w.-]+$/.test(name)) {
    throw new TypeError(`Cannot name a block "${name}": expected letters, digits, "_", "." and "-"`);
  }
  const [begin, end] = [`# BEGIN phoenix_setup ${name}`, `# END phoenix_setup ${name}`];
  if (content.includes("\0") || content.split("\n").some((line) => line === begin || line === end)) {
    throw new TypeError(
      `Cannot put the block "${name}" into "${path}": expected text without NUL characters and without its own marks`,
    );
  }
  return (text) => withBlock(text, begin, content, end);
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
  const result = joinLines(lines);
  // A missing line break at the very end is no reason to write the file.
  return result === `${text}\n` ? text : result;
}
