/**
 * Runs the setup of a container during development: on this host where it is a Proxmox one, else on a simulated one.
 *
 * ```sh
 * deno task setup 901 --check
 * ```
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { readCommandLine } from "../lib/run/arguments.ts";
import { PCT_PATH } from "../lib/build.ts";
import { messageOf } from "../lib/errors.ts";
import { availableSetups, permissionsIn, selected, setupFile } from "./setups.ts";
import { importArguments, inForeground } from "./toolchain.ts";

const USAGE = `Usage: deno task setup <CTID> [options]

The options are those of the setup: deno task setup ${availableSetups()[0]} --help`;

const state = fileURLToPath(import.meta.resolve("../.simulated"));

async function run(args: string[]): Promise<number> {
  const { help, positional } = readCommandLine(args);
  if (help && positional.length === 0) {
    console.log(USAGE);
    return 0;
  }
  const [setup = ""] = selected(positional.slice(0, 1), false, availableSetups()).map(setupFile);
  const argv = ["run", ...await importArguments(), ...permissionsIn(setup), setup, ...args];
  const streams = { stdin: "null", stdout: "inherit", stderr: "inherit" } as const;
  if (await exists(PCT_PATH)) return await inForeground(new Deno.Command(Deno.execPath(), { args: argv, ...streams }));
  console.error(`THIS IS A SIMULATION: there is no ${PCT_PATH} here, so this runs on the simulated host in ${state}`);
  // A host that has containers of its own has no need of a simulated one, nor of the tests that it is a part of.
  const { SimulatedHost } = await import("../tests/hosts/simulated/simulated_host.ts");
  const host = await SimulatedHost.open(state);
  return await inForeground(host.command(Deno.execPath(), argv, streams));
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

if (import.meta.main) {
  try {
    Deno.exit(await run(Deno.args));
  } catch (error) {
    console.error(messageOf(error));
    Deno.exit(1);
  }
}
