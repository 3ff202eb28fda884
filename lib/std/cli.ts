/**
 * The part of `@std/cli` that the project uses, for networks that do not reach JSR.
 *
 * `parseArgs` takes every argument list apart exactly as the package does, its oddities included;
 * `conformance_test.ts` holds both to that. Left out: `boolean: true`, and names with a dot in the types.
 *
 * @module
 */

/** @internal */
type Name = string | undefined;
/** @internal */
type Names<N extends Name> = N | readonly Extract<N, string>[];
/** @internal */
type Values = Record<string, unknown>;
/** @internal */
type Aliases = Record<string, string | readonly string[]>;

/** Options for {@linkcode parseArgs}. */
export interface ParseOptions<
  Booleans extends Name = Name,
  Strings extends Name = Name,
  Collected extends Name = Name,
  Negatable extends Name = Name,
  Defaults extends Values | undefined = Values | undefined,
  Alias extends Aliases | undefined = Aliases | undefined,
  DoubleDash extends boolean | undefined = boolean | undefined,
> {
  /** What follows `--` goes to the result's `--` instead of its `_`. */
  "--"?: DoubleDash;
  /** Further names of an option: `{ help: "h" }`. */
  alias?: Alias;
  /** Options without a value, `false` unless given. */
  boolean?: Names<Booleans>;
  /** What options that are not given are set to. */
  default?: Defaults;
  /** Everything from the first positional argument on is positional. */
  stopEarly?: boolean;
  /** Options whose value stays text, `_` for the positional arguments; any other that looks like a number becomes one. */
  string?: Names<Strings>;
  /** Options that can be given more than once, their values collected in a list. */
  collect?: Names<Collected>;
  /** Options that `--no-<name>` sets to `false`. */
  negatable?: Names<Negatable>;
  /** Called for each argument that no other option names; the argument is left out if it returns `false`. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

type NegatedTo<N, Negatable> = N extends Negatable ? false : never;

/** @internal */
type Named<Booleans, Strings, Collected, Negatable> =
  & { [N in Exclude<Strings, Collected> & string]?: string | NegatedTo<N, Negatable> }
  & { [N in Exclude<Booleans, Collected> & string]: boolean }
  & { [N in Extract<Strings, Collected> & string]: string[] | NegatedTo<N, Negatable> }
  & { [N in Extract<Booleans, Collected> & string]: boolean[] }
  & { [N in Exclude<Collected, Strings | Booleans> & string]: unknown[] | NegatedTo<N, Negatable> };

/** @internal */
type WithDefaults<Given, Defaults> = Defaults extends undefined ? Given
  :
    & Omit<Given, keyof Defaults>
    & { [N in keyof Defaults]: N extends keyof Given ? Defaults[N] | NonNullable<Given[N]> : unknown };

/** @internal */
type WithAliases<Given, Alias> = { [N in keyof Given as N | AliasOf<N, Alias>]: Given[N] };

type AliasOf<N, Alias> = N extends keyof Alias
  ? Alias[N] extends readonly string[] ? Alias[N][number] : Extract<Alias[N], string>
  : never;

/** What {@linkcode parseArgs} returns: the options by name, and in `_` the positional arguments. */
export type Args<Options = Values, DoubleDash extends boolean | undefined = undefined> =
  & Options
  & { _: (string | number)[] }
  & (true extends DoubleDash ? { "--": string[] } : unknown);

/**
 * Takes an argument list apart into options and positional arguments.
 *
 * `--name value`, `--name=value`, `-n value`, `-n5` and `-abc` are understood; an option of which nothing is known
 * takes the next argument as its value unless that starts with a hyphen, and is `true` without one. After `--`
 * everything is positional.
 *
 * ```ts
 * const args = parseArgs(["901", "--check"], { boolean: ["check"], string: ["_", "log-file"] });
 * // { _: ["901"], check: true }
 * ```
 */
export function parseArgs<
  Booleans extends Name = undefined,
  Strings extends Name = undefined,
  Collected extends Name = undefined,
  Negatable extends Name = undefined,
  Defaults extends Values | undefined = undefined,
  const Alias extends Aliases | undefined = undefined,
  DoubleDash extends boolean | undefined = undefined,
>(
  args: readonly string[],
  options: ParseOptions<Booleans, Strings, Collected, Negatable, Defaults, Alias, DoubleDash> = {},
): Args<
  Values & WithAliases<WithDefaults<Named<Booleans, Strings, Collected, Negatable>, Defaults>, Alias>,
  DoubleDash
> {
  const aliases = aliasesByName(options.alias ?? {});
  const namesOf = (names: Names<Name>) => withAliases(names, aliases);
  const booleans = namesOf(options.boolean);
  const strings = namesOf(options.string);
  const collected = namesOf(options.collect);
  const negatable = namesOf(options.negatable);

  const result: Values & { _: (string | number)[] } = { _: [] };

  function set(name: string, given: string | boolean, argument: string, isNegation = false): void {
    const isKnown = [booleans, strings, collected, aliases].some((names) => names.has(name));
    if (!isKnown && options.unknown?.(argument, name, given) === false) return;
    const value = typeof given === "string" && !strings.has(name) ? numberOrText(given) : given;
    for (const each of [name, ...aliases.get(name) ?? []]) {
      assign(result, each, value, collected.has(name) && !isNegation);
    }
  }

  const withoutValue = (name: string) => strings.has(name) ? "" : true;
  const takesNoValue = (name: string) => [name, ...aliases.get(name) ?? []].some((each) => booleans.has(each));

  /** Sets the option `name`, and says whether `next` was its value. */
  function setWithNext(name: string, argument: string, next: string | undefined, nextIsOption: RegExp): boolean {
    if (next && !takesNoValue(name) && !nextIsOption.test(next)) {
      set(name, next, argument);
      return true;
    }
    if (next === "true" || next === "false") {
      set(name, next === "true", argument);
      return true;
    }
    set(name, withoutValue(name), argument);
    return false;
  }

  function parseLong(argument: string, next: string | undefined): boolean {
    const isNegation = argument.startsWith("--no-") && argument.length > "--no-".length;
    const body = argument.slice(isNegation ? "--no-".length : "--".length);
    // The name is never empty: a "=" in front belongs to it.
    const end = body.indexOf("=", 1);
    if (end > 0) {
      const [name, value] = [body.slice(0, end), body.slice(end + 1)];
      set(name, booleans.has(name) ? value !== "false" : value, argument);
      return false;
    }
    if (isNegation && negatable.has(body)) {
      set(body, false, argument, true);
      return false;
    }
    return setWithNext(isNegation ? `no-${body}` : body, argument, next, /^-/);
  }

  function parseShort(argument: string, next: string | undefined): boolean {
    const last = argument.slice(-1);
    const letters = argument.slice(1, -1).split("");
    for (const [index, letter] of letters.entries()) {
      const rest = argument.slice(index + 2);
      if (rest === "-") {
        set(letter, rest, argument);
        continue;
      }
      const value = attachedValue(letter, rest, letters[index + 1]);
      if (value !== undefined) {
        set(letter, value, argument);
        return false;
      }
      set(letter, withoutValue(letter), argument);
    }
    return last !== "-" && setWithNext(last, argument, next, /^--?[^-]/);
  }

  const dashes = args.indexOf("--");
  const parsed = dashes < 0 ? args : args.slice(0, dashes);
  const verbatim = dashes < 0 ? [] : args.slice(dashes + 1);

  for (let index = 0; index < parsed.length; index++) {
    const argument = parsed[index] ?? "";
    if (argument.startsWith("-") && argument !== "-") {
      const parse = argument.startsWith("--") ? parseLong : parseShort;
      if (parse(argument, parsed[index + 1])) index++;
      continue;
    }
    if (options.unknown?.(argument) !== false) {
      result._.push(strings.has("_") ? argument : numberOrText(argument));
    }
    if (options.stopEarly) {
      result._.push(...parsed.slice(index + 1));
      break;
    }
  }

  for (const [name, value] of Object.entries(options.default ?? {})) {
    if (has(result, name)) continue;
    for (const each of [name, ...aliases.get(name) ?? []]) assign(result, each, value);
  }
  for (const name of booleans) {
    if (!has(result, name)) assign(result, name, collected.has(name) ? [] : false);
  }
  for (const name of strings) {
    if (!has(result, name) && collected.has(name)) assign(result, name, []);
  }
  if (options["--"]) result["--"] = verbatim;
  else result._.push(...verbatim);

  // The parts of the return type restate, for the compiler, what the loops above have put into the result.
  return result as ReturnType<
    typeof parseArgs<Booleans, Strings, Collected, Negatable, Defaults, Alias, DoubleDash>
  >;
}

/** Every name with the other names of the same option. */
function aliasesByName(alias: Aliases): Map<string, Set<string>> {
  const byName = new Map<string, Set<string>>();
  for (const [name, others] of Object.entries(alias)) {
    const names = [name, ...[others].flat()];
    for (const each of names) byName.set(each, new Set(names.filter((other) => other !== each)));
  }
  return byName;
}

function withAliases(names: Names<Name>, aliases: Map<string, Set<string>>): Set<string> {
  const given = [names ?? []].flat().filter((name) => name !== "");
  return new Set(given.flatMap((name) => [name, ...aliases.get(name) ?? []]));
}

/** The value in `-n=5`, `-n5` or `-n/path`, or `undefined` where another letter follows. */
function attachedValue(letter: string, rest: string, following: string | undefined): string | undefined {
  if (rest === "=") return "";
  if (/[A-Za-z]/.test(letter)) {
    const afterEquals = /=(.+)/.exec(rest)?.[1];
    if (afterEquals !== undefined) return afterEquals;
    if (/\d+(\.\d*)?(e-?\d+)?$/.test(rest)) return rest;
  }
  return following !== undefined && /\W/.test(following) ? rest : undefined;
}

function numberOrText(text: string): number | string {
  return /\S/.test(text) && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** Sets `a.b.c` inside nested objects, made as needed. */
function assign(target: Values, name: string, value: unknown, collect = false): void {
  const path = name.split(".");
  const last = path.pop() ?? "";
  let object = target;
  for (const key of path) {
    if (isUnsafe(object, key)) return;
    object = (object[key] ??= {}) as Values;
  }
  if (isUnsafe(object, last)) return;
  const present = object[last];
  if (!collect) object[last] = value;
  else if (Array.isArray(present)) present.push(value);
  else object[last] = present ? [present, value] : [value];
}

function has(target: Values, name: string): boolean {
  let object = target;
  return name.split(".").every((key) => {
    const isThere = Object.hasOwn(object, key);
    object = object[key] as Values;
    return isThere;
  });
}

/** Writing through these would change what all objects inherit. */
function isUnsafe(object: Values, key: string): boolean {
  return key === "__proto__" || (key === "constructor" && typeof object[key] === "function");
}
