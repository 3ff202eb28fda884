/**
 * The documents that `docker inspect` shows. Of Docker's some 150 fields of a container they have those that somebody
 * reads.
 *
 * @module
 */

import type { Health } from "./app.ts";
import { EngineDown, Exit, type Invocation, NotFound, Refusal } from "./cli.ts";
import { print } from "./client.ts";
import { containerDirectory, textOf, volumeDirectory } from "./files.ts";
import { inNoOrder, type Json, render, sortedByKey } from "./format.ts";
import { digestsOf, findImage, tagsOf } from "./images.ts";
import { type Container, type Image, isRunning, readState, requireContainer, type State } from "./state.ts";

/** How an object of each kind is found by its name: its document, or `undefined`. */
const KINDS = {
  container(state: State, name: string): Json | undefined {
    const missing = new NotFound("container", name);
    try {
      return containerDocument(requireContainer(state, name, missing));
    } catch (error) {
      if (error === missing) return undefined;
      throw error;
    }
  },
  image(state: State, name: string): Json | undefined {
    let image: Image | undefined;
    try {
      image = findImage(state, name);
    } catch (error) {
      throw new Refusal(`no such image: ${name}: ${(error as Error).message}`);
    }
    return image && imageDocument(state, image);
  },
  network(state: State, name: string): Json | undefined {
    const [own, network] =
      Object.entries(state.networks).find(([own, { Id }]) => own === name || beginsWith(Id, name)) ?? [];
    return network && { Name: own, Id: network.Id, Scope: "local", Driver: network.Driver };
  },
  volume(state: State, name: string): Json | undefined {
    if (!state.volumes.includes(name)) return undefined;
    return { Driver: "local", Mountpoint: volumeDirectory(name), Name: name, Scope: "local" };
  },
};

/** A kind of object. */
export type Kind = keyof typeof KINDS;

function beginsWith(id: string, text: string): boolean {
  return text !== "" && id.startsWith(text);
}

/** `docker container inspect` and those of other kinds. */
export async function inspectKind(kind: Kind, invocation: Invocation): Promise<void> {
  await inspect(invocation, kind, [kind]);
}

/** `docker inspect`. */
export async function inspectAny(invocation: Invocation): Promise<void> {
  await inspect(invocation, "object", ["container", "image", "network", "volume"]);
}

async function inspect(invocation: Invocation, what: string, kinds: readonly Kind[]): Promise<void> {
  const template = invocation.last("format") ?? "";
  const documents: Json[] = [];
  const problems: string[] = [];
  for (const name of invocation.args) {
    try {
      documents.push(find(await readState(), kinds, name) ?? throwNotFound(what, name));
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof EngineDown)) throw error;
      problems.push(error.message);
    }
  }
  if (template === "") print(JSON.stringify(documents, null, 4));
  else print(documents.map((document) => render(template, document)).join("\n"));
  if (problems.length > 0) throw new Exit(1, problems.join("\n"));
}

function throwNotFound(what: string, name: string): never {
  throw new NotFound(what, name);
}

function find(state: State, kinds: readonly Kind[], name: string): Json | undefined {
  for (const kind of kinds) {
    try {
      const document = KINDS[kind](state, name);
      if (document !== undefined) return document;
    } catch (error) {
      // What cannot be the name of one kind may be that of another.
      if (kinds.length === 1 || !(error instanceof Refusal)) throw error;
    }
  }
  return undefined;
}

function containerDocument(container: Container): Json {
  const { Id, Created, Path, Args, Image, Name, RestartCount, HostConfig, Mounts, Config, NetworkSettings } = container;
  const Networks = sortedByKey(NetworkSettings.Networks);
  const { Status, ...state } = container.State;
  const health = healthOf(container);
  const State = {
    Status,
    Running: isRunning(container) || Status === "restarting",
    Paused: Status === "paused",
    Restarting: Status === "restarting",
    ...state,
    ...(health === undefined ? {} : { Health: health }),
  };
  const document = { Id, Created, Path, Args, State, Image, Name, RestartCount, HostConfig };
  return toJson({ ...document, Mounts: inNoOrder(Mounts), Config, NetworkSettings: { Networks } });
}

/** As it is in JSON, which TypeScript does not tell of an interface. */
function toJson(value: unknown): Json {
  return JSON.parse(JSON.stringify(value)) as Json;
}

/** The health of a container that is checked. While nothing checks it, it counts as unhealthy. */
function healthOf(container: Container): Health | undefined {
  if (container.Config.Healthcheck?.Test === undefined) return undefined;
  const text = textOf(`${containerDirectory(container.Id)}/health.json`);
  if (text === undefined) return undefined;
  const health = JSON.parse(text) as Health;
  return container.State.Status === "running" ? health : { ...health, Status: "unhealthy" };
}

function imageDocument(state: State, image: Image): Json {
  const { Id, Created, Config, Layers } = image;
  return toJson({
    Id,
    RepoTags: tagsOf(state, image),
    RepoDigests: digestsOf(state, image),
    Created,
    Config: {
      ...(Config.ExposedPorts === undefined ? {} : { ExposedPorts: Config.ExposedPorts }),
      Env: Config.Env ?? null,
      Cmd: Config.Cmd ?? null,
      ...(Config.Healthcheck === undefined ? {} : { Healthcheck: Config.Healthcheck }),
      Volumes: Config.Volumes ?? null,
      Entrypoint: Config.Entrypoint ?? null,
      Labels: Config.Labels ?? null,
    },
    RootFS: { Type: "layers", Layers },
  });
}
