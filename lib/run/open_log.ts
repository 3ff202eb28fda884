/**
 * The log of a run, opened as the command line and the environment say.
 *
 * @module
 */

import { basename } from "@std/path";
import { Failure } from "../errors.ts";
import { message } from "../events.ts";
import { HOST_PATHS } from "../host/paths.ts";
import type { LogFile } from "../log/file.ts";
import { RunLog } from "../log/log.ts";
import { head } from "../text.ts";
import { asksForText, type CommandLine } from "./arguments.ts";
import { notPermitted } from "./permission.ts";
import type { System } from "./system.ts";

const LEVELS = { DEBUG: "DEBUG", INFO: "INFO", WARN: "WARN", WARNING: "WARN", ERROR: "ERROR" } as const;

/** How much of a value a message shows. */
const MAX_SHOWN_CHARACTERS = 64;

/** A log, and whether the run may go on. */
export interface OpenedLog {
  /** The log, which is there in any case: what is wrong is logged, too. */
  readonly log: RunLog;
  /** What is wrong with what the environment or an option says of the log. */
  readonly refused: Failure | undefined;
}

/** @internal */
type LogSystem = Pick<System, "program" | "environment" | "stdout" | "stderr" | "openLogFile">;

/**
 * Opens the log, so that everything that follows is logged, also what is wrong with the command line. Never throws a
 * {@linkcode Failure}.
 */
export function openLog(system: LogSystem, commandLine: CommandLine): OpenedLog {
  const { stdout, stderr } = system;
  const { json, verbose, quiet, logFile } = commandLine;
  const refusals: Failure[] = [];
  const environment = (name: string) => readVariable(system, name, refusals);
  const wanted = environment("PHOENIX_LOG_LEVEL") ?? "";
  const level = levelNamed(wanted);
  const log = new RunLog({
    form: json ? "json" : stdout.terminal && environment("TERM") !== "dumb" ? "terminal" : "lines",
    level: verbose ? "DEBUG" : quiet ? "WARN" : level ?? "INFO",
    color: !environment("NO_COLOR"),
    program: basename(system.program),
    stdout,
    stderr,
  });
  if (!asksForText(commandLine)) {
    const path = logFile ?? (environment("PHOENIX_LOG_FILE") || HOST_PATHS.log);
    log.openFile(path, verbose ? "DEBUG" : "INFO", (path) => openFile(system, path, refusals));
    if (wanted !== "" && level === undefined) {
      const shown = JSON.stringify(head(wanted, MAX_SHOWN_CHARACTERS));
      log.report(message("warning", `Cannot use PHOENIX_LOG_LEVEL ${shown}: expected DEBUG, INFO, WARN or ERROR`));
    }
  }
  return { log, refused: refusals[0] };
}

/** The level that `PHOENIX_LOG_LEVEL` asks for; `undefined` where there is none of that name. */
function levelNamed(wanted: string): (typeof LEVELS)[keyof typeof LEVELS] | undefined {
  const name = wanted.toUpperCase();
  return Object.hasOwn(LEVELS, name) ? LEVELS[name as keyof typeof LEVELS] : undefined;
}

function readVariable(system: LogSystem, name: string, refusals: Failure[]): string | undefined {
  try {
    return system.environment(name);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    refusals.push(error);
    return undefined;
  }
}

/** Opens the log file. A run whose program is not permitted to write it ends at once, and is logged elsewhere only. */
function openFile(system: LogSystem, path: string, refusals: Failure[]): LogFile {
  try {
    return system.openLogFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
    refusals.push(notPermitted("write", path));
    return { append() {}, sync() {} };
  }
}
