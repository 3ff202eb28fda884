/**
 * Measurements that are repeated in turn, and their summary.
 *
 * @module
 */

/** The summary of a measurement that was repeated. */
interface Summary {
  /** The value in the middle. */
  readonly median: number;
  /** The lower quartile. */
  readonly lower: number;
  /** The upper quartile. */
  readonly upper: number;
}

/** Median and quartiles, interpolated between neighbours. */
export function summarize(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => {
    const index = (sorted.length - 1) * share;
    const below = sorted[Math.floor(index)] ?? NaN;
    return below + ((sorted[Math.ceil(index)] ?? NaN) - below) * (index % 1);
  };
  return { median: at(0.5), lower: at(0.25), upper: at(0.75) };
}

/** How long `work` takes, in milliseconds. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/**
 * Measures each of `cases` once, then each a second time, and so on, so that what disturbs the machine disturbs all of
 * them. A case that is `undefined` is left out.
 */
export async function interleaved(
  runs: number,
  cases: Readonly<Record<string, (() => Promise<number>) | undefined>>,
): Promise<Map<string, number[]>> {
  const values = new Map<string, number[]>();
  for (let run = 0; run < runs; run++) {
    for (const [name, measure] of Object.entries(cases)) {
      if (measure === undefined) continue;
      if (run === 0) values.set(name, []);
      values.get(name)!.push(await measure());
    }
  }
  return values;
}
