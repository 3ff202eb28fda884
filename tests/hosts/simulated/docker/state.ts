/**
 * What the stand-in for Docker remembers: one JSON file below {@link stateDirectory}, read without a lock, since it is only
 * ever replaced whole, and changed under a lock; beside it the containers' logs, the volumes and the images' blobs.
 *
 * @module
 */

import type { Behaviour, Healthcheck, ImageConfig } from "./registry.ts";

/** Where everything is; `DOCKER_STAND_IN_STATE` puts it elsewhere, for tests. */
export const stateDirectory = Deno.env.get("DOCKER_STAND_IN_STATE") ?? "/var/lib/docker";

/** The faults and circumstances that a test sets in `<state>/knobs.json`. */
export interface Knobs {
  /** The engine does not answer. */
  down?: boolean;
  /** Milliseconds that every call takes longer. */
  delay?: number;
  /** There is (not) an NVIDIA runtime, whatever `/etc/docker/daemon.json` and the container's files say. */
  nvidia?: boolean;
  /** Nothing can be written any more: pull, load and create fail. */
  noSpace?: boolean;
  pull?: {
    /** Milliseconds that a pull takes. */
    delay?: number;
    /** The way it fails. */
    error?: "network" | "timeout" | "rate limit";
    /** It fails so often, then works again; for ever if not given. */
    times?: number;
  };
}

/** An image that is on this host. */
export interface Image {
  Id: string;
  Created: string;
  Config: ImageConfig;
  Architecture: string;
  Os: string;
  Size: number;
  /** The uncompressed layers' digests. */
  Layers: string[];
  LastTagTime: string;
  behaviour: Behaviour;
}

/** A mount of a container, as Docker shows it. */
export interface Mount {
  Type: "bind" | "volume";
  Name?: string;
  Source: string;
  Destination: string;
  Driver?: string;
  Mode: string;
  RW: boolean;
  Propagation: string;
}

/** A published port with the host's port that it got. */
export interface PublishedPort {
  container: string;
  ip: string;
  port: number;
}

/** What Docker's `HostConfig` has and the stand-in gives a meaning to; the rest of it is constant. */
export interface HostConfig {
  Binds: string[] | null;
  LogConfig: { Type: string; Config: Record<string, string> };
  NetworkMode: string;
  PortBindings: Record<string, { HostIp: string; HostPort: string }[]>;
  RestartPolicy: { Name: string; MaximumRetryCount: number };
  AutoRemove: boolean;
  Runtime: string;
  DeviceRequests: DeviceRequest[] | null;
  Devices: { PathOnHost: string; PathInContainer: string; CgroupPermissions: string }[];
  [other: string]: unknown;
}

/** What `--gpus` asks for. */
export interface DeviceRequest {
  Driver: string;
  Count: number;
  DeviceIDs: string[] | null;
  Capabilities: string[][];
  Options: Record<string, string>;
}

/** Docker's `Config` of a container. */
export interface ContainerConfig extends ImageConfig {
  /** Made by a client that shows its output, so not by `docker run -d`. */
  attached: boolean;
  Hostname: string;
  Image: string;
  Env: string[];
  Labels: Record<string, string>;
  StopTimeout?: number;
}

/** A container, mostly in the shape that `docker inspect` shows. */
export interface Container {
  Id: string;
  Created: string;
  Path: string;
  Args: string[];
  State: {
    Status: "created" | "running" | "restarting" | "exited";
    Pid: number;
    ExitCode: number;
    Error: string;
    StartedAt: string;
    FinishedAt: string;
  };
  Image: string;
  Name: string;
  RestartCount: number;
  HostConfig: HostConfig;
  Mounts: Mount[];
  Config: ContainerConfig;
  /** By network: the aliases that were asked for. */
  networks: Record<string, string[] | null>;
  behaviour: Behaviour;
  /** While it runs: what it got. */
  ports: PublishedPort[];
  address: string;
  /** By `docker stop` or `docker kill`: its restart policy then rests. */
  stoppedByHand: boolean;
  /** Milliseconds to wait before the next restart by its policy. */
  restartDelay: number;
  /** How often its process was started. */
  starts: number;
}

/** A volume; its files are in `<state>/volumes/<name>/_data`. */
export interface Volume {
  CreatedAt: string;
  Labels: Record<string, string> | null;
}

/** A network. */
export interface Network {
  Id: string;
  Created: string;
  Driver: string;
  Labels: Record<string, string>;
  subnet: number;
}

/** Everything. */
export interface State {
  images: Record<string, Image>;
  /** Image ids by `repository:tag` and by `repository@digest`. */
  tags: Record<string, string>;
  digests: Record<string, string>;
  /** By id, oldest first. */
  containers: Record<string, Container>;
  volumes: Record<string, Volume>;
  networks: Record<string, Network>;
}

/** The time that Docker shows for what has not happened. */
export const never = "0001-01-01T00:00:00Z";

/** Docker's ids: 64 hexadecimal digits. */
export function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Now, as Docker writes it. */
export function now(): string {
  return new Date().toISOString();
}

/** Waits so many milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The folder of a container. */
export function containerDirectory(id: string): string {
  return `${stateDirectory}/containers/${id}`;
}

/** The log of a container, in the format of Docker's `json-file` driver. */
export function logFile(id: string): string {
  return `${containerDirectory(id)}/${id}-json.log`;
}

/** The folder that a volume's files are in. */
export function volumeDirectory(name: string): string {
  return `${stateDirectory}/volumes/${name}/_data`;
}

/** The content of a text file; `undefined` if there is none. */
export function textOf(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** What the test wants to go wrong; see {@link Knobs}. */
export function knobs(): Knobs {
  return JSON.parse(textOf(`${stateDirectory}/knobs.json`) ?? "{}") as Knobs;
}

/** Makes the place for the state, if there is none; everything else relies on it. */
export function makeStateDirectory(): void {
  Deno.mkdirSync(stateDirectory, { recursive: true });
}

/** Replaces a file whole. */
export function replaceFile(path: string, content: string): void {
  const temporary = `${path}.${Deno.pid}`;
  Deno.writeTextFileSync(temporary, content);
  Deno.renameSync(temporary, path);
}

/**
 * Locks a file of a container until this process ends, which shows the others that it lives: `alive` is the container's process,
 * `client` a `docker run` in the foreground. A lock cannot be taken for another process's, as a process id can.
 */
export function showLife(id: string, file: "alive" | "client"): void {
  Deno.mkdirSync(containerDirectory(id), { recursive: true });
  lives.push(Deno.openSync(`${containerDirectory(id)}/${file}`, { create: true, write: true }));
  lives.at(-1)?.lockSync(true);
}

// Open as long as this process.
const lives: Deno.FsFile[] = [];

/** Whether the process is there that called {@link showLife}. */
export function isAlive(id: string, file: "alive" | "client" = "alive"): boolean {
  try {
    using held = Deno.openSync(`${containerDirectory(id)}/${file}`);
    return !held.tryLockSync(false);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** The engine's socket, which is there while the engine runs. It is below `/run`, so a boot begins without it. */
export const socketFile = Deno.env.has("DOCKER_STAND_IN_STATE") ? `${stateDirectory}/docker.sock` : "/run/docker.sock";

/** Whether the engine answers. One that is new runs, as after its installation. */
export function engineRuns(): boolean {
  return knobs().down !== true && (exists(socketFile) || !exists(stateFile));
}

/** Puts the engine's socket there; nobody listens, since the stand-in's client does the engine's work. */
export function makeSocket(): void {
  // Left open: closing it would remove the file.
  if (!exists(socketFile)) Deno.listen({ transport: "unix", path: socketFile });
}

function emptyState(): State {
  const Created = now();
  const network = (Driver: string, subnet: number): Network => ({ Id: newId(), Created, Driver, Labels: {}, subnet });
  return {
    images: {},
    tags: {},
    digests: {},
    containers: {},
    volumes: {},
    networks: { bridge: network("bridge", 17), host: network("host", 0), none: network("null", 0) },
  };
}

const stateFile = `${stateDirectory}/state.json`;

function readUnsettled(): State {
  const text = textOf(stateFile);
  return text === undefined ? emptyState() : JSON.parse(text) as State;
}

/** The state as it is now: a container whose process is gone shows as exited or restarting. */
export async function readState(): Promise<State> {
  const state = readUnsettled();
  await settle(state);
  return state;
}

async function locked<Result>(work: () => Promise<Result> | Result): Promise<Result> {
  const lock = Deno.openSync(`${stateDirectory}/lock`, { create: true, write: true });
  await lock.lock(true);
  if (!listens) listen();
  working = true;
  try {
    return await work();
  } finally {
    working = false;
    lock.close();
    if (told !== 0) Deno.exit(told);
  }
}

// What the engine has begun goes on when the client that asked for it is told to end; here both are one process.
let working = false;
let told = 0;
let listens = false;

function listen(): void {
  listens = true;
  for (const [signal, code] of [["SIGHUP", 129], ["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(signal, () => working ? told = code : Deno.exit(code));
  }
}

/** Changes the state, one client at a time. If `work` throws, nothing of it stays. */
export function changeState<Result>(work: (state: State) => Promise<Result> | Result): Promise<Result> {
  return locked(async () => {
    const state = readUnsettled();
    for (const gone of await settle(state)) removeContainer(state, gone, true);
    const result = await work(state);
    if (!exists(stateFile)) makeSocket();
    replaceFile(stateFile, JSON.stringify(state));
    return result;
  });
}

/** Whether the next pull fails, and how; counts it. */
export function takePullFault(): Promise<NonNullable<Knobs["pull"]>["error"]> {
  return locked(() => {
    const all = knobs();
    const { error, times } = all.pull ?? {};
    if (all.pull !== undefined && times !== undefined) {
      if (times <= 0) return undefined;
      all.pull.times = times - 1;
      replaceFile(`${stateDirectory}/knobs.json`, JSON.stringify(all));
    }
    return error;
  });
}

/** Notes which containers have ended; the answer is those of `--rm` that are over, whose files are still there. */
async function settle(state: State): Promise<Container[]> {
  for (const container of Object.values(state.containers)) {
    if (container.State.Status !== "running" || isAlive(container.Id)) continue;
    const directory = containerDirectory(container.Id);
    // After a signal that it does not survive its keeper writes the exit code, right away; if the keeper lives.
    for (const end = Date.now() + (engineRuns() ? 500 : 0); exitCode(directory) === undefined && Date.now() < end;) {
      await sleep(2);
    }
    const code = exitCode(directory);
    // Both were killed, as in a power cut; the engine reports such an end as 255.
    const at = code === undefined ? now() : Deno.statSync(`${directory}/exit`).mtime?.toISOString() ?? now();
    recordExit(container, code ?? 255, at, engineRuns() && code !== undefined);
  }
  const gone = Object.values(state.containers).filter(({ Id, HostConfig, State }) =>
    HostConfig.AutoRemove && State.Status === "exited" && !isAlive(Id, "client")
  );
  for (const { Id } of gone) delete state.containers[Id];
  return gone;
}

function exitCode(directory: string): number | undefined {
  const text = textOf(`${directory}/exit`);
  return text?.endsWith("\n") ? Number(text) : undefined;
}

/** Notes the end of a container, and whether its policy starts it again. */
function recordExit(container: Container, code: number, at: string, engine: boolean): void {
  const ran = Date.parse(at) - Date.parse(container.State.StartedAt);
  const { Name, MaximumRetryCount } = container.HostConfig.RestartPolicy;
  const again = engine && !container.stoppedByHand && (
    Name === "always" || Name === "unless-stopped" ||
    (Name === "on-failure" && code !== 0 && (MaximumRetryCount === 0 || container.RestartCount < MaximumRetryCount))
  );
  Object.assign(container.State, { Status: again ? "restarting" : "exited", Pid: 0, ExitCode: code, FinishedAt: at });
  Object.assign(container, { ports: [], address: "" });
  if (!again) return;
  container.RestartCount++;
  // Docker's own back-off.
  container.restartDelay = ran >= 10_000 || container.restartDelay === 0
    ? 100
    : Math.min(container.restartDelay * 2, 60_000);
}

/** Forgets a container and its files, with its anonymous volumes if so wanted. */
export function removeContainer(state: State, container: Container, withVolumes: boolean): void {
  delete state.containers[container.Id];
  removeDirectory(containerDirectory(container.Id));
  if (!withVolumes) return;
  for (const mount of container.Mounts) {
    if (mount.Name === undefined || !isAnonymous(state.volumes[mount.Name])) continue;
    delete state.volumes[mount.Name];
    removeDirectory(`${stateDirectory}/volumes/${mount.Name}`);
  }
}

/** Whether a volume was made without a name. */
export function isAnonymous(volume: Volume | undefined): boolean {
  return volume?.Labels?.["com.docker.volume.anonymous"] !== undefined;
}

/** Removes a folder if it is there. */
export function removeDirectory(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** What `app.ts` is told of the container that it is. */
export interface AppOrder {
  id: string;
  command: string[];
  env: string[];
  workdir: string;
  init: boolean;
  gpu: boolean;
  starts: number;
  behaviour: Behaviour;
  /** TCP only; `listener` is the port inside, or `null` where nothing of the image listens. */
  listen: { ip: string; port: number; inside: number }[];
  hostNetwork: boolean;
}

/**
 * Starts the process of a container. The answer is Docker's text of why it could not be started, which the container then
 * keeps as its error.
 */
export async function startContainer(state: State, container: Container): Promise<string | undefined> {
  const problem = await tryToStart(state, container);
  if (problem !== undefined) {
    const code = exitCodeOfStartProblem(problem);
    Object.assign(container.State, { ExitCode: code === 125 ? 128 : code, Error: problem, Pid: 0 });
    Object.assign(container, { ports: [], address: "" });
    if (container.State.Status === "restarting") container.State.Status = "exited";
  }
  return problem;
}

/** The exit code that `docker run` makes of the reason why a container could not be started. */
export function exitCodeOfStartProblem(problem: string): number {
  return /executable file not found|no such file or directory/.test(problem) ? 127 : 125;
}

async function tryToStart(state: State, container: Container): Promise<string | undefined> {
  for (const name of Object.keys(container.networks)) {
    if (state.networks[name] === undefined) return `network ${name} not found`;
  }
  const gpu = (container.HostConfig.DeviceRequests ?? []).length > 0;
  if (gpu && !hasNvidia("hook")) return 'could not select device driver "" with capabilities: [[gpu]]';
  for (const { PathOnHost } of container.HostConfig.Devices) {
    if (!exists(PathOnHost)) {
      return `error gathering device information while adding custom device "${PathOnHost}": no such file or directory`;
    }
  }
  const hostNetwork = container.HostConfig.NetworkMode === "host";
  const bridged = !hostNetwork && container.HostConfig.NetworkMode !== "none";
  const ports = bridged ? allocatePorts(state, container) : [];
  if (typeof ports === "string") return ports;

  const directory = containerDirectory(container.Id);
  Deno.mkdirSync(directory, { recursive: true });
  for (const mount of container.Mounts) if (mount.Type === "volume") Deno.mkdirSync(mount.Source, { recursive: true });
  for (const file of ["pid", "ready", "exit"]) removeDirectory(`${directory}/${file}`);
  const order: AppOrder = {
    id: container.Id,
    command: [container.Path, ...container.Args],
    env: container.Config.Env,
    workdir: container.Config.WorkingDir || "/",
    init: container.HostConfig["Init"] === true,
    gpu: gpu || container.HostConfig.Runtime === "nvidia",
    starts: container.starts,
    behaviour: container.behaviour,
    listen: ports.filter(({ container }) => container.endsWith("/tcp"))
      .map(({ ip, port, container }) => ({ ip, port, inside: Number.parseInt(container) })),
    hostNetwork,
  };
  Deno.writeTextFileSync(`${directory}/order.json`, JSON.stringify(order));
  const keeper = new Deno.Command("/bin/sh", {
    args: [
      "-c",
      keeperScript,
      "docker-keeper",
      directory,
      container.Id,
      ...denoCommand("main.ts"),
      "--",
      ...denoCommand("app.ts"),
    ],
    cwd: "/",
    stdin: "null",
    stdout: "null",
    stderr: "null",
    detached: true,
  }).spawn();
  keeper.unref();
  // It is gone before it says anything when the whole container is being shut down.
  let gone = false;
  keeper.status.then(() => gone = true);
  let ready: string | undefined;
  while ((ready = textOf(`${directory}/ready`)) === undefined && exitCode(directory) === undefined && !gone) {
    await sleep(2);
  }
  const started = now();
  ready ??= textOf(`${directory}/ready`) ?? "failed to create task for container: its process ended at once";
  if (ready !== "") {
    return ready.replace(
      "ENDPOINT",
      `driver failed programming external connectivity on endpoint ${container.Name.slice(1)} (${newId()})`,
    );
  }
  const pid = Number(textOf(`${directory}/pid`));
  Object.assign(container, {
    ports,
    address: bridged ? freeAddress(state) : "",
    stoppedByHand: false,
    starts: container.starts + 1,
  });
  Object.assign(container.State, {
    Status: "running",
    Pid: pid,
    ExitCode: 0,
    Error: "",
    StartedAt: started,
    FinishedAt: never,
  });
  return undefined;
}

// Docker's shim: learns the exit code of the container's process if that could not say it itself and was not started again since, and
// has its end noted. The end of this shell is the program that restarts the container after a while if its policy says so.
const keeperScript = `
directory=$1 id=$2; shift 2
docker=
while [ "$1" != -- ]; do docker="$docker '$1'"; shift; done; shift
"$@" "$directory" & pid=$!
echo $pid >"$directory/pid"
wait $pid
code=$?
read -r last 2>/dev/null <"$directory/pid" || last=
[ "$last" != $pid ] || [ -e "$directory/exit" ] || echo $code >"$directory/exit"
[ ! -d "$directory" ] || eval "exec $docker exited $id"
`;

function denoCommand(module: string): string[] {
  const permissions = ["read", "write", "run", "env", "net"].map((name) => `--allow-${name}`);
  const flags = [
    "--no-config",
    "--no-lock",
    "--no-remote",
    "--cached-only",
    "--no-prompt",
    "--quiet",
    ...permissions,
    systemPermission,
  ];
  return [Deno.execPath(), "run", ...flags, `${import.meta.dirname}/${module}`];
}

const systemPermission = "--allow-sys=hostname,osRelease,systemMemoryInfo";

/** Whether a file is there that may be run. */
export function isExecutable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    return false;
  }
}

/** Whether a path is there. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    // Below /dev, /proc and /sys a permission to read is not enough for Deno.
    if (error instanceof Deno.errors.NotCapable) {
      return new Deno.Command("/usr/bin/test", { args: ["-e", path] }).outputSync().success;
    }
    return false;
  }
}

/** Whether the engine can give containers a GPU: by the `hook` that `--gpus` needs, or by the `runtime` of that name. */
export function hasNvidia(what: "hook" | "runtime"): boolean {
  const wanted = knobs().nvidia;
  if (wanted !== undefined) return wanted;
  if (what === "hook") return exists("/usr/bin/nvidia-container-runtime-hook");
  const daemon = JSON.parse(textOf("/etc/docker/daemon.json") ?? "{}") as { runtimes?: Record<string, unknown> };
  return daemon.runtimes?.["nvidia"] !== undefined;
}

function allocatePorts(state: State, container: Container): PublishedPort[] | string {
  const taken = new Set(
    Object.values(state.containers).flatMap(({ ports }) => ports)
      .map(({ container, ip, port }) => `${ip} ${port} ${container.replace(/^.*\//, "")}`),
  );
  const allocated: PublishedPort[] = [];
  for (const [inside, bindings] of Object.entries(container.HostConfig.PortBindings)) {
    const protocol = inside.replace(/^.*\//, "");
    for (const { HostIp, HostPort } of bindings) {
      const ip = HostIp || "0.0.0.0";
      let port = Number(HostPort);
      // Docker's range for ports of its own choice.
      if (port === 0) { for (port = 32768; taken.has(`${ip} ${port} ${protocol}`); port++); }
      const key = `${ip} ${port} ${protocol}`;
      if (taken.has(key)) {
        const endpoint = `${container.Name.slice(1)} (${newId()})`;
        return `driver failed programming external connectivity on endpoint ${endpoint}: Bind for ${ip}:${port} failed: port is already allocated`;
      }
      taken.add(key);
      allocated.push({ container: inside, ip, port });
    }
  }
  return allocated;
}

function freeAddress(state: State): string {
  const taken = new Set(Object.values(state.containers).map(({ address }) => address));
  let last = 2;
  while (taken.has(`172.17.0.${last}`)) last++;
  return `172.17.0.${last}`;
}

/** The state of a container's health check, as Docker shows it. */
export interface Health {
  Status: "starting" | "healthy" | "unhealthy";
  FailingStreak: number;
  Log: { Start: string; End: string; ExitCode: number; Output: string }[];
}

/** The health of a container that has a check; worked out from its start, since a check of the stand-in depends on time only. */
export function healthOf(container: Container): Health | undefined {
  const check = container.Config.Healthcheck;
  if (
    check === undefined || check.Test.length === 0 || check.Test[0] === "NONE" || container.State.StartedAt === never
  ) return undefined;
  const { StartedAt, FinishedAt, Status } = container.State;
  const running = Status === "running";
  const health = checksBetween(
    Date.parse(StartedAt),
    running ? Date.now() : Date.parse(FinishedAt),
    check,
    container.behaviour,
  );
  return running ? health : { ...health, Status: "unhealthy" };
}

function checksBetween(start: number, end: number, check: Healthcheck, behaviour: Behaviour): Health {
  const ms = (nanoseconds: number | undefined, fallback: number) => nanoseconds ? nanoseconds / 1e6 : fallback;
  const startPeriod = ms(check.StartPeriod, 0);
  const { after, unhealthy, output } = behaviour.health ?? {};
  const works = unhealthy ? Infinity : after ?? Math.max(0, ...(behaviour.http ?? []).map(readyAfter));
  const health: Health = { Status: "starting", FailingStreak: 0, Log: [] };
  for (let at = 0;;) {
    const early = health.Status === "starting" && at < startPeriod;
    at += early ? ms(check.StartInterval, 5_000) : ms(check.Interval, 30_000);
    const time = new Date(start + at).toISOString();
    if (start + at > end) return health;
    const ExitCode = at >= works ? 0 : 1;
    health.Log.push({ Start: time, End: time, ExitCode, Output: ExitCode === 0 ? "" : output ?? "" });
    if (health.Log.length > 5) health.Log.shift();
    if (ExitCode === 0) Object.assign(health, { Status: "healthy", FailingStreak: 0 });
    else if (!(health.Status === "starting" && at < startPeriod) && ++health.FailingStreak >= (check.Retries || 3)) {
      health.Status = "unhealthy";
    }
  }
}

function readyAfter({ after = 0, paths }: NonNullable<Behaviour["http"]>[number]): number {
  return Math.max(after, ...Object.values(paths).map(({ first }) => first?.ms ?? 0));
}

/** The containers that a text means: by id, by name, or by the beginning of an id. */
export function findContainer(state: State, text: string): Container[] {
  const all = Object.values(state.containers);
  const exact = all.find(({ Id, Name }) => Id === text || Name === `/${text.replace(/^\//, "")}`);
  if (exact !== undefined) return [exact];
  return /^[0-9a-f]+$/.test(text) ? all.filter(({ Id }) => Id.startsWith(text)) : [];
}
