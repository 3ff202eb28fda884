/**
 * What is looked at before anything is touched: that the container exists, runs, and is the one that is meant.
 *
 * @module
 */

import { LOCK_TIMEOUT_MS } from "../container/connection.ts";
import { isLocked } from "../container/pct.ts";
import { ExitCode, Failure } from "../errors.ts";
import { message, type Report } from "../events.ts";
import type { Host } from "../host/host.ts";
import { HOST_PATHS, stoppedMarker } from "../host/paths.ts";
import { formatDuration } from "../time.ts";
import { hintFor } from "./hints.ts";
import { isSameHostName } from "./setup.ts";
import type { System } from "./system.ts";

/** How long `pct status` may take. */
const MAX_STATUS_MS = 60_000;

/** How often a container that is stopped and locked is looked at. */
const LOCK_POLL_MS = 5_000;

/** How long `pct start` may take. */
const MAX_START_MS = 120_000;

/** How long, and at what intervals, a container that Proxmox has locked is tried to be started. */
const MAX_START_AGAIN_MS = 10 * 60_000;
const MIN_START_WAIT_MS = 100;
const MAX_START_WAIT_MS = 5_000;

/**
 * How long a container that may have been told to stop is watched; all of it has to fit into the time for cleaning up.
 */
const STAYS_UP_MS = 2_000;
const STAYS_UP_POLL_MS = 100;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** What `pct status` says of a container. */
interface StatusAnswer {
  /** Its exit code; `undefined` where it did not end within {@linkcode MAX_STATUS_MS}. */
  readonly code: number | undefined;
  /** What it wrote, for a person. */
  readonly said: string;
  /** The status, where it told one and succeeded: success alone is no evidence. */
  readonly status: "running" | "stopped" | undefined;
}

/**
 * Makes sure that the container exists: `pct status` says so. Otherwise exit code 1 with what `pct` said. One that is
 * stopped cannot be used, exit code 3, unless this program has stopped it: a run, which is no `check`, starts it again.
 */
export async function checkContainerExists(
  ctid: number,
  check: boolean,
  system: Pick<System, "pct" | "host" | "lockedBy" | "readJson">,
  report: Report,
): Promise<void> {
  report(message("info", `Checking for the existence of container ${ctid}`));
  const answer = await statusOnceUnlocked(ctid, system, report);
  if (answer.status === undefined) throw notFound(ctid, answer, system);
  report(message("info", `Container ${ctid} exists and is ${answer.status}`));
  if (answer.status === "running") return;
  if (!check && await system.host(ctid).file(stoppedMarker(ctid))) return;
  throw isStopped(ctid, system.lockedBy(ctid));
}

/** The status of a container; one that is stopped is waited for as long as Proxmox has locked it, as a backup does. */
async function statusOnceUnlocked(
  ctid: number,
  system: Pick<System, "pct" | "lockedBy">,
  report: Report,
): Promise<StatusAnswer> {
  let answer = await statusOf(ctid, system);
  const deadline = performance.now() + LOCK_TIMEOUT_MS;
  let told: string | undefined;
  while (answer.status === "stopped") {
    const lock = system.lockedBy(ctid);
    if ((lock === undefined && told === undefined) || performance.now() >= deadline) break;
    const state = lock === undefined ? "unlocked" : `locked (${lock})`;
    const waiting = `Waiting for container ${ctid}, which is stopped and ${state}`;
    if (waiting !== told) report(message("warning", waiting));
    told = waiting;
    await pause(LOCK_POLL_MS);
    answer = await statusOf(ctid, system);
    // A backup unlocks it a moment before it starts it: hence this one more look.
    if (lock === undefined) break;
  }
  return answer;
}

async function statusOf(ctid: number, { pct }: Pick<System, "pct">): Promise<StatusAnswer> {
  const { code, stdout, stderr } = await pct.run(["status", String(ctid)], MAX_STATUS_MS);
  const status = code === 0 ? /^status: (running|stopped)$/m.exec(stdout)?.[1] : undefined;
  return { code, said: (stderr || stdout).trim(), status: status as StatusAnswer["status"] };
}

/** Why a container cannot be found, from what `pct status` said. */
function notFound(ctid: number, { code, said }: StatusAnswer, system: Pick<System, "readJson">): Failure {
  if (code === undefined) {
    const within = formatDuration(MAX_STATUS_MS);
    return new Failure(ExitCode.Usage, `Cannot check container ${ctid}: "pct status" did not answer within ${within}`);
  }
  const node = nodeOf(ctid, system);
  const here = /'nodes\/([^/]+)\/lxc\/\d+\.conf' does not exist/.exec(said)?.[1];
  if (node !== undefined && here !== undefined && node !== here) {
    const where = `Container ${ctid} is not on this node: it lives on node "${node}" of the cluster`;
    return new Failure(ExitCode.Usage, where, { hint: `Run this on "${node}"` });
  }
  const hint = hintFor(said);
  return new Failure(
    ExitCode.Usage,
    `Container ${ctid} does not exist or cannot be checked: "pct status ${ctid}" ended with exit code ${code} and said ${
      said === "" ? "nothing" : `"${said}"`
    }`,
    hint === undefined ? {} : { hint },
  );
}

/** The node of the cluster that Proxmox says a container lives on; `undefined` where it does not say. */
function nodeOf(ctid: number, { readJson }: Pick<System, "readJson">): string | undefined {
  try {
    const list = readJson(HOST_PATHS.clusterList) as
      | { ids?: Record<string, { node?: unknown } | undefined> }
      | undefined;
    const node = list?.ids?.[String(ctid)]?.node;
    return typeof node === "string" ? node : undefined;
  } catch {
    return undefined; // It only makes a message better.
  }
}

function isStopped(ctid: number, lock: string | undefined): Failure {
  return lock === undefined
    ? new Failure(ExitCode.Container, `Container ${ctid} is stopped`, { hint: `Start it: pct start ${ctid}` })
    : new Failure(ExitCode.Container, `Container ${ctid} is stopped and locked (${lock})`, {
      hint: `Look at its tasks in Proxmox VE: if none is running, one that was interrupted left the lock behind, ` +
        `and pct unlock ${ctid} removes it`,
    });
}

/**
 * Starts a container that an interrupted run has left stopped, as its note on the host says, and takes the note away.
 */
export async function startAgain(ctid: number, host: Host, report: Report): Promise<void> {
  if (!await host.file(stoppedMarker(ctid))) return;
  const deadline = performance.now() + MAX_START_AGAIN_MS;
  for (let wait = MIN_START_WAIT_MS;; wait = Math.min(2 * wait, MAX_START_WAIT_MS)) {
    const { code, stderr } = await host.changeContainer("start", [], MAX_START_MS);
    if (code === 0) report(message("info", `Started container ${ctid}, which an interrupted run had left stopped`));
    if (code === 0) break;
    if (/already running/.test(stderr)) {
      if (await staysUp(host)) break;
      continue;
    }
    const why = `Container ${ctid} is stopped and does not start: ${stderr.trim() || "pct said nothing"}`;
    // What the other run had begun, such as a snapshot, may still be under way.
    if (!isLocked(stderr) || performance.now() > deadline) throw new Failure(ExitCode.Container, why);
    report(message("warning", `${why}. Trying again`));
    await pause(wait);
  }
  await host.removeFile(stoppedMarker(ctid));
}

/**
 * Whether a container is not about to stop: a shutdown goes on inside when the `pct` that asked for it was ended by a
 * signal.
 */
async function staysUp(host: Host): Promise<boolean> {
  const deadline = performance.now() + STAYS_UP_MS;
  do {
    await pause(STAYS_UP_POLL_MS);
    if (/^status: stopped$/m.test((await host.containerStatus()).stdout)) return false;
  } while (performance.now() < deadline);
  return true;
}

/** Which container is meant: a wrong id must never configure somebody else's. */
export class Identity {
  readonly #ctid: number;
  readonly #names: { readonly name: string; readonly from: string }[];

  /** Expects the container to have the name that its setup states. */
  constructor(ctid: number, name: string) {
    this.#ctid = ctid;
    this.#names = [{ name, from: `the setup of container ${ctid}` }];
  }

  /** Expects the container to have another name as well, which `from` states. */
  expect(name: string, from: string): void {
    this.#names.push({ name, from });
  }

  /** Throws a {@linkcode Failure} with exit code 3 unless a host name is that of the container that is meant. */
  require(hostname: string): void {
    const other = this.#names.find(({ name }) => !isSameHostName(name, hostname));
    if (other === undefined) return;
    const { name, from } = other;
    throw new Failure(
      ExitCode.Container,
      `Container ${this.#ctid} is not the one that is meant: its host name is "${hostname}", but ${from} says "${name}"`,
      {
        hint: `If it is the right container, run "pct set ${this.#ctid} --hostname ${name}" and reboot it; ` +
          "otherwise correct the CTID or the configuration",
      },
    );
  }
}
