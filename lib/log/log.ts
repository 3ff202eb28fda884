/**
 * The log of a run: one stream of events, rendered for a terminal, for a pipe or a file, or as JSON, and carried by
 * `@std/log`.
 *
 * @module
 */

import { type LevelName, Logger, LogLevels } from "@std/log";
import { ExitCode, messageOf } from "../errors.ts";
import { message, type RunEvent } from "../events.ts";
import type { Secret } from "../secret.ts";
import { counted, head, oneLine, visible, withoutColors } from "../text.ts";
import { type ConsoleHandler, consoleHandler, type ConsoleOptions } from "./console.ts";
import { FileHandler, type LogFile } from "./file.ts";
import { Redactor } from "./redaction.ts";
import { renderLines } from "./render.ts";

/** How much of one text is logged, in characters: more is a file, not a message. */
const MAX_TEXT_CHARACTERS = 64 * 1024;

/** What stands in the middle of a line, where a line break would begin one that looks like another of ours. */
const ONE_LINE: ReadonlySet<string> = new Set(["title", "step", "name", "again"]);

/** The log of one run: all that it says, on stdout, on stderr and in the log file, goes through it. */
export class RunLog {
  readonly #logger: Logger;
  readonly #console: ConsoleHandler;
  readonly #file: FileHandler;
  readonly #redactor = new Redactor();
  #closed = false;

  /** Starts a log. Until {@linkcode openFile} is called, the lines for the file are kept. */
  constructor(options: ConsoleOptions) {
    // A file can have any name.
    const program = oneLine(visible(options.program));
    this.#console = consoleHandler({ ...options, program }, (lines) => {
      const text = `(Left out on stdout, as it was not read in time: ${counted(lines, "line")} of output)`;
      this.report(message("info", text));
    });
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
    const safe = this.#madeSafe(event);
    const text = renderLines(safe).join("\n");
    switch (level) {
      case "DEBUG":
        return void this.#logger.debug(text, safe);
      case "WARN":
        return void this.#logger.warn(text, safe);
      case "ERROR":
        return void this.#logger.error(text, safe);
      case "CRITICAL":
        return void this.#logger.critical(text, safe);
      default:
        return void this.#logger.info(text, safe);
    }
  };

  /**
   * Replaces a secret by its name in everything that is logged from now on, also in its encoded forms, and its
   * beginning or end where the rest was cut off.
   */
  conceal(secret: Secret): void {
    this.#redactor.add(secret);
  }

  /** Changes the lowest level that stdout and stderr get. */
  setLevel(level: LevelName): void {
    this.#console.levelName = level;
  }

  /**
   * Appends to the file at `path` from now on, beginning with what was logged before. When it cannot be written, or
   * takes no more, a warning says so and the run goes on without it. Of the output of one step it gets 1 MiB.
   */
  openFile(path: string, level: LevelName, open: (path: string) => LogFile): void {
    const warn = (error: unknown, what: string) =>
      this.report({
        event: "message",
        level: "warning",
        text: `Cannot write the log file "${path}": ${messageOf(error)}. ${what} is logged only here`,
      });
    try {
      this.#file.open(open(path), level, (error) => warn(error, "What follows"));
    } catch (error) {
      this.#file.discard();
      warn(error, "This run");
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

  /**
   * The event as it may be written: without secrets, without anything that drives a terminal or forges a line, and not
   * endless.
   */
  #madeSafe(event: RunEvent): RunEvent {
    return mapStrings(event, (text, key) => {
      // Colours go first: they could stand in the middle of a secret. It is cut last: half a secret would not be known.
      const shown = visible(head(this.#redactor.redact(withoutColors(text)), MAX_TEXT_CHARACTERS));
      return ONE_LINE.has(key) ? oneLine(shown) : shown;
    }) as RunEvent;
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
      return event.code === ExitCode.Success || event.code === ExitCode.WouldChange ? "INFO" : "ERROR";
    default:
      return "INFO";
  }
}

/**
 * A copy of `value` with every string in it changed; `key` is the name of the property in which a string, or its list,
 * stands.
 */
function mapStrings(value: unknown, change: (text: string, key: string) => string, key = ""): unknown {
  if (typeof value === "string") return change(value, key);
  if (Array.isArray(value)) return value.map((element) => mapStrings(element, change, key));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, element]) => [key, mapStrings(element, change, key)]));
  }
  return value;
}
