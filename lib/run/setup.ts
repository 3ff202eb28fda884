/**
 * What a setup is: the container that it is for, what it needs of the host, and what must be true in the end.
 *
 * @module
 */

import type { ContainerConfig, HypervisorConfig } from "./configuration.ts";
import type { Step } from "../step.ts";
import type { Secret } from "../secret.ts";

/**
 * What a setup needs of the host beyond `pct`, the configuration and the log. Its executable is permitted this and no
 * more; a use that is not declared ends the run with exit code 70 and names the declaration to add.
 */
export interface HostNeeds {
  /** Addresses that are connected to from the host: `host`, `host:port` or a subnet such as `10.0.0.0/24`. */
  readonly addresses?: readonly string[];
  /** Files and folders that are read, as absolute paths. */
  readonly reads?: readonly string[];
  /** Files and folders that are written, as absolute paths. They can be read as well. */
  readonly writes?: readonly string[];
  /** Programs of the host that are run, as absolute paths. */
  readonly commands?: readonly string[];
  /** Environment variables that are read. */
  readonly environment?: readonly string[];
}

/** What the body of a setup is given. */
export interface SetupContext {
  /** Makes a step true, and says whether that took a change. Always to be awaited. */
  readonly ensure: <State>(step: Step<State>) => Promise<boolean>;
  /** The container's block of `phoenix_lxc_configs.json`. A setup that never touches it runs without the file. */
  readonly config: ContainerConfig;
  /** The host-wide `phoenix_hypervisor_config.json`. A setup that never touches it runs without the file. */
  readonly hypervisor: HypervisorConfig;
  /** The value of an environment variable that the setup declares; `undefined` where it is not set. */
  readonly environment: (name: string) => string | undefined;
  /**
   * Reads a secret: a file on the host, which holds the value or one line `NAME=value`, or a declared environment
   * variable. From then on the value is replaced by the secret's name in all that is logged. Ends the run with exit
   * code 2 where there is none.
   */
  readonly secret: (
    name: string,
    from: { readonly file: string } | { readonly environment: string },
  ) => Promise<Secret>;
}

/** The setup of one container. */
export interface Setup {
  /** The container's id. */
  readonly ctid: number;
  /** The container's name, which is its host name: a container of another name is never touched. */
  readonly name: string;
  /** What it needs of the host. */
  readonly needs: HostNeeds;
  /** Makes everything true, step by step. */
  readonly perform: (context: SetupContext) => Promise<void>;
}

/** The lowest and the highest id that Proxmox gives to a container. */
export const CTID_RANGE = { lowest: 100, highest: 999_999_999 } as const;

/**
 * Describes the setup of container `ctid`. Hand it to `main`. Throws a `TypeError` for an id that Proxmox does not give
 * and for a name that is no host name.
 *
 * @example
 * ```ts
 * const motd = setup(910, "Greeter", async ({ ensure }) => {
 *   await ensure({ title: "nothing", probe: async () => {}, diff: () => [], apply: async () => {} });
 * });
 * ```
 */
export function setup(ctid: number, name: string, perform: Setup["perform"]): Setup;
/** Describes the setup of container `ctid`, which needs more of the host than every setup does. */
export function setup(ctid: number, name: string, needs: HostNeeds, perform: Setup["perform"]): Setup;
export function setup(
  ctid: number,
  name: string,
  needsOrPerform: HostNeeds | Setup["perform"],
  performIfNeeds?: Setup["perform"],
): Setup {
  const { lowest, highest } = CTID_RANGE;
  if (!Number.isInteger(ctid) || ctid < lowest || ctid > highest) {
    throw new TypeError(
      `Cannot describe a setup for container ${ctid}: expected an integer from ${lowest} to ${highest}`,
    );
  }
  if (!/^[a-z0-9][a-z0-9.-]*$/i.test(name)) {
    throw new TypeError(
      `Cannot describe the setup of container ${ctid}: expected the container's host name, found ${
        JSON.stringify(name)
      }`,
    );
  }
  if (typeof needsOrPerform === "function") return { ctid, name, needs: {}, perform: needsOrPerform };
  requireNeeds(ctid, needsOrPerform);
  return { ctid, name, needs: needsOrPerform, perform: performIfNeeds! };
}

/** Whether two host names are the same up to their first dot, in any case. */
export function isSameHostName(a: string, b: string): boolean {
  const short = (name: string) => name.replace(/\..*/s, "").toLowerCase();
  return short(a) === short(b);
}

/** What is declared becomes an option of Deno, in which a comma begins another permission. */
function requireNeeds(ctid: number, needs: HostNeeds): void {
  const { addresses = [], reads = [], writes = [], commands = [], environment = [] } = needs;
  const refuse = (value: string, expected: string) => {
    throw new TypeError(`Cannot declare "${value}" for the setup of container ${ctid}: expected ${expected}`);
  };
  for (const path of [...reads, ...writes, ...commands]) {
    if (!/^\/[^,\s]*$/.test(path) || path.split("/").includes("..")) {
      refuse(path, 'an absolute path without comma, white space and ".."');
    }
  }
  for (const address of addresses) {
    if (!/^[\w.:[\]/-]+$/.test(address)) refuse(address, "a host, with a port or a subnet");
  }
  for (const name of environment) if (!/^[A-Za-z_]\w*\*?$/.test(name)) refuse(name, "the name of a variable");
}
