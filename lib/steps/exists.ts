/**
 * Waiting for a path.
 *
 * @module
 */

import type { Step } from "../step.ts";
import { sh } from "../shell.ts";
import { requirePath } from "./support/path.ts";
import type { WaitOptions } from "./support/poll.ts";
import { LOOK_TIMEOUT, waitStep } from "./support/wait_step.ts";

/**
 * Something exists at a path inside the container. It is waited for.
 *
 * Throws a `TypeError` for a path that is not absolute.
 *
 * @example
 * ```ts
 * const socket = exists("/run/docker.sock");
 * ```
 */
export function exists(path: string, options: WaitOptions = {}): Step {
  requirePath(path, "wait for");
  return waitStep({ title: `${path} exists`, what: path, to: "there" }, options, async ({ container }) => {
    const { code } = await container.read(sh`[ -e ${path} ]`, { codes: [0, 1], timeout: LOOK_TIMEOUT });
    return { holds: code === 0, seen: code === 0 ? "there" : "nothing" };
  });
}
