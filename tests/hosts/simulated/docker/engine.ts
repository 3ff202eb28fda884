/**
 * The engine: what it says of itself, how it starts and ends, and what it does when a container has ended.
 *
 * @module
 */

import { EngineDown, Exit, type Invocation, notSupported } from "./cli.ts";
import { print } from "./client.ts";
import { STATE_DIRECTORY } from "./files.ts";
import { render } from "./format.ts";
import { endContainer, startContainer } from "./runtime.ts";
import { changeStateDirectly, isEngineUp, isRunning, makeSocket, removeSocket, sleep } from "./state.ts";

/** The version of Docker that the stand-in is compared with: Debian 12's. */
const VERSION = "20.10.24+dfsg1";
/** How long the engine's end gives a container to stop. */
const STOP_SECONDS = 10;

/** `docker version`. */
export function version(invocation: Invocation): void {
  const template = invocation.last("format");
  const isUp = isEngineUp();
  if (template === undefined) print(isUp ? `Server:\n Engine:\n  Version:          ${VERSION}` : "");
  else print(isUp ? render(template, { Server: { Version: VERSION } }) : "");
  if (!isUp) throw new EngineDown();
}

/** `docker info`. */
export function info(invocation: Invocation): void {
  const template = invocation.last("format");
  if (template === undefined) throw notSupported("docker info without --format");
  if (isEngineUp()) return print(render(template, { DockerRootDir: STATE_DIRECTORY }));
  // Docker's client then knows nothing but itself, and fails at a field of the engine's.
  const field = /\.\w+/.exec(template)?.[0] ?? "";
  const at = `:1:${template.indexOf(field)}: executing "" at <${field}>`;
  print("");
  throw new Exit(1, `template: ${at}: reflect: indirection through nil pointer to embedded struct field Info`);
}

/**
 * What systemd's `docker.service` does at its start: the engine answers, and starts the containers whose policy says
 * so.
 */
export async function startEngine(): Promise<void> {
  await changeStateDirectly(async (state) => {
    makeSocket();
    for (const container of Object.values(state.containers)) {
      if (isRunning(container) || container.starts === 0) continue;
      const { Name } = container.HostConfig.RestartPolicy;
      const isWanted = Name === "always" ||
        (!container.stoppedByHand &&
          (Name === "unless-stopped" || (Name === "on-failure" && container.State.ExitCode !== 0)));
      if (container.State.Status === "restarting") container.State.Status = "exited";
      Object.assign(container, { RestartCount: 0, restartDelayMs: 0 });
      if (isWanted) await startContainer(state, container);
    }
  });
}

/** What systemd's `docker.service` does at its end: every container is stopped, to be started again with the engine. */
export async function stopEngine(): Promise<void> {
  const running = await changeStateDirectly((state) => {
    removeSocket();
    return Object.values(state.containers).filter(isRunning);
  });
  await Promise.all(running.map((container) => endContainer(container, STOP_SECONDS)));
  await changeStateDirectly(() => {});
}

/**
 * What a container's shim does last: has the end noted, and starts the container again after a while if its policy says
 * so.
 */
export async function recordEndOf(id: string): Promise<void> {
  try {
    const container = await changeStateDirectly((state) => state.containers[id]);
    if (container?.State.Status !== "restarting") return;
    await sleep(container.restartDelayMs);
    await changeStateDirectly(async (state) => {
      const now = state.containers[id];
      const isSame = now?.State.Status === "restarting" && now.RestartCount === container.RestartCount &&
        now.starts === container.starts;
      if (isSame && isEngineUp()) await startContainer(state, now);
    });
  } catch (error) {
    // Everything was removed meanwhile.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
