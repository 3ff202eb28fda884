/**
 * Scripts that run inside the container.
 *
 * @module
 */

import { failureOf } from "../container/container.ts";
import type { Reading, Step, Writing } from "../step.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import { Secret } from "../secret.ts";
import { lines, Script, sh } from "../shell.ts";
import type { Duration } from "../time.ts";
import { CONTENT_HASH } from "./support/content_hash.ts";
import { exportVariables, requireUser } from "./support/execution.ts";
import { MARKERS, writeMarker } from "./support/marker.ts";
import { concerns, requirePath } from "./support/path.ts";
import { requireHostFile, sha256Of } from "./support/source.ts";

/** A script, and when and how it runs. */
export type ScriptSpec =
  & {
    /** The program that runs the script. Default: the one in the script's `#!` line, else `/bin/sh`. */
    readonly interpreter?: string;
    /** The script's arguments. Never a secret, as every process inside can read them. Default: none. */
    readonly arguments?: readonly (string | number)[];
    /** Files and folders inside that the script reads: it runs again when their content changes. Default: none. */
    readonly inputs?: readonly string[];
    /**
     * `changed`: it runs again when the script, its arguments, environment or inputs change. `once`: it runs only once.
     * Default: `changed`.
     */
    readonly when?: "once" | "changed";
    /** The user inside the container to run as. Default: `root`. */
    readonly user?: string;
    /** How long the script may run; then it is ended and the step fails. Default: 10 minutes. */
    readonly timeout?: Duration;
    /**
     * Environment variables besides `PATH`, `HOME` and `LANG`, which every command has. A value can be a secret.
     * Default: none.
     */
    readonly environment?: Readonly<Record<string, string | Secret>>;
  }
  & ({
    /** The script. */
    readonly content: string;
    readonly from?: never;
  } | {
    /** The file on the host with the script. The setup declares it: `reads: ["/path"]`. */
    readonly from: string;
    readonly content?: never;
  });

/** A {@linkcode ScriptSpec} that was checked, with its defaults. */
interface Wanted {
  readonly title: string;
  /** The script; `undefined` if it is a file on the host. */
  readonly content: string | undefined;
  /** The file on the host with the script; `undefined` if the content is stated. */
  readonly from: string | undefined;
  readonly interpreter: string | undefined;
  readonly args: readonly string[];
  readonly inputs: readonly string[];
  readonly when: "once" | "changed";
  readonly user: string;
  readonly timeout: Duration | undefined;
  /** Names and values, secrets in clear text. */
  readonly variables: readonly (readonly [name: string, value: string])[];
  /** The commands that export the variables. */
  readonly exports: readonly Script[];
}

/** The script as it is now, and what is known of its last run. */
interface ScriptState {
  readonly content: string;
  /** A hash of the script and of everything that it is run with. */
  readonly digest: string;
  /** The same of the last run that succeeded; `undefined` if there was none. */
  readonly lastDigest: string | undefined;
  /** In check mode, whether steps before this one would change its inputs. */
  readonly predicted: boolean;
}

/** Where the script is while it runs. Only root can write to `/run`, and a restart of the container empties it. */
const RUNNING = "/run/phoenix_setup.script";
/** How long it may take to hash the inputs. */
const LOOK_TIMEOUT = "10m";

/**
 * A script has run successfully inside the container: once, or since the last change of the script, its interpreter,
 * user, arguments, environment or inputs. It runs in `/`, from a file that only its user can read and that is removed
 * afterwards, with an empty stdin; its output is logged as it comes. If it ends with an exit code other than 0, the
 * step fails. The script then runs again next time, as it does after a run that was interrupted: it has to be able to
 * run again.
 *
 * A marker below `/var/lib/phoenix_setup/scripts`, named after the title, holds a hash of all this: the title is the
 * script's identity. Remove the marker to have the script run again. Of a folder in `inputs`, all regular files below
 * it count; symbolic links count as what they lead to. A script that changes its own inputs is an error, as it would
 * have to run every time.
 *
 * Throws a `TypeError` for an empty title or script and for invalid paths and names.
 *
 * @example
 * ```ts
 * import { setup } from "../mod.ts";
 *
 * const search = setup(910, "search", { environment: ["SEARCH_TOKEN"] }, async ({ ensure, secret }) => {
 *   await ensure(script("search index", {
 *     content: "#!/bin/sh -e\nbuild-index --out \"$1\" /srv/documents\n",
 *     arguments: ["/var/lib/index"],
 *     inputs: ["/srv/documents"],
 *     environment: { TOKEN: await secret("API token", { environment: "SEARCH_TOKEN" }) },
 *     timeout: "30m",
 *   }));
 * });
 * ```
 */
export function script(title: string, spec: ScriptSpec): Step {
  const wanted = requireSpec(title, spec);
  return {
    title,
    probe: (at) => probe(at, wanted),
    diff: (state) => differencesOf(state, wanted),
    apply: (at, state) => run(at, state, wanted),
  } satisfies Step<ScriptState>;
}

function requireSpec(title: string, spec: ScriptSpec): Wanted {
  const { content, from, interpreter, inputs = [], when = "changed", user = "root", timeout, environment = {} } = spec;
  if (title === "") throw new TypeError("Cannot run a script without a title, by which it is known");
  if ((content === undefined) === (from === undefined)) {
    throw new TypeError(`Cannot run the script "${title}": expected either "content" or "from"`);
  }
  if (content === "") throw new TypeError(`Cannot run the script "${title}" as it is empty`);
  if (from !== undefined) requirePath(from, "run the script");
  for (const input of inputs) requirePath(input, `use as input of the script "${title}"`);
  requireUser(user, `the script "${title}"`);
  const exports = exportVariables(environment, `the script "${title}"`);
  const variables = Object.entries(environment)
    .map(([name, value]) => [name, value instanceof Secret ? value.reveal() : value] as const);
  const args = (spec.arguments ?? []).map(String);
  return { title, content, from, interpreter, args, inputs, when, user, timeout, variables, exports };
}

async function probe(at: Reading, wanted: Wanted): Promise<ScriptState> {
  const { title, user, inputs } = wanted;
  const content = wanted.content ?? await (await requireHostFile(at, wanted.from!)).text();
  const { text } = await at.container.read(
    lines(
      user === "root" ? sh`echo there` : sh`id -u ${user} >/dev/null 2>&1 && echo there || echo missing`,
      sh`grep . ${await markerOf(title)} 2>/dev/null || echo -`,
      ...(inputs.length === 0 ? [] : [CONTENT_HASH]),
      ...inputs.map((input) => sh`content_hash ${input}`),
    ),
    { timeout: LOOK_TIMEOUT },
  );
  const [itsUser, marked, ...hashes] = text.split("\n");
  const { interpreter, args, variables } = wanted;
  const digest = await sha256Of(JSON.stringify([content, interpreter, user, args, variables, inputs, hashes]));
  const predicted = inputs.some((input) => at.predicted.some((change) => change.content && concerns(input, change)));
  const state = { content, digest, lastDigest: marked === "-" ? undefined : marked, predicted };
  if (itsUser === "missing" && differencesOf(state, wanted).length > 0) {
    throw new Failure(ExitCode.Step, `Cannot run the script as "${user}": the container has no such user`, {
      hint: "Make the user in a step before this one",
    });
  }
  return state;
}

function differencesOf({ digest, lastDigest, predicted }: ScriptState, { when }: Wanted): Difference[] {
  if (lastDigest === undefined) return [{ what: "has not run yet" }];
  if (when === "once" || (lastDigest === digest && !predicted)) return [];
  return [{ what: "has changed since its last run, or something that it works with has" }];
}

async function run({ container }: Writing, { content, digest }: ScriptState, wanted: Wanted): Promise<void> {
  const { title, interpreter, args, user, timeout, exports } = wanted;
  const become = user === "root" ? [] : ["runuser", "-u", user, "--"];
  const command = sh`${[...become, ...interpreterOf(content, interpreter), RUNNING, ...args]}`;
  // A command is ended by signals to all of its processes, more than once: the last one must not interrupt the removal.
  const whole = sh`t=${RUNNING}
end() { trap '' HUP INT TERM; rm -f "$t"; }
trap end EXIT
trap 'end; exit 143' HUP INT TERM
rm -f "$t" && (umask 077; set -C; cat >"$t") && h=$(sha256sum <"$t") || exit
[ "\${h%% *}" = ${await sha256Of(content)} ] || { echo 'The script did not arrive as it was sent' >&2; exit 1; }
chown ${user} "$t" && chmod 700 "$t" && cd / || exit
HOME=~${user}; export HOME
${lines(...exports)}
${command} || exit
${writeMarker(await markerOf(title), sh`echo ${digest}`)}`;
  const output = await container.write(
    // How the script got into its place is of no interest in a failure.
    whole.shownAs(command.display),
    { stdin: content, codes: "any", ...(timeout === undefined ? {} : { timeout }) },
  );
  if (output.code !== 0) throw failureOf(output, `Script failed with exit code ${output.code}`);
}

/**
 * The marker of a script. Titles can have any characters: a hash tells apart those that differ only in what is
 * replaced.
 */
async function markerOf(title: string): Promise<string> {
  const name = title.replace(/[^A-Za-z0-9.-]+/g, "_").slice(0, 80);
  return `${MARKERS}/scripts/${name}.${(await sha256Of(title)).slice(0, 8)}`;
}

/** What the kernel would run: the program in the `#!` line, with the rest of that line as one argument. */
function interpreterOf(content: string, stated: string | undefined): string[] {
  if (stated !== undefined) return [stated];
  const [, program, argument] = /^#![ \t]*(\S+)[ \t]*(.*?)\s*(?:\n|$)/.exec(content) ?? [];
  return program === undefined ? ["/bin/sh"] : argument ? [program, argument] : [program];
}
