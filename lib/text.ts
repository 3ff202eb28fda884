/**
 * Cutting what is too long to be shown, so that the cut can be seen: by people, and by the log, which takes what stands beside a cut
 * for a possible part of a secret.
 *
 * @module
 */

/** Stands where something was cut off. */
export const CUT = "…";

/** The first `length` characters of a text. */
export function head(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length)}${CUT}`;
}

/** The last `length` characters of a text, or bytes of an output. */
export function tail(output: string | Uint8Array, length: number): string {
  if (typeof output === "string") return output.length <= length ? output : `${CUT}${output.slice(-length)}`;
  const bytes = output;
  let from = Math.max(0, bytes.length - length);
  if (from === 0) return new TextDecoder().decode(bytes);
  // Half a character could not be told from half a secret.
  while ((bytes[from]! & 0xc0) === 0x80) from++;
  return `${CUT}${new TextDecoder().decode(bytes.subarray(from))}`;
}
