/**
 * Events as lines of plain text, each with its time, its level and the program where it stands among others' lines.
 *
 * @module
 */

import type { LogRecord } from "@std/log";
import { describeDifference } from "../difference.ts";
import type { RunEvent } from "../events.ts";
import { formatDuration } from "../time.ts";

/** The event as lines of plain text. Line breaks within one of them are further lines of it. */
export function renderLines(event: RunEvent): string[] {
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

/** Why a run failed, and how to go on. */
export function renderFailure(event: RunEvent & { event: "failure" }): string[] {
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
  const counts = renderOutcomes(event);
  if (counts === "") return [];
  const slowest = event.slowest.map((step) => `${step.title} (${formatDuration(step.milliseconds)})`).join(", ");
  return [
    `${counts} in ${formatDuration(event.milliseconds)}${slowest === "" ? "" : `; slowest: ${slowest}`}`,
  ];
}

/** What the steps of a run came to: `2 changed, 1 failed`, or nothing where there was none. */
export function renderOutcomes(event: RunEvent & { event: "run finished" }): string {
  return Object.entries(event.outcomes).map(([outcome, count]) => `${count} ${outcome}`).join(", ");
}

function indented(text: string): string {
  return `    ${paragraph(text)}`;
}

/** A text whose further lines are indented, so that they cannot pass for lines of their own. */
export function paragraph(text: string): string {
  return text.replaceAll("\n", "\n    ");
}

/** What a command said, marked as such. */
export function quoted(text: string): string {
  return `| ${text.replaceAll("\n", "\n| ")}`;
}

/** Each line of a record's text with time and level of its own, so that no output can pass for a line of the log. */
export function stampedLines(record: LogRecord, program: string, text: string = record.msg): string {
  const stamp = `${record.datetime.toISOString()} ${levelLabel(record)} ${program}: `;
  return text.split("\n").map((line) => `${stamp}${line}\n`).join("");
}

/** The level of a record as a reader is shown it: FATAL is what `@std/log` calls CRITICAL. */
export function levelLabel({ levelName }: LogRecord): string {
  return levelName === "CRITICAL" ? "FATAL" : levelName;
}

/** The event that a record of the log carries. */
export function eventOf(record: LogRecord): RunEvent {
  return record.args[0] as RunEvent;
}

/** Whether a record may come by the gigabyte, and is the first thing to be left out where there is too much. */
export function isBulk(record: LogRecord): boolean {
  const { event } = eventOf(record);
  return event === "output" || event === "step progress";
}
