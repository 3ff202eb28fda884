/**
 * The setups of the tests as files that can be run.
 *
 * They are exported by modules in folders `setups` beside the tests, each as a setup or as a function that makes one of
 * what JSON can hold, so that a case can vary it. The type checker sees them, and the calls that vary them.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { permissionsOf } from "../../lib/run/permission.ts";
import type { Setup } from "../../lib/run/setup.ts";

/** A setup that a module in a folder `setups` exports, or a function that makes one. */
export type ExportedSetup<Arguments extends readonly unknown[]> = Setup | ((...args: Arguments) => Setup);

/** The folders with such modules. */
const FOLDERS = ["../cases/setups/", "../torture/setups/", "../bench/setups/"].map((path) =>
  new URL(path, import.meta.url)
);

/**
 * Writes a file `<CTID>.ts` into `folder` that runs an exported setup, and gives its path. As with a setup of a user's,
 * its first line permits what the setup declares, and no more; it can be built, too.
 */
export async function writeSetup<Arguments extends readonly unknown[]>(
  folder: string,
  exported: ExportedSetup<Arguments>,
  ...args: Arguments
): Promise<string> {
  const { module, name } = await whereExported(exported);
  const setup = typeof exported === "function" ? exported(...args) : exported;
  const given = args.map((argument) => {
    const json = JSON.stringify(argument);
    assertEquals(JSON.parse(json), argument, `JSON has to hold what "${name}" is given`);
    return json;
  });
  const path = `${folder}/${setup.ctid}.ts`;
  await Deno.writeTextFile(
    path,
    `#!/usr/bin/env -S deno run ${permissionsOf(setup).join(" ")}
import { main } from "${import.meta.resolve("../../lib/mod.ts")}";
import { ${name} } from "${module}";
export const exported = ${name}${typeof exported === "function" ? `(${given.join(", ")})` : ""};
if (import.meta.main) await main(exported);
`,
  );
  return path;
}

/** The module that exports a setup, and the setup's name there. */
export async function whereExported(exported: unknown): Promise<{ module: string; name: string }> {
  for (const folder of FOLDERS) {
    for await (const { name: file } of Deno.readDir(folder)) {
      if (!file.endsWith(".ts")) continue;
      const module = new URL(file, folder).href;
      const found = Object.entries(await import(module)).find(([, value]) => value === exported);
      if (found !== undefined) return { module, name: found[0] };
    }
  }
  throw new Error(`No module in a folder "setups" of the tests exports this: ${exported}`);
}

/** The options of Deno in the first line of a setup's file: what it is permitted when it is run by its name. */
export async function permissionsIn(file: string): Promise<string[]> {
  const [line = ""] = (await Deno.readTextFile(file)).split("\n");
  const [, options] = /^#!\/usr\/bin\/env -S deno run (.+)$/.exec(line) ?? [];
  if (options === undefined) throw new Error(`The first line of "${file}" does not say what it is permitted`);
  return options.split(" ");
}
