/**
 * The state of a Docker container, found with a single command.
 *
 * @module
 */

import { failureOf, Output } from "../../container/container.ts";
import type { Reading, Writing } from "../../step.ts";
import type { Failure } from "../../errors.ts";
import { sh } from "../../shell.ts";
import { concerns } from "../support/path.ts";
import type { ContainerInfo } from "./container_info.ts";
import type { DesiredContainer } from "./container_options.ts";
import { inspectedObjects, missing } from "./engine.ts";
import type { ImageInfo } from "./image_info.ts";

/** Where it is noted what a container has read at its start. */
export const MARKERS = "/var/lib/phoenix_setup/docker";

/** The state of a container: itself, what an interrupted replacement has left, and the image that it should have. */
export interface ContainerState {
  /** The container, running or not. */
  readonly current: ContainerInfo | undefined;
  /** The old container, where a replacement was interrupted. */
  readonly previous: ContainerInfo | undefined;
  /** The image that it should have. */
  readonly image: ImageInfo | undefined;
  /** Of each path in `restartWith`, the hash of its content. */
  readonly content: readonly (readonly [path: string, hash: string])[];
  /** What it has read, as the marker says: `hash path`. */
  readonly read: readonly string[];
  /** The paths in `restartWith` whose content steps before this one would change, in check mode. */
  readonly predicted: readonly string[];
}

/** The name of a container while it is being replaced. */
export function previousNameOf(name: string): string {
  return `${name}_previous`;
}

/** Finds the state of a container. Throws a {@linkcode Failure} where Docker cannot tell. */
export async function readState(
  { container, predicted }: Reading,
  { name, spec: { image, restartWith = [] } }: DesiredContainer,
): Promise<ContainerState> {
  const marker = `${MARKERS}/${name}`;
  const output = await container.read(
    sh`docker container inspect --format '{{json .}}' ${[name, previousNameOf(name)]}
docker image inspect --format '{{json .}}' ${image}
${
      restartWith.length === 0 ? sh`:` : sh`sed 's/^/read /' ${marker} 2>/dev/null
for p in ${restartWith}; do
  h=$(find -H "$p" -type f -exec sha256sum {} + 2>/dev/null | sort | sha256sum) && echo "content \${h%% *} $p"
done`
    }`,
    { codes: "any" },
  );
  const objects = inspectedObjects<ContainerInfo | ImageInfo>(output);
  // Docker has to show each of them or say that it is missing; otherwise it could not answer.
  if (objects.length + missing(output).length < 3) {
    throw inspectionFailure(output, `Cannot tell whether the container "${name}" exists: Docker did not say`);
  }
  const containers = objects.filter((object) => "State" in object);
  const lines = output.text.split("\n");
  const after = (word: string) => lines.filter((line) => line.startsWith(word)).map((line) => line.slice(word.length));
  return {
    current: containers.find(({ Name }) => Name === `/${name}`),
    previous: containers.find(({ Name }) => Name === `/${previousNameOf(name)}`),
    image: objects.find((object): object is ImageInfo => !("State" in object)),
    content: after("content ").map((line) => [line.slice(65), line.slice(0, 64)]),
    read: after("read "),
    predicted: restartWith.filter((input) => predicted.some((change) => change.content && concerns(input, change))),
  };
}

/**
 * The failure of an inspection, without its stdout: that has the values of all variables, and some may be secrets of
 * the past.
 */
export function inspectionFailure({ command, code, stderr }: Output, message?: string): Failure {
  return failureOf(new Output(command, { code, stdout: new Uint8Array(), stderr }), message);
}

/** The paths whose content is another than the container has read. */
export function unread({ content, read }: ContainerState): string[] {
  return content.filter(([path, hash]) => !read.includes(`${hash} ${path}`)).map(([path]) => path);
}

/**
 * Notes what the container has read: what was there before its start. It may have read something newer, and then reads
 * it again.
 */
export async function noteRead(at: Writing, name: string, { content }: ContainerState): Promise<void> {
  const marker = `${MARKERS}/${name}`;
  const seen = content.map(([path, hash]) => `${hash} ${path}\n`).join("");
  await at.container.write(
    sh`mkdir -p ${MARKERS} && rm -f ${`${marker}.new`} && (umask 077; cat >${`${marker}.new`}) &&
mv -f ${`${marker}.new`} ${marker}`,
    { stdin: seen },
  );
}
