/**
 * Docker containers: running as specified, or absent.
 *
 * @module
 */

import type { Step, Writing } from "../../step.ts";
import type { Difference } from "../../events.ts";
import { sh } from "../../shell.ts";
import { StartRecord, startRecordPath } from "../support/start_record.ts";
import { driftOf } from "./container_drift.ts";
import { type ContainerInfo, healthStatus } from "./container_info.ts";
import {
  type DesiredContainer,
  type DockerContainerSpec,
  readSpec,
  requireContainerName,
} from "./container_options.ts";
import { type ContainerState, inspectionFailure, previousNameOf, readState } from "./container_state.ts";
import { inspectedObjects, missing } from "./engine.ts";
import { pull } from "./image.ts";
import {
  createAndStart,
  finishReplacement,
  removeContainer,
  replaceContainer,
  STOP_TIMEOUT_SECONDS,
} from "./replacement.ts";
import { waitUntilRunning } from "./running.ts";

/**
 * A Docker container that runs as specified, and is healthy where it has a health check.
 *
 * A container that differs is replaced, and is given up only for one that runs: its new image is there and the disk has
 * room before it is touched; then it is renamed and stopped, and removed when the new one runs. If that does not run,
 * the old one is put back and the step fails. A container with an anonymous volume is never replaced, as its data would
 * be lost.
 *
 * An interrupted replacement leaves the old container as `<name>_previous`; the next run finishes or undoes it.
 *
 * The content of what is in `restartWith`, as it was before the container's last start, is noted as a hash of each path
 * below `/var/lib/phoenix_setup/docker`. A path at which nothing is has a state like any other, a folder is all regular
 * files below it, and symbolic links count as what they lead to. All of it is read in every run, for 10 minutes at the
 * most. A container without such a note, which somebody else made for instance, is restarted once, and so is one that
 * reads what a step before this one has changed in the same run, even where that was only changed back. Check mode
 * predicts the restart also where it is a `file`, `tree`, `line`, `block` or `absent` before this step that would make
 * the change; what a command or a script would write, it cannot know.
 *
 * Throws a `TypeError` for a name or an option that Docker would refuse, or understand as something else.
 *
 * @example
 * ```ts
 * const registry = container("registry", {
 *   image: "registry:2.8.3",
 *   ports: ["5000:5000"],
 *   volumes: ["registry_data:/var/lib/registry"],
 *   restart: "always",
 * });
 * const vllm = container("vllm", {
 *   image: "vllm/vllm-openai:v0.10.1",
 *   runtime: "nvidia",
 *   gpus: "all",
 *   ipc: "host",
 *   volumes: ["/models:/models:ro"],
 *   command: ["--model", "/models/qwen"],
 *   health: { command: "curl -fsS http://localhost:8000/health", interval: "10s", startPeriod: "10m" },
 *   within: "15m",
 * });
 * ```
 */
export function container(name: string, spec: DockerContainerSpec): Step {
  const desired = readSpec(name, spec);
  const record = new StartRecord("docker", name, spec.restartWith ?? []);
  return {
    title: `container ${name}`,
    probe: (at) => readState(at, desired, record),
    diff: (state) => differencesOf(state, desired),
    async apply(at, found) {
      let state = found;
      if (state.previous) {
        await finishReplacement(at, desired, state);
        state = await readState(at, desired, record);
      }
      if (!state.image) {
        await pull(at, spec.image);
        state = await readState(at, desired, record);
      }
      if (!state.current) await createAndStart(at, desired);
      else if (driftOf(state, desired).length > 0) await replaceContainer(at, desired, state.current);
      else await startOrRestart(at, desired, state.current, state.inputs.changed.length > 0);
      // What was there before its start: it may have read something newer, and then reads that again.
      await record.note(at, state.inputs);
    },
  } satisfies Step<ContainerState>;
}

function differencesOf(state: ContainerState, desired: DesiredContainer): Difference[] {
  const { current, previous } = state;
  const { name, spec } = desired;
  const differences: Difference[] = [];
  if (previous) differences.push({ what: previousNameOf(name), from: "left by an interrupted replacement" });
  if (!current) return [...differences, { what: "container", to: `running ${spec.image}` }];
  differences.push(...driftOf(state, desired));
  // A paused container, and one that is about to be restarted, are "running" for Docker as well.
  if (current.State.Status !== "running") {
    differences.push({ what: "state", from: current.State.Status, to: "running" });
  }
  const health = current.State.Running ? healthStatus(current) : undefined;
  if (health !== undefined && health !== "healthy") differences.push({ what: "health", from: health, to: "healthy" });
  return [...differences, ...state.inputs.changed.map(({ path, why }) => ({ what: `restart: ${path} ${why}` }))];
}

/** Starts a container that is as specified, or restarts it where it has to read something again. */
async function startOrRestart(
  at: Writing,
  desired: DesiredContainer,
  { State: { Status, Running } }: ContainerInfo,
  mustReadAgain: boolean,
): Promise<void> {
  const { name } = desired;
  if (Status === "paused") await at.container.write(sh`docker unpause ${name}`);
  if (!Running) await at.container.write(sh`docker start ${name}`);
  else if (mustReadAgain) await at.container.write(sh`docker restart -t ${STOP_TIMEOUT_SECONDS} ${name}`);
  await waitUntilRunning(at, desired);
}

/**
 * No Docker container has this name. One that has it is stopped and removed, and so is what an interrupted replacement
 * has left as `<name>_previous`. Its image is kept, and so are its volumes, even anonymous ones.
 *
 * Throws a `TypeError` for an invalid name.
 *
 * @example
 * ```ts
 * const noPortainer = absent("portainer");
 * ```
 */
export function absent(name: string): Step {
  requireContainerName(name);
  const names = [name, previousNameOf(name)];
  return {
    title: `no container ${name}`,
    async probe({ container }) {
      const output = await container.read(sh`docker container inspect --format '{{json .}}' ${names}`, {
        codes: [0, 1],
      });
      const found = inspectedObjects<ContainerInfo>(output);
      if (found.length + missing(output).length < names.length) throw inspectionFailure(output);
      return found.filter(({ Name }) => names.includes(Name.slice(1)));
    },
    diff: (found) =>
      found.map(({ Name, State, Config }) => ({
        what: `container ${Name.slice(1)}`,
        from: `${State.Status}, ${Config.Image}`,
      })),
    async apply(at, found) {
      const { container } = at;
      for (const { Name, State } of found) {
        const own = Name.slice(1);
        if (State.Running) await container.write(sh`docker stop -t ${STOP_TIMEOUT_SECONDS} ${own}`);
        await removeContainer(at, own);
      }
      await container.write(sh`rm -f ${names.map((one) => startRecordPath("docker", one))}`);
    },
  } satisfies Step<readonly ContainerInfo[]>;
}
