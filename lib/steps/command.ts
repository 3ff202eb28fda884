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

/** A {@linkcode CommandSpec} that was checked, with all that follows from it. */
interface Wanted {
  readonly script: Script;
  readonly unless: Script | undefined;
  readonly onlyIf: Script | undefined;
  readonly creates: string | undefined;
  /** The command, as a part of a sentence. */
  readonly what: string;
  readonly user: string | undefined;
  /** The folder to run in, where it need not be there. */
  readonly directory: string | undefined;
  /** What comes before the command and its guards: variables and folder. */
  readonly preamble: readonly Script[];
  readonly timeout: number;
  readonly retries: number;
}

/** The time before the first try that follows another one; each further one is twice as long. */
const FIRST_PAUSE_MS = 1_000;
/** The longest time between two tries. */
const MAX_PAUSE_MS = 30_000;

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

/** Why the command has to run, where it has to. */
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
 * What is missing of the effect that the command has to have, whatever has made it necessary: that `onlyIf` fails is its effect only
 * where no other guard is stated.
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

/** Whether a guard says yes. Throws where it says nothing, and where user or folder are missing. */
async function isYes(container: ContainerReader, guard: Script, wanted: Wanted): Promise<boolean> {
  const { what, user, directory, preamble } = wanted;
  // What comes before the guard itself can fail with any exit code, so that it takes a word to tell the two apart.
  const begun = directory === undefined ? [] : [sh`echo begun`];
  const whole = lines(...preamble, ...begun, guard);
  const output = await container.read(new Script(whole.text, guard.display), { ...userOf(wanted), codes: "any" });
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

/** Throws where user or folder are missing, so that check mode tells what a run would stumble over. */
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
      // After the loss of a session nobody knows whether the command has run.
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
