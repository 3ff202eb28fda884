/**
 * The log file: a regular file that many programs append to, and that is rotated while they do.
 *
 * @module
 */

import { closeSync, constants, fdatasyncSync, fstatSync, lutimesSync, openSync, writeSync } from "node:fs";
import { BaseHandler, type LevelName, type LogRecord } from "@std/log";
import { counted } from "../text.ts";
import { eventOf, isBulk, stampedLines } from "./render.ts";

/** A file that is only ever appended to. */
export interface LogFile {
  /** Appends all of `bytes` in one piece. */
  append(bytes: Uint8Array): void;
  /** Makes what was appended outlast a crash of the machine. */
  sync(): void;
}

/** The permissions of a log file that is made, before the umask. */
const LOG_FILE_MODE = 0o640;

/** How often opening a file is tried: another writer may make it, and rotation replace it, at the same time. */
const MAX_ATTEMPTS = 5;

const NEWLINE = new Uint8Array([0x0a]);

/**
 * Opens a regular file for appending; it is made where it is missing, with permissions 0640. When it is moved or
 * removed later, as rotation does, a new one takes its place at the same path, and what comes then goes there. Throws
 * for anything that is not a regular file, such as a symbolic link or a FIFO, and for a file with a second name.
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

/** Opens a log file, or makes the new one that takes its place. */
function openForAppending(path: string): number {
  // Without a wait for the reader of a FIFO. Node's functions need no permission to read where the log is.
  const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK;
  const create = constants.O_CREAT | constants.O_EXCL;
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    // Not both at once: a symbolic link that somebody has put there would say where a file is made.
    const file = openIf(path, flags, "ENOENT") ?? openIf(path, flags | create, "EEXIST");
    if (file === undefined) continue;
    if (isAt(path, file)) return file;
    closeSync(file);
  }
  throw new Error("it is a symbolic link, or is being replaced again and again");
}

/** Opens a file, or gives `undefined` for the error `code`. */
function openIf(path: string, flags: number, code: string): number | undefined {
  try {
    return openSync(path, flags, LOG_FILE_MODE);
  } catch (error) {
    if (codeOf(error) === code) return undefined;
    throw codeOf(error) === "ENXIO" ? new Error("it is a FIFO") : error;
  }
}

/** Whether `path` itself is the open file. Throws unless it is a regular file with this one name. */
function isAt(path: string, file: number): boolean {
  try {
    if (!fstatSync(file).isFile()) throw new Error("it is not a regular file");
    // Deno follows symbolic links when it opens a file, and looking for one takes a permission to read. Setting a time
    // follows none: where the open file does not show it, it is another one. A whole second is the same for all who
    // write just now.
    const seconds = Math.floor(Date.now() / 1000);
    lutimesSync(path, seconds, seconds);
    const { atimeMs, nlink } = fstatSync(file);
    if (nlink > 1) throw new Error("it has a second name (a hard link)");
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

/** How much output of one step goes to the file: others write to it, too. */
const MAX_STEP_OUTPUT_BYTES = 1024 * 1024;

/** Appends each record to a file, as whole lines. */
export class FileHandler extends BaseHandler {
  readonly #program: string;
  #pending: LogRecord[] | undefined = [];
  #file: LogFile | undefined;
  #onRefusal: (error: unknown) => void = () => {};
  /** How many lines could not be written, since the last one that could. */
  #lostLines = 0;
  /**
   * How much of the output of this step has been written, and how much has been left out since something else was said.
   */
  #stepOutput = { bytes: 0, leftOutLines: 0, leftOutBytes: 0 };

  /** Keeps the records from `level` on, until a file is there for them. `program` stands in each line. */
  constructor(level: LevelName, program: string) {
    super(level);
    this.#program = program;
  }

  /**
   * Appends to `file` from now on, beginning with what was kept. When it takes no more, `onRefusal` is told once; it is
   * tried again for each record.
   */
  open(file: LogFile, level: LevelName, onRefusal: (error: unknown) => void): void {
    this.levelName = level;
    this.#file = file;
    this.#onRefusal = onRefusal;
    const pending = this.#pending ?? [];
    this.#pending = undefined;
    for (const record of pending) this.handle(record);
  }

  /** Forgets what was kept, and keeps nothing from now on: there will be no file. */
  discard(): void {
    this.#pending = undefined;
  }

  /** Appends a record, or keeps it while there is no file yet. */
  override handle(record: LogRecord): void {
    if (this.#pending) return void this.#pending.push(record);
    if (record.level < this.level || this.#file === undefined) return;
    const lines = stampedLines(record, this.#program);
    if (!isBulk(record)) this.#endOutput(record);
    else if (!this.#takeOutput(lines)) return;
    this.log(lines);
  }

  /** Whether lines of output still fit into what one step may write; those that do not are counted. */
  #takeOutput(lines: string): boolean {
    const { length } = new TextEncoder().encode(lines);
    const fits = this.#stepOutput.bytes + length <= MAX_STEP_OUTPUT_BYTES;
    if (fits) this.#stepOutput.bytes += length;
    else {
      this.#stepOutput.leftOutLines++;
      this.#stepOutput.leftOutBytes += length;
    }
    return fits;
  }

  /** Output is over when something else is said: `record`. */
  #endOutput(record: LogRecord): void {
    const { leftOutLines, leftOutBytes } = this.#stepOutput;
    if (leftOutLines > 0) {
      const limit = `${MAX_STEP_OUTPUT_BYTES / 1024 / 1024} MiB`;
      const more = `${counted(leftOutLines, "more line")}, about ${Math.ceil(leftOutBytes / 1024)} KiB`;
      const text = `(Left out of this file, which takes ${limit} of output per step: ${more})`;
      this.log(stampedLines(record, this.#program, text));
    }
    const bytes = eventOf(record).event === "step started" ? 0 : this.#stepOutput.bytes;
    this.#stepOutput = { bytes, leftOutLines: 0, leftOutBytes: 0 };
  }

  /** Appends `text`, which is whole lines, and before it how many are missing. */
  log(text: string): void {
    const lost = this.#lostLines;
    const missing = `(Missing here, as this file could not be written: ${counted(lost, "line")})`;
    const notice = `${new Date().toISOString()} WARN ${this.#program}: ${missing}\n`;
    try {
      this.#file?.append(new TextEncoder().encode(lost === 0 ? text : notice + text));
      this.#lostLines = 0;
    } catch (error) {
      // A full disk must not end a run that could do its work; stdout and stderr have it all.
      this.#lostLines += text.split("\n").length - 1;
      if (lost === 0) this.#onRefusal(error);
    }
  }

  /** Makes what was written outlast a crash of the machine. */
  flush(): void {
    try {
      this.#file?.sync();
    } catch { /* What cannot be written has been told. */ }
  }
}
