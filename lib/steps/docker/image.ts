/**
 * Docker images: pulled from a registry, or loaded from an archive on the host.
 *
 * @module
 */

import { failureOf, type Output } from "../../container/container.ts";
import { head } from "../../text.ts";
import type { Reading, Step, Writing } from "../../step.ts";
import { ExitCode, Failure } from "../../errors.ts";
import type { HostFile } from "../../host/host.ts";
import { Secret } from "../../secret.ts";
import { type Script, sh } from "../../shell.ts";
import { formatDuration } from "../../time.ts";
import { requirePath } from "../support/path.ts";
import { formatBytes, timeFor } from "../support/transfer.ts";
import { type ArchivedImage, type ImageArchive, readImageArchive } from "./image_archive.ts";
import {
  familiarName,
  type ImageConfig,
  type ImageInfo,
  inspectedObjects,
  inspectImage,
  missing,
  requireReference,
  requireSpace,
} from "./engine.ts";

/** How long a pull may take, with all of its tries, in milliseconds. */
const PULL_TIMEOUT = 60 * 60_000;
/** How long to wait before the second try and before the third, in milliseconds. */
const BACK_OFF = [2_000, 10_000];
/** What Docker and its registries say of troubles that pass. A limit of pulls lasts for hours, so it is none of them. */
const TRANSIENT = new RegExp(
  [
    "timeout|timed out|deadline exceeded|request canceled",
    "connection (?:refused|reset)|broken pipe|unexpected EOF|: EOF$|use of closed network connection",
    "no such host|temporary failure|server misbehaving|network is unreachable|no route to host",
    "received unexpected HTTP status: 5\\d\\d|50[0234] (?:internal server error|bad gateway|service unavailable|gateway time)",
  ].join("|"),
  "im",
);

/** How a registry is logged in to for a pull. */
export interface Login {
  /** Who logs in. */
  readonly username: string;
  /** The password or token. */
  readonly token: Secret;
  /** The registry. Default: the one in the image's name, which is Docker Hub where it has none. */
  readonly registry?: string;
}

/** How an image is got. */
export interface ImageSpec {
  /** The login that its registry wants. Default: none. */
  readonly login?: Login;
}

/**
 * An image is there, pulled where it is not. An image that is there is not pulled again: state a tag that does not move, or a digest.
 *
 * 512 MiB have to be free. A failure of the network that may pass is tried again after 2 and after 10 seconds; all of it may take an
 * hour. A login lasts for the pull: its token travels on stdin, and Docker keeps it in a private folder in memory that is removed
 * with the end of the command.
 *
 * Throws a `TypeError` for what is no name of an image.
 *
 * @example
 * ```ts
 * import { setup } from "../../run/setup.ts";
 *
 * const server = setup(910, "server", async ({ ensure, secret }) => {
 *   await ensure(image("portainer/portainer-ce:2.33.1"));
 *
 *   const token = await secret("registry token", { file: "/usr/local/phoenix_hypervisor/etc/phoenix_docker_token.conf" });
 *   await ensure(image("10.0.0.99:5000/models/server:3", { login: { username: "phoenix", token } }));
 * });
 * ```
 */
export function image(reference: string, spec: ImageSpec = {}): Step {
  requireReference(reference);
  if (spec.login && !/^[^\s:]+$/.test(spec.login.username)) {
    throw new TypeError(
      `Cannot log in to a registry as "${spec.login.username}": expected a name without ":" and spaces`,
    );
  }
  return {
    title: `image ${reference}`,
    probe: ({ container }) => inspectImage(container, reference),
    diff: (info) => info === undefined ? [{ what: "image", to: reference }] : [],
    apply: (at) => pull(at, reference, spec.login),
  } satisfies Step<ImageInfo | undefined>;
}

/** Pulls an image, after a look whether there is room for it. */
export async function pull(at: Writing, reference: string, login?: Login): Promise<void> {
  await requireSpace(at);
  at.progress("pulling");
  const script = login === undefined ? sh`docker pull ${reference}` : pullWithLogin(reference, login);
  const started = performance.now();
  for (let tries = 1;; tries++) {
    const output = await at.container.write(script, {
      timeout: Math.max(PULL_TIMEOUT - (performance.now() - started), 1_000),
      codes: "any",
      onOutput: (chunk) => at.progress(head(new TextDecoder().decode(chunk).trim().split("\n").at(-1)!, 80)),
      ...(login === undefined ? {} : { stdin: login.token.reveal() }),
    });
    if (output.code === 0) return;
    const pause = TRANSIENT.test(output.errorText) ? BACK_OFF[tries - 1] : undefined;
    if (pause === undefined) {
      const what = login !== undefined && output.code === LOGIN_FAILED
        ? `log in to ${login.registry ?? registryOf(reference) ?? "Docker Hub"} as "${login.username}"`
        : `pull "${reference}"`;
      const often = tries > 1 ? `tried ${tries} times, last ` : "";
      throw failureOf(output, `Cannot ${what} (${often}exit code ${output.code}): ${lastLine(output)}`);
    }
    at.progress(`try ${tries} failed (${lastLine(output)}), once more in ${formatDuration(pause)}`);
    await at.pause(pause);
  }
}

/** The exit code by which {@linkcode pullWithLogin} tells that it was the login that failed. */
const LOGIN_FAILED = 3;

function pullWithLogin(reference: string, login: Login): Script {
  const registry = login.registry ?? registryOf(reference);
  const options = ["--username", login.username, "--password-stdin", ...(registry === undefined ? [] : [registry])];
  // The folder is in memory where there is any, and goes with the shell; what a kill -9 leaves goes with the next login. Without
  // an entry in its configuration Docker would hand the token to a password store, where one is installed, and it would stay there.
  return sh`rm -rf /dev/shm/phoenix_setup_docker.* /run/phoenix_setup_docker.* /tmp/phoenix_setup_docker.*
for f in /dev/shm /run /tmp; do d=$(mktemp -d "$f/phoenix_setup_docker.XXXXXX" 2>/dev/null) && break; done
[ -d "$d" ] || { echo 'No folder for the login can be made' >&2; exit ${LOGIN_FAILED}; }
trap 'rm -rf "$d"' EXIT
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
export DOCKER_CONFIG="$d"
echo '{"auths":{"localhost":{}}}' >"$d/config.json"
docker login ${options} >/dev/null || exit ${LOGIN_FAILED}
docker pull ${reference} </dev/null`;
}

/** The registry in the name of an image; `undefined` for Docker Hub. */
function registryOf(reference: string): string | undefined {
  const [first = "", ...rest] = reference.split("/");
  const named = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  return named && !/^(?:index\.)?docker\.io$/.test(first) ? first : undefined;
}

function lastLine(output: Output): string {
  return head((output.errorText || output.text).split("\n").at(-1)!, 300) || `exit code ${output.code}`;
}

/** Where an image is loaded from. */
export interface LoadedImageSpec {
  /** The archive on the host, from `docker save` or a builder, as it is or compressed by gzip. The setup declares it: `reads`. */
  readonly archive: string;
}

/** What there is of an image: in the archive, under the wanted name, and under its own id. */
interface LoadedState {
  readonly archive: ImageArchive;
  readonly wanted: ArchivedImage;
  readonly named: ImageInfo | undefined;
  readonly known: ImageInfo | undefined;
}

/**
 * The name stands for the image of this archive on the host, loaded where it does not. The image is recognised by its id, which the
 * archive tells, so that nothing is sent again. An archive with a single image may have it under any name or none; one with several
 * has to have it under this one.
 *
 * The archive is streamed into `docker load`, with flat memory and without a copy inside, after a look whether twice its size is
 * free. That may take 10 minutes and 1 second more for each 4 MiB. Docker engines without the containerd image store load no
 * archives that are only in OCI layout, without a `manifest.json`.
 *
 * Throws a `TypeError` for what is no name of an image, or one with a digest.
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
  const name = familiarName(reference);

  async function probe(at: Reading): Promise<LoadedState> {
    const file = await requireArchive(at, path);
    // Of a compressed archive everything has to be read.
    if (file.size > 64 * 1024 * 1024) at.progress(`reading ${formatBytes(file.size)}`);
    const archive = await readImageArchive(file);
    const wanted = choose(archive, name, path);
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

  return {
    title: `image ${reference} from ${path}`,
    probe,

    diff({ wanted, named, known }) {
      if (named !== undefined && isImage(named, wanted)) return [];
      const from = named === undefined ? {} : { from: shortId(named.Id) };
      return [{ what: known === undefined ? "image" : "name", ...from, to: shortId(known?.Id ?? wanted.ids[0]!) }];
    },

    async apply(at, { archive, wanted, known }) {
      if (known !== undefined) return await tag(at, known.Id, reference);
      await requireSpace(at, 2 * archive.size);
      const file = await requireArchive(at, path);
      const output = await at.container.write(sh`docker load`, {
        stdin: counted(file, (text) => at.progress(text)),
        timeout: timeFor(10 * 60_000, file.size),
        codes: "any",
      });
      // The containerd image store exits with 0 although it could not unpack the image.
      const unpacking = /^Error unpacking image .*/m.exec(output.text + output.errorText)?.[0];
      if (output.code !== 0 || unpacking !== undefined) {
        if (unpacking !== undefined) {
          await at.container.write(sh`docker image rm -f ${wanted.ids}`, { codes: "any" }).catch(() => {});
        }
        throw loadFailure(output, path, archive);
      }
      const loaded = /^Loaded image(?: ID)?: (\S+)$/m.exec(output.text)?.[1];
      if (!wanted.names.includes(name) && loaded !== undefined) await tag(at, loaded, reference);
    },
  } satisfies Step<LoadedState>;
}

async function tag(at: Writing, source: string, reference: string): Promise<void> {
  await at.container.write(sh`docker tag ${source} ${reference}`);
}

async function requireArchive({ host }: Reading, path: string): Promise<HostFile> {
  const file = await host.file(path);
  if (file !== undefined) return file;
  throw new Failure(ExitCode.Step, `There is no archive "${path}" on the host`, {
    hint: `Put it there: docker save -o ${path} IMAGE, where the image is`,
  });
}

/** The image of the archive that is meant. */
function choose({ images }: ImageArchive, name: string, path: string): ArchivedImage {
  const named = images.find(({ names }) => names.includes(name));
  if (named !== undefined) return named;
  if (images.length === 1) return images[0]!;
  const all = images.map(({ names, ids }) => names.join(", ") || shortId(ids[0]!)).join("; ");
  throw new Failure(ExitCode.Step, `The archive "${path}" has no image "${name}" but ${images.length} others: ${all}`, {
    hint: "State the name of one of them, or save the image into an archive of its own",
  });
}

/** Whether an image inside is the one of the archive. */
function isImage(info: ImageInfo, wanted: ArchivedImage): boolean {
  if (wanted.ids.includes(info.Id)) return true;
  // The containerd image store gives an image from an old archive, which has no manifest, an id that is not in there.
  const { legacy } = wanted;
  return legacy !== undefined && JSON.stringify(legacy.layers) === JSON.stringify(info.RootFS?.Layers ?? []) &&
    runs(legacy.config) === runs(info.Config);
}

/** What a container of an image gets from it, in a form that can be compared. */
function runs(config: ImageConfig | null | undefined): string {
  const keys = ["Cmd", "Entrypoint", "Env", "ExposedPorts", "Labels", "User", "Volumes", "WorkingDir"];
  return JSON.stringify(keys.map((key) => {
    const value = config?.[key] ?? "";
    if (typeof value !== "object") return value;
    const entries = Array.isArray(value) ? value : Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1);
    return entries.length === 0 ? "" : entries;
  }));
}

function loadFailure(output: Output, path: string, { layout }: ImageArchive): Failure {
  // It looks for files of the oldest layout then.
  if (layout === "oci" && /docker-import-\d+\/.*: no such file/.test(output.errorText)) {
    return new Failure(
      ExitCode.Step,
      `The archive "${path}" is in OCI layout only, which this Docker engine cannot load`,
      { hint: "Save the image with docker save, or turn on the engine's containerd image store" },
    );
  }
  return failureOf(output, `Cannot load "${path}": ${lastLine(output)}`);
}

/** The content of a file; `progress` hears how much of it was taken so far. */
async function* counted(file: HostFile, progress: (text: string) => void): AsyncGenerator<Uint8Array> {
  let sent = 0;
  let percent = -1;
  for await (const chunk of file.chunks()) {
    sent += chunk.length;
    const now = Math.floor(sent * 100 / file.size);
    if (now !== percent) progress(`${formatBytes(sent)} of ${formatBytes(file.size)} sent`);
    percent = now;
    yield chunk;
  }
}

function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}
