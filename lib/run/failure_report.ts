/**
 * What a person is told of a failure, and which exit code it has.
 *
 * @module
 */

import { REVISION, VERSION } from "../build.ts";
import { type Configuration, type ConfigurationError, HypervisorConfig } from "./configuration.ts";
import { StepFailed } from "../engine.ts";
import { CommandFailed, ExitCode, Failure, messageOf, SessionLost } from "../errors.ts";
import { message, type Report } from "../events.ts";
import { hintFor, meaningOf } from "./hints.ts";
import { notPermitted, type Refusal, refusalIn } from "./permission.ts";

/** How many lines of what a command wrote to each stream a failure shows. */
const MAX_OUTPUT_LINES = 20;

/** The run that failed. */
export interface FailedRun {
  /** Takes what there is to say. */
  readonly report: Report;
  /** The command that runs it again. */
  readonly again: string;
  /** The host's configuration, where it was read. */
  readonly configuration: Configuration | undefined;
}

/** Says why the run failed, and gives the exit code for it. */
export function reportFailure(run: FailedRun, error: unknown): ExitCode {
  if (error instanceof StepFailed && (!(error.cause instanceof Failure) || refusalIn(error))) {
    return logDefect(run, error.cause, error.step);
  }
  if (!(error instanceof Failure) || refusalIn(error)) return logDefect(run, error);
  if (!(error instanceof StepFailed)) {
    run.report(message("fatal", error.message));
    const hint = error.hint ?? (error instanceof SessionLost ? hintFor(error.message) : undefined);
    if (hint !== undefined) run.report(message("error", `What to do: ${hint}`));
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
    run.report(message("fatal", configured.message));
    run.report(message("error", `What to do: ${configured.hint}`));
    return configured.exitCode;
  }
  if (refusal) {
    const { access, to, declaration } = refusal;
    const what = to === undefined ? "everything" : `"${to}"`;
    run.report(message("fatal", `Permission refused${where}: ${access} access to ${what}`));
    const hint = declaration === undefined
      ? "a setup cannot be permitted this; do it inside the container"
      : `declare it in the setup: ${declaration}, and build the executable again`;
    run.report(message("error", `What to do: ${hint}`));
  } else {
    run.report(message("fatal", `Defect${where}: ${messageOf(error)}`));
    run.report(message("error", `What to do: report it with these lines (version ${VERSION}, ${REVISION})`));
    if (error instanceof Error && error.stack) run.report(message("error", error.stack));
  }
  return ExitCode.Defect;
}

/**
 * A path that was refused and is the host configuration's choice: another host has to be told, not the author of the
 * setup.
 */
function namedByConfiguration(
  { configuration }: FailedRun,
  { access, to }: Refusal,
): ConfigurationError | undefined {
  if (to === undefined || (access !== "read" && access !== "write")) return undefined;
  const hypervisor = configuration?.hypervisor;
  const leads = hypervisor instanceof HypervisorConfig ? hypervisor.corePathOf(to) : undefined;
  return leads && notPermitted(access, leads.value, `"${to}" (from "core_paths.${leads.key}")`);
}

function lastLines(output: string): string[] {
  return output === "" ? [] : output.replace(/\n+$/, "").split("\n").slice(-MAX_OUTPUT_LINES);
}
