/**
 * The one life of every setup executable, in the order of the requirements (section 2): `main`, `parseArguments`, `validateInputs`,
 * `checkContainerExists`, `performContainerSpecificSetup`, `exitScript`.
 *
 * @module
 */

import { basename, fromFileUrl } from "@std/path";
import { type Arguments, readArguments, usage } from "./arguments.ts";
import { REVISION, VERSION } from "./build.ts";
import { ConfigurationError, ContainerConfig, HypervisorConfig, readJson } from "./config.ts";
import { type Connection, type ContainerHooks, PctContainer } from "./container.ts";
import { Engine, StepFailed } from "./engine.ts";
import { CommandFailed, ExitCode, Failure, messageOf } from "./errors.ts";
import type { Outcome, RunEvent } from "./events.ts";
import { hintFor, meaningOf } from "./explain.ts";
import type { Hello } from "./frame.ts";
import { type Host, thisHost } from "./host.ts";
import { RunLock } from "./lock.ts";
import { type LogFile, openLogFile, processSink, RunLog, type TextSink } from "./log.ts";
import { Pct } from "./pct.ts";
import { notPermitted, type Refusal, refusalIn } from "./permission.ts";
import { Secret } from "./secret.ts";
import { CTID_RANGE, HOST_PATHS, type Setup, type SetupContext, stoppedMarker } from "./setup.ts";
import { quote } from "./shell.ts";
import { formatDuration, milliseconds, within } from "./time.ts";

/** All that a run touches outside itself: the process, the files and the commands of the host. Tests hand in their own. */
export interface Surroundings {
  /** The command line. */
  readonly args: readonly string[];
  /** The file that runs: a compiled executable, or a script. */
  readonly program: string;
  /** An environment variable. */
  readonly environment: (name: string) => string | undefined;
  /** Where standard output goes, and whether a person reads it. */
  readonly stdout: TextSink & { readonly terminal: boolean };
  /** Where standard error goes. */
  readonly stderr: TextSink;
  /** Proxmox's `pct`. */
  readonly pct: Pct;
  /** The host, as steps see it. */
  readonly host: (ctid: number) => Host;
  /** Connects to a container; see {@linkcode PctContainer}. */
  readonly connect: (ctid: number, hooks: ContainerHooks) => Connection;
  /** What has locked a container in Proxmox, such as `backup`; `undefined` when nothing has. */
  readonly lockedBy: (ctid: number) => string | undefined;
  /** Reads a JSON file; see {@linkcode readJson}. */
  readonly readJson: (path: string) => unknown;
  /** Opens the log file; see {@linkcode openLogFile}. */
  readonly openLogFile: (path: string) => LogFile;
  /** Takes the lock of a container; see {@linkcode RunLock}. */
  readonly lock: (ctid: number) => Pick<RunLock, "release">;
  /** Calls `handle` when the process is asked to end. */
  readonly onSignal: (handle: (signal: "SIGHUP" | "SIGINT" | "SIGTERM") => void) => void;
  /** Calls `handle` with an error that nobody waits for, such as that of a step without `await`, or of a timer. */
  readonly onUnhandled: (handle: (error: unknown) => void) => void;
  /** Ends the process. */
  readonly exit: (code: number) => void;
}

/** The surroundings of a real run: this process on this host. */
export function theseSurroundings(): Surroundings {
  const pct = new Pct();
  return {
    args: Deno.args,
    program: Deno.build.standalone ? Deno.execPath() : fromFileUrl(Deno.mainModule),
    environment: (name) => Deno.env.get(name),
    stdout: { ...processSink(Deno.stdout), terminal: Deno.stdout.isTerminal() },
    stderr: processSink(Deno.stderr),
    pct,
    host: (ctid) => thisHost(pct, ctid),
    connect: (ctid, hooks) => new PctContainer(pct, ctid, hooks),
    lockedBy: lockOf,
    readJson,
    openLogFile,
    lock: (ctid) => RunLock.take(HOST_PATHS.locks, ctid),
    onSignal(handle) {
      for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) {
        Deno.addSignalListener(signal, () => handle(signal));
      }
    },
    onUnhandled(handle) {
      globalThis.addEventListener("unhandledrejection", (event) => {
        event.preventDefault();
        handle(event.reason);
      });
      globalThis.addEventListener("error", (event) => {
        event.preventDefault();
        handle(event.error);
      });
    },
    exit: (code) => Deno.exit(code),
  };
}

/** The `lock:` of Proxmox's own configuration of a container, which can be read without starting a process. */
function lockOf(ctid: number): string | undefined {
  try {
    return /^lock: (\S+)$/m.exec(Deno.readTextFileSync(`/etc/pve/lxc/${ctid}.conf`).split("\n[")[0]!)?.[1];
  } catch {
    return undefined; // Without the file there is nothing to wait for.
  }
}

/** One run of a setup. */
interface Run {
  readonly setup: Setup;
  readonly surroundings: Surroundings;
  readonly log: RunLog;
  readonly arguments: Arguments;
  readonly started: number;
  ctid?: number;
  container?: Connection;
  engine?: Engine;
  lock?: Pick<RunLock, "release">;
  /** The log file that this program is not permitted to write. */
  refusedLog?: string;
  /** `core_paths` of the host's configuration. */
  corePaths?: Readonly<Record<string, unknown>> | undefined;
}

/** How long the whole run may take unless `--timeout` says otherwise. */
const RUN_TIMEOUT = "2h";

/** How long ending what runs inside may take after a signal; the orchestrator kills what does not end. */
const CLEAN_UP = 4_000;

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
export async function main(setup: Setup, surroundings: Surroundings = theseSurroundings()): Promise<void> {
  const run = begin(setup, surroundings);
  const ended = Promise.withResolvers<never>();
  surroundings.onSignal((signal) => ended.reject(new Interrupted(signal)));
  surroundings.onUnhandled((error) => ended.reject(error));
  const timeout = run.arguments.timeout ?? milliseconds(RUN_TIMEOUT);
  const timer = setTimeout(
    () => ended.reject(new Failure(ExitCode.Timeout, `The run did not end within ${formatDuration(timeout)}`)),
    timeout,
  );
  let code: ExitCode;
  try {
    code = await Promise.race([live(run), ended.promise]);
  } catch (error) {
    await within(cleanUp(run), CLEAN_UP);
    code = logFailure(run, error);
  }
  clearTimeout(timer);
  await exitScript(run, code);
}

/** Ends what still runs inside; a container that was stopped for a moment is started again. */
async function cleanUp(run: Run): Promise<void> {
  try {
    await run.container?.interrupt();
    if (run.lock !== undefined && !run.arguments.check) await startAgain(run);
  } catch (error) {
    message(run, "warning", `Cannot clean up: ${messageOf(error)}`);
  }
}

async function live(run: Run): Promise<ExitCode> {
  if (run.arguments.help || run.arguments.version) return printOnRequest(run);
  if (run.refusedLog !== undefined) throw notPermitted("write", run.refusedLog);
  const ctid = parseArguments(run);
  validateInputs(run, ctid);
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
    wrong.push(
      `Expected exactly one argument, the CTID, and got ${positional.length}` +
        (positional.length === 0 ? "" : `: ${positional.map((argument) => JSON.stringify(argument)).join(", ")}`),
    );
  }
  if (wrong.length > 0) {
    throw new Failure(ExitCode.Usage, `Usage error: ${wrong.join("; ")}`, {
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
  const { setup, surroundings } = run;
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
  const named = ctidOfFileName(basename(surroundings.program));
  if (named !== undefined && named !== argument) {
    throw new Failure(
      ExitCode.Usage,
      `CTID ${ctid} does not match the file name "${
        basename(surroundings.program)
      }": it is named for container ${named}`,
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
  const { pct } = run.surroundings;
  const ctid = run.ctid!;
  message(run, "info", `Checking for the existence of container ${ctid}`);
  const ask = async () => {
    const { code, stdout, stderr } = await pct.run(["status", String(ctid)], 60_000);
    return { code, stdout, stderr, status: /^status: (running|stopped)$/m.exec(stdout)?.[1] };
  };
  let answer = await ask();
  let waited = false;
  // A backup may stop a container for a while. It unlocks it a moment before it starts it: hence one more look in the end.
  for (let locked = true; locked && answer.status === "stopped"; answer = await ask()) {
    const lock = run.surroundings.lockedBy(ctid);
    if (lock === undefined && !waited) break;
    locked = lock !== undefined;
    waited = true;
    message(
      run,
      "warning",
      `Waiting for container ${ctid}, which is stopped and ${locked ? `locked (${lock})` : "unlocked"}`,
    );
    await new Promise((resolve) => setTimeout(resolve, 5_000));
  }
  const { code, stdout, stderr, status } = answer;
  if (code === 0 && status !== undefined) {
    message(run, "info", `Container ${ctid} exists and is ${status}`);
    if (status === "running") return;
    // One that a run of ours has stopped is started again, by whoever holds the lock.
    if (!run.arguments.check && await run.surroundings.host(ctid).file(stoppedMarker(ctid))) return;
    throw new Failure(ExitCode.Container, `Container ${ctid} is stopped`, { hint: `Start it: pct start ${ctid}` });
  }
  const said = (stderr || stdout).trim();
  if (said === `dax: ${pct.path}: command not found`) {
    throw new Failure(ExitCode.Usage, `Cannot find "${pct.path}", so this is not a Proxmox VE host`, {
      hint: "Run it on the host, as root; to try it elsewhere: deno task setup",
    });
  }
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
  throw new Failure(
    ExitCode.Usage,
    `Container ${ctid} does not exist or cannot be checked: "pct status ${ctid}" ended with exit code ${code} and said ${
      said === "" ? "nothing" : `"${said}"`
    }`,
  );
}

/** Starts the container where a run that was cut off has stopped it, as its note says, and takes the note away. */
async function startAgain(run: Run): Promise<void> {
  const ctid = run.ctid!;
  const host = run.surroundings.host(ctid);
  if (!await host.file(stoppedMarker(ctid))) return;
  const { code, stderr } = await host.pctWrite("start", [], 120_000);
  if (code === 0) message(run, "info", `Started container ${ctid}, which a run that was cut off had stopped`);
  else if (!/already running/.test(stderr)) {
    throw new Failure(ExitCode.Container, `Container ${ctid} is stopped and does not start: ${stderr.trim()}`);
  }
  await host.removeFile(stoppedMarker(ctid));
}

/** The node of the cluster that Proxmox says a container lives on; `undefined` where it does not say. */
function nodeOf(run: Run, ctid: number): string | undefined {
  try {
    const list = run.surroundings.readJson(HOST_PATHS.clusterList) as
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
  const { setup, surroundings, log } = run;
  const ctid = run.ctid!;
  const { check } = run.arguments;
  run.lock = surroundings.lock(ctid);
  if (!check) await startAgain(run);
  const configuration = readConfiguration(run);
  const names = [
    { from: `the setup of container ${ctid}`, name: setup.name },
    ...(configuration.name === undefined ? [] : [{ from: `"${configuration.lxcFile}"`, name: configuration.name }]),
  ];
  let machine: string | undefined;
  const container = run.container = surroundings.connect(ctid, {
    onOpen(hello) {
      refuseOtherContainer(ctid, hello, names);
      if (machine !== undefined && machine !== hello.machineId) {
        throw new Failure(ExitCode.Container, `Container ${ctid} was replaced by another one while it was set up`);
      }
      machine = hello.machineId;
    },
    lockedBy: () => surroundings.lockedBy(ctid),
    onWait: (why) => message(run, "warning", why),
  });
  const engine = run.engine = new Engine({
    container,
    host: surroundings.host(ctid),
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
      return surroundings.environment(name);
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
      ? await (await run.surroundings.host(run.ctid!).file(from.file))?.text()
      : context.environment(from.environment);
  } catch (error) {
    if (!("file" in from) || !(error instanceof Deno.errors.NotCapable)) throw error;
    throw notPermitted("read", from.file, `${name} from ${where}`);
  }
  const value = text?.trim().replace(/^(?:export )?[A-Za-z_][A-Za-z0-9_]*=(["']?)(.*)\1$/, "$2");
  if (!value) {
    throw new ConfigurationError(`Cannot read ${name}: ${where} is ${text === undefined ? "not there" : "empty"}`);
  }
  return new Secret(name, value);
}

/** A wrong id must never configure somebody else's container. */
function refuseOtherContainer(ctid: number, hello: Hello, names: readonly { from: string; name: string }[]): void {
  const short = (name: string) => name.split(".")[0]!.toLowerCase();
  for (const { from, name } of names) {
    if (short(name) === short(hello.hostname)) continue;
    throw new Failure(
      ExitCode.Container,
      `Container ${ctid} is not the one that is meant: its host name is "${hello.hostname}", and ${from} says "${name}"`,
      {
        hint: `If it is the right container: pct set ${ctid} --hostname ${name}, and reboot it; ` +
          "otherwise correct the CTID or the configuration",
      },
    );
  }
}

/** The configuration files. What is missing matters only to a setup that asks for it; what is wrong matters at once. */
function readConfiguration(run: Run) {
  const { environment, readJson } = run.surroundings;
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
  const { surroundings, log, engine } = run;
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
  log.flush();
  await run.container?.close();
  surroundings.exit(code);
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

/** Says why the run failed, and gives the exit code for it. */
function logFailure(run: Run, error: unknown): ExitCode {
  const again = [run.surroundings.program, ...run.surroundings.args].map(visibleArgument).join(" ");
  if (error instanceof StepFailed && (!(error.cause instanceof Failure) || refusalIn(error))) {
    return logDefect(run, error.cause, error.step);
  }
  if (!(error instanceof Failure) || refusalIn(error)) return logDefect(run, error);
  if (!(error instanceof StepFailed)) {
    message(run, "fatal", error.message);
    if (error.hint !== undefined) message(run, "info", `What to do: ${error.hint}`);
    return error.exitCode;
  }
  const evidence = error.cause instanceof CommandFailed ? error.cause.evidence : undefined;
  const output = evidence === undefined ? [] : [...lastLines(evidence.stdout), ...lastLines(evidence.stderr)];
  const meaning = evidence && meaningOf(evidence);
  const hint = error.hint ?? hintFor([error.message, ...output].join("\n"));
  run.log.report({
    event: "failure",
    message: error.message,
    step: error.step,
    ...(evidence === undefined ? {} : { command: evidence.command, output }),
    ...(evidence?.code === undefined ? {} : { code: evidence.code }),
    ...(meaning === undefined ? {} : { meaning }),
    ...(hint === undefined ? {} : { hint }),
    again,
  });
  return error.exitCode;
}

/** A defect, or a permission that the executable does not have: something that only a change of the program mends. */
function logDefect(run: Run, error: unknown, step?: string): ExitCode {
  const where = step === undefined ? "" : ` in step "${step}"`;
  const refusal = refusalIn(error);
  const configured = refusal && namedByConfiguration(run, refusal);
  if (configured) {
    message(run, "fatal", configured.message);
    message(run, "info", `What to do: ${configured.hint}`);
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
      "info",
      declaration === undefined
        ? "What to do: a setup cannot be permitted this; do it inside the container"
        : `What to do: declare it in the setup: ${declaration}, and build the executable again`,
    );
  } else {
    message(run, "fatal", `Defect${where}: ${messageOf(error)}`);
    message(run, "info", `What to do: report it with these lines (version ${VERSION}, ${REVISION})`);
    if (error instanceof Error && error.stack) message(run, "error", error.stack);
  }
  return ExitCode.Defect;
}

/** A path that was refused and is the host configuration's choice: another host has to be told, not the author of the setup. */
function namedByConfiguration(run: Run, { access, to }: Refusal): ConfigurationError | undefined {
  if (to === undefined || (access !== "read" && access !== "write")) return undefined;
  for (const [key, path] of Object.entries(run.corePaths ?? {})) {
    if (typeof path !== "string" || (to !== path && !to.startsWith(`${path}/`))) continue;
    return notPermitted(access, path, `"${to}", where "core_paths.${key}" leads,`);
  }
  return undefined;
}

/** A signal asked the run to end. */
class Interrupted extends Failure {
  constructor(signal: "SIGHUP" | "SIGINT" | "SIGTERM") {
    const codes = { SIGHUP: ExitCode.Hangup, SIGINT: ExitCode.Interrupt, SIGTERM: ExitCode.Terminate };
    super(codes[signal], `Ended by ${signal}`, { hint: "Run it again: it goes on where it is not done yet" });
  }
}

/** Opens the log, so that everything that follows is logged, also what is wrong with the command line. */
function begin(setup: Setup, surroundings: Surroundings): Run {
  const { environment, stdout, stderr } = surroundings;
  const options = readArguments(surroundings.args);
  const level = (environment("PHOENIX_LOG_LEVEL") ?? "").toUpperCase();
  const levels = { DEBUG: "DEBUG", INFO: "INFO", WARN: "WARN", WARNING: "WARN", ERROR: "ERROR" } as const;
  const known = Object.hasOwn(levels, level) ? levels[level as keyof typeof levels] : undefined;
  const log = new RunLog({
    form: options.json ? "json" : stdout.terminal && environment("TERM") !== "dumb" ? "terminal" : "lines",
    level: options.verbose ? "DEBUG" : options.quiet ? "WARN" : known ?? "INFO",
    color: !environment("NO_COLOR"),
    program: basename(surroundings.program),
    stdout,
    stderr,
  });
  const run: Run = { setup, surroundings, log, arguments: options, started: performance.now() };
  if (!options.help && !options.version) {
    log.openFile(
      options.logFile ?? (environment("PHOENIX_LOG_FILE") || HOST_PATHS.log),
      options.verbose ? "DEBUG" : "INFO",
      (path) => {
        try {
          return surroundings.openLogFile(path);
        } catch (error) {
          if (!(error instanceof Deno.errors.NotCapable)) throw error;
          run.refusedLog = path;
          return { append() {}, sync() {} };
        }
      },
    );
    if (level !== "" && known === undefined) {
      message(
        run,
        "warning",
        `Cannot use PHOENIX_LOG_LEVEL ${visibleArgument(level)}: expected DEBUG, INFO, WARN or ERROR`,
      );
    }
  }
  return run;
}

function printOnRequest(run: Run): ExitCode {
  const { setup, surroundings } = run;
  surroundings.stdout.write(
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
  return basename(run.surroundings.program);
}

/** An argument as a person can read it: JSON's quotes where it is not plain. */
function visibleArgument(argument: string): string {
  const shown = argument.length > 64 ? `${argument.slice(0, 64)}…` : argument;
  return /^[\x21-\x7e]+$/.test(shown) && quote(shown) === shown ? shown : JSON.stringify(shown);
}

/** The last 20 lines. */
function lastLines(output: string): string[] {
  return output === "" ? [] : output.replace(/\n+$/, "").split("\n").slice(-20);
}
