/**
 * Runs a Deno subcommand with imports that can be had on this network.
 *
 * `deno.json` maps `@std/…` to JSR, which many networks do not reach. There the import map in `lib/std` names small
 * modules of our own instead. Which of the two it is, is decided anew in every run, within a second:
 *
 * 1. as the environment variable `PHOENIX_IMPORTS` says, `jsr` or `local`,
 * 2. else JSR, if Deno's cache has the packages already,
 * 3. else JSR, if it answers (that of `JSR_URL`, if set),
 * 4. else the local modules.
 *
 * ```sh
 * deno run -A bin/toolchain.ts test -A
 * ```
 *
 * What it needs is to run Deno, to ask the network and to read these two variables. It names no program to be
 * permitted: the path of Deno differs from one installation to the next, and a name found in `PATH` can be another
 * version or, under `npx`, no Deno at all.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import localMap from "../lib/std/import_map.json" with { type: "json" };

// This module runs before the bare names resolve: it imports none of them.

/** How long asking may take: with starting up, within the second. */
const MAX_CHOICE_MS = 800;

const importMap = fileURLToPath(import.meta.resolve("../lib/std/import_map.json"));
const config = fileURLToPath(import.meta.resolve("../deno.json"));

/** What the local modules stand in for, and so has to come from JSR without them. */
const packages = Object.entries(localMap.imports).filter(([, target]) => target.startsWith("./")).map(([name]) => name);

interface Choice {
  imports: "jsr" | "local";
  reason: string;
}

/**
 * Returns what a Deno subcommand needs among its options so that the imports of this project resolve on this network,
 * also those of a module that lies elsewhere: `--config=…`, and `--import-map=…` where JSR does not serve them. The
 * lock file beside the configuration tells what npm's packages are without asking for their versions.
 *
 * Says on stderr which it is and why, unless `PHOENIX_IMPORTS` decided.
 *
 * @throws {Error} when `PHOENIX_IMPORTS` is neither `jsr` nor `local`, or `JSR_URL` is no URL.
 */
export async function importArguments(): Promise<string[]> {
  const choice = chosenByEnvironment();
  if (choice) return argumentsFor(choice);
  return argumentsFor(announced(await chooseByNetwork()));
}

function argumentsFor({ imports }: Choice): string[] {
  return [`--config=${config}`, ...(imports === "jsr" ? [] : [`--import-map=${importMap}`])];
}

function announced(choice: Choice): Choice {
  console.error(`Imports: ${choice.imports === "jsr" ? "JSR" : "local modules"}, ${choice.reason}`);
  return choice;
}

function chosenByEnvironment(): Choice | undefined {
  const imports = Deno.env.get("PHOENIX_IMPORTS");
  if (!imports) return undefined;
  if (imports === "jsr" || imports === "local") return { imports, reason: "as PHOENIX_IMPORTS says" };
  throw new Error(
    `PHOENIX_IMPORTS is "${imports}": set it to "jsr" or "local", or leave it out to let the network decide`,
  );
}

async function chooseByNetwork(): Promise<Choice> {
  const registry = registryUrl();
  const signal = AbortSignal.timeout(MAX_CHOICE_MS);
  if (await isCached(signal)) return { imports: "jsr", reason: "from Deno's cache" };
  const obstacle = await obstacleTo(new URL(`${packages[0]}/meta.json`, registry), signal);
  return obstacle
    ? { imports: "local", reason: `as ${registry.host} ${obstacle}` }
    : { imports: "jsr", reason: `as ${registry.host} answers` };
}

function registryUrl(): URL {
  const address = Deno.env.get("JSR_URL") || "https://jsr.io";
  if (!URL.canParse(address)) {
    throw new Error(
      `JSR_URL is "${address}": set it to the URL of a JSR registry, or leave it out for https://jsr.io`,
    );
  }
  return new URL(address.endsWith("/") ? address : `${address}/`);
}

/** Only Deno itself knows whether its cache holds what the lock file asks for, to the last dependency. */
async function isCached(signal: AbortSignal): Promise<boolean> {
  const program = packages.map((name) => `import ${JSON.stringify(name)};`).join("");
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--cached-only",
      "--frozen",
      "--no-prompt",
      `--config=${config}`,
      `data:application/javascript,${encodeURIComponent(program)}`,
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
    signal,
  }).output();
  return success;
}

/** Says why the packages cannot be had from there, or nothing. A portal's page in their place is no answer. */
async function obstacleTo(url: URL, signal: AbortSignal): Promise<string | undefined> {
  try {
    const response = await fetch(url, { signal });
    const text = await response.text();
    if (!response.ok) return `answers with status ${response.status}`;
    return text.startsWith("{") ? undefined : "answers with something else than a package";
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return "is not among the permitted addresses";
    return signal.aborted ? `does not answer within ${MAX_CHOICE_MS} ms` : "cannot be reached";
  }
}

/** Runs Deno in our place. */
async function runDeno(subcommand: string, options: string[]): Promise<number> {
  const choice = announced(chosenByEnvironment() ?? await chooseByNetwork());
  return await inForeground(
    new Deno.Command(Deno.execPath(), {
      args: [subcommand, ...argumentsFor(choice), ...options],
      // What runs below decides the same, and in silence.
      env: { PHOENIX_IMPORTS: choice.imports },
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }),
  );
}

/** Runs a command in our place: with the signals that we receive, to its exit code. */
export async function inForeground(command: Deno.Command): Promise<number> {
  const child = command.spawn();
  const onTerminal = [Deno.stdin, Deno.stdout, Deno.stderr].some((stream) => stream.isTerminal());
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    // A terminal sends these to the whole process group; a second one would cut the clean-up short.
    const isSharedAlready = onTerminal && signal !== "SIGTERM";
    Deno.addSignalListener(signal, () => {
      if (isSharedAlready) return;
      try {
        child.kill(signal);
      } catch { /* It has just ended by itself. */ }
    });
  }
  return (await child.status).code;
}

if (import.meta.main) {
  const [subcommand, ...options] = Deno.args;
  if (subcommand === undefined || subcommand.startsWith("-")) {
    console.error("Usage: bin/toolchain.ts <deno subcommand> [<option or argument> …]");
    Deno.exit(1);
  }
  try {
    Deno.exit(await runDeno(subcommand, options));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
