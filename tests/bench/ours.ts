/**
 * The setups that are measured, in the forms in which a user has them.
 *
 * @module
 */

import { dirname } from "@std/path";
import { build } from "../../bin/compile.ts";
import { importArguments } from "../../bin/toolchain.ts";
import type { Setup } from "../../lib/run/setup.ts";
import { permissionsOf } from "../../lib/run/permission.ts";
import { denortMissing } from "../support/denort.ts";
import { folder, type Program } from "./bench_host.ts";

/** How a setup is run: installed as one of the two forms, or from its source. */
export interface Forms {
  readonly source: Program;
  readonly script: Program;
  /** Missing where `denort` is not to be had. */
  readonly executable?: Program;
}

const built = new Map<string, Promise<Forms>>();

/** Builds the setup of container 901 in `file` into all forms that can be had here, in folders below `into`; once for all sections. */
export function buildForms(into: string, file: string, setup: Setup): Promise<Forms> {
  const forms = built.get(file) ?? buildAll(into, file, setup);
  built.set(file, forms);
  return forms;
}

async function buildAll(into: string, file: string, setup: Setup): Promise<Forms> {
  const [name] = Object.entries(await import(`./${file}`)).find(([, value]) => value === setup)!;
  // A build wants the name that a setup has among the others.
  const source = `${into}/${file}.source/901.ts`;
  await Deno.mkdir(dirname(source));
  await Deno.writeTextFile(
    source,
    `import { main } from "${import.meta.resolve("../../lib/mod.ts")}";
import { ${name} } from "${import.meta.resolve(`./${file}`)}";
export { ${name} };
if (import.meta.main) await main(${name});
`,
  );
  const buildForm = async (form: "executable" | "script"): Promise<Program> => {
    const folder = `${into}/${file}.${form}`;
    await Deno.mkdir(folder);
    await build([source], folder, { form });
    return { argv: [`${folder}/phoenix_hypervisor_setup_901`, "901"] };
  };
  return {
    source: await fromSource(file, setup),
    script: await buildForm("script"),
    ...(denortMissing() === undefined ? { executable: await buildForm("executable") } : {}),
  };
}

/** A setup as `deno task setup` runs it. */
export async function fromSource(file: string, setup: Setup): Promise<Program> {
  return {
    argv: [
      Deno.execPath(),
      "run",
      "--quiet",
      ...await importArguments(),
      ...permissionsOf(setup),
      `${folder}${file}`,
      "901",
    ],
  };
}
