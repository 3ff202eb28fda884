/**
 * Whether a Docker container runs: waited for after its start, and looked at while something else is waited for.
 *
 * @module
 */

import { failureOf } from "../../container/container.ts";
import type { Reading, Writing } from "../../step.ts";
import { type CommandFailed, ExitCode, Failure } from "../../errors.ts";
import { sh } from "../../shell.ts";
import { formatDuration } from "../../time.ts";
import type { Alive } from "../support/poll.ts";
import { type ContainerInfo, healthStatus, inspectContainer } from "./container_info.ts";
import { type DesiredContainer, requireContainerName } from "./container_options.ts";

/** A container without a health check counts as running once it has run for this long, in milliseconds. */
const MIN_UPTIME_MS = 2_000;
/** How long to wait between two looks, in milliseconds. */
const POLL_INTERVAL_MS = 500;
/** How many lines of its log the failure of a container shows. */
const MAX_FAILURE_LOG_LINES = 20;
/** How many lines of its log are shown of a container that something else waits for. */
const MAX_GONE_LOG_LINES = 5;

/**
 * Waits until a container that was started has proven that it runs: it is healthy, or has run for 2 seconds where it has no health
 * check. Throws a {@linkcode Failure} with the end of its log when it has ended, crashes, is unhealthy, or is not healthy in time.
 */
export async function waitUntilRunning(at: Writing, { name, startTimeoutMs }: DesiredContainer): Promise<void> {
  const started = performance.now();
  let restarts: number | undefined;
  for (;;) {
    const info = await inspectContainer(at.container, name);
    if (!info) throw new Failure(ExitCode.Step, `The container "${name}" was removed while it was waited for`);
    restarts ??= info.RestartCount;
    const failure = whyNotRunning(info, restarts);
    if (failure !== undefined) throw await failureWithLog(at, name, `The container "${name}" ${failure}`);
    const health = healthStatus(info);
    const waited = performance.now() - started;
    if (health === "healthy" || (health === undefined && waited >= MIN_UPTIME_MS)) return;
    if (waited > startTimeoutMs) {
      throw await failureWithLog(
        at,
        name,
        `The container "${name}" was not healthy within ${formatDuration(startTimeoutMs)}: its health is "${health}"`,
        ExitCode.Timeout,
      );
    }
    at.progress(health === undefined ? "started" : `health: ${health}`);
    await at.pause(POLL_INTERVAL_MS);
  }
}

/** Why a container that was started will not run, to follow its name; `undefined` while there is hope. */
function whyNotRunning(info: ContainerInfo, restartsBefore: number): string | undefined {
  const { Status, Running, ExitCode, Error, Health } = info.State;
  if (info.RestartCount > restartsBefore || Status === "restarting") {
    return `restarts again and again, last with exit code ${ExitCode}`;
  }
  if (!Running) return `ended with exit code ${ExitCode}${Error ? `: ${Error}` : ""}`;
  if (healthStatus(info) !== "unhealthy") return undefined;
  return `is unhealthy: ${Health?.Log?.at(-1)?.Output?.trim() ?? "its health check fails"}`;
}

async function failureWithLog(
  { container }: Reading,
  name: string,
  message: string,
  exitCode: ExitCode = ExitCode.Step,
): Promise<CommandFailed> {
  const log = await container.read(sh`docker logs --tail ${MAX_FAILURE_LOG_LINES} ${name} 2>&1`, { codes: "any" });
  return failureOf(log, message, exitCode);
}

/**
 * A Docker container that has to live on while something is waited for.
 *
 * Throws a `TypeError` for what is no name of a container.
 *
 * @example
 * ```ts
 * import { http } from "../http.ts";
 *
 * const ready = http("http://localhost:8000/health", { within: "20m", while: running("vllm") });
 * ```
 */
export function running(name: string): Alive {
  requireContainerName(name);
  return {
    async whyGone({ container }) {
      const info = await inspectContainer(container, name);
      if (!info) return `there is no container "${name}"`;
      const { Status, ExitCode, Running } = info.State;
      if (Running || Status === "restarting" || Status === "created") return undefined;
      const log = await container.read(sh`docker logs --tail ${MAX_GONE_LOG_LINES} ${name} 2>&1`, { codes: "any" });
      return `the container "${name}" ended with exit code ${ExitCode}${
        log.text === "" ? "" : `, and said:\n${log.text}`
      }`;
    },
  };
}
