/**
 * Keeping secrets out of what is written.
 *
 * @module
 */

import { MIN_SECRET_LENGTH, type Secret } from "../secret.ts";
import { CUT, withoutColors } from "../text.ts";

/**
 * The shortest line of a secret that is concealed by itself, in characters: a shorter one, such as `}`, tells nothing.
 */
const MIN_LINE_CHARACTERS = 8;

/** One form of a secret. */
interface Form {
  readonly text: string;
  /** What is shown in its place. */
  readonly name: string;
}

/** A part of a secret, at the start or at the end of a text. */
interface Edge {
  readonly length: number;
  readonly name: string;
}

/**
 * Knows the secrets in all their forms, and takes them out of text. It is the only thing that does: whatever the log
 * writes of an event has passed {@linkcode redact}.
 */
export class Redactor {
  /** The longer ones first: a longer form can contain a shorter one. */
  #forms: readonly Form[] = [];

  /** Conceals a secret from now on. */
  add(secret: Secret): void {
    const own = [...formsOf(secret.reveal())].map((text) => ({ text, name: `${secret}` }));
    this.#forms = [...this.#forms, ...own].sort((a, b) => b.text.length - a.text.length);
  }

  /**
   * The text with each secret replaced by its name, also in its encoded forms, and its beginning or end where the rest
   * was cut off. Colours in the text hide a secret from it: see {@linkcode withoutColors}.
   */
  redact(text: string): string {
    let redacted = text;
    for (const { text: form, name } of this.#forms) redacted = redacted.replaceAll(form, () => name);
    if (this.#forms.length === 0 || !redacted.includes(CUT)) return redacted;
    return redacted.split(CUT).map((part, i, parts) => this.#redactPart(part, i > 0, i < parts.length - 1)).join(CUT);
  }

  /** Conceals a secret of which `part` has only the end, at its start, or only the beginning, at its end. */
  #redactPart(part: string, cutBefore: boolean, cutAfter: boolean): string {
    if (cutBefore && cutAfter && part.length >= MIN_SECRET_LENGTH) {
      // A secret can be longer than what is left between two cuts.
      const whole = this.#forms.find(({ text }) => text.includes(part));
      if (whole) return whole.name;
    }
    const none: Edge = { length: 0, name: "" };
    const start = cutBefore ? this.#edgeOf(part, (form, length) => part.startsWith(form.slice(-length))) : none;
    const end = cutAfter ? this.#edgeOf(part, (form, length) => part.endsWith(form.slice(0, length))) : none;
    return start.name + part.slice(start.length, Math.max(start.length, part.length - end.length)) + end.name;
  }

  /** The longest part of a secret that stands at an edge of `part`, as `isAtEdge` tells. */
  #edgeOf(part: string, isAtEdge: (form: string, length: number) => boolean): Edge {
    let edge: Edge = { length: 0, name: "" };
    for (const { text, name } of this.#forms) {
      for (let n = Math.min(text.length - 1, part.length); n >= MIN_SECRET_LENGTH && n > edge.length; n--) {
        if (isAtEdge(text, n)) edge = { length: n, name };
      }
    }
    return edge;
  }
}

/** Every form in which a text without colours may show a secret. */
function formsOf(value: string): Set<string> {
  const forms = [
    value,
    value.trim(),
    // Output is logged line by line, and a secret from a file may end with a line break.
    ...value.split("\n").map((line) => line.trim()).filter((line) => line.length >= MIN_LINE_CHARACTERS),
    value.replaceAll("'", `'\\''`),
    ...jsonForms(value),
    ...urlForms(value),
    ...base64Forms(value),
  ];
  return new Set(forms.map(withoutColors).filter((form) => form.length >= MIN_SECRET_LENGTH));
}

/** Within a string of JSON, as different programs escape it. */
function jsonForms(value: string): string[] {
  const json = JSON.stringify(value).slice(1, -1);
  const escaped = (characters: RegExp) =>
    json.replace(characters, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return [json, json.replaceAll("/", "\\/"), escaped(/[\u0080-\uffff]/g), escaped(/[<>&\u2028\u2029]/g)];
}

/** Within a URL or a form: with more or fewer characters encoded, in capitals or not. */
function urlForms(value: string): string[] {
  const url = encodeURIComponent(value.toWellFormed());
  const strict = url.replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
  const urls = [url, strict].flatMap((text) => [text, text.replaceAll("%20", "+")]);
  return [...urls, ...urls.map((text) => text.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase()))];
}

/** In Base64 of either alphabet: by itself, within something longer, and in lines. */
function base64Forms(value: string): string[] {
  const bytes = new TextEncoder().encode(value);
  const forms = [
    bytes.toBase64().replace(/=+$/, ""),
    // Within something longer, such as "user:token", only the characters that are all the secret's own are known.
    ...[0, 1, 2].map((before) => {
      const text = new Uint8Array([...new Uint8Array(before), ...bytes]).toBase64();
      return text.slice(Math.ceil(before * 8 / 6), Math.floor((before + bytes.length) * 8 / 6));
    }),
    // The commands base64 and openssl break lines, after so many bytes.
    ...[57, 48].flatMap((length) =>
      bytes.length <= length ? [] : pieces(bytes, length).map((piece) => piece.toBase64())
    ),
  ];
  return [...forms, ...forms.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"))];
}

function pieces(bytes: Uint8Array, length: number): Uint8Array[] {
  return Array.from(
    { length: Math.ceil(bytes.length / length) },
    (_, i) => bytes.subarray(i * length, (i + 1) * length),
  );
}
