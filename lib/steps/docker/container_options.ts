/**
 * The specification of a Docker container, and the command that creates one.
 *
 * @module
 */

import { Secret } from "../../secret.ts";
import { type Script, sh } from "../../shell.ts";
import { type Duration, milliseconds } from "../../time.ts";
import { requirePath } from "../support/path.ts";
import type { HealthCheckInfo } from "./container_info.ts";
import { requireReference } from "./image_info.ts";
import { PREDEFINED_NETWORKS, requireNetworkName } from "./network.ts";

/** How long a container may take to run where the setup does not say. */
const DEFAULT_START_TIMEOUT = "2m";

/** What a Docker container has to be, in the terms of `docker run`. What is left out is not compared. */
export interface DockerContainerSpec {
  /** The image, pulled where it is missing. */
  readonly image: string;
  /** All published ports: `[address:]port:containerPort[/udp]`. */
  readonly ports?: readonly string[];
  /** All mounts, except the anonymous volumes that the image declares: `nameOrPath:/path[:ro]`. */
  readonly volumes?: readonly string[];
  /** All variables, except the image's and the proxies of Docker's client. A value can be a secret. */
  readonly environment?: Readonly<Record<string, string | Secret>>;
  /** The restart policy: `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:3`. */
  readonly restart?: "no" | "always" | "unless-stopped" | "on-failure" | `on-failure:${number}`;
  /** The arguments after the image. */
  readonly command?: readonly string[];
  /**
   * The program that runs instead of the image's, with `command` as its arguments; empty for none: `command` names it
   * then.
   */
  readonly entrypoint?: string;
  /** Labels that it must have; it may have others. */
  readonly labels?: Readonly<Record<string, string>>;
  /** All GPUs: `all`, or their numbers, from 0 on, as `nvidia-smi` shows them inside. */
  readonly gpus?: "all" | readonly number[];
  /** The runtime, such as `nvidia`. */
  readonly runtime?: string;
  /** The IPC mode: whose shared memory it uses. */
  readonly ipc?: "host" | "private" | "shareable" | "none";
  /** The size of its `/dev/shm`, such as `16g`. */
  readonly shmSize?: string;
  /** All networks: names of a {@linkcode network}, `bridge`, or `host` or `none` alone. */
  readonly networks?: readonly string[];
  /** Its host name. */
  readonly hostname?: string;
  /** The user, and group, it runs as: `1000`, `www-data:www-data`. */
  readonly user?: string;
  /** Whether a small init is its first process, which reaps orphans and forwards signals. */
  readonly init?: boolean;
  /** The health check, instead of the image's. */
  readonly health?: HealthCheck;
  /** Files and folders inside that it reads at its start: it is restarted when their content has changed since. */
  readonly restartWith?: readonly string[];
  /** How long it may take to run, and to be healthy where it has a health check. Default: 2 minutes. */
  readonly within?: Duration;
}

/** How Docker finds out whether a container is healthy. What is left out is as in the image, or Docker's default. */
export interface HealthCheck {
  /** A command line for the shell in the container, which exits with 0 when it is healthy. */
  readonly command: string;
  /** The time between two checks. Docker's default: 30 seconds. */
  readonly interval?: Duration;
  /** How long a check may take. Docker's default: 30 seconds. */
  readonly timeout?: Duration;
  /** How many checks in a row have to fail. Docker's default: 3. */
  readonly retries?: number;
  /** The time after the start in which a check that fails does not count. Docker's default: none. */
  readonly startPeriod?: Duration;
}

/** The parts of a specification that are compared in another form than they are written in. */
export interface NormalizedSpec {
  /** As {@linkcode portKey} makes them. */
  readonly ports: readonly string[] | undefined;
  /** `nameOrPath:/path[:ro]`. */
  readonly volumes: readonly string[] | undefined;
  /** In bytes. */
  readonly shmSize: number | undefined;
  /** As Docker shows it. */
  readonly health: HealthCheckInfo | undefined;
}

/** A container as it has to be: checked and normalized. */
export interface DesiredContainer {
  /** Its name. */
  readonly name: string;
  /** The specification, as the setup has it. */
  readonly spec: DockerContainerSpec;
  /** Its parts that need another form. */
  readonly normalized: NormalizedSpec;
  /** How long it may take to run, and to be healthy where it has a health check, in milliseconds. */
  readonly startTimeoutMs: number;
}

/**
 * Checks and normalizes a specification. Throws a `TypeError` for what Docker would refuse, or understand as something
 * else.
 */
export function readSpec(name: string, spec: DockerContainerSpec): DesiredContainer {
  requireContainerName(name);
  requireReference(spec.image);
  for (const [variable, value] of Object.entries(spec.environment ?? {})) requireVariable(variable, value);
  requireGpus(spec.gpus);
  requireNetworks(spec.networks);
  for (const path of spec.restartWith ?? []) requirePath(path, `restart the container "${name}" with`);
  const normalized = {
    ports: spec.ports?.map(parsePort),
    volumes: spec.volumes?.map(parseVolume),
    shmSize: spec.shmSize === undefined ? undefined : bytesOf(spec.shmSize),
    health: spec.health === undefined ? undefined : healthOf(spec.health),
  };
  return { name, spec, normalized, startTimeoutMs: milliseconds(spec.within ?? DEFAULT_START_TIMEOUT) };
}

/**
 * The command that creates a container, its stdin, and the commands that have to follow before the container is
 * started.
 */
export function createCommand(
  name: string,
  spec: DockerContainerSpec,
): { readonly create: Script; readonly stdin: string | undefined; readonly connect: readonly Script[] } {
  const variables = Object.entries(spec.environment ?? {});
  // An environment file, which is stdin here, keeps values out of argument lists; it cannot hold a line break.
  const inFile = variables.filter(([, value]) => !hasLineBreak(value));
  const inArguments = variables.filter(([, value]) => hasLineBreak(value));
  const options: Script[] = [
    sh`--name ${name}`,
    ...(spec.restart === undefined ? [] : [sh`--restart ${spec.restart}`]),
    ...(spec.ports ?? []).map((port) => sh`--publish ${port}`),
    ...(spec.volumes ?? []).map((volume) => sh`--volume ${volume}`),
    ...Object.entries(spec.labels ?? {}).map(([label, value]) => sh`--label ${`${label}=${value}`}`),
    ...inArguments.map(([variable, value]) => sh`--env ${`${variable}=${reveal(value)}`}`),
    ...(inFile.length === 0 ? [] : [sh`--env-file /dev/stdin`]),
    ...(spec.entrypoint === undefined ? [] : [sh`--entrypoint ${spec.entrypoint}`]),
    // Docker parses this as comma-separated values, in which the commas between the numbers need quotes.
    ...(gpuNames(spec.gpus ?? []) === "" ? [] : [
      spec.gpus === "all" ? sh`--gpus all` : sh`--gpus ${`"device=${gpuNames(spec.gpus!)}"`}`,
    ]),
    ...option("runtime", spec.runtime),
    ...option("ipc", spec.ipc),
    ...option("shm-size", spec.shmSize),
    ...option("network", spec.networks?.[0]),
    ...option("hostname", spec.hostname),
    ...option("user", spec.user),
    ...(spec.init === undefined ? [] : [sh`--init=${String(spec.init)}`]),
    ...option("health-cmd", spec.health?.command),
    ...option("health-interval", goDuration(spec.health?.interval)),
    ...option("health-timeout", goDuration(spec.health?.timeout)),
    ...option("health-retries", spec.health?.retries),
    ...option("health-start-period", goDuration(spec.health?.startPeriod)),
  ];
  const line = options.reduce((all, option) => sh`${all} ${option}`);
  return {
    create: sh`docker create --pull never ${line} ${spec.image} ${spec.command ?? []}`,
    stdin: inFile.length === 0
      ? undefined
      : inFile.map(([variable, value]) => `${variable}=${reveal(value)}\n`).join(""),
    // Docker before version 25 takes only one network in the first command.
    connect: (spec.networks?.slice(1) ?? []).map((network) => sh`docker network connect ${network} ${name}`),
  };
}

/** Throws a `TypeError` unless a container can have this name. */
export function requireContainerName(name: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name)) {
    throw new TypeError(
      `Cannot name a Docker container "${name}": expected a letter or digit, ` +
        `followed by one or more of letters, digits, "_", "." and "-"`,
    );
  }
}

function requireVariable(variable: string, value: string | Secret): void {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(variable)) {
    throw new TypeError(`Cannot use "${variable}" as the name of an environment variable`);
  }
  if (value instanceof Secret && hasLineBreak(value)) {
    throw new TypeError(
      `Cannot pass the secret in "${variable}" to a container as it has a line break: mount a file instead`,
    );
  }
}

/** Whether a value has a line break. Docker drops a carriage return at the end of a line as well. */
function hasLineBreak(value: string | Secret): boolean {
  return /[\r\n]/.test(reveal(value));
}

/** The value of a variable, even if it is a secret. */
export function reveal(value: string | Secret): string {
  return value instanceof Secret ? value.reveal() : value;
}

function requireGpus(gpus: DockerContainerSpec["gpus"] = []): void {
  const right = gpus === "all" ||
    (gpus.every((gpu) => Number.isInteger(gpu) && gpu >= 0) && new Set(gpus).size === gpus.length);
  if (!right) {
    throw new TypeError(`Cannot give a container the GPUs "${gpus}": expected "all" or numbers such as [0, 1]`);
  }
}

function requireNetworks(networks: readonly string[] = ["bridge"]): void {
  networks.forEach(requireNetworkName);
  const alone = networks.some((network) => network !== "bridge" && PREDEFINED_NETWORKS.has(network));
  if (networks.length === 0 || (alone && networks.length > 1)) {
    throw new TypeError(
      `Cannot connect a container to [${
        networks.join(", ")
      }]: expected names of networks, or ["host"] or ["none"] alone`,
    );
  }
}

/** A size such as `16g`, in bytes. */
function bytesOf(size: string): number {
  const [, number, unit = ""] = /^([1-9]\d*)([bkmg]?)$/i.exec(size) ?? [];
  if (number === undefined) {
    throw new TypeError(`Cannot use "${size}" as a size: expected a number with a unit, such as "16g" or "512m"`);
  }
  return Number(number) * 1024 ** "bkmg".indexOf(unit.toLowerCase() || "b");
}

/** The numbers of GPUs as one word. */
export function gpuNames(gpus: NonNullable<DockerContainerSpec["gpus"]>): string {
  return gpus === "all" ? gpus : gpus.toSorted(byNumber).join(",");
}

/** Orders numbers, even those in text, by their value. */
export function byNumber(a: string | number, b: string | number): number {
  return Number(a) - Number(b);
}

/** A health check as Docker shows it, without what is left out. */
function healthOf({ command, interval, timeout, retries, startPeriod }: HealthCheck): HealthCheckInfo {
  if (command.trim() === "") throw new TypeError("Cannot check health with an empty command");
  if (retries !== undefined && !(Number.isInteger(retries) && retries > 0)) {
    throw new TypeError(`Cannot check health with ${retries} retries: expected a positive integer`);
  }
  const nanoseconds = (duration: Duration) => Math.round(milliseconds(duration) * 1e6);
  return {
    Test: ["CMD-SHELL", command],
    ...(interval === undefined ? {} : { Interval: nanoseconds(interval) }),
    ...(timeout === undefined ? {} : { Timeout: nanoseconds(timeout) }),
    ...(startPeriod === undefined ? {} : { StartPeriod: nanoseconds(startPeriod) }),
    ...(retries === undefined ? {} : { Retries: retries }),
  };
}

/** A duration as Go writes it. */
function goDuration(duration: Duration | undefined): string | undefined {
  return duration === undefined ? undefined : `${milliseconds(duration)}ms`;
}

function option(name: string, value: string | number | undefined): Script[] {
  return value === undefined ? [] : [sh`${`--${name}`} ${value}`];
}

/** Normalizes `[address:]port:containerPort[/udp]`. */
function parsePort(text: string): string {
  const match = /^(?:(\d+(?:\.\d+){3}|\[[0-9a-f:]+\]):)?([1-9]\d*):([1-9]\d*)(?:\/(tcp|udp))?$/.exec(text);
  if (!match || [match[2], match[3]].some((port) => Number(port) > 65535)) {
    throw new TypeError(`Cannot publish "${text}": expected [address:]port:containerPort[/udp], such as "9443:9443"`);
  }
  const [, address = "", hostPort, containerPort, protocol = "tcp"] = match;
  return portKey(address.replace(/^\[|\]$/g, ""), hostPort!, `${containerPort}/${protocol}`);
}

/** A published port in the form in which ports are compared. */
export function portKey(address: string, hostPort: string, containerPort: string): string {
  const any = address === "" || address === "0.0.0.0";
  return `${any ? "" : `${address}:`}${hostPort}:${containerPort.replace(/\/tcp$/, "")}`;
}

/** Normalizes `nameOrPath:/path[:ro]`. */
function parseVolume(text: string): string {
  const match = /^(\/[^:]*|[a-zA-Z0-9][a-zA-Z0-9_.-]*):(\/[^:]*)(?::(ro|rw))?$/.exec(text);
  if (!match) {
    throw new TypeError(`Cannot mount "${text}": expected nameOrPath:/path[:ro], such as "portainer_data:/data"`);
  }
  const [, source, destination, access] = match;
  // Docker drops a trailing slash.
  const path = (text: string) => text.replace(/(?<=.)\/+$/, "");
  return `${path(source!)}:${path(destination!)}${access === "ro" ? ":ro" : ""}`;
}
