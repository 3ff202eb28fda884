/**
 * Builds setups into the files that the orchestrator runs: `phoenix_hypervisor_setup_<CTID>`, with a `.sh` link.
 *
 * ```sh
 * deno task compile 901 --form script
 * ```
 *
 * Both forms are the same program with the same permissions. A *script* is a shell script and JavaScript in one file,
 * and wants Deno on the host; an *executable* is that script compiled, with Deno inside.
 *
 * @module
 */

import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { PCT_PATH, VERSION } from "../lib/build.ts";
import { messageOf } from "../lib/errors.ts";
import { quote } from "../lib/shell.ts";
import { answerToVersion, fileName, MARK, place } from "./place.ts";
import { availableSetups, selected, setupFile } from "./setups.ts";
import { importArguments } from "./toolchain.ts";

const project = fileURLToPath(import.meta.resolve("../"));

/** The two kinds of file that a setup can be built into. */
export const FORMS = ["executable", "script"] as const;
/** One of {@linkcode FORMS}. */
export type Form = (typeof FORMS)[number];

/** What an executable can be built for. Proxmox VE is Linux. */
export const TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] as const;
/** One of {@linkcode TARGETS}. */
export type Target = (typeof TARGETS)[number];

/** How {@linkcode build} builds. */
export interface BuildOptions {
  /** Default: `executable`. */
  readonly form?: Form;
  /** What an executable is for. Default: this machine, or x86-64 where this is no Linux. */
  readonly target?: Target;
  /** Where `pct` is on the host. Default: as `lib/build.ts` says, which is where Proxmox has it. */
  readonly pct?: string;
}

/** A file that was built from a setup. */
export interface Built {
  /** The container that it sets up. */
  readonly ctid: number;
  /** The name of that container. */
  readonly name: string;
  /** What it answers to `--version`. */
  readonly version: string;
}

/** Where a script looks for Deno: `PATH` can be short, as cron's is, or lead to anything. */
const DENO_PLACES = ["/usr/local/bin/deno", "/usr/bin/deno", "/root/.deno/bin/deno"];

/** A configuration beside the file is not the file's, and nothing is downloaded on a host. */
const ISOLATED = ["--quiet", "--no-config", "--no-lock", "--no-remote", "--no-npm", "--deny-import", "--ext=js"];

/**
 * Builds each of the setup files `sources` into a file `phoenix_hypervisor_setup_<CTID>` in `folder`. What is built the
 * same way is the same to the last byte. Every file was run once and said its own version; one for another machine
 * cannot be, and was not.
 *
 * @throws {Error} that says what went wrong and what to do; then there is no file that is not whole
 */
export async function build(sources: readonly string[], folder: string, options: BuildOptions = {}): Promise<Built[]> {
  const { form = "executable", target = TARGETS.find((target) => target === Deno.build.target) ?? TARGETS[0] } =
    options;
  const imports = await importArguments();
  // Executables carry the name of the folder that they are compiled in.
  const temporary = await Deno.makeTempDir({ prefix: "phoenix_build_" });
  const work = join(temporary, "program");
  await Deno.mkdir(work);
  try {
    const map = await writeImportMap(work, imports, options.pct);
    const described = await describe(sources, map);
    await runDeno(["check", "--quiet", ...imports, ...sources]);
    for (const [i, setup] of described.entries()) {
      const script = join(work, `${fileName(setup.ctid)}.js`);
      await Deno.writeTextFile(script, await scriptOf(setup, sources[i]!, map));
      await Deno.utime(script, 0, 0); // An executable carries this time inside.
      const file = join(folder, fileName(setup.ctid));
      if (form === "script") {
        await Deno.copyFile(script, file);
        await Deno.chmod(file, 0o755);
        await requireVersion(Deno.execPath(), ["run", ...ISOLATED, ...setup.permissions, file], setup.version);
      } else {
        await compile(script, file, setup.permissions, target);
        if (target === Deno.build.target) await requireVersion(file, [], setup.version);
      }
    }
    return described;
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
}

/** What a build has to know of a setup. */
interface Described extends Built {
  /** The options of Deno that permit what it needs. */
  readonly permissions: readonly string[];
}

/**
 * Writes the import map under which the modules of a build resolve: with other values in the place of `lib/build.ts`.
 * `imports` is what {@linkcode importArguments} gave; gives the file.
 */
export async function writeImportMap(
  folder: string,
  imports: readonly string[],
  pct: string = PCT_PATH,
): Promise<string> {
  const fixed = { VERSION, REVISION: await revision(), PCT_PATH: pct };
  const source = Object.entries(fixed).map(([name, value]) => `export const ${name} = ${JSON.stringify(value)};\n`);
  await Deno.writeTextFile(join(folder, "build.ts"), source.join(""));

  const map = imports.find((argument) => argument.startsWith("--import-map="));
  const base = map?.replace("--import-map=", "") ?? join(project, "deno.json");
  const names: Record<string, string> = JSON.parse(await Deno.readTextFile(base)).imports;
  for (const [name, place] of Object.entries(names)) {
    if (place.startsWith("./")) names[name] = new URL(place, pathToFileURL(base)).href;
  }
  const file = join(folder, "import_map.json");
  await Deno.writeTextFile(
    file,
    JSON.stringify({ imports: { ...names, [import.meta.resolve("../lib/build.ts")]: "./build.ts" } }),
  );
  return file;
}

/** What a built file is made of, as Git's patterns: the program, how it is built, the versions of its packages. */
const SOURCES = [
  ...["lib", "setups", "bin/compile.ts", "bin/place.ts", "deno.json", "deno.lock"],
  ...[":(exclude)*_test.ts", ":(exclude)*.md"],
];

/**
 * The commit of what an executable is made of, in the project in `folder`: with `+modified` where the files are not
 * just that, `unknown` where Git cannot tell.
 */
export async function revision(folder: string = project): Promise<string> {
  const git = async (...args: string[]) => {
    const { success, stdout } = await new Deno.Command("git", {
      args: ["--no-optional-locks", ...args],
      cwd: folder,
      // Not that of a folder above, nor what a hook's environment names.
      env: { GIT_DIR: join(folder, ".git"), GIT_WORK_TREE: folder },
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout).trim() : undefined;
  };
  try {
    const commit = await git("rev-parse", "--short=12", "HEAD");
    const changes = await git("status", "--porcelain", "--untracked-files=all", "--", ...SOURCES);
    return commit === undefined ? "unknown" : changes === "" ? commit : `${commit}+modified`;
  } catch {
    return "unknown"; // There is no Git.
  }
}

/** Loads the setups as they will be built, and asks them who they are. */
async function describe(sources: readonly string[], map: string): Promise<Described[]> {
  const program = `
    import { versionOf } from ${JSON.stringify(import.meta.resolve("../lib/run/arguments.ts"))};
    import { permissionsOf } from ${JSON.stringify(import.meta.resolve("../lib/run/permission.ts"))};
    ${
    sources.map((source, i) => `import * as module${i} from ${JSON.stringify(pathToFileURL(source).href)};`).join("\n")
  }
    const modules = [${sources.map((_, i) => `module${i}`).join(", ")}];
    console.log(JSON.stringify(modules.map((module) =>
      Object.values(module).filter((value) => typeof value?.perform === "function").map((setup) => ({
        ctid: setup.ctid,
        name: setup.name,
        version: versionOf(setup),
        permissions: permissionsOf(setup),
      }))
    )));`;
  const file = join(dirname(map), "describe.js");
  await Deno.writeTextFile(file, program);
  const exported: Described[][] = JSON.parse(
    await runDeno(["run", "--quiet", "--no-prompt", ...resolution(map), file]),
  );
  return exported.map((setups, i) => {
    const source = sources[i]!;
    const [setup] = setups;
    if (setup === undefined || setups.length > 1) {
      throw new Error(`Cannot build "${source}" as it exports ${setups.length} setups: export just one`);
    }
    if (basename(source) !== `${setup.ctid}.ts`) {
      throw new Error(`Cannot build "${source}" as it is the setup of ${setup.ctid}: rename it to ${setup.ctid}.ts`);
    }
    return setup;
  });
}

/** The text of a script: bundled, minified, with a head of shell. */
async function scriptOf({ ctid, version, permissions }: Described, source: string, map: string): Promise<string> {
  const bundle = join(dirname(map), `${ctid}.js`);
  await runDeno(["bundle", "--quiet", "--minify", ...resolution(map), `--output=${bundle}`, source]);
  const places = DENO_PLACES.join(" ");
  // To JavaScript, each of these lines is a string and a comment. To the shell it is a command that does nothing, and
  // one that does.
  const head = [
    `# A shell script that finds Deno and says what is permitted, and the JavaScript that it runs, in one file.`,
    // What a crash would leave on the disk can hold secrets.
    `ulimit -c 0`,
    `for deno in ${places}; do`,
    `  [ -x "$deno" ] && DENO_NO_UPDATE_CHECK=1 exec "$deno" run ${
      [...ISOLATED, ...permissions].map(quote).join(" ")
    } "$0" "$@"`,
    `done`,
    `echo "\${0##*/}: Cannot find Deno, which runs this file, as any of ${places}." >&2`,
    `echo "Install it (https://deno.com; with npm: npm install --global deno@${Deno.version.deno}), or build this file with Deno inside:" >&2`,
    `echo "deno task compile ${ctid} --form executable" >&2`,
    `exit 70`,
  ];
  const program = (await Deno.readTextFile(bundle)).replace(/^#!.*\n/, "");
  return `${MARK}${version}\n${head.map((line) => `":" //; ${line}\n`).join("")};\n${program}`;
}

async function compile(script: string, file: string, permissions: readonly string[], target: Target): Promise<void> {
  try {
    await runDeno([
      "compile",
      ...ISOLATED,
      // Deno would keep compiled code under a name in `/tmp` that anybody can guess, and whoever writes it first
      // decides what root runs.
      "--no-code-cache",
      ...permissions,
      `--target=${target}`,
      `--output=${file}`,
      script,
    ]);
  } catch (error) {
    const said = messageOf(error);
    if (!/base binary|denort|Writing binary bytes/.test(said)) throw error;
    const causes = [...said.matchAll(/^ +[01]: (.*?)\.?$/gm)].map(([, cause]) => cause).join(": ");
    throw new Error(
      `Cannot build an executable as Deno's base binary "denort" ${Deno.version.deno} for ${target} is not available: ${causes}
What to do, one of:
- set DENORT_BIN=/path/to/denort, unpacked from denort-${target}.zip of that release
- build on a machine that reaches dl.deno.land, and copy the files here: deno task install --from DIR
- use --form script: a file of some hundred kilobytes, for a host that has Deno`,
      { cause: error },
    );
  }
}

/** Makes sure that a file that was built says the version that it has to; removes it otherwise. */
async function requireVersion(program: string, args: readonly string[], expected: string): Promise<void> {
  const file = args.at(-1) ?? program;
  const said = await answerToVersion(program, args);
  if (said === expected) return;
  await Deno.remove(file);
  const [firstLine = "nothing"] = said.split("\n");
  throw new Error(
    /^deno \d/.test(said) && program === file
      ? `Cannot build an executable as DENORT_BIN is Deno itself and not "denort": set it to the program "denort", or leave it out`
      : `Cannot build "${basename(file)}": expected it to answer --version with "${expected}", found "${firstLine}"`,
  );
}

/** How Deno finds the modules of a build. */
function resolution(map: string): string[] {
  return ["--frozen", `--config=${project}deno.json`, `--import-map=${map}`];
}

/** Runs Deno to its end and gives its stdout. Throws what it wrote to stderr. */
async function runDeno(args: readonly string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: project,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  if (success) return new TextDecoder().decode(stdout);
  throw new Error(new TextDecoder().decode(stderr).replace(/\n+Stack backtrace:[^]*$/, "").trim());
}

/** The options of a command line that builds. */
export const BUILD_OPTIONS = {
  all: { type: "boolean", default: false },
  form: { type: "string" },
  help: { type: "boolean", short: "h", default: false },
  pct: { type: "string" },
  target: { type: "string" },
} as const;

/** What a person has to know of {@linkcode BUILD_OPTIONS}. */
export const BUILD_USAGE = `[--form ${FORMS.join("|")}] [--target TARGET] [--pct PATH]`;

/** How to build, taken from a command line and checked. */
export function buildOptions(given: { form?: string; target?: string; pct?: string }): BuildOptions {
  const { form = "executable", target, pct } = given;
  const isForm = (value: string): value is Form => FORMS.some((form) => form === value);
  const isTarget = (value: string): value is Target => TARGETS.some((target) => target === value);
  if (!isForm(form)) throw new Error(`Wrong value for "--form": expected ${FORMS.join(" or ")}, found "${form}"`);
  if (target !== undefined && !isTarget(target)) {
    throw new Error(`Wrong value for "--target": expected ${TARGETS.join(" or ")}, found "${target}"`);
  }
  if (target !== undefined && form === "script") throw new Error("A script runs on any machine: leave out --target");
  if (pct !== undefined && (!isAbsolute(pct) || /[\p{Cc},]/u.test(pct))) {
    throw new Error(`Wrong value for "--pct": expected an absolute path without a comma, found ${JSON.stringify(pct)}`);
  }
  return { form, ...(target === undefined ? {} : { target }), ...(pct === undefined ? {} : { pct }) };
}

/** A path as a person means it, who stands in the folder that `deno task` was called in. */
export function pathFromCaller(path: string): string {
  return resolve(Deno.env.get("INIT_CWD") ?? Deno.cwd(), path);
}

async function compileSetups(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { ...BUILD_OPTIONS, out: { type: "string", default: join(project, "bin/compiled") } },
  });
  if (values.help) return console.log(`Usage: deno task compile <CTID…>|--all [--out DIR] ${BUILD_USAGE}`);
  const ctids = selected(positionals, values.all, availableSetups());
  const folder = pathFromCaller(values.out);
  const options = buildOptions(values);
  const temporary = await Deno.makeTempDir({ prefix: "phoenix_compile_" });
  try {
    for (const { ctid, version } of await build(ctids.map(setupFile), temporary, options)) {
      await Deno.mkdir(folder, { recursive: true });
      await place(join(temporary, fileName(ctid)), folder, { installed: false });
      const { size } = await Deno.stat(join(folder, fileName(ctid)));
      console.log(`${join(folder, fileName(ctid))}  ${Math.ceil(size / 1024)} KiB  ${version}`);
    }
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
}

if (import.meta.main) {
  try {
    await compileSetups(Deno.args);
  } catch (error) {
    console.error(messageOf(error));
    Deno.exit(1);
  }
}
