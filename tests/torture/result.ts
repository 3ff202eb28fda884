/**
 * What the large trials hand to the table at the end.
 *
 * @module
 */

/** One case that did not end as it should. */
export interface Failed {
  /** What happened instead, with the input of the case. */
  readonly what: string;
  /** The command that runs this case again, such as `deno task torture --only faults --seed 7`. */
  readonly again: string;
}

/** All cases of one kind. */
export interface Result {
  /** Which of the trials. */
  readonly part: "kills" | "faults" | "fuzz";
  /** Which kind of case, in a few words: `pct push writes half`, `argument vectors`. */
  readonly kind: string;
  /** How many cases were tried. */
  readonly tried: number;
  /** How they ended, in a few words, where the kind does not say it: `exit 4, nothing written`. */
  readonly ended?: string;
  /** The cases that failed; none in a good run. */
  readonly failures: readonly Failed[];
}

/** Takes each result as soon as it is known. */
export type Report = (result: Result) => void;
