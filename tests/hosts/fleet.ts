/**
 * The containers that the configuration of the simulated fleet describes.
 *
 * @module
 */

import type { ContainerToCreate } from "./host.ts";

/** A container of the fleet. */
interface FleetContainer extends ContainerToCreate {
  /** Whether it is given GPUs. */
  readonly hasGpus: boolean;
}

/** What is read of `phoenix_lxc_configs.json`. */
interface LxcConfigs {
  readonly lxc_configs: Readonly<
    Record<string, { name: string; network_config: { ip: string }; gpu_assignment: string }>
  >;
}

/** The containers of `phoenix_lxc_configs.json`, as an orchestrator would create them. */
export async function fleet(): Promise<FleetContainer[]> {
  const file = new URL("./simulated/etc/phoenix_lxc_configs.json", import.meta.url);
  const { lxc_configs } = JSON.parse(await Deno.readTextFile(file)) as LxcConfigs;
  return Object.entries(lxc_configs).map(([ctid, { name, network_config, gpu_assignment }]) => ({
    ctid: Number(ctid),
    hostname: name,
    ip: network_config.ip.replace(/\/.*/, ""),
    hasGpus: gpu_assignment !== "none",
  }));
}
