/**
 * A stand-in for the `docker` command inside of a simulated container, with the behaviour of Docker 26.1.5 (Debian 13's, client and
 * engine), whose texts, exit codes and documents were compared with the real one's. There is no engine: what `docker` would
 * ask it to do, this program does to the files below `/var/lib/docker`, see `state.ts`; a running container is a process of
 * its own, see `app.ts`. Whatever it does not know ends with `docker stand-in: not supported: …` and exit code 64.
 *
 * Besides Docker's own commands there are three for whoever plays the system around it: `engine-start`, `engine-stop`, and
 * `exited ID`, which the keeper of a container's process calls.
 *
 * @module
 */

import { complain, print, requireFilter } from "./client.ts";
import { create, exec, kill, logs, remove, rename, restart, run, start, stop, wait } from "./containers.ts";
import { clientError, createOptions } from "./create.ts";
import { engineStart, engineStop, exited, showInfo, showVersion } from "./engine.ts";
import { type CommandLine, EngineDown, Exit, type Given, notSupported, parse, wholeNumber } from "./flags.ts";
import { images, load, login, logout, pullImage, removeImages, save, tag } from "./image_commands.ts";
import { version } from "./inspect.ts";
import {
  connectNetwork,
  createNetwork,
  createVolume,
  listNetworks,
  listVolumes,
  removeNetworks,
  removeVolumes,
} from "./networks.ts";
import { inspect, inspectAny, ps } from "./queries.ts";
import { knobs, makeStateDirectory, sleep } from "./state.ts";

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
