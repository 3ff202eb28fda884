/**
 * The log: one stream of events, rendered for a terminal, for a pipe or a file, or as JSON, and carried by `@std/log`.
 *
 * @module
 */

import { closeSync, constants, fdatasyncSync, fstatSync, lutimesSync, openSync, writeSync } from "node:fs";
import { BaseHandler, type LevelName, Logger, LogLevels, type LogRecord } from "@std/log";
import { CUT, head } from "../text.ts";
import { describeDifference } from "../difference.ts";
import { messageOf } from "../errors.ts";
import type { Outcome, RunEvent } from "../events.ts";
import type { TextSink } from "./standard_streams.ts";
import { MIN_SECRET_LENGTH, type Secret } from "../secret.ts";
import { formatDuration } from "../time.ts";

/** A file that is only ever appended to. */
export interface LogFile {
  /** Appends all of `bytes` in one piece. */
  append(bytes: Uint8Array): void;
  /** Makes what was appended outlast a crash of the machine. */
  sync(): void;
}

/**
 * Opens a regular file for {@linkcode RunLog.openFile}; it is made where it is missing, with permissions 0640. A file that is moved
 * or removed later, as rotation does, is replaced by a new one at the same path, and what comes then goes there. Throws for anything
 * that is not a regular file, such as a symbolic link or a FIFO, and for a file with a second name.
 */
export function openLogFile(path: string): LogFile {
  let torn = false;
  const append = (bytes: Uint8Array) => {
    // Opened each time, which takes some 20 µs: the path decides, whatever has become of the file of the last time.
    const file = openForAppending(path);
    try {
      // One write to a file that is open for appending is never torn by another writer, only by a disk that fills up.
      if (torn) torn = writeSync(file, NEWLINE) === 0;
      for (let at = 0; at < bytes.length; torn = at < bytes.length) at += writeSync(file, bytes, at);
    } finally {
      closeSync(file);
    }
  };
  append(new Uint8Array());
  return {
    append,
    sync() {
      const file = openForAppending(path);
      try {
        fdatasyncSync(file);
      } finally {
        closeSync(file);
      }
    },
  };
}

const NEWLINE = new Uint8Array([0x0a]);

/** Opens a log file, or makes the new one that takes its place. */
function openForAppending(path: string): number {
  // Without a wait for the reader of a FIFO. Node's functions need no permission to read where the log is.
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK;
  const create = constants.O_CREAT | constants.O_EXCL;
  // More than once, as another writer may make it, and rotation replace it, at the same time.
  for (let attempt = 1; attempt <= 5; attempt++) {
    // Not both at once: a symbolic link that somebody has put there would say where a file is made.
    const file = openIf(path, flags, "ENOENT") ?? openIf(path, flags | create, "EEXIST");
    if (file === undefined) continue;
    if (isAt(path, file)) return file;
    closeSync(file);
  }
  throw new Error("it is a symbolic link, or is replaced all the time");
}

/** Opens a file, or gives `undefined` for the error `code`. */
function openIf(path: string, flags: number, code: string): number | undefined {
  try {
    return openSync(path, flags, 0o640);
  } catch (error) {
    if (codeOf(error) === code) return undefined;
    throw codeOf(error) === "ENXIO" ? new Error("it is a FIFO") : error;
  }
}

/** Whether `path` itself is the open file. Throws unless it is a regular file with this one name. */
function isAt(path: string, file: number): boolean {
  try {
    if (!fstatSync(file).isFile()) throw new Error("it is not a regular file");
    // Deno follows symbolic links when it opens a file, and looking for one takes a permission to read. Setting a time follows
    // none: where the open file does not show it, it is another one. A whole second is the same for all who write just now.
    const seconds = Math.floor(Date.now() / 1000);
    lutimesSync(path, seconds, seconds);
    const { atimeMs, nlink } = fstatSync(file);
    if (nlink > 1) throw new Error("it has another name, a hard link");
    return nlink === 1 && atimeMs === seconds * 1000;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    // An append-only file (chattr +a) takes no times, and no link is one.
    if (codeOf(error) === "EPERM") return true;
    closeSync(file);
    throw error;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as { code?: string }).code;
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
  #closed = false;
  #concealed: readonly (readonly [form: string, name: string])[] = [];

  /** Starts a log. Until {@linkcode openFile} is called, the lines for the file are kept. */
  constructor(options: LogOptions) {
    // A file can have any name.
    const program = oneLine(visible(options.program));
    this.#console = options.form === "terminal"
      ? new TerminalHandler(options)
      : options.form === "json"
      ? new JsonHandler(options)
      : new LineHandler({ ...options, program });
    this.#console.onLeftOut = (lines) => {
      const text = `(${lines} lines of output are left out on stdout, as nobody read them in time)`;
      this.report({ event: "message", level: "info", text });
    };
    this.#file = new FileHandler("INFO", `${program}[${Deno.pid}]`);
    this.#logger = new Logger(program, "DEBUG", { handlers: [this.#console, this.#file] });
  }

  /** Logs an event. */
  readonly report = (event: RunEvent): void => {
    if (this.#closed) return;
    const level = levelOf(event);
    // Output can come by the gigabyte, and mostly nobody wants it.
    if (event.event === "output" && this.#console.level > LogLevels[level] && this.#file.level > LogLevels[level]) {
      return;
    }
    // Colours go first: they could stand in the middle of a secret.
    const clean = mapStrings(event, (text, key) => {
      const shown = visible(head(this.#redact(text.replace(COLOR, "")), LONGEST_TEXT));
      return ONE_LINE.has(key) ? oneLine(shown) : shown;
    }) as RunEvent;
    const text = renderLines(clean).join("\n");
    switch (level) {
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

  /**
   * Replaces a secret by its name in everything that is logged from now on, also in its encoded forms, and its beginning or end where
   * the rest was cut off.
   */
  conceal(secret: Secret): void {
    const own = [...formsOf(secret.reveal())].map((form): [string, string] => [form, `${secret}`]);
    // A longer form can contain a shorter one.
    this.#concealed = [...this.#concealed, ...own].sort(([a], [b]) => b.length - a.length);
  }

  /** Changes what stdout and stderr get. */
  setLevel(level: LevelName): void {
    this.#console.levelName = level;
  }

  /**
   * Appends to the file at `path` from now on, beginning with what was logged before. A file that cannot be written, or takes no
   * more, is said to be so, and the run goes on without; of the output of one step it gets 1 MiB.
   */
  openFile(path: string, level: LevelName, open: (path: string) => LogFile): void {
    const warn = (what: string, error: unknown) =>
      this.report({
        event: "message",
        level: "warning",
        text: `Cannot write the log file "${path}"${what}: ${messageOf(error)}`,
      });
    try {
      const file = open(path);
      this.#file.open(file, level, (error) => warn(" any more, so what follows is logged here only", error));
    } catch (error) {
      this.#file.discard();
      warn(", so this run is logged here only", error);
    }
  }

  /** Writes out everything. */
  flush(): void {
    this.#console.finish();
    this.#file.flush();
  }

  /** Writes out everything, and takes nothing any more: the last line stays the last one. */
  close(): void {
    this.flush();
    this.#closed = true;
  }

  #redact(text: string): string {
    for (const [form, name] of this.#concealed) text = text.replaceAll(form, () => name);
    if (this.#concealed.length === 0 || !text.includes(CUT)) return text;
    return text.split(CUT).map((part, i, parts) => this.#redactPart(part, i > 0, i < parts.length - 1)).join(CUT);
  }

  /** Conceals a secret of which `part` has only the end, at its start, or only the beginning, at its end. */
  #redactPart(part: string, cutBefore: boolean, cutAfter: boolean): string {
    let start: [length: number, name: string] = [0, ""];
    let end = start;
    for (const [form, name] of this.#concealed) {
      // A secret can be longer than what is left between two cuts.
      if (cutBefore && cutAfter && part.length >= MIN_SECRET_LENGTH && form.includes(part)) return name;
      for (let n = Math.min(form.length - 1, part.length); cutBefore && n >= MIN_SECRET_LENGTH && n > start[0]; n--) {
        if (part.startsWith(form.slice(-n))) start = [n, name];
      }
      for (let n = Math.min(form.length - 1, part.length); cutAfter && n >= MIN_SECRET_LENGTH && n > end[0]; n--) {
        if (part.endsWith(form.slice(0, n))) end = [n, name];
      }
    }
    return start[1] + part.slice(start[0], Math.max(start[0], part.length - end[0])) + end[1];
  }
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
      return [paragraph(event.text)];
    case "run started":
      return [`${event.check ? "Checking" : "Setting up"} container ${event.ctid} (${event.name})`];
    case "step started":
      return [`Step ${event.number}: ${event.title}`];
    case "step progress":
      return [paragraph(`Step ${event.number}: ${event.title}: ${event.text}`)];
    case "output":
      return [quoted(event.text)];
    case "step finished":
      return [
        `Step ${event.number}: ${event.title}: ${event.outcome} (${formatDuration(event.milliseconds)})`,
        ...event.differences.map((difference) => indented(describeDifference(difference))),
        ...(event.note === undefined ? [] : [indented(event.note)]),
      ];
    case "failure":
      return renderFailure(event);
    case "run finished":
      return [...renderSummary(event), paragraph(event.text)];
  }
}

function renderFailure(event: RunEvent & { event: "failure" }): string[] {
  return [
    paragraph(event.step === undefined ? event.message : `Step "${event.step}" failed: ${event.message}`),
    ...(event.command === undefined ? [] : [`$ ${event.command.replaceAll("\n", "\n  ")}`]),
    ...(event.output ?? []).map(quoted),
    ...(event.meaning === undefined ? [] : [paragraph(`Exit code ${event.code}: ${event.meaning}`)]),
    ...(event.hint === undefined ? [] : [paragraph(`What to do: ${event.hint}`)]),
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

function indented(text: string): string {
  return `    ${paragraph(text)}`;
}

/** A text whose further lines cannot pass for lines of their own. */
function paragraph(text: string): string {
  return text.replaceAll("\n", "\n    ");
}

/** What a command said. */
function quoted(text: string): string {
  return `| ${text.replaceAll("\n", "\n| ")}`;
}

/** The event of a record, as {@linkcode RunLog.report} put it in. */
function eventOf(record: LogRecord): RunEvent {
  return record.args[0] as RunEvent;
}

/** Whether it is what may come by the gigabyte. */
function isOutput(record: LogRecord): boolean {
  const { event } = eventOf(record);
  return event === "output" || event === "step progress";
}

function fatalName(levelName: string): string {
  return levelName === "CRITICAL" ? "FATAL" : levelName;
}

/** Each line of the message with time and level of its own, so that no output can pass for a line of the log. */
function stampedLines(record: LogRecord, program: string, text = record.msg): string {
  const stamp = `${record.datetime.toISOString()} ${fatalName(record.levelName)} ${program}: `;
  return text.split("\n").map((line) => `${stamp}${line}\n`).join("");
}

/** How much waits for a reader, in characters, before output is left out for who reads too slowly. */
const LONGEST_QUEUE = 8 * 1024 * 1024;

abstract class ConsoleHandler extends BaseHandler {
  protected readonly options: LogOptions;
  /** Is told how many lines of output were left out, when something follows them. */
  onLeftOut: (lines: number) => void = () => {};
  #leftOut = 0;

  constructor(options: LogOptions) {
    super(options.level);
    this.options = options;
  }

  override handle(record: LogRecord): void {
    if (!this.wants(record)) return;
    if (isOutput(record) && (this.sink(record).waiting ?? 0) > LONGEST_QUEUE) return void this.#leftOut++;
    const leftOut = this.#leftOut;
    this.#leftOut = 0;
    if (leftOut > 0) this.onLeftOut(leftOut);
    this.show(record);
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

/** How much waits for a terminal, in characters, before the live line is no longer drawn. */
const LONGEST_QUEUE_OF_FRAMES = 4096;

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
        if (this.#live) this.#live.text = event.text.replaceAll("\n", " ");
        return;
      case "step finished": {
        this.#live = undefined;
        const [mark, color] = MARKS[event.outcome];
        const title = event.title.length > 48 ? `${event.title.slice(0, 47)}…` : event.title.padEnd(48);
        const duration = formatDuration(event.milliseconds).padStart(9);
        this.#print(
          `  ${this.#paint(color, mark)} ${title} ${this.#paint(color, event.outcome.padEnd(12))} ${duration}`,
        );
        const more = [...event.differences.map(describeDifference), ...(event.note === undefined ? [] : [event.note])];
        if (event.outcome === "would change" || this.level < 20) {
          for (const line of more.join("\n").split("\n")) if (line) this.#print(`      ${line}`, "2");
        }
        return;
      }
      case "failure":
        for (const line of renderFailure(event).join("\n").split("\n")) {
          this.#print(`      ${line}`, undefined, this.sink(record));
        }
        return;
      case "run finished": {
        if (event.ctid === undefined) return;
        const word = event.code === 0 ? "completed" : event.code === 10 ? "would change" : "failed";
        const counts = countsOf(event);
        this.#print(
          `${event.ctid} ${word}${counts === "" ? "" : `: ${counts}`} in ${formatDuration(event.milliseconds)}`,
          event.code === 0 || event.code === 10 ? "1" : "1;31",
        );
        return this.#print(paragraph(event.text), "2");
      }
      case "output":
        return this.#print(`      ${quoted(event.text)}`, "2");
      case "message":
        // The requirements' lines are for the log; on a terminal, the steps say the same.
        if (event.level === "info" && this.level >= 20) return;
        for (const line of paragraph(event.text).split("\n")) {
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
    // Frames are for now: a terminal that is stopped does not want them later.
    if (!this.#live || !this.options.color || (this.options.stdout.waiting ?? 0) > LONGEST_QUEUE_OF_FRAMES) return;
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

/** How much output of one step goes to the file, in bytes: it is everybody's. stdout has a bound of its own, {@linkcode LONGEST_QUEUE}. */
const OUTPUT_OF_STEP = 1024 * 1024;

/** Appends each record as whole lines to a file. */
class FileHandler extends BaseHandler {
  readonly #program: string;
  #pending: LogRecord[] | undefined = [];
  #file: LogFile | undefined;
  #onRefusal: (error: unknown) => void = () => {};
  /** How many lines could not be written, since the last one that could. */
  #lost = 0;
  /** How much of the output of this step has been written, and how much has not. */
  #output = { written: 0, lines: 0, bytes: 0 };

  constructor(level: LevelName, program: string) {
    super(level);
    this.#program = program;
  }

  /** Appends to `file` from now on. The first time that it takes no more, `onRefusal` is told; it is tried again for each record. */
  open(file: LogFile, level: LevelName, onRefusal: (error: unknown) => void): void {
    this.levelName = level;
    this.#file = file;
    this.#onRefusal = onRefusal;
    const pending = this.#pending ?? [];
    this.#pending = undefined;
    for (const record of pending) this.handle(record);
  }

  discard(): void {
    this.#pending = undefined;
  }

  override handle(record: LogRecord): void {
    if (this.#pending) return void this.#pending.push(record);
    if (record.level < this.level || this.#file === undefined) return;
    const lines = stampedLines(record, this.#program);
    if (isOutput(record)) {
      const { length } = lines;
      if (this.#output.written + length > OUTPUT_OF_STEP) {
        this.#output.lines++;
        this.#output.bytes += length;
        return;
      }
      this.#output.written += length;
    } else this.#endOutput(record);
    this.log(lines);
  }

  /** Output is over when something else is said. */
  #endOutput(record: LogRecord): void {
    const { lines, bytes } = this.#output;
    if (lines > 0) {
      const text = `(${lines} more lines of output, some ${Math.ceil(bytes / 1024)} KiB, are left out of this file)`;
      this.log(stampedLines(record, this.#program, text));
    }
    if (eventOf(record).event === "step started") this.#output = { written: 0, lines: 0, bytes: 0 };
    else this.#output = { ...this.#output, lines: 0, bytes: 0 };
  }

  log(text: string): void {
    const lost = this.#lost;
    const notice = `${new Date().toISOString()} WARN ${this.#program}: (${lost} lines could not be written here)\n`;
    try {
      this.#file?.append(new TextEncoder().encode(lost === 0 ? text : notice + text));
      this.#lost = 0;
    } catch (error) {
      // A full disk must not end a run that could do its work; stdout and stderr have it all.
      this.#lost += text.split("\n").length - 1;
      if (lost === 0) this.#onRefusal(error);
    }
  }

  flush(): void {
    try {
      this.#file?.sync();
    } catch { /* what cannot be written has been told */ }
  }
}

/** Every form in which output may show a secret. */
function formsOf(value: string): Set<string> {
  const bytes = new TextEncoder().encode(value);
  const json = JSON.stringify(value).slice(1, -1);
  const escaped = (text: string, characters: RegExp) =>
    text.replace(characters, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
  const url = encodeURIComponent(value.toWellFormed());
  const strict = url.replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
  const urls = [url, strict].flatMap((text) => [text, text.replaceAll("%20", "+")]);
  const base64 = [
    bytes.toBase64().replace(/=+$/, ""),
    // Within something longer, such as "user:token", only the characters that are all the secret's own are known.
    ...[0, 1, 2].map((before) => {
      const text = new Uint8Array([...new Uint8Array(before), ...bytes]).toBase64();
      return text.slice(Math.ceil(before * 8 / 6), Math.floor((before + bytes.length) * 8 / 6));
    }),
    // base64 and openssl break lines.
    ...[57, 48].flatMap((length) =>
      bytes.length <= length ? [] : pieces(bytes, length).map((piece) => piece.toBase64())
    ),
  ];
  const forms = [
    value,
    value.trim(),
    // Output is logged line by line, and a secret from a file may end with a line break. Shorter lines, such as "}", tell nothing.
    ...value.split("\n").map((line) => line.trim()).filter((line) => line.length >= 8),
    value.replaceAll("'", `'\\''`),
    json,
    json.replaceAll("/", "\\/"),
    escaped(json, /[\u0080-\uffff]/g),
    escaped(json, /[<>&\u2028\u2029]/g),
    ...urls,
    ...urls.map((text) => text.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase())),
    ...base64,
    ...base64.map((text) => text.replaceAll("+", "-").replaceAll("/", "_")),
  ];
  return new Set(forms.map((form) => form.replace(COLOR, "")).filter((form) => form.length >= MIN_SECRET_LENGTH));
}

function pieces(bytes: Uint8Array, length: number): Uint8Array[] {
  return Array.from(
    { length: Math.ceil(bytes.length / length) },
    (_, i) => bytes.subarray(i * length, (i + 1) * length),
  );
}

/** How much of one text is logged, in characters: more is a file, not a message. */
const LONGEST_TEXT = 64 * 1024;

/** What stands in the middle of a line, where a line break would begin one that looks like another of ours. */
const ONE_LINE: ReadonlySet<string> = new Set(["title", "step", "name", "again"]);

/** What many programs colour their output with. */
const COLOR = new RegExp(`${String.fromCharCode(0x1b)}\\[[\\d;]*m`, "g");

/** Control characters, which could drive a terminal or forge a line, in a visible form. Newlines and tabs stay. */
function visible(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(/[^\P{Cc}\n\t]|[\p{Bidi_Control}\u2028\u2029]/gu, (character) => {
    const code = character.codePointAt(0)!;
    return code <= 0xff ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

function oneLine(text: string): string {
  return text.replaceAll("\n", "\\x0a");
}

function mapStrings(value: unknown, change: (text: string, key: string) => string, key = ""): unknown {
  if (typeof value === "string") return change(value, key);
  if (Array.isArray(value)) return value.map((element) => mapStrings(element, change, key));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, element]) => [key, mapStrings(element, change, key)]));
  }
  return value;
}
