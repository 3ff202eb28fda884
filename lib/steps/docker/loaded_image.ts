/**
 * Docker images that are loaded from an archive on the host.
 *
 * @module
 */

import { failureOf, type Output } from "../../container/container.ts";
import type { Reading, Step, Writing } from "../../step.ts";
import { ExitCode, Failure } from "../../errors.ts";
import type { HostFile } from "../../host/host.ts";
import { sh } from "../../shell.ts";
import { requirePath } from "../support/path.ts";
import { formatBytes, sendingProgress, timeFor } from "../support/transfer.ts";
import { inspectedObjects, lastLine, missing, requireSpace } from "./engine.ts";
import { type ArchivedImage, type ImageArchive, readImageArchive } from "./image_archive.ts";
import { familiarName, type ImageConfig, type ImageInfo, requireReference } from "./image_info.ts";

/** From this size on, in bytes, reading an archive is shown as progress: a compressed one has to be read whole. */
const MIN_PROGRESS_BYTES = 64 * 1024 * 1024;
/** How long loading may take whatever the size of the archive, in milliseconds. */
const MIN_LOAD_TIMEOUT_MS = 10 * 60_000;

/** Where an image is loaded from. */
export interface LoadedImageSpec {
  /**
   * The archive on the host, from `docker save` or a builder, plain or compressed with gzip. The setup declares it in
   * `reads`.
   */
  readonly archive: string;
}

/** Which image is loaded, and from where. */
interface Source {
  readonly reference: string;
  /** The name that the reference stands for, as Docker shows it. */
  readonly name: string;
  readonly path: string;
}

/** What there is of an image. */
interface LoadedState {
  readonly archive: ImageArchive;
  /** The image in the archive. */
  readonly wanted: ArchivedImage;
  /** The image inside that has its name. */
  readonly named: ImageInfo | undefined;
  /** The image inside that has its id. */
  readonly known: ImageInfo | undefined;
}

/**
 * The image in an archive on the host is there under this name; it is loaded where it is missing. It is recognised by
 * its id, which the archive tells, so that nothing is sent again. The only image in an archive can have any name there,
 * or none; one of several has to have this one.
 *
 * The archive is streamed into `docker load`, with constant memory and without a copy inside. Twice its size has to be
 * free. Loading may take 10 minutes, and 1 second more for each 4 MiB. An archive in OCI layout only, without a
 * `manifest.json`, can be loaded only by Docker engines with the containerd image store.
 *
 * Throws a `TypeError` for an invalid name, a name with a digest, and a path that is not absolute.
 *
 * @example
 * ```ts
 * const server = loadedImage("llama.cpp:server-cuda", {
 *   archive: "/usr/local/phoenix_hypervisor/etc/proxmox_docker_images/llama.cpp.tar",
 * });
 * ```
 */
export function loadedImage(reference: string, { archive: path }: LoadedImageSpec): Step {
  requireReference(reference);
  requirePath(path, `load the image "${reference}" from`);
  if (reference.includes("@")) {
    throw new TypeError(`Cannot load "${reference}" from an archive: expected a name with a tag, without a digest`);
  }
  const source = { reference, name: familiarName(reference), path };
  return {
    title: `image ${reference} from ${path}`,
    probe: (at) => readState(at, source),

    diff({ wanted, named, known }) {
      if (named !== undefined && isImage(named, wanted)) return [];
      const from = named === undefined ? {} : { from: shortId(named.Id) };
      return [{ what: known === undefined ? "image" : "name", ...from, to: shortId(known?.Id ?? wanted.ids[0]!) }];
    },

    async apply(at, { archive, wanted, known }) {
      if (known !== undefined) return await tag(at, known.Id, reference);
      const loaded = await load(at, path, archive, wanted);
      if (!wanted.names.includes(source.name) && loaded !== undefined) await tag(at, loaded, reference);
    },
  } satisfies Step<LoadedState>;
}

async function readState(at: Reading, { reference, name, path }: Source): Promise<LoadedState> {
  const file = await requireArchive(at, path);
  if (file.size >= MIN_PROGRESS_BYTES) at.progress(`reading ${formatBytes(file.size)}`);
  const archive = await readImageArchive(file);
  const wanted = selectImage(archive, name, path);
  const output = await at.container.read(
    sh`docker image inspect --format '{{json .}}' ${[reference, ...wanted.ids]}`,
    { codes: [0, 1] },
  );
  const infos = inspectedObjects<ImageInfo>(output);
  if (infos.length + missing(output).length < wanted.ids.length + 1) throw failureOf(output);
  return {
    archive,
    wanted,
    named: infos.find(({ RepoTags }) => RepoTags?.includes(name)),
    known: infos.find((info) => wanted.ids.includes(info.Id)),
  };
}

/** Sends an archive to `docker load`, which answers with the name or id of what it has loaded. */
async function load(
  at: Writing,
  path: string,
  archive: ImageArchive,
  wanted: ArchivedImage,
): Promise<string | undefined> {
  await requireSpace(at, 2 * archive.size);
  const file = await requireArchive(at, path);
  const output = await at.container.write(sh`docker load`, {
    stdin: counted(file, sendingProgress(file.size, (text) => at.progress(text))),
    timeout: timeFor(MIN_LOAD_TIMEOUT_MS, file.size),
    codes: "any",
  });
  // The containerd image store exits with 0 although it could not unpack the image.
  const isUnpacked = !/^Error unpacking image .*/m.test(output.text + output.errorText);
  if (!isUnpacked) await at.container.write(sh`docker image rm -f ${wanted.ids}`, { codes: "any" }).catch(() => {});
  if (output.code !== 0 || !isUnpacked) throw loadFailure(output, path, archive);
  return /^Loaded image(?: ID)?: (\S+)$/m.exec(output.text)?.[1];
}

async function tag({ container }: Writing, source: string, reference: string): Promise<void> {
  await container.write(sh`docker tag ${source} ${reference}`);
}

async function requireArchive({ host }: Reading, path: string): Promise<HostFile> {
  const file = await host.file(path);
  if (file !== undefined) return file;
  throw new Failure(ExitCode.Step, `There is no archive "${path}" on the host`, {
    hint: "Create it where the image is (docker save -o FILE IMAGE), and copy it to the host",
  });
}

/** The image in the archive that is meant. */
function selectImage({ images }: ImageArchive, name: string, path: string): ArchivedImage {
  const named = images.find(({ names }) => names.includes(name));
  if (named !== undefined) return named;
  if (images.length === 1) return images[0]!;
  const all = images.map(({ names, ids }) => names.join(", ") || shortId(ids[0]!)).join("; ");
  throw new Failure(ExitCode.Step, `The archive "${path}" has no image "${name}" but ${images.length} others: ${all}`, {
    hint: "State the name of one of them, or save the image into an archive of its own",
  });
}

/** Whether an image inside is the one in the archive. */
function isImage(info: ImageInfo, wanted: ArchivedImage): boolean {
  if (wanted.ids.includes(info.Id)) return true;
  // The containerd image store gives an image from an old archive, which has no manifest, an id that is not in the
  // archive.
  const { legacy } = wanted;
  return legacy !== undefined && JSON.stringify(legacy.layers) === JSON.stringify(info.RootFS?.Layers ?? []) &&
    runtimeConfigOf(legacy.config) === runtimeConfigOf(info.Config);
}

/** What an image gives to its containers, in a form that can be compared. */
function runtimeConfigOf(config: ImageConfig | null | undefined): string {
  const keys = ["Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "User", "Volumes", "WorkingDir"];
  return JSON.stringify(keys.map((key) => {
    const value = config?.[key] ?? "";
    if (typeof value !== "object") return value;
    const entries = Array.isArray(value) ? value : Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1);
    return entries.length === 0 ? "" : entries;
  }));
}

function loadFailure(output: Output, path: string, { layout }: ImageArchive): Failure {
  // The engine then looks for files of the oldest layout.
  if (layout === "oci" && /docker-import-\d+\/.*: no such file/.test(output.errorText)) {
    return new Failure(
      ExitCode.Step,
      `The archive "${path}" is in OCI layout only, which this Docker engine cannot load`,
      { hint: "Save the image with docker save, or turn on the engine's containerd image store" },
    );
  }
  return failureOf(output, `Cannot load "${path}": ${lastLine(output)}`);
}

/** The content of a file; `onSent` hears how many bytes were taken so far. */
async function* counted(file: HostFile, onSent: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  let sent = 0;
  for await (const chunk of file.chunks()) {
    onSent(sent += chunk.length);
    yield chunk;
  }
}

function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}
