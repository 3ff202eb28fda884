/**
 * A value that may be used but never shown.
 *
 * @module
 */

/**
 * The shortest value that can be concealed, in characters: a shorter one stands in so many places that without it not
 * much of the log would be left.
 */
export const MIN_SECRET_LENGTH = 4;

/**
 * A secret, such as a registry token. It becomes text only where a command is written to the container's stdin;
 * everywhere else, also in `JSON.stringify`, in a template literal and in `console.log`, it reads as its name. A setup
 * gets one from its `secret` function, which tells the log to replace also what a command writes of it.
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

  /** Wraps `value`. Throws a `TypeError` for one of fewer than {@linkcode MIN_SECRET_LENGTH} characters. */
  constructor(name: string, value: string) {
    if (value.length < MIN_SECRET_LENGTH) {
      throw new TypeError(`Cannot keep the secret "${name}" as it has fewer than ${MIN_SECRET_LENGTH} characters`);
    }
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
