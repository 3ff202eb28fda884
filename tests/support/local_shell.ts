/**
 * A container port whose commands run in this machine's own `/bin/sh`: for tests of what a step's shell text does.
 *
 * @module
 */

import { type CommandOptions, failureOf, Output } from "../../lib/container/container.ts";
import type { Script } from "../../lib/shell.ts";
import { testWith } from "./permission.ts";
import { StubContainer } from "./stubs.ts";

/** Runs every command here and now; needs `--allow-run`. Only for commands that keep to a folder of the test. */
export class LocalShell extends StubContainer {
  /** Runs a command that only looks. */
  override read(script: Script, options?: CommandOptions): Promise<Output> {
    this.reads.push(script.display);
    return run(script, options);
  }

  /** Runs a command that may change something. */
  override write(script: Script, options?: CommandOptions): Promise<Output> {
    this.writes.push(script.display);
    return run(script, options);
  }
}

async function run(script: Script, { stdin = "", codes = [0] }: CommandOptions = {}): Promise<Output> {
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", script.text],
    clearEnv: true,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LC_ALL: "C.UTF-8" },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const feed = async () => {
    const writer = child.stdin.getWriter();
    const chunks = typeof stdin === "string" ? [new TextEncoder().encode(stdin)] : stdin;
    try {
      for await (const chunk of chunks instanceof Uint8Array ? [chunks] : chunks) await writer.write(chunk);
    } finally {
      await writer.close().catch(() => {});
    }
  };
  // A command that does not read its stdin closes it. As with the session, one whose source fails reads to the end of
  // what has come.
  const fed = feed().then(() => undefined, (error) => error instanceof Deno.errors.BrokenPipe ? undefined : error);
  const output = new Output(script.display, await child.output());
  const failed = await fed;
  if (failed !== undefined) throw failed;
  if (codes !== "any" && !codes.includes(output.code)) throw failureOf(output);
  return output;
}

/**
 * Registers a test with a folder of this machine in the place of a container, and `mine`, whom it belongs to: only root
 * can give a file to somebody else.
 */
export function testInFolder(
  name: string,
  test: (at: { folder: string; mine: { owner: number; group: number } }) => Promise<void>,
): void {
  testWith(["run", "read", "write"], name, async () => {
    const folder = await Deno.makeTempDir();
    try {
      const { uid, gid } = await Deno.stat(folder);
      await test({ folder, mine: { owner: uid!, group: gid! } });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

/** The names of what is in a folder. */
export async function namesIn(folder: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
}
