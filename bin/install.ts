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
import { ConfigurationError, ContainerConfig, readJson } from "../lib/run/configuration.ts";
import { messageOf } from "../lib/errors.ts";
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
 * Says why a setup of a container called `name` is not for the host of this configuration, as the end of a sentence; `undefined` where
 * it is.
 */
function notThisHosts(ctid: number, name: string, file: string, json: unknown): string | undefined {
  const short = (name: string) => name.split(".")[0]!.toLowerCase();
  let meant: string;
  try {
    meant = new ContainerConfig(file, json, ctid).name;
  } catch (error) {
    return error instanceof ConfigurationError && error.blockMissing
      ? `"${file}" has no container ${ctid}`
      : messageOf(error);
  }
  return short(meant) === short(name) ? undefined : `"${file}" calls it "${meant}", the setup is for "${name}"`;
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
async function install(args: string[]): Promise<boolean> {
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
  const { all, uninstall, help } = values;
  if (help) {
    console.log(USAGE);
    return true;
  }
  const builds = values.form !== undefined || values.pct !== undefined || values.target !== undefined;
  if ([builds, values.from !== undefined, uninstall].filter(Boolean).length > 1) {
    throw new Error(`These options exclude each other\n${USAGE}`);
  }
  const options = buildOptions(values);
  const prefix = pathFromCaller(values.prefix);
  const folder = join(prefix, "bin");
  if (Deno.uid() !== 0) throw new Error(`Cannot change "${folder}", whose files are root's: run this as root`);
  if (!await Deno.stat(folder).then(({ isDirectory }) => isDirectory, () => false)) {
    throw new Error(`There is no folder "${folder}": make it, or name the right place with --prefix`);
  }

  if (uninstall) {
    const there = await builtIn(folder);
    // What was installed need not have a setup here any more.
    const ctids = selected(positionals, all, all ? there : [...new Set([...availableSetups(), ...there])]);
    return await forEach(ctids, async (ctid) => await remove(ctid, folder) ? "removed" : "unchanged: not installed");
  }

  const configFile = join(prefix, "etc/phoenix_lxc_configs.json");
  const config = all ? readJson(configFile) : undefined;
  if (all && config === undefined) {
    throw new Error(`Cannot tell which setups are this host's, as there is no "${configFile}": name their CTIDs`);
  }
  const from = values.from === undefined ? undefined : pathFromCaller(values.from);
  const ctids = selected(positionals, all, from === undefined ? availableSetups() : await builtIn(from));
  const temporary = await Deno.makeTempDir({ prefix: "phoenix_install_" });
  try {
    if (from === undefined) await build(ctids.map(setupFile), temporary, options);
    return await forEach(ctids, async (ctid) => {
      const file = join(from ?? temporary, fileName(ctid));
      const version = (await versionIn(file))!;
      const name = version.slice(version.indexOf(") ") + 2);
      const reason = all ? notThisHosts(ctid, name, configFile, config) : undefined;
      if (reason !== undefined) return `skipped: ${reason}`;
      const placed = await place(file, folder, { installed: true });
      return `${placed ? "installed" : "unchanged"}: ${join(folder, fileName(ctid))} and .sh, ${version}`;
    });
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
}

if (import.meta.main) {
  try {
    if (!await install(Deno.args)) Deno.exit(1);
  } catch (error) {
    console.error(messageOf(error));
    Deno.exit(1);
  }
}
