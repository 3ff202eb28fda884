/**
 * The life of every setup executable, from its command line to its exit code: `main`, `parseArguments`,
 * `validateInputs`, `checkContainerExists`, `performContainerSpecificSetup`, `exitScript`. Each phase is given what it
 * needs and returns what it learned.
 *
 * @module
 */

import type { Connection } from "../container/container.ts";
import { Engine } from "../engine.ts";
import { ExitCode, Failure, messageOf } from "../errors.ts";
import { message, type Outcome, type RunEvent } from "../events.ts";
import type { RunLog } from "../log/log.ts";
import { type Duration, formatDuration, milliseconds, within } from "../time.ts";
import {
  asksForText,
  type CommandLine,
  commandToRunAgain,
  parseArguments,
  readCommandLine,
  usage,
  validateInputs,
  versionOf,
} from "./arguments.ts";
import {
  type Configuration,
  ContainerConfig,
  HypervisorConfig,
  readContainerConfig,
  readHypervisorConfig,
} from "./configuration.ts";
import { contextOf } from "./context.ts";
import { reportFailure } from "./failure_report.ts";
import { openLog } from "./open_log.ts";
import { checkContainerExists, Identity, startAgain } from "./preflight.ts";
import type { Setup } from "./setup.ts";
import { Shutdown } from "./shutdown.ts";
import { type System, thisSystem } from "./system.ts";

/** How long the whole run may take unless `--timeout` says otherwise. */
const DEFAULT_RUN_TIMEOUT: Duration = "2h";

/** How long ending what runs inside may take after a signal; the orchestrator kills what does not end. */
const MAX_CLEAN_UP_MS = 4_000;

/** How long a reader of stdout or stderr is waited for when the run was asked to end. */
const MAX_LAST_WORDS_MS = 400;

/** How many steps the summary names as the slowest, and how long one of them takes at least. */
const MAX_SLOWEST = 3;
const MIN_SLOW_MS = 1_000;

/** What every part of a run has at hand. */
interface Run {
  /** What is to be made true. */
  readonly setup: Setup;
  /** All that is outside of the program. */
  readonly system: System;
  /** What is asked for. */
  readonly commandLine: CommandLine;
  /** Takes what there is to say. */
  readonly log: RunLog;
  /** Ends the run from outside. */
  readonly shutdown: Shutdown;
  /** When it began, as `performance.now()` says. */
  readonly started: number;
}

/** The container of a run, and what works on it. */
interface Target {
  /** Its id. */
  readonly ctid: number;
  /** Tells whether it is the one that is meant. */
  readonly identity: Identity;
  /** The way into it. */
  readonly connection: Connection;
  /** Makes the steps true. */
  readonly engine: Engine;
}

/** Keeps other runs away from the container. */
type Lock = ReturnType<System["lock"]>;

/**
 * Runs a setup from its command line to its exit code. Handles every error there is; the process ends in
 * {@linkcode exitScript} and nowhere else.
 *
 * @example
 * ```ts
 * import { setup } from "./setup.ts";
 *
 * const empty = setup(910, "Empty", async () => {});
 * if (import.meta.main) await main(empty);
 * ```
 */
export async function main(setup: Setup, system: System = thisSystem()): Promise<void> {
  const started = performance.now();
  const commandLine = readCommandLine(system.args);
  const shutdown = new Shutdown(system, commandLine.timeout ?? milliseconds(DEFAULT_RUN_TIMEOUT));
  const { log, refused } = openLog(system, commandLine);
  const run: Run = { setup, system, commandLine, log, shutdown, started };
  if (asksForText(commandLine)) return await printText(run);

  const { program } = system;
  const { check } = commandLine;
  // What there is to clean up, and to say, when a phase fails or is cut short.
  let target: Target | undefined;
  let lock: Lock | undefined;
  let configuration: Configuration | undefined;
  let code: ExitCode;
  try {
    if (refused !== undefined) throw refused;
    const argument = parseArguments(commandLine, setup, program, log.report);
    const ctid = validateInputs(argument, setup, program);
    target = connect(run, ctid);
    await shutdown.race(checkContainerExists(ctid, check, system, log.report));
    lock = system.lock(ctid);
    if (!check) await shutdown.race(startAgain(ctid, system.host(ctid), log.report));
    configuration = readConfiguration(run, ctid);
    code = await shutdown.race(performContainerSpecificSetup(run, target, configuration));
    await shutdown.close();
  } catch (error) {
    // Before a container is known, nothing runs that a signal could hit.
    const reason = target === undefined ? error : await shutdown.reason(error);
    if (!await within(cleanUp(run, target, lock), MAX_CLEAN_UP_MS)) {
      log.report(message("warning", `Cannot clean up within ${formatDuration(MAX_CLEAN_UP_MS)}`));
    }
    code = fail(run, reason, configuration);
  }
  await exitScript(run, await allIsRead(run, code, configuration), target, lock);
}

/** Prints what `--help` or `--version` asks for, and ends the process. */
async function printText(run: Run): Promise<void> {
  const { setup, system, commandLine, shutdown } = run;
  system.stdout.write(`${commandLine.help ? usage(system.program, setup) : versionOf(setup)}\n`);
  await shutdown.close();
  await exitScript(run, await allIsRead(run, ExitCode.Success));
}

/** Begins to connect to the container. Nothing is done inside before it is known to be the one that is meant. */
function connect({ setup, system, commandLine, log, shutdown }: Run, ctid: number): Target {
  const identity = new Identity(ctid, setup.name);
  const connection = system.connect(ctid, {
    onOpen: ({ hostname }) => identity.require(hostname),
    lockedBy: () => system.lockedBy(ctid),
    onWait: (why) => log.report(message("warning", why)),
  });
  // Most of a run is `pct` starting, twice: `pct status` and the shell start at once.
  connection.prepare();
  const engine = new Engine({
    container: connection,
    host: shutdown.guard(system.host(ctid)),
    check: commandLine.check,
    report: log.report,
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  });
  return { ctid, identity, connection, engine };
}

/** Reads the configuration files. With the host's `behavior.debug_mode`, stdout and stderr get what `--verbose` shows. */
function readConfiguration({ system, commandLine, log }: Run, ctid: number): Configuration {
  const hypervisor = readHypervisorConfig(system);
  const isDebugMode = hypervisor instanceof HypervisorConfig && hypervisor.debugMode;
  if (isDebugMode && !commandLine.quiet) log.setLevel("DEBUG");
  return { hypervisor, container: readContainerConfig(system, ctid, hypervisor) };
}

/**
 * Makes sure that the container is the one that is meant, and makes every step true. Gives the exit code of a run in
 * which nothing fails.
 */
async function performContainerSpecificSetup(
  { setup, system, commandLine, log }: Run,
  { ctid, identity, connection, engine }: Target,
  configuration: Configuration,
): Promise<ExitCode> {
  const { check } = commandLine;
  const { container } = configuration;
  if (container instanceof ContainerConfig && container.optionalName !== undefined) {
    identity.expect(container.optionalName, `"${container.file}"`);
  }
  await connection.open();
  log.report({ event: "run started", ctid, name: setup.name, check });
  await setup.perform(contextOf(setup, {
    ensure: engine.ensure,
    configuration,
    environment: system.environment,
    host: system.host(ctid),
    conceal: (secret) => log.conceal(secret),
  }));
  if (engine.running !== undefined) {
    throw new Failure(
      ExitCode.Defect,
      `The setup ended while the step "${engine.running}" was still under way: write "await ensure(…)"`,
    );
  }
  await connection.close();
  const wouldChange = engine.results.some(({ outcome }) => outcome === "would change");
  return check && wouldChange ? ExitCode.WouldChange : ExitCode.Success;
}

/**
 * Ends what still runs inside; a container that was stopped for a moment is started again. Gives true when it is done.
 */
async function cleanUp({ system, commandLine, log, shutdown }: Run, target?: Target, lock?: Lock): Promise<true> {
  try {
    // A container that a `pct` is about to stop is not started before it has.
    await Promise.all([target?.connection.interrupt(), shutdown.close()]);
    if (target !== undefined && lock !== undefined && !commandLine.check) {
      await startAgain(target.ctid, system.host(target.ctid), log.report);
    }
  } catch (error) {
    log.report(message("warning", `Cannot clean up: ${messageOf(error)}`));
  }
  return true;
}

/** Logs why the run fails, and gives its exit code. */
function fail({ system, log }: Run, reason: unknown, configuration?: Configuration): ExitCode {
  const again = commandToRunAgain(system.program, system.args);
  return reportFailure({ report: log.report, again, configuration }, reason);
}

/**
 * Waits until all that was said so far is read: a reader can be slow, or stalled. Gives the exit code, which is that of
 * the failure where the run is asked to end while it waits.
 */
async function allIsRead(run: Run, code: ExitCode, configuration?: Configuration): Promise<ExitCode> {
  const { system, shutdown } = run;
  if (shutdown.isRequested) return code;
  try {
    await shutdown.race(system.drain());
    return code;
  } catch (reason) {
    return fail(run, reason, configuration);
  }
}

/**
 * Ends the process, and is the only place that does: logs the last line of success or failure, flushes the log, exits
 * with `code`.
 */
async function exitScript(run: Run, code: ExitCode, target?: Target, lock?: Lock): Promise<void> {
  const { system, commandLine, log, shutdown } = run;
  await target?.connection.close();
  if (!asksForText(commandLine)) log.report(runFinished(run, code, target));
  lock?.release();
  log.close();
  system.pct.abandon();
  // Whoever asks for the end now gets it at once, but no other exit code than the last line says.
  await Promise.race([system.drain(), shutdown.requested.catch(() => system.drain(MAX_LAST_WORDS_MS))]);
  shutdown.stopTimer();
  system.exit(code);
}

function runFinished({ commandLine, started }: Run, code: ExitCode, target?: Target): RunEvent {
  const results = target?.engine.results ?? [];
  const outcomes: Partial<Record<Outcome, number>> = {};
  for (const { outcome } of results) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  const slowest = results.filter(({ milliseconds }) => milliseconds >= MIN_SLOW_MS)
    .sort((a, b) => b.milliseconds - a.milliseconds).slice(0, MAX_SLOWEST)
    .map(({ title, milliseconds }) => ({ title, milliseconds }));
  return {
    event: "run finished",
    ctid: target?.ctid,
    code,
    text: lastLine(commandLine, code, target),
    milliseconds: performance.now() - started,
    outcomes,
    slowest,
  };
}

function lastLine({ check }: CommandLine, code: ExitCode, target?: Target): string {
  const of = target === undefined ? "" : ` for container ${target.ctid}`;
  const results = target?.engine.results ?? [];
  if (check && (code === ExitCode.Success || code === ExitCode.WouldChange)) {
    const count = results.filter(({ outcome }) => outcome === "would change").length;
    return `Check of the specific setup${of} completed: ${count} of ${results.length} steps would change something`;
  }
  if (code === ExitCode.Success) return `Specific setup${of} completed successfully`;
  const step = target?.engine.running ?? results.find(({ outcome }) => outcome === "failed")?.title;
  return `Specific setup${of} failed${step === undefined ? "" : ` in step "${step}"`} with exit code ${code}`;
}
