/**
 * How much space is free inside the container.
 *
 * @module
 */

/**
 * The bytes that are free, from the line of a file system in what `df -Pk` prints; `NaN` where it is no such line. Its name comes first
 * and can have blanks in it.
 */
export function freeBytesIn(line: string): number {
  return Number(/\s(\d+)\s+(?:\d+%|-)\s/.exec(line)?.[1] ?? NaN) * 1024;
}
