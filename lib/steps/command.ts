/**
 * Commands inside the container.
 *
 * @module
 */

import { type CommandOptions, type ContainerReader } from "../container/container.ts";
import type { Step, Writing } from "../step.ts";
import { CommandFailed, ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import type { Secret } from "../secret.ts";
import { lines, Script, sh } from "../shell.ts";
import { type Duration, formatDuration, milliseconds } from "../time.ts";
import { exportVariables, requireUser } from "./support/execution.ts";
import { failureOfGuard, hasAnswered } from "./support/guard.ts";
import { requirePath } from "./support/path.ts";

/** When a command runs, and how. */
export interface CommandSpec {
  /** The command is not needed if this one succeeds, and this one has to succeed afterwards. It must change nothing. */
  readonly unless?: Script;
  /**
   * The command is needed only while this one succeeds. It must change nothing. Without another guard it has to fail
   * afterwards; otherwise the command would run every time.
   */
  readonly onlyIf?: Script;
  /** The command is not needed if this absolute path exists, and the path has to exist afterwards. */
  readonly creates?: string;
  /** The user inside the container to run as; `HOME` is this user's home. Default: root. */
  readonly user?: string;
  /** The folder to run in, as an absolute path. Default: `/root`, and `/` for a stated user. */
  readonly directory?: string;
  /**
   * Environment variables besides `PATH`, `HOME` and `LANG`, which every command has. A value can be a secret. Default:
   * none.
   */
  readonly environment?: Readonly<Record<string, string | Secret>>;
  /**
   * How long an attempt may take; then it is ended and has failed. The time goes on while a backup freezes the
   * container. Default: 10 minutes.
   */
  readonly timeout?: Duration;
  /**
   * How often a command that failed or timed out is run again: after 1 s, 2 s, 4 s and so on, 30 s at most. The last
   * failure is reported. Default: 0.
   */
  readonly retries?: number;
}

/** A {@linkcode CommandSpec} that was checked, with its defaults. */
interface Wanted {
  readonly script: Script;
  readonly unless: Script | undefined;
  readonly onlyIf: Script | undefined;
  readonly creates: string | undefined;
  /** The command as part of a sentence. */
  readonly what: string;
  readonly user: string | undefined;
  /** The folder to run in, if it might not exist. */
  readonly directory: string | undefined;
  /** What sets up variables and folder before the command and its guards. */
  readonly preamble: readonly Script[];
  readonly timeout: number;
  readonly retries: number;
}

/** The time before the second attempt; before each further one it is twice as long. */
const FIRST_PAUSE_MS = 1_000;
/** The longest time between two attempts. */
const MAX_PAUSE_MS = 30_000;

/**
 * The effect of a command is there, as its guards tell. With `unless` or `creates` the command runs only if that is not
 * true yet, with `onlyIf` only if that is true. The step fails if the effect is not there afterwards, whatever the
 * command's exit code. Without a guard the command runs every time, which is reported as `always runs`.
 *
 * `unless` and `onlyIf` run as the same user, in the same folder and with the same environment, for up to 1 minute
 * each. A guard answers by its exit code. One whose program is missing or cannot be executed (127, 126), that was
 * killed by a signal or that timed out has not answered, and the step fails. It also fails if the user or the folder
 * does not exist.
 *
 * Throws a `TypeError` for an empty title and for invalid paths, names and numbers.
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
  const wanted = requireSpec(title, script, spec);
  let hasRun = false;
  return {
    title,

    async probe({ container }) {
      const after = hasRun;
      hasRun = false;
      return await (after ? missingEffect(container, wanted) : reasonToRun(container, wanted));
    },

    diff: (differences) => differences,

    async apply(at) {
      await runWithRetries(at, wanted);
      hasRun = true;
    },
  } satisfies Step<readonly Difference[]>;
}

function requireSpec(title: string, script: Script, spec: CommandSpec): Wanted {
  const { unless, onlyIf, creates, user, environment = {}, retries = 0 } = spec;
  if (title === "") throw new TypeError("Cannot run a command without a title");
  const what = `the command "${title}"`;
  if (creates !== undefined) requirePath(creates, `look whether ${what} has made`);
  if (spec.directory !== undefined && spec.directory !== "/") requirePath(spec.directory, `run ${what} in`);
  if (user !== undefined) requireUser(user, what);
  if (!Number.isInteger(retries) || retries < 0) {
    throw new TypeError(`Cannot try ${what} again ${retries} times: expected a whole number from 0 on`);
  }
  const directory = user === undefined ? spec.directory : spec.directory ?? "/";
  const preamble = [
    ...(user === undefined ? [] : [sh`HOME=~${user}; export HOME`]),
    ...exportVariables(environment, what),
    ...(directory === undefined ? [] : [sh`cd ${directory} || exit`]),
  ];
  const timeout = milliseconds(spec.timeout ?? "10m");
  return { script, what, unless, onlyIf, creates, user, directory, preamble, timeout, retries };
}

/** Why the command has to run; empty if it does not. */
async function reasonToRun(container: ContainerReader, wanted: Wanted): Promise<Difference[]> {
  const { unless, onlyIf, creates } = wanted;
  const hasOther = unless !== undefined || creates !== undefined;
  if (onlyIf === undefined && !hasOther) {
    await requireSurroundings(container, wanted);
    return [{ what: "always runs" }];
  }
  if (onlyIf !== undefined && hasOther && !await isYes(container, onlyIf, wanted)) return [];
  return await missingEffect(container, wanted);
}

/**
 * What is missing of the command's effect. After the command that has to be nothing, whatever had made the command
 * necessary: that `onlyIf` fails belongs to the effect only if there is no other guard.
 */
async function missingEffect(container: ContainerReader, wanted: Wanted): Promise<Difference[]> {
  const { unless, onlyIf, creates } = wanted;
  if (creates !== undefined) {
    const { code } = await container.read(sh`[ -e ${creates} ]`, { codes: [0, 1] });
    if (code !== 0) {
      await requireSurroundings(container, wanted);
      return [{ what: creates, to: "present" }];
    }
  }
  if (unless !== undefined) {
    return await isYes(container, unless, wanted) ? [] : [{ what: `"${unless}"`, from: "fails", to: "succeeds" }];
  }
  if (onlyIf === undefined || creates !== undefined) return [];
  return await isYes(container, onlyIf, wanted) ? [{ what: `"${onlyIf}"`, from: "succeeds", to: "fails" }] : [];
}

/** Whether a guard succeeds. Throws if it does not answer, and if the user or the folder does not exist. */
async function isYes(container: ContainerReader, guard: Script, wanted: Wanted): Promise<boolean> {
  const { what, user, directory, preamble } = wanted;
  // What comes before the guard can fail with any exit code: a word tells whether the guard itself was run.
  const begun = directory === undefined ? [] : [sh`echo begun`];
  const whole = lines(...preamble, ...begun, guard);
  const output = await container.read(whole.shownAs(guard.display), { ...userOf(wanted), codes: "any" });
  if (begun.length > 0 && !output.text.startsWith("begun")) {
    const said = output.errorText.split("\n").at(-1) || `exit code ${output.code}`;
    throw new Failure(
      ExitCode.Step,
      `Cannot run ${what}${user === undefined ? "" : ` as "${user}"`} in "${directory}" inside the container: ${said}`,
      { hint: "Make the user and the folder in steps before this one" },
    );
  }
  if (!hasAnswered(output.code)) throw failureOfGuard(what, output);
  return output.code === 0;
}

/** Throws if the user or the folder does not exist, so that check mode reports what would fail in a run. */
async function requireSurroundings(container: ContainerReader, wanted: Wanted): Promise<void> {
  if (wanted.directory !== undefined) await isYes(container, sh`:`, wanted);
}

async function runWithRetries({ container, progress, pause }: Writing, wanted: Wanted): Promise<void> {
  const { script, preamble, timeout, retries } = wanted;
  for (let tries = 1;; tries++) {
    try {
      await container.write(lines(...preamble, script), { ...userOf(wanted), timeout });
      return;
    } catch (error) {
      // After the loss of a session nobody knows whether the command was run.
      if (!(error instanceof CommandFailed) || retries === 0) throw error;
      if (tries > retries) throw lastOf(tries, error);
      const next = Math.min(FIRST_PAUSE_MS * 2 ** (tries - 1), MAX_PAUSE_MS);
      progress(`try ${tries} of ${retries + 1}: ${error.message}; the next one in ${formatDuration(next)}`);
      await pause(next);
    }
  }
}

function userOf({ user }: Wanted): Pick<CommandOptions, "user"> {
  return user === undefined ? {} : { user };
}

function lastOf(tries: number, { message, evidence, exitCode, hint }: CommandFailed): CommandFailed {
  return new CommandFailed(`${message}, the last of ${tries} tries`, evidence, {
    exitCode,
    ...(hint === undefined ? {} : { hint }),
  });
}
