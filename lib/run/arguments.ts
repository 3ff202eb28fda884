/**
 * The command line of a setup executable.
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { basename } from "@std/path";
import { REVISION, VERSION } from "../build.ts";
import { ExitCode, Failure, messageOf } from "../errors.ts";
import { message, type Report } from "../events.ts";
import { quote } from "../shell.ts";
import { head } from "../text.ts";
import { milliseconds } from "../time.ts";
import { CTID_RANGE, type Setup } from "./setup.ts";

/** A command line, taken apart. */
export interface CommandLine {
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

/** How much of an argument a message shows, in characters. */
const MAX_SHOWN_CHARACTERS = 64;

/** How many arguments or problems a message lists. */
const MAX_LISTED = 10;

/** Takes a command line apart. Never throws: what is wrong with it is in `problems`. */
export function readCommandLine(args: readonly string[]): CommandLine {
  const { parsed, positional, problems } = parse(args);
  problems.push(...valuesOfFlags(args));
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
  const { check, verbose, quiet, json, help, version } = parsed;
  return {
    positional,
    ...{ check, verbose, quiet, json, help, version },
    logFile: logFile || undefined,
    timeout,
    // A cluster of short options says the same of each letter.
    problems: [...new Set(problems)],
  };
}

function parse(args: readonly string[]) {
  const problems: string[] = [];
  const parseList = (list: readonly string[]) =>
    parseArgs([...list], {
      boolean: FLAGS,
      string: ["_", "log-file", "timeout"],
      collect: ["log-file", "timeout"],
      alias: { h: "help", v: "verbose", q: "quiet" },
      unknown(argument, name) {
        if (name === undefined) return true;
        problems.push(`Unknown option ${inQuotes(argument)}`);
        return false;
      },
    });
  try {
    const parsed = parseList(args);
    return { parsed, positional: parsed._.map(String), problems };
  } catch {
    // "--_" takes the place of the list of positional arguments.
    problems.push('Unknown option "_"');
    return { parsed: parseList([]), positional: [], problems };
  }
}

/** A flag's value would be taken for yes, whatever it is, and a "true" or "false" behind a flag for its value. */
function valuesOfFlags(args: readonly string[]): string[] {
  const end = args.indexOf("--");
  const options = end < 0 ? args : args.slice(0, end);
  return options.flatMap((argument, i) => {
    const next = /^(?:true|false)$/.test(options[i + 1] ?? "") ? "=" : "";
    return FLAG_WITH_VALUE.test(argument + next) ? [`Option ${inQuotes(argument)} takes no value`] : [];
  });
}

/** Whether a command line asks for a text, the usage or the version, and not for a run. */
export function asksForText({ help, version }: CommandLine): boolean {
  return help || version;
}

/**
 * Retrieves the CTID from the command line, which has to have exactly one positional argument, and logs it. Anything
 * else is a usage error: exit code 1.
 */
export function parseArguments(commandLine: CommandLine, setup: Setup, program: string, report: Report): string {
  const { problems, positional } = commandLine;
  const wrong = [...problems];
  const [argument] = positional;
  if (argument === undefined || positional.length > 1) {
    const given = firstOf(positional.map(inQuotes), ", ");
    wrong.push(
      `Expected exactly one argument, the CTID, and got ${positional.length}${given === "" ? "" : `: ${given}`}`,
    );
  }
  if (argument === undefined || wrong.length > 0) {
    throw new Failure(ExitCode.Usage, `Usage error: ${firstOf(wrong, "; ")}`, {
      hint: `Usage: ${basename(program)} [options] ${setup.ctid} (--help lists the options)`,
    });
  }
  report(message("info", `Received CTID: ${visibleArgument(argument)}`));
  return argument;
}

/**
 * Accepts the CTID: a positive integer that Proxmox VE gives to containers, the setup's own, and the one in the
 * program's file name where that carries one. Otherwise exit code 1.
 */
export function validateInputs(argument: string, setup: Setup, program: string): number {
  const refuse = (message: string, hint?: string): never => {
    throw new Failure(ExitCode.Usage, message, hint === undefined ? {} : { hint });
  };
  if (!/^[1-9][0-9]*$/.test(argument)) {
    refuse(
      `CTID ${visibleArgument(argument)} is not a positive integer`,
      `Digits only, without sign, space or leading zero: ${setup.ctid}`,
    );
  }
  const ctid = Number(argument);
  const { lowest, highest } = CTID_RANGE;
  if (ctid < lowest || ctid > highest) {
    refuse(`CTID ${visibleArgument(argument)} is none that Proxmox VE uses: expected ${lowest} to ${highest}`);
  }
  if (ctid !== setup.ctid) {
    refuse(
      `CTID ${ctid} does not belong to this executable, which sets up container ${setup.ctid}`,
      `Run the executable of ${ctid}, or this one with ${setup.ctid}`,
    );
  }
  const file = basename(program);
  const named = ctidInFileName(file);
  if (named !== undefined && named !== argument) {
    refuse(
      `CTID ${ctid} does not match the file name "${file}", which is that of container ${named}`,
      `Rename the file to phoenix_hypervisor_setup_${ctid}, or build the setup of ${named}`,
    );
  }
  return ctid;
}

/** The id that a file name carries by the orchestrator's convention, or by that of the source files, as text. */
function ctidInFileName(name: string): string | undefined {
  return /^phoenix_hypervisor_setup_(.*?)(?:\.sh)?$/.exec(name)?.[1] ?? /^(\d+)\.(?:ts|js)$/.exec(name)?.[1];
}

/** The command that runs a program again, as a line for a shell. */
export function commandToRunAgain(program: string, args: readonly string[]): string {
  // A source file runs only where its imports resolve, and its container may be a simulated one: the task knows.
  const command = program.endsWith(".ts") ? ["deno", "task", "setup"] : [program];
  // Each as a word that a shell takes, but for what no command line can hold.
  const word = (text: string) => text.includes("\0") || !text.isWellFormed() ? visibleArgument(text) : quote(text);
  return [...command, ...args].map(word).join(" ");
}

/** What the executable of a setup answers to `--version`. */
export function versionOf({ ctid, name }: Pick<Setup, "ctid" | "name">): string {
  return `phoenix_hypervisor_setup_${ctid} ${VERSION} (${REVISION}) ${name}`;
}

/** What the executable of a setup, called `program`, answers to `--help`. */
export function usage(program: string, { ctid, name }: Pick<Setup, "ctid" | "name">): string {
  return `Sets up LXC container ${ctid} (${name}) on this Proxmox VE host. Safe to run again: what is already right is left alone.

Usage: ${basename(program)} [options] ${ctid}

Options:
  --check           Change nothing; show what would change, and exit with 10 if anything would
  -v, --verbose     Show each difference, and the output of each command
  -q, --quiet       Show warnings and errors only
  --json            Print events as JSON, one object per line
  --log-file PATH   Append to this log file [/var/log/phoenix_hypervisor.log]
  --timeout TIME    Give up after this time, such as 90s or 45m [2h]
  -h, --help        Show this help
  --version         Show the version

Environment: PHOENIX_LXC_CONFIG_FILE, PHOENIX_HYPERVISOR_CONFIG_FILE, PHOENIX_LOG_FILE, PHOENIX_LOG_LEVEL, NO_COLOR

Exit codes: 0 done, 1 usage or no such container, 2 configuration, 3 container not usable, 4 a step failed, 5 out of time,
6 another run holds the container, 10 would change (--check), 70 defect or permission refused, 129/130/143 HUP/INT/TERM`;
}

/** An argument as a person can read it: in JSON's quotes where it is not plain. */
function visibleArgument(argument: string): string {
  const shown = head(argument, MAX_SHOWN_CHARACTERS);
  return /^[\x21-\x7e]+$/.test(shown) && quote(shown) === shown ? shown : JSON.stringify(shown);
}

function inQuotes(argument: string): string {
  return JSON.stringify(head(argument, MAX_SHOWN_CHARACTERS));
}

/** The first of a list, for a message that a person can read. */
function firstOf(list: readonly string[], separator: string): string {
  const more = list.length - MAX_LISTED;
  return [...list.slice(0, MAX_LISTED), ...(more > 0 ? [`and ${more} more`] : [])].join(separator);
}
