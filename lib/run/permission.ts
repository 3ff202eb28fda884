/**
 * What an executable is permitted, and what it is told when a permission is refused: what was tried, and what a setup
 * has to declare so that its executable may do it.
 *
 * @module
 */

import { ConfigurationError } from "./configuration.ts";
import { PCT_PATH } from "../build.ts";
import { HOST_PATHS } from "../host/paths.ts";
import type { HostNeeds, Setup } from "./setup.ts";

/** Something that an executable tried and is not permitted to do. */
export interface Refusal {
  /** Deno's word for it: `net`, `read`, `write`, `run`, `env`, `sys`, `ffi`. */
  readonly access: string;
  /** To what; `undefined` where it is everything of the kind, such as all environment variables. */
  readonly to: string | undefined;
  /**
   * What has to stand in the setup, such as `{ reads: ["/srv/models"] }`; `undefined` for what no setup can be
   * permitted.
   */
  readonly declaration: string | undefined;
}

const FIELDS: Readonly<Record<string, keyof HostNeeds>> = {
  net: "addresses",
  read: "reads",
  write: "writes",
  run: "commands",
  env: "environment",
};

/** Deno's words; those of an executable go on with "specify the required permissions during compilation". */
const REQUIRES =
  /^Requires (?:--allow-)?(\w+) (?:access|permissions)(?: to "(.*)", (?:run again|specify the required))?/s;

/** The refused permission behind an error, however it is wrapped; `undefined` where the error is another one. */
export function refusalIn(error: unknown): Refusal | undefined {
  for (let depth = 0; error instanceof Error && depth < 10; depth++) {
    const requires = REQUIRES.exec(error.message);
    // For an import it is a TypeError.
    if (error instanceof Deno.errors.NotCapable || (error instanceof TypeError && requires !== null)) {
      const [, access, to] = requires ?? [];
      const field = FIELDS[access ?? ""];
      return {
        access: access ?? error.message,
        to,
        declaration: field && `{ ${field}: [${to === undefined ? "…" : JSON.stringify(to)}] }`,
      };
    }
    error = error instanceof AggregateError ? error.errors[0] : error.cause;
  }
  return undefined;
}

/**
 * The error for a path that a person chose, by configuration, environment or option, and that the executable may not
 * use: exit code 2. `what` is what cannot be read or written; default: the path.
 */
export function notPermitted(access: "read" | "write", path: string, what = `"${path}"`): ConfigurationError {
  const field = FIELDS[access];
  const folder = access === "read" ? "/usr/local/phoenix_hypervisor" : "/var/log";
  return new ConfigurationError(`Cannot ${access} ${what} as this program is not permitted to`, {
    hint:
      `Declare it in the setup: { ${field}: ["${path}"] }, and build the executable again; or keep it below "${folder}"`,
  });
}

/**
 * The options of Deno that permit a setup what it needs, and nothing else. Short, as they have to fit into the first
 * line of a script, of which the kernel reads 255 bytes.
 */
export function permissionsOf({ needs }: Setup): string[] {
  const writes = needs.writes ?? [];
  const reads = [PCT_PATH, "/etc/pve", "/usr/local/phoenix_hypervisor", HOST_PATHS.locks, ...needs.reads ?? []];
  // What is read anyway needs no mention of its own.
  const alsoRead = writes.filter((path) => !reads.some((read) => path === read || path.startsWith(`${read}/`)));
  // dax reads the last two.
  const variables = ["PHOENIX_*", "NO_COLOR", "TERM", "PATH", "NODE_V8_COVERAGE"];
  return [
    "--no-prompt",
    `--allow-run=${[PCT_PATH, ...needs.commands ?? []].join(",")}`,
    `-R=${[...reads, ...alsoRead].join(",")}`,
    `-W=${["/var/log", HOST_PATHS.locks, ...writes].join(",")}`,
    `-E=${[...variables, ...needs.environment ?? []].join(",")}`,
    ...(needs.addresses?.length ? [`-N=${needs.addresses.join(",")}`] : []),
  ];
}
