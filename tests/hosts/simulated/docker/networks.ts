/**
 * The commands on networks and volumes.
 *
 * @module
 */

import { type Invocation, Refusal } from "./cli.ts";
import { print } from "./client.ts";
import { printRows } from "./format.ts";
import { changeState, isRunning, newId, readState, requireContainer, shortId } from "./state.ts";

/** The networks that Docker always has. */
const PREDEFINED = ["bridge", "host", "none"];

/** `docker network create`. */
export async function create(invocation: Invocation): Promise<void> {
  const [name = ""] = invocation.args;
  const Id = newId();
  await changeState((state) => {
    if (PREDEFINED.includes(name)) throw new Refusal(`operation is not permitted on predefined ${name} network`);
    if (state.networks[name] !== undefined) throw new Refusal(`network with name ${name} already exists`);
    state.networks[name] = { Id, Driver: "bridge" };
  });
  print(Id);
}

/** `docker network connect`. */
export async function connect(invocation: Invocation): Promise<void> {
  const [network = "", name = ""] = invocation.args;
  await changeState((state) => {
    const container = requireContainer(state, name);
    const { NetworkMode } = container.HostConfig;
    if (NetworkMode === "host") {
      throw new Refusal(
        "container sharing network namespace with another container or host cannot be connected to any other network",
      );
    }
    if (NetworkMode === "none") {
      throw new Refusal(
        "container cannot be connected to multiple networks with one of the networks in private (none) mode",
      );
    }
    const { Networks } = container.NetworkSettings;
    // Of a container that does not run, Docker looks at that only at its start.
    if (isRunning(container)) {
      if (state.networks[network] === undefined) throw new Refusal(`network ${network} not found`);
      if (Networks[network] !== undefined) {
        throw new Refusal(`endpoint with name ${container.Name.slice(1)} already exists in network ${network}`);
      }
    }
    Networks[network] = { IPAMConfig: {} };
  });
}

/** `docker network ls`. */
export async function list(invocation: Invocation): Promise<void> {
  const { networks } = await readState();
  const names = Object.keys(networks).sort();
  const rows = names.map((Name) => ({ ID: shortId(networks[Name]!.Id), Name, Driver: networks[Name]!.Driver }));
  printRows(invocation, rows, "ID");
}

/** `docker volume ls`. */
export async function listVolumes(invocation: Invocation): Promise<void> {
  const { volumes } = await readState();
  printRows(invocation, volumes.toSorted().map((Name) => ({ Name, Driver: "local" })), "Name");
}
