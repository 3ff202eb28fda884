/**
 * A clock for tests of waits and deadlines, so that no test has to wait or to race.
 *
 * @module
 */

/** Does `work` while `performance.now` moves on by a quarter of a second with every look at it. */
export async function withSteppingClock<T>(work: () => Promise<T>): Promise<T> {
  const { now } = performance;
  let time = 0;
  performance.now = () => time += 250;
  try {
    return await work();
  } finally {
    performance.now = now;
  }
}
