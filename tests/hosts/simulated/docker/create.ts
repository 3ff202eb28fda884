/**
 * From the options of `docker create` and `docker run` to a container.
 *
 * @module
 */

import {
  clientError,
  Exit,
  type Invocation,
  notSupported,
  type OptionKinds,
  parseDuration,
  parseSize,
  Refusal,
  requireInteger,
} from "./cli.ts";
import { textOf, volumeDirectory } from "./files.ts";
import { inNoOrder, sortedByKey } from "./format.ts";
import { findImage, parseReference } from "./images.ts";
import type { Healthcheck, ImageConfig } from "./registry.ts";
import {
  type DeviceRequest,
  type HostConfig,
  type Mount,
  NEVER,
  newId,
  now,
  type PortBinding,
  type State,
} from "./state.ts";

/** The options that `docker create` and `docker run` share. */
export const CREATE_OPTIONS: OptionKinds = {
  entrypoint: "text",
  "env,e": (value) => {
    if (/^(=|$)/.test(value)) throw new Error(`invalid environment variable: ${value}`);
  },
  "env-file": "list",
  gpus: (value) => void parseGpus(value),
  "health-cmd": "text",
  "health-interval": (value) => void parseDuration(value),
  "health-retries": requireInteger,
  "health-start-period": (value) => void parseDuration(value),
  "health-timeout": (value) => void parseDuration(value),
  "hostname,h": "text",
  init: "switch",
  ipc: "text",
  "label,l": (value) => {
    if (/^(=|$)/.test(value)) throw new Error(`invalid label '${value}': empty name`);
  },
  name: "text",
  network: "list",
  "publish,p": "list",
  pull: "text",
  restart: "text",
  runtime: "text",
  "shm-size": (value) => void parseSize(value),
  "user,u": "text",
  "volume,v": "list",
};

/** Docker's size of a container's `/dev/shm`. */
const SHM_SIZE = "64m";
/** What can be the name of a container. */
const CONTAINER_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const ALLOWED = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

// --- what the client reads -------------------------------------------------------------------------------------------

/** A container as the client asks the engine for it. */
interface CreateRequest {
  readonly image: string;
  readonly command: readonly string[];
  readonly invocation: Invocation;
  readonly env: readonly string[];
  readonly ports: HostConfig["PortBindings"];
  readonly restart: HostConfig["RestartPolicy"];
  readonly health: Healthcheck | undefined;
  readonly network: string;
}

/** Reads the options as the client does, and ends the command with what is wrong with them. */
export function readRequest(invocation: Invocation): CreateRequest {
  const [image = "", ...command] = invocation.args;
  try {
    const restart = parseRestart(invocation.last("restart") ?? "no");
    if (invocation.isOn("rm") && restart.Name !== "no") throw new Error("Conflicting options: --restart and --rm");
    const ports = parsePorts(invocation.all("publish"));
    const env = readEnvironment(invocation);
    const health = parseHealth(invocation);
    const [network = "default", ...others] = invocation.all("network");
    if (network === "") throw new Error("no name set for network");
    if (others.length > 0) throw notSupported("more than one --network");
    for (const [name, value] of [["network", network], ["ipc", invocation.last("ipc") ?? ""]] as const) {
      if (value.startsWith("container:")) throw notSupported(`--${name} ${value}`);
    }
    const user = invocation.last("user") ?? "";
    if (!/^(\d+(:\d+)?)?$/.test(user)) throw notSupported(`--user ${user}: state numbers`);
    return { image, command, invocation, env, ports, restart, health, network };
  } catch (error) {
    if (!(error instanceof Error) || error instanceof Exit) throw error;
    throw clientError(invocation.command, error.message);
  }
}

function parseRestart(text: string): HostConfig["RestartPolicy"] {
  const [Name = "", count = "0", ...rest] = text.split(":");
  if (rest.length > 0) throw new Error("invalid restart policy format");
  if (!/^-?\d+$/.test(count)) throw new Error("maximum retry count must be an integer");
  return { Name, MaximumRetryCount: Number(count) };
}

function parsePorts(texts: readonly string[]): Record<string, PortBinding[]> {
  const bindings: Record<string, PortBinding[]> = {};
  for (const text of texts) {
    const [ports = "", protocol = "tcp"] = text.split("/");
    const match = /^(?:(?:(\[[^\]]*\]|[^:]*):)?([^:]*):)?([^:]*)$/.exec(ports);
    if (match === null) throw notSupported(`--publish ${text}`);
    const [, address = "", hostPort = "", containerPort = ""] = match;
    if (containerPort === "") throw new Error(`No port specified: ${ports}<empty>`);
    if (!["tcp", "udp", "sctp"].includes(protocol)) throw new Error(`Invalid proto: ${protocol}`);
    const HostIp = address.replace(/^\[(.*)\]$/, "$1");
    if (HostIp !== "" && !isAddress(HostIp)) throw new Error(`Invalid ip address: ${HostIp}`);
    for (const [kind, port] of [["containerPort", containerPort], ["hostPort", hostPort]] as const) {
      if (/^\d+-\d+$/.test(port)) throw notSupported(`a range of ports: --publish ${text}`);
      if (port !== "" && !(/^\d+$/.test(port) && Number(port) <= 65535)) throw new Error(`Invalid ${kind}: ${port}`);
    }
    if (hostPort === "") throw notSupported(`a port of Docker's choice: --publish ${text}`);
    (bindings[`${Number(containerPort)}/${protocol}`] ??= []).push({ HostIp, HostPort: hostPort });
  }
  return sortedByKey(bindings);
}

function isAddress(text: string): boolean {
  if (text.includes(":")) return /^[0-9a-fA-F:.]+$/.test(text);
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(text) && text.split(".").every((part) => Number(part) < 256);
}

function readEnvironment(invocation: Invocation): string[] {
  // A name alone stands for the client's own variable.
  const complete = (entry: string) => {
    const value = entry.includes("=") ? undefined : Deno.env.get(entry);
    return value === undefined ? entry : `${entry}=${value}`;
  };
  const ofFiles = invocation.all("env-file").flatMap((file) => readLines(file)).map((line) => {
    const [name = "", ...value] = line.split("=");
    if (name === "") throw new Error(`poorly formatted environment: no variable name on line '${line}'`);
    if (/\s/.test(name)) throw new Error(`poorly formatted environment: variable '${name}' contains whitespaces`);
    return value.length > 0 ? line : complete(name);
  }).filter((entry) => entry.includes("="));
  const ofOptions = new Map(invocation.all("env").map(complete).map((entry) => [nameOf(entry), entry]));
  return [...ofFiles, ...inNoOrder([...ofOptions.values()])];
}

/** The name of a variable. */
function nameOf(entry: string): string {
  return entry.replace(/=.*/s, "");
}

function readLines(file: string): string[] {
  const text = file === "/dev/stdin" ? readStdin() : textOf(file);
  if (text === undefined) throw new Error(`open ${file}: no such file or directory`);
  return text.split(/\r?\n/).map((line) => line.trimStart()).filter((line) => line !== "" && !line.startsWith("#"));
}

function readStdin(): string {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(1 << 16);
  let text = "";
  for (let read = Deno.stdin.readSync(chunk); read !== null; read = Deno.stdin.readSync(chunk)) {
    text += decoder.decode(chunk.subarray(0, read), { stream: true });
  }
  return text + decoder.decode();
}

function parseHealth(invocation: Invocation): Healthcheck | undefined {
  const command = invocation.last("health-cmd") ?? "";
  const retries = Number(invocation.last("health-retries") ?? 0);
  if (retries < 0) throw new Error("--health-retries cannot be negative");
  const time = (name: string, option: string) => {
    const value = parseDuration(invocation.last(`health-${option}`) ?? "0");
    if (value < 0) throw new Error(`--health-${option} cannot be negative`);
    return value === 0 ? {} : { [name]: value };
  };
  const check: Healthcheck = {
    ...(command === "" ? {} : { Test: ["CMD-SHELL", command] }),
    ...time("Interval", "interval"),
    ...time("Timeout", "timeout"),
    ...time("StartPeriod", "start-period"),
    ...(retries === 0 ? {} : { Retries: retries }),
  };
  return Object.keys(check).length === 0 ? undefined : check;
}

function parseGpus(text: string): DeviceRequest {
  // A line of comma-separated values, of which one in quotes can have commas itself.
  const [field = "", ...others] = text.startsWith('"') ? [text.replace(/^"(.*)"$/s, "$1")] : text.split(",");
  const [key = "", value] = field.split("=");
  if (others.length > 0 || text === "") throw notSupported(`--gpus ${text}`);
  if (value !== undefined && !["device", "count"].includes(key)) {
    if (["driver", "capabilities", "options"].includes(key)) throw notSupported(`--gpus ${text}`);
    throw new Error(`unexpected key '${key}' in '${field}'`);
  }
  const count = value ?? key;
  if (key !== "device" && count !== "all" && !/^-?\d+$/.test(count)) {
    throw new Error(`count must be an integer: strconv.Atoi: parsing "${count}": invalid syntax`);
  }
  return {
    Driver: "",
    Count: key === "device" ? 0 : count === "all" ? -1 : Number(count),
    DeviceIDs: key === "device" ? value!.split(",") : null,
    Capabilities: [["gpu"]],
    Options: {},
  };
}

// --- what the engine makes of it -------------------------------------------------------------------------------------

/**
 * Makes the container and adds it to the state; throws what the engine refuses. Gives its id, and what the engine warns
 * of.
 */
export function createContainer(state: State, request: CreateRequest): { id: string; warnings: readonly string[] } {
  const { invocation, network, ports } = request;
  const hostConfig = hostConfigOf(request);
  const image = findImage(state, request.image);
  if (image === undefined) throw new Refusal(`No such image: ${parseReference(request.image).familiar}`);
  const health = healthOf(image.Config, request.health);
  const Id = newId();
  const name = (invocation.last("name") || inventName(state)).replace(/^\//, "");
  requireFreeName(state, name, name);

  const entrypoint = invocation.last("entrypoint");
  const Entrypoint = entrypoint === undefined
    ? image.Config.Entrypoint ?? null
    : entrypoint === ""
    ? null
    : [entrypoint];
  // With another entrypoint, the image's command has no meaning.
  const ofImage = entrypoint === undefined ? image.Config.Cmd ?? null : null;
  const Cmd = request.command.length > 0 ? request.command : ofImage;
  const [Path, ...Args] = [...Entrypoint ?? [], ...Cmd ?? []];
  if (Path === undefined) throw new Refusal("No command specified");

  const { mounts, anonymous } = mountsOf(image.Config, invocation.all("volume"));
  for (const { Name } of mounts) {
    if (Name === undefined || state.volumes.includes(Name)) continue;
    state.volumes.push(Name);
    Deno.mkdirSync(volumeDirectory(Name), { recursive: true });
  }
  const exposed = { ...image.Config.ExposedPorts, ...Object.fromEntries(Object.keys(ports).map((port) => [port, {}])) };
  const labels = Object.fromEntries(
    invocation.all("label").map((label) => {
      const [name = "", ...value] = label.split("=");
      return [name, value.join("=")];
    }),
  );
  const names = new Set(request.env.map(nameOf));
  const inherited = (image.Config.Env ?? []).filter((entry) => !names.has(nameOf(entry)));
  state.containers[Id] = {
    Id,
    Created: now(),
    Path,
    Args,
    State: { Status: "created", Pid: 0, ExitCode: 0, Error: "", StartedAt: NEVER, FinishedAt: NEVER },
    Image: image.Id,
    Name: `/${name}`,
    RestartCount: 0,
    HostConfig: hostConfig,
    Mounts: mounts,
    Config: {
      Hostname: invocation.last("hostname") ?? (network === "host" ? Deno.hostname() : Id.slice(0, 12)),
      User: invocation.last("user") ?? "",
      ...(Object.keys(exposed).length === 0 ? {} : { ExposedPorts: sortedByKey(exposed) }),
      Env: [...request.env, ...inherited],
      Cmd,
      ...(health === undefined ? {} : { Healthcheck: health }),
      Image: request.image,
      Volumes: anonymous.length === 0 ? null : sortedByKey(Object.fromEntries(anonymous.map((path) => [path, {}]))),
      Entrypoint,
      Labels: sortedByKey({ ...image.Config.Labels, ...labels }),
    },
    NetworkSettings: { Networks: { [network === "default" ? "bridge" : network]: { IPAMConfig: null } } },
    behaviour: image.behaviour,
    stoppedByHand: false,
    restartDelayMs: 0,
    starts: 0,
  };
  const areDiscarded = network === "host" && Object.keys(ports).length > 0;
  return {
    id: Id,
    warnings: areDiscarded ? ["WARNING: Published ports are discarded when using host network mode"] : [],
  };
}

/** Throws Docker's texts for a name that no container can have, or that one has already. */
export function requireFreeName(state: State, name: string, shown: string): void {
  if (!CONTAINER_NAME.test(name)) throw new Refusal(`Invalid container name (${shown}), only ${ALLOWED} are allowed`);
  const other = Object.values(state.containers).find(({ Name }) => Name === `/${name}`);
  if (other === undefined) return;
  throw new Refusal(
    `Conflict. The container name "/${name}" is already in use by container "${other.Id}". ` +
      "You have to remove (or rename) that container to be able to reuse that name.",
  );
}

function inventName(state: State): string {
  const pick = (words: readonly string[]) => words[Math.floor(Math.random() * words.length)]!;
  const adjective = pick(["bold", "clever", "eager", "gallant", "happy", "keen", "serene", "zen"]);
  const name = `${adjective}_${pick(["bohr", "curie", "darwin", "euler", "gauss", "hopper", "noether", "turing"])}`;
  const isTaken = Object.values(state.containers).some(({ Name }) => Name === `/${name}`);
  return isTaken ? name + Object.keys(state.containers).length : name;
}

function healthOf({ Healthcheck: ofImage }: ImageConfig, own: Healthcheck | undefined): Healthcheck | undefined {
  for (const name of ["Interval", "Timeout", "StartPeriod"] as const) {
    if ((own?.[name] ?? 1e6) < 1e6) throw new Refusal(`${name} in Healthcheck cannot be less than 1ms`);
  }
  return own === undefined ? ofImage : { ...ofImage, ...own };
}

function hostConfigOf({ invocation, ports, restart, network }: CreateRequest): HostConfig {
  const { Name, MaximumRetryCount } = restart;
  if (!["", "no", "always", "on-failure", "unless-stopped"].includes(Name)) {
    throw new Refusal(`invalid restart policy '${Name}'`);
  }
  if (MaximumRetryCount !== 0 && Name !== "on-failure") {
    throw new Refusal(`maximum retry count cannot be used with restart policy '${Name}'`);
  }
  if (MaximumRetryCount < 0) throw new Refusal("maximum retry count cannot be negative");
  const Runtime = invocation.last("runtime") ?? "runc";
  if (Runtime !== "runc" && !runtimes().includes(Runtime)) throw new Refusal(`Unknown runtime specified ${Runtime}`);
  const gpus = invocation.all("gpus").map(parseGpus);
  const binds = inNoOrder([...new Set(invocation.all("volume"))].filter((volume) => volume.includes(":")));
  return {
    Binds: binds.length > 0 ? binds : null,
    NetworkMode: network,
    PortBindings: ports,
    RestartPolicy: restart,
    AutoRemove: invocation.isOn("rm"),
    IpcMode: invocation.last("ipc") ?? "private",
    ShmSize: parseSize(invocation.last("shm-size") ?? SHM_SIZE),
    Runtime,
    DeviceRequests: gpus.length > 0 ? gpus : null,
    ...(invocation.last("init") === undefined ? {} : { Init: invocation.isOn("init") }),
  };
}

/** The runtimes beside Docker's own, as its configuration has them. */
function runtimes(): string[] {
  const daemon = JSON.parse(textOf("/etc/docker/daemon.json") ?? "{}") as { runtimes?: Record<string, unknown> };
  return Object.keys(daemon.runtimes ?? {});
}

/** The mounts of a container, and the paths of those volumes that nobody has named. */
function mountsOf(
  { Volumes = {} }: ImageConfig,
  volumes: readonly string[],
): { mounts: readonly Mount[]; anonymous: readonly string[] } {
  const mounts: Mount[] = [];
  for (const volume of new Set(volumes.filter((volume) => volume.includes(":")))) {
    const mount = mountOf(volume);
    if (mounts.some(({ Destination }) => Destination === mount.Destination)) {
      throw new Refusal(`Duplicate mount point: ${mount.Destination}`);
    }
    mounts.push(mount);
  }
  const anonymous = [...volumes.filter((volume) => !volume.includes(":")), ...Object.keys(Volumes)];
  for (const path of anonymous) {
    if (!path.startsWith("/")) throw notSupported(`--volume "${path}"`);
    const isMounted = mounts.some(({ Destination }) => Destination === withoutSlash(path));
    if (!isMounted) mounts.push(volumeMount(newId(), withoutSlash(path), "", true));
  }
  return { mounts, anonymous };
}

function mountOf(text: string): Mount {
  const refuse = (why?: string) =>
    new Refusal(`invalid volume specification: '${text}'${why === undefined ? "" : `: ${why}`}`);
  const [source = "", target = "", mode = "", ...rest] = text.split(":");
  if (source === "") throw notSupported(`--volume ${text}`);
  if (rest.length > 0 || target === "") throw refuse();
  const options = mode.split(",").filter((option) => option !== "");
  if (!options.every((option) => /^(rw|ro|z|Z|nocopy|r?(private|shared|slave))$/.test(option))) {
    throw new Refusal(`invalid mode: ${mode}`);
  }
  const type = source.startsWith("/") ? "bind" : "volume";
  const invalid = (why: string) => refuse(`invalid mount config for type "${type}": ${why}`);
  if (!target.startsWith("/")) throw invalid(`invalid mount path: '${target}' mount path must be absolute`);
  if (withoutSlash(target) === "/") throw invalid("invalid specification: destination can't be '/'");
  const RW = !options.includes("ro");
  if (type === "volume") return volumeMount(source, withoutSlash(target), mode || "z", RW);
  return {
    Type: "bind",
    Source: withoutSlash(source),
    Destination: withoutSlash(target),
    Mode: mode,
    RW,
    Propagation: "rprivate",
  };
}

function volumeMount(Name: string, Destination: string, Mode: string, RW: boolean): Mount {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(Name)) {
    throw new Refusal(
      `create ${Name}: ${
        JSON.stringify(Name)
      } includes invalid characters for a local volume name, only "${ALLOWED}" ` +
        "are allowed. If you intended to pass a host directory, use absolute path",
    );
  }
  const Source = volumeDirectory(Name);
  return { Type: "volume", Name, Source, Destination, Driver: "local", Mode, RW, Propagation: "" };
}

function withoutSlash(path: string): string {
  return path.replace(/(?<=.)\/+$/, "");
}
