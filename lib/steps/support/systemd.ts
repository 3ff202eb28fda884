/**
 * What systemd knows of its units, and what their journals say.
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
  /** `UnitFileState`: `enabled`, `disabled`, `static`, `masked`, …; empty where there is no unit file. */
  readonly fileState: string;
  /** `NeedDaemonReload`: whether the unit file was changed since systemd read it. */
  readonly needsDaemonReload: boolean;
  /** `NRestarts`: how often systemd has restarted it by itself since somebody started it. */
  readonly restarts: number;
  /** For how many seconds it has been active. */
  readonly activeSeconds: number;
  /** Why it failed, as a phrase such as `exit code 1`; empty where it did not. */
  readonly failure: string;
}

/** The exit code of a shell that has no `systemctl`. */
const NO_SYSTEMCTL = 127;
/** The exit codes with which {@linkcode showUnit} has answered. */
export const SHOW_UNIT_CODES: readonly number[] = [0, NO_SYSTEMCTL];
/** How long a look at a unit may take: a container that is frozen does not answer, and that is to be told before long. */
const SHOW_TIMEOUT = "15s";
/** How many lines of a journal a failure shows. */
const MAX_JOURNAL_LINES = 20;

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
  return parseUnit(await container.read(showUnit(name), { codes: SHOW_UNIT_CODES, timeout: SHOW_TIMEOUT }));
}

/** A script that prints what {@linkcode parseUnit} reads, or ends the shell with one of systemctl's exit codes. */
export function showUnit(name: string): Script {
  return sh`TZ=UTC systemctl show -p LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,NRestarts,Result,ExecMainCode,ExecMainStatus,ActiveEnterTimestamp ${name} || exit
date +Now=%s`;
}

/** A unit, from the output of {@linkcode showUnit}; `undefined` where there is no systemd. */
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

/** Why a unit failed, as a phrase; empty for one that did not. */
function describeResult(result: string, mainCode: string, mainStatus: string): string {
  if (result === "success" || result === "") return "";
  // Otherwise it was not its main process that failed, but ExecStartPre= for instance.
  if (result === "exit-code" && mainCode === "1") return `exit code ${mainStatus}`;
  if ((result === "signal" || result === "core-dump") && mainCode !== "0") return `signal ${mainStatus}`;
  return result;
}

/** Whether a unit is active, also while it reads its configuration again. */
export function isActive(unit: Unit | undefined): boolean {
  return unit?.activeState === "active" || unit?.activeState === "reloading";
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
  return failureOf(await journalOf(at, name, MAX_JOURNAL_LINES), message);
}
