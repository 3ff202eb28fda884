/**
 * What the stand-in remembers: one JSON file, which is read without a lock, since it is only ever replaced whole, and
 * changed under one; beside it a folder for each container and one for each volume.
 *
 * @module
 */

import { EngineDown, notSupported, Refusal } from "./cli.ts";
import { containerDirectory, exists, isAlive, removePath, replaceFile, STATE_DIRECTORY, textOf } from "./files.ts";
import type { Json } from "./format.ts";
import type { Behaviour, Healthcheck, ImageConfig } from "./registry.ts";

const STATE_FILE = `${STATE_DIRECTORY}/state.json`;
const KNOBS_FILE = `${STATE_DIRECTORY}/knobs.json`;
/** The engine's socket, which is there while the engine runs. It is below `/run`, so a boot begins without it. */
const SOCKET = "/run/docker.sock";
/**
 * How long the exit code of a process that has ended may take to be written. After that, nobody is left to write it.
 */
export const EXIT_CODE_TIMEOUT_MS = 500;
/** The exit code that the engine reports of a container whose end nobody has seen, as in a power cut. */
const UNKNOWN_EXIT_CODE = 255;
/** Docker waits this long before it starts a container again, then twice as long each time, up to the maximum. */
const FIRST_RESTART_DELAY_MS = 100;
const MAX_RESTART_DELAY_MS = 60_000;
/** A container that has run for this long is started again as if for the first time. */
const LONG_RUN_MS = 10_000;

/** What goes wrong with the next pulls; a test says so in `/var/lib/docker/knobs.json`. */
interface PullFault {
  /** How much longer a pull takes, in milliseconds. */
  readonly delay?: number;
  /** The registry is not available. */
  readonly error?: string;
  /** It is so often, and then works again. Default: for ever. */
  times?: number;
}

/** An image that is on this host. */
export interface Image {
  readonly Id: string;
  readonly Created: string;
  readonly Config: ImageConfig;
  /** The digests of its layers as they are without compression. */
  readonly Layers: readonly string[];
  readonly behaviour: Behaviour;
}

/** A mount of a container. */
export interface Mount {
  readonly Type: "bind" | "volume";
  readonly Name?: string;
  readonly Source: string;
  readonly Destination: string;
  readonly Driver?: string;
  readonly Mode: string;
  readonly RW: boolean;
  readonly Propagation: string;
}

/** A port of the host that is published for one of a container, such as `80/tcp`. */
export interface PortBinding {
  readonly HostIp: string;
  readonly HostPort: string;
}

/** What a container asks for by `--gpus`. */
export interface DeviceRequest {
  readonly Driver: string;
  /** -1 for all. */
  readonly Count: number;
  readonly DeviceIDs: readonly string[] | null;
  readonly Capabilities: readonly (readonly string[])[];
  readonly Options: Record<string, never>;
}

/** How a container is run: of Docker's `HostConfig`, what somebody needs. */
export interface HostConfig {
  readonly Binds: readonly string[] | null;
  readonly NetworkMode: string;
  readonly PortBindings: Readonly<Record<string, readonly PortBinding[]>>;
  readonly RestartPolicy: { readonly Name: string; readonly MaximumRetryCount: number };
  readonly AutoRemove: boolean;
  readonly IpcMode: string;
  readonly ShmSize: number;
  readonly Runtime: string;
  readonly DeviceRequests: readonly DeviceRequest[] | null;
  readonly Init?: boolean;
}

/** What a container runs: of Docker's `Config`, what somebody needs. */
interface ContainerConfig {
  readonly Hostname: string;
  readonly User: string;
  readonly ExposedPorts?: Readonly<Record<string, Record<string, never>>>;
  readonly Env: readonly string[];
  readonly Cmd: readonly string[] | null;
  readonly Healthcheck?: Healthcheck;
  readonly Image: string;
  readonly Volumes: Readonly<Record<string, Record<string, never>>> | null;
  readonly Entrypoint: readonly string[] | null;
  readonly Labels: Readonly<Record<string, string>>;
}

/** A container. What begins with a capital letter is as Docker shows it. */
export interface Container {
  readonly Id: string;
  readonly Created: string;
  readonly Path: string;
  readonly Args: readonly string[];
  readonly State: {
    Status: "created" | "running" | "paused" | "restarting" | "exited";
    Pid: number;
    ExitCode: number;
    Error: string;
    StartedAt: string;
    FinishedAt: string;
  };
  readonly Image: string;
  Name: string;
  RestartCount: number;
  readonly HostConfig: HostConfig;
  readonly Mounts: readonly Mount[];
  readonly Config: ContainerConfig;
  readonly NetworkSettings: { readonly Networks: Record<string, { readonly IPAMConfig: Json }> };
  readonly behaviour: Behaviour;
  /** By `docker stop` or `docker kill`: its restart policy then rests. */
  stoppedByHand: boolean;
  /** How long to wait before it is started again by its policy. */
  restartDelayMs: number;
  /** How often its process was started. */
  starts: number;
}

/** Everything. */
export interface State {
  /** By id. */
  readonly images: Record<string, Image>;
  /** Ids of images by `repository:tag` and by `repository@digest`. */
  readonly tags: Record<string, string>;
  readonly digests: Record<string, string>;
  /** By id, oldest first. */
  readonly containers: Record<string, Container>;
  /** Names. */
  volumes: string[];
  /** By name. */
  readonly networks: Record<string, { readonly Id: string; readonly Driver: string }>;
}

/** The time that Docker shows for what has not happened. */
export const NEVER = "0001-01-01T00:00:00Z";

/** A new id: 64 hexadecimal digits. */
export function newId(): string {
  return crypto.getRandomValues(new Uint8Array(32)).toHex();
}

/** The twelve digits that stand for an id. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}

/** Now, as Docker writes it. */
export function now(): string {
  return new Date().toISOString();
}

/** Waits. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Whether the engine answers. One that is new does, as after its installation. */
export function isEngineUp(): boolean {
  return exists(SOCKET) || !exists(STATE_FILE);
}

/** Puts the engine's socket there. Nobody listens: the client of the stand-in does the engine's work. */
export function makeSocket(): void {
  // Left open, since closing it would remove the file.
  if (!exists(SOCKET)) Deno.listen({ transport: "unix", path: SOCKET });
}

/** Takes the engine's socket away. */
export function removeSocket(): void {
  removePath(SOCKET);
}

/** Makes a container that is checked unhealthy until its next check, as Docker does when one is no longer paused. */
export function resetHealth(id: string): void {
  const file = `${containerDirectory(id)}/health.json`;
  const health = textOf(file);
  if (health === undefined) return;
  replaceFile(file, JSON.stringify({ ...JSON.parse(health), Status: "unhealthy" }));
  Deno.writeTextFileSync(`${containerDirectory(id)}/resumed`, String(Date.now()));
}

/** Whether a container has a process, which may be paused. */
export function isRunning({ State }: Container): boolean {
  return State.Status === "running" || State.Status === "paused";
}

function storedState(): State {
  const text = textOf(STATE_FILE);
  if (text !== undefined) return JSON.parse(text) as State;
  return {
    images: {},
    tags: {},
    digests: {},
    containers: {},
    volumes: [],
    networks: {
      bridge: { Id: newId(), Driver: "bridge" },
      host: { Id: newId(), Driver: "host" },
      none: { Id: newId(), Driver: "null" },
    },
  };
}

/** The state as it is now, in which a container whose process is gone has exited, or is about to be started again. */
export async function currentState(): Promise<State> {
  const state = storedState();
  await recordEnds(state);
  return state;
}

/** The state, asked of the engine. */
export async function readState(): Promise<State> {
  const state = await currentState();
  if (!isEngineUp()) throw new EngineDown();
  return state;
}

/** Changes the state through the engine, one client at a time. If `work` throws, nothing of it stays. */
export function changeState<Result>(work: (state: State) => Promise<Result> | Result): Promise<Result> {
  return changeStateDirectly((state) => {
    if (!isEngineUp()) throw new EngineDown();
    return work(state);
  });
}

/** Changes the state whether the engine is up or not, as the system around it does. */
export function changeStateDirectly<Result>(work: (state: State) => Promise<Result> | Result): Promise<Result> {
  return withLock(async () => {
    const state = storedState();
    for (const gone of await recordEnds(state)) removeContainer(state, gone, { withVolumes: true });
    const result = await work(state);
    if (!exists(STATE_FILE)) makeSocket();
    replaceFile(STATE_FILE, JSON.stringify(state));
    return result;
  });
}

/** The fault of the next pull, which counts as one of its times. */
export function takePullFault(): Promise<PullFault> {
  return withLock(() => {
    const knobs = JSON.parse(textOf(KNOBS_FILE) ?? "{}") as { pull?: PullFault };
    const { pull = {} } = knobs;
    if (pull.times === undefined) return pull;
    const { error: _, ...works } = pull;
    if (pull.times <= 0) return works;
    pull.times--;
    replaceFile(KNOBS_FILE, JSON.stringify(knobs));
    return pull;
  });
}

async function withLock<Result>(work: () => Promise<Result> | Result): Promise<Result> {
  Deno.mkdirSync(STATE_DIRECTORY, { recursive: true });
  const lock = Deno.openSync(`${STATE_DIRECTORY}/lock`, { create: true, write: true });
  lock.lockSync(true);
  deferSignals();
  isWorking = true;
  try {
    return await work();
  } finally {
    isWorking = false;
    lock.close();
    if (exitCodeOfSignal !== undefined) Deno.exit(exitCodeOfSignal);
  }
}

// What the engine has begun goes on when the client that asked for it is told to end. Here, both are one process.
let isWorking = false;
let exitCodeOfSignal: number | undefined;
let defersSignals = false;

function deferSignals(): void {
  if (defersSignals) return;
  defersSignals = true;
  for (const [signal, code] of [["SIGHUP", 129], ["SIGINT", 130], ["SIGTERM", 143]] as const) {
    Deno.addSignalListener(signal, () => isWorking ? exitCodeOfSignal = code : Deno.exit(code));
  }
}

/** Records which containers have ended. Gives those of `--rm` that are over, whose files are still there. */
async function recordEnds(state: State): Promise<Container[]> {
  for (const container of Object.values(state.containers)) {
    if (!isRunning(container) || isAlive(container.Id)) continue;
    // The exit code of a process that was killed is written by its shim, if that lives, right away.
    const deadline = Date.now() + (isEngineUp() ? EXIT_CODE_TIMEOUT_MS : 0);
    while (exitCodeOf(container.Id) === undefined && Date.now() < deadline) await sleep(2);
    const code = exitCodeOf(container.Id);
    const file = `${containerDirectory(container.Id)}/exit`;
    const at = code === undefined ? now() : Deno.statSync(file).mtime?.toISOString() ?? now();
    recordEnd(container, code ?? UNKNOWN_EXIT_CODE, at, isEngineUp() && code !== undefined);
  }
  const gone = Object.values(state.containers).filter(({ Id, HostConfig, State }) =>
    HostConfig.AutoRemove && State.Status === "exited" && !isAlive(Id, "client")
  );
  for (const { Id } of gone) delete state.containers[Id];
  return gone;
}

/** The exit code of a container's process, once it is known. */
export function exitCodeOf(id: string): number | undefined {
  const text = textOf(`${containerDirectory(id)}/exit`);
  return text?.endsWith("\n") ? Number(text) : undefined;
}

/** Records the end of a container, and whether its policy starts it again. */
function recordEnd(container: Container, code: number, at: string, isSeen: boolean): void {
  const ranMs = Date.parse(at) - Date.parse(container.State.StartedAt);
  const { Name, MaximumRetryCount } = container.HostConfig.RestartPolicy;
  const isAgain = isSeen && !container.stoppedByHand && (
    Name === "always" || Name === "unless-stopped" ||
    (Name === "on-failure" && code !== 0 && (MaximumRetryCount === 0 || container.RestartCount < MaximumRetryCount))
  );
  Object.assign(container.State, {
    Status: isAgain ? "restarting" : "exited",
    Pid: 0,
    ExitCode: code,
    FinishedAt: at,
  });
  if (!isAgain) return;
  container.RestartCount++;
  container.restartDelayMs = ranMs >= LONG_RUN_MS || container.restartDelayMs === 0
    ? FIRST_RESTART_DELAY_MS
    : Math.min(container.restartDelayMs * 2, MAX_RESTART_DELAY_MS);
}

/** Forgets a container and its files, and if so wanted its volumes without a name. */
export function removeContainer(state: State, { Id, Mounts }: Container, { withVolumes = false } = {}): void {
  delete state.containers[Id];
  removePath(containerDirectory(Id));
  if (!withVolumes) return;
  for (const { Name } of Mounts) {
    if (Name === undefined || !/^[0-9a-f]{64}$/.test(Name)) continue;
    state.volumes = state.volumes.filter((volume) => volume !== Name);
    removePath(`${STATE_DIRECTORY}/volumes/${Name}`);
  }
}

/** The container of a name, an id, or the beginning of one; throws `missing` where there is none. */
export function requireContainer(
  state: State,
  name: string,
  missing = new Refusal(`No such container: ${name}`),
): Container {
  const all = Object.values(state.containers);
  const exact = all.find(({ Id, Name }) => Id === name || Name === `/${name.replace(/^\//, "")}`);
  const found = exact ? [exact] : /^[0-9a-f]+$/.test(name) ? all.filter(({ Id }) => Id.startsWith(name)) : [];
  if (found[0] === undefined) throw missing;
  if (found.length > 1) throw notSupported(`the beginning of several ids: ${name}`);
  return found[0];
}
