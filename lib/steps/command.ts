/**
 * Commands inside the container.
 *
 * @module
 */

import { type Container, type ContainerReader, failureOf } from "../container/container.ts";
import type { Step } from "../step.ts";
import { CommandFailed, ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import type { Secret } from "../secret.ts";
import { lines, type Script, sh } from "../shell.ts";
import { type Duration, formatDuration, milliseconds } from "../time.ts";
import { requirePath } from "./support/path.ts";

/** When a command runs, and how. */
export interface CommandSpec {
  /** The command is not needed when this one succeeds. After the command it has to. It must change nothing. */
  readonly unless?: Script;
  /**
   * The command is needed only while this one succeeds. It must change nothing. With no other guard it has to fail after the
   * command, which would otherwise run in every run.
   */
  readonly onlyIf?: Script;
  /** The command is not needed when this path exists, an absolute one. After the command it has to. */
  readonly creates?: string;
  /** The user inside to run as. Its home is `HOME`. Default: root. */
  readonly user?: string;
  /** The folder to run in, as an absolute path. Default: `/root`, and `/` for a stated user. */
  readonly directory?: string;
  /** Variables beyond the few that every command gets (`PATH`, `HOME`, `LANG`). A value can be a secret. Default: none. */
  readonly environment?: Readonly<Record<string, string | Secret>>;
  /** After this a try is ended and has failed. It goes on while a backup freezes the container. Default: 10 minutes. */
  readonly timeout?: Duration;
  /**
   * How often a command that failed, or whose time was up, is tried again: after 1 s, 2 s, 4 s and so on, 30 s at the most. The
   * last failure counts. Default: 0.
   */
  readonly retries?: number;
}

/** The longest time between two tries, in milliseconds. */
const LONGEST_PAUSE = 30_000;

/**
 * A command whose effect is there, as its guards say. With `unless` or `creates` it runs only where that does not hold yet, with
 * `onlyIf` only where that holds, and the step fails when the effect is not there afterwards, whatever the command's exit code.
 * Without a guard nobody can know: the command runs in every run, and is reported as `always runs`.
 *
 * User, folder and environment are those of `unless` and `onlyIf` as well, which may take 1 minute each. A guard says no by its exit
 * code; one whose program is missing or cannot be executed (127, 126), that was killed by a signal, or whose time was up, has said
 * nothing, and the step fails. It also fails where the user or the folder is missing.
 *
 * Throws a `TypeError` for an empty title, and for paths, names and numbers that cannot be meant.
 *
 * Requirements, section 2: "Executing commands inside the container", "Running specific applications or scripts".
 *
 * @example
 * ```ts
 * import { sh } from "../shell.ts";
 *
 * const key = command("host key", sh`ssh-keygen -A`, { creates: "/etc/ssh/ssh_host_ed25519_key" });
 * const migration = command("database migrated", sh`./app migrate`, {
 *   onlyIf: sh`./app migrate --pending`,
 *   directory: "/opt/app",
 *   user: "app",
 *   environment: { APP_ENV: "production" },
 *   retries: 3,
 * });
 * ```
 */
export function command(title: string, script: Script, spec: CommandSpec = {}): Step {
  const { unless, onlyIf, creates, user, directory, environment = {}, retries = 0 } = spec;
  if (title === "") throw new TypeError("Cannot run a command without a title");
  const what = `the command "${title}"`;
  if (creates !== undefined) requirePath(creates, `look whether ${what} has made`);
  if (directory !== undefined && directory !== "/") requirePath(directory, `run ${what} in`);
  if (user !== undefined) requireUser(user, what);
  if (!Number.isInteger(retries) || retries < 0) {
    throw new TypeError(`Cannot try ${what} again ${retries} times: expected a whole number from 0 on`);
  }
  const timeout = milliseconds(spec.timeout ?? "10m");
  const place = user === undefined ? directory : directory ?? "/";
  const surroundings = [
    ...(user === undefined ? [] : [sh`HOME=~${user}; export HOME`]),
    ...exported(environment, what),
    ...(place === undefined ? [] : [sh`cd ${place} || exit`]),
  ];
  const as = user === undefined ? {} : { user };

  /** Whether a guard says yes. */
  async function says(container: ContainerReader, guard: Script): Promise<boolean> {
    // What comes before the guard itself can fail with any exit code, so that it takes a word to tell the two apart.
    const begun = place === undefined ? [] : [sh`echo begun`];
    const whole = lines(...surroundings, ...begun, guard);
    const output = await container.read(whole.shownAs(guard.display), { ...as, codes: "any" });
    if (begun.length > 0 && !output.text.startsWith("begun")) {
      const said = output.errorText.split("\n").at(-1) || `exit code ${output.code}`;
      throw new Failure(
        ExitCode.Step,
        `Cannot run ${what}${user === undefined ? "" : ` as "${user}"`} in "${place}" inside the container: ${said}`,
        { hint: "Make the user and the folder in steps before this one" },
      );
    }
    if (!hasAnswered(output.code)) throw silentGuard(what, output);
    return output.code === 0;
  }

  /** What a person is told of a command that has to run, once it is clear that it can. */
  async function needed(container: ContainerReader, difference: Difference): Promise<Difference[]> {
    if (place !== undefined) await says(container, sh`:`);
    return [difference];
  }

  async function run(container: Container): Promise<void> {
    await container.write(lines(...surroundings, script), { ...as, timeout });
  }

  let hasRun = false;
  return {
    title,

    async probe({ container }) {
      // After the command its effect has to be there, whatever had made it necessary.
      const after = hasRun;
      hasRun = false;
      const leaves = unless !== undefined || creates !== undefined;
      if (onlyIf !== undefined && !(after && leaves)) {
        if (!await says(container, onlyIf)) return [];
        if (!leaves) return [{ what: `"${onlyIf}"`, from: "succeeds", to: "fails" }];
      }
      if (creates !== undefined) {
        const { code } = await container.read(sh`[ -e ${creates} ]`, { codes: [0, 1] });
        if (code !== 0) return await needed(container, { what: creates, to: "present" });
      }
      if (unless !== undefined) return await says(container, unless) ? [] : [{ what: `not so yet: ${unless}` }];
      return leaves || after ? [] : await needed(container, { what: "always runs" });
    },

    diff: (differences) => differences,

    async apply({ container, progress, pause }) {
      for (let tries = 1;; tries++) {
        try {
          await run(container);
          break;
        } catch (error) {
          // After the loss of a session nobody knows whether the command has run.
          if (!(error instanceof CommandFailed) || retries === 0) throw error;
          if (tries > retries) throw lastOf(tries, error);
          const next = Math.min(1000 * 2 ** (tries - 1), LONGEST_PAUSE);
          progress(`try ${tries} of ${retries + 1}: ${error.message}; the next one in ${formatDuration(next)}`);
          await pause(next);
        }
      }
      hasRun = true;
    },
  } satisfies Step<readonly Difference[]>;
}

function lastOf(tries: number, { message, evidence, exitCode, hint }: CommandFailed): CommandFailed {
  return new CommandFailed(`${message}, the last of ${tries} tries`, evidence, {
    exitCode,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Whether an exit code is a guard's answer: neither "cannot be executed", "not found" nor the end by a signal. */
export function hasAnswered(code: number): boolean {
  return code !== 126 && code !== 127 && !(code > 128 && code <= 128 + 64);
}

/** The failure of a guard that said neither yes nor no. */
export function silentGuard(what: string, output: Parameters<typeof failureOf>[0]): CommandFailed {
  const { message, evidence } = failureOf(
    output,
    `Cannot tell whether ${what} is needed as its guard ended with exit code ${output.code}`,
  );
  const hint = "Where the guard's program may be missing, let the guard say so: command -v PROGRAM >/dev/null && …";
  return new CommandFailed(message, evidence, output.code > 128 ? {} : { hint });
}

/** Throws a `TypeError` unless `user` is a name that a user can have. `what` completes "Cannot run …". */
export function requireUser(user: string, what: string): void {
  if (!/^[A-Za-z_][\w.-]*$/.test(user)) {
    throw new TypeError(`Cannot run ${what} as "${user}": expected the name of a user`);
  }
}

/** Commands that set these variables. Throws a `TypeError` for a name that no variable can have. */
export function exported(environment: Readonly<Record<string, string | Secret>>, what: string): Script[] {
  return Object.entries(environment).map(([name, value]) => {
    if (!/^[A-Za-z_]\w*$/.test(name)) {
      throw new TypeError(`Cannot give ${what} the variable "${name}": expected a name such as MODEL_PATH`);
    }
    return sh`export ${name}=${value}`;
  });
}
