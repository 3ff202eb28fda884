/**
 * What a run says on stdout and stderr: to a person at a terminal, as lines, or as JSON.
 *
 * @module
 */

import { BaseHandler, type LevelName, LogLevels, type LogRecord } from "@std/log";
import { describeDifference } from "../difference.ts";
import { ExitCode } from "../errors.ts";
import type { Outcome, RunEvent } from "../events.ts";
import { CUT } from "../text.ts";
import { formatDuration } from "../time.ts";
import {
  eventOf,
  isBulk,
  levelLabel,
  paragraph,
  quoted,
  renderFailure,
  renderOutcomes,
  stampedLines,
} from "./render.ts";
import type { TextWriter } from "./standard_streams.ts";

/** How a run looks on stdout and stderr. */
export interface ConsoleOptions {
  /** `terminal`: a live line for each step; `lines`: lines with time and level; `json`: one JSON object a line. */
  readonly form: "terminal" | "lines" | "json";
  /** The lowest level that is shown. */
  readonly level: LevelName;
  /** Whether a terminal gets colours. */
  readonly color: boolean;
  /** The program's name, for the lines. */
  readonly program: string;
  /** Where everything below a warning goes; on a terminal everything but a failure. */
  readonly stdout: TextWriter;
  /** Where warnings and errors go. */
  readonly stderr: TextWriter;
}

/**
 * How much may wait for a reader, in characters, before output of commands is left out for one who reads too slowly.
 */
const MAX_WAITING_CHARACTERS = 8 * 1024 * 1024;

/**
 * The handler for the form that is asked for. `onLeftOut` is told how many lines of output were left out, as the reader
 * is too slow, as soon as something follows them.
 */
export function consoleHandler(options: ConsoleOptions, onLeftOut: (lines: number) => void): ConsoleHandler {
  switch (options.form) {
    case "terminal":
      return new TerminalHandler(options, onLeftOut);
    case "lines":
      return new LineHandler(options, onLeftOut);
    case "json":
      return new JsonHandler(options, onLeftOut);
  }
}

/** Writes records to stdout and stderr. */
export abstract class ConsoleHandler extends BaseHandler {
  /** How it looks, and where it goes. */
  protected readonly options: ConsoleOptions;
  readonly #onLeftOut: (lines: number) => void;
  #leftOut = 0;

  /** Writes as `options` say; for `onLeftOut` see {@linkcode consoleHandler}. */
  constructor(options: ConsoleOptions, onLeftOut: (lines: number) => void) {
    super(options.level);
    this.options = options;
    this.#onLeftOut = onLeftOut;
  }

  /** Shows a record that is wanted, unless it is output that nobody reads. */
  override handle(record: LogRecord): void {
    if (!this.wants(record)) return;
    if (isBulk(record) && (this.writer(record).waiting ?? 0) > MAX_WAITING_CHARACTERS) return void this.#leftOut++;
    const leftOut = this.#leftOut;
    this.#leftOut = 0;
    if (leftOut > 0) this.#onLeftOut(leftOut);
    this.show(record);
  }

  /** Whether a record is shown. */
  protected wants(record: LogRecord): boolean {
    return record.level >= this.level;
  }

  /** Unused: `handle` needs the record. */
  log(): void {}

  /** Writes a record. */
  protected abstract show(record: LogRecord): void;

  /** Leaves the terminal as a program that has ended should. */
  finish(): void {}

  /** Where a record goes. */
  protected writer(record: LogRecord): TextWriter {
    return record.level >= LogLevels.WARN ? this.options.stderr : this.options.stdout;
  }
}

class LineHandler extends ConsoleHandler {
  protected show(record: LogRecord): void {
    this.writer(record).write(stampedLines(record, this.options.program));
  }
}

class JsonHandler extends ConsoleHandler {
  protected show(record: LogRecord): void {
    const first = { time: record.datetime.toISOString(), level: "" };
    // The event of a message has a level, too, by another name.
    const line = { ...first, ...eventOf(record), level: levelLabel(record) };
    this.writer(record).write(`${JSON.stringify(line)}\n`);
  }
}

/** Styles of a terminal, as parameters of SGR (`ESC [ … m`). */
const STYLE = { bold: "1", dim: "2", red: "31", green: "32", yellow: "33", cyan: "36", gray: "90", boldRed: "1;31" };

/** What is said of a run that ended with an exit code; of all others, that it failed. */
const WORDS: Readonly<Record<number, string>> = {
  [ExitCode.Success]: "completed",
  [ExitCode.WouldChange]: "checked",
};

type Mark = readonly [mark: string, style: string];

const OUTCOME_MARKS: Readonly<Record<Outcome, Mark>> = {
  unchanged: ["✔", STYLE.green],
  changed: ["✔", STYLE.yellow],
  "would change": ["~", STYLE.yellow],
  skipped: ["-", STYLE.gray],
  failed: ["✖", STYLE.red],
};

const MESSAGE_MARKS: Readonly<Partial<Record<(RunEvent & { event: "message" })["level"], Mark>>> = {
  warning: ["!", STYLE.yellow],
  error: ["✖", STYLE.red],
  fatal: ["✖", STYLE.red],
};

/** How many characters of a step's title are shown. */
const MAX_TITLE_CHARACTERS = 48;

/** How much may wait for a terminal, in characters, before the live line is no longer drawn. */
const MAX_WAITING_CHARACTERS_FOR_FRAME = 4096;

/** How often the live line is drawn, in milliseconds. */
const FRAME_MS = 100;

const SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏";

/** For a person: one line for each step, alive while the step is under way. */
class TerminalHandler extends ConsoleHandler {
  #live: { title: string; since: number; progress: string } | undefined;
  #timer: number | undefined;
  #frame = 0;

  /** Progress belongs to the live line, which is there at every level that shows steps. */
  protected override wants(record: LogRecord): boolean {
    return super.wants(record) || (eventOf(record).event === "step progress" && this.level <= LogLevels.INFO);
  }

  protected show(record: LogRecord): void {
    const event = eventOf(record);
    switch (event.event) {
      case "run started":
        return this.#print(`${event.ctid} ${event.name} · ${event.check ? "checking" : "running"}`, STYLE.bold);
      case "step started":
        return this.#start(event.title);
      case "step progress":
        if (this.#live) this.#live.progress = event.text.replaceAll("\n", " ");
        return;
      case "step finished":
        return this.#showStep(event);
      case "output":
        return this.#print(`      ${quoted(event.text)}`, STYLE.dim);
      case "failure":
        for (const line of renderFailure(event).join("\n").split("\n")) {
          this.#print(`      ${line}`, undefined, this.writer(record));
        }
        return;
      case "run finished":
        return this.#showEnd(event);
      case "message":
        return this.#showMessage(event);
    }
  }

  /** Whether it shows all that there is to say. */
  get #verbose(): boolean {
    return this.level < LogLevels.INFO;
  }

  #start(title: string): void {
    this.#live = { title, since: performance.now(), progress: "" };
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS) as unknown as number;
    Deno.unrefTimer(this.#timer);
    this.#draw();
  }

  #showStep(event: RunEvent & { event: "step finished" }): void {
    this.#live = undefined;
    const [mark, style] = OUTCOME_MARKS[event.outcome];
    const title = event.title.length > MAX_TITLE_CHARACTERS
      ? `${event.title.slice(0, MAX_TITLE_CHARACTERS - 1)}${CUT}`
      : event.title.padEnd(MAX_TITLE_CHARACTERS);
    const duration = formatDuration(event.milliseconds).padStart(9);
    this.#print(`  ${this.#paint(style, mark)} ${title} ${this.#paint(style, event.outcome.padEnd(12))} ${duration}`);
    if (event.outcome !== "would change" && !this.#verbose) return;
    const details = [...event.differences.map(describeDifference), ...(event.note === undefined ? [] : [event.note])];
    for (const line of details.join("\n").split("\n")) if (line) this.#print(`      ${line}`, STYLE.dim);
  }

  #showEnd(event: RunEvent & { event: "run finished" }): void {
    // Before a container is known, the message says all that there is to say.
    if (event.ctid === undefined) return;
    const word = WORDS[event.code] ?? "failed";
    const outcomes = renderOutcomes(event);
    this.#print(
      `${event.ctid} ${word}${outcomes === "" ? "" : `: ${outcomes}`} in ${formatDuration(event.milliseconds)}`,
      word === "failed" ? STYLE.boldRed : STYLE.bold,
    );
    this.#print(paragraph(event.text), STYLE.dim);
  }

  #showMessage({ level, text }: RunEvent & { event: "message" }): void {
    // Of a run that goes well, the steps say enough.
    if (level === "info" && !this.#verbose) return;
    const mark = MESSAGE_MARKS[level];
    const start = mark === undefined ? "  " : `  ${this.#paint(mark[1], mark[0])} `;
    for (const line of paragraph(text).split("\n")) this.#print(`${start}${line}`);
  }

  override finish(): void {
    if (this.#timer !== undefined) clearInterval(this.#timer);
    this.#timer = undefined;
    this.#live = undefined;
    this.#clear();
  }

  #print(line: string, style?: string, writer: TextWriter = this.options.stdout): void {
    this.#clear();
    writer.write(`${style === undefined ? line : this.#paint(style, line)}\n`);
    this.#draw();
  }

  #draw(): void {
    // Frames are for now: a terminal that is stopped does not want them later.
    const waiting = this.options.stdout.waiting ?? 0;
    if (!this.#live || !this.options.color || waiting > MAX_WAITING_CHARACTERS_FOR_FRAME) return;
    const { title, since, progress } = this.#live;
    const spinner = SPINNER[this.#frame++ % SPINNER.length]!;
    const duration = formatDuration(performance.now() - since);
    const line = `  ${spinner} ${title} ${duration}${progress === "" ? "" : ` · ${progress}`}`;
    this.options.stdout.write(`\r\x1b[K${this.#paint(STYLE.cyan, line.slice(0, columns() - 1))}`);
  }

  #clear(): void {
    if (this.options.color) this.options.stdout.write("\r\x1b[K");
  }

  #paint(style: string, text: string): string {
    return this.options.color ? `\x1b[${style}m${text}\x1b[0m` : text;
  }
}

function columns(): number {
  try {
    // A terminal that nobody has told its size, such as that of `script` in a cron job, says 0.
    return Deno.consoleSize().columns || 80;
  } catch {
    return 80;
  }
}
