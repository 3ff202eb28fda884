/**
 * The commands on containers, but for those that only show them.
 *
 * @module
 */

import { change, complain, each, eachOrFail, encoder, look, print, writeAll } from "./client.ts";
import { clientError, createContainer, readWanted, requireContainer, requireFreeName, type Wanted } from "./create.ts";
import { Exit, type Given, notSupported, Refusal } from "./flags.ts";
import { findImage, pull, reference } from "./images.ts";
import {
  type Container,
  exitCodeOfStartProblem,
  findContainer,
  isAlive,
  isExecutable,
  logFile,
  readState,
  removeContainer,
  showLife,
  sleep,
  startContainer,
  type State,
  textOf,
} from "./state.ts";

async function pullMissing(wanted: Wanted): Promise<void> {
  const policy = wanted.given.text("pull") || "missing";
  const present = findImage(await look(), wanted.image) !== undefined;
  if (policy === "never" || (policy === "missing" && present)) return;
  const name = parseReference(wanted.image);
  if (policy === "missing") complain(`Unable to find image '${name.familiar}' locally`);
  await pull(name, wanted.given.is("quiet") ? () => {} : complain);
}

/** The name of an image, or the end of the command. */
export function parseReference(text: string) {
  try {
    return reference(text);
  } catch (error) {
    throw new Exit(1, error instanceof Error ? error.message : String(error));
  }
}

function readWantedOf(command: string, given: Given): Wanted {
  try {
    return readWanted(given);
  } catch (error) {
    if (!(error instanceof Error) || error instanceof Exit) throw error;
    throw clientError(command, error.message);
  }
}

/** `docker create`. */
export async function create(given: Given): Promise<void> {
  const wanted = readWantedOf("create", given);
  await pullMissing(wanted);
  const { id, warnings } = await change((state) => createContainer(state, wanted));
  warnings.forEach(complain);
  print(id);
}

/** `docker run`. */
export async function run(given: Given): Promise<void> {
  const wanted = readWantedOf("run", given);
  const detached = given.is("detach");
  let id: string;
  try {
    await pullMissing(wanted);
    const created = await change((state) => {
      const created = createContainer(state, wanted);
      if (!detached) showLife(created.id, "client");
      return created;
    });
    created.warnings.forEach(complain);
    id = created.id;
  } catch (error) {
    if (!(error instanceof Error) || error instanceof Exit) throw error;
    throw clientError("run", error.message);
  }
  if (detached) print(id);
  const problem = await change((state) => startById(state, id));
  if (problem !== undefined) {
    if (given.is("rm")) await change((state) => removeContainer(state, requireContainer(state, id), true));
    throw new Exit(exitCodeOfStartProblem(problem), `docker: Error response from daemon: ${problem}.`);
  }
  if (detached) return;
  await followLog(id, { follow: true });
  const code = requireContainer(await readState(), id).State.ExitCode;
  if (given.is("rm")) await change((state) => removeContainer(state, requireContainer(state, id), true));
  throw new Exit(code);
}

async function startById(state: State, id: string): Promise<string | undefined> {
  const container = requireContainer(state, id);
  if (container.State.Status === "running") return undefined;
  Object.assign(container, { RestartCount: 0, restartDelay: 0 });
  return await startContainer(state, container);
}

/** `docker start`. */
export async function start(given: Given): Promise<void> {
  const failed = await each(given.arguments, async (name) => {
    const problem = await change((state) => startById(state, name));
    if (problem !== undefined) throw new Refusal(problem);
    return name;
  });
  if (failed.length > 0) throw new Exit(1, `Error: failed to start containers: ${failed.join(", ")}`);
}

function stopTimeout(given: Given, container: Container): number {
  return Number(given.text("time") ?? given.text("timeout") ?? container.Config.StopTimeout ?? 10);
}

/** Stops a container that runs; returns once its end is known. */
async function stopContainer(name: string, seconds: (container: Container) => number, byHand = true): Promise<void> {
  const container = await change((state) => {
    const container = requireContainer(state, name);
    if (container.State.Status === "restarting") container.State.Status = "exited";
    container.stoppedByHand ||= byHand;
    return container;
  });
  await endContainer(container, container.Config.StopSignal ?? "SIGTERM", seconds(container));
}

/** Sends a signal to a running container, after so many seconds KILL (negative: never), and waits until it has ended. */
export async function endContainer(container: Container, signal: string, seconds: number): Promise<void> {
  const { Id, State } = container;
  if (State.Status !== "running") return;
  signalProcess(State.Pid, signal);
  for (const end = Date.now() + seconds * 1000; isAlive(Id) && (seconds < 0 || Date.now() < end);) await sleep(5);
  if (isAlive(Id)) signalProcess(State.Pid, "SIGKILL");
  while (isAlive(Id)) await sleep(2);
}

function signalProcess(pid: number, signal: string): void {
  try {
    Deno.kill(pid, signal as Deno.Signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** `docker stop`. */
export async function stop(given: Given): Promise<void> {
  await eachOrFail(given.arguments, async (name) => {
    await stopContainer(name, (container) => stopTimeout(given, container));
    return name;
  });
}

/** `docker restart`. */
export async function restart(given: Given): Promise<void> {
  await eachOrFail(given.arguments, async (name) => {
    await stopContainer(name, (container) => stopTimeout(given, container));
    const problem = await change((state) => startById(state, name));
    if (problem !== undefined) throw new Refusal(`Cannot restart container ${name}: ${problem}`);
    return name;
  });
}

const signals = ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "KILL"];

/** `docker kill`. */
export async function kill(given: Given): Promise<void> {
  const asked = (given.text("signal") ?? "KILL").toUpperCase();
  await eachOrFail(given.arguments, async (name) => {
    const refuse = (reason: string) => new Refusal(`cannot kill container: ${name}: ${reason}`);
    const signal = `SIG${asked.replace(/^SIG/, "")}`;
    const container = await change((state) => {
      const found = findContainer(state, name)[0];
      if (found === undefined) throw refuse(`No such container: ${name}`);
      if (!signals.includes(signal.slice(3))) {
        if (/^[A-Z]+$/.test(asked)) throw refuse(`invalid signal: ${given.text("signal")}`);
        throw notSupported(`docker kill --signal ${given.text("signal")}`);
      }
      if (found.State.Status !== "running") throw refuse(`container ${found.Id} is not running`);
      found.stoppedByHand ||= signal === "SIGKILL" || signal === (found.Config.StopSignal ?? "SIGTERM");
      return found;
    });
    if (signal === "SIGKILL") await endContainer(container, signal, 0);
    else signalProcess(container.State.Pid, signal);
    return name;
  });
}

/** `docker rm`. */
export async function remove(given: Given): Promise<void> {
  const force = given.is("force");
  const failed = await each(given.arguments, async (name) => {
    const container = await change((state) => {
      const container = requireContainer(state, name);
      const { Status } = container.State;
      if (!force && (Status === "running" || Status === "restarting")) {
        throw new Refusal(
          `cannot remove container "${container.Name}": container is ${Status}: stop the container before removing or force remove`,
        );
      }
      container.stoppedByHand = true;
      return container;
    });
    await endContainer(container, "SIGKILL", 0);
    await change((state) => {
      const still = state.containers[container.Id];
      if (still !== undefined) removeContainer(state, still, given.is("volumes"));
    });
    return name;
  });
  // What is not there needs no removing, if it is forced.
  const missing = force
    ? await look().then((state) => failed.every((name) => findContainer(state, name).length === 0), () => false)
    : false;
  if (failed.length > 0 && !missing) throw new Exit(1);
}

/** `docker rename`. */
export async function rename(given: Given): Promise<void> {
  const [old = "", name = ""] = given.arguments;
  const failed = await each([old], async () => {
    await change((state) => {
      const container = requireContainer(state, old);
      if (container.Name === `/${name.replace(/^\//, "")}`) {
        throw new Refusal("Renaming a container with the same name as its current name");
      }
      try {
        requireFreeName(state, name.replace(/^\//, ""));
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        throw new Refusal(`Error when allocating new name: ${error.reason}`);
      }
      container.Name = `/${name.replace(/^\//, "")}`;
    });
    return undefined;
  });
  if (failed.length > 0) throw new Exit(1, `Error: failed to rename container named ${old}`);
}

/** `docker wait`. */
export async function wait(given: Given): Promise<void> {
  await eachOrFail(given.arguments, async (name) => {
    const { Id } = requireContainer(await look(), name);
    for (;;) {
      const container = (await look()).containers[Id];
      if (container === undefined || !["running", "restarting"].includes(container.State.Status)) {
        return String(container?.State.ExitCode ?? 0);
      }
      await sleep(20);
    }
  });
}

interface LogOptions {
  follow?: boolean;
  tail?: number;
  since?: number;
  timestamps?: boolean;
}

interface LogEntry {
  log: string;
  stream: "stdout" | "stderr";
  time: string;
}

/** Prints the log of a container; with `follow` until the container has ended. */
async function followLog(id: string, { follow, tail, since, timestamps }: LogOptions): Promise<void> {
  const path = logFile(id);
  const show = ({ log, stream, time }: LogEntry) => {
    if (since !== undefined && Date.parse(time) < since) return;
    writeAll(Deno[stream], encoder.encode(timestamps ? `${time} ${log}` : log));
  };
  let shown = 0;
  for (let last = false;;) {
    const entries = (textOf(path) ?? "").split("\n").slice(0, -1);
    if (shown === 0 && tail !== undefined) shown = Math.max(0, entries.length - tail);
    for (; shown < entries.length; shown++) show(JSON.parse(entries[shown] ?? "") as LogEntry);
    if (!follow || last) return;
    await sleep(10);
    // One more look after its end: the last lines are written before it.
    last = !["running", "restarting"].includes((await readState()).containers[id]?.State.Status ?? "");
  }
}

/** `docker logs`. */
export async function logs(given: Given): Promise<void> {
  const [name = ""] = given.arguments;
  const tail = given.text("tail") ?? "all";
  const container = requireContainer(await look(), name);
  await followLog(container.Id, {
    follow: given.is("follow"),
    timestamps: given.is("timestamps"),
    ...(/^\d+$/.test(tail) ? { tail: Number(tail) } : {}),
    ...(given.text("since") === undefined ? {} : { since: sinceTime(given.text("since") ?? "") }),
  });
}

function sinceTime(text: string): number {
  const units: Record<string, number> = { s: 1e3, m: 60e3, h: 3600e3 };
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (/^(\d+(\.\d+)?[smh])+$/.test(text)) {
    return [...text.matchAll(/([\d.]+)([smh])/g)].reduce(
      (time, [, number, unit = ""]) => time - Number(number) * (units[unit] ?? 0),
      Date.now(),
    );
  }
  if (Number.isNaN(Date.parse(text))) {
    throw new Exit(
      1,
      `Error response from daemon: invalid value for "since": failed to parse value as time or duration: ${
        JSON.stringify(text)
      }`,
    );
  }
  return Date.parse(text);
}

/** `docker exec`. */
export async function exec(given: Given): Promise<void> {
  const [name = "", program = "", ...args] = given.arguments;
  const container = requireContainer(await look(), name);
  if (container.State.Status !== "running") throw new Refusal(`container ${container.Id} is not running`);
  const user = given.text("user") ?? "root";
  if (!/^(root|0)(:(root|0))?$/.test(user)) throw notSupported(`docker exec --user ${user}`);
  const env: Record<string, string> = { HOME: "/root", HOSTNAME: container.Config.Hostname };
  for (const entry of [...container.Config.Env, ...given.list("env")]) {
    const at = entry.indexOf("=");
    const value = at < 0 ? Deno.env.get(entry) : entry.slice(at + 1);
    if (value !== undefined) env[at < 0 ? entry : entry.slice(0, at)] = value;
  }
  const candidates = program.includes("/")
    ? [program]
    : (env["PATH"] ?? "").split(":").map((folder) => `${folder}/${program}`);
  const file = candidates.find((path) => isExecutable(path));
  if (file === undefined) {
    const reason = program.includes("/")
      ? `stat ${program}: no such file or directory`
      : "executable file not found in $PATH";
    print(
      `OCI runtime exec failed: exec failed: unable to start container process: exec: ${
        JSON.stringify(program)
      }: ${reason}: unknown\r`,
    );
    throw new Exit(126);
  }
  const child = new Deno.Command(file, {
    args,
    clearEnv: true,
    env,
    cwd: given.text("workdir") ?? "/",
    stdin: given.is("interactive") ? "inherit" : "null",
    stdout: given.is("detach") ? "null" : "inherit",
    stderr: given.is("detach") ? "null" : "inherit",
    detached: given.is("detach"),
  }).spawn();
  if (given.is("detach")) return child.unref();
  const { code } = await child.status;
  throw new Exit(code);
}
