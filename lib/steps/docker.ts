/**
 * Docker inside the container: the engine, images, and containers as specified.
 *
 * @module
 */

import { failureOf, type Output } from "../container.ts";
import type { Reading, Step, Writing } from "../engine.ts";
import { ExitCode, Failure, messageOf } from "../errors.ts";
import type { Difference } from "../events.ts";
import { Secret } from "../secret.ts";
import { type Script, sh } from "../shell.ts";
import { type Duration, formatDuration, milliseconds } from "../time.ts";
import type { Alive } from "./wait.ts";

/** How long the engine may take to answer after the container's start. */
const ENGINE_TIMEOUT = 60_000;
/** How long a pull may take. */
const PULL_TIMEOUT = "1h";
/** How long a container may take to stop before it is killed, in seconds. */
const STOP_SECONDS = 30;
/** A container without a health check counts as running once it has run for this long, in milliseconds. */
const SETTLED = 2_000;
/** What must be free below Docker's data before anything is fetched or replaced, in KiB. */
const LEAST_FREE_KIB = 512 * 1024;

/**
 * The Docker engine answers. Where it does not, its service is started and waited for, for a minute.
 *
 * @example
 * ```ts
 * const ready = engine();
 * ```
 */
export function engine(): Step<Output> {
  const look = ({ container }: Reading) =>
    container.read(sh`docker version --format '{{.Server.Version}}'`, { codes: "any", timeout: "30s" });
  return {
    title: "Docker engine answers",
    probe: look,
    diff: (output) => output.code === 0 ? [] : [{ what: "engine", from: output.errorText, to: "answers" }],
    async apply(at, output) {
      if (output.code === 127) {
        throw new Failure(ExitCode.Step, "Docker is not installed inside the container", {
          hint: "The orchestrator installs it where the container's features have nesting=1",
        });
      }
      await at.container.write(sh`command -v systemctl >/dev/null && systemctl start docker`, { codes: "any" });
      const started = performance.now();
      while ((output = await look(at)).code !== 0) {
        // Only an engine that is still on its way is worth waiting for.
        if (!/cannot connect to the docker daemon/i.test(output.errorText)) throw failureOf(output);
        if (performance.now() - started > ENGINE_TIMEOUT) {
          throw failureOf(output, "The Docker engine did not answer within 1 min", ExitCode.Timeout);
        }
        await at.pause(1_000);
      }
    },
  };
}

/** The part of `docker image inspect` that is used. */
interface ImageInfo {
  readonly Id: string;
  readonly Config?: { readonly Env?: readonly string[] | null } | null;
}

/**
 * An image is there, pulled where it is not. An image that is there is not pulled again: state a tag that does not move, or a digest.
 *
 * Requirements, section 2: "Pulling/Loading Docker Images".
 *
 * @example
 * ```ts
 * const portainer = image("portainer/portainer-ce:2.33.1");
 * ```
 */
export function image(reference: string): Step<ImageInfo | undefined> {
  return {
    title: `image ${reference}`,
    probe: ({ container }) => inspectImage(container, reference),
    diff: (info) => info === undefined ? [{ what: "image", to: reference }] : [],
    apply: (at) => pull(at, reference),
  };
}

async function inspectImage(container: Reading["container"], reference: string): Promise<ImageInfo | undefined> {
  return await inspect<ImageInfo>(container, sh`docker image inspect ${reference}`);
}

async function pull(at: Writing, reference: string): Promise<void> {
  await requireSpace(at);
  at.progress("pulling");
  await at.container.write(sh`docker pull ${reference}`, {
    timeout: PULL_TIMEOUT,
    onOutput: (chunk) => at.progress(new TextDecoder().decode(chunk).trim().split("\n").at(-1)!.slice(0, 80)),
  });
}

async function requireSpace({ container }: Reading): Promise<void> {
  const output = await container.read(
    sh`d=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
[ -d "$d" ] || d=/
df -Pk "$d" | tail -n 1`,
  );
  const free = Number(output.text.trim().split(/\s+/)[3]);
  if (free >= LEAST_FREE_KIB) return;
  if (Number.isNaN(free)) throw failureOf(output, "Cannot tell how much space is free for Docker inside the container");
  throw new Failure(
    ExitCode.Step,
    `Only ${Math.floor(free / 1024)} MiB are free for Docker inside the container, expected at least ` +
      `${LEAST_FREE_KIB / 1024} MiB`,
    { hint: `Free some space (docker system df), or enlarge the disk: pct resize ${container.ctid} rootfs +8G` },
  );
}

/** What a Docker container has to be. Only what is stated counts as a difference; `docker run` has the same names. */
export interface DockerContainerSpec {
  /** The image, pulled where it is missing. */
  readonly image: string;
  /** The published ports, all of them: `[address:]port:containerPort[/udp]`. */
  readonly ports?: readonly string[];
  /** The mounts, all of them: `nameOrPath:/path[:ro]`. */
  readonly volumes?: readonly string[];
  /** The environment beyond the image's, all of it. A value can be a secret. */
  readonly environment?: Readonly<Record<string, string | Secret>>;
  /** The restart policy: `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:3`. */
  readonly restart?: "no" | "always" | "unless-stopped" | "on-failure" | `on-failure:${number}`;
  /** The arguments after the image. */
  readonly command?: readonly string[];
  /** Labels that have to be there, among others. */
  readonly labels?: Readonly<Record<string, string>>;
  /** How long it may take to run, and to be healthy where it has a health check. Default: 2 minutes. */
  readonly within?: Duration;
}

/** The part of `docker container inspect` that is used. */
interface ContainerInfo {
  readonly Id: string;
  readonly Image: string;
  readonly RestartCount: number;
  readonly State: {
    readonly Status: string;
    readonly Running: boolean;
    readonly ExitCode: number;
    readonly Error?: string;
    readonly Health?: { readonly Status: string; readonly Log?: readonly { readonly Output?: string }[] | null } | null;
  };
  readonly Config: {
    readonly Image: string;
    readonly Env?: readonly string[] | null;
    readonly Cmd?: readonly string[] | null;
    readonly Labels?: Readonly<Record<string, string>> | null;
  };
  readonly HostConfig: {
    readonly RestartPolicy: { readonly Name: string; readonly MaximumRetryCount: number };
    readonly PortBindings?:
      | Readonly<Record<string, readonly { readonly HostIp?: string; readonly HostPort: string }[] | null>>
      | null;
  };
  readonly Mounts: readonly {
    readonly Type: string;
    readonly Name?: string;
    readonly Source: string;
    readonly Destination: string;
    readonly RW: boolean;
  }[];
}

/** What there is of a container: itself, what an interrupted replacement left, and the image that it should have. */
interface ContainerState {
  readonly current: ContainerInfo | undefined;
  readonly previous: ContainerInfo | undefined;
  readonly image: ImageInfo | undefined;
}

/**
 * A Docker container that runs as specified, and is healthy where it has a health check. One that differs is replaced without a
 * gap in safety: the image is there and space suffices before it is touched; it is renamed, stopped, and removed only when the new
 * one runs; otherwise it is put back and the step fails. One with an anonymous volume is never replaced, as its data would be lost.
 *
 * A replacement that was cut off is recognised by `<name>_previous` and finished, or undone, by the next run.
 *
 * @example
 * ```ts
 * const registry = container("registry", {
 *   image: "registry:2.8.3",
 *   ports: ["5000:5000"],
 *   volumes: ["registry_data:/var/lib/registry"],
 *   restart: "always",
 * });
 * ```
 */
export function container(name: string, spec: DockerContainerSpec): Step<ContainerState> {
  requireName(name);
  const ports = spec.ports?.map(parsePort);
  const volumes = spec.volumes?.map(parseVolume);
  for (const [variable, value] of Object.entries(spec.environment ?? {})) requireVariable(variable, value);
  const previousName = `${name}_previous`;
  const within = milliseconds(spec.within ?? "2m");

  const probe = async ({ container }: Reading): Promise<ContainerState> => ({
    current: await inspectContainer(container, name),
    previous: await inspectContainer(container, previousName),
    image: await inspectImage(container, spec.image),
  });

  /** What only a new container can mend. */
  function drift({ current, image }: ContainerState): Difference[] {
    if (current === undefined) return [];
    const { Config, HostConfig } = current;
    const differences: Difference[] = [];
    const compare = (what: string, from: string, to: string) => {
      if (from !== to) differences.push({ what, from: from || "none", to: to || "none" });
    };
    if (image === undefined || current.Image !== image.Id) {
      const same = Config.Image === spec.image;
      differences.push({
        what: "image",
        from: same ? `${Config.Image} (${current.Image.slice(7, 19)})` : Config.Image,
        to: same ? `${spec.image} (${image?.Id.slice(7, 19) ?? "to be pulled"})` : spec.image,
      });
    }
    if (ports) compare("ports", listed(publishedPorts(current)), listed(ports.map(({ key }) => key)));
    if (volumes) compare("volumes", listed(mounts(current)), listed(volumes.map(({ key }) => key)));
    if (spec.restart !== undefined) {
      compare("restart", restartPolicy(HostConfig.RestartPolicy), spec.restart.replace(/:0$/, ""));
    }
    if (spec.command) compare("command", JSON.stringify(Config.Cmd ?? []), JSON.stringify(spec.command));
    if (spec.environment) {
      // Which of the variables are those of another image, nobody knows.
      const ofImage = image !== undefined && current.Image === image.Id ? image.Config?.Env ?? [] : Config.Env ?? [];
      differences.push(...environmentDrift(Config.Env ?? [], ofImage, spec.environment));
    }
    for (const [label, value] of Object.entries(spec.labels ?? {})) {
      compare(`label ${label}`, Config.Labels?.[label] ?? "", value);
    }
    return differences;
  }

  function diff(state: ContainerState): Difference[] {
    const { current, previous } = state;
    const differences: Difference[] = [];
    if (previous) differences.push({ what: previousName, from: "left by an interrupted replacement" });
    if (!current) return [...differences, { what: "container", to: `running ${spec.image}` }];
    differences.push(...drift(state));
    // One that is paused, or about to be restarted, counts as running for Docker.
    if (current.State.Status !== "running") {
      differences.push({ what: "state", from: current.State.Status, to: "running" });
    }
    if (current.State.Running && current.State.Health && current.State.Health.Status !== "healthy") {
      differences.push({ what: "health", from: current.State.Health.Status, to: "healthy" });
    }
    return differences;
  }

  async function apply(at: Writing, found: ContainerState): Promise<void> {
    let state = found;
    if (state.previous) {
      await finishInterrupted(at, state);
      state = await probe(at);
    }
    if (!state.image) {
      await pull(at, spec.image);
      state = await probe(at);
    }
    if (!state.current) return await createAndStart(at);
    if (drift(state).length > 0) return await replace(at, state.current);
    if (!state.current.State.Running) await at.container.write(sh`docker start ${name}`);
    await settle(at);
  }

  /** A run that was cut off left the old container renamed. The new one stays if it is as specified and proves itself. */
  async function finishInterrupted(at: Writing, state: ContainerState): Promise<void> {
    if (state.current && drift(state).length === 0) {
      try {
        await at.container.write(sh`docker stop -t ${STOP_SECONDS} ${previousName}`);
        await at.container.write(sh`docker start ${name}`);
        await settle(at);
        await at.container.write(sh`docker rm -f ${previousName}`);
        return;
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        at.progress(`the interrupted replacement does not run (${error.message}): going back`);
      }
    }
    if (state.current) await at.container.write(sh`docker rm -f ${name}`);
    await at.container.write(sh`docker rename ${previousName} ${name}`);
    await at.container.write(sh`docker start ${name}`);
  }

  async function createAndStart(at: Writing): Promise<void> {
    await requireSpace(at);
    try {
      await create(at);
      await at.container.write(sh`docker start ${name}`);
      await settle(at);
    } catch (error) {
      // What does not run must not look like something to build on.
      await at.container.write(sh`docker rm -f ${name}`, { codes: "any" });
      throw error;
    }
  }

  async function replace(at: Writing, old: ContainerInfo): Promise<void> {
    const anonymous = old.Mounts.find((mount) => mount.Type === "volume" && /^[0-9a-f]{64}$/.test(mount.Name ?? ""));
    if (anonymous) {
      throw new Failure(
        ExitCode.Step,
        `Cannot replace the container "${name}" as the data at "${anonymous.Destination}" is in an anonymous volume, ` +
          "which the new container would not have",
        {
          hint: `Copy the data out (docker cp), state a named volume for "${anonymous.Destination}", remove it by hand`,
        },
      );
    }
    await requireSpace(at);
    await at.container.write(sh`docker rename ${name} ${previousName}`);
    try {
      await create(at);
      await at.container.write(sh`docker stop -t ${STOP_SECONDS} ${previousName}`);
      await at.container.write(sh`docker start ${name}`);
      await settle(at);
    } catch (error) {
      await putBack(at, old, error);
      throw error;
    }
    await at.container.write(sh`docker rm ${previousName}`);
  }

  async function putBack(at: Writing, old: ContainerInfo, why: unknown): Promise<void> {
    let there = previousName;
    try {
      await at.container.write(sh`docker rm -f ${name}`, { codes: [0, 1] });
      await at.container.write(sh`docker rename ${previousName} ${name}`);
      there = name;
      if (old.State.Running) await at.container.write(sh`docker start ${name}`);
    } catch (error) {
      throw new Failure(
        ExitCode.Step,
        `The new container "${name}" does not run (${messageOf(why)}), and the old one could not be put back ` +
          `(${messageOf(error)}): it is there as "${there}"`,
        { hint: "Run this again: it finishes or undoes the replacement", cause: error },
      );
    }
  }

  async function create(at: Writing): Promise<void> {
    const variables = Object.entries(spec.environment ?? {});
    // In a file, here stdin, a value stays off every argument list; only a line break cannot stand there.
    const inFile = variables.filter(([, value]) => !reveal(value).includes("\n"));
    const inArguments = variables.filter(([, value]) => reveal(value).includes("\n"));
    const options: Script[] = [
      sh`--name ${name}`,
      ...(spec.restart === undefined ? [] : [sh`--restart ${spec.restart}`]),
      ...(spec.ports ?? []).map((port) => sh`--publish ${port}`),
      ...(spec.volumes ?? []).map((volume) => sh`--volume ${volume}`),
      ...Object.entries(spec.labels ?? {}).map(([label, value]) => sh`--label ${`${label}=${value}`}`),
      ...inArguments.map(([variable, value]) => sh`--env ${`${variable}=${reveal(value)}`}`),
      ...(inFile.length === 0 ? [] : [sh`--env-file /dev/stdin`]),
    ];
    const line = options.reduce((all, option) => sh`${all} ${option}`);
    await at.container.write(
      sh`docker create --pull never ${line} ${spec.image} ${spec.command ?? []}`,
      inFile.length === 0
        ? {}
        : { stdin: inFile.map(([variable, value]) => `${variable}=${reveal(value)}\n`).join("") },
    );
  }

  /** Waits until the container has proven that it runs. */
  async function settle(at: Writing): Promise<void> {
    const started = performance.now();
    let restarts: number | undefined;
    for (;;) {
      const info = await inspectContainer(at.container, name);
      if (!info) throw new Failure(ExitCode.Step, `The container "${name}" was removed while it was waited for`);
      restarts ??= info.RestartCount;
      const health = info.State.Health?.Status;
      const dead = info.RestartCount > restarts || info.State.Status === "restarting"
        ? `restarts again and again, last with exit code ${info.State.ExitCode}`
        : !info.State.Running
        ? `ended with exit code ${info.State.ExitCode}${info.State.Error ? `: ${info.State.Error}` : ""}`
        : health === "unhealthy"
        ? `is unhealthy: ${info.State.Health?.Log?.at(-1)?.Output?.trim() ?? "its health check fails"}`
        : undefined;
      if (dead !== undefined) throw await failureWithLogs(at, `The container "${name}" ${dead}`);
      const age = performance.now() - started;
      if (health === "healthy" || (health === undefined && age >= SETTLED)) return;
      if (age > within) {
        throw await failureWithLogs(
          at,
          `The container "${name}" was not healthy within ${formatDuration(within)}: its health is "${health}"`,
          ExitCode.Timeout,
        );
      }
      at.progress(health === undefined ? "started" : `health: ${health}`);
      await at.pause(500);
    }
  }

  async function failureWithLogs({ container }: Reading, message: string, exitCode: ExitCode = ExitCode.Step) {
    const logs = await container.read(sh`docker logs --tail 20 ${name} 2>&1`, { codes: "any" });
    return failureOf(logs, message, exitCode);
  }

  return { title: `container ${name}`, probe, diff, apply };
}

/**
 * A Docker container that has to live on while something is waited for.
 *
 * @example
 * ```ts
 * import { http } from "./http.ts";
 *
 * const ready = http("http://localhost:8000/health", { within: "20m", while: running("vllm") });
 * ```
 */
export function running(name: string): Alive {
  requireName(name);
  return {
    async whyGone({ container }) {
      const info = await inspectContainer(container, name);
      if (!info) return `there is no container "${name}"`;
      const { Status, ExitCode, Running } = info.State;
      if (Running || Status === "restarting" || Status === "created") return undefined;
      const logs = await container.read(sh`docker logs --tail 5 ${name} 2>&1`, { codes: "any" });
      return `the container "${name}" ended with exit code ${ExitCode}${
        logs.text === "" ? "" : `, and said:\n${logs.text}`
      }`;
    },
  };
}

async function inspectContainer(container: Reading["container"], name: string): Promise<ContainerInfo | undefined> {
  // `docker inspect` and `docker ps --filter name=` also answer for ids and for parts of names; this one takes an id, too, but
  // never a part of a name.
  const info = await inspect<ContainerInfo & { Name: string }>(container, sh`docker container inspect ${name}`);
  return info?.Name === `/${name}` ? info : undefined;
}

/** Runs a `docker … inspect`: the object, or `undefined` where Docker says that there is none. */
async function inspect<T>(container: Reading["container"], script: Script): Promise<T | undefined> {
  const output = await container.read(script, { codes: [0, 1] });
  if (output.code === 0) return (JSON.parse(output.text) as T[])[0];
  if (/no such (?:image|container|object)/i.test(output.errorText)) return undefined;
  throw failureOf(output);
}

function requireName(name: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name)) {
    throw new TypeError(`Cannot name a Docker container "${name}": expected letters, digits, "_", "." and "-"`);
  }
}

function requireVariable(variable: string, value: string | Secret): void {
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(variable)) {
    throw new TypeError(`Cannot use "${variable}" as the name of an environment variable`);
  }
  if (value instanceof Secret && value.reveal().includes("\n")) {
    throw new TypeError(`Cannot hand over the secret in "${variable}" as it has a line break: mount a file instead`);
  }
}

function reveal(value: string | Secret): string {
  return value instanceof Secret ? value.reveal() : value;
}

/** `[address:]port:containerPort[/udp]`, as Docker notes it. */
function parsePort(text: string): { readonly key: string } {
  const match = /^(?:(\d+(?:\.\d+){3}|\[[0-9a-f:]+\]):)?([1-9]\d*):([1-9]\d*)(?:\/(tcp|udp))?$/.exec(text);
  if (!match || [match[2], match[3]].some((port) => Number(port) > 65535)) {
    throw new TypeError(`Cannot publish "${text}": expected [address:]port:containerPort[/udp], such as "9443:9443"`);
  }
  const [, address = "", hostPort, containerPort, protocol = "tcp"] = match;
  return { key: portKey(address.replace(/^\[|\]$/g, ""), hostPort!, `${containerPort}/${protocol}`) };
}

function portKey(address: string, hostPort: string, containerPort: string): string {
  const any = address === "" || address === "0.0.0.0";
  return `${any ? "" : `${address}:`}${hostPort}:${containerPort.replace(/\/tcp$/, "")}`;
}

function publishedPorts({ HostConfig }: ContainerInfo): string[] {
  return Object.entries(HostConfig.PortBindings ?? {}).flatMap(([containerPort, bindings]) =>
    (bindings ?? []).map(({ HostIp = "", HostPort }) => portKey(HostIp, HostPort, containerPort))
  );
}

/** `nameOrPath:/path[:ro]`. */
function parseVolume(text: string): { readonly key: string } {
  const match = /^(\/[^:]*|[a-zA-Z0-9][a-zA-Z0-9_.-]*):(\/[^:]*)(?::(ro|rw))?$/.exec(text);
  if (!match) {
    throw new TypeError(`Cannot mount "${text}": expected nameOrPath:/path[:ro], such as "portainer_data:/data"`);
  }
  const [, source, destination, access] = match;
  // Docker drops a slash at the end.
  const path = (text: string) => text.replace(/(?<=.)\/+$/, "");
  return { key: `${path(source!)}:${path(destination!)}${access === "ro" ? ":ro" : ""}` };
}

function mounts({ Mounts }: ContainerInfo): string[] {
  return Mounts.map((mount) =>
    `${mount.Type === "volume" ? mount.Name : mount.Source}:${mount.Destination}${mount.RW ? "" : ":ro"}`
  );
}

function restartPolicy({ Name, MaximumRetryCount }: ContainerInfo["HostConfig"]["RestartPolicy"]): string {
  return MaximumRetryCount > 0 ? `${Name}:${MaximumRetryCount}` : Name || "no";
}

function environmentDrift(
  actual: readonly string[],
  ofImage: readonly string[],
  wanted: NonNullable<DockerContainerSpec["environment"]>,
): Difference[] {
  const split = (entry: string): [string, string] => {
    const at = entry.indexOf("=");
    return [entry.slice(0, at), entry.slice(at + 1)];
  };
  const image = new Set(ofImage);
  const own = new Map(actual.filter((entry) => !image.has(entry)).map(split));
  const all = new Map(actual.map(split));
  const differences: Difference[] = [];
  for (const [name, value] of Object.entries(wanted)) {
    own.delete(name);
    if (all.get(name) === reveal(value)) continue;
    const secret = value instanceof Secret;
    const from = all.get(name);
    differences.push({
      what: `environment ${name}`,
      // What was there in a secret's place is a secret, too.
      ...(from === undefined ? {} : { from: secret ? "another value" : from }),
      to: `${value}`,
    });
  }
  for (const name of own.keys()) differences.push({ what: `environment ${name}`, from: "set" });
  return differences;
}

function listed(entries: readonly string[]): string {
  return [...new Set(entries)].sort().join(", ");
}
