/**
 * How Docker shows things: the part of Go's templates that `--format` is used for, tables, sizes and times for people.
 *
 * @module
 */

import { Exit, notSupported } from "./flags.ts";

/** A value of a JSON document. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json | undefined };

/** A row of a list: `--format` names its fields, in Docker's own names. */
export type Row = Record<string, string>;

/** A template that a document cannot be shown by, said in Go's words. */
export class TemplateProblem extends Error {}

/**
 * Shows a document by a template of texts, `{{.Path.To.It}}`, `{{json .Path}}`, `{{index .Path "key"}}` and `{{println}}`.
 * A field that is not there is a {@link TemplateProblem}; other template syntax is not supported.
 */
export function showByTemplate(template: string, document: Json): string {
  let shown = "";
  let end = 0;
  for (const match of template.matchAll(/\{\{(.*?)\}\}/gs)) {
    shown += template.slice(end, match.index);
    end = match.index + match[0].length;
    shown += action(match[1] ?? "", match.index + 2, document);
  }
  const rest = template.slice(end);
  // Docker ends with this code when a template cannot even be read.
  if (rest.includes("{{")) throw new Exit(64, "template parsing error: template: :1: unclosed action");
  return shown + rest;
}

function action(text: string, offset: number, document: Json): string {
  const source = text.trim();
  const at = offset + text.indexOf(source);
  const path = String.raw`\.(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)?`;
  const [, verb, field, key] =
    new RegExp(`^(?:(json|println|index) +)?(${path})(?: +("(?:[^"\\\\]|\\\\.)*"))?$`).exec(source) ?? [];
  if (source === "println") return "\n";
  if (field === undefined || (verb === "index") !== (key !== undefined)) {
    throw notSupported(`--format with {{${text}}}`);
  }
  const value = fieldOf(document, field, at + source.indexOf(field));
  if (verb === "json") return goJson(value);
  if (key !== undefined) return plain(isObject(value) ? value[JSON.parse(key) as string] ?? "" : "", text);
  return plain(value, text) + (verb === "println" ? "\n" : "");
}

function fieldOf(document: Json, path: string, offset: number): Json {
  const names = path.split(".").filter((name) => name !== "");
  let value = document;
  for (const name of names) {
    const next = isObject(value) ? value[name] : undefined;
    if (next === undefined) {
      // Go's parser counts a chain from its second name.
      const at = offset + (names.length > 1 ? 1 + (names[0] ?? "").length : 0);
      throw new TemplateProblem(
        `template parsing error: template: :1:${at}: executing "" at <${path}>: map has no entry for key "${name}"`,
      );
    }
    value = next;
  }
  return value;
}

function isObject(value: Json): value is { [key: string]: Json | undefined } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function plain(value: Json, text: string): string {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return `[${value.join(" ")}]`;
  if (isObject(value) && Object.values(value).every((item) => typeof item === "string")) {
    return `map[${Object.entries(value).sort().map(([key, item]) => `${key}:${item}`).join(" ")}]`;
  }
  // Go's text for other kinds depends on types that JSON does not tell.
  throw notSupported(`--format with {{${text}}} of what is no text, number or list of texts; use {{json …}}`);
}

/** Go's `json`: no blanks. */
export function goJson(value: Json): string {
  return JSON.stringify(value);
}

/** Documents as `docker inspect` shows them without a format. */
export function indented(documents: Json): string {
  return JSON.stringify(documents, null, 4);
}

/**
 * Shows the rows of a list by `--format`: a template, `table TEMPLATE`, `json`, or by default a table of these columns, each a
 * field and its heading.
 */
export function showRows(rows: Row[], format: string | undefined, columns: [field: string, heading: string][]): string {
  if (format === undefined || format === "table") {
    return table([
      columns.map(([, heading]) => heading),
      ...rows.map((row) => columns.map(([field]) => row[field] ?? "")),
    ]);
  }
  // Docker lets a shell's single quotes write the blanks of a list's template.
  const template = format.replaceAll("\\t", "\t").replaceAll("\\n", "\n");
  if (template === "json" || template === "{{json .}}") return rows.map((row) => `${rowJson(row)}\n`).join("");
  if (template.startsWith("table ")) {
    const cells = template.slice("table ".length);
    const headings: Row = Object.fromEntries(columns.map(([field, heading]) => [field, heading]));
    return table([headings, ...rows].map((row) => showRow(cells, row).split("\t")));
  }
  return rows.map((row) => `${showRow(template, row)}\n`).join("");
}

function showRow(template: string, row: Row): string {
  try {
    return showByTemplate(template, row);
  } catch (error) {
    if (!(error instanceof TemplateProblem)) throw error;
    throw notSupported(`--format ${template}`);
  }
}

/** The JSON of a row: Go writes the signs of HTML as escapes there, and sorts the fields. */
function rowJson(row: Row): string {
  const sorted = Object.fromEntries(Object.entries(row).sort(([a], [b]) => a < b ? -1 : 1));
  return JSON.stringify(sorted).replace(/[<>&]/g, (sign) => `\\u00${sign.charCodeAt(0).toString(16)}`);
}

function table(lines: string[][]): string {
  const widths = (lines[0] ?? []).map((_, column) =>
    Math.max(7, ...lines.map((line) => [...line[column] ?? ""].length)) + 3
  );
  return lines.map((line) =>
    line.map((cell, column) => column === line.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)).join("") + "\n"
  )
    .join("");
}

/** A number of bytes as Docker shows it to people. */
export function humanSize(size: number, digits = 3): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; size >= 1000 && unit < units.length - 1; unit++) size /= 1000;
  return `${Number(size.toPrecision(digits))}${units[unit]}`;
}

/** The time since, as Docker shows it to people. */
export function humanAge(since: string): string {
  const seconds = Math.floor((Date.now() - Date.parse(since)) / 1000);
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(seconds / 3600 + 0.5);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(hours / 24 / 365)} years`;
}

/** A time as Docker's lists show it. */
export function listTime(time: string): string {
  return `${time.slice(0, 10)} ${time.slice(11, 19)} +0000 UTC`;
}
