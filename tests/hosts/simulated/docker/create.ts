/**
 * `docker create` and `docker run`: from the options to a container.
 *
 * @module
 */

import { bytes, duration, Exit, type Given, notSupported, type OptionKinds, Refusal, wholeNumber } from "./flags.ts";
import { requireImage } from "./images.ts";
import type { Healthcheck } from "./registry.ts";
import {
  type Container,
  type DeviceRequest,
  exists,
  findContainer,
  hasNvidia,
  type HostConfig,
  type Image,
  knobs,
  type Mount,
  never,
  newId,
  now,
  type State,
  stateDirectory,
  volumeDirectory,
} from "./state.ts";

/** The options that `docker create` and `docker run` share. */
export const createOptions: OptionKinds = {
  "add-host": (value) => {
    if (!/^[^:=]+[:=].+$/.test(value)) throw new Error(`bad format for add-host: ${JSON.stringify(value)}`);
  },
  "cap-add": "list",
  "cap-drop": "list",
  cpus: (value) => {
    if (!/^\d+(\.\d*)?$/.test(value)) throw new Error(`failed to parse ${value} as a rational number`);
  },
  device: "list",
  "env,e": (value) => {
    if (/^(=|$)/.test(value)) throw new Error(`invalid environment variable: ${value}`);
  },
  "env-file": "list",
  entrypoint: "text",
  expose: "list",
  gpus: (value) => void deviceRequest(value),
  "health-cmd": "text",
  "health-interval": (value) => void duration(value),
  "health-retries": wholeNumber,
  "health-start-interval": (value) => void duration(value),
  "health-start-period": (value) => void duration(value),
  "health-timeout": (value) => void duration(value),
  "hostname,h": "text",
  init: "bool",
  ipc: "text",
  "label,l": (value) => {
    if (/^(=|$)/.test(value)) throw new Error(`invalid label '${value}': empty name`);
  },
  "label-file": "list",
  "log-driver": "text",
  "log-opt": "list",
  "memory,m": (value) => void bytes(value),
  mount: (value) => void mountOption(value),
  name: "text",
  network: "list",
  net: "list",
  "network-alias": "list",
  "no-healthcheck": "bool",
  pid: "text",
  platform: "text",
  privileged: "bool",
  "publish,p": "list",
  pull: "text",
  "quiet,q": "bool",
  "read-only": "bool",
  restart: "text",
  rm: "bool",
  runtime: "text",
  "security-opt": "list",
  "shm-size": (value) => void bytes(value),
  "stop-signal": "text",
  "stop-timeout": wholeNumber,
  tmpfs: "list",
  ulimit: (value) => void ulimit(value),
  "user,u": "text",
  "volume,v": "list",
  "workdir,w": "text",
};

/** What the client checks and reads by itself before it asks the engine. */
export interface Wanted {
  image: string;
  name: string | undefined;
  command: string[];
  given: Given;
  env: string[];
  labels: Record<string, string>;
  exposed: Record<string, Record<string, never>>;
  bindings: HostConfig["PortBindings"];
  volumes: string[];
  restart: HostConfig["RestartPolicy"];
  health: Healthcheck | undefined;
  networks: string[];
}

/** Reads the options as the client does; throws a text of the client, which has `docker:` before it. */
export function readWanted(given: Given): Wanted {
  const [image = "", ...command] = given.arguments;
  const labels: Record<string, string> = {};
  for (const file of given.list("label-file")) {
    for (const line of fileLines(file)) setLabel(labels, line);
  }
  for (const label of given.list("label")) setLabel(labels, label);
  const volumes = given.list("volume");
  if (volumes.includes("")) throw new Error("invalid empty volume spec");
  const pidMode = given.text("pid") ?? "";
  if (!/^(|host|container:.+)$/.test(pidMode)) throw new Error("--pid: invalid PID mode");
  const networks = [...given.list("network"), ...given.list("net")];
  const userDefined = networks.filter((name) => !/^(default|bridge|host|none|container:.*)$/.test(name));
  if (given.list("network-alias").length > 0 && userDefined.length === 0) {
    throw new Error("network-scoped aliases are only supported for user-defined networks");
  }
  if (networks.length > 1) throw notSupported("more than one --network");
  const restart = restartPolicy(given.text("restart") ?? "no");
  if (given.is("rm") && restart.Name !== "no") throw new Error("Conflicting options: --restart and --rm");
  for (const device of given.list("device")) {
    if (!device.startsWith("/")) throw new Error(`${device.split(":")[0]} is not an absolute path`);
  }
  if (!["", "always", "missing", "never"].includes(given.text("pull") ?? "")) {
    throw new Error(`invalid pull option: '${given.text("pull")}': must be one of "always", "missing" or "never"`);
  }
  const [exposed, bindings] = published(given);
  return {
    image,
    name: given.text("name"),
    command,
    given,
    env: environment(given),
    labels,
    exposed,
    bindings,
    volumes,
    restart,
    health: healthcheck(given),
    networks: networks.map((name) => name === "default" ? "bridge" : name),
  };
}

function fileLines(file: string): string[] {
  let text: string;
  try {
    text = file === "/dev/stdin" ? readStdin() : Deno.readTextFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(`open ${file}: no such file or directory`);
    throw error;
  }
  return text.split(/\r?\n/).map((line) => line.trimStart()).filter((line) => line !== "" && !line.startsWith("#"));
}

function readStdin(): string {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = new Uint8Array(1 << 16);
    const read = Deno.stdin.readSync(chunk);
    if (read === null) break;
    chunks.push(chunk.subarray(0, read));
  }
  return new TextDecoder().decode(new Uint8Array(chunks.flatMap((chunk) => [...chunk])));
}

function setLabel(labels: Record<string, string>, label: string): void {
  const at = label.indexOf("=");
  labels[at < 0 ? label : label.slice(0, at)] = at < 0 ? "" : label.slice(at + 1);
}

function environment(given: Given): string[] {
  const entries: string[] = [];
  for (const file of given.list("env-file")) {
    for (const line of fileLines(file)) {
      const name = line.split("=")[0] ?? "";
      if (name === "") throw new Error(`poorly formatted environment: no variable name on line '${line}'`);
      if (/\s/.test(line.includes("=") ? name : name.trimEnd())) {
        throw new Error(`poorly formatted environment: variable '${name}' contains whitespaces`);
      }
      entries.push(line.includes("=") ? line : name.trimEnd());
    }
  }
  // A name alone takes the client's own value; a later entry replaces an earlier one in its place.
  const values = new Map<string, string>();
  for (const entry of [...entries, ...given.list("env")]) {
    const at = entry.indexOf("=");
    const name = at < 0 ? entry : entry.slice(0, at);
    const value = at < 0 ? Deno.env.get(name) : entry.slice(at + 1);
    if (value !== undefined) values.set(name, value);
  }
  return [...values].map(([name, value]) => `${name}=${value}`);
}

function restartPolicy(text: string): HostConfig["RestartPolicy"] {
  const [Name = "", count, ...rest] = text.split(":");
  if (rest.length > 0) throw new Error("invalid restart policy format: no more than one ':' is allowed");
  if (count !== undefined && !/^\d+$/.test(count)) {
    throw new Error("invalid restart policy format: maximum retry count must be an integer");
  }
  return { Name: Name || "no", MaximumRetryCount: Number(count ?? 0) };
}

function published(given: Given): [Wanted["exposed"], HostConfig["PortBindings"]] {
  const exposed: Wanted["exposed"] = {};
  const bindings: HostConfig["PortBindings"] = {};
  for (const port of given.list("expose")) {
    if (!/^\d+(\/(tcp|udp|sctp))?$/.test(port)) throw notSupported(`--expose ${port}`);
    exposed[port.includes("/") ? port : `${port}/tcp`] = {};
  }
  for (const text of given.list("publish")) {
    const [spec = "", protocol = "tcp", ...rest] = text.split("/");
    const match = /^(?:(?:(\[[^\]]*\]|[^:]*):)?([^:]*):)?([^:]*)$/.exec(spec);
    if (match === null) {
      const head = spec.split(":").slice(0, -2).join(":");
      throw new Error(`Invalid ip address ${head}: address ${head}:: too many colons in address`);
    }
    const [, address = "", host = "", inside = ""] = match;
    if (inside === "") throw new Error(`No port specified: ${spec}<empty>`);
    if (rest.length > 0 || !["tcp", "udp", "sctp"].includes(protocol)) {
      throw new Error(`Invalid proto: ${[protocol, ...rest].join("/")}`);
    }
    const HostIp = address.replace(/^\[(.*)\]$/, "$1");
    if (HostIp !== "" && !isAddress(HostIp)) throw new Error(`Invalid ip address: ${HostIp}`);
    for (const [kind, port] of [["containerPort", inside], ["hostPort", host]] as const) {
      if (/^\d+-\d+$/.test(port)) throw notSupported(`a range of ports: ${text}`);
      if (port !== "" && (!/^\d+$/.test(port) || Number(port) > 65535)) throw new Error(`Invalid ${kind}: ${port}`);
    }
    const key = `${Number(inside)}/${protocol}`;
    exposed[key] = {};
    (bindings[key] ??= []).push({ HostIp, HostPort: host });
  }
  return [sorted(exposed), sorted(bindings)];
}

function isAddress(text: string): boolean {
  if (text.includes(":")) return /^[0-9a-fA-F:.]+$/.test(text);
  return /^\d{1,3}(\.\d{1,3}){3}$/.test(text) && text.split(".").every((part) => Number(part) < 256);
}

/** Go shows maps by their sorted keys. */
function sorted<Value>(map: Record<string, Value>): Record<string, Value> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => a < b ? -1 : 1));
}

function healthcheck(given: Given): Healthcheck | undefined {
  const option = (name: string) => given.text(`health-${name}`);
  const times = {
    Interval: option("interval"),
    Timeout: option("timeout"),
    StartPeriod: option("start-period"),
    StartInterval: option("start-interval"),
  };
  const command = option("cmd");
  const retries = Number(option("retries") ?? 0);
  const any = command !== undefined || option("retries") !== undefined ||
    Object.values(times).some((time) => time !== undefined);
  if (given.is("no-healthcheck")) {
    if (any) throw new Error("--no-healthcheck conflicts with --health-* options");
    return { Test: ["NONE"] };
  }
  if (!any) return undefined;
  if (retries < 0) throw new Error("--health-retries cannot be negative");
  const check: Healthcheck = { Test: command === undefined || command === "" ? [] : ["CMD-SHELL", command] };
  for (const [name, text] of Object.entries(times) as [keyof typeof times, string | undefined][]) {
    const value = duration(text ?? "0");
    if (value < 0) throw new Error(`--health-${name.replace(/(?<!^)[A-Z]/, "-$&").toLowerCase()} cannot be negative`);
    if (value > 0) check[name] = value;
  }
  if (retries > 0) check.Retries = retries;
  return check;
}

function deviceRequest(text: string): DeviceRequest {
  const request: DeviceRequest = { Driver: "", Count: 0, DeviceIDs: null, Capabilities: [], Options: {} };
  const capabilities: string[] = [];
  let counted = false;
  for (const field of csv(text)) {
    const [key = "", ...rest] = field.split("=");
    const value = rest.join("=");
    if (rest.length === 0) {
      if (counted || !(key === "all" || /^-?\d+$/.test(key))) {
        throw new Error(`count must be an integer: strconv.Atoi: parsing "${key}": invalid syntax`);
      }
      request.Count = count(key);
      counted = true;
    } else if (key === "count") {
      request.Count = count(value);
      counted = true;
    } else if (key === "device") request.DeviceIDs = value.split(",");
    else if (key === "driver") request.Driver = value;
    else if (key === "capabilities") capabilities.push(...value.split(","), "gpu");
    else throw new Error(`unexpected key '${key}' in '${field}'`);
  }
  if (!counted && request.DeviceIDs === null) request.Count = 1;
  request.Capabilities = [capabilities.length === 0 ? ["gpu"] : capabilities];
  return request;
}

function count(text: string): number {
  return text === "all" ? -1 : Number(text);
}

/** The fields of a line of comma-separated values, of which one in quotes can have commas. */
function csv(text: string): string[] {
  return [...text.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(([, quoted, bare]) =>
    quoted?.replaceAll('""', '"') ?? bare ?? ""
  );
}

/** A mount as `--mount` says it, in the engine's names. */
interface MountOption {
  Type: string;
  Source?: string;
  Target: string;
  ReadOnly?: true;
}

function mountOption(text: string): MountOption {
  let Type = "volume", Source: string | undefined, Target = "", ReadOnly = false;
  for (const field of csv(text)) {
    const [key = "", ...rest] = field.split("=");
    const value = rest.join("=");
    if (/^(readonly|ro)$/i.test(key)) {
      ReadOnly = rest.length === 0 || value === "true" || value === "1";
      continue;
    }
    if (rest.length === 0) throw new Error(`invalid field '${field}' must be a key=value pair`);
    switch (key.toLowerCase()) {
      case "type":
        Type = value.toLowerCase();
        break;
      case "source":
      case "src":
        Source = value;
        break;
      case "target":
      case "dst":
      case "destination":
        Target = value;
        break;
      case "consistency":
      case "bind-propagation":
      case "volume-label":
      case "volume-driver":
      case "volume-opt":
      case "volume-nocopy":
      case "tmpfs-size":
      case "tmpfs-mode":
        throw notSupported(`--mount with ${key}`);
      default:
        throw new Error(`unexpected key '${key}' in '${field}'`);
    }
  }
  if (Target === "") throw new Error("target is required");
  return { Type, ...(Source === undefined ? {} : { Source }), Target, ...(ReadOnly ? { ReadOnly } : {}) };
}

function ulimit(text: string): { Name: string; Hard: number; Soft: number } {
  const [Name = "", limits, ...rest] = text.split("=");
  if (limits === undefined || rest.length > 0) throw new Error(`invalid ulimit argument: ${text}`);
  const [soft = "", hard = soft] = limits.split(":");
  wholeNumber(soft);
  wholeNumber(hard);
  if (Number(soft) > Number(hard) && Number(hard) !== -1) {
    throw new Error(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
  }
  return { Name, Hard: Number(hard), Soft: Number(soft) };
}

// -- The engine's part ------------------------------------------------------------------------------------------------------

/** Makes the container and adds it to the state; throws what the engine refuses. */
export function createContainer(state: State, wanted: Wanted): { id: string; warnings: string[] } {
  const { given } = wanted;
  const image = requireImage(state, wanted.image);
  const Id = newId();
  const Name = `/${wanted.name ?? inventName(state)}`;
  requireFreeName(state, Name.slice(1));
  const hostConfig = hostConfigOf(state, wanted);
  const entrypoint = given.text("entrypoint");
  const Entrypoint = entrypoint === undefined
    ? image.Config.Entrypoint ?? null
    : entrypoint === ""
    ? null
    : [entrypoint];
  // Another entrypoint makes the image's command meaningless.
  const own = wanted.command.length > 0 ? wanted.command : null;
  const Cmd = own ?? (entrypoint === undefined ? image.Config.Cmd ?? null : null);
  const [Path, ...Args] = [...Entrypoint ?? [], ...Cmd ?? []];
  if (Path === undefined) throw new Refusal("no command specified");
  const mounts = mountsOf(state, image, wanted);
  const network = hostConfig.NetworkMode;
  const timeout = given.text("stop-timeout");
  const check = healthcheckOf(image, wanted.health);
  if (knobs().noSpace) throw new Refusal(`mkdir ${stateDirectory}/overlay2/${Id}-init: no space left on device`);
  for (const { name, labels } of mounts.newVolumes) {
    state.volumes[name] ??= { CreatedAt: `${now().slice(0, 19)}Z`, Labels: labels };
    Deno.mkdirSync(volumeDirectory(name), { recursive: true });
  }
  const aliases = given.list("network-alias");
  const container: Container = {
    Id,
    Created: now(),
    Path,
    Args,
    State: { Status: "created", Pid: 0, ExitCode: 0, Error: "", StartedAt: never, FinishedAt: never },
    Image: image.Id,
    Name,
    RestartCount: 0,
    HostConfig: hostConfig,
    Mounts: mounts.mounts,
    Config: {
      attached: !given.is("detach"),
      Hostname: given.text("hostname") ?? (network === "host" ? Deno.hostname() : Id.slice(0, 12)),
      User: given.text("user") ?? image.Config.User ?? "",
      ExposedPorts: sorted({ ...image.Config.ExposedPorts, ...wanted.exposed }),
      Env: mergedEnv(wanted.env, image.Config.Env ?? []),
      Cmd,
      ...(check === undefined ? {} : { Healthcheck: check }),
      Image: wanted.image,
      Volumes: mounts.anonymous,
      WorkingDir: given.text("workdir") ?? image.Config.WorkingDir ?? "",
      Entrypoint,
      Labels: sorted({ ...image.Config.Labels, ...wanted.labels }),
      ...(timeout === undefined ? {} : { StopTimeout: Number(timeout) }),
      ...signalOf(given.text("stop-signal") ?? image.Config.StopSignal),
    },
    networks: { [network.startsWith("container:") ? "none" : network]: aliases.length > 0 ? aliases : null },
    behaviour: image.behaviour,
    ports: [],
    address: "",
    stoppedByHand: false,
    restartDelay: 0,
    starts: 0,
  };
  state.containers[Id] = container;
  const discarded = network === "host" && Object.keys(wanted.bindings).length > 0;
  return { id: Id, warnings: discarded ? ["WARNING: Published ports are discarded when using host network mode"] : [] };
}

function signalOf(StopSignal: string | undefined): { StopSignal?: string } {
  return StopSignal === undefined ? {} : { StopSignal };
}

/** Throws Docker's texts for a name that cannot be given. */
export function requireFreeName(state: State, name: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name)) {
    throw new Refusal(`Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  }
  const other = Object.values(state.containers).find(({ Name }) => Name === `/${name}`);
  if (other === undefined) return;
  throw new Refusal(
    `Conflict. The container name "/${name}" is already in use by container "${other.Id}". You have to remove (or rename) that container to be able to reuse that name.`,
  );
}

function inventName(state: State): string {
  const pick = (words: string) => words.split(" ")[Math.floor(Math.random() * words.split(" ").length)];
  const name = `${pick("admiring bold clever eager gallant happy keen quirky serene zen")}_${
    pick("bohr curie darwin euler gauss hopper lovelace noether turing wing")
  }`;
  const taken = Object.values(state.containers).some(({ Name }) => Name === `/${name}`);
  return taken ? `${name}${Math.floor(Math.random() * 10)}${Object.keys(state.containers).length}` : name;
}

function mergedEnv(own: string[], image: string[]): string[] {
  const names = new Set(own.map((entry) => entry.split("=")[0]));
  return [...own, ...image.filter((entry) => !names.has(entry.split("=")[0]))];
}

function healthcheckOf(image: Image, own: Healthcheck | undefined): Healthcheck | undefined {
  for (const name of ["Interval", "Timeout", "StartPeriod", "StartInterval"] as const) {
    const value = own?.[name];
    const field = name.replace("StartPeriod", "StartPeriod");
    if (value !== undefined && value < 1e6) throw new Refusal(`${field} in Healthcheck cannot be less than 1ms`);
  }
  const base = image.Config.Healthcheck;
  if (own === undefined) return base;
  if (base === undefined) return own;
  return { ...base, ...own, Test: own.Test.length > 0 ? own.Test : base.Test };
}

function hostConfigOf(state: State, wanted: Wanted): HostConfig {
  const { given } = wanted;
  const { Name, MaximumRetryCount } = wanted.restart;
  if (!["no", "always", "on-failure", "unless-stopped"].includes(Name)) {
    throw new Refusal(
      `invalid restart policy: unknown policy '${Name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  }
  if (MaximumRetryCount > 0 && Name !== "on-failure") {
    throw new Refusal("invalid restart policy: maximum retry count can only be used with 'on-failure'");
  }
  const ipc = given.text("ipc") ?? "private";
  if (!/^(private|shareable|host|none|container:.+)$/.test(ipc)) throw new Refusal(`invalid IPC mode: ${ipc}`);
  if (ipc.startsWith("container:")) requireContainer(state, ipc.slice("container:".length));
  const runtime = given.text("runtime") ?? "runc";
  if (!["runc", "io.containerd.runc.v2"].includes(runtime) && !(runtime === "nvidia" && hasNvidia("runtime"))) {
    throw new Refusal(`unknown or invalid runtime name: ${runtime}`);
  }
  const memory = bytes(given.text("memory") ?? "0");
  if (memory > 0 && memory < 6 * 1024 ** 2) throw new Refusal("Minimum memory limit allowed is 6MB");
  const cpus = Number(given.text("cpus") ?? 0);
  const present = navigator.hardwareConcurrency;
  if (cpus > present) {
    throw new Refusal(
      `Range of CPUs is from 0.01 to ${present.toFixed(2)}, as there are only ${present} CPUs available`,
    );
  }
  const driver = given.text("log-driver") ?? "json-file";
  if (!["json-file", "local", "journald", "syslog", "none"].includes(driver)) {
    throw new Refusal(`error looking up logging plugin ${driver}: plugin "${driver}" not found`);
  }
  const capabilities = given.list("cap-add").map((name) => name.toUpperCase());
  for (const name of [...capabilities, ...given.list("cap-drop").map((name) => name.toUpperCase())]) {
    const full = name === "ALL" || name.startsWith("CAP_") ? name : `CAP_${name}`;
    if (!knownCapabilities.has(full)) throw new Refusal(`invalid CapAdd: unknown capability: "${full}"`);
  }
  const list = (name: string) => given.list(name).length > 0 ? given.list(name) : null;
  const privileged = given.is("privileged");
  const security = given.list("security-opt");
  const labelled = privileged || ipc === "host" || given.text("pid") === "host";
  const gpus = given.list("gpus").map(deviceRequest);
  const tmpfs = given.list("tmpfs").map((text) =>
    [text.split(":")[0] ?? "", text.split(":").slice(1).join(":")] as const
  );
  const mounts = given.list("mount").map(mountOption);
  // An anonymous volume is no bind.
  const binds = wanted.volumes.filter((volume) => volume.includes(":"))
    // The client hands them over in no order at all.
    .map((volume) => [Math.random(), volume] as const).sort(([a], [b]) => a - b).map(([, volume]) => volume);
  return {
    Binds: binds.length > 0 ? binds : null,
    ContainerIDFile: "",
    LogConfig: {
      Type: driver,
      Config: Object.fromEntries(
        given.list("log-opt").map((text) => [text.split("=")[0] ?? "", text.split("=").slice(1).join("=")]),
      ),
    },
    NetworkMode: wanted.networks[0] ?? "bridge",
    PortBindings: wanted.bindings,
    RestartPolicy: wanted.restart,
    AutoRemove: given.is("rm"),
    VolumeDriver: "",
    VolumesFrom: null,
    ConsoleSize: [0, 0],
    CapAdd: capabilities.length > 0 ? capabilities : null,
    CapDrop: given.list("cap-drop").length > 0 ? given.list("cap-drop").map((name) => name.toUpperCase()) : null,
    CgroupnsMode: "private",
    Dns: [],
    DnsOptions: [],
    DnsSearch: [],
    ExtraHosts: given.list("add-host").length > 0
      ? given.list("add-host").map((host) => host.replace(/^([^:=]+)=/, "$1:"))
      : null,
    GroupAdd: null,
    IpcMode: ipc,
    Cgroup: "",
    Links: null,
    OomScoreAdj: 0,
    PidMode: given.text("pid") ?? "",
    Privileged: privileged,
    PublishAllPorts: false,
    ReadonlyRootfs: given.is("read-only"),
    SecurityOpt: labelled ? [...security, "label=disable"] : list("security-opt"),
    ...(tmpfs.length > 0 ? { Tmpfs: Object.fromEntries(tmpfs) } : {}),
    UTSMode: "",
    UsernsMode: "",
    ShmSize: bytes(given.text("shm-size") ?? "64m"),
    Runtime: runtime,
    Isolation: "",
    CpuShares: 0,
    Memory: memory,
    NanoCpus: Math.round(cpus * 1e9),
    CgroupParent: "",
    BlkioWeight: 0,
    BlkioWeightDevice: [],
    BlkioDeviceReadBps: [],
    BlkioDeviceWriteBps: [],
    BlkioDeviceReadIOps: [],
    BlkioDeviceWriteIOps: [],
    CpuPeriod: 0,
    CpuQuota: 0,
    CpuRealtimePeriod: 0,
    CpuRealtimeRuntime: 0,
    CpusetCpus: "",
    CpusetMems: "",
    Devices: given.list("device").map((device) => {
      const [PathOnHost = "", inside = PathOnHost, permissions = "rwm"] = device.split(":");
      const isMode = /^[rwm]+$/.test(inside);
      return {
        PathOnHost,
        PathInContainer: isMode ? PathOnHost : inside,
        CgroupPermissions: isMode ? inside : permissions,
      };
    }),
    DeviceCgroupRules: null,
    DeviceRequests: gpus.length > 0 ? gpus : null,
    MemoryReservation: 0,
    MemorySwap: memory * 2,
    MemorySwappiness: null,
    OomKillDisable: null,
    PidsLimit: null,
    Ulimits: given.list("ulimit").map(ulimit),
    CpuCount: 0,
    CpuPercent: 0,
    IOMaximumIOps: 0,
    IOMaximumBandwidth: 0,
    ...(mounts.length > 0 ? { Mounts: mounts } : {}),
    MaskedPaths: privileged ? null : maskedPaths,
    ReadonlyPaths: privileged ? null : readonlyPaths,
    ...(given.text("init") === undefined ? {} : { Init: given.is("init") }),
  };
}

const maskedPaths = [
  "/proc/asound",
  "/proc/acpi",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
]
  .concat(["/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"]);
const readonlyPaths = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const knownCapabilities = new Set([
  "ALL",
  ...("AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID " +
    "IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW " +
    "PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO " +
    "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM").split(" ").map((name) => `CAP_${name}`),
]);

interface Mounts {
  mounts: Mount[];
  newVolumes: { name: string; labels: Record<string, string> | null }[];
  /** The image's volumes and the anonymous ones, as `Config.Volumes` has them. */
  anonymous: Record<string, Record<string, never>> | null;
}

function mountsOf(state: State, image: Image, { volumes, given }: Wanted): Mounts {
  const result: Mounts = { mounts: [], newVolumes: [], anonymous: null };
  const taken = new Set<string>();
  const add = (mount: Mount, labels: Record<string, string> | null = null) => {
    if (taken.has(mount.Destination)) throw new Refusal(`Duplicate mount point: ${mount.Destination}`);
    taken.add(mount.Destination);
    if (mount.Name !== undefined && state.volumes[mount.Name] === undefined) {
      result.newVolumes.push({ name: mount.Name, labels });
    }
    result.mounts.push(mount);
  };
  const volume = (Name: string, Destination: string, Mode: string, RW: boolean): Mount => {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(Name)) {
      throw new Refusal(
        `create ${Name}: ${
          JSON.stringify(Name)
        } includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
      );
    }
    return {
      Type: "volume",
      Name,
      Source: volumeDirectory(Name),
      Destination,
      Driver: "local",
      Mode,
      RW,
      Propagation: "",
    };
  };
  const bind = (Source: string, Destination: string, Mode: string, RW: boolean): Mount => {
    return { Type: "bind", Source, Destination, Mode, RW, Propagation: "rprivate" };
  };
  const anonymous = (destination: string, mode: string) =>
    add(volume(newId(), destination, mode, true), { "com.docker.volume.anonymous": "" });

  const unnamed = volumes.filter((text) => !text.includes(":"));
  for (const text of volumes.filter((text) => text.includes(":"))) {
    const [source = "", target = "", mode = "", ...rest] = text.split(":");
    if (rest.length > 0) throw new Refusal(`invalid volume specification: '${text}'`);
    const options = mode.split(",").filter((option) => option !== "");
    if (options.some((option) => !/^(rw|ro|z|Z|nocopy|r?(private|shared|slave))$/.test(option))) {
      throw new Refusal(`invalid mode: ${mode}`);
    }
    const type = source.startsWith("/") ? "bind" : "volume";
    if (!target.startsWith("/")) {
      throw new Refusal(
        `invalid volume specification: '${text}': invalid mount config for type "${type}": invalid mount path: '${target}' mount path must be absolute`,
      );
    }
    if (target === "/") {
      throw new Refusal(
        `invalid volume specification: '${text}': invalid mount config for type "${type}": invalid specification: destination can't be '/'`,
      );
    }
    const writable = !options.includes("ro");
    const destination = cleanPath(target);
    if (type === "volume") add(volume(source, destination, mode || "z", writable));
    else {
      // What is bound and missing is made, as a folder.
      if (!exists(source)) Deno.mkdirSync(source, { recursive: true });
      add(bind(cleanPath(source), destination, mode, writable));
    }
  }
  for (const { Type, Source, Target, ReadOnly } of given.list("mount").map(mountOption)) {
    const refuse = (reason: string) => new Refusal(`invalid mount config for type "${Type}": ${reason}`);
    if (Type === "tmpfs") continue;
    if (Type !== "bind" && Type !== "volume") throw refuse("mount type unknown");
    if (!Target.startsWith("/")) throw refuse(`invalid mount path: '${Target}' mount path must be absolute`);
    const destination = cleanPath(Target);
    if (Type === "volume") {
      if (Source === undefined) anonymous(destination, "z");
      else add(volume(Source, destination, "z", !ReadOnly));
      continue;
    }
    if (Source === undefined) throw refuse("field Source must not be empty");
    if (!Source.startsWith("/")) throw refuse(`invalid mount path: '${Source}' mount path must be absolute`);
    if (!exists(Source)) throw refuse(`bind source path does not exist: ${Source}`);
    add(bind(cleanPath(Source), destination, "", !ReadOnly));
  }
  const all = [...unnamed, ...Object.keys(image.Config.Volumes ?? {})];
  for (const destination of new Set(all)) {
    if (!destination.startsWith("/")) throw notSupported(`--volume ${destination}`);
    if (!taken.has(cleanPath(destination))) anonymous(cleanPath(destination), "");
  }
  if (all.length > 0) result.anonymous = sorted(Object.fromEntries(all.map((destination) => [destination, {}])));
  return result;
}

function cleanPath(path: string): string {
  return new URL(`file://${path.replaceAll("%", "%25").replaceAll("?", "%3f").replaceAll("#", "%23")}`).pathname.split(
    "/",
  ).map(decodeURIComponent)
    .filter((part, index) => part !== "" || index === 0).join("/") || "/";
}

/** The container of a name, an id, or the beginning of one; throws Docker's texts. */
export function requireContainer(state: State, text: string): Container {
  const found = findContainer(state, text);
  if (found.length > 1) throw new Refusal(`Multiple IDs found with provided prefix: ${text}`);
  if (found[0] === undefined) throw new Refusal(`No such container: ${text}`);
  return found[0];
}

/** The exit of the client itself, such as for a wrong option of `docker run`. */
export function clientError(command: string, text: string): Exit {
  return new Exit(125, `docker: ${text.replace(/\.$/, "")}.\nSee 'docker ${command} --help'.`);
}
