/**
 * Secrets that got out: what gives one away, and where a host shows it.
 *
 * @module
 */

import type { ProxmoxHost } from "../hosts/host.ts";

/**
 * Texts of which each gives a secret away: as it is, and encoded for URLs, for JSON and in Base64 at each of its three
 * offsets, there without the characters that its neighbours decide. The log has a list of its own of the forms that it
 * conceals; this one is kept apart from it, so that a form that the log forgot is found.
 */
export function tracesOf(secret: string): string[] {
  return [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    ...[0, 1, 2].map((offset) =>
      new TextEncoder().encode(" ".repeat(offset) + secret).toBase64().replace(/=+$/, "").slice(4, -4)
    ),
  ];
}

/**
 * All that runs on a host left behind beside what they printed: the central log, the files of the locks, the arguments
 * of `pct`.
 */
export async function emittedBy(host: ProxmoxHost): Promise<string> {
  const { stdout: locks } = await host.run("/bin/sh", ["-c", "cat /run/phoenix_setup/* 2>/dev/null"]);
  const log = await Deno.readTextFile(host.logFile).catch(() => ""); // a host on which nothing ran yet has none
  return [log, locks, ...(await host.pctCalls()).flat()].join("\n");
}
