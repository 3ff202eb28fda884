/**
 * Docker containers are created, replaced and removed. One that runs is given up only for another one that runs.
 *
 * @module
 */

import { failureOf } from "../../container/container.ts";
import type { Writing } from "../../step.ts";
import { ExitCode, Failure, messageOf } from "../../errors.ts";
import { sh } from "../../shell.ts";
import { driftOf } from "./container_drift.ts";
import { type ContainerInfo, isAnonymous } from "./container_info.ts";
import { createCommand, type DesiredContainer } from "./container_options.ts";
import { type ContainerState, previousNameOf } from "./container_state.ts";
import { missing, requireSpace } from "./engine.ts";
import { waitUntilRunning } from "./running.ts";

/** How long a container may take to stop before it is killed, in seconds. */
export const STOP_TIMEOUT_SECONDS = 30;
/** How often it is tried to remove a container that Docker is already removing. */
const MAX_REMOVAL_ATTEMPTS = 20;
/** How long to wait between two of these attempts, in milliseconds. */
const REMOVAL_INTERVAL_MS = 500;

/** Creates and starts a container that does not exist yet. One that does not run is removed again. */
export async function createAndStart(at: Writing, desired: DesiredContainer): Promise<void> {
  const { name } = desired;
  await requireSpace(at);
  try {
    await create(at, desired);
    await at.container.write(sh`docker start ${name}`);
    await waitUntilRunning(at, desired);
  } catch (error) {
    // The next run must not find a container that never ran. Why it does not run matters more than why it could not be
    // removed.
    await at.container.write(sh`docker rm -f ${name}`, { codes: "any" }).catch(() => {});
    throw error;
  }
}

/**
 * Replaces a container. The old one is renamed and stopped, and removed when the new one runs; if that does not run,
 * the old one is put back as it was. Throws a {@linkcode Failure} for a container with an anonymous volume, whose data
 * would be lost.
 */
export async function replaceContainer(at: Writing, desired: DesiredContainer, old: ContainerInfo): Promise<void> {
  const { name } = desired;
  const previous = previousNameOf(name);
  requireNoAnonymousVolume(name, old);
  await requireSpace(at);
  await at.container.write(sh`docker rename ${name} ${previous}`);
  try {
    await create(at, desired);
    await at.container.write(sh`docker stop -t ${STOP_TIMEOUT_SECONDS} ${previous}`);
    await at.container.write(sh`docker start ${name}`);
    await waitUntilRunning(at, desired);
  } catch (error) {
    await putBack(at, name, old, error);
    throw error;
  }
  await removeContainer(at, previous);
}

/**
 * Finishes or undoes a replacement that was interrupted, and has left the old container under its other name: a new
 * container that is as specified and runs stays; otherwise the old one is put back.
 */
export async function finishReplacement(
  at: Writing,
  desired: DesiredContainer,
  state: ContainerState,
): Promise<void> {
  const { name } = desired;
  const previous = previousNameOf(name);
  if (state.current && driftOf(state, desired).length === 0) {
    try {
      await at.container.write(sh`docker stop -t ${STOP_TIMEOUT_SECONDS} ${previous}`);
      await at.container.write(sh`docker start ${name}`);
      await waitUntilRunning(at, desired);
      await at.container.write(sh`docker rm -f ${previous}`);
      return;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      at.progress(`undoing the interrupted replacement, as the new container does not run (${error.message})`);
    }
  }
  if (state.current) await at.container.write(sh`docker rm -f ${name}`);
  await at.container.write(sh`docker rename ${previous} ${name}`);
  await at.container.write(sh`docker start ${name}`);
}

/**
 * Removes a container. Docker itself removes one that was created with `--rm` when it has ended, which takes a moment.
 */
export async function removeContainer({ container, pause }: Writing, name: string): Promise<void> {
  for (let attempt = 1;; attempt++) {
    // Its restart policy may have started it again meanwhile.
    const output = await container.write(sh`docker rm -f ${name}`, { codes: [0, 1] });
    if (output.code === 0 || missing(output).length > 0) return;
    if (!/already in progress/.test(output.errorText) || attempt === MAX_REMOVAL_ATTEMPTS) throw failureOf(output);
    await pause(REMOVAL_INTERVAL_MS);
  }
}

async function create(at: Writing, { name, spec }: DesiredContainer): Promise<void> {
  const { create, stdin, connect } = createCommand(name, spec);
  await at.container.write(create, stdin === undefined ? {} : { stdin });
  for (const script of connect) await at.container.write(script);
}

function requireNoAnonymousVolume(name: string, old: ContainerInfo): void {
  const anonymous = old.Mounts.find(isAnonymous);
  // One that was never started has no data.
  if (anonymous === undefined || old.State.Status === "created") return;
  throw new Failure(
    ExitCode.Step,
    `Cannot replace the container "${name}" as its data at "${anonymous.Destination}" is in an anonymous volume, ` +
      "which the new container would not have",
    {
      hint: `Copy the data out (docker cp), specify a named volume for "${anonymous.Destination}", ` +
        "and remove the container by hand",
    },
  );
}

async function putBack(at: Writing, name: string, old: ContainerInfo, why: unknown): Promise<void> {
  const previous = previousNameOf(name);
  let there = previous;
  try {
    await at.container.write(sh`docker rm -f ${name}`, { codes: [0, 1] });
    await at.container.write(sh`docker rename ${previous} ${name}`);
    there = name;
    if (old.State.Running) await at.container.write(sh`docker start ${name}`);
  } catch (error) {
    throw new Failure(
      ExitCode.Step,
      `The new container "${name}" does not run (${messageOf(why)}), and the old one could not be put back ` +
        `(${messageOf(error)}): it still exists as "${there}"`,
      { hint: "Run this again: it finishes or undoes the replacement", cause: error },
    );
  }
}
