/**
 * Places setups where the orchestrator finds them: in the folder `bin` of the Phoenix Hypervisor prefix, as root's.
 *
 * ```sh
 * deno task install --all --form script
 * ```
 *
 * @module
 */

import { join } from "node:path";
import { parseArgs } from "node:util";
import { messageOf } from "../lib/errors.ts";
import { ConfigurationError, ContainerConfig, readJson } from "../lib/run/configuration.ts";
import { isSameHostName } from "../lib/run/setup.ts";
import { build, BUILD_OPTIONS, BUILD_USAGE, buildOptions, pathFromCaller } from "./compile.ts";
import { fileName, place, remove, versionIn } from "./place.ts";
import { availableSetups, selected, setupFile } from "./setups.ts";

const USAGE = `Usage: deno task install <CTID…>|--all [--prefix DIR] ${BUILD_USAGE}
       deno task install <CTID…>|--all [--prefix DIR] --from DIR
       deno task install <CTID…>|--all [--prefix DIR] --uninstall`;

/** The containers that have a file of this project in `folder`, in numeric order. */
async function builtIn(folder: string): Promise<number[]> {
  const ctids: number[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    const ctid = /^phoenix_hypervisor_setup_([1-9]\d*)$/.exec(name)?.[1];
    if (ctid !== undefined && await versionIn(join(folder, name)) !== undefined) ctids.push(Number(ctid));
  }
  return ctids.sort((a, b) => a - b);
}

/**
 * Says why a setup, of a container called `name`, is not for a host, as the end of a sentence; `undefined` where it is.
 */
type HostFilter = (ctid: number, name: string) => string | undefined;

/** Knows by the configuration `file` which setups are for the host. */
function hostFilter(file: string): HostFilter {
  const json = readJson(file);
  if (json === undefined) {
    throw new Error(`Cannot tell which setups are for this host as there is no "${file}": name their CTIDs`);
  }
  return (ctid, name) => {
    try {
      const configured = new ContainerConfig(file, json, ctid).name;
      if (isSameHostName(configured, name)) return undefined;
      return `"${file}" calls it "${configured}", the setup is for "${name}"`;
    } catch (error) {
      const hasNone = error instanceof ConfigurationError && error.blockMissing;
      return hasNone ? `"${file}" has no container ${ctid}` : messageOf(error);
    }
  };
}

/** Does something for each container, and says what came of it. Gives false where it failed for one. */
async function forEach(ctids: readonly number[], serve: (ctid: number) => Promise<string>): Promise<boolean> {
  let complete = true;
  for (const ctid of ctids) {
    try {
      console.log(`${ctid}  ${await serve(ctid)}`);
    } catch (error) {
      complete = false;
      console.error(`${ctid}  failed: ${messageOf(error)}`);
    }
  }
  return complete;
}

/** Carries a command line out. Gives false where one of the containers could not be served. */
async function main(args: string[]): Promise<boolean> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      ...BUILD_OPTIONS,
      from: { type: "string" },
      prefix: { type: "string", default: "/usr/local/phoenix_hypervisor" },
      uninstall: { type: "boolean", default: false },
    },
  });
  const { all, from, uninstall, help } = values;
  if (help) {
    console.log(USAGE);
    return true;
  }
  const builds = values.form !== undefined || values.pct !== undefined || values.target !== undefined;
  if ([builds, from !== undefined, uninstall].filter(Boolean).length > 1) {
    throw new Error(`These options exclude each other\n${USAGE}`);
  }
  const options = buildOptions(values);
  const prefix = pathFromCaller(values.prefix);
  const folder = join(prefix, "bin");
  if (Deno.uid() !== 0) throw new Error(`Cannot change "${folder}" as its files are root's: run this as root`);
  if (!await Deno.stat(folder).then(({ isDirectory }) => isDirectory, () => false)) {
    throw new Error(`There is no folder "${folder}": create it, or name the right place with --prefix`);
  }
  if (uninstall) return await uninstallFrom(folder, positionals, all);

  const notMeant = all ? hostFilter(join(prefix, "etc/phoenix_lxc_configs.json")) : () => undefined;
  if (from !== undefined) {
    const built = pathFromCaller(from);
    return await installFrom(built, folder, selected(positionals, all, await builtIn(built)), notMeant);
  }
  const ctids = selected(positionals, all, availableSetups());
  const temporary = await Deno.makeTempDir({ prefix: "phoenix_install_" });
  try {
    await build(ctids.map(setupFile), temporary, options);
    return await installFrom(temporary, folder, ctids, notMeant);
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
}

async function uninstallFrom(folder: string, positionals: readonly string[], all: boolean): Promise<boolean> {
  const there = await builtIn(folder);
  // What was installed need not have a setup here any more.
  const ctids = selected(positionals, all, all ? there : [...new Set([...availableSetups(), ...there])]);
  return await forEach(ctids, async (ctid) => await remove(ctid, folder) ? "removed" : "unchanged: not installed");
}

/** Installs the files that were built into the folder `built`, but for those that `notMeant` gives a reason against. */
function installFrom(
  built: string,
  folder: string,
  ctids: readonly number[],
  notMeant: HostFilter,
): Promise<boolean> {
  return forEach(ctids, async (ctid) => {
    const file = join(built, fileName(ctid));
    const version = await versionIn(file);
    if (version === undefined) throw new Error(`Cannot use "${file}" as it was not built by this project`);
    const reason = notMeant(ctid, version.slice(version.indexOf(") ") + 2));
    if (reason !== undefined) return `skipped: ${reason}`;
    const placed = await place(file, folder, { installed: true });
    return `${placed ? "installed" : "unchanged"}: ${join(folder, fileName(ctid))} and .sh, ${version}`;
  });
}

if (import.meta.main) {
  try {
    if (!await main(Deno.args)) Deno.exit(1);
  } catch (error) {
    console.error(messageOf(error));
    Deno.exit(1);
  }
}
