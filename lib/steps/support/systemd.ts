/**
 * systemd's units and their journals.
 *
 * @module
 */

import { failureOf, type Output } from "../../container/container.ts";
import type { Reading } from "../../step.ts";
import type { CommandFailed } from "../../errors.ts";
import { type Script, sh } from "../../shell.ts";

/** A unit as systemd knows it. */
export interface Unit {
  /** `LoadState`: `loaded`, `not-found`, `masked`, `bad-setting`, … */
  readonly loadState: string;
  /** `ActiveState`: `active`, `inactive`, `failed`, `activating`, … */
  readonly activeState: string;
  /** `SubState`, the same in more detail: `running`, `exited`, `auto-restart`, … */
  readonly subState: string;
  /** `UnitFileState`: `enabled`, `disabled`, `static`, `masked`, …; empty if there is no unit file. */
  readonly fileState: string;
  /** `NeedDaemonReload`: whether the unit file has changed since systemd read it. */
  readonly needsDaemonReload: boolean;
  /** `NRestarts`: how often systemd has restarted the unit by itself since somebody started it. */
  readonly restarts: number;
  /** How long it has been active, in seconds. */
  readonly activeSeconds: number;
  /** Why it failed, as a phrase such as `exit code 1`; empty if it did not. */
  readonly failure: string;
}

/** The exit code of a shell that does not find `systemctl`. */
const NO_SYSTEMCTL = 127;
/** The exit codes that {@linkcode parseUnit} understands. */
export const SHOW_UNIT_CODES: readonly number[] = [0, NO_SYSTEMCTL];
/** How long a look at a unit may take: that a container is frozen and does not answer has to be noticed soon. */
const SHOW_TIMEOUT = "15s";
/** How many lines of the journal a failure shows. */
const MAX_JOURNAL_LINES = 20;

/** The full name of a unit; a name without a suffix is that of a service. Throws a `TypeError` for an invalid name. */
export function requireUnitName(name: string): string {
  const unit = /\.(?:service|socket|timer|path|target|mount|slice)$/.test(name) ? name : `${name}.service`;
  if (!/^[A-Za-z0-9:_.\\@-]+$/.test(name) || unit.length > 255 || /^[.@-]/.test(name)) {
    throw new TypeError(`Cannot use ${JSON.stringify(name)} as the name of a systemd unit`);
  }
  return unit;
}

/** A unit as systemd knows it; `undefined` if there is no systemd. */
export async function readUnit(container: Reading["container"], name: string): Promise<Unit | undefined> {
  return parseUnit(await container.read(showUnit(name), { codes: SHOW_UNIT_CODES, timeout: SHOW_TIMEOUT }));
}

/** A script that prints what {@linkcode parseUnit} reads. If systemctl fails, it exits with systemctl's code. */
export function showUnit(name: string): Script {
  return sh`TZ=UTC systemctl show -p LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,NRestarts,Result,ExecMainCode,ExecMainStatus,ActiveEnterTimestamp ${name} || exit
date +Now=%s`;
}

/** The unit in the output of {@linkcode showUnit}; `undefined` if there is no systemd. */
export function parseUnit({ code, text }: Output): Unit | undefined {
  if (code === NO_SYSTEMCTL) return undefined;
  const properties = new Map(
    text.split("\n").map((line) => {
      const equals = line.indexOf("=");
      return [line.slice(0, equals), line.slice(equals + 1)];
    }),
  );
  const property = (name: string) => properties.get(name) ?? "";
  // "Sun 2026-11-22 20:54:42 UTC"
  const activeSince = Date.parse(property("ActiveEnterTimestamp").replace(/^\w+ (\S+) (\S+) UTC$/, "$1T$2Z")) / 1000;
  return {
    loadState: property("LoadState"),
    activeState: property("ActiveState"),
    subState: property("SubState"),
    fileState: property("UnitFileState"),
    needsDaemonReload: property("NeedDaemonReload") === "yes",
    restarts: Number(property("NRestarts")),
    activeSeconds: Number(property("Now")) - activeSince,
    failure: describeResult(property("Result"), property("ExecMainCode"), property("ExecMainStatus")),
  };
}

/** Why a unit failed, as a phrase; empty if it did not. */
function describeResult(result: string, mainCode: string, mainStatus: string): string {
  if (result === "success" || result === "") return "";
  // Otherwise it was not the main process that failed, but for instance ExecStartPre=.
  if (result === "exit-code" && mainCode === "1") return `exit code ${mainStatus}`;
  if ((result === "signal" || result === "core-dump") && mainCode !== "0") return `signal ${mainStatus}`;
  return result;
}

/** Whether a unit is active, including while it reloads its configuration. */
export function isActive(unit: Unit | undefined): boolean {
  return unit?.activeState === "active" || unit?.activeState === "reloading";
}

/**
 * The last lines of a unit's journal: what it wrote, and what systemd wrote about it. `journalctl -u` leaves out the
 * output of a process that ended before journald could tell which unit it belonged to, such as systemd's own "Failed at
 * step EXEC". Here what a process of root says of itself counts as well.
 */
export async function journalOf(at: Reading, name: string, count: number): Promise<Output> {
  const about = (field: string) => ["_UID=0", `${field}=${name}`];
  const entries = [`_SYSTEMD_UNIT=${name}`, "+", ...about("UNIT"), "+", ...about("OBJECT_SYSTEMD_UNIT")];
  return await at.container.read(sh`journalctl -q -n ${count} --no-pager ${entries}`, { codes: "any" });
}

/** A failure with the end of the unit's journal as evidence. */
export async function failureOfUnit(at: Reading, name: string, message: string): Promise<CommandFailed> {
  return failureOf(await journalOf(at, name, MAX_JOURNAL_LINES), message);
}
