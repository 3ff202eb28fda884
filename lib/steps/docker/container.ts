/**
 * Docker containers: as specified and running, or gone.
 *
 * @module
 */

import { failureOf } from "../../container.ts";
import type { Reading, Step, Writing } from "../../engine.ts";
import { ExitCode, Failure, messageOf } from "../../errors.ts";
import type { Difference } from "../../events.ts";
import { Secret } from "../../secret.ts";
import { type Script, sh } from "../../shell.ts";
import { type Duration, formatDuration, milliseconds } from "../../time.ts";
import { requirePath } from "../path.ts";
import type { Alive } from "../wait.ts";
import { type ImageInfo, inspect, missing, requireReference, requireSpace } from "./engine.ts";
import { pull } from "./image.ts";
import { PREDEFINED, requireNetworkName } from "./network.ts";

/** How long a container may take to stop before it is killed, in seconds. */
const STOP_SECONDS = 30;
/** A container without a health check counts as running once it has run for this long, in milliseconds. */
const SETTLED = 2_000;
/** Where it is noted what a container has read at its start. */
const MARKERS = "/var/lib/phoenix_setup/docker";

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
  /** The program that is run with `command`, instead of the image's; empty for none, so that `command` has it. */
  readonly entrypoint?: string;
  /** Labels that have to be there, among others. */
  readonly labels?: Readonly<Record<string, string>>;
  /** The GPUs, all of them: `all`, or numbers as `nvidia-smi` has them inside, where they begin with 0. */
  readonly gpus?: "all" | readonly number[];
  /** The runtime, such as `nvidia`. */
  readonly runtime?: string;
  /** Whose shared memory it sees. */
  readonly ipc?: "host" | "private" | "shareable" | "none";
  /** The size of its `/dev/shm`, such as `16g`. */
  readonly shmSize?: string;
  /** The networks, all of them: names of {@linkcode network}, `bridge`, or one of `host` and `none` alone. */
  readonly networks?: readonly string[];
  /** Its host name. */
  readonly hostname?: string;
  /** The user, and group, it runs as: `1000`, `www-data:www-data`. */
  readonly user?: string;
  /** Whether a small init is its first process, which ends orphans and hands on signals. */
  readonly init?: boolean;
  /** The health check, in the place of the image's. */
  readonly health?: HealthCheck;
  /** Files and folders inside that it reads at its start: it is restarted when their content has changed since. */
  readonly restartWith?: readonly string[];
  /** How long it may take to run, and to be healthy where it has a health check. Default: 2 minutes. */
  readonly within?: Duration;
}

/** How Docker finds out whether a container is healthy. What is not stated is the image's, or Docker's default. */
export interface HealthCheck {
  /** A line for the shell in the container; healthy is what exits with 0. */
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

/** The part of `docker container inspect` that is used. */
interface ContainerInfo {
  readonly Id: string;
  readonly Name: string;
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
    readonly Entrypoint?: readonly string[] | null;
    readonly Labels?: Readonly<Record<string, string>> | null;
    readonly Hostname?: string;
    readonly User?: string;
    readonly Healthcheck?: NotedHealthCheck | null;
  };
  readonly HostConfig: {
    readonly RestartPolicy: { readonly Name: string; readonly MaximumRetryCount: number };
    readonly PortBindings?:
      | Readonly<Record<string, readonly { readonly HostIp?: string; readonly HostPort: string }[] | null>>
      | null;
    readonly DeviceRequests?: readonly DeviceRequest[] | null;
    readonly Runtime?: string;
    readonly IpcMode?: string;
    readonly ShmSize?: number;
    readonly Init?: boolean | null;
  };
  readonly NetworkSettings?: { readonly Networks?: Readonly<Record<string, unknown>> | null };
  readonly Mounts: readonly {
    readonly Type: string;
    readonly Name?: string;
    readonly Source: string;
    readonly Destination: string;
    readonly RW: boolean;
  }[];
}

/** A health check as Docker notes it, with times in nanoseconds. */
interface NotedHealthCheck {
  readonly Test?: readonly string[] | null;
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly StartPeriod?: number;
  readonly Retries?: number;
}

/** What `--gpus` asked for. */
interface DeviceRequest {
  /** -1 for all. */
  readonly Count: number;
  readonly DeviceIDs?: readonly string[] | null;
  readonly Capabilities?: readonly (readonly string[])[] | null;
}

/** What there is of a container: itself, what an interrupted replacement left, and the image that it should have. */
interface ContainerState {
  readonly current: ContainerInfo | undefined;
  readonly previous: ContainerInfo | undefined;
  readonly image: ImageInfo | undefined;
  /** Of each path in `restartWith`, the hash of its content. */
  readonly content: readonly (readonly [path: string, hash: string])[];
  /** What it has read, as the marker says: `hash path`. */
  readonly read: readonly string[];
}

/**
 * A Docker container that runs as specified, and is healthy where it has a health check. One that differs is replaced without a
 * gap in safety: the image is there and space suffices before it is touched; it is renamed, stopped, and removed only when the new
 * one runs; otherwise it is put back and the step fails. One with an anonymous volume is never replaced, as its data would be lost.
 *
 * A replacement that was cut off is recognised by `<name>_previous` and finished, or undone, by the next run.
 *
 * What it has read of `restartWith` is noted below `/var/lib/phoenix_setup/docker`. A container without such a note, which somebody
 * else made for instance, is restarted once. In check mode, what steps before this one would write there is not known yet.
 *
 * Requirements, section 2: "Running specific applications or scripts inside the container".
 *
 * @example
 * ```ts
 * const registry = container("registry", {
 *   image: "registry:2.8.3",
 *   ports: ["5000:5000"],
 *   volumes: ["registry_data:/var/lib/registry"],
 *   restart: "always",
 * });
 * const vllm = container("vllm", {
 *   image: "vllm/vllm-openai:v0.10.1",
 *   runtime: "nvidia",
 *   gpus: "all",
 *   ipc: "host",
 *   volumes: ["/models:/models:ro"],
 *   command: ["--model", "/models/qwen"],
 *   health: { command: "curl -fsS http://localhost:8000/health", interval: "10s", startPeriod: "10m" },
 *   within: "15m",
 * });
 * ```
 */
export function container(name: string, spec: DockerContainerSpec): Step<ContainerState> {
  requireName(name);
  requireReference(spec.image);
  const ports = spec.ports?.map(parsePort);
  const volumes = spec.volumes?.map(parseVolume);
  for (const [variable, value] of Object.entries(spec.environment ?? {})) requireVariable(variable, value);
  requireGpus(spec.gpus);
  requireNetworks(spec.networks);
  const shmSize = spec.shmSize === undefined ? undefined : bytesOf(spec.shmSize);
  const health = spec.health === undefined ? undefined : healthOf(spec.health);
  const { restartWith = [] } = spec;
  for (const path of restartWith) requirePath(path, `restart the container "${name}" with`);
  const previousName = `${name}_previous`;
  const within = milliseconds(spec.within ?? "2m");
  const marker = `${MARKERS}/${name}`;

  async function probe({ container }: Reading): Promise<ContainerState> {
    const output = await container.read(
      sh`docker container inspect --format '{{json .}}' ${[name, previousName]}
docker image inspect --format '{{json .}}' ${spec.image}
${
        restartWith.length === 0 ? sh`:` : sh`sed 's/^/read /' ${marker} 2>/dev/null
for p in ${restartWith}; do
  h=$(find -H "$p" -type f -exec sha256sum {} + 2>/dev/null | sort | sha256sum) && echo "content \${h%% *} $p"
done`
      }`,
      { codes: "any" },
    );
    const lines = output.text.split("\n");
    const objects = lines.filter((line) => line.startsWith("{")).map((line) =>
      JSON.parse(line) as ContainerInfo | ImageInfo
    );
    // What Docker neither has nor says that it is not there, it was not asked, or could not tell.
    if (objects.length + missing(output).length < 3) {
      throw failureOf(output, `Cannot tell what there is of the container "${name}": Docker does not say`);
    }
    const containers = objects.filter((object) => "State" in object);
    const after = (word: string) =>
      lines.filter((line) => line.startsWith(word)).map((line) => line.slice(word.length));
    return {
      current: containers.find(({ Name }) => Name === `/${name}`),
      previous: containers.find(({ Name }) => Name === `/${previousName}`),
      image: objects.find((object): object is ImageInfo => !("State" in object)),
      content: after("content ").map((line) => [line.slice(65), line.slice(0, 64)]),
      read: after("read "),
    };
  }

  /** The paths whose content is another than the container has read. */
  const unread = ({ content, read }: ContainerState) =>
    content.filter(([path, hash]) => !read.includes(`${hash} ${path}`)).map(([path]) => path);

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
    if (spec.entrypoint !== undefined) compare("entrypoint", programOf(Config.Entrypoint ?? []), spec.entrypoint);
    if (spec.command) compare("command", JSON.stringify(Config.Cmd ?? []), JSON.stringify(spec.command));
    if (spec.gpus) compare("GPUs", requestedGpus(HostConfig.DeviceRequests ?? []), gpuNames(spec.gpus));
    if (spec.runtime !== undefined) compare("runtime", HostConfig.Runtime ?? "", spec.runtime);
    if (spec.ipc !== undefined) compare("ipc", HostConfig.IpcMode ?? "", spec.ipc);
    if (shmSize !== undefined) compare("shm size", sizeName(HostConfig.ShmSize ?? 0), sizeName(shmSize));
    if (spec.networks) {
      compare("networks", listed(Object.keys(current.NetworkSettings?.Networks ?? {})), listed(spec.networks));
    }
    if (spec.hostname !== undefined) compare("hostname", Config.Hostname ?? "", spec.hostname);
    if (spec.user !== undefined) compare("user", Config.User ?? "", spec.user);
    if (spec.init !== undefined) compare("init", String(HostConfig.Init ?? false), String(spec.init));
    if (health) differences.push(...healthDrift(Config.Healthcheck ?? {}, health));
    if (spec.environment) {
      // Which of the variables are those of another image, nobody knows.
      const ofImage = image !== undefined && current.Image === image.Id ? image.Config?.Env ?? [] : Config.Env ?? [];
      differences.push(...environmentDrift(Config.Env ?? [], ofImage, spec.environment));
    }
    for (const [label, value] of Object.entries(spec.labels ?? {})) {
      const from = Config.Labels?.[label];
      if (from !== value) {
        differences.push({ what: `label ${label}`, ...(from === undefined ? {} : { from }), to: value });
      }
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
    for (const path of unread(state)) {
      differences.push({ what: `restart: ${path} has changed since its last start` });
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
    if (!state.current) await createAndStart(at);
    else if (drift(state).length > 0) await replace(at, state.current);
    else {
      if (!state.current.State.Running) await at.container.write(sh`docker start ${name}`);
      else if (unread(state).length > 0) await at.container.write(sh`docker restart -t ${STOP_SECONDS} ${name}`);
      await settle(at);
    }
    if (restartWith.length > 0) await noteRead(at, state);
  }

  /** Notes what the container has read: what was there before its start. It may have read something newer, and then reads it again. */
  async function noteRead(at: Writing, { content }: ContainerState): Promise<void> {
    const seen = content.map(([path, hash]) => `${hash} ${path}\n`).join("");
    await at.container.write(
      sh`mkdir -p ${MARKERS} && cat >${`${marker}.new`} && mv -f ${`${marker}.new`} ${marker}`,
      { stdin: seen },
    );
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
      ...(spec.entrypoint === undefined ? [] : [sh`--entrypoint ${spec.entrypoint}`]),
      // Docker reads this as a line of comma-separated values, in which the commas between the numbers need quotes.
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
    await at.container.write(
      sh`docker create --pull never ${line} ${spec.image} ${spec.command ?? []}`,
      inFile.length === 0
        ? {}
        : { stdin: inFile.map(([variable, value]) => `${variable}=${reveal(value)}\n`).join("") },
    );
    // Docker before version 25 takes only one network here.
    for (const network of spec.networks?.slice(1) ?? []) {
      await at.container.write(sh`docker network connect ${network} ${name}`);
    }
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
 * No Docker container has this name. One that has is stopped and removed; its image and its volumes are kept, also those without a
 * name. What an interrupted replacement left as `<name>_previous` goes with it.
 *
 * @example
 * ```ts
 * const noPortainer = absent("portainer");
 * ```
 */
export function absent(name: string): Step<readonly ContainerInfo[]> {
  requireName(name);
  const names = [name, `${name}_previous`];
  return {
    title: `no container ${name}`,
    async probe({ container }) {
      const output = await container.read(sh`docker container inspect --format '{{json .}}' ${names}`, {
        codes: [0, 1],
      });
      const found = output.text.split("\n").filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line) as ContainerInfo);
      if (found.length + missing(output).length < names.length) throw failureOf(output);
      return found.filter(({ Name }) => names.includes(Name.slice(1)));
    },
    diff: (found) =>
      found.map(({ Name, State, Config }) => ({
        what: `container ${Name.slice(1)}`,
        from: `${State.Status}, ${Config.Image}`,
      })),
    async apply({ container }, found) {
      for (const { Name, State } of found) {
        const own = Name.slice(1);
        if (State.Running) await container.write(sh`docker stop -t ${STOP_SECONDS} ${own}`);
        // Its policy may have started it again meanwhile.
        await container.write(sh`docker rm -f ${own} && rm -f ${`${MARKERS}/${own}`}`);
      }
    },
  };
}

/**
 * A Docker container that has to live on while something is waited for.
 *
 * @example
 * ```ts
 * import { http } from "../http.ts";
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
  const info = await inspect<ContainerInfo>(container, sh`docker container inspect ${name}`);
  return info?.Name === `/${name}` ? info : undefined;
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

function requireGpus(gpus: DockerContainerSpec["gpus"] = []): void {
  const right = gpus === "all" ||
    (gpus.every((gpu) => Number.isInteger(gpu) && gpu >= 0) && new Set(gpus).size === gpus.length);
  if (!right) {
    throw new TypeError(`Cannot give a container the GPUs "${gpus}": expected "all" or numbers such as [0, 1]`);
  }
}

function requireNetworks(networks: readonly string[] = ["bridge"]): void {
  networks.forEach(requireNetworkName);
  const alone = networks.some((network) => network !== "bridge" && PREDEFINED.has(network));
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

function sizeName(bytes: number): string {
  const power = [3, 2, 1].find((power) => bytes > 0 && bytes % 1024 ** power === 0) ?? 0;
  return `${bytes / 1024 ** power}${["", "k", "m", "g"][power]}`;
}

function gpuNames(gpus: NonNullable<DockerContainerSpec["gpus"]>): string {
  return gpus === "all" ? gpus : gpus.toSorted(byNumber).join(",");
}

function byNumber(a: string | number, b: string | number): number {
  return Number(a) - Number(b);
}

/** An entrypoint as {@linkcode DockerContainerSpec.entrypoint} has it; of several words, which that cannot have, all. */
function programOf(entrypoint: readonly string[]): string {
  return entrypoint.length > 1 ? JSON.stringify(entrypoint) : entrypoint[0] ?? "";
}

function requestedGpus(requests: readonly DeviceRequest[]): string {
  return requests.filter(({ Capabilities }) => Capabilities?.some((all) => all.includes("gpu")))
    .map(({ Count, DeviceIDs }) =>
      DeviceIDs?.length ? DeviceIDs.toSorted(byNumber).join(",") : Count === -1 ? "all" : `any ${Count}`
    ).join(" and ");
}

/** A health check as Docker notes it: what is not stated is not there. */
function healthOf({ command, interval, timeout, retries, startPeriod }: HealthCheck): NotedHealthCheck {
  if (command.trim() === "") throw new TypeError("Cannot check health with an empty command");
  if (retries !== undefined && !(Number.isInteger(retries) && retries > 0)) {
    throw new TypeError(`Cannot check health with ${retries} retries: expected a whole number from 1 on`);
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

function healthDrift(actual: NotedHealthCheck, wanted: NotedHealthCheck): Difference[] {
  const differences: Difference[] = [];
  const compare = <T>(what: string, from: T | undefined, to: T | undefined, shown: (value: T) => string) => {
    if (to === undefined || JSON.stringify(from) === JSON.stringify(to)) return;
    differences.push({ what: `health check: ${what}`, from: from ? shown(from) : "none", to: shown(to) });
  };
  const time = (nanoseconds: number) => formatDuration(nanoseconds / 1e6);
  compare("command", actual.Test, wanted.Test, (test) => test?.slice(1).join(" ") || "none");
  compare("interval", actual.Interval, wanted.Interval, time);
  compare("time-out", actual.Timeout, wanted.Timeout, time);
  compare("start period", actual.StartPeriod, wanted.StartPeriod, time);
  compare("retries", actual.Retries, wanted.Retries, String);
  return differences;
}

/** A duration as Go writes it. */
function goDuration(duration: Duration | undefined): string | undefined {
  return duration === undefined ? undefined : `${milliseconds(duration)}ms`;
}

function option(name: string, value: string | number | undefined): Script[] {
  return value === undefined ? [] : [sh`${`--${name}`} ${value}`];
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
