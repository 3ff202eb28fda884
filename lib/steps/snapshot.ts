/**
 * Snapshots of the container, which the fleet's templates end with.
 *
 * @module
 */

import type { Reading, Step, Writing } from "../step.ts";
import { ExitCode, Failure, messageOf, SessionLost } from "../errors.ts";
import { isLocked, type PctResult } from "../container/pct.ts";
import { stoppedMarker } from "../host/paths.ts";
import { sh } from "../shell.ts";
import { type Duration, milliseconds } from "../time.ts";
import { type Poll, pollUntil } from "./support/poll.ts";

/** How a snapshot is taken. */
export interface SnapshotSpec {
  /** What `pct listsnapshot` shows beside the name. Default: nothing. */
  readonly description?: string;
  /** How long each of stopping, taking the snapshot, starting and getting ready may take. Default: 10 minutes. */
  readonly within?: Duration;
}

/** How long a container is asked to shut down before it is stopped by force, at the most. */
const MAX_SHUTDOWN_MS = 120_000;
/** The longest time between two tries of a `pct` for which the container is locked. */
const LOCK_PAUSE = "5s";
/** How long a look may take whether systemd has started. */
const READY_TIMEOUT = "30s";

/**
 * A snapshot of this name is there, taken once: the container is shut down, the snapshot taken, the container started and waited
 * for. A snapshot that Proxmox refuses fails the step, and the container is started again. A lock, such as a backup's, is waited
 * for. A run that is cut off in between leaves a note on the host, by which the next one starts the container again. A snapshot that
 * Proxmox has not finished to take or to remove is an error.
 *
 * Names as Proxmox has them: a letter, then letters, digits, `_` and `-`, 2 to 40 characters, not `current` and not `vzdump`.
 *
 * Throws a `TypeError` for any other name.
 *
 * @example
 * ```ts
 * const template = snapshot("gpu-base", { description: "Ready to be cloned" });
 * ```
 */
export function snapshot(name: string, spec: SnapshotSpec = {}): Step {
  if (!/^[A-Za-z][A-Za-z0-9_-]{1,39}$/.test(name) || /^(current|vzdump)$/.test(name)) {
    throw new TypeError(
      `Cannot name a snapshot "${name}": expected a letter, then letters, digits, "_" and "-", 2 to 40 characters in all`,
    );
  }
  const within = milliseconds(spec.within ?? "10m");
  return {
    title: `snapshot ${name}`,
    probe: (at) => isTaken(at, name),
    diff: (taken) => taken ? [] : [{ what: "snapshot", to: name }],
    apply: (at) => takeWhileStopped(at, name, spec.description, within),
  } satisfies Step<boolean>;
}

/** Stops the container, takes the snapshot, and starts the container again, whatever has failed until then. */
async function takeWhileStopped(
  at: Writing,
  name: string,
  description: string | undefined,
  within: number,
): Promise<void> {
  const marker = stoppedMarker(at.container.ctid);
  // The note comes first: from here on, whoever finds the container stopped knows that it was this program.
  await at.host.writeFile(marker, `stopped for the snapshot "${name}"\n`, 0o644);
  let failure: unknown;
  try {
    await stop(at, within);
    await pct(at, "snapshot", [name, ...(description === undefined ? [] : ["--description", description])], within);
  } catch (error) {
    failure = error;
  }
  try {
    await start(at, within);
    await at.host.removeFile(marker);
  } catch (error) {
    if (failure === undefined || !(error instanceof Failure)) throw error;
    throw new Failure(error.exitCode, `${error.message}; before that: ${messageOf(failure)}`, { cause: failure });
  }
  if (failure !== undefined) throw failure;
}

/**
 * Whether there is a snapshot of this name, from the container's configuration: where Proxmox keeps them, and a file that takes no
 * process of `pct` to read. One that is being taken or removed stands there too, and for ever what a power failure has left of one.
 */
async function isTaken({ host, container: { ctid } }: Reading, name: string): Promise<boolean> {
  const path = `/etc/pve/lxc/${ctid}.conf`;
  const config = await (await host.file(path))?.text();
  if (config === undefined) {
    throw new Failure(ExitCode.Step, `Cannot look for the snapshot "${name}" as there is no "${path}"`);
  }
  const section = config.split(/^(?=\[)/m).find((section) => section.startsWith(`[${name}]\n`));
  const state = section && /^snapstate: (\S+)$/m.exec(section)?.[1];
  if (state === undefined) return section !== undefined;
  throw new Failure(
    ExitCode.Step,
    `The snapshot "${name}" is incomplete: Proxmox has it in the state "${state}", perhaps as the host went down meanwhile`,
    {
      hint: "Unless Proxmox is at work on it right now, remove it, and run this again: " +
        `pct delsnapshot ${ctid} ${name} --force`,
    },
  );
}

async function stop(at: Writing, within: number): Promise<void> {
  at.progress("shutting down");
  // What does not end when it is asked has to be forced before our own time is up.
  const seconds = String(Math.ceil(Math.min(within / 2, MAX_SHUTDOWN_MS) / 1000));
  await pct(at, "shutdown", ["--timeout", seconds, "--forceStop", "1"], within);
  const stopped: Poll<string> = {
    subject: "the container to stop",
    look: () => statusOf(at.host),
    isDone: (status) => status === "stopped",
    describe: (status) => `status: ${status}`,
  };
  // An HA-managed container is only asked to stop.
  await pollUntil(at, stopped, await stopped.look(), { within });
}

/** Starts the container, and waits until it can be worked with. */
async function start(at: Writing, within: number): Promise<void> {
  at.progress("starting");
  // Also where it runs: an HA-managed container was only asked to stop, and may do so later unless it is asked to run.
  await pct(at, "start", [], within);
  const ready: Poll<string> = {
    subject: "the container to be ready",
    look: () => readinessOf(at),
    isDone: (state) => state === "ready",
    describe: (state) => state,
  };
  await pollUntil(at, ready, "not asked yet", { within });
}

async function statusOf(host: Reading["host"]): Promise<string> {
  const result = await host.pctStatus();
  const status = /^status: (\w+)$/m.exec(result.stdout)?.[1];
  if (result.code !== 0 || status === undefined) throw failureOfPct("status", result);
  return status;
}

/** `pct start` returns long before services and network are up. */
async function readinessOf({ container }: Reading): Promise<string> {
  try {
    const { text } = await container.read(
      sh`command -v systemctl >/dev/null || exit 0; systemctl is-system-running 2>&1`,
      { codes: "any", timeout: READY_TIMEOUT },
    );
    // systemd is there before it can be asked.
    return /^(?:initializing|starting|unknown|failed to connect)/i.test(text) ? `systemd: ${text}` : "ready";
  } catch (error) {
    if (!(error instanceof SessionLost)) throw error;
    return error.message;
  }
}

/** Runs a `pct` that takes the container's locks, again and again while somebody else has them. */
async function pct(
  at: Writing,
  subcommand: Parameters<Writing["host"]["pctWrite"]>[0],
  args: readonly string[],
  within: number,
): Promise<void> {
  let last = await at.host.pctWrite(subcommand, args, within);
  const unlocked: Poll<PctResult> = {
    subject: `the lock of the container, for "pct ${subcommand}"`,
    look: async () => last = await at.host.pctWrite(subcommand, args, within),
    isDone: ({ code, stderr }) => code === 0 || !isLocked(stderr),
    describe: ({ stderr }) => stderr.trim(),
    // To turn away from a `pct` that works would be to start the next one beside it.
    maxLastLookMs: within,
  };
  await pollUntil(at, unlocked, last, { within, interval: LOCK_PAUSE });
  if (last.code === 0) return;
  // What is so already is no failure.
  if (/already running|not running/.test(last.stderr) && subcommand !== "snapshot") return;
  throw failureOfPct(subcommand, last);
}

function failureOfPct(subcommand: string, { code, stdout, stderr }: PctResult): Failure {
  const said = (stderr || stdout).trim();
  return code === undefined
    ? new Failure(ExitCode.Timeout, `"pct ${subcommand}" did not end in time; it was left to itself`, {
      hint: "Look at the tasks of the container in Proxmox before you run this again",
    })
    : new Failure(ExitCode.Step, `"pct ${subcommand}" failed with exit code ${code} and said: ${said || "nothing"}`);
}
