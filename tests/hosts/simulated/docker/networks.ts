/**
 * The commands on volumes and networks.
 *
 * @module
 */

import { change, eachOrFail, encoder, filters, labelsOf, look, print, writeAll } from "./client.ts";
import { requireContainer } from "./create.ts";
import { type Given, Refusal } from "./flags.ts";
import { listTime, type Row, showRows } from "./format.ts";
import { short } from "./images.ts";
import { labelList } from "./inspect.ts";
import { newId, now, removeDirectory, stateDirectory, volumeDirectory } from "./state.ts";

/** `docker volume create`. */
export async function createVolume(given: Given): Promise<void> {
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

/** `docker volume ls`. */
export async function listVolumes(given: Given): Promise<void> {
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

/** `docker volume rm`. */
export async function removeVolumes(given: Given): Promise<void> {
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

/** `docker network create`. */
export async function createNetwork(given: Given): Promise<void> {
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

/** `docker network ls`. */
export async function listNetworks(given: Given): Promise<void> {
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

/** `docker network rm`. */
export async function removeNetworks(given: Given): Promise<void> {
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

/** `docker network connect`. */
export async function connectNetwork(given: Given): Promise<void> {
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
