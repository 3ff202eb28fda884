/**
 * What must not be there.
 *
 * @module
 */

import type { Container } from "../container/container.ts";
import type { Step } from "../step.ts";
import { ExitCode, Failure } from "../errors.ts";
import { sh } from "../shell.ts";
import { requireRemovable } from "./support/path.ts";

/**
 * Nothing is at the path: a file, a symbolic link (not what it points to) or a folder with all that is in it goes. Where something
 * is mounted at or below it, such as a folder of the host, nothing is removed and the step fails.
 *
 * Throws a `TypeError` for `/`, for a path with one component such as `/etc`, for the system's own folders such as `/usr/lib`, and
 * for one with `.` or `..` in it.
 *
 * Requirements, section 2: "Executing commands inside the container: configure applications".
 *
 * @example
 * ```ts
 * const site = absent("/etc/nginx/sites-enabled/default");
 * ```
 */
export function absent(path: string): Step {
  requireRemovable(path, "remove");
  return {
    title: `${path} is absent`,
    async probe({ container }) {
      const { text } = await container.read(sh`p=${path}
if [ -L "$p" ]; then echo a symbolic link
elif [ -d "$p" ]; then echo a folder
elif [ -e "$p" ]; then echo a file
else echo nothing; fi`);
      return text;
    },
    diff: (found) => found === "nothing" ? [] : [{ what: path, from: found }],
    apply: ({ container }) => remove(container, path, ["."]),
    changes: () => [{ path, content: true, goes: true }],
  } satisfies Step<string>;
}

/** Removes what is at these paths in `folder`, or `folder` itself (`.`). Throws a {@linkcode Failure} where something is mounted. */
export async function remove(container: Container, folder: string, paths: readonly string[]): Promise<void> {
  const slash = folder.lastIndexOf("/");
  const { stdout } = await container.read(
    sh`cat /proc/self/mounts && printf '\0' && cd -P ${folder.slice(0, slash) || "/"} && pwd`,
  );
  const [mounts = "", parent = ""] = new TextDecoder().decode(stdout).split("\0");
  // The kernel names mount points with symbolic links resolved. `pwd` ends its answer with a newline, which a name can, too.
  const real = `${parent === "/\n" ? "" : parent.slice(0, -1)}/${folder.slice(slash + 1)}`;
  const doomed = paths.map((path) => path === "." ? real : `${real}/${path}`);
  for (const line of mounts.split("\n")) {
    // Blanks and backslashes are written as octal digits.
    const mounted = line.split(" ")[1]?.replace(
      /\\([0-7]{3})/g,
      (_, digits) => String.fromCharCode(parseInt(digits, 8)),
    );
    if (mounted !== undefined && doomed.some((path) => `${mounted}/`.startsWith(`${path}/`))) {
      throw new Failure(ExitCode.Step, `Cannot remove "${folder}" as something is mounted at "${mounted}"`, {
        hint: "Unmount it first, or remove the mount point (mp0, mp1, …) from the container's configuration",
      });
    }
  }
  await container.write(sh`xargs -0 rm -rf --`, { stdin: doomed.map((path) => `${path}\0`).join("") });
}
