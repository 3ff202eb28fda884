/**
 * The state of a Docker container, found with a single command.
 *
 * @module
 */

import { failureOf, Output } from "../../container/container.ts";
import type { Reading } from "../../step.ts";
import type { Failure } from "../../errors.ts";
import { lines, sh } from "../../shell.ts";
import type { StartInputs, StartRecord } from "../support/start_record.ts";
import type { ContainerInfo } from "./container_info.ts";
import type { DesiredContainer } from "./container_options.ts";
import { inspectedObjects, missing } from "./engine.ts";
import type { ImageInfo } from "./image_info.ts";

/** The state of a container: itself, what an interrupted replacement has left, and the image that it should have. */
export interface ContainerState {
  /** The container, running or not. */
  readonly current: ContainerInfo | undefined;
  /** The old container, where a replacement was interrupted. */
  readonly previous: ContainerInfo | undefined;
  /** The image that it should have. */
  readonly image: ImageInfo | undefined;
  /** What there is at the paths in `restartWith`. */
  readonly inputs: StartInputs;
}

/** The name of a container while it is being replaced. */
export function previousNameOf(name: string): string {
  return `${name}_previous`;
}

/** Finds the state of a container. Throws a {@linkcode Failure} where Docker cannot tell. */
export async function readState(
  at: Reading,
  { name, spec: { image } }: DesiredContainer,
  record: StartRecord,
): Promise<ContainerState> {
  const output = await at.container.read(
    lines(
      sh`docker container inspect --format '{{json .}}' ${[name, previousNameOf(name)]}
docker image inspect --format '{{json .}}' ${image}`,
      record.look,
    ),
    { codes: "any", timeout: record.lookTimeout },
  );
  const objects = inspectedObjects<ContainerInfo | ImageInfo>(output);
  // Docker has to show each of them or say that it is missing; otherwise it could not answer.
  if (objects.length + missing(output).length < 3) {
    throw inspectionFailure(output, `Cannot tell whether the container "${name}" exists: Docker did not say`);
  }
  const containers = objects.filter((object) => "State" in object);
  return {
    current: containers.find(({ Name }) => Name === `/${name}`),
    previous: containers.find(({ Name }) => Name === `/${previousNameOf(name)}`),
    image: objects.find((object): object is ImageInfo => !("State" in object)),
    inputs: record.compare(output, at),
  };
}

/**
 * The failure of an inspection, without its stdout: that has the values of all variables, and some may be secrets of
 * the past.
 */
export function inspectionFailure({ command, code, stderr }: Output, message?: string): Failure {
  return failureOf(new Output(command, { code, stdout: new Uint8Array(), stderr }), message);
}
