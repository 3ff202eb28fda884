/**
 * Built files and the folder that they lie in: how one is known without being run, and how it gets to its place.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { basename, join } from "node:path";
import { messageOf } from "../lib/errors.ts";

/** The name of the file that sets up a container. The orchestrator's own name for it ends in `.sh`. */
export function fileName(ctid: number): string {
  return `phoenix_hypervisor_setup_${ctid}`;
}

/** The first bytes of a script, which an executable carries inside. What `--version` answers follows. */
export const MARK = '#!/bin/sh\n":" //; # ';

/**
 * What the built file `file` answers to `--version`, read instead of run; `undefined` where it is something else that
 * has the name, such as another script.
 */
export async function versionIn(file: string): Promise<string | undefined> {
  const name = basename(file).replace(/\.sh$/, "");
  const bytes = Buffer.from((await Deno.readFile(file)).buffer);
  const at = bytes.indexOf(`${MARK}${name} `);
  if (at < 0 || (at > 0 && !bytes.subarray(0, 4).equals(Buffer.from("\x7fELF")))) return undefined;
  const from = at + MARK.length;
  return bytes.toString("utf8", from, bytes.indexOf("\n", from));
}

/** What a program answers to `--version`, or why it does not. */
export async function answerToVersion(program: string, args: readonly string[] = []): Promise<string> {
  try {
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args: [...args, "--version"],
      clearEnv: true,
      env: { PATH: "/usr/bin:/bin", NO_COLOR: "1" },
      stdin: "null",
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
    return code === 0 ? text(stdout) : `${text(stderr)} (exit code ${code})`;
  } catch (error) {
    return messageOf(error);
  }
}

/**
 * Puts the built file `source` and its `.sh` link into `folder`, each whole or not at all, with permissions 0755. Gives
 * false, having done nothing, where they are there already.
 *
 * With `installed`, the file becomes root's, and has to say its version before it takes its place.
 *
 * @throws {Error} where something else has one of the names, and where the file does not say its version
 */
export async function place(source: string, folder: string, { installed }: { installed: boolean }): Promise<boolean> {
  const name = basename(source);
  const file = join(folder, name);
  const link = `${file}.sh`;
  // One at a time; it is free when the handle is closed.
  using handle = await Deno.open(folder);
  await handle.lock(true);
  for (const path of [file, link]) await requireOurs(path);

  const info = await Deno.lstat(file).catch(ignoreMissing);
  const isLike = info?.isFile && (info.mode! & 0o7777) === 0o755 && (!installed || (info.uid === 0 && info.gid === 0));
  const isLinked = await Deno.readLink(link).catch(() => undefined) === name;
  const content = await Deno.readFile(source);
  if (isLike && isLinked && Buffer.from(content.buffer).equals(await Deno.readFile(file))) return false;

  const temporary = join(folder, `.${name}.new`);
  await Deno.remove(temporary).catch(ignoreMissing);
  try {
    await write(temporary, content);
    if (installed) {
      await Deno.chown(temporary, 0, 0);
      const [expected, said] = [await versionIn(source), await answerToVersion(temporary)];
      if (said !== expected) {
        throw new Error(`Cannot use "${source}": expected it to answer --version with "${expected}", found "${said}"`);
      }
    }
    await Deno.rename(temporary, file);
    await Deno.symlink(name, temporary);
    await Deno.rename(temporary, link);
    await handle.sync();
  } finally {
    await Deno.remove(temporary).catch(ignoreMissing);
  }
  return true;
}

/** Takes the files of container `ctid` out of `folder`. Gives false where there are none. */
export async function remove(ctid: number, folder: string): Promise<boolean> {
  const file = join(folder, fileName(ctid));
  // First the name by which the orchestrator finds it.
  const paths = [`${file}.sh`, file];
  for (const path of paths) await requireOurs(path);
  let any = false;
  for (const path of paths) {
    await Deno.remove(path).then(() => any = true, ignoreMissing);
  }
  return any;
}

/** Throws where there is something at `path` that was not built by this project. */
async function requireOurs(path: string): Promise<void> {
  const info = await Deno.lstat(path).catch(ignoreMissing);
  if (info === undefined) return;
  const isOurs = info.isSymlink
    ? `${await Deno.readLink(path)}.sh` === basename(path)
    : info.isFile && await versionIn(path) !== undefined;
  if (isOurs) return;
  throw new Error(
    `Cannot replace or remove "${path}" as it was not built by this project: look at it, and move it away first`,
  );
}

async function write(path: string, content: Uint8Array): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o700 });
  for (let at = 0; at < content.length;) at += await file.write(content.subarray(at));
  await file.sync();
  await Deno.chmod(path, 0o755);
}

function ignoreMissing(error: unknown): undefined {
  if (error instanceof Deno.errors.NotFound) return undefined;
  throw error;
}
