/**
 * How much space is free inside the container.
 *
 * @module
 */

/**
 * The free bytes of a file system, from its line in the output of `df -Pk`; `NaN` for any other line. The name at the
 * beginning can contain blanks.
 */
export function freeBytesIn(line: string): number {
  return Number(/\s(\d+)\s+(?:\d+%|-)\s/.exec(line)?.[1] ?? NaN) * 1024;
}
