/**
 * A clock for tests of waits and deadlines, so that no test has to wait or to race.
 *
 * @module
 */

/** Does `work` while `performance.now` moves on by `step` milliseconds with every look at it. */
export async function withSteppingClock<T>(work: () => Promise<T>, step = 250): Promise<T> {
  const { now } = performance;
  let time = 0;
  performance.now = () => time += step;
  try {
    return await work();
  } finally {
    performance.now = now;
  }
}
