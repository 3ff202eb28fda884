/**
 * Runs the setup of one container during development: on this host where it is a Proxmox one, else on the simulated host.
 *
 * ```sh
 * deno task setup 901 --check
 * ```
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { readArguments } from "../lib/run/arguments.ts";
import { PCT_PATH } from "../lib/build.ts";
import { SimulatedHost } from "../tests/hosts/simulated/simulated_host.ts";
import { availableSetups, selected, setupFile } from "./setups.ts";
import { importArguments, inForeground } from "./toolchain.ts";

const USAGE = `Usage: deno task setup <CTID> [options]

The options are those of the setup: deno task setup ${availableSetups()[0]} --help`;

const state = fileURLToPath(import.meta.resolve("../.simulated"));

/** The options of Deno in the first line of a setup: what it is permitted when it is run by its name. */
function permissionsOf(setup: string): string[] {
  const [line = ""] = Deno.readTextFileSync(setup).split("\n");
  const options = /^#!\/usr\/bin\/env -S deno run (.+)$/.exec(line)?.[1];
  if (options === undefined) {
    throw new Error(`Cannot run "${setup}" as its first line does not say what it is permitted`);
  }
  return options.split(" ");
}

async function run(args: string[]): Promise<number> {
  const { help, positional } = readArguments(args);
  if (help && positional.length === 0) {
    console.log(USAGE);
    return 0;
  }
  const [ctid] = selected(positional.slice(0, 1), false, availableSetups());
  const setup = setupFile(ctid!);
  const argv = ["run", ...await importArguments(), ...permissionsOf(setup), setup, ...args];
  const streams = { stdin: "null", stdout: "inherit", stderr: "inherit" } as const;
  if (await exists(PCT_PATH)) return await inForeground(new Deno.Command(Deno.execPath(), { args: argv, ...streams }));
  console.error(`THIS IS A SIMULATION: there is no ${PCT_PATH} here, so this runs on the simulated host in ${state}`);
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
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
