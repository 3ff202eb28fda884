/**
 * Where Deno's base binary `denort` is to be had, the tests of compiled executables run; elsewhere they are ignored, saying so.
 *
 * @module
 */

/** Why no executable can be compiled here without the network, as the end of a sentence; `undefined` where one can. */
export function denortMissing(): string | undefined {
  const missing = (["read", "env", "run", "write"] as const)
    .filter((name) => Deno.permissions.querySync({ name }).state !== "granted").map((name) => `--allow-${name}`);
  if (missing.length > 0) return `needs ${missing.join(" ")}`;
  if (Deno.env.get("DENORT_BIN")) return undefined;
  const cache = Deno.env.get("DENO_DIR") ??
    `${Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`}/deno`;
  try {
    Deno.statSync(`${cache}/dl/release/v${Deno.version.deno}/denort-${Deno.build.target}.zip`);
    return undefined;
  } catch {
    return "needs denort, and neither DENORT_BIN nor Deno's cache has it";
  }
}
