/**
 * The one life of every setup executable, in the order of the requirements (section 2): `main`, `parseArguments`, `validateInputs`,
 * `checkContainerExists`, `performContainerSpecificSetup`, `exitScript`.
 *
 * @module
 */

import { basename } from "@std/path";
import { type Arguments, readArguments, usage } from "./arguments.ts";
import { REVISION, VERSION } from "../build.ts";
import { ConfigurationError, ContainerConfig, HypervisorConfig } from "./configuration.ts";
import { LOCK_TIMEOUT_MS } from "../container/connection.ts";
import type { Connection } from "../container/container.ts";
import { head } from "../text.ts";
import { Shutdown } from "./shutdown.ts";
import { Engine } from "../engine.ts";
import { ExitCode, Failure, messageOf } from "../errors.ts";
import type { Outcome, RunEvent } from "../events.ts";
import { hintFor } from "./hints.ts";
import { reportFailure } from "./failure_report.ts";
import type { Greeting } from "../container/protocol.ts";
import type { Host } from "../host/host.ts";
import type { RunLock } from "./lock.ts";
import { RunLog } from "../log/log.ts";
import { isLocked } from "../container/pct.ts";
import { notPermitted } from "./permission.ts";
import { MIN_SECRET_LENGTH, Secret } from "../secret.ts";
import { CTID_RANGE, type Setup, type SetupContext } from "./setup.ts";
import { HOST_PATHS, stoppedMarker } from "../host/paths.ts";
import { quote } from "../shell.ts";
import { type System, thisSystem } from "./system.ts";
import { formatDuration, milliseconds, within } from "../time.ts";

/** One run of a setup. */
interface Run {
  readonly setup: Setup;
  readonly system: System;
  readonly log: RunLog;
  readonly arguments: Arguments;
  readonly started: number;
  readonly shutdown: Shutdown;
  ctid?: number;
  container?: Connection;
  /** The names that the container has to have, and where they are stated. */
  names?: readonly { from: string; name: string }[];
  engine?: Engine;
  lock?: Pick<RunLock, "release">;
  /** What is wrong with what the environment or an option says of the log. */
  refused?: Failure;
  /** `core_paths` of the host's configuration. */
  corePaths?: Readonly<Record<string, unknown>> | undefined;
}

/** How long the whole run may take unless `--timeout` says otherwise. */
const RUN_TIMEOUT = "2h";

/** How long a container that a run has stopped is waited for, in milliseconds, while Proxmox has it locked. */
const START_AGAIN = 10 * 60_000;

/** How long a container that a run may have told to stop is watched, in milliseconds; all of it has to fit into {@linkcode CLEAN_UP}. */
const STAYS_UP = 2_000;

/** How long ending what runs inside may take after a signal; the orchestrator kills what does not end. */
const CLEAN_UP = 4_000;

/** How long a reader of stdout or stderr is waited for when the run was asked to end, in milliseconds. */
const LAST_WORDS = 400;

/**
 * Runs a setup from its command line to its exit code. Handles every error there is; the process ends in {@linkcode exitScript} and
 * nowhere else.
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
  const run = begin(setup, system);
  let code: ExitCode;
  try {
    code = await Promise.race([live(run), run.shutdown.requested]);
    await run.shutdown.close();
  } catch (error) {
    // Before a container is known, nothing runs that a signal could hit.
    const reason = run.ctid === undefined ? error : await run.shutdown.reason(error);
    if (!await within(cleanUp(run), CLEAN_UP)) {
      message(run, "warning", `Cannot clean up within ${formatDuration(CLEAN_UP)}`);
    }
    code = fail(run, reason);
  }
  if (!run.shutdown.isRequested) {
    // A reader can be slow, or stalled: the run is not over before it has taken all but the last line.
    await Promise.race([system.drain(), run.shutdown.requested]).catch((reason) => code = fail(run, reason));
  }
  await exitScript(run, code);
}

/** Logs why the run fails, and gives its exit code. */
function fail(run: Run, reason: unknown): ExitCode {
  const { program, args } = run.system;
  // Each as a word that a shell takes, but for what no command line can hold.
  const word = (text: string) => text.includes("\0") || !text.isWellFormed() ? visibleArgument(text) : quote(text);
  // A source file runs only where its imports resolve, and its container may be a simulated one: the task knows.
  const command = program.endsWith(".ts") ? ["deno", "task", "setup"] : [program];
  const again = [...command, ...args].map(word).join(" ");
  return reportFailure({ report: run.log.report, again, corePaths: run.corePaths }, reason);
}

/** Ends what still runs inside; a container that was stopped for a moment is started again. Gives true when it is done. */
async function cleanUp(run: Run): Promise<true> {
  try {
    // A container that a `pct` is about to stop is not started before it has.
    await Promise.all([run.container?.interrupt(), run.shutdown.close()]);
    if (run.lock !== undefined && !run.arguments.check) await startAgain(run);
  } catch (error) {
    message(run, "warning", `Cannot clean up: ${messageOf(error)}`);
  }
  return true;
}

async function live(run: Run): Promise<ExitCode> {
  if (run.arguments.help || run.arguments.version) return printOnRequest(run);
  if (run.refused !== undefined) throw run.refused;
  const ctid = parseArguments(run);
  validateInputs(run, ctid);
  // Most of a run is `pct` starting, twice: both at once. The shell says who it is, and does nothing before `pct status` has answered.
  run.container = connect(run);
  run.container.prepare();
  await checkContainerExists(run);
  return await performContainerSpecificSetup(run);
}

/**
 * Retrieves the CTID from the command line (requirements, section 2): exactly one positional argument. Anything else is a usage
 * error, exit code 1.
 */
export function parseArguments(run: Run): string {
  const { problems, positional } = run.arguments;
  const wrong = [...problems];
  if (positional.length !== 1) {
    const given = firstOf(positional.map((argument) => JSON.stringify(head(argument, 64))), ", ");
    wrong.push(
      `Expected exactly one argument, the CTID, and got ${positional.length}${given === "" ? "" : `: ${given}`}`,
    );
  }
  if (wrong.length > 0) {
    throw new Failure(ExitCode.Usage, `Usage error: ${firstOf(wrong, "; ")}`, {
      hint: `Usage: ${programName(run)} [options] ${run.setup.ctid} (--help tells more)`,
    });
  }
  message(run, "info", `Received CTID: ${visibleArgument(positional[0]!)}`);
  return positional[0]!;
}

/**
 * Accepts the CTID (requirements, section 2): a positive integer that Proxmox gives to containers, the setup's own, and the one in
 * the program's file name where that carries one. Otherwise exit code 1.
 */
export function validateInputs(run: Run, argument: string): void {
  const { setup, system } = run;
  const shown = visibleArgument(argument);
  if (!/^[1-9][0-9]*$/.test(argument)) {
    throw new Failure(ExitCode.Usage, `CTID ${shown} is not a positive integer`, {
      hint: `Digits only, without sign, space or leading zero: ${setup.ctid}`,
    });
  }
  const ctid = Number(argument);
  if (ctid < CTID_RANGE.lowest || ctid > CTID_RANGE.highest) {
    throw new Failure(
      ExitCode.Usage,
      `CTID ${shown} is not one of Proxmox: expected ${CTID_RANGE.lowest} to ${CTID_RANGE.highest}`,
    );
  }
  if (ctid !== setup.ctid) {
    throw new Failure(ExitCode.Usage, `CTID ${ctid} is not this executable's: it sets up container ${setup.ctid}`, {
      hint: `Run the executable of ${ctid}, or this one with ${setup.ctid}`,
    });
  }
  const named = ctidOfFileName(basename(system.program));
  if (named !== undefined && named !== argument) {
    throw new Failure(
      ExitCode.Usage,
      `CTID ${ctid} does not match the file name "${basename(system.program)}": it is named for container ${named}`,
      { hint: `Rename the file to phoenix_hypervisor_setup_${ctid}, or build the setup of ${named}` },
    );
  }
  run.ctid = ctid;
}

/** The id that a file name carries by the naming convention (requirements, section 3), as text. */
function ctidOfFileName(name: string): string | undefined {
  return /^phoenix_hypervisor_setup_(.*?)(?:\.sh)?$/.exec(name)?.[1] ?? /^(\d+)\.(?:ts|js)$/.exec(name)?.[1];
}

/**
 * Makes sure that the container exists (requirements, section 2): `pct status` says so. Otherwise exit code 1 with what `pct` said;
 * a container that is stopped cannot be used, exit code 3.
 */
export async function checkContainerExists(run: Run): Promise<void> {
  const { pct } = run.system;
  const ctid = run.ctid!;
  message(run, "info", `Checking for the existence of container ${ctid}`);
  const ask = async () => {
    const { code, stdout, stderr } = await pct.run(["status", String(ctid)], 60_000);
    return { code, stdout, stderr, status: /^status: (running|stopped)$/m.exec(stdout)?.[1] };
  };
  let answer = await ask();
  const deadline = performance.now() + LOCK_TIMEOUT_MS;
  let told = "";
  // A backup may stop a container for a while. It unlocks it a moment before it starts it: hence one more look in the end.
  for (let locked = true; locked && answer.status === "stopped"; answer = await ask()) {
    const lock = run.system.lockedBy(ctid);
    if ((lock === undefined && told === "") || performance.now() >= deadline) break;
    locked = lock !== undefined;
    const why = `Waiting for container ${ctid}, which is stopped and ${locked ? `locked (${lock})` : "unlocked"}`;
    if (why !== told) message(run, "warning", why);
    told = why;
    await new Promise((resolve) => setTimeout(resolve, 5_000));
  }
  const { code, stdout, stderr, status } = answer;
  if (code === 0 && status !== undefined) {
    message(run, "info", `Container ${ctid} exists and is ${status}`);
    if (status === "running") return;
    // One that a run of ours has stopped is started again, by whoever holds the lock.
    if (!run.arguments.check && await run.system.host(ctid).file(stoppedMarker(ctid))) return;
    const lock = run.system.lockedBy(ctid);
    throw new Failure(
      ExitCode.Container,
      `Container ${ctid} is stopped${lock === undefined ? "" : ` and locked (${lock})`}`,
      {
        hint: lock === undefined
          ? `Start it: pct start ${ctid}`
          : "Look at its tasks in Proxmox: where none is under way, the lock is a left-over of one that was cut off",
      },
    );
  }
  const said = (stderr || stdout).trim();
  if (code === undefined) {
    throw new Failure(ExitCode.Usage, `Container ${ctid} cannot be checked: "pct status" did not answer within 1 min`);
  }
  const node = nodeOf(run, ctid);
  const here = /'nodes\/([^/]+)\/lxc\/\d+\.conf' does not exist/.exec(said)?.[1];
  if (node !== undefined && here !== undefined && node !== here) {
    throw new Failure(
      ExitCode.Usage,
      `Container ${ctid} is not on this node: it lives on node "${node}" of the cluster`,
      {
        hint: `Run this on "${node}"`,
      },
    );
  }
  const hint = hintFor(said);
  throw new Failure(
    ExitCode.Usage,
    `Container ${ctid} does not exist or cannot be checked: "pct status ${ctid}" ended with exit code ${code} and said ${
      said === "" ? "nothing" : `"${said}"`
    }`,
    hint === undefined ? {} : { hint },
  );
}

/** Starts the container where a run that was cut off has stopped it, as its note says, and takes the note away. */
async function startAgain(run: Run): Promise<void> {
  const ctid = run.ctid!;
  const host = run.system.host(ctid);
  if (!await host.file(stoppedMarker(ctid))) return;
  const deadline = performance.now() + START_AGAIN;
  for (let pause = 100;; pause = Math.min(2 * pause, 5_000)) {
    const { code, stderr } = await host.changeContainer("start", [], 120_000);
    if (code === 0) message(run, "info", `Started container ${ctid}, which a run that was cut off had stopped`);
    if (code === 0) break;
    if (/already running/.test(stderr)) {
      if (await staysUp(host)) break;
      continue;
    }
    const why = `Container ${ctid} is stopped and does not start: ${stderr.trim() || "pct said nothing"}`;
    // What the other run had begun, such as a snapshot, may still be under way.
    if (!isLocked(stderr) || performance.now() > deadline) throw new Failure(ExitCode.Container, why);
    message(run, "warning", `${why}. Trying again`);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  await host.removeFile(stoppedMarker(ctid));
}

/** Whether a container is not about to stop: a shutdown goes on inside when the `pct` that asked for it was ended by a signal. */
async function staysUp(host: Host): Promise<boolean> {
  const deadline = performance.now() + STAYS_UP;
  do {
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (/^status: stopped$/m.test((await host.containerStatus()).stdout)) return false;
  } while (performance.now() < deadline);
  return true;
}

/** The node of the cluster that Proxmox says a container lives on; `undefined` where it does not say. */
function nodeOf(run: Run, ctid: number): string | undefined {
  try {
    const list = run.system.readJson(HOST_PATHS.clusterList) as
      | { ids?: Record<string, { node?: unknown } | undefined> }
      | undefined;
    const node = list?.ids?.[String(ctid)]?.node;
    return typeof node === "string" ? node : undefined;
  } catch {
    return undefined; // It only makes a message better.
  }
}

/**
 * Takes the container's lock, reads the configuration, makes sure that the container is the one that is meant, and makes every step
 * true (requirements, section 2).
 */
export async function performContainerSpecificSetup(run: Run): Promise<ExitCode> {
  const { setup, system, log } = run;
  const ctid = run.ctid!;
  const { check } = run.arguments;
  run.lock = system.lock(ctid);
  if (!check) await startAgain(run);
  const configuration = readConfiguration(run);
  run.names = [
    { from: `the setup of container ${ctid}`, name: setup.name },
    ...(configuration.name === undefined ? [] : [{ from: `"${configuration.lxcFile}"`, name: configuration.name }]),
  ];
  const container = run.container!;
  const engine = run.engine = new Engine({
    container,
    host: run.shutdown.guard(system.host(ctid)),
    check,
    report: log.report,
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  });
  await container.open();
  log.report({ event: "run started", ctid, name: setup.name, check });
  const context: SetupContext = {
    ensure: engine.ensure,
    get config() {
      return configuration.container();
    },
    get hypervisor() {
      return configuration.hypervisor();
    },
    environment(name) {
      if (!setup.needs.environment?.includes(name)) {
        throw new Failure(
          ExitCode.Defect,
          `Cannot read the environment variable "${name}" as the setup does not declare it`,
          {
            hint: `Declare it in the setup: { environment: ["${name}"] }`,
          },
        );
      }
      return system.environment(name);
    },
    async secret(name, from) {
      const secret = await readSecret(run, context, name, from);
      log.conceal(secret);
      return secret;
    },
  };
  await setup.perform(context);
  if (engine.running !== undefined) {
    throw new Failure(
      ExitCode.Defect,
      `The setup ended while the step "${engine.running}" was under way: write "await ensure(…)"`,
    );
  }
  await container.close();
  const wouldChange = engine.results.some(({ outcome }) => outcome === "would change");
  return check && wouldChange ? ExitCode.WouldChange : ExitCode.Success;
}

async function readSecret(
  run: Run,
  context: SetupContext,
  name: string,
  from: { readonly file: string } | { readonly environment: string },
): Promise<Secret> {
  const where = "file" in from ? `the file "${from.file}"` : `the environment variable "${from.environment}"`;
  let text: string | undefined;
  try {
    text = "file" in from
      ? await (await run.system.host(run.ctid!).file(from.file))?.text()
      : context.environment(from.environment);
  } catch (error) {
    if (!("file" in from) || !(error instanceof Deno.errors.NotCapable)) throw error;
    throw notPermitted("read", from.file, `${name} from ${where}`);
  }
  // Base64 may end with "=", too.
  const value = text?.trim()
    .replace(/^(?:export )?(?:[A-Z_][A-Z0-9_]*=|[A-Za-z_]\w*=(?=[^=]))(["']?)(.*)\1$/, "$2");
  if (!value) {
    throw new ConfigurationError(`Cannot read ${name}: ${where} is ${text === undefined ? "not there" : "empty"}`);
  }
  if (value.length < MIN_SECRET_LENGTH) {
    throw new ConfigurationError(`Cannot use ${name}: ${where} has fewer than ${MIN_SECRET_LENGTH} characters`, {
      hint: "So short a value cannot be kept out of the log",
    });
  }
  return new Secret(name, value);
}

/** The connection to the container, which is refused where that is another one than meant. */
function connect(run: Run): Connection {
  const { system } = run;
  const ctid = run.ctid!;
  return system.connect(ctid, {
    onOpen: (greeting) => refuseOtherContainer(ctid, greeting, run.names!),
    lockedBy: () => system.lockedBy(ctid),
    onWait: (why) => message(run, "warning", why),
  });
}

/** A wrong id must never configure somebody else's container. */
function refuseOtherContainer(
  ctid: number,
  greeting: Greeting,
  names: readonly { from: string; name: string }[],
): void {
  const short = (name: string) => name.split(".")[0]!.toLowerCase();
  for (const { from, name } of names) {
    if (short(name) === short(greeting.hostname)) continue;
    throw new Failure(
      ExitCode.Container,
      `Container ${ctid} is not the one that is meant: its host name is "${greeting.hostname}", and ${from} says "${name}"`,
      {
        hint: `If it is the right container: pct set ${ctid} --hostname ${name}, and reboot it; ` +
          "otherwise correct the CTID or the configuration",
      },
    );
  }
}

/** The configuration files. What is missing matters only to a setup that asks for it; what is wrong matters at once. */
function readConfiguration(run: Run) {
  const { environment, readJson } = run.system;
  const ctid = run.ctid!;
  const read = (file: string, chosenBy: string | undefined): unknown => {
    const json = readJson(file);
    if (json === undefined && chosenBy !== undefined) {
      throw new ConfigurationError(`Cannot read "${file}", which ${chosenBy} names: there is no such file`);
    }
    return json;
  };
  const hypervisorVariable = environment("PHOENIX_HYPERVISOR_CONFIG_FILE") || undefined;
  const hypervisorFile = hypervisorVariable ?? HOST_PATHS.hypervisorConfig;
  const hypervisorJson = read(hypervisorFile, hypervisorVariable && "PHOENIX_HYPERVISOR_CONFIG_FILE");
  const hypervisor = hypervisorJson === undefined ? undefined : new HypervisorConfig(hypervisorFile, hypervisorJson);
  if (hypervisor?.debugMode && !run.arguments.quiet) run.log.setLevel("DEBUG");
  run.corePaths = (hypervisorJson as { core_paths?: Record<string, unknown> } | undefined)?.core_paths;

  const lxcVariable = environment("PHOENIX_LXC_CONFIG_FILE") || undefined;
  const lxcFile = lxcVariable ?? hypervisor?.lxcConfigFile ?? HOST_PATHS.lxcConfig;
  const lxcJson = read(
    lxcFile,
    lxcVariable ? "PHOENIX_LXC_CONFIG_FILE" : hypervisor?.lxcConfigFile && `"core_paths.lxc_config_file"`,
  );
  let container: ContainerConfig | ConfigurationError;
  try {
    container = lxcJson === undefined
      ? new ConfigurationError(`Cannot read the configuration of container ${ctid}: there is no "${lxcFile}"`)
      : new ContainerConfig(lxcFile, lxcJson, ctid);
  } catch (error) {
    if (!(error instanceof ConfigurationError) || !error.blockMissing) throw error;
    container = error;
  }
  return {
    lxcFile,
    name: container instanceof ContainerConfig ? container.optionalName : undefined,
    container(): ContainerConfig {
      if (container instanceof ContainerConfig) return container;
      throw container;
    },
    hypervisor(): HypervisorConfig {
      if (hypervisor !== undefined) return hypervisor;
      throw new ConfigurationError(`Cannot read the host's configuration: there is no "${hypervisorFile}"`);
    },
  };
}

/**
 * Ends the process, and is the only place that does (requirements, section 2): logs the last line of success or failure, flushes
 * the log, exits with `code`.
 */
export async function exitScript(run: Run, code: ExitCode): Promise<void> {
  const { system, log, engine } = run;
  await run.container?.close();
  const results = engine?.results ?? [];
  const outcomes: Partial<Record<Outcome, number>> = {};
  for (const { outcome } of results) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  const slowest = results.filter(({ milliseconds }) => milliseconds >= 1_000)
    .sort((a, b) => b.milliseconds - a.milliseconds).slice(0, 3)
    .map(({ title, milliseconds }) => ({ title, milliseconds }));
  if (!run.arguments.help && !run.arguments.version) {
    log.report({
      event: "run finished",
      ctid: run.ctid,
      code,
      text: lastLine(run, code),
      milliseconds: performance.now() - run.started,
      outcomes,
      slowest,
    });
  }
  run.lock?.release();
  log.close();
  system.pct.abandon();
  // Whoever asks for the end now gets it at once, but no other exit code than the last line says.
  await Promise.race([system.drain(), run.shutdown.requested.catch(() => system.drain(LAST_WORDS))]);
  run.shutdown.stopTimer();
  system.exit(code);
}

function lastLine(run: Run, code: ExitCode): string {
  const of = run.ctid === undefined ? "" : ` for container ${run.ctid}`;
  const results = run.engine?.results ?? [];
  if (run.arguments.check && (code === ExitCode.Success || code === ExitCode.WouldChange)) {
    const count = results.filter(({ outcome }) => outcome === "would change").length;
    return `Check of the specific setup${of} completed: ${count} of ${results.length} steps would change something`;
  }
  if (code === ExitCode.Success) return `Specific setup${of} completed successfully`;
  const step = run.engine?.running ?? results.find(({ outcome }) => outcome === "failed")?.title;
  return `Specific setup${of} failed${step === undefined ? "" : ` in step "${step}"`} with exit code ${code}`;
}

/** Opens the log, so that everything that follows is logged, also what is wrong with the command line. */
function begin(setup: Setup, system: System): Run {
  const { stdout, stderr } = system;
  const options = readArguments(system.args);
  let refused: Failure | undefined;
  const environment = (name: string): string | undefined => {
    try {
      return system.environment(name);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      refused ??= error;
      return undefined;
    }
  };
  const wanted = environment("PHOENIX_LOG_LEVEL") ?? "";
  const level = wanted.toUpperCase();
  const levels = { DEBUG: "DEBUG", INFO: "INFO", WARN: "WARN", WARNING: "WARN", ERROR: "ERROR" } as const;
  const known = Object.hasOwn(levels, level) ? levels[level as keyof typeof levels] : undefined;
  const log = new RunLog({
    form: options.json ? "json" : stdout.terminal && environment("TERM") !== "dumb" ? "terminal" : "lines",
    level: options.verbose ? "DEBUG" : options.quiet ? "WARN" : known ?? "INFO",
    color: !environment("NO_COLOR"),
    program: basename(system.program),
    stdout,
    stderr,
  });
  const shutdown = new Shutdown(system, options.timeout ?? milliseconds(RUN_TIMEOUT));
  const run: Run = { setup, system, log, arguments: options, started: performance.now(), shutdown };
  if (!options.help && !options.version) {
    const logFile = options.logFile ?? (environment("PHOENIX_LOG_FILE") || HOST_PATHS.log);
    if (refused !== undefined) run.refused = refused;
    log.openFile(
      logFile,
      options.verbose ? "DEBUG" : "INFO",
      (path) => {
        try {
          return system.openLogFile(path);
        } catch (error) {
          if (!(error instanceof Deno.errors.NotCapable)) throw error;
          run.refused ??= notPermitted("write", path);
          return { append() {}, sync() {} };
        }
      },
    );
    if (level !== "" && known === undefined) {
      message(
        run,
        "warning",
        `Cannot use PHOENIX_LOG_LEVEL ${JSON.stringify(head(wanted, 64))}: expected DEBUG, INFO, WARN or ERROR`,
      );
    }
  }
  return run;
}

function printOnRequest(run: Run): ExitCode {
  const { setup, system } = run;
  system.stdout.write(
    run.arguments.help
      ? `${usage(programName(run), setup.ctid, setup.name)}\n`
      : `phoenix_hypervisor_setup_${setup.ctid} ${VERSION} (${REVISION}) ${setup.name}\n`,
  );
  return ExitCode.Success;
}

function message(run: Run, level: (RunEvent & { event: "message" })["level"], text: string): void {
  run.log.report({ event: "message", level, text });
}

function programName(run: Run): string {
  return basename(run.system.program);
}

/** An argument as a person can read it: JSON's quotes where it is not plain. */
function visibleArgument(argument: string): string {
  const shown = head(argument, 64);
  return /^[\x21-\x7e]+$/.test(shown) && quote(shown) === shown ? shown : JSON.stringify(shown);
}

/** The first of a list, for a message that a person can read. */
function firstOf(list: readonly string[], separator: string): string {
  const more = list.length - 10;
  return [...list.slice(0, 10), ...(more > 0 ? [`and ${more} more`] : [])].join(separator);
}
