/**
 * The log: one stream of events, rendered for a terminal, for a pipe or a file, or as JSON, and carried by `@std/log`.
 *
 * @module
 */

import { BaseHandler, type LevelName, Logger, type LogRecord } from "@std/log";
import { describe } from "./engine.ts";
import { messageOf } from "./errors.ts";
import type { Outcome, RunEvent } from "./events.ts";
import type { Secret } from "./secret.ts";
import { formatDuration } from "./time.ts";

/** Takes text for a stream. */
export interface TextSink {
  /** Writes all of `text`, at once. Never throws. */
  write(text: string): void;
}

/** A file that is only ever appended to. */
export interface LogFile {
  /** Appends all of `bytes` in one piece. */
  append(bytes: Uint8Array): void;
  /** Makes what was appended outlast a crash of the machine. */
  sync(): void;
}

/** Opens a file for {@linkcode RunLog.openFile}; it is made where it is missing, readable by its owner and group. */
export function openLogFile(path: string): LogFile {
  const file = Deno.openSync(path, { append: true, create: true, mode: 0o640 });
  // One write to a file that is open for appending is never torn by another writer.
  return { append: (bytes) => void file.writeSync(bytes), sync: () => file.syncDataSync() };
}

/** How the log looks and where it goes. */
export interface LogOptions {
  /** `terminal`: a live line for each step; `lines`: timestamped lines; `json`: one JSON object a line. */
  readonly form: "terminal" | "lines" | "json";
  /** The lowest level for stdout and stderr. */
  readonly level: LevelName;
  /** Whether a terminal gets colours. */
  readonly color: boolean;
  /** The program's name, for the lines. */
  readonly program: string;
  /** Where everything below a warning goes. */
  readonly stdout: TextSink;
  /** Where warnings and errors go. */
  readonly stderr: TextSink;
}

/** The log of one run. */
export class RunLog {
  readonly #logger: Logger;
  readonly #console: ConsoleHandler;
  readonly #file: FileHandler;
  readonly #concealed: [value: string, name: string][] = [];

  /** Starts a log. Until {@linkcode openFile} is called, the lines for the file are kept. */
  constructor(options: LogOptions) {
    this.#console = options.form === "terminal"
      ? new TerminalHandler(options)
      : options.form === "json"
      ? new JsonHandler(options)
      : new LineHandler(options);
    this.#file = new FileHandler("INFO", `${options.program}[${Deno.pid}]`);
    this.#logger = new Logger(options.program, "DEBUG", { handlers: [this.#console, this.#file] });
  }

  /** Logs an event. */
  readonly report = (event: RunEvent): void => {
    // Colours go first: they could stand in the middle of a secret.
    const clean = mapStrings(event, (text) => visible(this.#redact(text.replace(COLOR, "")))) as RunEvent;
    const text = renderLines(clean).join("\n");
    switch (levelOf(clean)) {
      case "DEBUG":
        return void this.#logger.debug(text, clean);
      case "WARN":
        return void this.#logger.warn(text, clean);
      case "ERROR":
        return void this.#logger.error(text, clean);
      case "CRITICAL":
        return void this.#logger.critical(text, clean);
      default:
        return void this.#logger.info(text, clean);
    }
  };

  /** Replaces a secret by its name in everything that is logged from now on, also in its encoded forms. */
  conceal(secret: Secret): void {
    const value = secret.reveal();
    const json = JSON.stringify(value).slice(1, -1);
    const bytes = new TextEncoder().encode(value);
    // Output is logged line by line, and a secret from a file may end with a line break. Shorter lines, such as "}", tell nothing.
    const lines = value.split("\n").map((line) => line.trim()).filter((line) => line.length >= 8);
    const forms = [value, value.trim(), ...lines, json, encodeURIComponent(value), bytes.toBase64().replace(/=+$/, "")];
    for (const form of new Set(forms.filter((form) => form !== ""))) {
      this.#concealed.push([form, `${secret}`]);
    }
    // A longer form can contain a shorter one.
    this.#concealed.sort(([a], [b]) => b.length - a.length);
  }

  /** Changes what stdout and stderr get. */
  setLevel(level: LevelName): void {
    this.#console.levelName = level;
  }

  /**
   * Appends to the file at `path` from now on, beginning with what was logged before. A file that cannot be written is said to be
   * so, and the run goes on without.
   */
  openFile(path: string, level: LevelName, open: (path: string) => LogFile): void {
    try {
      this.#file.open(open(path), level);
    } catch (error) {
      this.#file.discard();
      this.report({
        event: "message",
        level: "warning",
        text: `Cannot write the log file "${path}", so this run is logged here only: ${messageOf(error)}`,
      });
    }
  }

  /** Writes out everything. */
  flush(): void {
    this.#console.finish();
    this.#file.flush();
  }

  #redact(text: string): string {
    for (const [value, name] of this.#concealed) text = text.replaceAll(value, name);
    return text;
  }
}

/** stdout or stderr of this process. A reader that went away is no reason to stop. */
export function processSink(stream: { writeSync(bytes: Uint8Array): number }): TextSink {
  let gone = false;
  return {
    write(text) {
      const bytes = new TextEncoder().encode(text);
      try {
        for (let at = 0; !gone && at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
      } catch {
        gone = true;
      }
    },
  };
}

function levelOf(event: RunEvent): LevelName {
  switch (event.event) {
    case "message":
      return ({ debug: "DEBUG", info: "INFO", warning: "WARN", error: "ERROR", fatal: "CRITICAL" } as const)[
        event.level
      ];
    case "output":
    case "step progress":
      return "DEBUG";
    case "failure":
      return "ERROR";
    case "run finished":
      return event.code === 0 || event.code === 10 ? "INFO" : "ERROR";
    default:
      return "INFO";
  }
}

/** The event as lines of plain text. */
function renderLines(event: RunEvent): string[] {
  switch (event.event) {
    case "message":
      return event.text.split("\n");
    case "run started":
      return [`${event.check ? "Checking" : "Setting up"} container ${event.ctid} (${event.name})`];
    case "step started":
      return [`Step ${event.number}: ${event.title}`];
    case "step progress":
      return [`Step ${event.number}: ${event.title}: ${event.text}`];
    case "output":
      return [`| ${event.text}`];
    case "step finished":
      return [
        `Step ${event.number}: ${event.title}: ${event.outcome} (${formatDuration(event.milliseconds)})`,
        ...event.differences.flatMap((difference) => indented(describe(difference))),
        ...(event.note === undefined ? [] : indented(event.note)),
      ];
    case "failure":
      return renderFailure(event);
    case "run finished":
      return [...renderSummary(event), event.text];
  }
}

function renderFailure(event: RunEvent & { event: "failure" }): string[] {
  return [
    ...(event.step === undefined ? event.message : `Step "${event.step}" failed: ${event.message}`).split("\n"),
    ...(event.command === undefined
      ? []
      : event.command.split("\n").map((line, i) => `${i === 0 ? "$" : " "} ${line}`)),
    ...(event.output ?? []).map((line) => `| ${line}`),
    ...(event.meaning === undefined ? [] : [`Exit code ${event.code}: ${event.meaning}`]),
    ...(event.hint === undefined ? [] : [`What to do: ${event.hint}`]),
    `Run again: ${event.again}`,
  ];
}

function renderSummary(event: RunEvent & { event: "run finished" }): string[] {
  const counts = countsOf(event);
  if (counts === "") return [];
  const slowest = event.slowest.map((step) => `${step.title} (${formatDuration(step.milliseconds)})`).join(", ");
  return [
    `${counts} in ${formatDuration(event.milliseconds)}${slowest === "" ? "" : `; slowest: ${slowest}`}`,
  ];
}

function countsOf(event: RunEvent & { event: "run finished" }): string {
  return Object.entries(event.outcomes).map(([outcome, count]) => `${count} ${outcome}`).join(", ");
}

function indented(text: string): string[] {
  return text.split("\n").map((line) => `    ${line}`);
}

/** The event of a record, as {@linkcode RunLog.report} put it in. */
function eventOf(record: LogRecord): RunEvent {
  return record.args[0] as RunEvent;
}

function fatalName(levelName: string): string {
  return levelName === "CRITICAL" ? "FATAL" : levelName;
}

/** Each line of the message with time and level of its own, so that no output can pass for a line of the log. */
function stampedLines(record: LogRecord, program: string): string {
  const head = `${record.datetime.toISOString()} ${fatalName(record.levelName)} ${program}: `;
  return record.msg.split("\n").map((line) => `${head}${line}\n`).join("");
}

abstract class ConsoleHandler extends BaseHandler {
  protected readonly options: LogOptions;

  constructor(options: LogOptions) {
    super(options.level);
    this.options = options;
  }

  override handle(record: LogRecord): void {
    if (this.wants(record)) this.show(record);
  }

  protected wants(record: LogRecord): boolean {
    return record.level >= this.level;
  }

  /** Unused: `handle` needs the record. */
  log(): void {}

  abstract show(record: LogRecord): void;

  /** Leaves the terminal as a program that has ended should. */
  finish(): void {}

  protected sink(record: LogRecord): TextSink {
    return record.level >= 30 ? this.options.stderr : this.options.stdout;
  }
}

class LineHandler extends ConsoleHandler {
  show(record: LogRecord): void {
    this.sink(record).write(stampedLines(record, this.options.program));
  }
}

class JsonHandler extends ConsoleHandler {
  show(record: LogRecord): void {
    const head = { time: record.datetime.toISOString(), level: "" };
    // A message has a level of its own, by another name.
    const line = { ...head, ...eventOf(record), level: fatalName(record.levelName) };
    this.sink(record).write(`${JSON.stringify(line)}\n`);
  }
}

const MARKS: Record<Outcome, [mark: string, color: number]> = {
  unchanged: ["✔", 32],
  changed: ["✔", 33],
  "would change": ["~", 33],
  skipped: ["-", 90],
  failed: ["✖", 31],
};

const SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

/** For a person: one line for each step, alive while the step is under way. */
class TerminalHandler extends ConsoleHandler {
  #live: { title: string; since: number; text: string } | undefined;
  #timer: number | undefined;
  #frame = 0;

  /** Progress belongs to the live line, which is there at every level that shows steps. */
  protected override wants(record: LogRecord): boolean {
    return super.wants(record) || (eventOf(record).event === "step progress" && this.level <= 20);
  }

  show(record: LogRecord): void {
    const event = eventOf(record);
    switch (event.event) {
      case "run started":
        return this.#print(`${event.ctid} ${event.name} · ${event.check ? "check" : "running"}`, "1");
      case "step started":
        this.#live = { title: event.title, since: performance.now(), text: "" };
        this.#timer ??= setInterval(() => this.#draw(), 100) as unknown as number;
        Deno.unrefTimer(this.#timer);
        return this.#draw();
      case "step progress":
        if (this.#live) this.#live.text = event.text;
        return;
      case "step finished": {
        this.#live = undefined;
        const [mark, color] = MARKS[event.outcome];
        const title = event.title.length > 48 ? `${event.title.slice(0, 47)}…` : event.title.padEnd(48);
        const duration = formatDuration(event.milliseconds).padStart(9);
        this.#print(
          `  ${this.#paint(color, mark)} ${title} ${this.#paint(color, event.outcome.padEnd(12))} ${duration}`,
        );
        const more = [...event.differences.map(describe), ...(event.note === undefined ? [] : [event.note])];
        if (event.outcome === "would change" || this.level < 20) {
          for (const line of more.join("\n").split("\n")) if (line) this.#print(`      ${line}`, "2");
        }
        return;
      }
      case "failure":
        for (const line of renderFailure(event)) this.#print(`      ${line}`, undefined, this.sink(record));
        return;
      case "run finished": {
        if (event.ctid === undefined) return;
        const word = event.code === 0 ? "completed" : event.code === 10 ? "would change" : "failed";
        const counts = countsOf(event);
        this.#print(
          `${event.ctid} ${word}${counts === "" ? "" : `: ${counts}`} in ${formatDuration(event.milliseconds)}`,
          event.code === 0 || event.code === 10 ? "1" : "1;31",
        );
        return this.#print(event.text, "2");
      }
      case "output":
        return this.#print(`      | ${event.text}`, "2");
      case "message":
        // The requirements' lines are for the log; on a terminal, the steps say the same.
        if (event.level === "info" && this.level >= 20) return;
        for (const line of event.text.split("\n")) {
          this.#print(
            event.level === "info" || event.level === "debug" ? `  ${line}` : `  ${this.#labelled(event.level, line)}`,
          );
        }
    }
  }

  override finish(): void {
    if (this.#timer !== undefined) clearInterval(this.#timer);
    this.#timer = undefined;
    this.#live = undefined;
    this.#clear();
  }

  #labelled(level: "warning" | "error" | "fatal", line: string): string {
    return level === "warning" ? `${this.#paint(33, "!")} ${line}` : `${this.#paint(31, "✖")} ${line}`;
  }

  #print(line: string, style?: string, sink: TextSink = this.options.stdout): void {
    this.#clear();
    sink.write(`${style === undefined ? line : this.#paint(style, line)}\n`);
    this.#draw();
  }

  #draw(): void {
    if (!this.#live || !this.options.color) return;
    const spinner = SPINNER[this.#frame++ % SPINNER.length]!;
    const since = formatDuration(performance.now() - this.#live.since);
    const line = `  ${spinner} ${this.#live.title} ${since}${this.#live.text === "" ? "" : ` · ${this.#live.text}`}`;
    this.options.stdout.write(`\r\x1b[K${this.#paint(36, line.slice(0, columns() - 1))}`);
  }

  #clear(): void {
    if (this.options.color) this.options.stdout.write("\r\x1b[K");
  }

  #paint(style: string | number, text: string): string {
    return this.options.color ? `\x1b[${style}m${text}\x1b[0m` : text;
  }
}

function columns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80;
  }
}

/** Appends each record as whole lines to a file. */
class FileHandler extends BaseHandler {
  readonly #program: string;
  #pending: LogRecord[] | undefined = [];
  #file: LogFile | undefined;

  constructor(level: LevelName, program: string) {
    super(level);
    this.#program = program;
  }

  open(file: LogFile, level: LevelName): void {
    this.levelName = level;
    this.#file = file;
    const pending = this.#pending ?? [];
    this.#pending = undefined;
    for (const record of pending) this.handle(record);
  }

  discard(): void {
    this.#pending = undefined;
  }

  override handle(record: LogRecord): void {
    if (this.#pending) this.#pending.push(record);
    else if (record.level >= this.level) this.log(stampedLines(record, this.#program));
  }

  log(text: string): void {
    try {
      this.#file?.append(new TextEncoder().encode(text));
    } catch {
      // A full disk must not end a run that could do its work; stdout and stderr have it all.
      this.#file = undefined;
    }
  }

  flush(): void {
    try {
      this.#file?.sync();
    } catch { /* not every file can be synced */ }
  }
}

/** What many programs colour their output with. */
const COLOR = new RegExp(`${String.fromCharCode(0x1b)}\\[[\\d;]*m`, "g");

/** Control characters, which could drive a terminal or forge a line, in a visible form. Newlines and tabs stay. */
function visible(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(/[^\P{Cc}\n\t]|\p{Bidi_Control}/gu, (character) => {
    const code = character.codePointAt(0)!;
    return code <= 0xff ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

function mapStrings(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((element) => mapStrings(element, change));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, element]) => [key, mapStrings(element, change)]));
  }
  return value;
}
