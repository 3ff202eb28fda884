/**
 * Everything that a run has to say, as typed events. The log renders them, as lines or as JSON (where they are the
 * objects, with a time and a level); nothing else is ever printed.
 *
 * @module
 */

/**
 * What a step came to: what it wants was so already (`unchanged`), has been made so (`changed`), or would be in a run
 * that is not a check (`would change`). A wait that depends on what a check only predicts is `skipped`.
 */
export type Outcome = "unchanged" | "changed" | "would change" | "skipped" | "failed";

/** One thing that differs from what a step wants. */
export interface Difference {
  /** What differs, such as `image` or `mode`. */
  readonly what: string;
  /** What it is now; missing where there is nothing yet. */
  readonly from?: string;
  /** What it has to be; missing where it has to be removed. */
  readonly to?: string;
}

/** A fact of a run. */
export type RunEvent =
  /** A sentence for the log: what was checked, warnings, fatal errors. */
  | {
    readonly event: "message";
    readonly level: "debug" | "info" | "warning" | "error" | "fatal";
    readonly text: string;
  }
  /** The container is known and usable. */
  | { readonly event: "run started"; readonly ctid: number; readonly name: string; readonly check: boolean }
  /** A step begins to look at how things are. */
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
    /** What there is to say besides, such as why it was skipped. */
    readonly note?: string;
  }
  /** Why a run failed, with all that a person needs to go on. */
  | {
    readonly event: "failure";
    readonly message: string;
    readonly step?: string;
    /** The command that failed, its exit code and what that means, and the last lines that it wrote. */
    readonly command?: string;
    readonly code?: number;
    readonly meaning?: string;
    readonly output?: readonly string[];
    /** What to do about it. */
    readonly hint?: string;
    /** The command that runs it again. */
    readonly again: string;
  }
  /** The run has ended: the last event. */
  | {
    readonly event: "run finished";
    /** `undefined` where the run ended before it had accepted one. */
    readonly ctid: number | undefined;
    /** The exit code. */
    readonly code: number;
    readonly text: string;
    readonly milliseconds: number;
    /** How many steps came to what. */
    readonly outcomes: Readonly<Partial<Record<Outcome, number>>>;
    /** The steps that took longest, with the longest first. */
    readonly slowest: readonly { readonly title: string; readonly milliseconds: number }[];
  };

/** Takes events. */
export type Report = (event: RunEvent) => void;

/** A sentence for the log, as an event. */
export function message(level: (RunEvent & { event: "message" })["level"], text: string): RunEvent {
  return { event: "message", level, text };
}
