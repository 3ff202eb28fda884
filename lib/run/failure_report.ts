/**
 * What a person is told of a failure, and which exit code it has.
 *
 * @module
 */

import { REVISION, VERSION } from "../build.ts";
import type { ConfigurationError } from "./configuration.ts";
import { StepFailed } from "../engine.ts";
import { CommandFailed, ExitCode, Failure, messageOf, SessionLost } from "../errors.ts";
import type { Report, RunEvent } from "../events.ts";
import { hintFor, meaningOf } from "./hints.ts";
import { notPermitted, type Refusal, refusalIn } from "./permission.ts";

/** The run that failed. */
export interface FailedRun {
  /** Takes what there is to say. */
  readonly report: Report;
  /** The command that runs it again. */
  readonly again: string;
  /** `core_paths` of the host's configuration, as far as it was read. */
  readonly corePaths: Readonly<Record<string, unknown>> | undefined;
}

/** Says why the run failed, and gives the exit code for it. */
export function reportFailure(run: FailedRun, error: unknown): ExitCode {
  if (error instanceof StepFailed && (!(error.cause instanceof Failure) || refusalIn(error))) {
    return logDefect(run, error.cause, error.step);
  }
  if (!(error instanceof Failure) || refusalIn(error)) return logDefect(run, error);
  if (!(error instanceof StepFailed)) {
    message(run, "fatal", error.message);
    const hint = error.hint ?? (error instanceof SessionLost ? hintFor(error.message) : undefined);
    if (hint !== undefined) message(run, "error", `What to do: ${hint}`);
    return error.exitCode;
  }
  const evidence = error.cause instanceof CommandFailed ? error.cause.evidence : undefined;
  const output = evidence === undefined ? [] : [...lastLines(evidence.stdout), ...lastLines(evidence.stderr)];
  const meaning = evidence && meaningOf(evidence);
  const hint = error.hint ?? hintFor([error.message, ...output].join("\n"));
  run.report({
    event: "failure",
    message: error.message,
    step: error.step,
    ...(evidence === undefined ? {} : { command: evidence.command, output }),
    ...(evidence?.code === undefined ? {} : { code: evidence.code }),
    ...(meaning === undefined ? {} : { meaning }),
    ...(hint === undefined ? {} : { hint }),
    again: run.again,
  });
  return error.exitCode;
}

/** A defect, or a permission that the executable does not have: something that only a change of the program mends. */
function logDefect(run: FailedRun, error: unknown, step?: string): ExitCode {
  const where = step === undefined ? "" : ` in step "${step}"`;
  const refusal = refusalIn(error);
  const configured = refusal && namedByConfiguration(run, refusal);
  if (configured) {
    message(run, "fatal", configured.message);
    message(run, "error", `What to do: ${configured.hint}`);
    return configured.exitCode;
  }
  if (refusal) {
    const { access, to, declaration } = refusal;
    message(
      run,
      "fatal",
      `Permission refused${where}: ${access} access to ${to === undefined ? "everything" : `"${to}"`}`,
    );
    message(
      run,
      "error",
      declaration === undefined
        ? "What to do: a setup cannot be permitted this; do it inside the container"
        : `What to do: declare it in the setup: ${declaration}, and build the executable again`,
    );
  } else {
    message(run, "fatal", `Defect${where}: ${messageOf(error)}`);
    message(run, "error", `What to do: report it with these lines (version ${VERSION}, ${REVISION})`);
    if (error instanceof Error && error.stack) message(run, "error", error.stack);
  }
  return ExitCode.Defect;
}

/** A path that was refused and is the host configuration's choice: another host has to be told, not the author of the setup. */
function namedByConfiguration(run: FailedRun, { access, to }: Refusal): ConfigurationError | undefined {
  if (to === undefined || (access !== "read" && access !== "write")) return undefined;
  for (const [key, path] of Object.entries(run.corePaths ?? {})) {
    if (typeof path !== "string" || (to !== path && !to.startsWith(`${path}/`))) continue;
    return notPermitted(access, path, `"${to}", where "core_paths.${key}" leads,`);
  }
  return undefined;
}

function message(run: FailedRun, level: (RunEvent & { event: "message" })["level"], text: string): void {
  run.report({ event: "message", level, text });
}

/** The last 20 lines. */
function lastLines(output: string): string[] {
  return output === "" ? [] : output.replace(/\n+$/, "").split("\n").slice(-20);
}
