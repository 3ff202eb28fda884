/**
 * Docker's command line: options as its parser reads them, and the ways in which a command ends.
 *
 * @module
 */

/** The end of a command: what it says on stderr, and its exit code. */
export class Exit extends Error {
  constructor(readonly code: number, message = "") {
    super(message);
  }
}

/** What the engine refuses. The client writes `Error response from daemon:` before it. */
export class Refusal extends Error {
  constructor(readonly reason: string) {
    super(`Error response from daemon: ${reason}`);
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

/**
 * The kind of an option: `bool`; `text`, of which the last one counts; `list`, which can be given often. A function is a list
 * whose values it checks, throwing what is wrong with one.
 */
export type OptionKind = "bool" | "text" | "list" | ((value: string) => void);

/** The options of a command by their names, `name` or `name,n` with the short form. */
export type OptionKinds = Record<string, OptionKind>;

/** The options and arguments that were given. */
export class Given {
  readonly lists = new Map<string, string[]>();
  readonly arguments: string[] = [];

  /** The value of an option that was given last. */
  text(name: string): string | undefined {
    return this.lists.get(name)?.at(-1);
  }

  /** Every value of an option, in order. */
  list(name: string): string[] {
    return this.lists.get(name) ?? [];
  }

  /** Whether a switch is on. */
  is(name: string): boolean {
    return this.text(name) === "true";
  }
}

/** What a command says of itself. */
export interface CommandLine {
  /** As in `docker container inspect`, without `docker`. */
  name: string;
  /** What follows the name in its usage. */
  usage: string;
  description: string;
  /** How many arguments it takes. */
  least: number;
  most: number;
  options: OptionKinds;
  /** Whether options end at the first argument, as where another command line follows. */
  interspersed?: false;
}

/** Reads the arguments of a command as Docker does; an option that the stand-in does not have is {@link notSupported}. */
export function parse(command: CommandLine, args: string[]): Given {
  const kinds = new Map<string, { name: string; shown: string; kind: OptionKind }>();
  for (const [names, kind] of Object.entries(command.options)) {
    const [name = "", short] = names.split(",");
    const option = { name, shown: short === undefined ? `--${name}` : `-${short}, --${name}`, kind };
    kinds.set(`--${name}`, option);
    if (short !== undefined) kinds.set(`-${short}`, option);
  }
  const given = new Given();
  const usageError = (text: string) => new Exit(125, `${text}\nSee 'docker ${command.name} --help'.`);
  const set = (flag: string, value: string) => {
    const option = kinds.get(flag);
    if (option === undefined) throw notSupported(`docker ${command.name} ${flag}`);
    if (option.kind === "bool" && !/^(true|false)$/.test(value)) {
      throw usageError(
        `invalid argument "${value}" for "${option.shown}" flag: strconv.ParseBool: parsing "${value}": invalid syntax`,
      );
    }
    try {
      if (typeof option.kind === "function") option.kind(value);
    } catch (error) {
      if (!(error instanceof Error) || error instanceof Exit) throw error;
      throw usageError(`invalid argument "${value}" for "${option.shown}" flag: ${error.message}`);
    }
    given.lists.set(option.name, [...given.list(option.name), value]);
  };
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") {
      given.arguments.push(...rest);
      break;
    }
    if (!word.startsWith("-") || word === "-") {
      given.arguments.push(word);
      if (command.interspersed !== false) continue;
      given.arguments.push(...rest);
      break;
    }
    if (word.startsWith("--")) {
      const [flag = "", ...value] = word.split("=");
      if (value.length > 0) set(flag, value.join("="));
      else if (kinds.get(flag)?.kind === "bool") set(flag, "true");
      else if (kinds.get(flag) !== undefined && rest.length === 0) throw usageError(`flag needs an argument: ${flag}`);
      else set(flag, kinds.has(flag) ? rest.shift() ?? "" : "");
      continue;
    }
    for (let at = 1; at < word.length; at++) {
      const flag = `-${word[at]}`;
      if (kinds.get(flag)?.kind === "bool" && word[at + 1] !== "=") {
        set(flag, "true");
        continue;
      }
      const value = word.slice(at + 1);
      if (kinds.has(flag) && value === "" && rest.length === 0) {
        throw usageError(`flag needs an argument: '${word[at]}' in ${word}`);
      }
      set(flag, value === "" && kinds.has(flag) ? rest.shift() ?? "" : value.replace(/^=/, ""));
      break;
    }
  }
  requireArguments(command, given.arguments.length);
  return given;
}

function requireArguments({ name, usage, description, least, most }: CommandLine, count: number): void {
  if (count >= least && count <= most) return;
  const number = (n: number) => `${n} argument${n === 1 ? "" : "s"}`;
  const wanted = most === 0
    ? "accepts no arguments"
    : least === most
    ? `requires exactly ${number(least)}`
    : count < least
    ? `requires at least ${number(least)}`
    : `requires at most ${number(most)}`;

  throw new Exit(
    1,
    `"docker ${name}" ${wanted}.\nSee 'docker ${name} --help'.\n\nUsage:  ${
      `docker ${name} ${usage}`.trim()
    }\n\n${description}`,
  );
}

/** An option's value that has to be a whole number, as Go says it. */
export function wholeNumber(value: string): void {
  if (!/^[+-]?\d+$/.test(value)) throw new Error(`strconv.ParseInt: parsing "${value}": invalid syntax`);
}

/** A size such as `1.5g`, in bytes. */
export function bytes(value: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)i?b?$/i.exec(value) ?? [];
  if (number === undefined || unit === undefined) throw new Error(`invalid size: '${value}'`);
  return Math.trunc(Number(number) * 1024 ** "bkmgtp".indexOf(unit.toLowerCase() || "b"));
}

/** A duration such as `1m30s`, in nanoseconds. */
export function duration(value: string): number {
  const units: Record<string, number> = { ns: 1, us: 1e3, "µs": 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };
  const quoted = JSON.stringify(value);
  if (/^[+-]?0$/.test(value)) return 0;
  if (/^[+-]?\d+(\.\d+)?$/.test(value)) throw new Error(`time: missing unit in duration ${quoted}`);
  if (!/^[+-]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+$/.test(value)) throw new Error(`time: invalid duration ${quoted}`);
  let sum = 0;
  for (const [, number, unit = ""] of value.matchAll(/(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)/g)) {
    sum += Number(number) * (units[unit] ?? 0);
  }
  return Math.round(value.startsWith("-") ? -sum : sum);
}
