/**
 * The processes of containers: starting and ending them. What runs as such a process is in `app.ts`.
 *
 * @module
 */

import { containerDirectory, exists, isAlive, removePath, textOf } from "./files.ts";
import type { Behaviour } from "./registry.ts";
import { type Container, EXIT_CODE_TIMEOUT_MS, exitCodeOf, isRunning, newId, now, sleep, type State } from "./state.ts";

/** What `app.ts` is told of the container that it is. */
export interface Order {
  readonly id: string;
  readonly command: readonly string[];
  readonly env: readonly string[];
  readonly user: string;
  /** Whether a small init is the first process. */
  readonly init: boolean;
  readonly behaviour: Behaviour;
  readonly health: Container["Config"]["Healthcheck"];
  /** Those of TCP. */
  readonly ports: readonly PublishedPort[];
}

/** A port of the host that leads to one of a container. */
interface PublishedPort {
  readonly ip: string;
  readonly port: number;
  readonly protocol: string;
  /** The container's. */
  readonly inside: number;
}

/** How Deno runs the modules of the stand-in. */
const DENO_OPTIONS = ["--no-config", "--no-lock", "--no-remote", "--no-npm", "--no-prompt", "--quiet", "--allow-all"];

/** How often is looked whether a process has started or ended. */
const POLL_MS = 2;

/**
 * Starts the process of a container. Gives Docker's text of why that could not be, which the container then keeps as
 * its error.
 */
export async function startContainer(state: State, container: Container): Promise<string | undefined> {
  const problem = await tryToStart(state, container);
  if (problem !== undefined) {
    const code = exitCodeOfProblem(problem);
    Object.assign(container.State, { ExitCode: code === 125 ? 128 : code, Error: problem, Pid: 0 });
    if (container.State.Status === "restarting") container.State.Status = "exited";
  }
  return problem;
}

/** The exit code that `docker run` makes of the reason why a container could not be started. */
export function exitCodeOfProblem(problem: string): number {
  if (/executable file not found|no such file or directory/.test(problem)) return 127;
  return /permission denied/.test(problem) ? 126 : 125;
}

async function tryToStart(state: State, container: Container): Promise<string | undefined> {
  const { Config, HostConfig, Id, Mounts, NetworkSettings } = container;
  for (const name of Object.keys(NetworkSettings.Networks)) {
    if (state.networks[name] === undefined) return `network ${name} not found`;
  }
  // The engine leaves GPUs to this program.
  if (HostConfig.DeviceRequests !== null && !exists("/usr/bin/nvidia-container-runtime-hook")) {
    return 'could not select device driver "" with capabilities: [[gpu]]';
  }
  const ports = publishedPorts(container);
  const taken = Object.values(state.containers).filter(isRunning).flatMap(publishedPorts);
  for (const { ip, port, protocol } of ports) {
    if (taken.some((other) => other.ip === ip && other.port === port && other.protocol === protocol)) {
      return `${endpointOf(container)}: Bind for ${ip}:${port} failed: port is already allocated`;
    }
  }
  for (const { Source, Type } of Mounts) {
    if (Type === "volume" || !exists(Source)) Deno.mkdirSync(Source, { recursive: true });
  }

  const directory = containerDirectory(Id);
  Deno.mkdirSync(directory, { recursive: true });
  for (const file of ["pid", "ready", "exit", "resumed"]) removePath(`${directory}/${file}`);
  const order: Order = {
    id: Id,
    command: [container.Path, ...container.Args],
    env: [`HOSTNAME=${Config.Hostname}`, ...Config.Env],
    user: Config.User,
    init: HostConfig.Init === true,
    behaviour: container.behaviour,
    health: Config.Healthcheck,
    ports: ports.filter(({ protocol }) => protocol === "tcp"),
  };
  Deno.writeTextFileSync(`${directory}/order.json`, JSON.stringify(order));
  const shim = new Deno.Command(`${import.meta.dirname}/shim`, {
    args: [directory, Id, Deno.execPath(), "run", ...DENO_OPTIONS],
    cwd: "/",
    stdin: "null",
    stdout: "null",
    stderr: "null",
    detached: true,
  }).spawn();
  shim.unref();
  // It is gone before it says anything where the whole system is shut down.
  let isGone = false;
  shim.status.then(() => isGone = true);
  let ready: string | undefined;
  while ((ready = textOf(`${directory}/ready`)) === undefined && exitCodeOf(Id) === undefined && !isGone) {
    await sleep(POLL_MS);
  }
  ready ??= textOf(`${directory}/ready`) ?? "failed to create shim task: the process ended at once";
  if (ready !== "") return ready.replace("ENDPOINT", endpointOf(container));

  Object.assign(container, { stoppedByHand: false, starts: container.starts + 1 });
  Object.assign(container.State, {
    Status: "running",
    Pid: Number(textOf(`${directory}/pid`)),
    ExitCode: 0,
    Error: "",
    StartedAt: now(),
  });
  return undefined;
}

/** The published ports of a container, none of which there are in the host's network and in none. */
function publishedPorts({ HostConfig: { NetworkMode, PortBindings } }: Container): PublishedPort[] {
  if (["host", "none"].includes(NetworkMode)) return [];
  return Object.entries(PortBindings).flatMap(([port, bindings]) =>
    bindings.map(({ HostIp, HostPort }) => {
      const [inside = "", protocol = ""] = port.split("/");
      return { ip: HostIp || "0.0.0.0", port: Number(HostPort), protocol, inside: Number(inside) };
    })
  );
}

function endpointOf({ Name }: Container): string {
  return `driver failed programming external connectivity on endpoint ${Name.slice(1)} (${newId()})`;
}

/** Sends a signal to the process of a container, or to all of its processes. */
export function signalContainer({ State: { Pid } }: Container, signal: Deno.Signal, whom: "first" | "all"): void {
  try {
    Deno.kill(whom === "all" ? -Pid : Pid, signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/**
 * Sends TERM to the process of a container, after so many seconds KILL (negative: never), and waits until it has ended
 * and its exit code is known.
 */
export async function endContainer(container: Container, seconds: number): Promise<void> {
  if (!isRunning(container)) return;
  if (seconds !== 0) signalContainer(container, "SIGTERM", "first");
  // One that is paused hears of it only then.
  signalContainer(container, "SIGCONT", "all");
  const deadline = seconds < 0 ? Infinity : Date.now() + seconds * 1000;
  while (isAlive(container.Id) && Date.now() < deadline) await sleep(POLL_MS);
  if (isAlive(container.Id)) signalContainer(container, "SIGKILL", "all");
  while (isAlive(container.Id)) await sleep(POLL_MS);
  const giveUp = Date.now() + EXIT_CODE_TIMEOUT_MS;
  const isPending = () => exitCodeOf(container.Id) === undefined && exists(containerDirectory(container.Id));
  while (isPending() && Date.now() < giveUp) await sleep(POLL_MS);
}
