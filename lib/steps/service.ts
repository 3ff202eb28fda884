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

/** What a service has to be. */
export interface ServiceSpec {
  /** The content of its unit file, `/etc/systemd/system/<name>.service`. Default: the unit is there, a package's for instance. */
  readonly unit?: string;
  /** Whether it starts with the container. Default: true. */
  readonly enabled?: boolean;
  /** Whether it runs. Default: true. */
  readonly running?: boolean;
  /** Files and folders inside that it reads at its start: it is restarted when their content has changed since. Default: none. */
  readonly restartWith?: readonly string[];
  /** Reload it, rather than restart it, for a change in `restartWith`. Default: false. */
  readonly reload?: boolean;
}

/** A {@linkcode ServiceSpec} that was checked, with all that follows from it. */
interface Wanted {
  readonly name: string;
  /** Its unit: the name with its suffix. */
  readonly unit: string;
  /** Where the content of the unit is stated. */
  readonly unitFile: { readonly path: string; readonly step: Step } | undefined;
  readonly enabled: boolean;
  readonly running: boolean;
  readonly reload: boolean;
  readonly record: StartRecord;
}

/** What there is of a service. */
interface ServiceState {
  /** What has to be done about the unit file, where something has to. */
  readonly unitFile: UnitFileChange | undefined;
  /** Missing where there is no systemd. */
  readonly unit: Unit | undefined;
  readonly inputs: StartInputs;
}

/** A unit file that is not as it has to be. */
interface UnitFileChange {
  readonly path: string;
  readonly differences: readonly Difference[];
  write(at: Writing): Promise<void>;
}

/** How long a service that was started has to keep running before that counts. */
const SETTLE_MS = 2_000;
/** The time between two looks at a service that has to keep running. */
const SETTLE_PAUSE_MS = 400;
/** A service that systemd had to restart, and that is active for no longer than this, may be about to fail again. */
const YOUNG_SECONDS = 10;

/**
 * A systemd service that is there, starts with the container, and runs, or what is stated instead. Where the unit's content is
 * stated, its file appears whole or not at all, and systemd is told to read it when it has not.
 *
 * A service that was started, restarted or reloaded has to keep running for 2 seconds. One that fails in that time, or that systemd
 * has to restart, is an error that shows the end of its journal; so is one that is found in a loop of crashes.
 *
 * A running service is restarted only when the content of its unit file or of something in `restartWith` is not what it was before this
 * step started the service last. That is noted as a hash of each, below `/var/lib/phoenix_setup/services`: neither the clock nor the
 * restoring of a backup makes a difference. A path at which nothing is has a state like any other, and a folder is all regular files
 * below it; symbolic links count as what they lead to, and owners and permissions do not count. All of it is read in every run, some
 * seconds for each GiB, for 10 minutes at the most. What the service writes to itself does not belong into `restartWith`.
 *
 * A service that runs without such a note, started by its package for instance, or noted by an earlier version of this program as an
 * empty file, is restarted once: nobody knows what it has read. So is one that reads what a step before this one has changed in the
 * same run, even where that was only changed back. Check mode predicts the restart also where it is a `file`, `tree`, `line`, `block`
 * or `absent` before this step that would make the change, under the same path; what a command or a script would write, it cannot
 * know.
 *
 * Throws a `TypeError` for a name that no service has, and for a unit without a section that it needs.
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

/** What the service has to read anew. A unit file that is about to be written is among it. */
function changedInputs({ unitFile, inputs: { changed } }: ServiceState): StartInputs["changed"] {
  if (unitFile === undefined) return changed;
  const others = changed.filter(({ path }) => path !== unitFile.path);
  return [{ path: unitFile.path, why: "has changed since its last start" }, ...others];
}

/** How changes of these paths are put into effect. A unit that has changed takes a restart in any case. */
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
  // Whoever starts it anew begins to count its restarts anew.
  const restarts = job === "start" || job === "restart" ? 0 : found.restarts;
  await requireToKeepRunning(at, name, unit, restarts, isYoung(found) ? YOUNG_SECONDS * 1000 : SETTLE_MS);
}

/** Writes the unit file where it has to be, and has systemd read it. What systemd then knows of the unit. */
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

/** What systemd has to be asked for so that the service runs, and has read what is there; `undefined` where nothing has to be done. */
function jobFor(found: Unit, state: ServiceState, wanted: Wanted): "start" | "restart" | "reload" | undefined {
  const changed = changedInputs(state).map(({ path }) => path);
  if (isActive(found)) return changed.length > 0 ? jobForChanges(changed, wanted) : undefined;
  // What is being started by somebody else has not crashed: it is waited for, which is what `start` does then.
  const isStarting = found.activeState === "activating" && found.subState !== "auto-restart";
  return isStarting && changed.length === 0 ? "start" : "restart";
}

async function start(at: Writing, job: "start" | "restart" | "reload", { name, unit, record }: Wanted): Promise<void> {
  // For a while systemd refuses to start what has failed too often, unless that is forgotten; so are the restarts that it counts.
  const forget = job === "restart" ? sh`systemctl reset-failed ${unit} 2>/dev/null` : sh`:`;
  const output = await record.start(at, lines(forget, sh`systemctl ${job} ${unit}`));
  if (output.code === 0) return;
  const { failure = "" } = await readUnit(at.container, unit) ?? {};
  const why = failure || output.errorText.split("\n")[0];
  throw await failureOfUnit(at, unit, `The service "${name}" did not ${job === "reload" ? "reload" : "start"}: ${why}`);
}

/** Looks on for so many milliseconds whether the service keeps running, of which systemd had counted so many restarts before. */
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

/** Why a service does not count as one that keeps running, as the end of a sentence; `undefined` while it does. */
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
  // For any other unit, systemctl explains at length that there is nothing to enable, and succeeds.
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
