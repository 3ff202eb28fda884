/**
 * Where in a shell command one is: between quotes, in a comment, or where a word can stand.
 *
 * @module
 */

/** What one can be inside of; the innermost is last. `$((` is an arithmetic expansion, `${` a parameter's. */
type Enclosure =
  | { readonly kind: "'" | '"' | "`" | "${" | "#" }
  /** With what it ends: `))`, or `)` for a parenthesis within. */
  | { readonly kind: "$(("; readonly end: "))" | ")" }
  /**
   * `(`, also that of `$(`, with the number of `case` commands in it that are not over: their patterns end with `)`.
   */
  | { readonly kind: "("; cases: number }
  | { readonly kind: "<<"; readonly delimiter: string; readonly stripsTabs: boolean };

const SEPARATOR = /[\s;&|()<>]/;

/** After one of these words, as after a separator, a command begins. */
const BEFORE_COMMAND = new Set(["", "then", "else", "elif", "do", "if", "while", "until", "!", "{"]);

/**
 * Reads shell text piece by piece, as POSIX shells do (XCU 2.2 and 2.3), as far as it decides whether a value may stand
 * at the end of what was read.
 */
export class ShellReader {
  readonly #enclosures: Enclosure[] = [{ kind: "(", cases: 0 }];
  /** The here-documents whose text begins at the next line. */
  readonly #announced: (Enclosure & { kind: "<<" })[] = [];
  #isEscaped = false;
  /** The word that is being read, and the one before it in the same command. */
  #word = "";
  #wordBefore = "";
  /** What has come of the line of a here-document. */
  #line = "";
  /** What has come behind `<<`. */
  #operator: string | undefined;

  /** Reads on. */
  read(text: string): void {
    for (let i = 0; i < text.length; i++) i += this.#take(text[i]!, text.slice(i + 1, i + 3));
  }

  /** A quoted word comes next. */
  readWord(): void {
    this.#word += "'";
    this.#isEscaped = false;
    this.#line += "'";
  }

  /** What a word here would be inside of, where it would not be a word of its own: `double quotes`. */
  get enclosure(): string | undefined {
    // The next backtick ends them, wherever it stands: within single quotes, or in a command within.
    if (this.#enclosures.some(({ kind }) => kind === "`")) return "backticks";
    for (const { kind } of this.#enclosures.toReversed()) {
      if (kind === "'") return "single quotes";
      if (kind === '"') return "double quotes";
      if (kind === "$((") return "an arithmetic expansion";
      if (kind === "#") return "a comment";
      if (kind === "<<") return "a here-document";
      if (kind !== "${") return this.#operator === undefined ? undefined : "the end of a here-document";
    }
    return undefined;
  }

  /** Takes one character, and gives how many of those after it belong to it. */
  #take(character: string, next: string): number {
    const inside = this.#enclosures.at(-1)!;
    switch (inside.kind) {
      case "<<":
        return this.#takeOfDocument(character, inside);
      case "'":
        if (character === "'") this.#enclosures.pop();
        return 0;
      case "#":
        if (character !== "\n") return 0;
        this.#enclosures.pop();
        return this.#take(character, next);
    }
    if (this.#isEscaped) {
      this.#isEscaped = false;
      this.#word += character;
      return 0;
    }
    if (this.#operator !== undefined && this.#takeOfOperator(character)) return 0;
    if (character === "\\") {
      this.#isEscaped = true;
      return 0;
    }
    if (character === "$" && next.startsWith("((")) return this.#enterArithmetic("))");
    if (character === "$" && next.startsWith("(")) return this.#enter("(", 1);
    if (character === "$" && next.startsWith("{")) return this.#enter("${", 1);
    if (character === "`") return inside.kind === "`" ? this.#leave() : this.#enter("`");
    if (character === '"') return inside.kind === '"' ? this.#leave() : this.#enter('"');
    if (inside.kind === '"') return 0;
    if (inside.kind === "${") {
      if (character === "}") return this.#leave();
      return character === "'" && !this.#isInDoubleQuotes ? this.#enter("'") : 0;
    }
    if (inside.kind === "$((") {
      if (character === "(") return this.#enterArithmetic(")");
      const { length } = inside.end;
      return `${character}${next}`.startsWith(inside.end) ? this.#leave(length - 1) : 0;
    }
    if (character === "'") return this.#enter("'");
    if (character === "#" && this.#word === "") return this.#enter("#");
    if (character === "<" && next.startsWith("<")) {
      if (next !== "<<") this.#operator = "";
      return next === "<<" ? 2 : 1; // "<<<" is Bash's, and a word follows it.
    }
    if (SEPARATOR.test(character)) return this.#takeSeparator(character, inside);
    this.#word += character;
    return 0;
  }

  get #isInDoubleQuotes(): boolean {
    return this.#enclosures.findLast(({ kind }) => kind !== "${")?.kind === '"';
  }

  #enterArithmetic(end: "))" | ")"): number {
    this.#word += "x";
    this.#enclosures.push({ kind: "$((", end });
    return end.length === 2 ? 2 : 0;
  }

  #enter(kind: "'" | '"' | "`" | "${" | "#" | "(", more = 0): number {
    if (kind !== "#") this.#word += kind;
    if (kind === "(" || kind === "`") this.#word = this.#wordBefore = "";
    this.#enclosures.push(kind === "(" ? { kind, cases: 0 } : { kind });
    return more;
  }

  #leave(more = 0): number {
    this.#enclosures.pop();
    this.#word += "x";
    return more;
  }

  #takeSeparator(character: string, inside: Enclosure): number {
    if (inside.kind === "(") {
      if (this.#word === "case" && BEFORE_COMMAND.has(this.#wordBefore)) inside.cases++;
      if (this.#word === "esac" && inside.cases > 0) inside.cases--;
    }
    const isBlank = character === " " || character === "\t";
    if (this.#word !== "" || !isBlank) this.#wordBefore = isBlank ? this.#word : "";
    this.#word = "";
    if (character === "(") return this.#enter("(");
    if (character === ")" && inside.kind === "(" && inside.cases === 0 && this.#enclosures.length > 1) {
      return this.#leave();
    }
    if (character === "\n") this.#enclosures.push(...this.#announced.splice(0).reverse());
    return 0;
  }

  /** Reads the word behind `<<`, which ends the here-document. Gives false for the character behind that word. */
  #takeOfOperator(character: string): boolean {
    const operator = this.#operator!;
    const word = operator.replace(/^-?[ \t]*/, "");
    const isQuoted = (word.match(/'[^']*'|"[^"]*"|['"]/g) ?? []).some((quoted) => quoted.length === 1);
    if (isQuoted || (word === "" ? character !== "\n" : !SEPARATOR.test(character))) {
      this.#operator = operator + character;
      return true;
    }
    this.#operator = undefined;
    const delimiter = word.replace(/['"\\]/g, "");
    this.#announced.push({ kind: "<<", delimiter, stripsTabs: operator.startsWith("-") });
    return false;
  }

  #takeOfDocument(character: string, { delimiter, stripsTabs }: Enclosure & { kind: "<<" }): number {
    if (character !== "\n") {
      this.#line += character;
      return 0;
    }
    const line = stripsTabs ? this.#line.replace(/^\t+/, "") : this.#line;
    this.#line = "";
    if (line === delimiter) this.#enclosures.pop();
    return 0;
  }
}
