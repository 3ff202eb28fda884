/**
 * Removing files and folders inside the container.
 *
 * @module
 */

import type { Container } from "../../container/container.ts";
import { ExitCode, Failure } from "../../errors.ts";
import { sh } from "../../shell.ts";

/**
 * Removes these paths in `folder`, or `folder` itself (`.`). Throws a {@linkcode Failure} if something is mounted at or
 * below one of them.
 */
export async function remove(container: Container, folder: string, paths: readonly string[]): Promise<void> {
  const slash = folder.lastIndexOf("/");
  const { stdout } = await container.read(
    sh`cat /proc/self/mounts && printf '\0' && cd -P ${folder.slice(0, slash) || "/"} && pwd`,
  );
  const [mounts = "", parent = ""] = new TextDecoder().decode(stdout).split("\0");
  // The kernel lists mount points with symbolic links resolved. Only the last newline is that of `pwd`: names can end
  // with one, too.
  const real = `${parent === "/\n" ? "" : parent.slice(0, -1)}/${folder.slice(slash + 1)}`;
  const doomed = paths.map((path) => path === "." ? real : `${real}/${path}`);
  const mounted = mountPointsIn(mounts).find((point) => doomed.some((path) => `${point}/`.startsWith(`${path}/`)));
  if (mounted !== undefined) {
    throw new Failure(ExitCode.Step, `Cannot remove "${folder}" as something is mounted at "${mounted}"`, {
      hint: "Unmount it first, or remove the mount point (mp0, mp1, …) from the container's configuration",
    });
  }
  await container.write(sh`xargs -0 rm -rf --`, { stdin: doomed.map((path) => `${path}\0`).join("") });
}

/** The mount points in the kernel's table, which has blanks and backslashes as octal numbers. */
function mountPointsIn(mounts: string): string[] {
  return mounts.split("\n").flatMap((line) => line.split(" ")[1] ?? [])
    .map((point) => point.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(parseInt(digits, 8))));
}
