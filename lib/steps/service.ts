/**
 * systemd services inside the container.
 *
 * @module
 */

import { failureOf, type Output } from "../container/container.ts";
import type { Reading, Step, Writing } from "../step.ts";
import { type CommandFailed, ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import { type Script, sh } from "../shell.ts";
import { file } from "./file.ts";
import { concerns, requirePath } from "./support/path.ts";

/** What a service has to be. */
export interface ServiceSpec {
  /** The content of its unit file, `/etc/systemd/system/<name>.service`. Default: the unit is there, a package's. */
  readonly unit?: string;
  /** Whether it starts with the container. Default: true. */
  readonly enabled?: boolean;
  /** Whether it runs. Default: true. */
  readonly running?: boolean;
  /** Files and folders inside that it reads at its start: it is restarted when one has changed since. Default: none. */
  readonly restartWith?: readonly string[];
  /** Reload it, rather than restart it, for a change in `restartWith`. Default: false. */
  readonly reload?: boolean;
}

/** A unit as systemd knows it. */
export interface Unit {
  /** `loaded`, `not-found`, `masked`, `bad-setting`, … */
  readonly load: string;
  /** `active`, `inactive`, `failed`, `activating`, … */
  readonly active: string;
  /** The same in more detail: `running`, `exited`, `auto-restart`, … */
  readonly sub: string;
  /** `enabled`, `disabled`, `static`, `masked`, …; empty where there is no file. */
  readonly enabled: string;
  /** Whether its file was changed since systemd read it. */
  readonly isOutdated: boolean;
  /** How often systemd has restarted it by itself since somebody started it. */
  readonly restarts: number;
  /** For how many seconds it has been active. */
  readonly age: number;
  /** Why it ended, as a phrase. */
  readonly why: string;
}

/** What there is of a service. */
interface ServiceState {
  readonly unitFile: readonly Difference[];
  /** Writes the unit file. */
  readonly write: (at: Writing) => Promise<void>;
  /** Missing where there is no systemd. */
  readonly unit: Unit | undefined;
  /** What it reads and what has changed, or may have changed, since we started it last. */
  readonly changed: readonly string[];
  /** What it reads and what steps before this one would change, in check mode. */
  readonly predicted: readonly string[];
}

/** Where it is noted when a service was started last, as the time of an empty file. */
const MARKERS = "/var/lib/phoenix_setup/services";
/** How long a service that was started has to live on before that counts, as so many looks with so many milliseconds between. */
const SETTLED = { looks: 5, pause: 400 };
/** A service that systemd had to restart, and that is active for no more than so many seconds, may be about to fail again. */
const YOUNG = 10;

/**
 * A systemd service that is there, starts with the container, and runs, or what is stated instead. Where the unit's content is
 * stated, its file appears whole or not at all, and systemd is told to read it when it has not.
 *
 * A service that was started, restarted or reloaded has to live on for 2 seconds. One that fails in that time, or that systemd has to
 * restart, is an error that shows the end of its journal; so is one that is found in a loop of crashes.
 *
 * A running service is restarted only when its unit file or something in `restartWith` has changed since this step started it. When
 * that was is the time of an empty file below `/var/lib/phoenix_setup/services`. A service that runs without such a note, started by
 * its package for instance, is restarted once: nobody knows what it has read; so is one whose files a backup has restored. What it
 * writes to itself does not belong into `restartWith`. Check mode predicts the restart also where it is a `file`, `tree`, `line`,
 * `block` or `absent` before this step that would make the change, under the same path; what a command or a script would write, it
 * cannot know.
 *
 * Throws a `TypeError` for a name that no service has, and for a unit without a section that it needs.
 *
 * Requirements, section 2: "Executing commands inside the container: start services".
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
  const unit = requireUnitName(name);
  if (!unit.endsWith(".service")) {
    throw new TypeError(`Cannot manage the service "${name}": expected the name of a service`);
  }
  const { unit: content, enabled = true, running = true, restartWith = [], reload = false } = spec;
  if (content !== undefined && !/^\[Service\]\s*$/m.test(content)) {
    throw new TypeError(`Cannot manage the service "${name}" with a unit that has no section [Service]`);
  }
  if (content !== undefined && enabled && !/^\[Install\]\s*$/m.test(content)) {
    throw new TypeError(
      `Cannot have the service "${name}" start with the container: expected a section [Install] in its unit, such as ` +
        '"WantedBy=multi-user.target", or { enabled: false }',
    );
  }
  for (const path of restartWith) requirePath(path, `restart the service "${name}" with`);
  const unitPath = `/etc/systemd/system/${unit}`;
  const unitFile = content === undefined ? undefined : file(unitPath, { content });
  const marker = `${MARKERS}/${unit}`;
  const inputs = [...(unitFile ? [unitPath] : []), ...restartWith];

  async function probe(at: Reading): Promise<ServiceState> {
    const found = await unitFile?.probe(at);
    // By the time of its last change (ctime), which nothing can set back, as a copy does with the other one. Of a symbolic link,
    // both count: which one it is, and what it leads to.
    const output = await at.container.read(
      sh`${showUnit(unit)}
for p in ${inputs}; do
  if [ ! -e "$p" ] || [ ! -e ${marker} ] ||
    [ -n "$(find "$p" -cnewer ${marker} -print -quit; find -L "$p" -cnewer ${marker} -print -quit)" ]; then
    echo "changed=$p"
  fi
done`,
      { codes: [0, 127] },
    );
    return {
      unitFile: found === undefined ? [] : unitFile!.diff(found),
      write: async (writing) => await unitFile!.apply(writing, found!),
      unit: parseUnit(output),
      changed: [...output.text.matchAll(/^changed=(.*)$/gm)].map(([, path]) => path!),
      predicted: inputs.filter((input) => at.predicted.some((change) => concerns(input, change))),
    };
  }

  function diff({ unitFile, unit, changed, predicted }: ServiceState): Difference[] {
    const differences = unitFile.map((one) => ({ ...one, what: one.what === "file" ? "unit" : `unit: ${one.what}` }));
    const compare = (what: string, from: string, to: string) => {
      if (from !== to) differences.push({ what, from, to });
    };
    if (unit?.isOutdated && unitFile.length === 0) {
      differences.push({ what: "unit", from: "outdated in systemd", to: "read again" });
    }
    if (isEnabled(unit) !== enabled) {
      compare("at boot", enabled ? notEnabled(unit) : "started", enabled ? "started" : "not started");
    }
    const isRunning = isActive(unit) || unit?.active === "activating";
    if (!running) compare("state", isRunning ? unit!.active : "not running", "not running");
    else if (!isActive(unit)) compare("state", stateOf(unit), "running");
    else {
      // A unit that is about to be written is a change, too.
      const all = new Set([...(unitFile.length > 0 ? [unitPath] : []), ...changed]);
      for (const path of all) {
        differences.push({ what: `${verbFor([path])}: ${path} has changed since its last start` });
      }
      for (const path of predicted) {
        if (!all.has(path)) differences.push({ what: `${verbFor([path])}: ${path} would change before` });
      }
      if (isYoung(unit!)) {
        compare("state", `running for ${unit!.age} s after ${unit!.restarts} crashes`, "running");
      }
    }
    return differences;
  }

  /** A change of the unit takes a restart in any case. */
  const verbFor = (paths: readonly string[]) =>
    reload && !paths.some((path) => unitFile && path === unitPath) ? "reload" : "restart";

  async function apply(at: Writing, state: ServiceState): Promise<void> {
    let { unit: found } = state;
    if (found === undefined) {
      throw new Failure(
        ExitCode.Step,
        `Cannot manage the service "${name}" as there is no systemd inside the container`,
      );
    }
    if (state.unitFile.length > 0) await state.write(at);
    if (state.unitFile.length > 0 || found.isOutdated) {
      await at.container.write(sh`systemctl daemon-reload`);
      found = (await readUnit(at.container, unit))!;
    }
    if (enabled || running) requireUsable(unit, found);
    if (enabled && !isEnabled(found)) await enable(at, unit, found);
    if (!enabled && isEnabled(found)) await at.container.write(sh`systemctl disable ${unit}`);
    if (!running) {
      if (isActive(found) || found.active === "activating") await at.container.write(sh`systemctl stop ${unit}`);
      return;
    }
    const changed = state.unitFile.length > 0 ? [unitPath, ...state.changed] : state.changed;
    // What is being started by somebody else has not crashed, and is waited for.
    const isStarting = found.active === "activating" && found.sub !== "auto-restart" && changed.length === 0;
    const verb = !isActive(found)
      ? isStarting ? "start" : "restart"
      : changed.length > 0
      ? verbFor(changed)
      : undefined;
    if (verb !== undefined) await start(at, verb);
    else if (!isYoung(found)) return;
    await settle(at, isYoung(found), verb === "restart" || verb === "start" ? 0 : found.restarts);
  }

  async function start(at: Writing, verb: "start" | "restart" | "reload"): Promise<void> {
    // For a while systemd refuses to start what has failed too often, unless that is forgotten; so are the restarts that it counts.
    // The note has the time before the start and is there only after it: what changes in between may not have been read. A here-document
    // has that time, and no name that could be left behind. An empty one would be /dev/null to bash.
    const output = await at.container.write(
      sh`mkdir -p ${MARKERS} && exec 5<<END || exit
now
END
${verb === "restart" ? sh`systemctl reset-failed ${unit} 2>/dev/null` : sh`:`}
systemctl ${verb} ${unit} && touch -r /proc/self/fd/5 ${marker}`,
      { codes: "any", timeout: "30m" },
    );
    if (output.code === 0) return;
    const { why = "" } = await readUnit(at.container, unit) ?? {};
    const said = why || output.errorText.split("\n")[0];
    throw await failureOfUnit(
      at,
      unit,
      `The service "${name}" did not ${verb === "reload" ? "reload" : "start"}: ${said}`,
    );
  }

  /** Looks on until it is clear that the service lives on. `restarts`: how many systemd counted before. */
  async function settle(at: Writing, wasYoung: boolean, restarts: number): Promise<void> {
    const looks = wasYoung ? Math.ceil(YOUNG * 1000 / SETTLED.pause) : SETTLED.looks;
    at.progress("does it live on?");
    for (let look = 0; look < looks; look++) {
      await at.pause(SETTLED.pause);
      const now = await readUnit(at.container, unit);
      const why = now === undefined || now.load !== "loaded"
        ? "is gone"
        : now.restarts > restarts || now.sub === "auto-restart"
        ? `crashes again and again${now.why === "" ? "" : `, last with ${now.why}`}`
        : now.active === "failed"
        ? `failed: ${now.why}`
        : now.active === "inactive"
        ? "has ended; one that is not to stay (Type=oneshot) needs RemainAfterExit=yes to count as running"
        : undefined;
      if (why !== undefined) throw await failureOfUnit(at, unit, `The service "${name}" ${why}`);
    }
  }

  return { title: `service ${name}`, probe, diff, apply };
}

function requireUsable(name: string, { load, enabled }: Unit): void {
  if (load === "not-found") {
    throw new Failure(ExitCode.Step, `Cannot use the unit "${name}" as systemd knows no such unit`, {
      hint: "Install its package in a step before this one, or state the unit's content",
    });
  }
  if (load === "masked" || enabled === "masked") {
    throw new Failure(ExitCode.Step, `Cannot use the unit "${name}" as somebody has masked it`, {
      hint: `If it may run after all: systemctl unmask ${name}`,
    });
  }
  if (load !== "loaded") {
    throw new Failure(ExitCode.Step, `Cannot use the unit "${name}" as systemd cannot load it: ${load}`, {
      hint: `Inside the container: systemd-analyze verify ${name}`,
    });
  }
}

async function enable(at: Writing, name: string, { enabled }: Unit): Promise<void> {
  // systemctl says a long text to this, and succeeds.
  if (enabled !== "disabled" && enabled !== "enabled-runtime" && enabled !== "linked") {
    throw new Failure(ExitCode.Step, `Cannot enable the unit "${name}" as it is ${enabled || "not a file"}`, {
      hint: "State { enabled: false } where something else starts it",
    });
  }
  await at.container.write(sh`systemctl enable ${name}`);
}

function isActive(unit: Unit | undefined): boolean {
  return unit?.active === "active" || unit?.active === "reloading";
}

function isEnabled(unit: Unit | undefined): boolean {
  return unit?.enabled === "enabled" || unit?.enabled === "alias";
}

function notEnabled(unit: Unit | undefined): string {
  return ["", "disabled", undefined].includes(unit?.enabled) ? "not started" : `not started (${unit!.enabled})`;
}

function isYoung({ restarts, age, active }: Unit): boolean {
  return active === "active" && restarts > 0 && age < YOUNG;
}

function stateOf(unit: Unit | undefined): string {
  if (unit === undefined) return "no systemd";
  if (unit.load !== "loaded") return unit.load;
  return unit.active === "failed" ? `failed: ${unit.why}` : unit.sub === "auto-restart" ? "crashing" : unit.active;
}

/** The full name of a unit: that of a service where it has no suffix. Throws a `TypeError` for what cannot be a unit. */
export function requireUnitName(name: string): string {
  const unit = /\.(?:service|socket|timer|path|target|mount|slice)$/.test(name) ? name : `${name}.service`;
  if (!/^[A-Za-z0-9:_.\\@-]+$/.test(name) || unit.length > 255 || /^[.@-]/.test(name)) {
    throw new TypeError(`Cannot use ${JSON.stringify(name)} as the name of a systemd unit`);
  }
  return unit;
}

/** A unit as systemd knows it; `undefined` where there is no systemd. */
export async function readUnit(container: Reading["container"], name: string): Promise<Unit | undefined> {
  return parseUnit(await container.read(showUnit(name), { codes: [0, 127], timeout: "15s" }));
}

function showUnit(name: string): Script {
  return sh`TZ=UTC systemctl show -p LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,NRestarts,Result,ExecMainCode,ExecMainStatus,ActiveEnterTimestamp ${name} || exit
date +Now=%s`;
}

function parseUnit({ code, text }: Output): Unit | undefined {
  if (code === 127) return undefined;
  const values = new Map(
    text.split("\n").map((line) => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  const value = (name: string) => values.get(name) ?? "";
  // "Sun 2026-11-22 20:54:42 UTC"
  const since = Date.parse(value("ActiveEnterTimestamp").replace(/^\w+ (\S+) (\S+) UTC$/, "$1T$2Z")) / 1000;
  return {
    load: value("LoadState"),
    active: value("ActiveState"),
    sub: value("SubState"),
    enabled: value("UnitFileState"),
    isOutdated: value("NeedDaemonReload") === "yes",
    restarts: Number(value("NRestarts")),
    age: Number(value("Now")) - since,
    why: reason(value("Result"), value("ExecMainCode"), value("ExecMainStatus")),
  };
}

/** Why a unit ended, as a phrase; empty for one that did not fail. */
function reason(result: string, mainCode: string, mainStatus: string): string {
  if (result === "success" || result === "") return "";
  // Otherwise it was not its main process that failed, but ExecStartPre= for instance.
  if (result === "exit-code" && mainCode === "1") return `exit code ${mainStatus}`;
  if ((result === "signal" || result === "core-dump") && mainCode !== "0") return `signal ${mainStatus}`;
  return result;
}

/**
 * The last lines of a unit's journal: what it wrote, and what systemd wrote about it. `journalctl -u` leaves out what a process said
 * that had ended before journald could tell whose it was, such as systemd's own "Failed at step EXEC"; root's label counts here.
 */
export async function journalOf(at: Reading, name: string, count: number): Promise<Output> {
  const about = (field: string) => ["_UID=0", `${field}=${name}`];
  const entries = [`_SYSTEMD_UNIT=${name}`, "+", ...about("UNIT"), "+", ...about("OBJECT_SYSTEMD_UNIT")];
  return await at.container.read(sh`journalctl -q -n ${count} --no-pager ${entries}`, { codes: "any" });
}

/** A failure with the end of the unit's journal for evidence. */
export async function failureOfUnit(at: Reading, name: string, message: string): Promise<CommandFailed> {
  return failureOf(await journalOf(at, name, 20), message);
}
