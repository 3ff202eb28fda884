/**
 * What the sections of the benchmark work with.
 *
 * @module
 */

import type { BenchHost } from "./bench_host.ts";
import type { Report } from "./report.ts";

/** What a section works with. */
export interface Bench {
  /** Where the figures go. */
  readonly report: Report;
  /** How often a figure that has a target is measured. */
  readonly runs: number;
  /** How often a figure without a target, which takes long, is measured. */
  readonly few: number;
  /** A folder for its files. */
  readonly work: string;
  /** A host that all sections share, which each leaves as it was. */
  readonly host: BenchHost;
  /** Tells the person who waits what is being measured. */
  say(text: string): void;
}
