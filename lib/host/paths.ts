/**
 * Where things are on a Phoenix Hypervisor host.
 *
 * @module
 */

/** Where everything is on a Phoenix Hypervisor host. */
export const HOST_PATHS = {
  hypervisorConfig: "/usr/local/phoenix_hypervisor/etc/phoenix_hypervisor_config.json",
  lxcConfig: "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json",
  log: "/var/log/phoenix_hypervisor.log",
  /** Which container lives on which node of the cluster. */
  clusterList: "/etc/pve/.vmlist",
  locks: "/run/phoenix_setup",
} as const;

/** The note on the host that says that this program stopped container `ctid`, and has to start it again. */
export function stoppedMarker(ctid: number): string {
  return `${HOST_PATHS.locks}/setup_${ctid}.stopped`;
}
