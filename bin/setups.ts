/**
 * The setups of this project, by the ids of their containers.
 *
 * @module
 */

import { fileURLToPath } from "node:url";

const folder = fileURLToPath(import.meta.resolve("../setups/"));

/** The ids of the setups that there are, in numeric order. */
export function availableSetups(): number[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => Number(/^(\d+)\.ts$/.exec(name)?.[1] ?? 0)).filter(Boolean)
    .sort((a, b) => a - b);
}

/** The file of the setup of a container. */
export function setupFile(ctid: number): string {
  return `${folder}${ctid}.ts`;
}

/** The options of Deno in the first line of a setup file: what the setup is permitted when it is run by its name. */
export function permissionsIn(file: string): string[] {
  const [line = ""] = Deno.readTextFileSync(file).split("\n", 1);
  const options = /^#!\/usr\/bin\/env -S deno run (.+)$/.exec(line)?.[1];
  if (options === undefined) {
    throw new Error(`Cannot run "${file}" as its first line does not say what it is permitted`);
  }
  return options.split(" ");
}

/** The ids that a command line names, `--all` being all that are `available`. Throws for what is none of them. */
export function selected(positional: readonly string[], all: boolean, available: readonly number[]): number[] {
  const there = `There are: ${available.join(", ") || "none"}`;
  if (all && positional.length > 0) throw new Error(`Name CTIDs or --all, not both. ${there}`);
  if (all) return [...available];
  if (positional.length === 0) throw new Error(`No CTID given. ${there}`);
  const unknown = positional.filter((id) => !available.map(String).includes(id));
  if (unknown.length > 0) {
    throw new Error(`There is no setup for ${unknown.map((id) => JSON.stringify(id)).join(", ")}. ${there}`);
  }
  return [...new Set(positional.map(Number))];
}
