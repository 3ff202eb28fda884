/**
 * Random choices that can be made again.
 *
 * @module
 */

/** Gives an integer from 0 to below `below`. */
export type Random = (below: number) => number;

/** Random numbers that `seed` repeats, by the algorithm Mulberry32. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
