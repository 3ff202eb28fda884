/**
 * Commands inside the container.
 *
 * @module
 */

import type { CommandOptions } from "../container.ts";
import type { Step } from "../engine.ts";
import { type Script, sh } from "../shell.ts";
import type { Duration } from "../time.ts";

/** When a command runs, and how. */
export interface CommandSpec {
  /** The command is not needed when this one succeeds. After the command it has to. It must change nothing. */
  readonly unless?: Script;
  /** The command is not needed when this path exists. After the command it has to. */
  readonly creates?: string;
  /** The user inside to run as. Default: root. */
  readonly user?: string;
  /** The folder to run in. Default: `/root`. */
  readonly directory?: string;
  /** After this the command is ended and the step fails. Default: 10 minutes. */
  readonly timeout?: Duration;
}

/**
 * A command whose effect is there, as its guard says. With `unless` or `creates` it runs only where that does not hold yet, and the
 * step fails when it still does not hold afterwards, whatever the command's exit code. Without a guard nobody can know: the command
 * runs in every run, and is reported as `always runs`.
 *
 * Requirements, section 2: "Executing commands inside the container", "Running specific applications or scripts".
 *
 * @example
 * ```ts
 * import { sh } from "../shell.ts";
 *
 * const key = command("host key", sh`ssh-keygen -A`, { creates: "/etc/ssh/ssh_host_ed25519_key" });
 * ```
 */
export function command(title: string, script: Script, spec: CommandSpec = {}): Step<boolean> {
  const { unless, creates, directory } = spec;
  const options: CommandOptions = {
    ...(spec.user === undefined ? {} : { user: spec.user }),
    ...(spec.timeout === undefined ? {} : { timeout: spec.timeout }),
  };
  const inDirectory = (inner: Script) =>
    directory === undefined ? inner : sh`cd ${directory} || exit
${inner}`;
  let done = false;
  return {
    title,

    async probe({ container }) {
      if (unless === undefined && creates === undefined) return done;
      const exists = creates === undefined ||
        (await container.read(sh`[ -e ${creates} ]`, { codes: [0, 1] })).code === 0;
      if (!exists || unless === undefined) return exists;
      const { user } = spec;
      return (await container.read(inDirectory(unless), { codes: "any", ...(user === undefined ? {} : { user }) }))
        .code === 0;
    },

    diff(holds) {
      if (holds) return [];
      if (creates !== undefined) return [{ what: creates, to: "present" }];
      return [{ what: unless === undefined ? "always runs" : `not so yet: ${unless}` }];
    },

    async apply({ container }) {
      await container.write(inDirectory(script), options);
      done = true;
    },
  };
}
