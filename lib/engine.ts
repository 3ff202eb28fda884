/**
 * The engine that makes steps true: probe, diff, apply, probe again.
 *
 * @module
 */

import { type Container, type Output, readOnly } from "./container/container.ts";
import { CUT, head } from "./text.ts";
import { CommandFailed, ExitCode, Failure, messageOf } from "./errors.ts";
import { describeDifference } from "./difference.ts";
import { type Difference, message, type Outcome, type Report } from "./events.ts";
import { type Host, readOnlyHost } from "./host/host.ts";
import type { PathChange, Step, Writing } from "./step.ts";

/** What a run came to, step by step. */
export interface StepResult {
  /** The step's title. */
  readonly title: string;
  /** What it came to. */
  readonly outcome: Outcome;
  /** How long it took, in milliseconds. */
  readonly milliseconds: number;
}

/** What a step came to, and why. */
interface Finding {
  readonly outcome: Outcome;
  readonly differences: readonly Difference[];
  readonly note?: string;
}

/** A step that failed. The `cause` says why. */
export class StepFailed extends Failure {
  /** The step's title. */
  readonly step: string;

  /** Wraps what a step threw. */
  constructor(step: string, cause: unknown) {
    // What a step throws that is no failure of the world is a defect of the step.
    const exitCode: ExitCode = cause instanceof Failure ? cause.exitCode : ExitCode.Defect;
    const hint = cause instanceof Failure ? cause.hint : undefined;
    super(exitCode, messageOf(cause), { cause, ...(hint === undefined ? {} : { hint }) });
    this.name = "StepFailed";
    this.step = step;
  }
}

/** What the engine works with. */
export interface EngineOptions {
  /** The container that steps are about. */
  readonly container: Container;
  /** The host that it is on. */
  readonly host: Host;
  /** Only look, and say what would change. */
  readonly check: boolean;
  /** Is told what happens. */
  readonly report: Report;
  /** Waits, in milliseconds. */
  readonly pause: (ms: number) => Promise<void>;
}

/** Makes steps true, one after the other. */
export class Engine {
  /** What the steps came to so far. */
  readonly results: StepResult[] = [];
  readonly #options: EngineOptions;
  readonly #predicted: PathChange[] = [];
  readonly #changed: PathChange[] = [];
  #running: string | undefined;

  /** Creates an engine for one run. */
  constructor(options: EngineOptions) {
    this.#options = options;
  }

  /** The title of the step that is under way, if any. */
  get running(): string | undefined {
    return this.#running;
  }

  /**
   * Makes `step` true and says whether that took a change; in check mode, whether it would take one. Throws
   * {@linkcode StepFailed}, also when `apply` went through and the difference is still there.
   */
  readonly ensure = async <State>(step: Step<State>): Promise<boolean> => {
    const { report } = this.#options;
    const { title } = step;
    if (this.#running !== undefined) {
      throw new Failure(
        ExitCode.Defect,
        `Cannot start the step "${title}" as "${this.#running}" is still under way: write "await ensure(…)"`,
      );
    }
    const number = this.results.length + 1;
    const started = performance.now();
    const finish = ({ outcome, differences, note }: Finding) => {
      const milliseconds = performance.now() - started;
      this.results.push({ title, outcome, milliseconds });
      const event = { event: "step finished", number, title, outcome, milliseconds, differences } as const;
      report(note === undefined ? event : { ...event, note });
    };
    this.#running = title;
    report({ event: "step started", number, title });
    try {
      const finding = this.#options.check ? await this.#predict(step, number) : await this.#makeTrue(step, number);
      finish(finding);
      return finding.outcome === "changed" || finding.outcome === "would change";
    } catch (error) {
      finish({ outcome: "failed", differences: [] });
      throw error instanceof StepFailed ? error : new StepFailed(title, error);
    } finally {
      this.#running = undefined;
    }
  };

  /** Looks, applies the difference if there is one, and looks again. */
  async #makeTrue<State>(step: Step<State>, number: number): Promise<Finding> {
    let lastWrite: Output | undefined;
    const at = this.#access(number, step.title, (output) => lastWrite = output);
    const state = await step.probe(at);
    const differences = step.diff(state);
    if (differences.length === 0) return { outcome: "unchanged", differences };
    await step.apply(at, state);
    const left = step.waits ? [] : step.diff(await step.probe(at));
    if (left.length === 0) {
      this.#changed.push(...step.changes?.(state) ?? []);
      return { outcome: "changed", differences };
    }
    const what = `Applied without an error, but still different: ${left.map(describeDifference).join("; ")}`;
    throw lastWrite === undefined ? new Failure(ExitCode.Step, what) : new CommandFailed(what, {
      command: lastWrite.command,
      code: lastWrite.code,
      stdout: lastWrite.text,
      stderr: lastWrite.errorText,
    });
  }

  /** Looks, and says what would change. */
  async #predict<State>(step: Step<State>, number: number): Promise<Finding> {
    let state: State;
    try {
      state = await step.probe(this.#access(number, step.title));
    } catch (error) {
      // What an earlier step would have made is not there: nobody can look at what stands on it. A lost session is
      // another matter.
      if (this.#changeAhead() && error instanceof Failure && error.exitCode !== ExitCode.Container) {
        const note = `cannot be predicted before the steps above are done: ${error.message}`;
        return { outcome: "would change", differences: [], note };
      }
      throw error;
    }
    const differences = step.diff(state);
    if (differences.length === 0) return { outcome: "unchanged", differences };
    if (step.waits && this.#changeAhead()) {
      return { outcome: "skipped", differences, note: "waits for what the steps above would change" };
    }
    this.#predicted.push(...step.changes?.(state) ?? []);
    return { outcome: "would change", differences };
  }

  /** Whether a step before this one would change something, in check mode. */
  #changeAhead(): boolean {
    return this.results.some(({ outcome }) => outcome === "would change");
  }

  #access(number: number, title: string, onWrite?: (output: Output) => void): Writing {
    const { container, host, check, report, pause } = this.#options;
    const heard = new LineReader((text, stream) => report({ event: "output", stream, text }));
    return {
      container: check ? readOnly(container) : {
        ctid: container.ctid,
        read: (script, options) => container.read(script, options),
        async write(script, options) {
          try {
            const output = await container.write(script, {
              ...options,
              onOutput(chunk, stream) {
                heard.push(chunk, stream);
                options?.onOutput?.(chunk, stream);
              },
            });
            onWrite?.(output);
            return output;
          } finally {
            heard.flush();
          }
        },
      },
      host: check ? readOnlyHost(host) : host,
      progress: (text) => {
        // A transfer that was cut off may go on for a moment: a step that has ended has nothing more to say.
        if (this.results.length < number) report({ event: "step progress", number, title, text });
      },
      warn: (text) => report(message("warning", text)),
      predicted: this.#predicted,
      changed: this.#changed,
      pause,
    };
  }
}

/** How much of a line is waited for before it is handed on without its end. */
const MAX_LINE_CHARACTERS = 4096;

/** Cuts output into lines as it comes. A line that is too long is handed on in pieces, with the mark of a cut. */
class LineReader {
  readonly #onLine: (line: string, stream: "stdout" | "stderr") => void;
  readonly #rest = { stdout: "", stderr: "" };
  readonly #decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };

  constructor(onLine: (line: string, stream: "stdout" | "stderr") => void) {
    this.#onLine = onLine;
  }

  push(chunk: Uint8Array, stream: "stdout" | "stderr"): void {
    const parts = (this.#rest[stream] + this.#decoders[stream].decode(chunk, { stream: true })).split("\n");
    this.#rest[stream] = parts.pop() ?? "";
    for (const part of parts) this.#onLine(part, stream);
    while (this.#rest[stream].length > MAX_LINE_CHARACTERS) {
      this.#onLine(head(this.#rest[stream], MAX_LINE_CHARACTERS), stream);
      this.#rest[stream] = `${CUT}${this.#rest[stream].slice(MAX_LINE_CHARACTERS)}`;
    }
  }

  flush(): void {
    for (const stream of ["stdout", "stderr"] as const) {
      if (this.#rest[stream] !== "") this.#onLine(this.#rest[stream], stream);
      this.#rest[stream] = "";
    }
  }
}
