/**
 * systemd services inside the container.
 *
 * @module
 */

import type { Reading, Step, Writing } from "../step.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import { lines, sh } from "../shell.ts";
import { file } from "./file.ts";
import { requirePath } from "./support/path.ts";
import { type StartInputs, StartRecord } from "./support/start_record.ts";
import {
  failureOfUnit,
  isActive,
  parseUnit,
  readUnit,
  requireUnitName,
  SHOW_UNIT_CODES,
  showUnit,
  type Unit,
} from "./support/systemd.ts";

/** A systemd service. */
export interface ServiceSpec {
  /**
   * The content of its unit file, `/etc/systemd/system/<name>.service`. Default: the unit exists, for instance from a
   * package.
   */
  readonly unit?: string;
  /** Whether it starts with the container. Default: true. */
  readonly enabled?: boolean;
  /** Whether it runs. Default: true. */
  readonly running?: boolean;
  /**
   * Files and folders inside that it reads at its start: it is restarted if their content has changed since. Default:
   * none.
   */
  readonly restartWith?: readonly string[];
  /** Reload it rather than restart it after a change in `restartWith`. Default: false. */
  readonly reload?: boolean;
}

/** A {@linkcode ServiceSpec} that was checked, with its defaults. */
interface Wanted {
  readonly name: string;
  /** The name with its suffix. */
  readonly unit: string;
  /** The unit file, if its content is stated. */
  readonly unitFile: { readonly path: string; readonly step: Step } | undefined;
  readonly enabled: boolean;
  readonly running: boolean;
  readonly reload: boolean;
  readonly record: StartRecord;
}

/** The state of a service. */
interface ServiceState {
  /** What has to change in the unit file, if anything. */
  readonly unitFile: UnitFileChange | undefined;
  /** `undefined` if there is no systemd. */
  readonly unit: Unit | undefined;
  readonly inputs: StartInputs;
}

/** A unit file that is not as it should be. */
interface UnitFileChange {
  readonly path: string;
  readonly differences: readonly Difference[];
  write(at: Writing): Promise<void>;
}

/** How long a service has to keep running after its start to count as running. */
const SETTLE_MS = 2_000;
/** The time between two looks at a service that was started. */
const SETTLE_PAUSE_MS = 400;
/** A service that systemd had to restart, and that has been active for less than this, may be about to fail again. */
const YOUNG_SECONDS = 10;

/**
 * A systemd service exists, starts with the container and runs, unless something else is stated. If the unit's content
 * is stated, the unit file appears complete or not at all, and systemd reloads it if it has changed.
 *
 * After a start, restart or reload the service has to keep running for 2 seconds. If it fails in that time, or systemd
 * has to restart it, that is an error which shows the end of its journal; so is a service that is found crashing again
 * and again.
 *
 * A running service is restarted only if the content of its unit file or of something in `restartWith` differs from
 * what it was when this step last started the service. A hash of each is recorded below
 * `/var/lib/phoenix_setup/services`, so that neither a wrong clock nor a restored backup matters. That a path does not
 * exist is a state like any other. Of a folder, all regular files below it count; symbolic links count as what they
 * lead to; owners and permissions do not count. All of it is read in every run, which takes some seconds for each GiB
 * and may take up to 10 minutes. Do not list files that the service itself writes.
 *
 * A service without such a record is restarted once, as nobody knows what it has read: one that its package has
 * started, for instance, or one of which an earlier version of this program recorded the time of the start, in an empty
 * file. A service is also restarted if a step before this one has changed what it reads in the same run, even if that
 * only restored the recorded content: somebody may have restarted it by hand in between. Check mode predicts the
 * restart if a `file`, `tree`, `line`, `block` or `absent` before this step would change the content under the same
 * path; it cannot know what a command or a script would write.
 *
 * Throws a `TypeError` for an invalid name, and for a unit without a section that it needs.
 *
 * @example
 * ```ts
 * const llama = service("llama-server", {
 *   unit: `[Unit]
 * Description=llama.cpp server
 * [Service]
 * ExecStart=/opt/llama/start
 * Restart=on-failure
 * [Install]
 * WantedBy=multi-user.target
 * `,
 *   restartWith: ["/opt/llama/start", "/etc/llama.conf"],
 * });
 * const noMail = service("exim4", { enabled: false, running: false });
 * ```
 */
export function service(name: string, spec: ServiceSpec = {}): Step {
  const wanted = requireSpec(name, spec);
  return {
    title: `service ${name}`,
    probe: (at) => probe(at, wanted),
    diff: (state) => differencesOf(state, wanted),
    apply: (at, state) => apply(at, state, wanted),
  } satisfies Step<ServiceState>;
}

function requireSpec(name: string, spec: ServiceSpec): Wanted {
  const unit = requireUnitName(name);
  if (!unit.endsWith(".service")) {
    throw new TypeError(`Cannot manage the service "${name}": expected the name of a service`);
  }
  const { unit: content, enabled = true, running = true, restartWith = [], reload = false } = spec;
  if (content !== undefined && !/^\[Service\]\s*$/m.test(content)) {
    throw new TypeError(`Cannot manage the service "${name}" as its unit has no section [Service]`);
  }
  if (content !== undefined && enabled && !/^\[Install\]\s*$/m.test(content)) {
    throw new TypeError(
      `Cannot have the service "${name}" start with the container: expected a section [Install] in its unit, such as ` +
        '"WantedBy=multi-user.target", or { enabled: false }',
    );
  }
  for (const path of restartWith) requirePath(path, `restart the service "${name}" with`);
  const path = `/etc/systemd/system/${unit}`;
  const unitFile = content === undefined ? undefined : { path, step: file(path, { content }) };
  const record = new StartRecord("services", unit, [...(unitFile ? [path] : []), ...restartWith]);
  return { name, unit, unitFile, enabled, running, reload, record };
}

async function probe(at: Reading, { unit, unitFile, record }: Wanted): Promise<ServiceState> {
  const change = unitFile && await probeUnitFile(at, unitFile);
  const output = await at.container.read(lines(showUnit(unit), record.look), {
    codes: SHOW_UNIT_CODES,
    timeout: record.lookTimeout,
  });
  return { unitFile: change, unit: parseUnit(output), inputs: record.compare(output, at) };
}

async function probeUnitFile(
  at: Reading,
  { path, step }: NonNullable<Wanted["unitFile"]>,
): Promise<UnitFileChange | undefined> {
  const state = await step.probe(at);
  const differences = step.diff(state);
  return differences.length === 0 ? undefined : { path, differences, write: (at) => step.apply(at, state) };
}

function differencesOf(state: ServiceState, wanted: Wanted): Difference[] {
  return [...unitFileDifferences(state), ...enablingDifferences(state, wanted), ...runningDifferences(state, wanted)];
}

function unitFileDifferences({ unitFile, unit }: ServiceState): Difference[] {
  if (unitFile !== undefined) {
    return unitFile.differences.map((one) => ({ ...one, what: one.what === "file" ? "unit" : `unit: ${one.what}` }));
  }
  return unit?.needsDaemonReload ? [{ what: "unit", from: "changed since systemd read it", to: "read again" }] : [];
}

function enablingDifferences({ unit }: ServiceState, { enabled }: Wanted): Difference[] {
  if (isEnabled(unit) === enabled) return [];
  return [{ what: "at boot", from: unit?.fileState || "disabled", to: enabled ? "enabled" : "disabled" }];
}

function runningDifferences(state: ServiceState, wanted: Wanted): Difference[] {
  const { unit } = state;
  if (!wanted.running) return isUp(unit) ? [{ what: "state", from: unit!.activeState, to: "not running" }] : [];
  if (!isActive(unit)) return [{ what: "state", from: describeState(unit), to: "running" }];
  const differences: Difference[] = changedInputs(state).map(({ path, why }) => ({
    what: `${jobForChanges([path], wanted)}: ${path} ${why}`,
  }));
  if (isYoung(unit!)) {
    const from = `running for ${unit!.activeSeconds} s after ${unit!.restarts} crashes`;
    differences.push({ what: "state", from, to: "running" });
  }
  return differences;
}

/** What the service has to read again, including a unit file that is about to be written. */
function changedInputs({ unitFile, inputs: { changed } }: ServiceState): StartInputs["changed"] {
  if (unitFile === undefined) return changed;
  const others = changed.filter(({ path }) => path !== unitFile.path);
  return [{ path: unitFile.path, why: "has changed since its last start" }, ...others];
}

/** How the service is made to read these paths again. A changed unit always takes a restart. */
function jobForChanges(paths: readonly string[], { reload, unitFile }: Wanted): "restart" | "reload" {
  return reload && !paths.some((path) => path === unitFile?.path) ? "reload" : "restart";
}

async function apply(at: Writing, state: ServiceState, wanted: Wanted): Promise<void> {
  const { name, unit, enabled, running } = wanted;
  const found = await loadUnit(at, state, wanted);
  if (enabled || running) requireUsable(unit, found);
  if (enabled && !isEnabled(found)) await enable(at, unit, found);
  if (!enabled && isEnabled(found)) await at.container.write(sh`systemctl disable ${unit}`);
  if (!running) {
    if (isUp(found)) await at.container.write(sh`systemctl stop ${unit}`);
    return;
  }
  const job = jobFor(found, state, wanted);
  if (job !== undefined) await start(at, job, wanted);
  else if (!isYoung(found)) return;
  // systemd counts restarts from the last start by somebody else.
  const restarts = job === "start" || job === "restart" ? 0 : found.restarts;
  await requireToKeepRunning(at, name, unit, restarts, isYoung(found) ? YOUNG_SECONDS * 1000 : SETTLE_MS);
}

/** Writes the unit file if necessary and has systemd read it. Returns the unit as systemd knows it then. */
async function loadUnit(at: Writing, { unit: found, unitFile }: ServiceState, wanted: Wanted): Promise<Unit> {
  if (found === undefined) {
    throw new Failure(
      ExitCode.Step,
      `Cannot manage the service "${wanted.name}" as there is no systemd inside the container`,
    );
  }
  await unitFile?.write(at);
  if (unitFile === undefined && !found.needsDaemonReload) return found;
  await at.container.write(sh`systemctl daemon-reload`);
  return (await readUnit(at.container, wanted.unit))!;
}

/** What systemd has to do so that the service runs and has read what is there; `undefined` if nothing. */
function jobFor(found: Unit, state: ServiceState, wanted: Wanted): "start" | "restart" | "reload" | undefined {
  const changed = changedInputs(state).map(({ path }) => path);
  if (isActive(found)) return changed.length > 0 ? jobForChanges(changed, wanted) : undefined;
  // A service that somebody else is starting has not crashed: it is waited for, which is what `start` does then.
  const isStarting = found.activeState === "activating" && found.subState !== "auto-restart";
  return isStarting && changed.length === 0 ? "start" : "restart";
}

async function start(at: Writing, job: "start" | "restart" | "reload", { name, unit, record }: Wanted): Promise<void> {
  // systemd refuses for a while to start what has failed too often, unless its failures are reset, and its count of
  // restarts with them.
  const forget = job === "restart" ? sh`systemctl reset-failed ${unit} 2>/dev/null` : sh`:`;
  const output = await record.start(at, lines(forget, sh`systemctl ${job} ${unit}`));
  if (output.code === 0) return;
  const { failure = "" } = await readUnit(at.container, unit) ?? {};
  const why = failure || output.errorText.split("\n")[0];
  throw await failureOfUnit(at, unit, `The service "${name}" did not ${job === "reload" ? "reload" : "start"}: ${why}`);
}

/**
 * Watches the service for `duration` milliseconds. Throws if it does not keep running. `restarts` is how many systemd
 * had counted before.
 */
async function requireToKeepRunning(
  at: Writing,
  name: string,
  unit: string,
  restarts: number,
  duration: number,
): Promise<void> {
  at.progress("watching whether it keeps running");
  for (let looks = Math.ceil(duration / SETTLE_PAUSE_MS); looks > 0; looks--) {
    await at.pause(SETTLE_PAUSE_MS);
    const trouble = troubleOf(await readUnit(at.container, unit), restarts);
    if (trouble !== undefined) throw await failureOfUnit(at, unit, `The service "${name}" ${trouble}`);
  }
}

/** Why a service does not count as running, as the end of a sentence; `undefined` if it does. */
function troubleOf(unit: Unit | undefined, restarts: number): string | undefined {
  if (unit?.loadState !== "loaded") return "is gone";
  const { activeState, subState, failure } = unit;
  if (unit.restarts > restarts || subState === "auto-restart") {
    return `crashes again and again${failure === "" ? "" : `, last with ${failure}`}`;
  }
  if (activeState === "failed") return `failed: ${failure}`;
  if (activeState !== "inactive") return undefined;
  return "has ended; one that is not meant to stay (Type=oneshot) needs RemainAfterExit=yes to count as running";
}

function requireUsable(name: string, { loadState, fileState }: Unit): void {
  if (loadState === "not-found") {
    throw new Failure(ExitCode.Step, `Cannot use the unit "${name}" as systemd knows no such unit`, {
      hint: "Install its package in a step before this one, or state the unit's content",
    });
  }
  if (loadState === "masked" || fileState === "masked") {
    throw new Failure(ExitCode.Step, `Cannot use the unit "${name}" as it is masked`, {
      hint: `If it may run after all, inside the container: systemctl unmask ${name}`,
    });
  }
  if (loadState !== "loaded") {
    throw new Failure(ExitCode.Step, `Cannot use the unit "${name}" as systemd cannot load it: ${loadState}`, {
      hint: `Inside the container: systemd-analyze verify ${name}`,
    });
  }
}

async function enable(at: Writing, name: string, { fileState }: Unit): Promise<void> {
  // For any other unit, systemctl explains that there is nothing to enable, and succeeds.
  if (fileState !== "disabled" && fileState !== "enabled-runtime" && fileState !== "linked") {
    throw new Failure(ExitCode.Step, `Cannot enable the unit "${name}" as it is ${fileState || "not a file"}`, {
      hint: "State { enabled: false } where something else starts it",
    });
  }
  await at.container.write(sh`systemctl enable ${name}`);
}

function isEnabled(unit: Unit | undefined): boolean {
  return unit?.fileState === "enabled" || unit?.fileState === "alias";
}

/** Whether there is something to stop. */
function isUp(unit: Unit | undefined): boolean {
  return isActive(unit) || unit?.activeState === "activating";
}

function isYoung({ restarts, activeSeconds, activeState }: Unit): boolean {
  return activeState === "active" && restarts > 0 && activeSeconds < YOUNG_SECONDS;
}

function describeState(unit: Unit | undefined): string {
  if (unit === undefined) return "no systemd";
  if (unit.loadState !== "loaded") return unit.loadState;
  if (unit.activeState === "failed") return `failed: ${unit.failure}`;
  return unit.subState === "auto-restart" ? "crashing" : unit.activeState;
}
