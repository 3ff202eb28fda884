/**
 * Waiting for a systemd unit.
 *
 * @module
 */

import { CommandFailed, ExitCode } from "../errors.ts";
import type { Reading, Step } from "../step.ts";
import type { Alive, WaitOptions } from "./support/poll.ts";
import { failureOfUnit, isActive, journalOf, readUnit, requireUnitName, type Unit } from "./support/systemd.ts";
import { type Look, waitStep } from "./support/wait_step.ts";

/** How many lines of the journal are shown of a unit that another wait depends on. */
const MAX_JOURNAL_LINES = 5;

/** The unit; why systemd does not answer yet, as a phrase; or `undefined` if there is no systemd. */
type Found = Unit | string | undefined;

/**
 * A systemd unit is active. It is waited for. If the unit has failed, is masked or does not exist, the step fails at
 * once, with the end of the unit's journal. Can also be the `while` of another wait:
 * `http(url, { while: unitActive("llama") })`. A name without a suffix is that of a service.
 *
 * Throws a `TypeError` for an invalid name of a unit.
 *
 * @example
 * ```ts
 * const ready = unitActive("llama-server", { within: "5m" });
 * ```
 */
export function unitActive(name: string, options: WaitOptions = {}): Step & Alive {
  const unit = requireUnitName(name);
  const awaited = { title: `unit ${unit} is active`, what: `unit ${unit}`, to: "active" };
  const look = async (at: Reading) => lookOf(await find(at, unit));
  const lookAgain = async (at: Reading) => {
    const found = await find(at, unit);
    const why = whyNeverActive(found);
    if (why !== undefined) throw await failureOfUnit(at, unit, `Stopped waiting for the unit "${unit}", which ${why}`);
    return lookOf(found);
  };
  return {
    ...waitStep(awaited, options, look, lookAgain),
    async whyGone(at) {
      const why = whyNeverActive(await find(at, unit));
      if (why === undefined) return undefined;
      const { text } = await journalOf(at, unit, MAX_JOURNAL_LINES);
      return `the unit "${unit}" ${why}${text === "" ? "" : `, and its journal ends with:\n${text}`}`;
    },
  } satisfies Step<Look> & Alive;
}

async function find({ container }: Reading, unit: string): Promise<Found> {
  try {
    return await readUnit(container, unit);
  } catch (error) {
    // A container that was just started has a shell before its systemd answers.
    if (!(error instanceof CommandFailed) || error.exitCode === ExitCode.Timeout) throw error;
    return `systemctl: ${error.evidence.stderr.trim().split("\n").at(-1) || error.message}`;
  }
}

function lookOf(found: Found): Look {
  if (found === undefined) return { holds: false, seen: "there is no systemd" };
  if (typeof found === "string") return { holds: false, seen: found };
  const { activeState, subState, loadState } = found;
  return { holds: isActive(found), seen: loadState === "loaded" ? `${activeState} (${subState})` : loadState };
}

/** Why a unit will not become active by itself, if so. An inactive one may be about to be started. */
function whyNeverActive(found: Found): string | undefined {
  if (typeof found === "string") return undefined;
  if (found === undefined) return "needs systemd, which is not there";
  if (found.loadState === "not-found") return "is not known to systemd";
  if (found.loadState !== "loaded") return `cannot be loaded: ${found.loadState}`;
  return found.activeState === "failed" ? `has failed: ${found.failure}` : undefined;
}
