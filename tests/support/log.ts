/**
 * A log whose streams and file are texts, and events for it.
 *
 * @module
 */

import { message, type RunEvent } from "../../lib/events.ts";
import type { ConsoleOptions } from "../../lib/log/console.ts";
import { RunLog } from "../../lib/log/log.ts";

/**
 * Starts a log whose streams and file are texts. `synced` is what the file had when it was last made to outlast a
 * crash.
 */
export function logOf(options: Partial<ConsoleOptions> = {}) {
  const out = { stdout: "", stderr: "", file: "", synced: "" };
  const log = new RunLog({
    form: "lines",
    level: "INFO",
    color: false,
    program: "setup",
    stdout: { write: (text) => void (out.stdout += text) },
    stderr: { write: (text) => void (out.stderr += text) },
    ...options,
  });
  const file = {
    append: (bytes: Uint8Array) => void (out.file += new TextDecoder().decode(bytes)),
    sync: () => void (out.synced = out.file),
  };
  return { log, out, file };
}

/** The lines without time, program and process id. */
export const shown = (text: string) => text.replace(/^\S+Z (\S+) setup(?:\[\d+\])?: /gm, "$1 ");

/** The end of a run of three steps. */
export const end = (code: number, text: string): RunEvent => ({
  event: "run finished",
  ctid: 901,
  code,
  text,
  milliseconds: 17_200,
  outcomes: { changed: 2, failed: 1 },
  slowest: [{ title: "pull", milliseconds: 12_400 }],
});

/** Each event there is, with `text` wherever a text can come from outside. */
export const everyEvent = (text: string): RunEvent[] => [
  message("debug", text),
  message("info", text),
  message("warning", text),
  message("fatal", text),
  { event: "run started", ctid: 901, name: text, check: false },
  { event: "step started", number: 1, title: text },
  { event: "step progress", number: 1, title: text, text },
  { event: "output", stream: "stdout", text },
  {
    event: "step finished",
    number: 1,
    title: text,
    outcome: "would change",
    milliseconds: 1,
    differences: [{ what: text, from: text, to: text }],
    note: text,
  },
  {
    event: "failure",
    message: text,
    step: text,
    command: text,
    code: 1,
    meaning: text,
    output: [text],
    hint: text,
    again: text,
  },
  { ...end(4, text), slowest: [{ title: text, milliseconds: 1 }] } as RunEvent,
];
