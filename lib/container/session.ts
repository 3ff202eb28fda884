/**
 * One shell inside the container for the whole run: `pct exec <CTID> -- sh`, with every command a framed request on its stdin.
 * Starting `pct` costs a Perl start, 0.3 to 0.8 s on a real host, and a setup has dozens of commands.
 *
 * @module
 */

import { concat } from "../bytes.ts";
import { tail } from "../text.ts";
import { ExitCode, Failure, SessionLost } from "../errors.ts";
import {
  BOOTSTRAP,
  bootstrapText,
  FRAME_PAYLOAD,
  frameText,
  type Greeting,
  greetingText,
  parseGreeting,
  Scanner,
  type Sentinel,
  STARTED,
} from "./protocol.ts";
import type { Pct, PctProcess } from "./pct.ts";
import { sendSignal } from "./process.ts";
import type { Script } from "../shell.ts";
import { within } from "../time.ts";

/** How one command is run. Times are in milliseconds. */
export interface SessionRunOptions {
  /** After this the command is ended, with all that belongs to its process group, and {@linkcode TimedOut} is thrown. */
  readonly timeout: number;
  /** The user inside to run as, by name or number. Default: root. */
  readonly user?: string | undefined;
  /** Bytes for stdin; nothing (`/dev/null`) where it is missing. What comes in chunks is sent as it comes, whatever its size. */
  readonly stdin?: Uint8Array | AsyncIterable<Uint8Array> | undefined;
  /** See `FrameOptions.isolate`. */
  readonly isolate: boolean;
  /** How much of each of stdout and stderr may come before the command is ended, in bytes. Default: 256 MiB. */
  readonly maximumOutput?: number | undefined;
  /** Sees the output as it comes. */
  readonly onOutput?: ((chunk: Uint8Array, stream: "stdout" | "stderr") => void) | undefined;
}

/** What a command left behind. The code is proven by an end sentinel, never taken from `pct`. */
export interface SessionResult {
  /** Exit code; 128 + n after signal n. */
  readonly code: number;
  /** All of stdout. */
  readonly stdout: Uint8Array;
  /** All of stderr. */
  readonly stderr: Uint8Array;
}

/** A command was ended because its time was up. */
export class TimedOut extends Failure {
  /** What it had written to stdout by then. */
  readonly stdout: Uint8Array;
  /** What it had written to stderr by then. */
  readonly stderr: Uint8Array;

  /** Creates the time-out of one command. */
  constructor(message: string, output: { stdout: Uint8Array; stderr: Uint8Array }) {
    super(ExitCode.Timeout, message);
    this.name = "TimedOut";
    this.stdout = output.stdout;
    this.stderr = output.stderr;
  }
}

/** How long `timeout -k` and the kill from outside may take on top, before a frame is abandoned. */
const GRACE = 6_000;
/** How long ending a process through a fresh `pct exec` may take. */
const KILL_TIMEOUT = 10_000;
const MAXIMUM_OUTPUT = 256 * 1024 * 1024;

/**
 * Ends the process group of `$1`, or its tree where it shares the group of the session's shell `$2`: TERM, 2 s, KILL. Nothing where
 * the container was not started at `$3`: the number then is that of somebody else.
 */
const END_PROCESS = `${STARTED}; [ "$i" = "$3" ] || exit 0
group() { read -r s </proc/"$1"/stat && s=\${s##*) } && set -- $s && g=$3; } 2>/dev/null
tree() { for c in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree "$c"; done; t="$t $1"; }
group "$2"; own=$g; group "$1" || exit 0
if [ "$g" != "$own" ]; then t="-$g"; else t=; tree "$1"; fi
kill -TERM $t 2>/dev/null
i=0; while [ $i -lt 20 ] && kill -0 $t 2>/dev/null; do sleep 0.1; i=$((i+1)); done
kill -KILL $t 2>/dev/null; exit 0`;

/** The shell that one `pct exec` holds open. Commands run one after the other, in the order in which they were asked for. */
export class Session {
  /** The container's id. */
  readonly ctid: number;
  /** What the shell said of the container. */
  get greeting(): Greeting {
    return this.#greeting!;
  }

  readonly #pct: Pct;
  readonly #nonce = crypto.getRandomValues(new Uint8Array(16)).toHex();
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #process: PctProcess;
  readonly #opened = Promise.withResolvers<void>();
  #greeting: Greeting | undefined;
  /** The last of stderr outside any frame: what `pct` itself says. */
  #noise = "";
  #lost: SessionLost | undefined;
  /** The process inside that was under way when the session was lost: the shell itself where a command had not begun yet. */
  #lostWith: number | undefined;
  #frame: Frame | undefined;
  #count = 0;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(pct: Pct, ctid: number) {
    this.#pct = pct;
    this.ctid = ctid;
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    this.#input = writable.getWriter();
    // The writer rejects when the process is gone; the loss itself is reported through `ended`.
    this.#input.closed.catch(() => {});
    const stdout = new Scanner(
      this.#nonce,
      (bytes) => this.#frame?.out.take(bytes),
      (sentinel) => this.#onSentinel(sentinel, "out"),
    );
    const stderr = new Scanner(this.#nonce, (bytes) => {
      if (this.#frame) this.#frame.err.take(bytes);
      else this.#noise = tail(this.#noise + tail(bytes, 4096), 4096);
    }, (sentinel) => this.#onSentinel(sentinel, "err"));
    this.#process = pct.start(
      ["exec", String(ctid), "--", "sh"],
      readable,
      (chunk) => stdout.push(chunk),
      (chunk) => stderr.push(chunk),
    );
    this.#process.ended.then(
      (code) => this.#lose(`"${pct.path} exec ${ctid}" ended with exit code ${code}`),
      (error) => this.#lose(`"${pct.path} exec ${ctid}" could not be run: ${error.message}`, error),
    );
  }

  /**
   * Opens the shell. Throws {@linkcode SessionLost} when the container has none to offer, does not answer within `timeout`
   * milliseconds (a container that is being frozen for a snapshot does not), or `signal` says that nobody waits any more.
   */
  static async open(pct: Pct, ctid: number, timeout: number, signal?: AbortSignal): Promise<Session> {
    const session = new Session(pct, ctid);
    session.#send(greetingText(session.#nonce));
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

  /** Whether commands can still be sent. */
  get alive(): boolean {
    return this.#lost === undefined;
  }

  /**
   * Runs one command and waits for its end sentinel. Throws {@linkcode SessionLost} when the session ended before that, and
   * {@linkcode TimedOut} when its time was up; after a time-out the command has been ended.
   */
  run(script: Script, options: SessionRunOptions): Promise<SessionResult> {
    const next = this.#queue.then(() => this.#run(script, options));
    this.#queue = next.catch(() => {});
    return next;
  }

  /** Ends the command that is under way, if any, through a `pct exec` of its own, then the session. It takes no other one. */
  async interrupt(): Promise<void> {
    const why = "the run was interrupted";
    this.#lose(why);
    if (this.#lostWith !== undefined) await this.#endProcess(this.#lostWith);
    this.abandon(why);
  }

  /** Ends the session: the shell inside reads the end of its input and exits. */
  async close(): Promise<void> {
    if (this.#lost) return;
    this.#lost = new SessionLost(`Cannot use the session of container ${this.ctid} as it is closed`);
    this.#input.close().catch(() => {});
    // A background child may hold the pipes for ever, and a container may be frozen: neither is waited for.
    if (await within(this.#process.ended.catch(() => -1), 2_000) === undefined) this.#process.kill();
  }

  /** Gives the session up without waiting for anything. */
  abandon(why: string): void {
    this.#lose(why);
    this.#input.abort().catch(() => {});
    this.#process.kill();
  }

  async #run(script: Script, options: SessionRunOptions): Promise<SessionResult> {
    if (this.#lost) throw new SessionLost(this.#lost.message, { command: script.display });
    const { stdin } = options;
    if (stdin !== undefined && !(stdin instanceof Uint8Array && stdin.length <= FRAME_PAYLOAD)) {
      return await this.#runWithPayload(script, options, stdin instanceof Uint8Array ? [stdin] : stdin);
    }
    const frame = this.#begin(script, options);
    this.#send(frameText(this.#nonce, this.greeting, script, {
      number: frame.number,
      seconds: options.timeout / 1000,
      user: options.user,
      stdin,
      isolate: options.isolate,
    }));
    return await this.#settle(frame, options.timeout);
  }

  /** Runs a command in a `pct exec` of its own, with its stdin streamed: memory stays flat whatever the size. */
  async #runWithPayload(
    script: Script,
    options: SessionRunOptions,
    payload: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<SessionResult> {
    const frame = this.#begin(script, options);
    const child = this.#pct.startPiped(["exec", String(this.ctid), "--", "sh", "-c", BOOTSTRAP, "sh", this.#nonce]);
    const stdout = new Scanner(
      this.#nonce,
      (bytes) => frame.out.take(bytes),
      (sentinel) => this.#onSentinel(sentinel, "out"),
    );
    const stderr = new Scanner(
      this.#nonce,
      (bytes) => frame.err.take(bytes),
      (sentinel) => this.#onSentinel(sentinel, "err"),
    );
    const sink = (scanner: Scanner) => new WritableStream<Uint8Array>({ write: (chunk) => scanner.push(chunk) });
    const piped = Promise.allSettled([child.stdout.pipeTo(sink(stdout)), child.stderr.pipeTo(sink(stderr))]);
    const head = new TextEncoder().encode(bootstrapText(this.#nonce, this.greeting, script, {
      number: frame.number,
      seconds: options.timeout / 1000,
      user: options.user,
      isolate: false,
    }));
    const writer = child.stdin.getWriter();
    const sent = (async () => {
      await writer.write(head);
      for await (const chunk of payload) await writer.write(chunk);
      await writer.close();
    })();
    // What runs inside may live on without its pct: then it is the end of its input that ends it.
    const end = () => {
      writer.abort().catch(() => {});
      sendSignal(child, "SIGKILL");
    };
    // A command that does not read its stdin to the end closes it; only the source's own failure is ours to report.
    let sourceError: unknown;
    sent.catch((error) => {
      if (error instanceof Deno.errors.BrokenPipe) return;
      sourceError = error;
      end();
    });
    Promise.all([child.status, piped]).then(([status]) => {
      frame.fail(
        new SessionLost(
          `Cannot tell whether a command took effect in container ${this.ctid} as its "pct exec" ended early ` +
            `(exit code ${status.code})`,
          { command: script.display, cause: sourceError },
        ),
      );
    });
    try {
      const result = await this.#settle(frame, options.timeout);
      if (sourceError !== undefined) throw sourceError;
      return result;
    } catch (error) {
      throw sourceError ?? error;
    } finally {
      end();
    }
  }

  #begin(script: Script, options: SessionRunOptions): Frame {
    return this.#frame = new Frame(++this.#count, script, options, () => {
      const pid = this.#frame?.pid;
      if (pid !== undefined) this.#endProcess(pid);
    });
  }

  /** Waits for the frame to end, and sees to it that it does. */
  async #settle(frame: Frame, timeout: number): Promise<SessionResult> {
    const started = performance.now();
    // GNU's timeout ends the command by itself; it gets the time for its TERM and KILL before we do it from outside.
    const late = setTimeout(async () => {
      if (frame.pid !== undefined) await this.#endProcess(frame.pid);
      setTimeout(() => {
        if (!frame.settled) {
          this.abandon(`a command did not end ${Math.round((performance.now() - started) / 1000)} s after its start`);
        }
      }, GRACE);
    }, this.greeting.timeout === "gnu" ? timeout + GRACE : timeout);
    try {
      const result = await frame.result.promise;
      if (performance.now() - started >= timeout && !(result.code === 0)) {
        throw new TimedOut(`Command did not end within ${timeout / 1000} s`, result);
      }
      return result;
    } catch (error) {
      if (error instanceof SessionLost && performance.now() - started >= timeout) {
        throw new TimedOut(`Command did not end within ${timeout / 1000} s`, frame);
      }
      throw error;
    } finally {
      clearTimeout(late);
      this.#frame = undefined;
    }
  }

  /** Killing our own `pct` would leave the command running inside, so it is ended by a second one. */
  async #endProcess(pid: number): Promise<void> {
    const { pid: shell, started } = this.greeting;
    const script = ["sh", "-c", END_PROCESS, "sh", String(pid), String(shell), started];
    // Where that cannot be started, the command's own time-out and the bound of its frame still hold.
    await this.#pct.run(["exec", String(this.ctid), "--", ...script], KILL_TIMEOUT).catch(() => {});
  }

  #onSentinel({ kind, fields }: Sentinel, stream: "out" | "err"): void {
    if (kind === "greeting") {
      try {
        this.#greeting = parseGreeting(fields);
        this.#opened.resolve();
      } catch (error) {
        this.abandon((error as Error).message);
      }
      return;
    }
    const frame = this.#frame;
    if (!frame || fields[0] !== String(frame.number)) return;
    if (kind === "begin") frame.begin(stream, fields[1]);
    else if (kind === "end") frame.end(stream, Number(fields[1]));
  }

  #send(text: string): void {
    this.#input.write(new TextEncoder().encode(text)).catch((error) =>
      this.#lose("its shell takes no more input", error)
    );
  }

  #lose(why: string, cause?: unknown): void {
    if (this.#lost) return;
    if (this.#frame) this.#lostWith = this.#frame.pid ?? this.#greeting?.pid;
    const said = (this.#noise + (this.#frame?.err.text() ?? "")).trim();
    this.#lost = new SessionLost(
      `The session with container ${this.ctid} was lost: ${why}${said === "" ? "" : ` and said: ${said}`}`,
      { cause, command: this.#frame?.script.display },
    );
    this.#opened.reject(this.#lost);
    // Nobody may be waiting for the greeting any more.
    this.#opened.promise.catch(() => {});
    this.#frame?.fail(this.#lost);
  }
}

/** One command under way. */
class Frame {
  readonly result = Promise.withResolvers<SessionResult>();
  readonly out: Collector;
  readonly err: Collector;
  /** Process id inside. */
  pid: number | undefined;
  settled = false;
  #overflow: Failure | undefined;

  constructor(
    readonly number: number,
    readonly script: Script,
    options: SessionRunOptions,
    stop: () => void,
  ) {
    const limit = options.maximumOutput ?? MAXIMUM_OUTPUT;
    const full = (stream: string) => {
      // The shell goes on to its next command only when this one has ended, and so does the session.
      this.#overflow = new Failure(
        ExitCode.Step,
        `Cannot hold the output of a command as its ${stream} exceeds ${limit} bytes`,
        { hint: "Send the output to a file inside the container" },
      );
      stop();
    };
    this.out = new Collector(limit, () => full("stdout"), (chunk) => options.onOutput?.(chunk, "stdout"));
    this.err = new Collector(limit, () => full("stderr"), (chunk) => options.onOutput?.(chunk, "stderr"));
    // An abandoned frame may have nobody who waits for it.
    this.result.promise.catch(() => {});
  }

  get stdout(): Uint8Array {
    return this.out.bytes();
  }

  get stderr(): Uint8Array {
    return this.err.bytes();
  }

  begin(stream: "out" | "err", pid: string | undefined): void {
    this[stream].begin();
    if (pid !== undefined) this.pid = Number(pid);
  }

  end(stream: "out" | "err", code: number): void {
    this[stream].code = code;
    if (this.out.code !== undefined && this.err.code !== undefined) {
      if (this.#overflow) return this.fail(this.#overflow);
      this.settled = true;
      this.result.resolve({ code: this.out.code, stdout: this.stdout, stderr: this.stderr });
    }
  }

  fail(error: Error): void {
    this.settled = true;
    this.result.reject(error);
  }
}

/** The bytes of one stream of one command. */
class Collector {
  code: number | undefined;
  #chunks: Uint8Array[] = [];
  #size = 0;
  #begun = false;

  constructor(
    readonly limit: number,
    readonly onFull: () => void,
    readonly onChunk: (chunk: Uint8Array) => void,
  ) {}

  /** What came between the request and its start belongs to a background child of an earlier command. */
  begin(): void {
    this.#begun = true;
    this.#chunks = [];
    this.#size = 0;
  }

  take(bytes: Uint8Array): void {
    if (this.code !== undefined || this.#size > this.limit) return;
    // The chunk's buffer is the reader's and may be used again.
    const own = bytes.slice();
    if (!this.#begun) {
      // Kept because a command that cannot even start (no such user) says so before its start, in as many pieces as it likes.
      this.#chunks.push(own);
      this.#chunks = [this.bytes().slice(-4096)];
      return;
    }
    this.#size += own.length;
    if (this.#size > this.limit) return this.onFull();
    this.#chunks.push(own);
    this.onChunk(own);
  }

  bytes(): Uint8Array {
    if (this.#chunks.length !== 1) this.#chunks = [concat(this.#chunks)];
    return this.#chunks[0]!;
  }

  text(): string {
    return tail(this.bytes(), 4096);
  }
}
