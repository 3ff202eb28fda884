/**
 * A value that may be used but never shown.
 *
 * @module
 */

/**
 * A secret, such as a registry token. It becomes text only where a command is written to the container's stdin; everywhere else,
 * also in `JSON.stringify`, in a template literal and in `console.log`, it reads as its name.
 *
 * @example
 * ```ts
 * const token = new Secret("Hugging Face token", "hf_abc");
 * console.log(`${token}`); // [secret: Hugging Face token]
 * ```
 */
export class Secret {
  /** What this is, for a person. */
  readonly name: string;
  readonly #value: string;

  /** Wraps `value`. Throws a `TypeError` for an empty one, which would blank every log line. */
  constructor(name: string, value: string) {
    if (value === "") throw new TypeError(`Cannot use the secret "${name}" as it is empty`);
    this.name = name;
    this.#value = value;
  }

  /** The value itself. Call it only where the value leaves for the place that needs it. */
  reveal(): string {
    return this.#value;
  }

  /** The name, in brackets. */
  toString(): string {
    return `[secret: ${this.name}]`;
  }

  /** The name, in brackets. */
  toJSON(): string {
    return this.toString();
  }

  /** The name, in brackets. */
  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }
}
