/**
 * The engine that makes steps true: probe, diff, apply, probe again.
 *
 * @module
 */

import { type Container, type Output, readOnly } from "./container/container.ts";
import { CUT, head } from "./text.ts";
import { CommandFailed, type ExitCode, ExitCode as Code, Failure, messageOf } from "./errors.ts";
import { describeDifference } from "./difference.ts";
import type { Difference, Outcome, Report } from "./events.ts";
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

/** A step that failed. The `cause` says why. */
export class StepFailed extends Failure {
  /** The step's title. */
  readonly step: string;

  /** Wraps what a step threw. */
  constructor(step: string, cause: unknown) {
    // What a step throws that is no failure of the world is a defect of the step.
    const exitCode: ExitCode = cause instanceof Failure ? cause.exitCode : Code.Defect;
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
    const { report, check } = this.#options;
    if (this.#running !== undefined) {
      throw new Failure(
        Code.Defect,
        `Cannot start the step "${step.title}" as "${this.#running}" is still under way: write "await ensure(…)"`,
      );
    }
    const number = this.results.length + 1;
    const { title } = step;
    const started = performance.now();
    const finish = (outcome: Outcome, differences: readonly Difference[], note?: string): boolean => {
      const milliseconds = performance.now() - started;
      this.results.push({ title, outcome, milliseconds });
      report({
        event: "step finished",
        number,
        title,
        outcome,
        milliseconds,
        differences,
        ...(note === undefined ? {} : { note }),
      });
      return outcome === "changed" || outcome === "would change";
    };
    this.#running = title;
    report({ event: "step started", number, title });
    try {
      let lastWrite: Output | undefined;
      const at = this.#access(number, title, (output) => lastWrite = output);
      let state: State;
      try {
        state = await step.probe(at);
      } catch (error) {
        // What an earlier step would have made is not there: nobody can look at what stands on it. A lost session is another matter.
        if (check && this.#changeAhead() && error instanceof Failure && error.exitCode !== Code.Container) {
          return finish("would change", [], `cannot be told before the steps above are done: ${error.message}`);
        }
        throw error;
      }
      const differences = step.diff(state);
      if (differences.length === 0) return finish("unchanged", []);
      if (check && step.waits && this.#changeAhead()) {
        return finish("skipped", differences, "waits for what the steps above would change");
      }
      if (check) {
        this.#predicted.push(...step.changes?.(state) ?? []);
        return finish("would change", differences);
      }
      await step.apply(at, state);
      const left = step.waits ? [] : step.diff(await step.probe(at));
      if (left.length === 0) {
        this.#changed.push(...step.changes?.(state) ?? []);
        return finish("changed", differences);
      }
      const message = `Nothing failed, yet it is still not so: ${left.map(describeDifference).join("; ")}`;
      throw lastWrite === undefined ? new Failure(Code.Step, message) : new CommandFailed(message, {
        command: lastWrite.command,
        code: lastWrite.code,
        stdout: lastWrite.text,
        stderr: lastWrite.errorText,
      });
    } catch (error) {
      finish("failed", []);
      throw error instanceof StepFailed ? error : new StepFailed(title, error);
    } finally {
      this.#running = undefined;
    }
  };

  /** Whether a step before this one would change something, in check mode. */
  #changeAhead(): boolean {
    return this.results.some(({ outcome }) => outcome === "would change");
  }

  #access(number: number, title: string, onWrite: (output: Output) => void): Writing {
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
            onWrite(output);
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
      warn: (text) => report({ event: "message", level: "warning", text }),
      predicted: this.#predicted,
      changed: this.#changed,
      pause,
    };
  }
}

/** Cuts output into lines as it comes. Of a line whose end is awaited, each 4,096 characters are handed on, with the mark of a cut. */
class LineReader {
  readonly #onLine: (line: string, stream: "stdout" | "stderr") => void;
  readonly #rest = { stdout: "", stderr: "" };
  readonly #decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };

  constructor(onLine: (line: string, stream: "stdout" | "stderr") => void) {
    this.#onLine = onLine;
  }

  push(chunk: Uint8Array, stream: "stdout" | "stderr"): void {
    const parts = (this.#rest[stream] + this.#decoders[stream].decode(chunk, { stream: true })).split("\n");
    this.#rest[stream] = parts.pop()!;
    for (const part of parts) this.#onLine(part, stream);
    while (this.#rest[stream].length > 4096) {
      this.#onLine(head(this.#rest[stream], 4096), stream);
      this.#rest[stream] = `${CUT}${this.#rest[stream].slice(4096)}`;
    }
  }

  flush(): void {
    for (const stream of ["stdout", "stderr"] as const) {
      if (this.#rest[stream] !== "") this.#onLine(this.#rest[stream], stream);
      this.#rest[stream] = "";
    }
  }
}
