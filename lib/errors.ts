/**
 * What can end a run, and with which exit code. Every error that a person may see derives from {@linkcode Failure};
 * anything else that is thrown is a defect of this program and ends with {@linkcode ExitCode.Defect}.
 *
 * @module
 */

/**
 * The exit codes of a setup executable. `0` and `1` mean what the orchestrator expects of every script; the others
 * tell the ways of failing apart, so that it can react without reading the log.
 */
export const ExitCode = {
  /** Done, or nothing to do. */
  Success: 0,
  /** Usage, a CTID that is not valid or not this executable's, or a container that does not exist. */
  Usage: 1,
  /** Configuration missing, unreadable or wrong. */
  Configuration: 2,
  /** The container exists but cannot be used: stopped, or not the one that is meant. */
  Container: 3,
  /** A step failed. */
  Step: 4,
  /** A step, a wait or the run ran out of time. */
  Timeout: 5,
  /** Another run holds this container. */
  Held: 6,
  /** `--check` only: something would change. */
  WouldChange: 10,
  /** A defect of this program, or a permission that was refused. */
  Defect: 70,
  /** Ended by SIGHUP. */
  Hangup: 129,
  /** Ended by SIGINT. */
  Interrupt: 130,
  /** Ended by SIGTERM. */
  Terminate: 143,
} as const;

/** One of the values of {@linkcode ExitCode}. */
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** An error with an exit code of its own and, where one is known, a way out for the person who reads it. */
export class Failure extends Error {
  /** The code that the process ends with. */
  readonly exitCode: ExitCode;
  /** What to do about it, as one sentence. */
  readonly hint: string | undefined;

  /** Creates a failure that ends the run with `exitCode`. */
  constructor(exitCode: ExitCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = "Failure";
    this.exitCode = exitCode;
    this.hint = options.hint;
  }
}

/** What a command inside the container left behind: the evidence that a failure shows. */
export interface CommandEvidence {
  /** The command as a person may see it: secrets are replaced. */
  readonly command: string;
  /** Its exit code, `undefined` where it did not end. */
  readonly code: number | undefined;
  /** The last part of what it wrote to stdout. */
  readonly stdout: string;
  /** The last part of what it wrote to stderr. */
  readonly stderr: string;
}

/** A command inside the container ended with an exit code that its step did not expect. */
export class CommandFailed extends Failure {
  /** What the command was and what it said. */
  readonly evidence: CommandEvidence;

  /** Creates the failure of one command. */
  constructor(message: string, evidence: CommandEvidence, options: { hint?: string; exitCode?: ExitCode } = {}) {
    super(options.exitCode ?? ExitCode.Step, message, options);
    this.name = "CommandFailed";
    this.evidence = evidence;
  }
}

/**
 * The shell inside the container is gone: the container stopped, or its `pct exec` ended. Says nothing about whether
 * the command that was under way took effect, so a reader may try again and a writer must look first.
 */
export class SessionLost extends Failure {
  /** The command that was under way, if any. */
  readonly command: string | undefined;

  /** Creates the loss of a session. */
  constructor(message: string, options: { command?: string | undefined; hint?: string; cause?: unknown } = {}) {
    super(ExitCode.Container, message, options);
    this.name = "SessionLost";
    this.command = options.command;
  }
}

/** The text of anything that was thrown, for a log line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
