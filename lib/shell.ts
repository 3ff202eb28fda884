/**
 * Commands for the shell inside a container, built so that no value can become syntax.
 *
 * @module
 */

import { Secret } from "./secret.ts";
import { ShellReader } from "./shell_syntax.ts";
import { head } from "./text.ts";

/** What may stand in a `${…}` of {@linkcode sh}. An array becomes as many words as it has elements. */
export type ShellValue = string | number | Secret | Script | readonly (string | number | Secret)[];

/** A piece of POSIX shell, made by {@linkcode sh}. */
export class Script {
  /** What the shell runs. It can hold secrets: never log it. */
  readonly text: string;
  /** The same for a person: secrets are replaced by their names. */
  readonly display: string;
  /**
   * Whether something of it was written by a setup. What such a command leaves running is kept from being heard as the
   * answer of a later one, which costs a few milliseconds; a look of this project's own steps leaves nothing running.
   */
  readonly isOfSetup: boolean;

  /** Use {@linkcode sh} instead, which quotes. */
  constructor(text: string, display: string, isOfSetup = false) {
    this.text = text;
    this.display = display;
    this.isOfSetup = isOfSetup;
  }

  /** The same script, shown to a person as `display`. */
  shownAs(display: string): Script {
    return new Script(this.text, display, this.isOfSetup);
  }

  /** The form for a person, so that a secret cannot slip out through a template literal. */
  toString(): string {
    return this.display;
  }
}

/**
 * Quotes one word for a POSIX shell. Throws a `TypeError` for a NUL character, which no command line can hold: shells
 * drop it without a word, and the command would run with another argument than the one meant. So it would with half a
 * character (a lone surrogate), which has no bytes.
 */
export function quote(word: string): string {
  const flaw = word.includes("\0") ? "a NUL character" : word.isWellFormed() ? undefined : "half a character";
  if (flaw !== undefined) throw new TypeError(`Cannot pass ${JSON.stringify(word)} to a shell as it contains ${flaw}`);
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/**
 * Builds a {@linkcode Script}. The literal parts are shell; every interpolated value is one quoted word (an array: one
 * for each element), except another `Script`, which is inserted as it is. Backslashes are the shell's, not
 * TypeScript's, but for `\${` and the escaped backtick, which stand for the shell's own `${` and backtick.
 *
 * Throws a `TypeError` for a value that stands between quotes or backticks, in a comment or in a here-document, where
 * its own quotes would be text, or even let it out: values are quoted already. A number may stand anywhere.
 *
 * @example
 * ```ts
 * const name = "it's; rm -rf /";
 * sh`docker inspect ${name}`.text; // docker inspect 'it'\''s; rm -rf /'
 * sh`tar -cf ${"/tmp/a.tar"} ${["a", "b c"]}`.text; // tar -cf /tmp/a.tar a 'b c'
 * sh`echo "Name: "${name}`; // and not: "Name: ${name}"
 * ```
 */
export function sh(parts: TemplateStringsArray, ...values: ShellValue[]): Script {
  return build(parts, values, false);
}

/** {@linkcode sh} for setups: what it builds is marked as such, see `Script.isOfSetup`. */
export function shOfSetup(parts: TemplateStringsArray, ...values: ShellValue[]): Script {
  return build(parts, values, true);
}

function build(parts: TemplateStringsArray, values: readonly ShellValue[], isOfSetup: boolean): Script {
  const literals = parts.raw.map((part) => part.replace(/\\(\$\{|`)/g, "$1"));
  const reader = new ShellReader();
  let text = literals[0]!;
  let display = text;
  reader.read(text);
  values.forEach((value, i) => {
    const { enclosure } = reader;
    // A number has the same form everywhere.
    if (enclosure !== undefined && typeof value !== "number") throw misplaced(value, enclosure);
    const [shown, run] = words(value);
    const literal = literals[i + 1]!;
    if (value instanceof Script) reader.read(run);
    else reader.readWord();
    reader.read(literal);
    text += run + literal;
    display += shown + literal;
  });
  if (text.includes("\0")) throw new TypeError("Cannot build a shell command as it contains a NUL character");
  return new Script(text, display, isOfSetup || values.some((value) => value instanceof Script && value.isOfSetup));
}

function misplaced(value: ShellValue, enclosure: string): TypeError {
  const shown = head(JSON.stringify(words(value)[0]), 80);
  return new TypeError(
    `Cannot put ${shown} into a shell command inside of ${enclosure}: a value is quoted already. ` +
      (enclosure.endsWith("quotes")
        ? 'Write it outside of them, such as: echo "Hello "${name}'
        : "Take it out of there"),
  );
}

/** Joins scripts so that each starts on a line of its own. */
export function lines(...scripts: readonly Script[]): Script {
  return new Script(
    scripts.map((s) => s.text).join("\n"),
    scripts.map((s) => s.display).join("\n"),
    scripts.some((s) => s.isOfSetup),
  );
}

function words(value: ShellValue): [display: string, text: string] {
  if (value instanceof Script) return [value.display, value.text];
  if (value instanceof Secret) return [quote(`${value}`), quote(value.reveal())];
  if (Array.isArray(value)) {
    const each = (value as readonly (string | number | Secret)[]).map(words);
    return [each.map(([shown]) => shown).join(" "), each.map(([, run]) => run).join(" ")];
  }
  // An unquoted empty string would vanish from the command line, so quote() gives ''.
  const word = quote(String(value));
  return [word, word];
}
