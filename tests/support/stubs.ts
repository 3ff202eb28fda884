/**
 * Stand-ins for tests: a container that answers what a test says, a host, and the system of a run. All are strict: what
 * a test did not announce fails it.
 *
 * @module
 */

import { type CommandOptions, type Connection, failureOf, Output } from "../../lib/container/container.ts";
import { Engine } from "../../lib/engine.ts";
import type { Difference, Outcome, RunEvent } from "../../lib/events.ts";
import type { Step } from "../../lib/step.ts";
import type { Greeting } from "../../lib/container/protocol.ts";
import type { Host } from "../../lib/host/host.ts";
import type { System } from "../../lib/run/system.ts";
import type { Script } from "../../lib/shell.ts";

/** What a command answers: its stdout, or all that it leaves behind. */
export type Answer = string | { readonly code?: number; readonly stdout?: string; readonly stderr?: string };

/** Answers commands that match; `undefined` passes a command on to the next rule. */
export type Rule = (script: Script, verb: "read" | "write", options: CommandOptions) => Answer | undefined;

/**
 * A rule for commands whose text contains `part`. Several answers are given one after the other; the last one stays.
 */
export function on(
  part: string | RegExp,
  ...answers: (Answer | ((script: Script, options: CommandOptions) => Answer))[]
): Rule {
  let next = 0;
  return (script, _verb, options) => {
    if (!(typeof part === "string" ? script.display.includes(part) : part.test(script.display))) return undefined;
    const answer = answers[Math.min(next++, answers.length - 1)]!;
    return typeof answer === "function" ? answer(script, options) : answer;
  };
}

/** A container that answers by rules and notes what it was asked. */
export class StubContainer implements Connection {
  readonly ctid = 901;
  /** The commands that only looked. */
  readonly reads: string[] = [];
  /** The commands that could change something. */
  readonly writes: string[] = [];
  /** What stood on the stdin of each command that could change something. */
  readonly inputs: string[] = [];
  readonly #rules: readonly Rule[];

  constructor(...rules: Rule[]) {
    this.#rules = rules;
  }

  read(script: Script, options: CommandOptions = {}): Promise<Output> {
    this.reads.push(script.display);
    return this.#answer(script, "read", options);
  }

  write(script: Script, options: CommandOptions = {}): Promise<Output> {
    this.writes.push(script.display);
    const { stdin = "" } = options;
    this.inputs.push(stdin instanceof Uint8Array ? new TextDecoder().decode(stdin) : String(stdin));
    return this.#answer(script, "write", options);
  }

  prepare(): void {}

  async open(): Promise<void> {}

  async interrupt(): Promise<void> {}

  async close(): Promise<void> {}

  #answer(script: Script, verb: "read" | "write", options: CommandOptions): Promise<Output> {
    for (const rule of this.#rules) {
      const answer = rule(script, verb, options);
      if (answer === undefined) continue;
      const { code = 0, stdout = "", stderr = "" } = typeof answer === "string" ? { stdout: answer } : answer;
      const bytes = (text: string) => new TextEncoder().encode(text);
      const output = new Output(script.display, { code, stdout: bytes(stdout), stderr: bytes(stderr) });
      const { codes = [0] } = options;
      return codes === "any" || codes.includes(code) ? Promise.resolve(output) : Promise.reject(failureOf(output));
    }
    return Promise.reject(new Error(`The test did not expect the ${verb} command: ${script.display}`));
  }
}

/** What the shell of a container with this host name says. */
function greetingOf(hostname: string, machineId = "0123456789abcdef"): Greeting {
  const tools = { timeout: "gnu", setsid: true, become: "runuser", resetsSignals: true } as const;
  return { ...tools, pid: 42, runFolder: "/run", hostname, machineId, rootMade: "-", started: "7" };
}

/** A host that answers as `answers` says, and fails the test for everything else. */
export function stubHost(answers: Partial<Host> = {}): Host {
  const unexpected = (what: string) => (...args: unknown[]) =>
    Promise.reject(new Error(`The test did not expect ${what}(${JSON.stringify(args)}) on the host`));
  return {
    request: unexpected("request"),
    connectError: unexpected("connectError"),
    file: unexpected("file"),
    folder: unexpected("folder"),
    containerStatus: unexpected("containerStatus"),
    read: unexpected("read"),
    writeFile: unexpected("writeFile"),
    editFile: unexpected("editFile"),
    removeFile: unexpected("removeFile"),
    changeContainer: unexpected("changeContainer"),
    write: unexpected("write"),
    interrupt() {},
    ...answers,
  };
}

/** Takes one step through the engine. */
export async function ensure<State>(
  step: Step<State>,
  container: StubContainer,
  options: { check?: boolean; host?: Partial<Host> } = {},
): Promise<{ outcome: Outcome; differences: readonly Difference[]; note: string | undefined; events: RunEvent[] }> {
  const events: RunEvent[] = [];
  const engine = new Engine({
    container,
    host: stubHost(options.host),
    check: options.check ?? false,
    report: (event) => events.push(event),
    pause: () => Promise.resolve(),
  });
  await engine.ensure(step);
  const finished = events.find((event) => event.event === "step finished")!;
  if (finished.event !== "step finished") throw new Error("unreachable");
  return { outcome: finished.outcome, differences: finished.differences, note: finished.note, events };
}

/** What a run in {@linkcode stubSystem} left behind. */
export class StubRun {
  /** All that went to stdout. */
  stdout = "";
  /** All that went to stderr. */
  stderr = "";
  /** All that went to the log file. */
  log = "";
  /** The exit codes, of which there has to be one. */
  readonly exits: number[] = [];
  /** The argument vectors that `pct` was run with. */
  readonly pctCalls: string[][] = [];
  /** Whether the lock is held. */
  locked = false;
  /** Tells the run of an error that nobody waits for. */
  unhandled: (error: unknown) => void = () => {};
  /** Sends a signal to the run. */
  signal: (signal: "SIGHUP" | "SIGINT" | "SIGTERM") => void = () => {};
}

/** What differs from an ordinary run: `901 Portainer`, running, without configuration files. */
export interface StubOptions {
  readonly args?: readonly string[];
  readonly program?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly terminal?: boolean;
  /** What `pct status` does. */
  readonly status?: Answer;
  readonly hostname?: string;
  readonly container?: StubContainer;
  /** The JSON files that there are. */
  readonly files?: Readonly<Record<string, unknown>>;
  readonly host?: Partial<Host>;
  readonly lock?: () => { release(): void };
  readonly openLogFile?: System["openLogFile"];
}

/** System in which nothing is real. */
export function stubSystem(options: StubOptions = {}): [System, StubRun] {
  const run = new StubRun();
  const container = options.container ?? new StubContainer();
  return [{
    args: options.args ?? ["901"],
    program: options.program ?? "/usr/local/phoenix_hypervisor/bin/phoenix_hypervisor_setup_901",
    environment: (name) => options.environment?.[name],
    stdout: { write: (text) => run.stdout += text, terminal: options.terminal ?? false },
    stderr: { write: (text) => run.stderr += text },
    drain: async () => {},
    pct: {
      run(args) {
        run.pctCalls.push([...args]);
        if (args[0] !== "status") throw new Error(`The test did not expect pct ${args.join(" ")}`);
        const answer = options.status ?? "status: running\n";
        const { code = 0, stdout = "", stderr = "" } = typeof answer === "string" ? { stdout: answer } : answer;
        return Promise.resolve({ code, stdout, stderr });
      },
      abandon() {},
    },
    host: () => stubHost({ file: () => Promise.resolve(undefined), ...options.host }),
    connect: (_ctid, { onOpen }) => ({
      ctid: container.ctid,
      read: (script, more) => container.read(script, more),
      write: (script, more) => container.write(script, more),
      prepare() {},
      open() {
        onOpen?.(greetingOf(options.hostname ?? "Portainer"));
        return Promise.resolve();
      },
      interrupt: () => container.interrupt(),
      close: () => container.close(),
    }),
    lockedBy: () => undefined,
    readJson: (path) => options.files?.[path],
    openLogFile: options.openLogFile ?? (() => ({
      append: (bytes) => void (run.log += new TextDecoder().decode(bytes)),
      sync() {},
    })),
    lock: options.lock ?? (() => {
      run.locked = true;
      return { release: () => void (run.locked = false) };
    }),
    onSignal: (handle) => run.signal = handle,
    onUnhandled: (handle) => run.unhandled = handle,
    exit: (code) => void run.exits.push(code),
  }, run];
}
