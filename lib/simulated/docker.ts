/**
 * A stand-in for the `docker` command inside of a simulated container, with the behaviour of Docker 26.1.5 (Debian 13's, client and
 * engine), whose texts, exit codes and documents were compared with the real one's. There is no engine: what `docker` would
 * ask it to do, this program does to the files below `/var/lib/docker`, see `docker_state.ts`; a running container is a process of
 * its own, see `docker_app.ts`. Whatever it does not know ends with `docker stand-in: not supported: …` and exit code 64.
 *
 * Besides Docker's own commands there are three for whoever plays the system around it: `engine-start`, `engine-stop`, and
 * `exited ID`, which the keeper of a container's process calls.
 *
 * @module
 */

import {
  clientError,
  createContainer,
  createOptions,
  readWanted,
  requireContainer,
  requireFreeName,
  type Wanted,
} from "./docker_create.ts";
import {
  type CommandLine,
  EngineDown,
  Exit,
  type Given,
  notSupported,
  parse,
  Refusal,
  wholeNumber,
} from "./docker_flags.ts";
import {
  humanAge,
  humanSize,
  indented,
  type Json,
  listTime,
  type Row,
  showByTemplate,
  showRows,
  TemplateProblem,
} from "./docker_format.ts";
import {
  clientConfigFile,
  credentialKey,
  digestsOf,
  findImage,
  imageShown,
  isLogin,
  loadImages,
  pull,
  reference,
  removeImage,
  requireImage,
  saveImages,
  short,
  tagsOf,
  throwNetworkFault,
} from "./docker_images.ts";
import {
  containerDocument,
  imageDocument,
  infoDocument,
  infoText,
  labelList,
  networkDocument,
  version,
  versionDocument,
  versionText,
  volumeDocument,
} from "./docker_inspect.ts";
import {
  changeState,
  type Container,
  engineRuns,
  exitCodeOfStartProblem,
  findContainer,
  healthOf,
  isAlive,
  knobs,
  logFile,
  makeSocket,
  makeStateDirectory,
  newId,
  now,
  readState,
  removeContainer,
  removeDirectory,
  replaceFile,
  showLife,
  sleep,
  socketFile,
  startContainer,
  type State,
  stateDirectory,
  textOf,
  volumeDirectory,
} from "./docker_state.ts";

const encoder = new TextEncoder();

function writeAll(file: { writeSync(data: Uint8Array): number }, data: Uint8Array): void {
  for (let at = 0; at < data.length;) at += file.writeSync(data.subarray(at));
}

function print(line: string): void {
  writeAll(Deno.stdout, encoder.encode(`${line}\n`));
}

function complain(line: string): void {
  writeAll(Deno.stderr, encoder.encode(`${line}\n`));
}

/** The state, for what only looks at it. */
async function look(): Promise<State> {
  const state = await readState();
  if (!engineRuns()) throw new EngineDown();
  return state;
}

/** The state, for what changes it. */
function change<Result>(work: (state: State) => Promise<Result> | Result): Promise<Result> {
  return changeState((state) => {
    if (!engineRuns()) throw new EngineDown();
    return work(state);
  });
}

/** Does the same to each of some things, as Docker does: says what fails and goes on. The answer is what failed. */
async function each(names: string[], work: (name: string) => Promise<string | undefined>): Promise<string[]> {
  const failed: string[] = [];
  for (const name of names) {
    try {
      const line = await work(name);
      if (line !== undefined) print(line);
    } catch (error) {
      if (!(error instanceof Refusal) && !(error instanceof EngineDown)) throw error;
      complain(error.message);
      failed.push(name);
    }
  }
  return failed;
}

async function eachOrFail(names: string[], work: (name: string) => Promise<string | undefined>): Promise<void> {
  if ((await each(names, work)).length > 0) throw new Exit(1);
}

// -- Containers -------------------------------------------------------------------------------------------------------------

async function pullMissing(wanted: Wanted): Promise<void> {
  const policy = wanted.given.text("pull") || "missing";
  const present = findImage(await look(), wanted.image) !== undefined;
  if (policy === "never" || (policy === "missing" && present)) return;
  const name = parseReference(wanted.image);
  if (policy === "missing") complain(`Unable to find image '${name.familiar}' locally`);
  await pull(name, wanted.given.is("quiet") ? () => {} : complain);
}

function parseReference(text: string) {
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

async function create(given: Given): Promise<void> {
  const wanted = readWantedOf("create", given);
  await pullMissing(wanted);
  const { id, warnings } = await change((state) => createContainer(state, wanted));
  warnings.forEach(complain);
  print(id);
}

async function run(given: Given): Promise<void> {
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

async function start(given: Given): Promise<void> {
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
async function endContainer(container: Container, signal: string, seconds: number): Promise<void> {
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

async function stop(given: Given): Promise<void> {
  await eachOrFail(given.arguments, async (name) => {
    await stopContainer(name, (container) => stopTimeout(given, container));
    return name;
  });
}

async function restart(given: Given): Promise<void> {
  await eachOrFail(given.arguments, async (name) => {
    await stopContainer(name, (container) => stopTimeout(given, container));
    const problem = await change((state) => startById(state, name));
    if (problem !== undefined) throw new Refusal(`Cannot restart container ${name}: ${problem}`);
    return name;
  });
}

const signals = ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "KILL"];

async function kill(given: Given): Promise<void> {
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

async function remove(given: Given): Promise<void> {
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

async function rename(given: Given): Promise<void> {
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

async function wait(given: Given): Promise<void> {
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

async function logs(given: Given): Promise<void> {
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

async function exec(given: Given): Promise<void> {
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
  const file = candidates.find((path) => startable(path));
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

function startable(path: string): boolean {
  try {
    const { isFile, mode } = Deno.statSync(path);
    return isFile && ((mode ?? 0) & 0o111) !== 0;
  } catch {
    return false;
  }
}

function filters(given: Given, known: string[]): [string, string][] {
  return given.list("filter").map((filter) => {
    const [name = "", ...value] = filter.split("=");
    if (known.includes(name)) return [name, value.join("=")];
    throw notSupported(`--filter ${filter}`);
  });
}

function requireFilter(value: string): void {
  if (!value.includes("=")) throw new Error("bad format of filter (expected name=value)");
}

async function ps(given: Given): Promise<void> {
  const state = await look();
  const wanted = filters(given, ["name", "label", "status", "id", "health"]);
  for (const [name, value] of wanted) {
    if (
      name === "status" && !["created", "restarting", "running", "removing", "paused", "exited", "dead"].includes(value)
    ) {
      throw new Refusal(`invalid filter 'status=${value}'`);
    }
  }
  // Values of one filter are alternatives, those of labels and different filters are not.
  const matches = (container: Container) =>
    Object.entries(Object.groupBy(wanted, ([name]) => name)).every(([name, values = []]) =>
      name === "label"
        ? values.every(([, value]) => matchesFilter(container, name, value))
        : values.some(([, value]) => matchesFilter(container, name, value))
    );
  const all = given.is("all") || wanted.some(([name]) => name === "status");
  const shown = Object.values(state.containers).toReversed().filter((container) =>
    matches(container) && (all || container.State.Status === "running" || container.State.Status === "restarting")
  );
  const full = given.is("no-trunc");
  if (given.is("quiet") && given.text("format") === undefined) {
    return shown.forEach(({ Id }) => print(full ? Id : short(Id)));
  }
  const rows = shown.map((container) => containerRow(state, container, full));
  writeAll(
    Deno.stdout,
    encoder.encode(showRows(rows, given.text("format"), [
      ["ID", "CONTAINER ID"],
      ["Image", "IMAGE"],
      ["Command", "COMMAND"],
      ["RunningFor", "CREATED"],
      ["Status", "STATUS"],
      ["Ports", "PORTS"],
      ["Names", "NAMES"],
    ])),
  );
}

function matchesFilter(container: Container, name: string, value: string): boolean {
  switch (name) {
    case "name":
      // A name is a pattern that may match any part of the container's, with or without its slash.
      return [container.Name, container.Name.slice(1)].some((own) => own === value || new RegExp(value).test(own));
    case "label": {
      const [key = "", ...wanted] = value.split("=");
      const own = container.Config.Labels[key];
      return own !== undefined && (wanted.length === 0 || own === wanted.join("="));
    }
    case "status":
      return container.State.Status === value;
    case "health":
      return (healthOf(container)?.Status ?? "none") === value;
    default:
      return container.Id.startsWith(value);
  }
}

function containerRow(state: State, container: Container, full: boolean): Row {
  const cut = (text: string, length: number) =>
    full || [...text].length <= length ? text : `${[...text].slice(0, length - 1).join("")}…`;
  const quote = (word: string) =>
    /[^\w@%+=:,./-]/.test(word) || word === "" ? `'${word.replaceAll("'", `'"'"'`)}'` : word;
  const mount = ({ Name, Source }: Container["Mounts"][number]) => cut(Name ?? Source, 15);
  return {
    Command: JSON.stringify(cut([container.Path, ...container.Args.map(quote)].join(" "), 20)),
    CreatedAt: listTime(container.Created),
    ID: full ? container.Id : short(container.Id),
    Image: imageShown(state, container),
    Labels: labelList(container.Config.Labels),
    LocalVolumes: String(container.Mounts.filter(({ Type }) => Type === "volume").length),
    Mounts: container.Mounts.map(mount).join(","),
    Names: container.Name.slice(1),
    Networks: Object.keys(container.networks).sort().join(","),
    Ports: shownPorts(container),
    RunningFor: `${humanAge(container.Created)} ago`,
    Size: `0B (virtual ${humanSize(state.images[container.Image]?.Size ?? 0)})`,
    State: container.State.Status,
    Status: shownStatus(container),
  };
}

function shownStatus(container: Container): string {
  const { Status, ExitCode, StartedAt, FinishedAt } = container.State;
  if (Status === "created") return "Created";
  if (Status === "restarting") return `Restarting (${ExitCode}) ${humanAge(FinishedAt)} ago`;
  if (Status === "exited") return `Exited (${ExitCode}) ${humanAge(FinishedAt)} ago`;
  const health = healthOf(container)?.Status;
  return `Up ${humanAge(StartedAt)}${
    health === undefined ? "" : ` (${health === "starting" ? "health: starting" : health})`
  }`;
}

/** The ports of a container as `docker ps` shows them: neighbours in one range, other ports of the host last. */
function shownPorts(container: Container): string {
  if (container.State.Status !== "running") return "";
  const published = container.ports.flatMap(({ container: inside, ip, port }) =>
    (ip === "0.0.0.0" ? [ip, "::"] : [ip]).map((ip) => ({
      inside: Number.parseInt(inside),
      type: inside.replace(/^.*\//, ""),
      ip,
      port,
    }))
  );
  const open = Object.keys(container.Config.ExposedPorts ?? {}).filter((port) =>
    !container.ports.some((own) => own.container === port)
  )
    .map((port) => ({ inside: Number.parseInt(port), type: port.replace(/^.*\//, ""), ip: "", port: 0 }));
  const all = [...published, ...(container.address === "" ? [] : open)]
    .sort((a, b) => a.inside - b.inside || (a.ip < b.ip ? -1 : a.ip > b.ip ? 1 : 0) || a.port - b.port);
  const ranges = new Map<string, { first: number; last: number }>();
  const result: string[] = [];
  const mappings: string[] = [];
  const group = (key: string, { first, last }: { first: number; last: number }) => {
    const [type = "", ip] = key.split("/").reverse();
    const range = first === last ? `${first}` : `${first}-${last}`;
    return ip === undefined ? `${range}/${type}` : `${ip}:${range}->${range}/${type}`;
  };
  for (const { inside, type, ip, port } of all) {
    if (ip !== "" && port !== inside) {
      mappings.push(`${ip}:${port}->${inside}/${type}`);
      continue;
    }
    const key = ip === "" ? type : `${ip}/${type}`;
    const range = ranges.get(key);
    if (range !== undefined && inside === range.last + 1) range.last = inside;
    else {
      if (range !== undefined) result.push(group(key, range));
      ranges.set(key, { first: inside, last: inside });
    }
  }
  return [...result, ...[...ranges].map(([key, range]) => group(key, range)), ...mappings].join(", ");
}

// -- Inspecting -------------------------------------------------------------------------------------------------------------

type Finder = (state: State, name: string) => Json | undefined;

const findDocument: Record<string, { find: Finder; missing: (name: string) => string }> = {
  container: {
    find: (state, name) => {
      const found = findContainer(state, name);
      if (found.length > 1) throw new Refusal(`Multiple IDs found with provided prefix: ${name}`);
      return found[0] && containerDocument(state, found[0]);
    },
    missing: (name) => `Error response from daemon: No such container: ${name}`,
  },
  image: {
    find: (state, name) => {
      const image = findImage(state, name);
      if (image !== undefined) return imageDocument(state, image);
      requireImage(state, name);
    },
    missing: (name) => `Error response from daemon: No such image: ${name}`,
  },
  network: {
    find: (state, name) => {
      const found = Object.entries(state.networks).find(([own, { Id }]) =>
        own === name || Id === name || (name.length >= 12 && Id.startsWith(name))
      );
      return found && networkDocument(state, ...found);
    },
    missing: (name) => `Error response from daemon: network ${name} not found`,
  },
  volume: {
    find: (state, name) => state.volumes[name] && volumeDocument(name, state.volumes[name]),
    missing: (name) => `Error response from daemon: get ${name}: no such volume`,
  },
};

async function inspect(kinds: string[], given: Given): Promise<void> {
  const format = given.text("format");
  const shown: string[] = [];
  const documents: Json[] = [];
  const problems: string[] = [];
  for (const name of given.arguments) {
    try {
      const document = await findAny(kinds, name);
      if (format === undefined || format === "json") documents.push(document);
      else shown.push(showByTemplate(format, document));
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof EngineDown || error instanceof TemplateProblem)) throw error;
      problems.push(error.message);
    }
  }
  if (format === undefined) print(indented(documents));
  else if (format === "json") print(JSON.stringify(documents));
  else print(shown.join("\n"));
  if (problems.length > 0) throw new Exit(1, problems.join("\n"));
}

async function findAny(kinds: string[], name: string): Promise<Json> {
  const state = await look();
  for (const kind of kinds) {
    const { find, missing } = findDocument[kind] ?? {};
    try {
      const document = name === "" ? undefined : find?.(state, name);
      if (document !== undefined) return document;
    } catch (error) {
      if (kinds.length === 1 || !(error instanceof Refusal)) throw error;
    }
    if (kinds.length === 1) throw new TemplateProblem(name === "" ? `Error: No such ${kind}: ` : missing?.(name));
  }
  throw new TemplateProblem(`Error: No such object: ${name}`);
}

async function inspectAny(given: Given): Promise<void> {
  const type = given.text("type");
  if (type !== undefined && findDocument[type] === undefined) throw notSupported(`docker inspect --type ${type}`);
  await inspect(type === undefined ? ["container", "image", "network", "volume"] : [type], given);
}

// -- Images -----------------------------------------------------------------------------------------------------------------

async function pullImage(given: Given): Promise<void> {
  const [text = ""] = given.arguments;
  const name = parseReference(text);
  const quiet = given.is("quiet");
  if (!quiet && !name.complete) print("Using default tag: latest");
  await look();
  await pull(name, quiet ? () => {} : print);
  print(
    `${name.registry}/${name.path}${name.tag === "" ? "" : `:${name.tag}`}${
      name.digest === "" ? "" : `@${name.digest}`
    }`,
  );
}

async function images(given: Given): Promise<void> {
  const state = await look();
  const full = given.is("no-trunc");
  const [only] = given.arguments;
  const wanted = filters(given, ["reference", "dangling"]);
  const rows: Row[] = [];
  for (const image of Object.values(state.images).sort((a, b) => a.Created < b.Created ? 1 : -1)) {
    const tags = tagsOf(state, image).map(reference);
    const digests = digestsOf(state, image).map(reference);
    const untagged = digests.filter(({ name }) => !tags.some((tag) => tag.name === name));
    const names = [...tags, ...untagged];
    const row = (Repository: string, Tag: string, Digest: string): Row => ({
      Containers: "N/A",
      CreatedAt: listTime(image.Created),
      CreatedSince: `${humanAge(image.Created)} ago`,
      Digest,
      ID: full ? image.Id : short(image.Id),
      Repository,
      SharedSize: "N/A",
      Size: humanSize(image.Size),
      Tag,
      UniqueSize: "N/A",
      VirtualSize: humanSize(image.Size, 4),
    });
    if (
      names.length === 0 && only === undefined &&
      !wanted.some(([name, value]) => name === "reference" || value === "false")
    ) {
      rows.push(row("<none>", "<none>", "<none>"));
    }
    for (const { name, tag, familiar } of names) {
      if (only !== undefined && !matchesReference(only, name, tag)) continue;
      if (
        !wanted.every(([filter, value]) =>
          filter === "reference" ? matchesReference(value, name, tag) : value === "false"
        )
      ) continue;
      const digest = given.is("digests") ? digests.find((digest) => digest.name === name)?.digest : undefined;
      rows.push(row(name, familiar.includes("@") ? "<none>" : tag, digest ?? "<none>"));
    }
  }
  if (given.is("quiet") && given.text("format") === undefined) {
    return [...new Set(rows.map(({ ID = "" }) => ID))].forEach(print);
  }
  const digest: [string, string][] = given.is("digests") ? [["Digest", "DIGEST"]] : [];
  writeAll(
    Deno.stdout,
    encoder.encode(showRows(rows, given.text("format"), [
      ["Repository", "REPOSITORY"],
      ["Tag", "TAG"],
      ...digest,
      ["ID", "IMAGE ID"],
      ["CreatedSince", "CREATED"],
      ["Size", "SIZE"],
    ])),
  );
}

/** Whether a pattern such as `busybox`, `busybox:1.*` or `ghcr.io/owner/*` means this image. */
function matchesReference(pattern: string, name: string, tag: string): boolean {
  const glob = new RegExp(
    `^${pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^/]*").replaceAll("?", "[^/]")}$`,
  );
  return glob.test(`${name}:${tag}`) || glob.test(name);
}

async function removeImages(given: Given): Promise<void> {
  await eachOrFail(given.arguments, async (name) => {
    const lines = await change((state) => removeImage(state, name, given.is("force")));
    return lines.join("\n");
  });
}

async function tag(given: Given): Promise<void> {
  const [source = "", target = ""] = given.arguments;
  let name: string;
  try {
    name = reference(target).familiar;
  } catch (error) {
    throw new Exit(
      1,
      `Error parsing reference: ${JSON.stringify(target)} is not a valid repository/tag: ${
        error instanceof Error ? error.message : ""
      }`,
    );
  }
  await change((state) => {
    const image = requireImage(state, source);
    state.tags[name] = image.Id;
    image.LastTagTime = now();
  });
}

async function load(given: Given): Promise<void> {
  const input = given.text("input");
  let data: Uint8Array<ArrayBuffer>;
  if (input === undefined) {
    if (Deno.stdin.isTerminal()) throw new Exit(1, "requested load from stdin, but stdin is empty");
    data = await new Response(Deno.stdin.readable).bytes();
  } else {
    try {
      data = await Deno.readFile(input);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Exit(1, `open ${input}: no such file or directory`);
    }
  }
  await look();
  (await loadImages(data)).forEach(print);
}

async function save(given: Given): Promise<void> {
  const output = given.text("output");
  const folder = output?.includes("/") ? output.slice(0, output.lastIndexOf("/")) || "/" : ".";
  if (output !== undefined && !isFolder(folder)) {
    throw new Exit(1, `failed to save image: invalid output path: directory ${JSON.stringify(folder)} does not exist`);
  }
  if (output === undefined && Deno.stdout.isTerminal()) {
    throw new Exit(1, "cowardly refusing to save to a terminal. Use the -o flag or redirect");
  }
  const archive = await saveImages(await look(), given.arguments);
  if (output === undefined) writeAll(Deno.stdout, archive);
  else Deno.writeFileSync(output, archive, { mode: 0o600 });
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

interface ClientConfig {
  auths?: Record<string, { auth?: string }>;
}

function changeClientConfig(work: (config: ClientConfig) => void): void {
  const file = clientConfigFile();
  const config = JSON.parse(textOf(file) ?? "{}") as ClientConfig;
  work(config);
  Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true, mode: 0o700 });
  replaceFile(file, JSON.stringify(config, null, "\t"));
  Deno.chmodSync(file, 0o600);
}

async function login(given: Given): Promise<void> {
  const registry = given.arguments[0] ?? "docker.io";
  const user = given.text("username");
  let password = given.text("password");
  if (given.is("password-stdin")) {
    if (user === undefined) throw new Exit(1, "Must provide --username with --password-stdin");
    password = (await new Response(Deno.stdin.readable).text()).replace(/\r?\n$/, "");
  } else if (password !== undefined) {
    complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
  }
  if (user === undefined || password === undefined) {
    throw new Exit(1, "Error: Cannot perform an interactive login from a non TTY device");
  }
  await look();
  await throwNetworkFault(registry);
  if (!isLogin(registry, user, password)) {
    const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
    throw new Refusal(`Get "https://${host}/v2/": unauthorized: incorrect username or password`);
  }
  changeClientConfig((config) => {
    config.auths = { ...config.auths, [credentialKey(registry)]: { auth: btoa(`${user}:${password}`) } };
  });
  complain(`WARNING! Your password will be stored unencrypted in ${clientConfigFile()}.`);
  complain("Configure a credential helper to remove this warning. See");
  complain("https://docs.docker.com/engine/reference/commandline/login/#credentials-store\n");
  print("Login Succeeded");
}

function logout(given: Given): Promise<void> {
  const key = credentialKey(given.arguments[0] ?? "docker.io");
  print(`Removing login credentials for ${key}`);
  changeClientConfig((config) => delete config.auths?.[key]);
  return Promise.resolve();
}

// -- Volumes and networks ---------------------------------------------------------------------------------------------------

async function createVolume(given: Given): Promise<void> {
  const name = given.arguments[0] ?? newId();
  const driver = given.text("driver") ?? "local";
  if (driver !== "local") {
    throw new Refusal(`create ${name}: error looking up volume plugin ${driver}: plugin "${driver}" not found`);
  }
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name)) {
    throw new Refusal(
      `create ${name}: ${
        JSON.stringify(name)
      } includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  }
  const labels = labelsOf(given) ?? (given.arguments[0] === undefined ? { "com.docker.volume.anonymous": "" } : null);
  await change((state) => {
    state.volumes[name] ??= { CreatedAt: `${now().slice(0, 19)}Z`, Labels: labels };
    Deno.mkdirSync(volumeDirectory(name), { recursive: true });
  });
  print(name);
}

function labelsOf(given: Given): Record<string, string> | null {
  const labels = given.list("label").map((label) => [label.split("=")[0] ?? "", label.split("=").slice(1).join("=")]);
  return labels.length === 0 ? null : Object.fromEntries(labels);
}

async function listVolumes(given: Given): Promise<void> {
  const state = await look();
  const wanted = filters(given, ["name"]);
  const names = Object.keys(state.volumes).sort().filter((name) => wanted.every(([, value]) => name.includes(value)));
  if (given.is("quiet")) return names.forEach(print);
  const rows = names.map((Name): Row => ({
    Availability: "N/A",
    Driver: "local",
    Group: "N/A",
    Labels: labelList(state.volumes[Name]?.Labels ?? null),
    Links: "N/A",
    Mountpoint: volumeDirectory(Name),
    Name,
    Scope: "local",
    Size: "N/A",
    Status: "N/A",
  }));
  writeAll(
    Deno.stdout,
    encoder.encode(showRows(rows, given.text("format"), [["Driver", "DRIVER"], ["Name", "VOLUME NAME"]])),
  );
}

async function removeVolumes(given: Given): Promise<void> {
  await eachOrFail(given.arguments, async (name) => {
    await change((state) => {
      if (state.volumes[name] === undefined) {
        if (given.is("force")) return;
        throw new Refusal(`get ${name}: no such volume`);
      }
      const users = Object.values(state.containers).filter(({ Mounts }) => Mounts.some((mount) => mount.Name === name))
        .map(({ Id }) => Id);
      if (users.length > 0) throw new Refusal(`remove ${name}: volume is in use - [${users.join(", ")}]`);
      delete state.volumes[name];
      removeDirectory(`${stateDirectory}/volumes/${name}`);
    });
    return name;
  });
}

const predefined = ["bridge", "host", "none"];

async function createNetwork(given: Given): Promise<void> {
  const [name = ""] = given.arguments;
  const Driver = given.text("driver") ?? "bridge";
  const Id = newId();
  await change((state) => {
    if (predefined.includes(name)) throw new Refusal(`operation is not permitted on predefined ${name} network`);
    if (Driver !== "bridge") throw new Refusal(`plugin ${JSON.stringify(Driver)} not found`);
    if (state.networks[name] !== undefined) throw new Refusal(`network with name ${name} already exists`);
    const taken = new Set(Object.values(state.networks).map(({ subnet }) => subnet));
    let subnet = 18;
    while (taken.has(subnet)) subnet++;
    state.networks[name] = { Id, Created: now(), Driver, Labels: labelsOf(given) ?? {}, subnet };
  });
  print(Id);
}

async function listNetworks(given: Given): Promise<void> {
  const state = await look();
  const wanted = filters(given, ["name"]);
  const names = Object.keys(state.networks).sort().filter((name) => wanted.every(([, value]) => name.includes(value)));
  const id = (name: string) =>
    given.is("no-trunc") ? state.networks[name]?.Id ?? "" : short(state.networks[name]?.Id ?? "");
  if (given.is("quiet")) return names.forEach((name) => print(id(name)));
  const rows = names.map((Name): Row => ({
    CreatedAt: listTime(state.networks[Name]?.Created ?? ""),
    Driver: state.networks[Name]?.Driver ?? "",
    ID: id(Name),
    IPv6: "false",
    Internal: "false",
    Labels: labelList(state.networks[Name]?.Labels ?? null),
    Name,
    Scope: "local",
  }));
  const columns: [string, string][] = [["ID", "NETWORK ID"], ["Name", "NAME"], ["Driver", "DRIVER"], [
    "Scope",
    "SCOPE",
  ]];
  writeAll(Deno.stdout, encoder.encode(showRows(rows, given.text("format"), columns)));
}

async function removeNetworks(given: Given): Promise<void> {
  await eachOrFail(given.arguments, async (name) => {
    await change((state) => {
      const network = state.networks[name];
      if (predefined.includes(name)) throw new Refusal(`${name} is a pre-defined network and cannot be removed`);
      if (network === undefined) throw new Refusal(`network ${name} not found`);
      if (
        Object.values(state.containers).some(({ networks, State }) =>
          networks[name] !== undefined && State.Status === "running"
        )
      ) {
        throw new Refusal(`error while removing network: network ${name} id ${network.Id} has active endpoints`);
      }
      delete state.networks[name];
    });
    return name;
  });
}

async function connectNetwork(given: Given): Promise<void> {
  const [network = "", name = ""] = given.arguments;
  await change((state) => {
    const container = requireContainer(state, name);
    // Of a container that does not run, Docker notices only at its start.
    if (state.networks[network] === undefined && container.State.Status === "running") {
      throw new Refusal(`network ${network} not found`);
    }
    if (container.networks[network] !== undefined && container.State.Status === "running") {
      throw new Refusal(`endpoint with name ${container.Name.slice(1)} already exists in network ${network}`);
    }
    container.networks[network] = given.list("alias");
  });
}

// -- Engine -----------------------------------------------------------------------------------------------------------------

function showVersion(given: Given): Promise<void> {
  const format = given.text("format");
  const template = format === "json" ? "{{json .}}" : format;
  if (template === undefined) writeAll(Deno.stdout, encoder.encode(versionText()));
  else print(engineRuns() || !template.includes(".Server") ? showByTemplate(template, versionDocument()) : "");
  if (!engineRuns()) throw new EngineDown();
  return Promise.resolve();
}

async function showInfo(given: Given): Promise<void> {
  const state = await readState();
  const format = given.text("format");
  const down = !engineRuns();
  if (format !== undefined) {
    // With a format Docker says that the engine is down, and exits with 0.
    if (down) complain(new EngineDown().message);
    return print(showByTemplate(format === "json" ? "{{json .}}" : format, infoDocument(state)));
  }
  writeAll(Deno.stdout, encoder.encode(infoText(state)));
  if (down) throw new Exit(1, `ERROR: ${new EngineDown().message}\nerrors pretty printing info`);
}

/** What systemd's `docker.service` does at its start: the engine answers, and starts the containers whose policy says so. */
async function engineStart(): Promise<void> {
  await changeState(async (state) => {
    makeSocket();
    for (const container of Object.values(state.containers)) {
      const { Status, ExitCode } = container.State;
      if (Status === "running" || container.starts === 0) continue;
      const { Name } = container.HostConfig.RestartPolicy;
      const wanted = Name === "always" || (Name === "unless-stopped" && !container.stoppedByHand) ||
        (Name === "on-failure" && ExitCode !== 0 && !container.stoppedByHand);
      if (Status === "restarting") container.State.Status = "exited";
      Object.assign(container, { RestartCount: 0, restartDelay: 0 });
      if (wanted) await startContainer(state, container);
    }
  });
}

/** What systemd's `docker.service` does at its end: every container is stopped, to be started again with the engine. */
async function engineStop(): Promise<void> {
  const running = await changeState((state) => {
    removeDirectory(socketFile);
    return Object.values(state.containers).filter(({ State }) => State.Status === "running");
  });
  await Promise.all(
    running.map((container) =>
      endContainer(container, container.Config.StopSignal ?? "SIGTERM", container.Config.StopTimeout ?? 10)
    ),
  );
  await changeState(() => {});
}

/** Called after the end of a container's process: has it noted, and starts it again after a while if its policy says so. */
async function exited(id: string): Promise<void> {
  try {
    const container = await changeState((state) => state.containers[id]);
    if (container?.State.Status !== "restarting") return;
    await sleep(container.restartDelay);
    await changeState(async (state) => {
      const now = state.containers[id];
      const same = now?.State.Status === "restarting" && now.RestartCount === container.RestartCount &&
        now.starts === container.starts;
      if (same && engineRuns()) await startContainer(state, now);
    });
  } catch (error) {
    // Meanwhile everything was removed.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

// -- Command line -----------------------------------------------------------------------------------------------------------

interface Command extends Omit<CommandLine, "name"> {
  run: (given: Given) => Promise<void>;
}

const formatOption = { "format,f": "text" } as const;
const listOptions = { "filter,f": requireFilter, format: "text", "no-trunc": "bool", "quiet,q": "bool" } as const;
const timeOption = { "time,t": wholeNumber, timeout: wholeNumber } as const;
const many = Infinity;

const containerCommands: Record<string, Command> = {
  create: {
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    description: "Create a new container",
    least: 1,
    most: many,
    interspersed: false,
    options: createOptions,
    run: create,
  },
  run: {
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    description: "Create and run a new container from an image",
    least: 1,
    most: many,
    interspersed: false,
    options: { ...createOptions, "detach,d": "bool" },
    run,
  },
  start: {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    description: "Start one or more stopped containers",
    least: 1,
    most: many,
    options: {},
    run: start,
  },
  stop: {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    description: "Stop one or more running containers",
    least: 1,
    most: many,
    options: timeOption,
    run: stop,
  },
  restart: {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    description: "Restart one or more containers",
    least: 1,
    most: many,
    options: timeOption,
    run: restart,
  },
  kill: {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    description: "Kill one or more running containers",
    least: 1,
    most: many,
    options: { "signal,s": "text" },
    run: kill,
  },
  rm: {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    description: "Remove one or more containers",
    least: 1,
    most: many,
    options: { "force,f": "bool", "volumes,v": "bool" },
    run: remove,
  },
  rename: {
    usage: "CONTAINER NEW_NAME",
    description: "Rename a container",
    least: 2,
    most: 2,
    options: {},
    run: rename,
  },
  wait: {
    usage: "CONTAINER [CONTAINER...]",
    description: "Block until one or more containers stop, then print their exit codes",
    least: 1,
    most: many,
    options: {},
    run: wait,
  },
  logs: {
    usage: "[OPTIONS] CONTAINER",
    description: "Fetch the logs of a container",
    least: 1,
    most: 1,
    options: { "follow,f": "bool", since: "text", "tail,n": "text", "timestamps,t": "bool" },
    run: logs,
  },
  exec: {
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    description: "Execute a command in a running container",
    least: 2,
    most: many,
    interspersed: false,
    options: { "detach,d": "bool", "env,e": "list", "interactive,i": "bool", "user,u": "text", "workdir,w": "text" },
    run: exec,
  },
  ls: {
    usage: "[OPTIONS]",
    description: "List containers",
    least: 0,
    most: 0,
    options: { ...listOptions, "all,a": "bool" },
    run: ps,
  },
  inspect: {
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    description: "Display detailed information on one or more containers",
    least: 1,
    most: many,
    options: formatOption,
    run: (given) => inspect(["container"], given),
  },
};

const imageCommands: Record<string, Command> = {
  pull: {
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    description: "Download an image from a registry",
    least: 1,
    most: 1,
    options: { "quiet,q": "bool" },
    run: pullImage,
  },
  ls: {
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    description: "List images",
    least: 0,
    most: 1,
    options: { ...listOptions, "all,a": "bool", digests: "bool" },
    run: images,
  },
  rm: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    description: "Remove one or more images",
    least: 1,
    most: many,
    options: { "force,f": "bool" },
    run: removeImages,
  },
  tag: {
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    description: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    least: 2,
    most: 2,
    options: {},
    run: tag,
  },
  load: {
    usage: "[OPTIONS]",
    description: "Load an image from a tar archive or STDIN",
    least: 0,
    most: 0,
    options: { "input,i": "text", "quiet,q": "bool" },
    run: load,
  },
  save: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    description: "Save one or more images to a tar archive (streamed to STDOUT by default)",
    least: 1,
    most: many,
    options: { "output,o": "text" },
    run: save,
  },
  inspect: {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    description: "Display detailed information on one or more images",
    least: 1,
    most: many,
    options: formatOption,
    run: (given) => inspect(["image"], given),
  },
};

const volumeCommands: Record<string, Command> = {
  create: {
    usage: "[OPTIONS] [VOLUME]",
    description: "Create a volume",
    least: 0,
    most: 1,
    options: { "driver,d": "text", label: "list" },
    run: createVolume,
  },
  inspect: {
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    description: "Display detailed information on one or more volumes",
    least: 1,
    most: many,
    options: formatOption,
    run: (given) => inspect(["volume"], given),
  },
  ls: { usage: "[OPTIONS]", description: "List volumes", least: 0, most: 0, options: listOptions, run: listVolumes },
  rm: {
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    description: "Remove one or more volumes. You cannot remove a volume that is in use by a container",
    least: 1,
    most: many,
    options: { "force,f": "bool" },
    run: removeVolumes,
  },
};

const networkCommands: Record<string, Command> = {
  create: {
    usage: "[OPTIONS] NETWORK",
    description: "Create a network",
    least: 1,
    most: 1,
    options: { "driver,d": "text", label: "list" },
    run: createNetwork,
  },
  inspect: {
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    description: "Display detailed information on one or more networks",
    least: 1,
    most: many,
    options: formatOption,
    run: (given) => inspect(["network"], given),
  },
  ls: { usage: "[OPTIONS]", description: "List networks", least: 0, most: 0, options: listOptions, run: listNetworks },
  rm: {
    usage: "NETWORK [NETWORK...]",
    description: "Remove one or more networks",
    least: 1,
    most: many,
    options: {},
    run: removeNetworks,
  },
  connect: {
    usage: "[OPTIONS] NETWORK CONTAINER",
    description: "Connect a container to a network",
    least: 2,
    most: 2,
    options: { alias: "list" },
    run: connectNetwork,
  },
};

const groups: Record<string, Record<string, Command>> = {
  container: containerCommands,
  image: imageCommands,
  volume: volumeCommands,
  network: networkCommands,
};

const aliases: Record<string, string> = { list: "ls", ps: "ls", remove: "rm" };

/** The commands without a group. */
function plainCommand(name: string): Command | undefined {
  const { inspect: _containers, ls: list, ...ofContainers } = containerCommands;
  const { inspect: _images, ls: listImages, rm: rmi, ...ofImages } = imageCommands;
  const own: Record<string, Command | undefined> = {
    ...ofContainers,
    ps: list,
    ...ofImages,
    images: listImages,
    rmi,
    inspect: {
      usage: "[OPTIONS] NAME|ID [NAME|ID...]",
      description: "Return low-level information on Docker objects",
      least: 1,
      most: many,
      options: { ...formatOption, type: "text" },
      run: inspectAny,
    },
    login: {
      usage: "[OPTIONS] [SERVER]",
      description: "Log in to a registry",
      least: 0,
      most: 1,
      options: { "username,u": "text", "password,p": "text", "password-stdin": "bool" },
      run: login,
    },
    logout: { usage: "[SERVER]", description: "Log out from a registry", least: 0, most: 1, options: {}, run: logout },
    version: {
      usage: "[OPTIONS]",
      description: "Show the Docker version information",
      least: 0,
      most: 0,
      options: formatOption,
      run: showVersion,
    },
    info: {
      usage: "[OPTIONS]",
      description: "Display system-wide information",
      least: 0,
      most: 0,
      options: formatOption,
      run: showInfo,
    },
  };
  return Object.hasOwn(own, name) ? own[name] : undefined;
}

/** What real Docker has and the stand-in has not. */
const lacking = new Set(
  ("attach build builder buildx checkpoint commit compose config context cp diff events export history import manifest node pause plugin " +
    "port prune push search secret service stack stats swarm system top trust unpause update").split(" "),
);

function commandOf([first = "", second = "", ...rest]: string[]): { name: string; command: Command; args: string[] } {
  const group = Object.hasOwn(groups, first) ? groups[first] : undefined;
  const name = group === undefined ? first : `${first} ${second}`;
  const key = aliases[second] ?? second;
  const command = group === undefined ? plainCommand(first) : Object.hasOwn(group, key) ? group[key] : undefined;
  if (command !== undefined) return { name, command, args: group === undefined ? [second, ...rest] : rest };
  if (first === "" || first.startsWith("-") || group !== undefined || lacking.has(first)) {
    throw notSupported(`docker ${name}`);
  }
  throw new Exit(1, `docker: '${first}' is not a docker command.\nSee 'docker --help'`);
}

async function main(args: string[]): Promise<void> {
  if (args[0] === "exited") return await exited(args[1] ?? "");
  makeStateDirectory();
  if (args[0] === "engine-start") return await engineStart();
  if (args[0] === "engine-stop") return await engineStop();
  if (args[0] === "--version" || args[0] === "-v") return print(`Docker version ${version}, build a72d7cd`);
  const { name, command, args: rest } = commandOf(args);
  const given = parse({ ...command, name }, args.length > 1 ? rest : []);
  await sleep(knobs().delay ?? 0);
  try {
    await command.run(given);
  } catch (error) {
    // Under `run` the client itself speaks, and adds its full stop.
    if (error instanceof EngineDown && name.endsWith("run")) throw clientError(name, error.message);
    throw error;
  }
}

try {
  await main(Deno.args);
  // An orderly end would remove a socket that was just made.
  Deno.exit(0);
} catch (error) {
  if (error instanceof Exit) {
    if (error.message !== "") complain(error.message);
    Deno.exit(error.code);
  }
  if (error instanceof Deno.errors.BrokenPipe) Deno.exit(141);
  complain(error instanceof Error ? error.message : String(error));
  Deno.exit(1);
}
