/**
 * How Docker shows things: by the part of Go's templates that `--format` is used for, and in which order.
 *
 * @module
 */

import { print } from "./client.ts";
import { type Invocation, notSupported, type OptionKinds } from "./cli.ts";

/** A value of a JSON document. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined };

/**
 * Shows a document by a template of text, `{{.Path.To.It}}` and `{{json .Path}}`. Other syntax is not supported, nor is
 * a field that the document does not have: Docker's may have it.
 */
export function render(template: string, document: Json): string {
  const unsupported = (action: string) => notSupported(`--format with ${action}`);
  const shown = template.replaceAll(/\{\{(.*?)\}\}/gs, (action, source: string) => {
    const [, isJson, path] = /^\s*(json\s+)?\.((?:\w+(?:\.\w+)*)?)\s*$/.exec(source) ?? [];
    if (path === undefined) throw unsupported(action);
    let value: Json | undefined = document;
    for (const name of path.split(".").filter((name) => name !== "")) {
      value = isObject(value) ? value[name] : undefined;
    }
    if (value === undefined) throw unsupported(action);
    if (isJson !== undefined) return JSON.stringify(value);
    // How Go shows anything else depends on types that JSON does not tell.
    if (value === null || typeof value === "object") throw unsupported(action);
    return String(value);
  });
  if (template.lastIndexOf("{{") > template.lastIndexOf("}}")) throw unsupported(template);
  return shown;
}

function isObject(value: Json | undefined): value is { readonly [key: string]: Json | undefined } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A map as Go shows it. */
export function sortedByKey<Value>(map: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(map).sort(([a], [b]) => a < b ? -1 : 1));
}

/** A list as Docker shows it when it has kept the items in a map. */
export function inNoOrder<Value>(values: readonly Value[]): Value[] {
  return values.map((value) => ({ value, at: Math.random() })).sort((a, b) => a.at - b.at).map(({ value }) => value);
}

/** A row of a list, with fields in Docker's own names. */
export type Row = Readonly<Record<string, string>>;

/** The options of every list. */
export const LIST_OPTIONS: OptionKinds = { format: "text", "quiet,q": "switch" };

/**
 * Prints a list: a line for each row by `--format`, or with `--quiet` the field that identifies it. Tables are not
 * supported.
 */
export function printRows(invocation: Invocation, rows: readonly Row[], identifier: string): void {
  const template = invocation.last("format") ?? (invocation.isOn("quiet") ? `{{.${identifier}}}` : undefined);
  if (template === undefined) {
    throw notSupported(`docker ${invocation.command} as a table: state --quiet or --format`);
  }
  for (const row of rows) print(render(template, row));
}
