/**
 * The engine: what it is, how it starts and ends, and what it does when a container has ended.
 *
 * @module
 */

import { complain, encoder, print, writeAll } from "./client.ts";
import { endContainer } from "./containers.ts";
import { EngineDown, Exit, type Given } from "./flags.ts";
import { showByTemplate } from "./format.ts";
import { infoDocument, infoText, versionDocument, versionText } from "./inspect.ts";
import {
  changeState,
  engineRuns,
  makeSocket,
  readState,
  removeDirectory,
  sleep,
  socketFile,
  startContainer,
} from "./state.ts";

/** `docker version`. */
export function showVersion(given: Given): Promise<void> {
  const format = given.text("format");
  const template = format === "json" ? "{{json .}}" : format;
  if (template === undefined) writeAll(Deno.stdout, encoder.encode(versionText()));
  else print(engineRuns() || !template.includes(".Server") ? showByTemplate(template, versionDocument()) : "");
  if (!engineRuns()) throw new EngineDown();
  return Promise.resolve();
}

/** `docker info`. */
export async function showInfo(given: Given): Promise<void> {
  const state = await readState();
  const format = given.text("format");
  const down = !engineRuns();
  if (format !== undefined) {
    // With a format Docker says that the engine is down, and exits with 0.
    if (down) complain(new EngineDown().message);
    return print(showByTemplate(format === "json" ? "{{json .}}" : format, infoDocument(state)));
  }
  writeAll(Deno.stdout, encoder.encode(infoText(state)));
  if (down) throw new Exit(1, `ERROR: ${new EngineDown().message}\nerrors pretty printing info`);
}

/** What systemd's `docker.service` does at its start: the engine answers, and starts the containers whose policy says so. */
export async function engineStart(): Promise<void> {
  await changeState(async (state) => {
    makeSocket();
    for (const container of Object.values(state.containers)) {
      const { Status, ExitCode } = container.State;
      if (Status === "running" || container.starts === 0) continue;
      const { Name } = container.HostConfig.RestartPolicy;
      const wanted = Name === "always" || (Name === "unless-stopped" && !container.stoppedByHand) ||
        (Name === "on-failure" && ExitCode !== 0 && !container.stoppedByHand);
      if (Status === "restarting") container.State.Status = "exited";
      Object.assign(container, { RestartCount: 0, restartDelay: 0 });
      if (wanted) await startContainer(state, container);
    }
  });
}

/** What systemd's `docker.service` does at its end: every container is stopped, to be started again with the engine. */
export async function engineStop(): Promise<void> {
  const running = await changeState((state) => {
    removeDirectory(socketFile);
    return Object.values(state.containers).filter(({ State }) => State.Status === "running");
  });
  await Promise.all(
    running.map((container) =>
      endContainer(container, container.Config.StopSignal ?? "SIGTERM", container.Config.StopTimeout ?? 10)
    ),
  );
  await changeState(() => {});
}

/** Called after the end of a container's process: has it noted, and starts it again after a while if its policy says so. */
export async function exited(id: string): Promise<void> {
  try {
    const container = await changeState((state) => state.containers[id]);
    if (container?.State.Status !== "restarting") return;
    await sleep(container.restartDelay);
    await changeState(async (state) => {
      const now = state.containers[id];
      const same = now?.State.Status === "restarting" && now.RestartCount === container.RestartCount &&
        now.starts === container.starts;
      if (same && engineRuns()) await startContainer(state, now);
    });
  } catch (error) {
    // Meanwhile everything was removed.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
