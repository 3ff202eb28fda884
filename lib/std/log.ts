/**
 * The part of `@std/log` that the project uses, for networks that do not reach JSR.
 *
 * Same names, same records and same defaults as the package; `conformance_test.ts` holds both to that.
 *
 * @module
 */

/** The levels by name, in ascending order. */
export const LogLevels = { NOTSET: 0, DEBUG: 10, INFO: 20, WARN: 30, ERROR: 40, CRITICAL: 50 } as const;

/** The name of a level. */
export type LevelName = keyof typeof LogLevels;

/** The number of a level. */
export type LogLevel = typeof LogLevels[LevelName];

const LEVEL_NAMES = Object.keys(LogLevels) as LevelName[];

function getLevelByName(name: LevelName): LogLevel {
  const level: LogLevel | undefined = LogLevels[name];
  if (level === undefined) throw new Error(`Cannot get log level: no level named ${name}`);
  return level;
}

function getLevelName(level: LogLevel): LevelName {
  const name = LEVEL_NAMES.find((name) => LogLevels[name] === level);
  if (name === undefined) throw new Error(`Cannot get log level: no name for level: ${level}`);
  return name;
}

interface LogRecordOptions {
  msg: string;
  args: unknown[];
  level: LogLevel;
  loggerName: string;
}

/** One message, as the handlers receive it. It cannot be changed: `args` and `datetime` are copies. */
class LogRecord {
  /** The message, as text. */
  readonly msg: string;
  /** The number of its level. */
  readonly level: number;
  /** The name of its level. */
  readonly levelName: string;
  /** The name of the logger that made it. */
  readonly loggerName: string;
  readonly #args: unknown[];
  readonly #datetime = new Date();

  /** Makes the record of a message that is logged now. */
  constructor(options: LogRecordOptions) {
    this.msg = options.msg;
    this.level = options.level;
    this.levelName = getLevelName(options.level);
    this.loggerName = options.loggerName;
    this.#args = options.args;
  }

  /** What was passed after the message. */
  get args(): unknown[] {
    return [...this.#args];
  }

  /** When the record was made. */
  get datetime(): Date {
    return new Date(this.#datetime);
  }
}

// The package, too, lets its users name the type only.
export type { LogRecord };

/** Turns a record into the text that a handler writes. */
export type FormatterFunction = (logRecord: LogRecord) => string;

/** Options of a {@linkcode BaseHandler}. */
export interface BaseHandlerOptions {
  /** By default the level's name, a blank and the message. */
  formatter?: FormatterFunction;
}

/** Writes the records from its level on: a subclass says where to, in `log`. */
export abstract class BaseHandler {
  /** Turns a record into the text that is passed to `log`. */
  formatter: FormatterFunction;
  #level: LogLevel;

  /** Writes the records from level `levelName` on. */
  constructor(levelName: LevelName, options: BaseHandlerOptions = {}) {
    this.#level = getLevelByName(levelName);
    this.formatter = options.formatter ?? (({ levelName, msg }) => `${levelName} ${msg}`);
  }

  /** The lowest level that this handler writes. */
  get level(): LogLevel {
    return this.#level;
  }
  set level(level: LogLevel) {
    this.levelName = getLevelName(level);
  }

  /** The name of the lowest level that this handler writes. */
  get levelName(): LevelName {
    return getLevelName(this.#level);
  }
  set levelName(levelName: LevelName) {
    this.#level = getLevelByName(levelName);
  }

  /** Formats and writes a record, unless its level is too low. */
  handle(logRecord: LogRecord): void {
    if (logRecord.level >= this.level) this.log(this.format(logRecord));
  }

  /** Turns a record into text by the `formatter`. */
  format(logRecord: LogRecord): string {
    return this.formatter(logRecord);
  }

  /** Writes one formatted record. */
  abstract log(msg: string): void;
}

/** Options of a {@linkcode Logger}. */
export interface LoggerOptions {
  /** Who receives the records; by default nobody. */
  handlers?: BaseHandler[];
}

/** Any function: as a message, it is called only where the level is high enough. */
export type GenericFunction = (...args: never[]) => unknown;
type Message<T> = (T extends GenericFunction ? never : T) | (() => T);

/**
 * Passes messages from its level on to its handlers.
 *
 * Each method returns the message; of a message that is a function, its result, or `undefined` when the level was
 * too low to call it.
 */
export class Logger {
  /** Who receives the records. */
  handlers: BaseHandler[];
  #level: LogLevel;
  readonly #loggerName: string;

  /** Passes on the messages from level `levelName` on. */
  constructor(loggerName: string, levelName: LevelName, options: LoggerOptions = {}) {
    this.#loggerName = loggerName;
    this.#level = getLevelByName(levelName);
    this.handlers = options.handlers ?? [];
  }

  /** The lowest level that is passed on. Setting a number that is no level throws a `TypeError`. */
  get level(): LogLevel {
    return this.#level;
  }
  set level(level: LogLevel) {
    if (!Object.values(LogLevels).includes(level)) throw new TypeError(`Invalid log level: ${level}`);
    this.#level = level;
  }

  /** The name of the lowest level that is passed on. */
  get levelName(): LevelName {
    return getLevelName(this.#level);
  }
  set levelName(levelName: LevelName) {
    this.#level = getLevelByName(levelName);
  }

  /** Its name, which the records carry. */
  get loggerName(): string {
    return this.#loggerName;
  }

  #log<T>(level: LogLevel, msg: Message<T>, args: unknown[]): T | undefined {
    const isEnabled = level >= this.#level;
    if (msg instanceof Function && !isEnabled) return undefined;
    const data = msg instanceof Function ? msg() : msg;
    if (isEnabled) {
      const record = new LogRecord({ msg: asText(data), args, level, loggerName: this.#loggerName });
      for (const handler of this.handlers) handler.handle(record);
    }
    return data;
  }

  /** Logs at level DEBUG what `msg` returns, which is not called below that level. */
  debug<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at level DEBUG. */
  debug<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  debug<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.DEBUG, msg, args);
  }

  /** Logs at level INFO what `msg` returns, which is not called below that level. */
  info<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at level INFO. */
  info<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  info<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.INFO, msg, args);
  }

  /** Logs at level WARN what `msg` returns, which is not called below that level. */
  warn<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at level WARN. */
  warn<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  warn<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.WARN, msg, args);
  }

  /** Logs at level ERROR what `msg` returns, which is not called below that level. */
  error<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at level ERROR. */
  error<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  error<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.ERROR, msg, args);
  }

  /** Logs at level CRITICAL what `msg` returns, which is not called below that level. */
  critical<T>(msg: () => T, ...args: unknown[]): T | undefined;
  /** Logs at level CRITICAL. */
  critical<T>(msg: T extends GenericFunction ? never : T, ...args: unknown[]): T;
  critical<T>(msg: Message<T>, ...args: unknown[]): T | undefined {
    return this.#log(LogLevels.CRITICAL, msg, args);
  }
}

function asText(data: unknown): string {
  if (typeof data === "function") return "undefined";
  if (typeof data !== "object" || data === null) return String(data);
  if (data instanceof Error) return String(data.stack);
  const properties = Object.entries(data).map(([key, value]) =>
    `"${key}":${typeof value === "string" ? `"${value}"` : asText(value)}`
  );
  return `{${properties.join(",")}}`;
}
