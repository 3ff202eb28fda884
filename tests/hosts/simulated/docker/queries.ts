/**
 * The commands that show containers in a table, and anything as a document.
 *
 * @module
 */

import { encoder, filters, look, print, writeAll } from "./client.ts";
import { EngineDown, Exit, type Given, notSupported, Refusal } from "./flags.ts";
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
} from "./format.ts";
import { findImage, imageShown, requireImage, short } from "./images.ts";
import { containerDocument, imageDocument, labelList, networkDocument, volumeDocument } from "./inspect.ts";
import { type Container, findContainer, healthOf, type State } from "./state.ts";

/** `docker ps`. */
export async function ps(given: Given): Promise<void> {
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

/** `docker … inspect`, of the kinds that are named. */
export async function inspect(kinds: string[], given: Given): Promise<void> {
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

/** `docker inspect`. */
export async function inspectAny(given: Given): Promise<void> {
  const type = given.text("type");
  if (type !== undefined && findDocument[type] === undefined) throw notSupported(`docker inspect --type ${type}`);
  await inspect(type === undefined ? ["container", "image", "network", "volume"] : [type], given);
}
