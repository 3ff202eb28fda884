/**
 * Everything that a run has to say, as typed events. The log renders them, as lines or as JSON; nothing else is ever printed.
 *
 * @module
 */

/** What a step came to. */
export type Outcome = "unchanged" | "changed" | "would change" | "skipped" | "failed";

/** One thing that differs from what a step wants. */
export interface Difference {
  /** What differs, such as `image` or `mode`. */
  readonly what: string;
  /** What it is now; missing where there is nothing yet. */
  readonly from?: string;
  /** What it has to be; missing where it has to go. */
  readonly to?: string;
}

/** A fact of a run. */
export type RunEvent =
  /** A sentence for the log: the requirements' own lines, warnings, fatal errors. */
  | {
    readonly event: "message";
    readonly level: "debug" | "info" | "warning" | "error" | "fatal";
    readonly text: string;
  }
  /** The container is known and usable. */
  | { readonly event: "run started"; readonly ctid: number; readonly name: string; readonly check: boolean }
  /** A step begins to look. */
  | { readonly event: "step started"; readonly number: number; readonly title: string }
  /** A step that takes long says how far it is. */
  | { readonly event: "step progress"; readonly number: number; readonly title: string; readonly text: string }
  /** A line of output of what a step runs. */
  | { readonly event: "output"; readonly stream: "stdout" | "stderr"; readonly text: string }
  /** A step has ended. */
  | {
    readonly event: "step finished";
    readonly number: number;
    readonly title: string;
    readonly outcome: Outcome;
    readonly milliseconds: number;
    readonly differences: readonly Difference[];
    readonly note?: string;
  }
  /** Why a run failed, with all that a person needs to go on. */
  | {
    readonly event: "failure";
    readonly message: string;
    readonly step?: string;
    readonly command?: string;
    readonly code?: number;
    readonly meaning?: string;
    readonly output?: readonly string[];
    readonly hint?: string;
    readonly again: string;
  }
  /** The run has ended: the last event. */
  | {
    readonly event: "run finished";
    readonly ctid: number | undefined;
    readonly code: number;
    readonly text: string;
    readonly milliseconds: number;
    readonly outcomes: Readonly<Partial<Record<Outcome, number>>>;
    readonly slowest: readonly { readonly title: string; readonly milliseconds: number }[];
  };

/** Takes events. */
export type Report = (event: RunEvent) => void;
