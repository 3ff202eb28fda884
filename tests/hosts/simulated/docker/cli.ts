/**
 * Docker's command line: options as its parser reads them, the values that it checks, and the ways in which a command
 * ends.
 *
 * @module
 */

/** The end of a command: what it says on stderr, and its exit code. */
export class Exit extends Error {
  constructor(readonly code: number, message = "") {
    super(message);
  }
}

/** What the engine refuses. */
export class Refusal extends Error {
  constructor(readonly reason: string, shown = `Error response from daemon: ${reason}`) {
    super(shown);
  }
}

/** Something that is not there, of which some commands tell in words of the client's own. */
export class NotFound extends Refusal {
  constructor(kind: string, name: string) {
    super(`No such ${kind}: ${name}`, `Error: No such ${kind}: ${name}`);
  }
}

/** Nobody answers at the engine's socket. */
export class EngineDown extends Error {
  constructor() {
    super("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?");
  }
}

/** Where the stand-in ends: exit code 64, so that a test never takes a lack of it for an answer of Docker's. */
export function notSupported(what: string): Exit {
  return new Exit(64, `docker stand-in: not supported: ${what}`);
}

/** What the client itself finds wrong with the arguments of `docker create` and `docker run`. */
export function clientError(command: string, text: string): Exit {
  return new Exit(125, `docker: ${text.replace(/\.$/, "")}.\nSee 'docker ${command} --help'.`);
}

/**
 * The kind of an option: `switch`; `text`, of which the last one counts; `list`, which can be given often. A function
 * makes it a list whose values it checks, throwing what is wrong with one.
 */
type OptionKind = "switch" | "text" | "list" | ((value: string) => void);

/** The options of a command by their names: `name`, or `name,n` with the short form. */
export type OptionKinds = Record<string, OptionKind>;

/** A command, as it describes itself. */
export interface CommandLine {
  /** As in `container inspect`. */
  readonly name: string;
  /** What follows the name in its usage. */
  readonly usage: string;
  readonly description: string;
  /** How many arguments it takes, at least and at most. */
  readonly count: readonly [least: number, most: number];
  readonly options: OptionKinds;
  /** Whether options end at the first argument, as where another command line follows. */
  readonly optionsFirst?: true;
}

/** The options and arguments of a call. */
export class Invocation {
  readonly #options = new Map<string, string[]>();
  readonly args: string[] = [];

  constructor(readonly command: string) {}

  /** Adds a value of an option. */
  add(name: string, value: string): void {
    this.#options.set(name, [...this.all(name), value]);
  }

  /** The value of an option that was given last. */
  last(name: string): string | undefined {
    return this.all(name).at(-1);
  }

  /** Every value of an option, in order. */
  all(name: string): readonly string[] {
    return this.#options.get(name) ?? [];
  }

  /** Whether a switch is on. */
  isOn(name: string): boolean {
    return this.last(name) === "true";
  }
}

/**
 * Reads the arguments of a command as Docker does; an option that the stand-in does not have is {@link notSupported}.
 */
export function parse(command: CommandLine, args: readonly string[]): Invocation {
  const options = new Map<string, { name: string; shown: string; kind: OptionKind }>();
  for (const [names, kind] of Object.entries(command.options)) {
    const [name = "", short] = names.split(",");
    const option = { name, shown: short === undefined ? `--${name}` : `-${short}, --${name}`, kind };
    options.set(`--${name}`, option);
    if (short !== undefined) options.set(`-${short}`, option);
  }
  const invocation = new Invocation(command.name);
  const usageError = (text: string) => new Exit(125, `${text}\nSee 'docker ${command.name} --help'.`);
  const optionOf = (flag: string) => {
    const option = options.get(flag);
    if (option === undefined) throw notSupported(`docker ${command.name} ${flag}`);
    return option;
  };
  const set = (flag: string, value: string) => {
    const { name, shown, kind } = optionOf(flag);
    try {
      if (kind === "switch") value = String(parseBool(value));
      else if (typeof kind === "function") kind(value);
    } catch (error) {
      if (!(error instanceof Error) || error instanceof Exit) throw error;
      throw usageError(`invalid argument "${value}" for "${shown}" flag: ${error.message}`);
    }
    invocation.add(name, value);
  };

  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--" || ((!word.startsWith("-") || word === "-") && command.optionsFirst)) {
      invocation.args.push(...(word === "--" ? [] : [word]), ...rest);
      break;
    }
    if (!word.startsWith("-") || word === "-") invocation.args.push(word);
    else if (word.startsWith("--")) {
      const [flag = "", ...value] = word.split("=");
      if (value.length > 0) set(flag, value.join("="));
      else if (optionOf(flag).kind === "switch") set(flag, "true");
      else if (rest.length === 0) throw usageError(`flag needs an argument: ${flag}`);
      else set(flag, rest.shift()!);
    } else {
      for (let at = 1; at < word.length; at++) {
        const flag = `-${word[at]}`;
        const value = word.slice(at + 1);
        if (optionOf(flag).kind === "switch" && !value.startsWith("=")) {
          set(flag, "true");
          continue;
        }
        if (value === "" && rest.length === 0) throw usageError(`flag needs an argument: '${word[at]}' in ${word}`);
        set(flag, value === "" ? rest.shift()! : value.replace(/^=/, ""));
        break;
      }
    }
  }
  requireCount(command, invocation.args.length);
  return invocation;
}

function requireCount({ name, usage, description, count: [least, most] }: CommandLine, count: number): void {
  if (count >= least && count <= most) return;
  const expected = most === 0
    ? "accepts no arguments"
    : `requires ${least === most ? "exactly" : count < least ? "at least" : "at most"} ` +
      (count < least ? `${least} argument${least === 1 ? "" : "s"}` : `${most} argument${most === 1 ? "" : "s"}`);
  const help = `See 'docker ${name} --help'.\n\nUsage:  docker ${name} ${usage}\n\n${description}`;
  throw new Exit(1, `"docker ${name}" ${expected}.\n${help}`);
}

function parseBool(value: string): boolean {
  if (/^(1|t|T|true|True|TRUE)$/.test(value)) return true;
  if (/^(0|f|F|false|False|FALSE)$/.test(value)) return false;
  throw new Error(`strconv.ParseBool: parsing "${value}": invalid syntax`);
}

/** Throws, as Go says it, unless the value is a whole number. */
export function requireInteger(value: string): void {
  if (!/^[+-]?\d+$/.test(value)) throw new Error(`strconv.ParseInt: parsing "${value}": invalid syntax`);
}

/** A size such as `1.5g`, in bytes. */
export function parseSize(value: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(value) ?? [];
  if (number === undefined || unit === undefined) throw new Error(`invalid size: '${value}'`);
  return Math.trunc(Number(number) * 1024 ** "bkmgtp".indexOf(unit.toLowerCase() || "b"));
}

/** How many nanoseconds Go's units of time have. */
const UNITS_NS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  "µs": 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** A duration such as `1m30s`, in nanoseconds. */
export function parseDuration(value: string): number {
  const invalid = (why: string) => new Error(`time: ${why} duration ${JSON.stringify(value)}`);
  const [, sign, amounts = ""] = /^([+-]?)(.+)$/.exec(value) ?? [];
  if (amounts === "0") return 0;
  if (!/^[\d.]/.test(amounts)) throw invalid("invalid");
  let sum = 0;
  for (const [, number, unit = ""] of amounts.matchAll(/([\d.]+)([^\d.]*)/g)) {
    if (unit === "") throw invalid("missing unit in");
    const unitNs = UNITS_NS[unit];
    if (unitNs === undefined) throw invalid(`unknown unit "${unit}" in`);
    sum += Number(number) * unitNs;
  }
  return Math.round(sign === "-" ? -sum : sum);
}
