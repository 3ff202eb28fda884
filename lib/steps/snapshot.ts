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
import { waitUntil } from "./support/poll.ts";

/** How a snapshot is taken. */
export interface SnapshotSpec {
  /** What `pct listsnapshot` shows beside the name. */
  readonly description?: string;
  /** How long each of stopping, taking the snapshot, starting and getting ready may take. Default: 10 minutes. */
  readonly within?: Duration;
}

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
 * Requirements, section 2: "Making host-level configurations specific to this container".
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
    async apply(at) {
      const marker = stoppedMarker(at.container.ctid);
      // The note comes first: from here on, whoever finds the container stopped knows that it was this program.
      await at.host.writeFile(marker, `stopped for the snapshot "${name}"\n`, 0o644);
      let failure: unknown;
      try {
        await stop(at, within);
        const description = spec.description === undefined ? [] : ["--description", spec.description];
        await persist(at, "snapshot", [name, ...description], within);
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
    },
  } satisfies Step<boolean>;
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
  const part = config.split(/^(?=\[)/m).find((part) => part.startsWith(`[${name}]\n`));
  const state = part && /^snapstate: (\S+)$/m.exec(part)?.[1];
  if (state === undefined) return part !== undefined;
  throw new Failure(
    ExitCode.Step,
    `The snapshot "${name}" is not whole: Proxmox has it in the state "${state}", as the host may have gone down meanwhile`,
    {
      hint: "Unless somebody is at it right now, remove it, and run this again: " +
        `pct delsnapshot ${ctid} ${name} --force`,
    },
  );
}

async function statusOf(host: Reading["host"]): Promise<string> {
  const result = await host.containerStatus();
  const status = /^status: (\w+)$/m.exec(result.stdout)?.[1];
  if (result.code !== 0 || status === undefined) throw failed("status", result);
  return status;
}

async function stop(at: Writing, within: number): Promise<void> {
  at.progress("shutting down");
  // What does not end when it is asked has to be forced before our own time is up.
  const seconds = String(Math.ceil(Math.min(within / 2, 120_000) / 1000));
  await persist(at, "shutdown", ["--timeout", seconds, "--forceStop", "1"], within);
  // An HA-managed container is only asked to stop.
  await waitUntil(at, "the container to stop", await statusOf(at.host), {
    look: () => statusOf(at.host),
    done: (status) => status === "stopped",
    seen: (status) => `status: ${status}`,
  }, { within });
}

/** Starts the container, and waits until it can be worked with. */
async function start(at: Writing, within: number): Promise<void> {
  at.progress("starting");
  // Also where it runs: an HA-managed container was only asked to stop, and may do so later unless it is asked to run.
  await persist(at, "start", [], within);
  await waitUntil(at, "the container to be ready", "not asked yet", {
    look: () => readiness(at),
    done: (state) => state === "ready",
    seen: (state) => state,
  }, { within });
}

/** `pct start` returns long before services and network are up. */
async function readiness({ container }: Reading): Promise<string> {
  try {
    const { text } = await container.read(
      sh`command -v systemctl >/dev/null || exit 0; systemctl is-system-running 2>&1`,
      { codes: "any", timeout: "30s" },
    );
    // It is there before it can be asked.
    return /^(?:initializing|starting|unknown|failed to connect)/i.test(text) ? `systemd: ${text}` : "ready";
  } catch (error) {
    if (!(error instanceof SessionLost)) throw error;
    return error.message;
  }
}

/** Runs a `pct` that takes the container's locks, again and again while somebody else has them. */
async function persist(
  at: Writing,
  subcommand: Parameters<Writing["host"]["changeContainer"]>[0],
  args: readonly string[],
  within: number,
): Promise<void> {
  const run = () => at.host.changeContainer(subcommand, args, within);
  const locked = ({ code, stderr }: PctResult) => code !== 0 && isLocked(stderr);
  let last = await run();
  await waitUntil(at, `the lock of the container, for "pct ${subcommand}"`, last, {
    look: async () => last = await run(),
    done: (result) => !locked(result),
    seen: ({ stderr }) => stderr.trim(),
    // To turn away from a `pct` that works would be to start the next one beside it.
    lastLook: within,
  }, { within, interval: "5s" });
  if (last.code === 0) return;
  // What is so already is no failure.
  if (/already running|not running/.test(last.stderr) && subcommand !== "snapshot") return;
  throw failed(subcommand, last);
}

function failed(subcommand: string, { code, stdout, stderr }: PctResult): Failure {
  const said = (stderr || stdout).trim();
  return code === undefined
    ? new Failure(ExitCode.Timeout, `"pct ${subcommand}" did not end in time; it was left to itself`, {
      hint: "Look at the tasks of the container in Proxmox before you run this again",
    })
    : new Failure(ExitCode.Step, `"pct ${subcommand}" failed with exit code ${code} and said: ${said || "nothing"}`);
}
