/**
 * The container as steps see it: a small port with separate verbs for looking and for changing.
 *
 * @module
 */

import { tail } from "../text.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "../errors.ts";
import type { Greeting } from "./protocol.ts";
import type { Pct } from "./pct.ts";
import { Session, type SessionResult, TimedOut } from "./session.ts";
import type { Script } from "../shell.ts";
import { type Duration, formatDuration, milliseconds } from "../time.ts";

/** How a command is run inside the container. */
export interface CommandOptions {
  /** After this the command is ended. Default: 1 minute for {@linkcode ContainerReader.read}, 10 for {@linkcode Container.write}. */
  readonly timeout?: Duration;
  /** The user inside to run as. Default: root. */
  readonly user?: string;
  /** What the command reads on stdin. Default: nothing. A chunk is sent before the next one is asked for. */
  readonly stdin?: string | Uint8Array | AsyncIterable<Uint8Array>;
  /** The exit codes that are an answer; any other throws {@linkcode CommandFailed}. Default: only 0. */
  readonly codes?: readonly number[] | "any";
  /** How much stdout, and how much stderr, may come, in bytes. Default: 256 MiB. */
  readonly maximumOutput?: number;
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
  constructor(command: string, result: SessionResult) {
    this.command = command;
    this.code = result.code;
    this.stdout = result.stdout;
    this.stderr = result.stderr;
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
   * Runs a command that changes nothing. Because it changes nothing, it is run again when the session is lost under it, or its time
   * is up while Proxmox has locked the container, as a backup that froze it does. Throws {@linkcode CommandFailed} for an exit code
   * that is not in `codes`, also when its time is up, and `SessionLost`.
   */
  read(script: Script, options?: CommandOptions): Promise<Output>;
}

/** A container that can be changed. */
export interface Container extends ContainerReader {
  /**
   * Runs a command that may change something. It is never run twice: when the session is lost under it, that is thrown. Background
   * children may live on; what they write to the inherited stdout and stderr is not heard once the command has ended.
   */
  write(script: Script, options?: CommandOptions): Promise<Output>;
}

/** A container that this run is connected to. */
export interface Connection extends Container {
  /** Begins to connect, so that {@linkcode open} has less to wait for; where that fails, it tries again. */
  prepare(): void;
  /** Connects, if that has not been done, and says what the container's shell said. */
  open(): Promise<Greeting>;
  /** Ends what is under way inside, and the connection. */
  interrupt(): Promise<void>;
  /** Ends the connection. */
  close(): Promise<void>;
}

/** How long `pct exec` may take to give a shell, in milliseconds: a snapshot of a busy container freezes it for a while. */
const OPEN_TIMEOUT = 60_000;

/** How long a container that a backup or a snapshot has locked is waited for, in milliseconds. */
export const LOCK_TIMEOUT = 15 * 60_000;

/** How long a container that was running and refuses a shell is tried again, in milliseconds: one that is rebooted does for a moment. */
const REFUSAL_TIMEOUT = 10_000;

/** How `pct exec` refuses a container that was just stopped, or is not started yet: by itself, or with the 1 of `lxc-attach`. */
const REFUSAL = /container '\d+' not running|" ended with exit code 1(?!\d)/;

/** What a {@linkcode PctContainer} asks and tells the run that it belongs to. */
export interface ContainerHooks {
  /** Sees the greeting of every session, also of one that replaces a lost one, and throws to refuse the container. */
  readonly onOpen?: (greeting: Greeting) => void;
  /** What has locked the container in Proxmox, such as `backup`; `undefined` when nothing has. */
  readonly lockedBy?: () => string | undefined;
  /** Is told that the container is waited for. */
  readonly onWait?: (why: string) => void;
}

/** A container that is reached through {@linkcode Session}, opened when it is first needed. */
export class PctContainer implements Connection {
  readonly ctid: number;
  readonly #pct: Pct;
  readonly #hooks: ContainerHooks;
  readonly #interrupted = new AbortController();
  #session: Session | undefined;
  /** The session that was opened ahead of its time; `undefined` in the end where there was none to be had. */
  #early: Promise<Session | undefined> | undefined;
  /** The greeting of the first session. */
  #first: Greeting | undefined;

  /** Connects to nothing yet: see {@linkcode open}. */
  constructor(pct: Pct, ctid: number, hooks: ContainerHooks = {}) {
    this.#pct = pct;
    this.ctid = ctid;
    this.#hooks = hooks;
  }

  prepare(): void {
    this.#early = Session.open(this.#pct, this.ctid, OPEN_TIMEOUT, this.#interrupted.signal).catch(() => undefined);
  }

  async open(): Promise<Greeting> {
    if (!this.#session?.alive) {
      const session = await this.#openSession();
      try {
        // A session that was prepared is there at once, also for what a run that was interrupted still does.
        this.#requireGoingOn();
        this.#hooks.onOpen?.(session.greeting);
        this.#requireSame(session.greeting);
      } catch (error) {
        await session.close();
        throw error;
      }
      this.#session = session;
    }
    return this.#session.greeting;
  }

  async read(script: Script, options: CommandOptions = {}): Promise<Output> {
    try {
      return await this.#run(script, options, false, "1m");
    } catch (error) {
      const isLate = error instanceof CommandFailed && error.exitCode === ExitCode.Timeout;
      const isCutOff = error instanceof SessionLost || (isLate && this.#hooks.lockedBy?.() !== undefined);
      // Chunks come but once.
      const isOnce = typeof options.stdin === "object" && Symbol.asyncIterator in options.stdin;
      if (!isCutOff || isOnce) throw error;
      return await this.#run(script, options, false, "1m");
    }
  }

  async write(script: Script, options: CommandOptions = {}): Promise<Output> {
    return await this.#run(script, options, true, "10m");
  }

  async interrupt(): Promise<void> {
    // What a step does about the loss of its session, such as looking again, must not begin anything new.
    this.#interrupted.abort();
    await this.#session?.interrupt();
  }

  async close(): Promise<void> {
    // A session that is not open yet is no longer waited for.
    this.#interrupted.abort();
    await (await this.#early)?.close();
    await this.#session?.close();
  }

  /**
   * A backup stops or freezes a container for a while: as long as Proxmox says so, it is waited for. One that is being rebooted is
   * back in a moment.
   */
  async #openSession(): Promise<Session> {
    const { signal } = this.#interrupted;
    const early = await this.#early;
    this.#early = undefined;
    if (early?.alive) return early;
    const started = performance.now();
    let said = "";
    for (let pause = 250;; pause = Math.min(pause * 2, 2_000)) {
      this.#requireGoingOn();
      try {
        return await Session.open(this.#pct, this.ctid, OPEN_TIMEOUT, signal);
      } catch (error) {
        if (!(error instanceof SessionLost)) throw error;
        const lock = this.#hooks.lockedBy?.();
        const bound = lock !== undefined ? LOCK_TIMEOUT : REFUSAL.test(error.message) ? REFUSAL_TIMEOUT : 0;
        if (performance.now() - started >= bound) throw error;
        const why = `Waiting for container ${this.ctid}${lock === undefined ? "" : `, which is locked (${lock})`}: ` +
          error.message;
        if (why !== said) this.#hooks.onWait?.(why);
        said = why;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  #requireGoingOn(): void {
    if (this.#interrupted.signal.aborted) {
      throw new SessionLost(`Cannot open a session with container ${this.ctid} as the run was interrupted`);
    }
  }

  /** A reboot changes neither the machine id nor the root; a container that was destroyed and made anew has others. */
  #requireSame(greeting: Greeting): void {
    const first = this.#first ??= greeting;
    const other = (was: string, is: string) => was !== "-" && is !== "-" && was !== is;
    const differs = other(first.machineId, greeting.machineId)
      ? `its machine id was ${first.machineId} and is ${greeting.machineId}`
      : other(first.rootMade, greeting.rootMade)
      ? `its root file system was made at ${timeOf(first.rootMade)}, and now is one of ${timeOf(greeting.rootMade)}`
      : undefined;
    if (differs === undefined) {
      // The first start of a container gives it its machine id.
      if (first.machineId === "-") this.#first = greeting;
      return;
    }
    throw new Failure(
      ExitCode.Container,
      `Container ${this.ctid} was replaced by another one in the middle of the run: ${differs}`,
      { hint: "Make sure that it is the container that is meant, and run this again from its beginning" },
    );
  }

  async #run(script: Script, options: CommandOptions, isolate: boolean, timeout: Duration): Promise<Output> {
    await this.open();
    const { stdin, codes = [0] } = options;
    const limit = milliseconds(options.timeout ?? timeout);
    let output: Output;
    try {
      output = new Output(
        script.display,
        await this.#session!.run(script, {
          timeout: limit,
          user: options.user,
          stdin: typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin,
          isolate,
          maximumOutput: options.maximumOutput,
          onOutput: options.onOutput,
        }),
      );
    } catch (error) {
      if (!(error instanceof TimedOut)) throw error;
      // A command's clock goes on while it is frozen, and nothing here can tell for how long it was; Proxmox's lock says who may have.
      const lock = this.#hooks.lockedBy?.();
      const hint =
        `Container ${this.ctid} is locked (${lock}), which may have frozen it: run this again when that is over`;
      throw new CommandFailed(`Command did not end within ${formatDuration(limit)} and was ended`, {
        command: script.display,
        code: undefined,
        stdout: tail(error.stdout, KEPT),
        stderr: tail(error.stderr, KEPT),
      }, { exitCode: ExitCode.Timeout, ...(lock === undefined ? {} : { hint }) });
    }
    if (codes !== "any" && !codes.includes(output.code)) throw failureOf(output);
    return output;
  }
}

/** The failure of a command whose exit code is not one that was expected. */
export function failureOf(
  output: Output,
  message = `Command failed with exit code ${output.code}`,
  exitCode: ExitCode = ExitCode.Step,
): CommandFailed {
  return new CommandFailed(message, {
    command: output.command,
    code: output.code,
    stdout: tail(output.stdout, KEPT),
    stderr: tail(output.stderr, KEPT),
  }, { exitCode });
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

function timeOf(seconds: string): string {
  return new Date(Number(seconds) * 1000).toISOString();
}

/** How much of an output a failure keeps, in bytes. */
const KEPT = 16 * 1024;
