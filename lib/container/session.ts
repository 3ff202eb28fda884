/**
 * One shell inside the container for the whole run, held by one `pct exec`, with every command a framed request on its
 * stdin. Starting `pct` costs a Perl start, 0.3 to 0.8 s on a real host, and a setup has dozens of commands.
 *
 * @module
 */

import { ExitCode, Failure, SessionLost } from "../errors.ts";
import type { Script } from "../shell.ts";
import { tail } from "../text.ts";
import { within } from "../time.ts";
import { type CommandResult, Frame, type OutputOptions, type OutputStream } from "./frame.ts";
import type { Pct, PctProcess } from "./pct.ts";
import { sendSignal } from "./process.ts";
import {
  bootstrapCommand,
  bootstrapText,
  endLeftoversScript,
  endProcessCommand,
  type FrameOptions,
  frameText,
  frameWords,
  type Greeting,
  greetingText,
  MAX_FRAME_PAYLOAD_BYTES,
  parseGreeting,
  Scanner,
  type Sentinel,
  SHELL_COMMAND,
} from "./protocol.ts";

/**
 * How long the kill from outside, and before it GNU's `timeout -k`, may take until the session is given up, in
 * milliseconds.
 */
const GRACE_MS = 6_000;

/** How long a fresh `pct exec` may take to end a process, in milliseconds. */
const KILL_TIMEOUT_MS = 10_000;

/** How long all commands that were left over may take to end, in milliseconds. */
const LEFTOVERS_TIMEOUT_MS = 30_000;

/** How long the shell may take to exit after its input has ended, in milliseconds. */
const CLOSE_TIMEOUT_MS = 2_000;

/** How much of what was said last the loss of a session quotes, in bytes. */
const MAX_QUOTE_BYTES = 4096;

/** How one command is run. */
export interface SessionRunOptions extends OutputOptions {
  /**
   * After so many milliseconds the command is ended, with all that belongs to its process group, and
   * {@linkcode TimedOut} is thrown.
   */
  readonly timeout: number;
  /** The user inside to run as, by name or number. Default: root. */
  readonly user?: string | undefined;
  /**
   * Bytes for stdin; nothing (`/dev/null`) where it is missing. What comes in chunks is sent as it comes, whatever its
   * size.
   */
  readonly stdin?: Uint8Array | AsyncIterable<Uint8Array> | undefined;
  /** See `FrameOptions.isolate`. */
  readonly isolate: boolean;
}

/** A command was ended because its time was up. */
export class TimedOut extends Failure {
  /** What it had written to stdout by then. */
  readonly stdout: Uint8Array;
  /** What it had written to stderr by then. */
  readonly stderr: Uint8Array;

  /** Creates the time-out of a command that had `timeout` milliseconds. */
  constructor(timeout: number, { stdout, stderr }: Pick<CommandResult, OutputStream>) {
    super(ExitCode.Timeout, `Command did not end within ${timeout / 1000} s`);
    this.name = "TimedOut";
    this.stdout = stdout;
    this.stderr = stderr;
  }
}

/**
 * The shell that one `pct exec` holds open. Commands run one after the other, in the order in which they were asked
 * for.
 */
export class Session {
  /** The container's id. */
  readonly ctid: number;
  readonly #pct: Pct;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #process: PctProcess;
  readonly #opened = Promise.withResolvers<void>();
  /** What is said on the session's own stdout and stderr. */
  readonly #scanners: Readonly<Record<OutputStream, Scanner>>;
  #greeting: Greeting | undefined;
  /** The last of stderr outside any frame: what `pct` itself says. */
  #said = "";
  /** Why no command can be sent any more. */
  #lost: SessionLost | undefined;
  /**
   * The process inside that was under way when the session was lost: the shell itself where a command had not begun
   * yet.
   */
  #pidWhenLost: number | undefined;
  /** The command that is under way. */
  #frame: Frame | undefined;
  /** The same, where it is heard on the session's own stdout and stderr. */
  #ownFrame: Frame | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(pct: Pct, ctid: number) {
    this.#pct = pct;
    this.ctid = ctid;
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    this.#stdin = writable.getWriter();
    // The writer rejects when the process is gone; the loss itself is reported through `ended`.
    this.#stdin.closed.catch(() => {});
    const onStderr = (bytes: Uint8Array) => {
      if (this.#ownFrame) this.#ownFrame.take("stderr", bytes);
      else this.#said = tail(this.#said + tail(bytes, MAX_QUOTE_BYTES), MAX_QUOTE_BYTES);
    };
    this.#scanners = {
      stdout: this.#scanner("stdout", (bytes) => this.#ownFrame?.take("stdout", bytes)),
      stderr: this.#scanner("stderr", onStderr),
    };
    this.#process = pct.start(
      ["exec", String(ctid), "--", ...SHELL_COMMAND],
      readable,
      (chunk) => this.#scanners.stdout.push(chunk),
      (chunk) => this.#scanners.stderr.push(chunk),
    );
    this.#process.ended.then(
      (code) => this.#lose(`"${pct.path} exec ${ctid}" ended with exit code ${code}`),
      (error) => this.#lose(`"${pct.path} exec ${ctid}" could not be run: ${error.message}`, error),
    );
  }

  /**
   * Opens the shell. Throws {@linkcode SessionLost} when the container has none to offer, does not answer within
   * `timeout` milliseconds (a container that is being frozen for a snapshot does not), or `signal` says that nobody
   * waits any more.
   */
  static async open(pct: Pct, ctid: number, timeout: number, signal?: AbortSignal): Promise<Session> {
    const session = new Session(pct, ctid);
    const { key } = frameWords();
    session.#expect(key);
    session.#send(greetingText(key));
    const giveUp = () => session.abandon("the run was interrupted");
    signal?.addEventListener("abort", giveUp);
    const timer = setTimeout(
      () => session.abandon(`the container's shell did not answer within ${timeout / 1000} s`),
      timeout,
    );
    try {
      await session.#opened.promise;
      return session;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", giveUp);
    }
  }

  /** What the shell said of the container. */
  get greeting(): Greeting {
    return this.#greeting!;
  }

  /** Whether commands can still be sent. */
  get alive(): boolean {
    return this.#lost === undefined;
  }

  /**
   * Runs one command and waits for its end sentinel. Throws {@linkcode SessionLost} when the session ended before that,
   * and {@linkcode TimedOut} when its time was up; after a time-out the command has been ended.
   */
  run(script: Script, options: SessionRunOptions): Promise<CommandResult> {
    const next = this.#queue.then(() => this.#run(script, options));
    this.#queue = next.catch(() => {});
    return next;
  }

  /**
   * Ends what other sessions have left running inside, and gives how many commands that were. Only whoever holds the
   * lock of the container may call it: there is no other session then, but for those of runs that were killed.
   */
  async endLeftovers(): Promise<number> {
    const script = endLeftoversScript(this.greeting);
    const { code, stdout } = await this.run(script, { timeout: LEFTOVERS_TIMEOUT_MS, isolate: false });
    return code === 0 ? Number(new TextDecoder().decode(stdout)) : 0;
  }

  /**
   * Ends the command that is under way, if any, through a `pct exec` of its own, and then the session: it takes no more
   * commands.
   */
  async interrupt(): Promise<void> {
    const why = "the run was interrupted";
    this.#lose(why);
    if (this.#pidWhenLost !== undefined) await this.#endProcess(this.#pidWhenLost);
    this.abandon(why);
  }

  /** Ends the session: the shell inside reads the end of its input and exits. */
  async close(): Promise<void> {
    if (this.#lost) return;
    this.#lost = new SessionLost(`Cannot use the session of container ${this.ctid} as it is closed`);
    this.#stdin.close().catch(() => {});
    // A background child may hold the pipes for ever, and a container may be frozen: neither is waited for.
    const code = await within(this.#process.ended.catch(() => -1), CLOSE_TIMEOUT_MS);
    if (code === undefined) this.#process.kill();
  }

  /** Gives the session up without waiting for anything. */
  abandon(why: string): void {
    this.#lose(why);
    this.#stdin.abort().catch(() => {});
    this.#process.kill();
  }

  async #run(script: Script, options: SessionRunOptions): Promise<CommandResult> {
    if (this.#lost) throw new SessionLost(this.#lost.message, { command: script.display });
    this.#requireUserChange(options.user);
    const { stdin, timeout } = options;
    if (stdin !== undefined && !(stdin instanceof Uint8Array && stdin.length <= MAX_FRAME_PAYLOAD_BYTES)) {
      return await this.#runWithPayload(script, options, stdin instanceof Uint8Array ? [stdin] : stdin);
    }
    const words = frameWords();
    const frame = this.#ownFrame = this.#begin(script, options);
    this.#expect(words.key);
    this.#send(frameText(words, this.greeting, script, { ...optionsOf(options), stdin }));
    return await this.#resultOf(frame, timeout);
  }

  /** Runs a command in a `pct exec` of its own, with its stdin streamed: memory stays flat whatever the size. */
  async #runWithPayload(
    script: Script,
    options: SessionRunOptions,
    payload: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<CommandResult> {
    const words = frameWords();
    const command = bootstrapCommand(words, this.greeting);
    const child = this.#pct.startPiped(["exec", String(this.ctid), "--", ...command]);
    const frame = this.#begin(script, options);
    const heard = Promise.allSettled((["stdout", "stderr"] as const).map((stream) => {
      const scanner = this.#scanner(stream, (bytes) => frame.take(stream, bytes));
      scanner.expect(words.key);
      return child[stream].pipeTo(new WritableStream({ write: (chunk) => scanner.push(chunk) }));
    }));
    const beginning = bootstrapText(words, this.greeting, script, optionsOf(options));
    const upload = new Upload(child, beginning, payload);
    Promise.all([child.status, heard]).then(([{ code }]) =>
      frame.fail(
        new SessionLost(
          `Cannot tell whether a command took effect in container ${this.ctid} as its "pct exec" ended early ` +
            `(exit code ${code})`,
          { command: script.display, cause: upload.sourceError },
        ),
      )
    );
    try {
      const result = await this.#resultOf(frame, options.timeout);
      if (upload.sourceError !== undefined) throw upload.sourceError;
      return result;
    } catch (error) {
      throw upload.sourceError ?? error;
    } finally {
      upload.end();
    }
  }

  #begin(script: Script, options: OutputOptions): Frame {
    const frame = new Frame(script.display, options, () => {
      if (this.#frame === frame && frame.pid !== undefined) this.#endProcess(frame.pid);
    });
    return this.#frame = frame;
  }

  /** Waits for the frame to end, and sees to it that it does. */
  async #resultOf(frame: Frame, timeout: number): Promise<CommandResult> {
    const started = performance.now();
    const isLate = () => performance.now() - started >= timeout;
    // GNU's timeout ends the command by itself; it gets the time for its TERM and KILL before we do it from outside.
    const patience = this.greeting.timeout === "gnu" ? timeout + GRACE_MS : timeout;
    const timer = setTimeout(() => this.#endLate(frame, started), patience);
    try {
      const result = await frame.result;
      if (isLate() && result.code !== 0) throw new TimedOut(timeout, result);
      return result;
    } catch (error) {
      if (error instanceof SessionLost && isLate()) throw new TimedOut(timeout, frame);
      throw error;
    } finally {
      clearTimeout(timer);
      this.#frame = this.#ownFrame = undefined;
    }
  }

  /** Ends a frame from outside, or gives the session up where that does not help. */
  async #endLate(frame: Frame, started: number): Promise<void> {
    if (frame.pid !== undefined) await this.#endProcess(frame.pid);
    const hasEnded = await within(frame.result.then(() => true, () => true), GRACE_MS);
    if (hasEnded) return;
    this.abandon(`a command did not end ${Math.round((performance.now() - started) / 1000)} s after its start`);
  }

  /** Killing our own `pct` would leave the command running inside, so it is ended by a second one. */
  async #endProcess(pid: number): Promise<void> {
    const command = endProcessCommand(this.greeting, pid);
    // Where that cannot be started, the command's own time-out and the bound on its frame still hold.
    await this.#pct.run(["exec", String(this.ctid), "--", ...command], KILL_TIMEOUT_MS).catch(() => {});
  }

  /** Takes one output of a `pct exec` apart: the sentinels are acted on, and what is between them goes to `onBytes`. */
  #scanner(stream: OutputStream, onBytes: (bytes: Uint8Array) => void): Scanner {
    return new Scanner(onBytes, (sentinel) => this.#onSentinel(sentinel, stream));
  }

  /** From now on, only what has this key is an answer of the session's shell. */
  #expect(key: string): void {
    for (const scanner of Object.values(this.#scanners)) scanner.expect(key);
  }

  #onSentinel({ kind, fields }: Sentinel, stream: OutputStream): void {
    const frame = this.#frame;
    if (kind === "greeting" && this.#greeting === undefined) this.#onGreeting(fields);
    else if (kind === "begin") frame?.begin(stream, fields[0]);
    else if (kind === "end" && /^\d{1,3}$/.test(fields[0] ?? "")) frame?.end(stream, Number(fields[0]));
    else this.abandon(`the container's shell answered with a sentinel that is none ("${kind}")`);
  }

  #onGreeting(fields: readonly string[]): void {
    try {
      this.#greeting = parseGreeting(fields);
      this.#opened.resolve();
    } catch (error) {
      this.abandon((error as Error).message);
    }
  }

  #requireUserChange(user: string | undefined): void {
    if (user === undefined || this.greeting.become !== "none") return;
    throw new Failure(
      ExitCode.Step,
      `Cannot run a command as the user "${user}" as container ${this.ctid} has neither runuser nor su`,
      { hint: "Install util-linux inside the container, or run the command as root" },
    );
  }

  #send(text: string): void {
    this.#stdin.write(new TextEncoder().encode(text)).catch((error) =>
      this.#lose("its shell takes no more input", error)
    );
  }

  #lose(why: string, cause?: unknown): void {
    if (this.#lost) return;
    const frame = this.#frame;
    if (frame) this.#pidWhenLost = frame.pid ?? this.#greeting?.pid;
    const said = (this.#said + (frame ? tail(frame.stderr, MAX_QUOTE_BYTES) : "")).trim();
    this.#lost = new SessionLost(
      `The session with container ${this.ctid} was lost: ${why}${said === "" ? "" : ` and said: ${said}`}`,
      { cause, command: frame?.command },
    );
    this.#opened.reject(this.#lost);
    // Nobody may be waiting for the greeting any more.
    this.#opened.promise.catch(() => {});
    frame?.fail(this.#lost);
  }
}

function optionsOf({ timeout, user, isolate }: SessionRunOptions): FrameOptions {
  return { seconds: timeout / 1000, user, isolate };
}

/** The input of a `pct exec` of its own: what starts the command, and then the command's stdin. */
class Upload {
  /** Why the payload could not be read to its end, if so. */
  sourceError: unknown;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;

  constructor(
    child: Deno.ChildProcess,
    beginning: string,
    payload: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ) {
    this.#child = child;
    this.#stdin = child.stdin.getWriter();
    this.#send(beginning, payload).catch((error) => {
      // A command that does not read its stdin to the end closes it; only the source's own failure is ours to report.
      if (error instanceof Deno.errors.BrokenPipe) return;
      this.sourceError = error;
      this.end();
    });
  }

  /** Ends the command. What runs inside may live on without its `pct`: then the end of its input ends it. */
  end(): void {
    this.#stdin.abort().catch(() => {});
    sendSignal(this.#child, "SIGKILL");
  }

  async #send(beginning: string, payload: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode(beginning));
    for await (const chunk of payload) await this.#stdin.write(chunk);
    await this.#stdin.close();
  }
}
