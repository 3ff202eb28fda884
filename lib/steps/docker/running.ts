/**
 * Whether a Docker container runs: waited for after its start, and checked while something else is waited for.
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

/** How long a container without a health check has to run before it counts as running, in milliseconds. */
const MIN_UPTIME_MS = 2_000;
/** How long to wait between two looks, in milliseconds. */
const POLL_INTERVAL_MS = 500;
/** How many lines of a container's log its own failure shows. */
const MAX_FAILURE_LOG_LINES = 20;
/** How many lines of a container's log the failure of a wait shows. */
const MAX_GONE_LOG_LINES = 5;

/**
 * Waits until a container that was started is healthy or, without a health check, has run for 2 seconds. Throws a
 * {@linkcode Failure} with the end of its log when it ends, keeps restarting, is unhealthy, or is not healthy in time.
 */
export async function waitUntilRunning(at: Writing, { name, startTimeoutMs }: DesiredContainer): Promise<void> {
  const started = performance.now();
  let restarts: number | undefined;
  for (;;) {
    const info = await inspectContainer(at.container, name);
    if (!info) throw new Failure(ExitCode.Step, `The container "${name}" was removed while waiting for it to run`);
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
function whyNotRunning({ State, RestartCount }: ContainerInfo, restartsBefore: number): string | undefined {
  const { Status, Running, Health } = State;
  if (RestartCount > restartsBefore || Status === "restarting") {
    return `keeps restarting, last with exit code ${State.ExitCode}`;
  }
  if (!Running) return `ended with exit code ${State.ExitCode}${State.Error ? `: ${State.Error}` : ""}`;
  if (Health?.Status !== "unhealthy") return undefined;
  return `is unhealthy: ${Health.Log?.at(-1)?.Output?.trim() ?? "its health check fails"}`;
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
 * A Docker container that has to keep running while something is waited for.
 *
 * Throws a `TypeError` for an invalid name.
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
      const { Status, Running } = info.State;
      if (Running || Status === "restarting" || Status === "created") return undefined;
      const log = await container.read(sh`docker logs --tail ${MAX_GONE_LOG_LINES} ${name} 2>&1`, { codes: "any" });
      return `the container "${name}" ended with exit code ${info.State.ExitCode}${
        log.text === "" ? "" : `, and its log ends with:\n${log.text}`
      }`;
    },
  };
}
