/**
 * Bytes in memory.
 *
 * @module
 */

/** Joins byte arrays into a new one. It shares no memory with them, so they may be used again afterwards. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
