/**
 * The command line and the environment of a setup executable.
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { head } from "../text.ts";
import { messageOf } from "../errors.ts";
import { milliseconds } from "../time.ts";

/** What the command line asks for. */
export interface Arguments {
  /** The positional arguments, exactly as given. */
  readonly positional: readonly string[];
  /** Only look, say what would change, and exit with 10 if anything would. */
  readonly check: boolean;
  /** Show each command's output and each difference. */
  readonly verbose: boolean;
  /** Show warnings and errors only. */
  readonly quiet: boolean;
  /** Print JSON lines. */
  readonly json: boolean;
  /** Print the usage and exit. */
  readonly help: boolean;
  /** Print the version and exit. */
  readonly version: boolean;
  /** The log file to append to. */
  readonly logFile: string | undefined;
  /** Milliseconds that the whole run may take. */
  readonly timeout: number | undefined;
  /** What is wrong with the command line, as sentences; the positional arguments are not judged here. */
  readonly problems: readonly string[];
}

const FLAGS = ["check", "verbose", "quiet", "json", "help", "version"] as const;
const FLAG_WITH_VALUE = new RegExp(`^(?:--(?:${FLAGS.join("|")})=|-[hqv]+[^a-z_])`);

/** Takes a command line apart. Never throws: what is wrong with it is in `problems`. */
export function readArguments(args: readonly string[]): Arguments {
  const problems: string[] = [];
  const parse = (list: readonly string[]) =>
    parseArgs([...list], {
      boolean: FLAGS,
      string: ["_", "log-file", "timeout"],
      collect: ["log-file", "timeout"],
      alias: { h: "help", v: "verbose", q: "quiet" },
      unknown(argument, name) {
        if (name === undefined) return true;
        problems.push(`Unknown option ${shown(argument)}`);
        return false;
      },
    });
  let parsed: ReturnType<typeof parse>;
  let positional: string[];
  try {
    parsed = parse(args);
    positional = parsed._.map(String);
  } catch {
    // "--_" takes the place of the list of positional arguments.
    problems.push('Unknown option "_"');
    parsed = parse(positional = []);
  }
  // A flag's value would be taken for yes, whatever it is, and a "true" or "false" behind a flag for its value.
  const end = args.indexOf("--");
  const options = end < 0 ? args : args.slice(0, end);
  options.forEach((argument, i) => {
    const next = /^(?:true|false)$/.test(options[i + 1] ?? "") ? "=" : "";
    if (FLAG_WITH_VALUE.test(argument + next)) problems.push(`Option ${shown(argument)} takes no value`);
  });
  for (const name of ["log-file", "timeout"] as const) {
    if (parsed[name].length > 1) problems.push(`Option "--${name}" is given ${parsed[name].length} times`);
  }
  const [logFile] = parsed["log-file"];
  if (logFile === "") problems.push('Option "--log-file" needs a path');
  let timeout: number | undefined;
  if (parsed.timeout[0] !== undefined) {
    try {
      timeout = milliseconds(parsed.timeout[0]);
    } catch (error) {
      problems.push(`Wrong value for "--timeout": ${messageOf(error)}`);
    }
  }
  if (parsed.verbose && parsed.quiet) problems.push('Options "--verbose" and "--quiet" exclude each other');
  return {
    positional,
    check: parsed.check,
    verbose: parsed.verbose,
    quiet: parsed.quiet,
    json: parsed.json,
    help: parsed.help,
    version: parsed.version,
    logFile: logFile || undefined,
    timeout,
    // A cluster of short options says the same of each letter.
    problems: [...new Set(problems)],
  };
}

/** An argument in a message. */
function shown(argument: string): string {
  return JSON.stringify(head(argument, 64));
}

/** The usage of the executable of container `ctid`. */
export function usage(program: string, ctid: number, name: string): string {
  return `Sets up LXC container ${ctid} (${name}) on this Proxmox VE host. Safe to run again: what is right already is left alone.

Usage: ${program} [options] ${ctid}

Options:
  --check           Change nothing; show what would change, and exit with 10 if anything would
  -v, --verbose     Show each difference and the output of what is run
  -q, --quiet       Show warnings and errors only
  --json            Print one JSON object a line
  --log-file PATH   Append to this log file [/var/log/phoenix_hypervisor.log]
  --timeout TIME    Give up after this time, such as 90s or 45m [2h]
  -h, --help        Show this
  --version         Show the version

Environment: PHOENIX_LXC_CONFIG_FILE, PHOENIX_HYPERVISOR_CONFIG_FILE, PHOENIX_LOG_FILE, PHOENIX_LOG_LEVEL, NO_COLOR

Exit codes: 0 done, 1 usage or no such container, 2 configuration, 3 container not usable, 4 a step failed, 5 out of time,
6 another run holds the container, 10 would change (--check), 70 defect or permission refused, 129/130/143 HUP/INT/TERM`;
}
