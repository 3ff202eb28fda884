/**
 * What reaches a container through Proxmox's `pct`: a session that is opened when it is first needed, waited for where
 * Proxmox has locked the container, and replaced where it is lost.
 *
 * @module
 */

import { CommandFailed, ExitCode, Failure, SessionLost } from "../errors.ts";
import type { Script } from "../shell.ts";
import { type Duration, formatDuration, milliseconds } from "../time.ts";
import { type CommandOptions, type Connection, evidenceOf, failureOf, Output } from "./container.ts";
import type { Pct } from "./pct.ts";
import type { Greeting } from "./protocol.ts";
import { Session, TimedOut } from "./session.ts";

/** How long a command may take that only looks, where its step says nothing else. */
const READ_TIMEOUT: Duration = "1m";

/** How long a command may take that may change something, where its step says nothing else. */
const WRITE_TIMEOUT: Duration = "10m";

/**
 * How long `pct exec` may take to give a shell, in milliseconds: a snapshot of a busy container freezes it for a while.
 */
const OPEN_TIMEOUT_MS = 60_000;

/** How long a container that a backup or a snapshot has locked is waited for, in milliseconds. */
export const LOCK_TIMEOUT_MS = 15 * 60_000;

/**
 * How long a container that was running and refuses a shell is tried again, in milliseconds: one that is rebooted does
 * for a moment.
 */
const REFUSAL_TIMEOUT_MS = 10_000;

/**
 * How `pct exec` refuses a container that was just stopped, or is not started yet: by itself, or with the 1 of
 * `lxc-attach`.
 */
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
  #prepared: Promise<Session | undefined> | undefined;
  #firstGreeting: Greeting | undefined;

  /** Connects to nothing yet: see {@linkcode open}. */
  constructor(pct: Pct, ctid: number, hooks: ContainerHooks = {}) {
    this.#pct = pct;
    this.ctid = ctid;
    this.#hooks = hooks;
  }

  prepare(): void {
    this.#prepared = this.#tryOpening().catch(() => undefined);
  }

  async open(): Promise<void> {
    if (this.#session?.alive) return;
    const session = await this.#preparedSession() ?? await this.#newSession();
    try {
      // A session that was prepared is there at once, also for what a run that was interrupted still does.
      this.#refuseWhenInterrupted();
      this.#hooks.onOpen?.(session.greeting);
      this.#requireSameContainer(session.greeting);
    } catch (error) {
      await session.close();
      throw error;
    }
    this.#session = session;
  }

  async read(script: Script, options: CommandOptions = {}): Promise<Output> {
    // What a setup itself wrote may leave something running, and so may another user.
    const isolate = script.isOfSetup || options.user !== undefined;
    const look = () => this.#run(script, options, { isolate, defaultTimeout: READ_TIMEOUT });
    try {
      return await look();
    } catch (error) {
      const { stdin } = options;
      // Chunks come but once.
      const canRepeat = !(typeof stdin === "object" && Symbol.asyncIterator in stdin);
      if (this.#isCutOff(error) && canRepeat) return await look();
      throw error;
    }
  }

  async write(script: Script, options: CommandOptions = {}): Promise<Output> {
    return await this.#run(script, options, { isolate: true, defaultTimeout: WRITE_TIMEOUT });
  }

  async interrupt(): Promise<void> {
    // What a step does about the loss of its session, such as looking again, must not begin anything new.
    this.#interrupted.abort();
    await this.#session?.interrupt();
  }

  async close(): Promise<void> {
    // A session that is not open yet is no longer waited for.
    this.#interrupted.abort();
    await (await this.#prepared)?.close();
    await this.#session?.close();
  }

  async #preparedSession(): Promise<Session | undefined> {
    const session = await this.#prepared;
    this.#prepared = undefined;
    return session?.alive ? session : undefined;
  }

  /**
   * A backup stops or freezes a container for a while: as long as Proxmox says so, it is waited for. One that is being
   * rebooted is back in a moment.
   */
  async #newSession(): Promise<Session> {
    const started = performance.now();
    let told = "";
    for (let pause = 250;; pause = Math.min(pause * 2, 2_000)) {
      this.#refuseWhenInterrupted();
      try {
        return await this.#tryOpening();
      } catch (error) {
        if (!(error instanceof SessionLost)) throw error;
        const lock = this.#hooks.lockedBy?.();
        const timeout = lock !== undefined ? LOCK_TIMEOUT_MS : REFUSAL.test(error.message) ? REFUSAL_TIMEOUT_MS : 0;
        if (performance.now() - started >= timeout) throw error;
        const what = `container ${this.ctid}${lock === undefined ? "" : `, which is locked (${lock})`}`;
        const why = `Waiting for ${what}: ${error.message}`;
        if (why !== told) this.#hooks.onWait?.(why);
        told = why;
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    }
  }

  #tryOpening(): Promise<Session> {
    return Session.open(this.#pct, this.ctid, OPEN_TIMEOUT_MS, this.#interrupted.signal);
  }

  #refuseWhenInterrupted(): void {
    if (this.#interrupted.signal.aborted) {
      throw new SessionLost(`Cannot open a session with container ${this.ctid} as the run was interrupted`);
    }
  }

  /** A reboot changes neither the machine id nor the root; a container that was destroyed and made anew has others. */
  #requireSameContainer(greeting: Greeting): void {
    const first = this.#firstGreeting ??= greeting;
    const difference = differenceBetween(first, greeting);
    if (difference !== undefined) {
      throw new Failure(
        ExitCode.Container,
        `Container ${this.ctid} was replaced by another one in the middle of the run: ${difference}`,
        { hint: "Make sure that it is the container that is meant, and run this again from its beginning" },
      );
    }
    // The first start of a container gives it its machine id.
    if (first.machineId === "-") this.#firstGreeting = greeting;
  }

  /** Whether a command ended for a reason that may pass, and that has nothing to do with the command. */
  #isCutOff(error: unknown): boolean {
    if (error instanceof SessionLost) return true;
    const isLate = error instanceof CommandFailed && error.exitCode === ExitCode.Timeout;
    return isLate && this.#hooks.lockedBy?.() !== undefined;
  }

  async #run(
    script: Script,
    options: CommandOptions,
    { isolate, defaultTimeout }: { isolate: boolean; defaultTimeout: Duration },
  ): Promise<Output> {
    await this.open();
    const { stdin, codes = [0], user, maxOutputBytes, onOutput } = options;
    const timeout = milliseconds(options.timeout ?? defaultTimeout);
    const bytes = typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin;
    const running = this.#session!.run(script, { timeout, user, stdin: bytes, isolate, maxOutputBytes, onOutput });
    const result = await running.catch((error) => {
      throw error instanceof TimedOut ? this.#timeOutOf(script, timeout, error) : error;
    });
    const output = new Output(script.display, result);
    if (codes !== "any" && !codes.includes(output.code)) throw failureOf(output);
    return output;
  }

  #timeOutOf(script: Script, timeout: number, { stdout, stderr }: TimedOut): CommandFailed {
    // A command's clock goes on while it is frozen, and nothing here can tell for how long it was; Proxmox's lock says
    // who may have.
    const lock = this.#hooks.lockedBy?.();
    const hint =
      `Container ${this.ctid} is locked (${lock}), which may have frozen it: run this again when that is over`;
    return new CommandFailed(
      `Command did not end within ${formatDuration(timeout)} and was ended`,
      evidenceOf({ command: script.display, code: undefined, stdout, stderr }),
      { exitCode: ExitCode.Timeout, ...(lock === undefined ? {} : { hint }) },
    );
  }
}

/**
 * Why two greetings cannot be of the same container; `undefined` where they can. What a greeting does not know is no
 * difference.
 */
function differenceBetween(first: Greeting, second: Greeting): string | undefined {
  const differs = (was: string, is: string) => was !== "-" && is !== "-" && was !== is;
  if (differs(first.machineId, second.machineId)) {
    return `its machine id was ${first.machineId} and is ${second.machineId}`;
  }
  if (differs(first.rootMade, second.rootMade)) {
    return `its root file system was made at ${timeOf(first.rootMade)}, and now is one of ${timeOf(second.rootMade)}`;
  }
  return undefined;
}

function timeOf(seconds: string): string {
  return new Date(Number(seconds) * 1000).toISOString();
}
