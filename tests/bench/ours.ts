/**
 * The setups that are measured, in the forms in which a user has them.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { build } from "../../bin/compile.ts";
import { importArguments } from "../../bin/toolchain.ts";
import { permissionsOf } from "../../lib/run/permission.ts";
import type { Setup } from "../../lib/run/setup.ts";
import { denortMissing } from "../support/denort.ts";
import { whereExported, writeSetup } from "../support/setup_file.ts";
import type { Program } from "./bench_host.ts";

/** How a setup is run: installed as one of the two forms, or from its source. */
interface Forms {
  /** From its source. */
  readonly source: Program;
  /** As a script that Deno runs. */
  readonly script: Program;
  /** With Deno inside. Missing where `denort` is not to be had. */
  readonly executable?: Program;
}

const built = new Map<Setup, Promise<Forms>>();

/**
 * Builds a setup of container 901 into all forms that can be had here, in folders below `into`; once for all sections.
 */
export function buildForms(into: string, setup: Setup): Promise<Forms> {
  const forms = built.get(setup) ?? buildAll(into, setup);
  built.set(setup, forms);
  return forms;
}

async function buildAll(into: string, setup: Setup): Promise<Forms> {
  const { module, name } = await whereExported(setup);
  const newFolder = async (form: string) => {
    const folder = `${into}/${name}.${form}`;
    await Deno.mkdir(folder);
    return folder;
  };
  const source = await writeSetup(await newFolder("source"), setup);
  const buildForm = async (form: "executable" | "script"): Promise<Program> => {
    const folder = await newFolder(form);
    await build([source], folder, { form });
    return { argv: [`${folder}/phoenix_hypervisor_setup_901`, "901"] };
  };
  const options = ["run", "--quiet", ...await importArguments(), ...permissionsOf(setup)];
  return {
    // As `deno task setup` runs it.
    source: { argv: [Deno.execPath(), ...options, fromFileUrl(module), "901"] },
    script: await buildForm("script"),
    ...(denortMissing() === undefined ? { executable: await buildForm("executable") } : {}),
  };
}
