/**
 * The commands on containers.
 *
 * @module
 */

import { clientError, EngineDown, Exit, type Invocation, NotFound, notSupported, Refusal } from "./cli.ts";
import { forEach, forEachOrFail, print, printError, write } from "./client.ts";
import { createContainer, readRequest, requireFreeName } from "./create.ts";
import { holdLock, logFile, textOf } from "./files.ts";
import { printRows, type Row } from "./format.ts";
import { findImage, parseReference, parseReferenceOrExit, pullImage } from "./images.ts";
import { endContainer, exitCodeOfProblem, signalContainer, startContainer } from "./runtime.ts";
import {
  changeState,
  type Container,
  currentState,
  isRunning,
  readState,
  removeContainer,
  requireContainer,
  resetHealth,
  shortId,
  sleep,
  type State,
} from "./state.ts";

/** How long a container may take to stop before it is killed, unless it is said. */
const STOP_SECONDS = 10;
/** How often is looked for new lines of a log. */
const LOG_POLL_MS = 10;

/** `docker create`. */
export async function create(invocation: Invocation): Promise<void> {
  const { id, warnings } = await pullAndCreate(invocation);
  warnings.forEach(printError);
  print(id);
}

/** `docker run`. */
export async function run(invocation: Invocation): Promise<void> {
  const isDetached = invocation.isOn("detach");
  let created: Awaited<ReturnType<typeof pullAndCreate>>;
  try {
    created = await pullAndCreate(invocation, (id) => isDetached || holdLock(id, "client"));
  } catch (error) {
    if (error instanceof Refusal || error instanceof EngineDown || (error instanceof Exit && error.code === 1)) {
      throw clientError(invocation.command, error.message);
    }
    throw error;
  }
  const { id, warnings } = created;
  warnings.forEach(printError);
  if (isDetached) print(id);
  const problem = await changeState((state) => startById(state, id));
  if (problem === undefined && isDetached) return;
  if (problem === undefined) await followLog(id);
  const code = problem === undefined
    ? requireContainer(await currentState(), id).State.ExitCode
    : exitCodeOfProblem(problem);
  if (invocation.isOn("rm")) {
    await changeState((state) => removeContainer(state, requireContainer(state, id), { withVolumes: true }));
  }
  throw new Exit(code, problem === undefined ? "" : `docker: Error response from daemon: ${problem}.`);
}

async function pullAndCreate(invocation: Invocation, onCreated: (id: string) => void = () => {}) {
  const request = readRequest(invocation);
  const reference = parseReferenceOrExit(request.image);
  const policy = invocation.last("pull") ?? "missing";
  if (policy === "always" || (policy !== "never" && findImage(await readState(), request.image) === undefined)) {
    if (policy !== "always") printError(`Unable to find image '${reference.familiar}' locally`);
    await pullImage(reference, printError);
  }
  return await changeState((state) => {
    const created = createContainer(state, request);
    onCreated(created.id);
    return created;
  });
}

/** `docker start`. */
export async function start(invocation: Invocation): Promise<void> {
  const failed = await forEach(invocation.args, async (name) => {
    const problem = await changeState((state) => startById(state, name));
    if (problem !== undefined) throw new Refusal(problem);
    return name;
  });
  if (failed.size > 0) throw new Exit(1, `Error: failed to start containers: ${[...failed.keys()].join(", ")}`);
}

async function startById(state: State, name: string): Promise<string | undefined> {
  const container = requireContainer(state, name);
  if (container.State.Status === "running") return undefined;
  if (container.State.Status === "paused") return "cannot start a paused container, try unpause instead";
  Object.assign(container, { RestartCount: 0, restartDelayMs: 0 });
  return await startContainer(state, container);
}

/** `docker stop`. */
export async function stop(invocation: Invocation): Promise<void> {
  await forEachOrFail(invocation.args, (name) => stopByName(invocation, name));
}

async function stopByName(invocation: Invocation, name: string): Promise<string> {
  const container = await changeState((state) => {
    const container = requireContainer(state, name);
    if (container.State.Status === "restarting") container.State.Status = "exited";
    container.stoppedByHand = true;
    return container;
  });
  await endContainer(container, Number(invocation.last("time") ?? STOP_SECONDS));
  return name;
}

/** `docker restart`. */
export async function restart(invocation: Invocation): Promise<void> {
  await forEachOrFail(invocation.args, async (name) => {
    await stopByName(invocation, name);
    const problem = await changeState((state) => startById(state, name));
    if (problem !== undefined) throw new Refusal(`Cannot restart container ${name}: ${problem}`);
    return name;
  });
}

/** `docker kill`. */
export async function kill(invocation: Invocation): Promise<void> {
  await forEachOrFail(invocation.args, async (name) => {
    const refusal = (why: string) => new Refusal(`Cannot kill container: ${name}: ${why}`);
    const container = await changeState((state) => {
      const container = requireContainer(state, name, refusal(`No such container: ${name}`));
      if (!isRunning(container)) throw refusal(`Container ${container.Id} is not running`);
      container.stoppedByHand = true;
      return container;
    });
    await endContainer(container, 0);
    return name;
  });
}

/** `docker pause`. */
export async function pause(invocation: Invocation): Promise<void> {
  await forEachOrFail(invocation.args, async (name) => {
    await changeState((state) => {
      const container = requireContainer(state, name);
      const { Id, State } = container;
      if (State.Status === "paused") throw new Refusal(`Container ${Id} is already paused`);
      if (State.Status === "restarting") {
        throw new Refusal(`Container ${Id} is restarting, wait until the container is running`);
      }
      if (State.Status !== "running") throw new Refusal(`Container ${Id} is not running`);
      signalContainer(container, "SIGSTOP", "all");
      State.Status = "paused";
    });
    return name;
  });
}

/** `docker unpause`. */
export async function unpause(invocation: Invocation): Promise<void> {
  await forEachOrFail(invocation.args, async (name) => {
    await changeState((state) => {
      const container = requireContainer(state, name);
      if (container.State.Status !== "paused") throw new Refusal(`Container ${container.Id} is not paused`);
      resetHealth(container.Id);
      signalContainer(container, "SIGCONT", "all");
      container.State.Status = "running";
    });
    return name;
  });
}

/** `docker rm`. */
export async function remove(invocation: Invocation): Promise<void> {
  const isForced = invocation.isOn("force");
  await forEachOrFail(invocation.args, async (name) => {
    const container = await changeState((state) => {
      const container = requireContainer(state, name, new NotFound("container", name));
      const { Status } = container.State;
      if (!isForced && (isRunning(container) || Status === "restarting")) {
        const first = Status === "paused" ? "Unpause and then stop" : "Stop";
        throw new Refusal(
          `You cannot remove a ${Status} container ${container.Id}. ` +
            `${first} the container before attempting removal or force remove`,
        );
      }
      container.stoppedByHand = true;
      return container;
    });
    await endContainer(container, 0);
    await changeState((state) => {
      const left = state.containers[container.Id];
      if (left !== undefined) removeContainer(state, left);
    });
    return name;
  }, { mayBeMissing: isForced });
}

/** `docker rename`. */
export async function rename(invocation: Invocation): Promise<void> {
  const [oldName = "", newName = ""] = invocation.args;
  if (oldName === "" || newName === "") throw new Exit(1, "Error: Neither old nor new names may be empty");
  const failed = await forEach([oldName], async () => {
    await changeState((state) => {
      const container = requireContainer(state, oldName);
      const name = newName.replace(/^\//, "");
      if (container.Name === `/${name}`) {
        throw new Refusal("Renaming a container with the same name as its current name");
      }
      try {
        requireFreeName(state, name, `/${name}`);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        throw new Refusal(`Error when allocating new name: ${error.reason}`);
      }
      container.Name = `/${name}`;
    });
  });
  if (failed.size > 0) throw new Exit(1, `Error: failed to rename container named ${oldName}`);
}

/** `docker logs`. */
export async function logs(invocation: Invocation): Promise<void> {
  const [name = ""] = invocation.args;
  const { Id } = requireContainer(await readState(), name, new NotFound("container", name));
  const tail = invocation.last("tail") ?? "all";
  const entries = readLog(Id);
  showLog(/^\d+$/.test(tail) ? entries.slice(Math.max(0, entries.length - Number(tail))) : entries);
}

interface LogEntry {
  readonly log: string;
  readonly stream: "stdout" | "stderr";
}

function readLog(id: string): LogEntry[] {
  return (textOf(logFile(id)) ?? "").split("\n").slice(0, -1).map((line) => JSON.parse(line) as LogEntry);
}

function showLog(entries: readonly LogEntry[]): void {
  for (const { log, stream } of entries) write(stream, log);
}

/** Shows the log of a container until it has ended for good. */
async function followLog(id: string): Promise<void> {
  let shown = 0;
  for (let isLast = false;;) {
    const entries = readLog(id);
    showLog(entries.slice(shown));
    shown = entries.length;
    if (isLast) return;
    await sleep(LOG_POLL_MS);
    const container = (await currentState()).containers[id];
    // One more look after the end: the last lines were written before it.
    isLast = container === undefined || !(isRunning(container) || container.State.Status === "restarting");
  }
}

/** `docker ps`. */
export async function list(invocation: Invocation): Promise<void> {
  const state = await readState();
  const filters = Map.groupBy(invocation.all("filter"), (filter) => filter.replace(/=.*/s, ""));
  for (const name of filters.keys()) {
    if (!Object.hasOwn(FILTERS, name)) throw notSupported(`docker ps --filter ${name}`);
  }
  // Values of one filter are alternatives, different filters are not; a label is one of its own each time.
  const matches = (container: Container) =>
    [...filters].every(([name, all]) => {
      const values = all.map((filter) => filter.slice(name.length + 1));
      const fits = (value: string) => FILTERS[name]!(container, value);
      return name === "label" ? values.every(fits) : values.some(fits);
    });
  const isShown = (container: Container) =>
    invocation.isOn("all") || filters.has("status") || isRunning(container) || container.State.Status === "restarting";
  const rows = Object.values(state.containers).toReversed().filter((container) =>
    matches(container) && isShown(container)
  ).map((container): Row => ({
    ID: invocation.isOn("no-trunc") ? container.Id : shortId(container.Id),
    Image: shownImage(state, container),
    Names: container.Name.slice(1),
    State: container.State.Status,
  }));
  printRows(invocation, rows, "ID");
}

const STATUSES = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];

const FILTERS: Readonly<Record<string, (container: Container, value: string) => boolean>> = {
  // A name is a pattern that may match any part of the container's, with or without its slash.
  name: ({ Name }, value) => [Name, Name.slice(1)].some((name) => new RegExp(value).test(name)),
  label: ({ Config: { Labels } }, value) => {
    const [name = "", ...wanted] = value.split("=");
    return Object.hasOwn(Labels, name) && (wanted.length === 0 || Labels[name] === wanted.join("="));
  },
  status: ({ State: { Status } }, value) => {
    if (!STATUSES.includes(value)) throw new Refusal(`Invalid filter 'status=${value}'`);
    return Status === value;
  },
};

/** The image of a container as a list has it: by its id where the name is gone, or another image's. */
function shownImage(state: State, { Config, Image }: Container): string {
  if (/^(sha256:)?[0-9a-f]+$/.test(Config.Image) || findImage(state, Config.Image)?.Id !== Image) return shortId(Image);
  const { name, familiar, digest } = parseReference(Config.Image);
  return digest === "" ? familiar : name;
}
