/**
 * Files and folders that must not be inside the container.
 *
 * @module
 */

import type { Step } from "../step.ts";
import { sh } from "../shell.ts";
import { requireRemovable } from "./support/path.ts";
import { remove } from "./support/remove.ts";

/**
 * Nothing is at the path. A file is removed, and so is a symbolic link (not what it points to) or a folder with all its
 * content. Where something is mounted at or below the path, such as a folder of the host, nothing is removed and the
 * step fails.
 *
 * Throws a `TypeError` for `/`, for a path with one component such as `/etc`, for the system's own folders such as
 * `/usr/lib`, and for a path with `.` or `..` in it.
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
