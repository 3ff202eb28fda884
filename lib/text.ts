/**
 * Text as a person is shown it: cut where it is too long, and without anything that could drive a terminal.
 *
 * @module
 */

/** Marks where something was cut off. The log takes what stands beside it for a possible part of a secret. */
export const CUT = "…";

/** The first `length` characters of a text, with the mark of a cut where there are more. */
export function head(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}${CUT}`;
}

/** The last `length` characters of a text, or bytes of an output, with the mark of a cut where there are more. */
export function tail(output: string | Uint8Array, length: number): string {
  if (typeof output === "string") return output.length <= length ? output : `${CUT}${output.slice(-length)}`;
  const bytes = output;
  let from = Math.max(0, bytes.length - length);
  if (from === 0) return new TextDecoder().decode(bytes);
  // Half a character could not be told from half a secret.
  while ((bytes[from]! & 0xc0) === 0x80) from++;
  return `${CUT}${new TextDecoder().decode(bytes.subarray(from))}`;
}

/** A number of things: `1 line`, `2 lines`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** What many programs colour their output with. */
const COLOR = new RegExp(`${String.fromCharCode(0x1b)}\\[[\\d;]*m`, "g");

/** A text without the sequences that colour it on a terminal. */
export function withoutColors(text: string): string {
  return text.replace(COLOR, "");
}

/**
 * Control characters, which could drive a terminal or forge a line, in a visible form such as `\x1b`. Newlines and tabs
 * stay.
 */
export function visible(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(/[^\P{Cc}\n\t]|[\p{Bidi_Control}\u2028\u2029]/gu, (character) => {
    const code = character.codePointAt(0)!;
    return code <= 0xff ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

/** A text whose line breaks are visible, too: for what stands in the middle of a line. */
export function oneLine(text: string): string {
  return text.replaceAll("\n", "\\x0a");
}
