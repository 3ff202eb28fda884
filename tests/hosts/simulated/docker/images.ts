/**
 * Images: their names, pulling them from a registry, and the archives of `docker save` and `docker load`.
 *
 * @module
 */

import { Exit, Refusal } from "./flags.ts";
import { type Behaviour, type ImageConfig, type KnownImage, knownRegistry, type Registry } from "./registry.ts";
import {
  changeState,
  type Container,
  exists,
  type Image,
  knobs,
  now,
  sleep,
  type State,
  stateDirectory,
  takePullFault,
  textOf,
} from "./state.ts";

/** The name of an image, taken apart. */
export interface Reference {
  /** `docker.io` if none is said. */
  registry: string;
  /** As the registry calls it: `library/busybox`. */
  path: string;
  /** As people say it: `busybox`, `ghcr.io/owner/name`. */
  name: string;
  /** Empty if a digest is said instead. */
  tag: string;
  digest: string;
  /** As people say it, with tag or digest. */
  familiar: string;
  /** Whether a tag or digest was said. */
  complete: boolean;
}

/** Takes the name of an image apart; throws what Docker says of a name that is none. */
export function reference(text: string): Reference {
  const [, name = "", tag, digest] = /^(.*?)(?::([\w][\w.-]{0,127}))?(?:@([a-z0-9]+:[0-9a-f]{64}))?$/s.exec(text) ?? [];
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isRegistry = /[.:]/.test(first) || first === "localhost";
  const rest = isRegistry ? name.slice(slash + 1) : name;
  const registry = isRegistry && first !== "index.docker.io" ? first : "docker.io";
  const path = registry === "docker.io" && !rest.includes("/") ? `library/${rest}` : rest;
  if (path !== path.toLowerCase()) {
    throw new Error(`invalid reference format: repository name (${path}) must be lowercase`);
  }
  if (!/^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/.test(path)) {
    throw new Error("invalid reference format");
  }
  const familiarName = registry === "docker.io" ? path.replace(/^library\//, "") : `${registry}/${path}`;
  const parts = { registry, path, name: familiarName, complete: tag !== undefined || digest !== undefined };
  if (digest !== undefined) return { ...parts, tag: tag ?? "", digest, familiar: `${familiarName}@${digest}` };
  return { ...parts, tag: tag ?? "latest", digest: "", familiar: `${familiarName}:${tag ?? "latest"}` };
}

/** The image of a name, an id, or the beginning of an id. */
export function findImage(state: State, text: string): Image | undefined {
  const id = text.replace(/^sha256:/, "");
  if (/^[0-9a-f]{64}$/.test(id)) return state.images[`sha256:${id}`];
  const named = text.startsWith("sha256:") ? undefined : byName(state, text);
  if (named !== undefined) return named;
  if (!/^[0-9a-f]+$/.test(id)) return undefined;
  const begun = Object.values(state.images).filter(({ Id }) => Id.startsWith(`sha256:${id}`));
  return begun.length === 1 ? begun[0] : undefined;
}

function byName(state: State, text: string): Image | undefined {
  try {
    const { familiar, digest } = reference(text);
    return state.images[(digest === "" ? state.tags : state.digests)[familiar] ?? ""];
  } catch {
    return undefined;
  }
}

/** The image of a name or id; throws Docker's `No such image`. */
export function requireImage(state: State, text: string): Image {
  const image = findImage(state, text);
  if (image !== undefined) return image;
  if (/^sha256:[0-9a-f]{1,64}$/.test(text)) throw new Refusal(`No such image: ${text}`);
  let shown: string;
  try {
    shown = reference(text).familiar;
  } catch (error) {
    throw new Refusal(error instanceof Error ? error.message : text);
  }
  throw new Refusal(`No such image: ${shown}`);
}

/** The names of an image that are tags, such as `busybox:latest`. */
export function tagsOf(state: State, image: Image): string[] {
  return Object.keys(state.tags).filter((tag) => state.tags[tag] === image.Id).sort();
}

/** The names of an image that are digests, such as `busybox@sha256:…`. */
export function digestsOf(state: State, image: Image): string[] {
  return Object.keys(state.digests).filter((digest) => state.digests[digest] === image.Id).sort();
}

async function sha256(data: Uint8Array<ArrayBuffer> | string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", typeof data === "string" ? new TextEncoder().encode(data) : data);
  return `sha256:${Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// -- Registry --------------------------------------------------------------------------------------------------------------

/** Files of an image: its configuration, whose hash is the image's id, and its layer. */
interface Blobs {
  id: string;
  config: string;
  layer: Uint8Array<ArrayBuffer>;
  layerDigest: string;
  /** The digest of its manifest in a registry. */
  digest: string;
}

/** What a layer made by the stand-in has: the rest of an image that its configuration does not tell. */
interface LayerContent {
  size: number;
  behaviour: Behaviour;
}

const layerFile = "docker-stand-in.json";

async function blobsOf({ config, behaviour, size, created }: KnownImage): Promise<Blobs> {
  const content: LayerContent = { size, behaviour };
  const layer = tar([{ name: layerFile, data: new TextEncoder().encode(JSON.stringify(content)) }]);
  const layerDigest = await sha256(layer);
  const text = JSON.stringify({
    architecture: "amd64",
    config,
    created,
    history: [{ created, created_by: "docker stand-in" }],
    os: "linux",
    rootfs: { type: "layers", diff_ids: [layerDigest] },
  });
  const id = await sha256(text);
  return { id, config: text, layer, layerDigest, digest: await sha256(`manifest of ${id}`) };
}

function registry(): Registry {
  const added = JSON.parse(textOf(`${stateDirectory}/registry.json`) ?? '{"images":{}}') as Registry;
  return { images: { ...knownRegistry.images, ...added.images }, logins: added.logins ?? {} };
}

/** The name that Docker's configuration file has for a registry. */
export function credentialKey(registry: string): string {
  return registry === "docker.io" ? "https://index.docker.io/v1/" : registry;
}

/** The client's configuration file, where `docker login` keeps the credentials. */
export function clientConfigFile(): string {
  return `${Deno.env.get("DOCKER_CONFIG") ?? `${Deno.env.get("HOME") ?? "/root"}/.docker`}/config.json`;
}

/** Whether these are credentials of the registry. */
export function isLogin(name: string, user: string, password: string): boolean {
  return registry().logins?.[name]?.[user] === password;
}

function isLoggedIn(name: string): boolean {
  const config = JSON.parse(textOf(clientConfigFile()) ?? "{}") as { auths?: Record<string, { auth?: string }> };
  const [user = "", ...password] = atob(config.auths?.[credentialKey(name)]?.auth ?? "").split(":");
  return isLogin(name, user, password.join(":"));
}

/** The texts of a registry that cannot be reached. */
export async function throwNetworkFault(registry: string): Promise<void> {
  const fault = await takePullFault();
  const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
  const cause = fault === "network"
    ? `dial tcp: lookup ${host}: no such host`
    : fault === "timeout"
    ? "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)"
    : undefined;
  if (cause !== undefined) throw new Refusal(`Get "https://${host}/v2/": ${cause}`);
  if (fault === "rate limit") {
    throw new Refusal(
      "toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit",
    );
  }
}

/** Pulls an image; `progress` gets the lines that Docker prints meanwhile. */
export async function pull(wanted: Reference, progress: (line: string) => void): Promise<void> {
  await throwNetworkFault(wanted.registry);
  const known = registry();
  const [image, blobs] = await findInRegistry(known, wanted);
  const ids = [blobs.layerDigest.slice(-12)];
  progress(`${wanted.digest === "" ? wanted.tag : wanted.familiar}: Pulling from ${wanted.path}`);
  const present = await changeState((state) => state.images[blobs.id] !== undefined);
  if (!present) {
    for (const id of ids) progress(`${id}: Pulling fs layer`);
    await sleep(knobs().pull?.delay ?? 0);
    for (const id of ids) progress(`${id}: Verifying Checksum\n${id}: Download complete`);
    // This comes out of the stream of the pull, without the prefix of an answer.
    if (knobs().noSpace) {
      throw new Error("failed to register layer: write /usr/lib/x86_64-linux-gnu/libc.so.6: no space left on device");
    }
    for (const id of ids) progress(`${id}: Pull complete`);
  }
  progress(`Digest: ${blobs.digest}`);
  await changeState((state) => {
    state.images[blobs.id] ??= imageOf(blobs, image.config, image.created, {
      size: image.size,
      behaviour: image.behaviour,
    });
    storeBlob(blobs.id, new TextEncoder().encode(blobs.config));
    storeBlob(blobs.layerDigest, blobs.layer);
    if (wanted.digest === "") state.tags[wanted.familiar] = blobs.id;
    state.digests[`${wanted.name}@${blobs.digest}`] = blobs.id;
  });
  progress(`Status: ${present ? "Image is up to date" : "Downloaded newer image"} for ${wanted.familiar}`);
}

async function findInRegistry({ images }: Registry, wanted: Reference): Promise<[KnownImage, Blobs]> {
  const { registry, name, path, tag, digest, familiar } = wanted;
  const tags = Object.entries(images).filter(([key, image]) => image !== null && reference(key).name === name) as [
    string,
    KnownImage,
  ][];
  const isPrivate = tags.some(([, image]) => image.private);
  if (
    tags.length === 0 && registry !== "docker.io" &&
    !Object.keys(images).some((key) => reference(key).registry === registry)
  ) {
    throw new Refusal(`Get "https://${registry}/v2/": dial tcp: lookup ${registry}: no such host`);
  }
  if (tags.length === 0 || (isPrivate && !isLoggedIn(registry))) {
    throw new Refusal(
      registry === "docker.io"
        ? `pull access denied for ${name}, repository does not exist or may require 'docker login': denied: requested access to the resource is denied`
        : `Head "https://${registry}/v2/${path}/manifests/${digest || tag}": ${isPrivate ? "unauthorized" : "denied"}`,
    );
  }
  for (const [key, image] of tags) {
    if (digest === "" && reference(key).tag !== tag) continue;
    const blobs = await blobsOf(image);
    if (digest === "" || blobs.digest === digest) return [image, blobs];
  }
  throw new Refusal(`manifest for ${familiar} not found: manifest unknown: manifest unknown`);
}

function imageOf(
  { id, layerDigest }: { id: string; layerDigest: string },
  Config: ImageConfig,
  Created: string,
  content: LayerContent,
): Image {
  return {
    Id: id,
    Created,
    Config,
    Architecture: "amd64",
    Os: "linux",
    Size: content.size,
    Layers: [layerDigest],
    LastTagTime: now(),
    behaviour: content.behaviour,
  };
}

// -- Removing ---------------------------------------------------------------------------------------------------------------

/** `docker image rm`: takes a name away, or the image with its last one. The answer are the lines that Docker prints. */
export function removeImage(state: State, text: string, force: boolean): string[] {
  const image = requireImage(state, text);
  const users = Object.values(state.containers).filter((container) => container.Image === image.Id);
  const tags = tagsOf(state, image);
  const digests = digestsOf(state, image);
  const lines: string[] = [];
  const byId = image.Id.replace(/^sha256:/, "").startsWith(text.replace(/^sha256:/, ""));
  const names = byId ? [...tags, ...digests] : [reference(text).familiar];
  if (byId && new Set(names.map((name) => reference(name).name)).size > 1 && !force) {
    throw new Refusal(
      `conflict: unable to delete ${short(image.Id)} (must be forced) - image is referenced in multiple repositories`,
    );
  }
  const last = byId || tags.length + (tags.includes(names[0] ?? "") ? 0 : digests.length) <= 1;
  const user = users[0];
  if (user !== undefined && last) {
    const running = user.State.Status === "running";
    const id = short(user.Id);
    if (byId && (running || !force)) {
      throw new Refusal(
        running
          ? `conflict: unable to delete ${
            short(image.Id)
          } (cannot be forced) - image is being used by running container ${id}`
          : `conflict: unable to delete ${
            short(image.Id)
          } (must be forced) - image is being used by stopped container ${id}`,
      );
    }
    if (!byId && !force) {
      throw new Refusal(
        `conflict: unable to remove repository reference "${text}" (must force) - container ${id} is using its referenced image ${
          short(image.Id)
        }`,
      );
    }
  }
  const untag = (name: string) => {
    delete state.tags[name];
    delete state.digests[name];
    lines.push(`Untagged: ${name}`);
  };
  names.forEach(untag);
  if (tagsOf(state, image).length === 0 && last) digestsOf(state, image).forEach(untag);
  // The digest of a repository goes with the repository's last tag.
  for (const digest of digestsOf(state, image)) {
    if (
      tags.includes(names[0] ?? "") &&
      !tagsOf(state, image).some((tag) => reference(tag).name === reference(digest).name)
    ) untag(digest);
  }
  // A running container keeps the image, which then has no name.
  const kept = users.some(({ State }) => State.Status === "running");
  if (!kept && tagsOf(state, image).length + digestsOf(state, image).length === 0) {
    delete state.images[image.Id];
    lines.push(`Deleted: ${image.Id}`);
    if (user === undefined) lines.push(...image.Layers.toReversed().map((layer) => `Deleted: ${layer}`));
  }
  return lines;
}

/** The twelve digits that stand for an id. */
export function short(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}

/** The image that a container was made from, as `docker ps` names it: by its id where the name is gone or another's. */
export function imageShown(state: State, container: Container): string {
  const { Image, name } = { Image: container.Config.Image, name: findImage(state, container.Config.Image) };
  if (name?.Id !== container.Image) return short(container.Image);
  return Image.includes("@") ? Image.replace(/@.*$/, "") : Image;
}

// -- Archives ---------------------------------------------------------------------------------------------------------------

interface TarFile {
  name: string;
  data: Uint8Array<ArrayBuffer>;
}

function tar(files: TarFile[]): Uint8Array<ArrayBuffer> {
  const blocks = files.map(({ data }) => 512 + Math.ceil(data.length / 512) * 512);
  const archive = new Uint8Array(blocks.reduce((sum, size) => sum + size, 1024));
  let at = 0;
  files.forEach(({ name, data }, index) => {
    const header = archive.subarray(at, at + 512);
    const write = (text: string, offset: number) => header.set(new TextEncoder().encode(text), offset);
    const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0");
    write(name, 0);
    // Nobody's time, so that the same files make the same archive.
    write(
      `${octal(0o644, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(data.length, 11)}\0${octal(0, 11)}\0        0`,
      100,
    );
    write("ustar\x0000", 257);
    write(`${octal(header.reduce((sum, byte) => sum + byte, 0), 6)}\0 `, 148);
    archive.set(data, at + 512);
    at += blocks[index] ?? 0;
  });
  return archive;
}

/** The files of an archive by name; throws what Docker says of a damaged one. */
function untar(archive: Uint8Array<ArrayBuffer>): Map<string, Uint8Array<ArrayBuffer>> {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).replace(/\0.*$/s, "");
  let longName: string | undefined;
  for (let at = 0;;) {
    if (at + 512 > archive.length) throw new Exit(1, "unexpected EOF");
    const header = archive.subarray(at, at + 512);
    if (header.every((byte) => byte === 0)) return files;
    const sum = header.reduce((sum, byte, index) => sum + (index >= 148 && index < 156 ? 32 : byte), 0);
    if (sum !== Number.parseInt(text(header.subarray(148, 156)), 8)) {
      throw new Exit(1, "archive/tar: invalid tar header");
    }
    const size = Number.parseInt(text(header.subarray(124, 136)) || "0", 8);
    const data = archive.subarray(at + 512, at + 512 + size);
    if (data.length < size) throw new Exit(1, "unexpected EOF");
    const kind = text(header.subarray(156, 157));
    const prefix = text(header.subarray(257, 262)) === "ustar" ? text(header.subarray(345, 500)) : "";
    const name = longName ?? `${prefix === "" ? "" : `${prefix}/`}${text(header.subarray(0, 100))}`;
    longName = undefined;
    if (kind === "L") longName = text(data);
    else if (kind === "x") longName = /(?:^|\n)\d+ path=(.*)\n/.exec(text(data))?.[1];
    else if (kind === "0" || kind === "") files.set(name.replace(/^\.\//, ""), data);
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

function blobFile(digest: string): string {
  return `${stateDirectory}/blobs/${digest.replace(/^sha256:/, "")}`;
}

function storeBlob(digest: string, data: Uint8Array): void {
  if (exists(blobFile(digest))) return;
  Deno.mkdirSync(`${stateDirectory}/blobs`, { recursive: true });
  Deno.writeFileSync(blobFile(digest), data);
}

/** What `manifest.json` of an archive has for each image. */
interface ArchivedImage {
  Config: string;
  RepoTags: string[] | null;
  Layers: string[];
  LayerSources?: Record<string, Descriptor>;
}

/** How a manifest refers to a blob. */
interface Descriptor {
  mediaType: string;
  size: number;
  digest: string;
}

/** The archive that `docker save` writes: a tar in the layout of Docker 25 and later. */
export async function saveImages(state: State, names: string[]): Promise<Uint8Array<ArrayBuffer>> {
  const images = new Map<Image, string[]>();
  for (const name of names) {
    const image = findImage(state, name);
    if (image === undefined) {
      throw new Refusal(/[:@]/.test(name) ? "reference does not exist" : `No such image: ${name}`);
    }
    const tag = image.Id.replace(/^sha256:/, "").startsWith(name.replace(/^sha256:/, ""))
      ? []
      : [reference(name).familiar];
    images.set(image, [...images.get(image) ?? [], ...tag.filter((tag) => !tag.includes("@"))]);
  }
  return await archiveOf([...images].map(([image, tags]) => {
    const layers = image.Layers.map((digest) => ({ digest, data: Deno.readFileSync(blobFile(digest)) }));
    return { tags, id: image.Id, config: Deno.readFileSync(blobFile(image.Id)), layers };
  }));
}

/** The archive of an image that is in no registry, for a test to be given to `docker load`; the answer has its id as well. */
export async function imageArchive(
  image: KnownImage,
  tags: string[],
): Promise<{ archive: Uint8Array<ArrayBuffer>; id: string }> {
  const { id, config, layer, layerDigest } = await blobsOf(image);
  const data = new TextEncoder().encode(config);
  return { archive: await archiveOf([{ tags, id, config: data, layers: [{ digest: layerDigest, data: layer }] }]), id };
}

interface ImageFiles {
  tags: string[];
  id: string;
  config: Uint8Array<ArrayBuffer>;
  layers: { digest: string; data: Uint8Array<ArrayBuffer> }[];
}

async function archiveOf(images: ImageFiles[]): Promise<Uint8Array<ArrayBuffer>> {
  const blobs = new Map<string, Uint8Array<ArrayBuffer>>();
  const manifest: ArchivedImage[] = [];
  const index = [];
  const json = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  const path = (digest: string) => `blobs/${digest.replace(":", "/")}`;
  const descriptor = (kind: string, digest: string, size: number): Descriptor => {
    return { mediaType: `application/vnd.oci.image.${kind}`, size, digest };
  };
  const repositories: Record<string, Record<string, string>> = {};
  for (const { tags, id, config, layers } of images) {
    blobs.set(id, config);
    for (const { digest, data } of layers) blobs.set(digest, data);
    const data = json({
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      config: descriptor("config.v1+json", id, config.length),
      layers: layers.map(({ digest, data }) => descriptor("layer.v1.tar", digest, data.length)),
    });
    const digest = await sha256(data);
    blobs.set(digest, data);
    for (const tag of tags.length === 0 ? [undefined] : tags) {
      const annotations = tag === undefined ? {} : {
        annotations: {
          "io.containerd.image.name": fullName(tag),
          "org.opencontainers.image.ref.name": reference(tag).tag,
        },
      };
      index.push({ ...descriptor("manifest.v1+json", digest, data.length), ...annotations });
      if (tag !== undefined) {
        (repositories[reference(tag).name] ??= {})[reference(tag).tag] =
          layers.at(-1)?.digest.slice("sha256:".length) ?? "";
      }
    }
    manifest.push({
      Config: path(id),
      RepoTags: tags.length === 0 ? null : tags,
      Layers: layers.map(({ digest }) => path(digest)),
      LayerSources: Object.fromEntries(
        layers.map(({ digest, data }) => [digest, descriptor("layer.v1.tar", digest, data.length)]),
      ),
    });
  }
  return tar([
    ...[...blobs].map(([digest, data]) => ({ name: path(digest), data })).sort((a, b) => a.name < b.name ? -1 : 1),
    {
      name: "index.json",
      data: json({ schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: index }),
    },
    { name: "manifest.json", data: json(manifest) },
    { name: "oci-layout", data: json({ imageLayoutVersion: "1.0.0" }) },
    { name: "repositories", data: json(repositories) },
  ]);
}

function fullName(tag: string): string {
  const { registry, path, tag: version } = reference(tag);
  return `${registry}/${path}:${version}`;
}

/** `docker load`: takes the images of an archive, gzipped or not. The answer are the lines that Docker prints. */
export async function loadImages(data: Uint8Array<ArrayBuffer>): Promise<string[]> {
  const files = untar(await unzipped(data));
  const temporary = `${stateDirectory}/tmp/docker-import-${Date.now()}`;
  const file = (name: string) => {
    const found = files.get(name);
    if (found === undefined) throw new Exit(1, `open ${temporary}/${name}: no such file or directory`);
    return found;
  };
  // Without a manifest Docker looks for what it wrote before there were manifests.
  if (!files.has("manifest.json")) throw new Exit(1, `open ${temporary}/repositories: no such file or directory`);
  if (knobs().noSpace) {
    throw new Exit(1, `Error processing tar file(exit status 1): write /${layerFile}: no space left on device`);
  }
  const manifest = JSON.parse(new TextDecoder().decode(file("manifest.json"))) as ArchivedImage[];
  const lines: string[] = [];
  for (const { Config, RepoTags, Layers } of manifest) {
    const config = file(Config);
    const id = await sha256(config);
    const parsed = JSON.parse(new TextDecoder().decode(config)) as {
      architecture?: string;
      os?: string;
      created?: string;
      config?: ImageConfig;
      rootfs: { diff_ids: string[] };
    };
    let content: LayerContent | undefined;
    let size = 0;
    for (const [index, name] of Layers.entries()) {
      const layer = await unzipped(file(name));
      const digest = await sha256(layer);
      const expected = parsed.rootfs.diff_ids[index];
      if (digest !== expected) {
        throw new Exit(1, `invalid diffID for layer ${index}: expected "${expected}", got "${digest}"`);
      }
      const inside = untar(layer);
      const own = inside.get(layerFile);
      if (own !== undefined) content = JSON.parse(new TextDecoder().decode(own)) as LayerContent;
      for (const { length } of inside.values()) size += length;
      storeBlob(digest, layer);
    }
    storeBlob(id, config);
    await changeState((state) => {
      state.images[id] ??= {
        Id: id,
        Created: parsed.created ?? now(),
        Config: parsed.config ?? {},
        Architecture: parsed.architecture ?? "amd64",
        Os: parsed.os ?? "linux",
        Size: content?.size ?? size,
        Layers: parsed.rootfs.diff_ids,
        LastTagTime: now(),
        behaviour: content?.behaviour ?? { executes: true },
      };
      for (const tag of RepoTags ?? []) {
        const before = state.tags[reference(tag).familiar];
        if (before !== undefined && before !== id) {
          lines.push(`The image ${tag} already exists, renaming the old one with ID ${before} to empty string`);
        }
        state.tags[reference(tag).familiar] = id;
        lines.push(`Loaded image: ${reference(tag).familiar}`);
      }
    });
    if ((RepoTags ?? []).length === 0) lines.push(`Loaded image ID: ${id}`);
  }
  return lines;
}

async function unzipped(data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  if (data[0] !== 0x1f || data[1] !== 0x8b) return data;
  try {
    return await new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).bytes();
  } catch {
    throw new Exit(1, "unexpected EOF");
  }
}
