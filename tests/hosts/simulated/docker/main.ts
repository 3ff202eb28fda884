/**
 * A stand-in for the `docker` command in a simulated container. There is no engine: what `docker` would ask it to do,
 * this program does to the files below `/var/lib/docker`, see `state.ts`; a container that runs is a process of its
 * own, see `app.ts`.
 *
 * It has what the steps, setups and cases need, with the texts and exit codes of Docker 20.10, with which the lab
 * compares it. Whatever else it is asked ends with `docker stand-in: not supported: …` and exit code 64.
 *
 * For whoever plays the system around it there are three more commands: `engine-start`, `engine-stop`, and `exited ID`.
 *
 * @module
 */

import { printError } from "./client.ts";
import { type CommandLine, Exit, type Invocation, notSupported, parse, requireInteger } from "./cli.ts";
import * as containers from "./containers.ts";
import { CREATE_OPTIONS } from "./create.ts";
import * as engine from "./engine.ts";
import { LIST_OPTIONS } from "./format.ts";
import * as images from "./images.ts";
import { inspectAny, inspectKind, type Kind } from "./inspect.ts";
import * as networks from "./networks.ts";

interface Command extends Omit<CommandLine, "name"> {
  readonly run: (invocation: Invocation) => Promise<void> | void;
}

const FORMAT = { "format,f": "text" } as const;
const FORCE = { "force,f": "switch" } as const;
const TIME = { "time,t": requireInteger } as const;
const CONTAINERS = { usage: "CONTAINER [CONTAINER...]", count: [1, Infinity] } as const;
const OPTIONS_CONTAINERS = { ...CONTAINERS, usage: `[OPTIONS] ${CONTAINERS.usage}` } as const;
const NEW_CONTAINER = {
  usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
  count: [1, Infinity],
  optionsFirst: true,
} as const;

function requireFilter(value: string): void {
  if (!value.includes("=")) throw new Error("bad format of filter (expected name=value)");
}

function inspectCommand(kind: Kind): Command {
  const placeholder = kind.toUpperCase();
  return {
    usage: `[OPTIONS] ${placeholder} [${placeholder}...]`,
    description: `Display detailed information on one or more ${kind}s`,
    count: [1, Infinity],
    options: FORMAT,
    run: (invocation) => inspectKind(kind, invocation),
  };
}

const removeImages: Command = {
  usage: "[OPTIONS] IMAGE [IMAGE...]",
  description: "Remove one or more images",
  count: [1, Infinity],
  options: FORCE,
  run: images.remove,
};

const COMMANDS: Readonly<Record<string, Command>> = {
  "container inspect": inspectCommand("container"),
  "image inspect": inspectCommand("image"),
  "image rm": removeImages,
  "network connect": {
    usage: "[OPTIONS] NETWORK CONTAINER",
    description: "Connect a container to a network",
    count: [2, 2],
    options: {},
    run: networks.connect,
  },
  "network create": {
    usage: "[OPTIONS] NETWORK",
    description: "Create a network",
    count: [1, 1],
    options: {},
    run: networks.create,
  },
  "network inspect": inspectCommand("network"),
  "network ls": {
    usage: "[OPTIONS]",
    description: "List networks",
    count: [0, 0],
    options: LIST_OPTIONS,
    run: networks.list,
  },
  "volume inspect": inspectCommand("volume"),
  "volume ls": {
    usage: "[OPTIONS]",
    description: "List volumes",
    count: [0, 0],
    options: LIST_OPTIONS,
    run: networks.listVolumes,
  },
  create: {
    ...NEW_CONTAINER,
    description: "Create a new container",
    options: CREATE_OPTIONS,
    run: containers.create,
  },
  images: {
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    description: "List images",
    count: [0, 1],
    options: { ...LIST_OPTIONS, "no-trunc": "switch" },
    run: images.list,
  },
  info: {
    usage: "[OPTIONS]",
    description: "Display system-wide information",
    count: [0, 0],
    options: FORMAT,
    run: engine.info,
  },
  inspect: {
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    description: "Return low-level information on Docker objects",
    count: [1, Infinity],
    options: FORMAT,
    run: inspectAny,
  },
  kill: {
    ...OPTIONS_CONTAINERS,
    description: "Kill one or more running containers",
    options: {},
    run: containers.kill,
  },
  load: {
    usage: "[OPTIONS]",
    description: "Load an image from a tar archive or STDIN",
    count: [0, 0],
    options: {},
    run: images.load,
  },
  login: {
    usage: "[OPTIONS] [SERVER]",
    description: "Log in to a Docker registry",
    count: [0, 1],
    options: { "username,u": "text", "password-stdin": "switch" },
    run: images.login,
  },
  logs: {
    usage: "[OPTIONS] CONTAINER",
    description: "Fetch the logs of a container",
    count: [1, 1],
    options: { "tail,n": "text" },
    run: containers.logs,
  },
  pause: {
    ...CONTAINERS,
    description: "Pause all processes within one or more containers",
    options: {},
    run: containers.pause,
  },
  ps: {
    usage: "[OPTIONS]",
    description: "List containers",
    count: [0, 0],
    options: { ...LIST_OPTIONS, "all,a": "switch", "filter,f": requireFilter, "no-trunc": "switch" },
    run: containers.list,
  },
  pull: {
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    description: "Pull an image or a repository from a registry",
    count: [1, 1],
    options: { "quiet,q": "switch" },
    run: images.pull,
  },
  rename: {
    usage: "CONTAINER NEW_NAME",
    description: "Rename a container",
    count: [2, 2],
    options: {},
    run: containers.rename,
  },
  restart: {
    ...OPTIONS_CONTAINERS,
    description: "Restart one or more containers",
    options: TIME,
    run: containers.restart,
  },
  rm: {
    ...OPTIONS_CONTAINERS,
    description: "Remove one or more containers",
    options: FORCE,
    run: containers.remove,
  },
  rmi: removeImages,
  run: {
    ...NEW_CONTAINER,
    description: "Run a command in a new container",
    options: { ...CREATE_OPTIONS, "detach,d": "switch", rm: "switch" },
    run: containers.run,
  },
  start: {
    ...OPTIONS_CONTAINERS,
    description: "Start one or more stopped containers",
    options: {},
    run: containers.start,
  },
  stop: {
    ...OPTIONS_CONTAINERS,
    description: "Stop one or more running containers",
    options: TIME,
    run: containers.stop,
  },
  tag: {
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    description: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    count: [2, 2],
    options: {},
    run: images.tag,
  },
  unpause: {
    ...CONTAINERS,
    description: "Unpause all processes within one or more containers",
    options: {},
    run: containers.unpause,
  },
  version: {
    usage: "[OPTIONS]",
    description: "Show the Docker version information",
    count: [0, 0],
    options: FORMAT,
    run: engine.version,
  },
};

async function main([first = "", second = "", ...rest]: readonly string[]): Promise<void> {
  if (first === "engine-start") return await engine.startEngine();
  if (first === "engine-stop") return await engine.stopEngine();
  if (first === "exited") return await engine.recordEndOf(second);
  const isGroup = Object.hasOwn(COMMANDS, `${first} ${second}`);
  const name = isGroup ? `${first} ${second}` : first;
  if (!Object.hasOwn(COMMANDS, name)) throw notSupported(`docker ${first} ${second}`.trimEnd());
  const { run, ...command } = COMMANDS[name]!;
  await run(parse({ ...command, name }, isGroup ? rest : Deno.args.slice(1)));
}

try {
  await main(Deno.args);
  // An orderly end would remove a socket that was just made.
  Deno.exit(0);
} catch (error) {
  if (error instanceof Deno.errors.BrokenPipe) Deno.exit(141);
  const message = error instanceof Error ? error.message : String(error);
  if (message !== "") printError(message);
  Deno.exit(error instanceof Exit ? error.code : 1);
}
