/**
 * Programs that run on the Proxmox host for the container's setup, within what it declares.
 *
 * @module
 */

import { failureOf, type Output } from "../container/container.ts";
import type { Step } from "../step.ts";
import { type Duration, milliseconds } from "../time.ts";
import { failureOfGuard, hasAnswered } from "./support/guard.ts";
import { requireHostPath } from "./support/path.ts";

/** When a program runs on the host, and for how long. */
export interface HostCommandSpec {
  /** The program is not needed if this one succeeds, and this one has to succeed afterwards. It must change nothing. */
  readonly unless: readonly [string, ...string[]];
  /** How long the program may run; then it is ended and the step fails. Default: 10 minutes. */
  readonly timeout?: Duration;
}

/**
 * The effect of a program on the host is there, as its guard tells: the program runs only if `unless` does not exit
 * with 0, and afterwards `unless` has to. Programs are absolute paths that the setup declares
 * (`commands: ["/usr/sbin/…"]`); no shell is involved. A guard that is missing, that was killed, or that does not end
 * within 1 minute has not answered, and the step fails.
 *
 * Throws a `TypeError` for an empty title and for a program that is not an absolute path.
 *
 * @example
 * ```ts
 * const forwarding = hostCommand("IP forwarding", ["/usr/sbin/sysctl", "-w", "net.ipv4.ip_forward=1"], {
 *   unless: ["/usr/bin/grep", "-qx", "1", "/proc/sys/net/ipv4/ip_forward"],
 * });
 * ```
 */
export function hostCommand(
  title: string,
  [program, ...args]: readonly [string, ...string[]],
  spec: HostCommandSpec,
): Step {
  const [guard, ...guardArgs] = spec.unless;
  if (title === "") throw new TypeError("Cannot run a program of the host without a title");
  for (const path of [program, guard]) requireHostPath(path);
  const timeout = milliseconds(spec.timeout ?? "10m");
  return {
    title,
    async probe({ host }) {
      const output = await host.read(guard, guardArgs);
      if (!hasAnswered(output.code)) throw failureOfGuard(`the host's command "${title}"`, output);
      return output;
    },
    diff: ({ code, command }) => code === 0 ? [] : [{ what: `"${command}"`, from: "fails", to: "succeeds" }],
    async apply({ host }) {
      const output = await host.write(program, args, timeout);
      if (output.code !== 0) throw failureOf(output);
    },
  } satisfies Step<Output>;
}
