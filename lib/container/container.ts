/**
 * The container as steps see it: a small port with separate verbs for looking and for changing.
 *
 * @module
 */

import { type CommandEvidence, CommandFailed, ExitCode, Failure } from "../errors.ts";
import type { Script } from "../shell.ts";
import { tail } from "../text.ts";
import type { Duration } from "../time.ts";

/** How much of each of stdout and stderr a failure keeps, in bytes. */
const MAX_EVIDENCE_BYTES = 16 * 1024;

/** How a command is run inside the container. */
export interface CommandOptions {
  /**
   * After this the command is ended. Default: 1 minute for {@linkcode ContainerReader.read}, 10 for
   * {@linkcode Container.write}.
   */
  readonly timeout?: Duration;
  /** The user inside to run as. Default: root. */
  readonly user?: string;
  /** What the command reads on stdin. Default: nothing. A chunk is sent before the next one is asked for. */
  readonly stdin?: string | Uint8Array | AsyncIterable<Uint8Array>;
  /** The exit codes that are an answer; any other throws {@linkcode CommandFailed}. Default: only 0. */
  readonly codes?: readonly number[] | "any";
  /** How much stdout, and how much stderr, may come, in bytes. Default: 256 MiB. */
  readonly maxOutputBytes?: number;
  /** Sees the output as it comes. */
  readonly onOutput?: (chunk: Uint8Array, stream: "stdout" | "stderr") => void;
}

/** What a command left behind. */
export class Output {
  /** The command, for a person. */
  readonly command: string;
  /** Exit code. */
  readonly code: number;
  /** All of stdout. */
  readonly stdout: Uint8Array;
  /** All of stderr. */
  readonly stderr: Uint8Array;

  /** Wraps what a command gave. */
  constructor(command: string, { code, stdout, stderr }: Pick<Output, "code" | "stdout" | "stderr">) {
    this.command = command;
    this.code = code;
    this.stdout = stdout;
    this.stderr = stderr;
  }

  /** Stdout as text, without its last newlines. */
  get text(): string {
    return new TextDecoder().decode(this.stdout).replace(/\n+$/, "");
  }

  /** Stderr as text, without its last newlines. */
  get errorText(): string {
    return new TextDecoder().decode(this.stderr).replace(/\n+$/, "");
  }
}

/** A container that can be looked at. */
export interface ContainerReader {
  /** Its id. */
  readonly ctid: number;
  /**
   * Runs a command that changes nothing. Because it changes nothing, it is run again when the session is lost under it,
   * or its time is up while Proxmox has locked the container, as a backup that froze it does. Throws
   * {@linkcode CommandFailed} for an exit code that is not in `codes`, also when its time is up, and `SessionLost`.
   */
  read(script: Script, options?: CommandOptions): Promise<Output>;
}

/** A container that can be changed. */
export interface Container extends ContainerReader {
  /**
   * Runs a command that may change something. It is never run twice: when the session is lost under it, that is thrown.
   * Background children may live on; what they write to the inherited stdout and stderr is not heard once the command
   * has ended.
   */
  write(script: Script, options?: CommandOptions): Promise<Output>;
}

/** A container that this run is connected to. */
export interface Connection extends Container {
  /** Begins to connect, so that {@linkcode open} has less to wait for; where that fails, it tries again. */
  prepare(): void;
  /** Connects, if that has not been done. */
  open(): Promise<void>;
  /** Ends what is under way inside, and the connection. */
  interrupt(): Promise<void>;
  /** Ends the connection. */
  close(): Promise<void>;
}

/** A container that refuses to be changed: what check mode hands to steps. */
export function readOnly(container: ContainerReader): Container {
  return {
    ctid: container.ctid,
    read: (script, options) => container.read(script, options),
    write(script) {
      return Promise.reject(
        new Failure(ExitCode.Defect, `Cannot run "${script.display}" as nothing may be changed in check mode`),
      );
    },
  };
}

/** The failure of a command whose exit code is not one that was expected. */
export function failureOf(
  output: Output,
  message = `Command failed with exit code ${output.code}`,
  exitCode: ExitCode = ExitCode.Step,
): CommandFailed {
  return new CommandFailed(message, evidenceOf(output), { exitCode });
}

/** What a failure shows of a command: the last 16 KiB of each of its outputs. */
export function evidenceOf(
  { command, code, stdout, stderr }: Pick<CommandEvidence, "command" | "code"> & Pick<Output, "stdout" | "stderr">,
): CommandEvidence {
  return { command, code, stdout: tail(stdout, MAX_EVIDENCE_BYTES), stderr: tail(stderr, MAX_EVIDENCE_BYTES) };
}
