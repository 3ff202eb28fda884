/**
 * What the sections of the benchmark work with.
 *
 * @module
 */

import type { BenchHost } from "./bench_host.ts";
import type { Report } from "./report.ts";

/** What a section works with. */
export interface Bench {
  /** Takes what was measured. */
  readonly report: Report;
  /** How often is measured what has a target. */
  readonly runs: number;
  /** How often is measured what takes long and is context only. */
  readonly few: number;
  /** A folder for its files. */
  readonly work: string;
  /** A host that all sections share, which each leaves as it was. */
  readonly host: BenchHost;
  /** Says what is being measured. */
  say(text: string): void;
}
