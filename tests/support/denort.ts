/**
 * Where Deno's base binary `denort` is to be had, the tests of compiled executables run; elsewhere they are ignored,
 * saying so.
 *
 * @module
 */

import { missingPermissions } from "./permission.ts";

/** Where Deno keeps what it has downloaded. */
export function denoCache(): string {
  return Deno.env.get("DENO_DIR") ??
    `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`}/deno`;
}

/** Why no executable can be compiled here without the network, as the end of a sentence; `undefined` where one can. */
export function denortMissing(): string | undefined {
  const missing = missingPermissions(["read", "env", "run", "write"]);
  if (missing !== undefined) return missing;
  if (Deno.env.get("DENORT_BIN")) return undefined;
  try {
    Deno.statSync(`${denoCache()}/dl/release/v${Deno.version.deno}/denort-${Deno.build.target}.zip`);
    return undefined;
  } catch {
    return "needs denort, and neither DENORT_BIN nor Deno's cache has it";
  }
}
