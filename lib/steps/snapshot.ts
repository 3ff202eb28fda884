/**
 * Snapshots of the container, with which the setup of a template ends.
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
  /** The description that `pct listsnapshot` shows. Default: none. */
  readonly description?: string;
  /**
   * How long each of these may take: the shutdown, the snapshot, the start, and until the container is ready. Default:
   * 10 minutes.
   */
  readonly within?: Duration;
}

/** How long a shutdown may take at most before the container is stopped by force. */
const MAX_SHUTDOWN_MS = 120_000;
/** The longest time between two attempts while the container is locked. */
const LOCK_PAUSE = "5s";
/** How long one look at systemd may take. */
const READY_TIMEOUT = "30s";

/**
 * A snapshot with this name exists. It is taken only once: the container is shut down, the snapshot is taken, and the
 * container is started and waited for. If Proxmox refuses the snapshot, the step fails and the container is started
 * again. A lock on the container, for instance of a backup, is waited for. A run that is interrupted in between leaves
 * a note on the host, by which the next run starts the container again. A snapshot that Proxmox has not finished taking
 * or removing is an error.
 *
 * Names are those that Proxmox accepts: a letter, then letters, digits, `_` and `-`, 2 to 40 characters, and neither
 * `current` nor `vzdump`.
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

/** Stops the container, takes the snapshot, and starts the container again, even if something has failed before. */
async function takeWhileStopped(
  at: Writing,
  name: string,
  description: string | undefined,
  within: number,
): Promise<void> {
  const marker = stoppedMarker(at.container.ctid);
  // The note comes first: from now on, whoever finds the container stopped knows that it was this program.
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
 * Whether there is a snapshot with this name. Proxmox keeps snapshots in the container's configuration, a file that can
 * be read without starting `pct`. It also lists those that are being taken or removed, and what a power failure has
 * left of one.
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
    `The snapshot "${name}" is incomplete: Proxmox has it in the state "${state}", perhaps because the host went down meanwhile`,
    {
      hint: "Unless Proxmox is at work on it right now, remove it, and run this again: " +
        `pct delsnapshot ${ctid} ${name} --force`,
    },
  );
}

async function stop(at: Writing, within: number): Promise<void> {
  at.progress("shutting down");
  // A container that does not shut down has to be stopped by force before our own time is up.
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

/** Starts the container, and waits until it is ready. */
async function start(at: Writing, within: number): Promise<void> {
  at.progress("starting");
  // Also if it still runs: an HA-managed container was only asked to stop, and may do so later unless it is asked to
  // run.
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
  const result = await host.containerStatus();
  const status = /^status: (\w+)$/m.exec(result.stdout)?.[1];
  if (result.code !== 0 || status === undefined) throw failureOfPct("status", result);
  return status;
}

/** Whether the container is ready: `pct start` returns long before services and network are up. */
async function readinessOf({ container }: Reading): Promise<string> {
  try {
    const { text } = await container.read(
      sh`command -v systemctl >/dev/null || exit 0; systemctl is-system-running 2>&1`,
      { codes: "any", timeout: READY_TIMEOUT },
    );
    // systemd takes a moment until it answers.
    return /^(?:initializing|starting|unknown|failed to connect)/i.test(text) ? `systemd: ${text}` : "ready";
  } catch (error) {
    if (!(error instanceof SessionLost)) throw error;
    return error.message;
  }
}

/** Runs a `pct` command that needs the container's lock, and runs it again while somebody else holds the lock. */
async function pct(
  at: Writing,
  subcommand: Parameters<Writing["host"]["changeContainer"]>[0],
  args: readonly string[],
  within: number,
): Promise<void> {
  let last = await at.host.changeContainer(subcommand, args, within);
  const unlocked: Poll<PctResult> = {
    subject: `the lock of the container, for "pct ${subcommand}"`,
    look: async () => last = await at.host.changeContainer(subcommand, args, within),
    isDone: ({ code, stderr }) => code === 0 || !isLocked(stderr),
    describe: ({ stderr }) => stderr.trim(),
    // To give up on a `pct` that is at work would mean to start the next one beside it.
    maxLastLookMs: within,
  };
  await pollUntil(at, unlocked, last, { within, interval: LOCK_PAUSE });
  if (last.code === 0) return;
  // A container that already runs, or is already stopped, is no failure.
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
