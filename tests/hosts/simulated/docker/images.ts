/**
 * Images: their names, getting them from a registry, listing and removing them.
 *
 * @module
 */

import { blobsOf, readArchive } from "./archive.ts";
import { Exit, type Invocation, NotFound, notSupported, Refusal } from "./cli.ts";
import { forEachOrFail, print, printError } from "./client.ts";
import { replaceFile, STATE_DIRECTORY, textOf } from "./files.ts";
import { printRows, type Row } from "./format.ts";
import { KNOWN_IMAGES, type KnownImage, type Registry } from "./registry.ts";
import { changeState, type Image, isRunning, readState, shortId, sleep, type State, takePullFault } from "./state.ts";

// --- names -----------------------------------------------------------------------------------------------------------

/** The name of an image, taken apart. */
export interface Reference {
  /** `docker.io` if none is said. */
  readonly registry: string;
  /** As the registry calls it: `library/busybox`. */
  readonly path: string;
  /** As people say it: `busybox`, `ghcr.io/owner/name`. */
  readonly name: string;
  /** Empty if a digest is said instead. */
  readonly tag: string;
  readonly digest: string;
  /** As people say it, with tag or digest. */
  readonly familiar: string;
}

/** Takes the name of an image apart; throws what Docker says of a name that is none. */
export function parseReference(text: string): Reference {
  const [, name = "", tag, digest = ""] =
    /^(.*?)(?::([\w][\w.-]{0,127}))?(?:@([a-z0-9]+:[0-9a-f]{64}))?$/s.exec(text) ?? [];
  const [first = "", ...others] = name.split("/");
  const isRegistry = others.length > 0 && (/[.:]/.test(first) || first === "localhost");
  const rest = isRegistry ? others.join("/") : name;
  const registry = isRegistry && first !== "index.docker.io" ? first : "docker.io";
  const path = registry === "docker.io" && !rest.includes("/") ? `library/${rest}` : rest;
  const part = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
  const valid = RegExp(`^${part}(?:/${part})*$`);
  if (!valid.test(path)) {
    const why = valid.test(path.toLowerCase()) ? ": repository name must be lowercase" : "";
    throw new Error(`invalid reference format${why}`);
  }
  const familiarName = registry === "docker.io" ? path.replace(/^library\//, "") : `${registry}/${path}`;
  const parts = { registry, path, name: familiarName, digest, tag: tag ?? (digest === "" ? "latest" : "") };
  return { ...parts, familiar: digest === "" ? `${familiarName}:${parts.tag}` : `${familiarName}@${digest}` };
}

/** As {@linkcode parseReference}; a name that is none ends the command. */
export function parseReferenceOrExit(text: string): Reference {
  try {
    return parseReference(text);
  } catch (error) {
    throw new Exit(1, (error as Error).message);
  }
}

/** The image of a name, an id, or the beginning of an id; throws what Docker says of a name that is none. */
export function findImage(state: State, text: string): Image | undefined {
  const id = text.replace(/^sha256:/, "");
  if (text === "" || text.startsWith("sha256:") || /^[0-9a-f]{64}$/.test(id)) return state.images[`sha256:${id}`];
  const { familiar, digest } = parseReference(text);
  const named = state.images[(digest === "" ? state.tags : state.digests)[familiar] ?? ""];
  if (named !== undefined || !/^[0-9a-f]+$/.test(id)) return named;
  const begun = Object.values(state.images).filter(({ Id }) => Id.startsWith(`sha256:${id}`));
  return begun.length === 1 ? begun[0] : undefined;
}

/** The names of an image that are tags, such as `busybox:latest`. */
export function tagsOf(state: State, { Id }: Image): string[] {
  return Object.keys(state.tags).filter((tag) => state.tags[tag] === Id).sort();
}

/** The names of an image that are digests, such as `busybox@sha256:…`. */
export function digestsOf(state: State, { Id }: Image): string[] {
  return Object.keys(state.digests).filter((digest) => state.digests[digest] === Id).sort();
}

// --- registries ------------------------------------------------------------------------------------------------------

function readRegistry(): Required<Registry> {
  const added = JSON.parse(textOf(`${STATE_DIRECTORY}/registry.json`) ?? "{}") as Partial<Registry>;
  return { images: { ...KNOWN_IMAGES, ...added.images }, logins: added.logins ?? {} };
}

/** The client's configuration, where `docker login` keeps what it was told. */
interface ClientConfig {
  auths?: Record<string, { readonly auth?: string }>;
}

function clientConfigFile(): string {
  return `${Deno.env.get("DOCKER_CONFIG") ?? `${Deno.env.get("HOME") ?? "/root"}/.docker`}/config.json`;
}

function readClientConfig(): ClientConfig {
  return JSON.parse(textOf(clientConfigFile()) ?? "{}") as ClientConfig;
}

/** No network leads to a registry that the stand-in does not know, nor to Docker Hub, of which a mirror is at hand. */
function unreachable(registry: string): Refusal {
  const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
  const resolver = "[::1]:53";
  const port = 32768 + Math.floor(Math.random() * 28_000);
  return new Refusal(
    `Get "https://${host}/v2/": dial tcp: lookup ${host.replace(/:.*/, "")} on ${resolver}: ` +
      `read udp [::1]:${port}->${resolver}: read: connection refused`,
  );
}

/** `docker login`. */
export async function login(invocation: Invocation): Promise<void> {
  const registry = invocation.args[0] ?? "docker.io";
  const username = invocation.last("username") ?? "";
  if (username === "" && invocation.isOn("password-stdin")) {
    throw new Exit(1, "Must provide --username with --password-stdin");
  }
  const password = invocation.isOn("password-stdin")
    ? (await new Response(Deno.stdin.readable).text()).replace(/\r?\n$/, "")
    : "";
  if (username === "" || password === "") {
    throw new Exit(1, "Error: Cannot perform an interactive login from a non TTY device");
  }
  await readState();
  const { logins } = readRegistry();
  if (logins[registry] === undefined) throw unreachable(registry);
  if (logins[registry][username] !== password) {
    throw new Refusal(`login attempt to http://${registry}/v2/ failed with status: 401 Unauthorized`);
  }
  const config = readClientConfig();
  config.auths = { ...config.auths, [registry]: { auth: btoa(`${username}:${password}`) } };
  const file = clientConfigFile();
  Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true, mode: 0o700 });
  replaceFile(file, JSON.stringify(config, null, "\t"));
  Deno.chmodSync(file, 0o600);
  printError(`WARNING! Your password will be stored unencrypted in ${file}.
Configure a credential helper to remove this warning. See
https://docs.docker.com/engine/reference/commandline/login/#credentials-store
`);
  print("Login Succeeded");
}

/** `docker pull`. */
export async function pull(invocation: Invocation): Promise<void> {
  const [text = ""] = invocation.args;
  const reference = parseReferenceOrExit(text);
  const isQuiet = invocation.isOn("quiet");
  if (!isQuiet && reference.tag === "latest" && !text.endsWith(":latest")) print("Using default tag: latest");
  await pullImage(reference, isQuiet ? () => {} : print);
  print(fullName(reference));
}

/** Pulls an image; `progress` gets the lines that Docker prints meanwhile. */
export async function pullImage(reference: Reference, progress: (line: string) => void): Promise<void> {
  await readState();
  const { delay = 0, error } = await takePullFault();
  const known = await findInRegistry(reference, error !== undefined);
  const { id, digest } = await blobsOf(known);
  progress(`${reference.digest === "" ? reference.tag : fullName(reference)}: Pulling from ${reference.path}`);
  if (delay > 0) await sleep(delay);
  progress(`Digest: ${digest}`);
  const isNew = await changeState((state) => {
    const named = reference.digest === "" ? state.tags : state.digests;
    const isNew = named[reference.familiar] !== id;
    state.images[id] ??= {
      Id: id,
      Created: known.created,
      Config: known.config,
      Layers: [],
      behaviour: known.behaviour,
    };
    named[reference.familiar] = id;
    state.digests[`${reference.name}@${digest}`] = id;
    return isNew;
  });
  progress(`Status: ${isNew ? "Downloaded newer image" : "Image is up to date"} for ${reference.familiar}`);
}

function fullName({ registry, path, tag, digest }: Reference): string {
  return `${registry}/${path}${tag === "" ? "" : `:${tag}`}${digest === "" ? "" : `@${digest}`}`;
}

async function findInRegistry(wanted: Reference, isUnavailable: boolean): Promise<KnownImage> {
  const { images, logins } = readRegistry();
  const ofRegistry = Object.entries(images).map(([name, image]) => ({ ...parseReference(name), image }))
    .filter(({ registry }) => registry === wanted.registry);
  const ofName = ofRegistry.filter(({ name }) => name === wanted.name);
  const { registry, path, digest, tag } = wanted;
  if (registry !== "docker.io" && ofName.some(({ image }) => image.private)) {
    const [user = "", ...password] = atob(readClientConfig().auths?.[registry]?.auth ?? "").split(":");
    if (logins[registry]?.[user] !== password.join(":")) {
      throw new Refusal(`Head "http://${registry}/v2/${path}/manifests/${digest || tag}": no basic auth credentials`);
    }
  }
  if (isUnavailable) throw new Refusal("received unexpected HTTP status: 503 Service Unavailable");
  for (const { image, tag: itsTag } of ofName) {
    if (digest === "" ? itsTag === tag : (await blobsOf(image)).digest === digest) return image;
  }
  if (registry === "docker.io" || ofRegistry.length === 0) throw unreachable(registry);
  throw new Refusal(`manifest for ${wanted.familiar} not found: manifest unknown: manifest unknown`);
}

// --- what is here ----------------------------------------------------------------------------------------------------

/** `docker images`. */
export async function list(invocation: Invocation): Promise<void> {
  if (invocation.args.length > 0) throw notSupported("docker images of a repository");
  const state = await readState();
  const rows: Row[] = [];
  for (const image of Object.values(state.images).sort((a, b) => a.Created < b.Created ? 1 : -1)) {
    const tags = tagsOf(state, image).map(parseReference);
    const digests = digestsOf(state, image).map(parseReference)
      .filter(({ name }) => !tags.some((tag) => tag.name === name));
    const ID = invocation.isOn("no-trunc") ? image.Id : shortId(image.Id);
    for (const { name, tag } of [...tags, ...digests]) rows.push({ Repository: name, Tag: tag || "<none>", ID });
    if (tags.length + digests.length === 0) rows.push({ Repository: "<none>", Tag: "<none>", ID });
  }
  printRows(invocation, rows, "ID");
}

/** `docker tag`. */
export async function tag(invocation: Invocation): Promise<void> {
  const [source = "", target = ""] = invocation.args;
  let name: string;
  try {
    name = parseReference(target).familiar;
  } catch (error) {
    const text = JSON.stringify(target);
    throw new Exit(1, `Error parsing reference: ${text} is not a valid repository/tag: ${(error as Error).message}`);
  }
  await changeState((state) => {
    const image = findImage(state, source);
    const shown = source.startsWith("sha256:") ? source : parseReference(source).familiar;
    if (image === undefined) throw new Refusal(`No such image: ${shown}`);
    state.tags[name] = image.Id;
  });
}

/** `docker image rm`. */
export async function remove(invocation: Invocation): Promise<void> {
  const isForced = invocation.isOn("force");
  await forEachOrFail(
    invocation.args,
    async (name) => (await changeState((state) => removeImage(state, name, isForced))).join("\n"),
    { mayBeMissing: isForced },
  );
}

/** Takes a name away, or the image with its last one. Gives the lines that Docker prints. */
function removeImage(state: State, text: string, isForced: boolean): string[] {
  let image: Image | undefined;
  try {
    image = findImage(state, text);
  } catch (error) {
    throw new Refusal((error as Error).message);
  }
  if (image === undefined) throw new NotFound("image", text);
  const { Id } = image;
  const users = Object.values(state.containers).filter((container) => container.Image === Id);
  const tags = tagsOf(state, image);
  const digests = digestsOf(state, image);
  const isById = Id.slice("sha256:".length).startsWith(text.replace(/^sha256:/, ""));
  const nameOf = (reference: string) => parseReference(reference).name;
  const isSingle = tags.length <= 1 && new Set([...tags, ...digests].map(nameOf)).size <= 1;
  const conflict = (what: string, how: string, why: string) =>
    new Refusal(`conflict: unable to ${what} (${how}) - ${why}`);
  if (isById && !isSingle && !isForced) {
    throw conflict(`delete ${shortId(Id)}`, "must be forced", "image is referenced in multiple repositories");
  }
  const user = users.find(isRunning) ?? users[0];
  if (user !== undefined && (isById || isSingle)) {
    const running = isRunning(user);
    if (isById && (running || !isForced)) {
      const why = `image is being used by ${running ? "running" : "stopped"} container ${shortId(user.Id)}`;
      throw conflict(`delete ${shortId(Id)}`, running ? "cannot be forced" : "must be forced", why);
    }
    if (!isForced) {
      const why = `container ${shortId(user.Id)} is using its referenced image ${shortId(Id)}`;
      throw conflict(`remove repository reference "${text}"`, "must force", why);
    }
  }
  const lines: string[] = [];
  const untag = (name: string) => {
    delete state.tags[name];
    delete state.digests[name];
    lines.push(`Untagged: ${name}`);
  };
  const { familiar, name, digest } = isById ? { familiar: "", name: "", digest: "" } : parseReference(text);
  (isById ? [...tags, ...digests] : [familiar]).forEach(untag);
  // With the last tag of a repository goes the digest there.
  if (!isById && digest === "" && !tagsOf(state, image).some((tag) => nameOf(tag) === name)) {
    digests.filter((other) => nameOf(other) === name).forEach(untag);
  }
  // A container that runs keeps the image, which then has no name.
  if (!users.some(isRunning) && tagsOf(state, image).length + digestsOf(state, image).length === 0) {
    delete state.images[Id];
    lines.push(`Deleted: ${Id}`);
  }
  return lines;
}

/** `docker load`. */
export async function load(): Promise<void> {
  const data = await new Response(Deno.stdin.readable).bytes();
  await readState();
  for (const { image, tags } of await readArchive(data)) {
    const lines = await changeState((state) => {
      state.images[image.Id] ??= image;
      if (tags.length === 0) return [`Loaded image ID: ${image.Id}`];
      return tags.flatMap((tag) => {
        const { familiar } = parseReference(tag);
        const before = state.tags[familiar];
        state.tags[familiar] = image.Id;
        const renamed = before === undefined || before === image.Id
          ? []
          : [`The image ${tag} already exists, renaming the old one with ID ${before} to empty string`];
        return [...renamed, `Loaded image: ${familiar}`];
      });
    });
    lines.forEach(print);
  }
}
