// What the project relies on in @std/{assert,cli,log,path}, checked against whichever side the imports resolve to:
// the packages themselves or the modules beside this file. Every expectation was recorded with the packages.
import {
  assert,
  assertEquals,
  assertInstanceOf,
  AssertionError,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { parseArgs, type ParseOptions } from "@std/cli";
import { BaseHandler, type LevelName, Logger, type LogLevel, LogLevels, type LogRecord } from "@std/log";
import { basename, dirname, fromFileUrl, join, resolve } from "@std/path";
import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { type Random, randomFrom } from "../../tests/support/random.ts";

// The checks of the assertions themselves must not rest on the assertions.
function must(truth: boolean, claim: string): void {
  if (!truth) throw new Error(claim);
}

function failureOf(assertion: () => unknown): AssertionError {
  try {
    assertion();
  } catch (error) {
    if (error instanceof AssertionError) return error;
    throw error;
  }
  throw new Error(`Should fail: ${assertion}`);
}

async function rejectionOf(assertion: () => Promise<unknown>): Promise<AssertionError> {
  const error = await assertion().then(() => undefined, (error) => error);
  if (error instanceof AssertionError) return error;
  throw error ?? new Error(`Should reject: ${assertion}`);
}

class Point {
  constructor(readonly x: number, readonly y: unknown = 0) {}
  get sum(): number {
    return this.x + Number(this.y);
  }
}
class NamedPoint extends Point {}

const tag = Symbol("tag");
const cyclic = () => {
  const value: { self?: unknown; n: number } = { n: 1 };
  value.self = value;
  return value;
};
const withoutPrototype = (properties: object) => Object.assign(Object.create(null), properties);

// Each row: what it shows, two values, whether they are equal.
const equality: [string, unknown, unknown, boolean][] = [
  ["equal texts", "a", "a", true],
  ["text and number", "1", 1, false],
  ["null and undefined", null, undefined, false],
  ["NaN", NaN, NaN, true],
  ["zero and its negative", 0, -0, true],
  ["zero and its negative, nested", [0], [-0], true],
  ["bigint", 1n, 1n, true],
  ["nested objects in another order", { a: [1, { b: 2 }], c: 3 }, { c: 3, a: [1, { b: 2 }] }, true],
  ["a nested difference", { a: [1, { b: 2 }] }, { a: [1, { b: 3 }] }, false],
  ["a property undefined and one absent", { a: undefined }, {}, false],
  ["properties undefined under other names", { a: undefined }, { b: undefined }, false],
  ["an object without prototype", withoutPrototype({ a: 1 }), { a: 1 }, true],
  ["the groups of a match", /(?<a>x)/.exec("x")?.groups, { a: "x" }, true],
  ["array and object", [], {}, false],
  ["arrays of other length", [1, 2], [1], false],
  ["a hole and undefined", [, 1], [undefined, 1], false],
  ["symbol keys", { [tag]: 1 }, { [tag]: 2 }, false],
  ["dates", new Date(1), new Date(1), true],
  ["other dates", new Date(1), new Date(2), false],
  ["invalid dates", new Date(NaN), new Date(NaN), true],
  ["expressions", /a/g, /a/g, true],
  ["expressions with other flags", /a/g, /a/, false],
  ["URLs", new URL("http://a/"), new URL("http://a"), true],
  ["other URLs", new URL("http://a/"), new URL("http://b"), false],
  ["bytes", new Uint8Array([1, 2]), new Uint8Array([1, 2]), true],
  ["other bytes", new Uint8Array([1, 2]), new Uint8Array([1, 3]), false],
  ["bytes and words", new Uint8Array([1]), new Uint16Array([1]), false],
  ["buffers", new Uint8Array([1]).buffer, new Uint8Array([2]).buffer, false],
  ["sets in another order", new Set([1, 2]), new Set([2, 1]), true],
  ["sets of other sizes", new Set([1]), new Set([1, 2]), false],
  ["sets of equal objects", new Set([{ a: 1 }]), new Set([{ a: 1 }]), true],
  ["sets of other objects", new Set([{ a: 1 }]), new Set([{ a: 2 }]), false],
  ["maps in another order", new Map([["a", 1], ["b", 2]]), new Map([["b", 2], ["a", 1]]), true],
  ["maps with another value", new Map([["a", [1]]]), new Map([["a", [2]]]), false],
  ["maps with an equal key", new Map([[{ a: 1 }, 1]]), new Map([[{ a: 1 }, 1]]), true],
  ["instances", new Point(1), new Point(1), true],
  ["instances of another value", new Point(1), new Point(2), false],
  ["instances of a subclass", new Point(1), new NamedPoint(1), false],
  ["an instance and its properties", new Point(1), { x: 1, y: 0 }, false],
  ["functions, by identity", () => 1, () => 1, false],
  ["cycles", cyclic(), cyclic(), true],
  ["errors with another message", new Error("a"), new Error("b"), false],
];

Deno.test("assertEquals and assertNotEquals agree on what is equal", () => {
  for (const [claim, left, right, isEqual] of equality) {
    if (isEqual) {
      assertEquals(left, right);
      failureOf(() => assertNotEquals(left, right));
    } else {
      assertNotEquals(left, right);
      failureOf(() => assertEquals(left, right));
    }
    // Equality has no direction.
    must(succeeds(() => assertEquals(right, left)) === isEqual, claim);
  }
});

function succeeds(assertion: () => void): boolean {
  try {
    assertion();
    return true;
  } catch {
    return false;
  }
}

Deno.test("a failed comparison shows both values, marked", () => {
  // Each side lays the marked lines out in its own way, colours included.
  const message = stripVTControlCharacters(
    failureOf(() => assertEquals({ a: 1, same: "s" }, { a: 2, same: "s" }, "hint")).message,
  );
  must(/^Values are not equal: hint\n/.test(message), message);
  must(message.includes("Actual / Expected"), message);
  must(/^ +same: "s",$/m.test(message) && /^- +a: 1,$/m.test(message) && /^\+ +a: 2,$/m.test(message), message);
  const ofTexts = stripVTControlCharacters(failureOf(() => assertEquals("one\nactual", "one\nexpected")).message);
  must(/^- +actual/m.test(ofTexts) && /^\+ +expected/m.test(ofTexts), ofTexts);
});

// Each row: an assertion that fails, and its message.
const failures: [() => void, string][] = [
  [() => assert(0), ""],
  [() => assert("", "hint"), "hint"],
  [() => assertNotEquals("a", "a"), 'Expected actual: "a" not to be: "a".'],
  [() => assertNotEquals(1, 1, "hint"), "Expected actual: 1 not to be: 1: hint"],
  [() => assertStringIncludes("abc", "d"), 'Expected actual: "abc" to contain: "d".'],
  [() => assertStringIncludes("abc", "d", "hint"), 'Expected actual: "abc" to contain: "d": hint'],
  [() => assertMatch("abc", /d/), 'Expected actual: "abc" to match: "/d/".'],
  [() => assertMatch("abc", /d/i, "hint"), 'Expected actual: "abc" to match: "/d/i": hint'],
  [
    () => assertInstanceOf(new Point(1), Date),
    'Expected object to be an instance of "Date" but was "Point".',
  ],
  [() => assertInstanceOf(null, Date), 'Expected object to be an instance of "Date" but was "null".'],
  [() => assertInstanceOf(undefined, Date), 'Expected object to be an instance of "Date" but was "undefined".'],
  [() => assertInstanceOf("x", Date, "hint"), 'Expected object to be an instance of "Date" but was "string": hint'],
  [
    () => assertInstanceOf(Date, Date),
    'Expected object to be an instance of "Date" but was not an instanced object.',
  ],
  [() => assertThrows(() => {}), "Expected function to throw."],
  [() => assertThrows(() => {}, "hint"), "Expected function to throw: hint"],
  [() => assertThrows(() => {}, Error, "text", "hint"), "Expected function to throw: hint"],
  [() => assertThrows(throwing("text"), Error), "A non-Error object was thrown."],
  [
    () => assertThrows(throwing(new Error("text")), TypeError),
    'Expected error to be instance of "TypeError", but was "Error".',
  ],
  [
    () => assertThrows(throwing(new TypeError('"text"')), TypeError, "other", "hint"),
    'Expected error message to include "other", but got "\\"text\\"": hint',
  ],
];

function throwing(error: unknown): () => never {
  return () => {
    throw error;
  };
}

Deno.test("a failed assertion throws an AssertionError that says what was expected", () => {
  for (const [assertion, message] of failures) {
    const error = failureOf(assertion);
    must(error.message === message, `${assertion} says ${JSON.stringify(error.message)}`);
    must(error instanceof Error && error.name === "AssertionError", `${assertion} throws a ${error.name}`);
  }
});

Deno.test("assertions pass on what they ask for", () => {
  assert(1);
  assertStringIncludes("abc", "b");
  assertMatch("abc", /B/i);
  assertInstanceOf(new NamedPoint(1), Point);
});

Deno.test("assertThrows returns what was thrown, an error of the class or of a subclass", () => {
  const error = new TypeError("the \x1b[31mred\x1b[39m text");
  must(assertThrows(throwing(error)) === error, "any error");
  must(assertThrows(throwing(error), Error, "the red text") === error, "of a subclass, by its text without colours");
  must(assertThrows(throwing("no error")) === "no error", "what is no error");
  const typed: TypeError = assertThrows(throwing(error), TypeError);
  must(typed === error, "of the class");
});

Deno.test("assertRejects resolves to what the promise rejected with, and fails in words", async () => {
  const error = new TypeError("text");
  must(await assertRejects(() => Promise.reject(error)) === error, "any error");
  must(await assertRejects(() => Promise.reject(error), Error, "tex") === error, "of a subclass, by its text");
  must(await assertRejects(() => Promise.reject("no error")) === "no error", "what is no error");
  const rejections: [() => Promise<unknown>, string][] = [
    [() => assertRejects(() => Promise.resolve()), "Expected function to reject."],
    [() => assertRejects(() => Promise.resolve(), "hint"), "Expected function to reject: hint"],
    [() => assertRejects(throwing(error)), "Function throws when expected to reject."],
    [() => assertRejects(throwing(error), Error, "", "hint"), "Function throws when expected to reject: hint"],
    [() => assertRejects(() => Promise.reject("text"), Error), "A non-Error object was rejected."],
    [
      () => assertRejects(() => Promise.reject(error), RangeError),
      'Expected error to be instance of "RangeError", but was "TypeError".',
    ],
    [
      () => assertRejects(() => Promise.reject(error), TypeError, "other"),
      'Expected error message to include "other", but got "text".',
    ],
  ];
  for (const [assertion, message] of rejections) assertEquals((await rejectionOf(assertion)).message, message);
});

// Each row: the arguments, the options, the result.
const parsed: [string[], ParseOptions, unknown][] = [
  [[], {}, { _: [] }],
  [["901"], {}, { _: [901] }],
  [["901"], { string: ["_"] }, { _: ["901"] }],
  [["0901", "1e3", "0x10", "", " ", "Infinity", "-"], {}, { _: [901, 1000, 16, "", " ", "Infinity", "-"] }],
  [["0901", "1e3", "0x10"], { string: ["_"] }, { _: ["0901", "1e3", "0x10"] }],
  [["--check", "901"], { boolean: ["check"] }, { _: [901], check: true }],
  [["--check", "901"], {}, { _: [], check: 901 }],
  [["--check=false"], { boolean: ["check"] }, { _: [], check: false }],
  [["--check=no"], { boolean: ["check"] }, { _: [], check: true }],
  [["--check", "false", "901"], { boolean: ["check"] }, { _: [901], check: false }],
  [[], { boolean: ["check"] }, { _: [], check: false }],
  [[], { boolean: ["check"], default: { check: true } }, { _: [], check: true }],
  [["--no-check"], { boolean: ["check"] }, { _: [], check: false, "no-check": true }],
  [["--no-check"], { boolean: ["check"], negatable: ["check"] }, { _: [], check: false }],
  [["--no-color=always"], { string: ["color"], negatable: ["color"] }, { _: [], color: "always" }],
  [["--log-file", "/a b"], { string: ["log-file"] }, { _: [], "log-file": "/a b" }],
  [["--log-file=/a=b"], { string: ["log-file"] }, { _: [], "log-file": "/a=b" }],
  [["--log-file="], { string: ["log-file"] }, { _: [], "log-file": "" }],
  [["--log-file"], { string: ["log-file"] }, { _: [], "log-file": "" }],
  [["--log-file", "--check"], { string: ["log-file"], boolean: ["check"] }, { _: [], "log-file": "", check: true }],
  [["--log-file", "-"], { string: ["log-file"] }, { _: ["-"], "log-file": "" }],
  [["--timeout=007"], {}, { _: [], timeout: 7 }],
  [["--timeout=007"], { string: ["timeout"] }, { _: [], timeout: "007" }],
  [["--timeout=1", "--timeout=2"], { string: ["timeout"] }, { _: [], timeout: "2" }],
  [["--a=1", "--a", "2"], { collect: ["a"] }, { _: [], a: [1, 2] }],
  [[], { collect: ["a"], string: ["a"] }, { _: [], a: [] }],
  [[], { collect: ["a"] }, { _: [] }],
  [["-h"], { boolean: ["help"], alias: { help: "h" } }, { _: [], help: true, h: true }],
  [["-vv", "--quiet"], { boolean: ["verbose", "quiet"], alias: { verbose: ["v", "loud"] } }, {
    _: [],
    verbose: true,
    v: true,
    loud: true,
    quiet: true,
  }],
  [["-n5", "-f/a", "-x=y", "-ab"], {}, { _: [], n: 5, f: "/a", x: "y", a: true, b: true }],
  [["-n", "-5"], {}, { _: [], n: true, 5: true }],
  [["--", "--check", "901"], { boolean: ["check"] }, { _: ["--check", "901"], check: false }],
  [["a", "--", "b", "--", "c"], { "--": true }, { _: ["a"], "--": ["b", "--", "c"] }],
  [["test", "--check", "901"], { stopEarly: true, boolean: ["check"] }, {
    _: ["test", "--check", "901"],
    check: false,
  }],
  [["--a.b=1", "--a.c", "x"], {}, { _: [], a: { b: 1, c: "x" } }],
  [["--__proto__.x=1", "--constructor=1"], {}, { _: [] }],
  [["--=x", "---y", "--=a=b"], {}, { _: [], "=x": true, "-y": true, "=a": "b" }],
  [["--a=1\n2"], {}, { _: [], a: "1\n2" }],
];

Deno.test("parseArgs takes argument lists apart", () => {
  for (const [args, options, expected] of parsed) {
    assertEquals<unknown>(parseArgs(args, options), expected, JSON.stringify([args, options]));
  }
});

Deno.test("parseArgs asks about each argument that it does not know, and leaves out what is refused", () => {
  const asked: unknown[][] = [];
  const args = parseArgs(["901", "--check", "--chekc", "-q", "x", "--time=5", "902"], {
    boolean: ["check"],
    unknown: (...question) => {
      asked.push(question);
      return question[0] === "901";
    },
  });
  assertEquals<unknown>(args, { _: [901], check: true });
  assertEquals(asked, [["901"], ["--chekc", "chekc", true], ["-q", "q", "x"], ["--time=5", "time", "5"], ["902"]]);
});

Deno.test("parseArgs fails on --_ before positional arguments can be lost", () => {
  assertThrows(() => parseArgs(["--_", "x"]), TypeError);
});

Deno.test("the types of parseArgs follow from its options", () => {
  const args = parseArgs(["--label=a", "--label", "b", "-c"], {
    boolean: ["check", "json"],
    string: ["_", "log-file", "level", "label"],
    collect: ["label"],
    default: { level: "info" },
    alias: { check: "c" },
    "--": true,
  });
  const typed: {
    check: boolean;
    c: boolean;
    json: boolean;
    level: string;
    logFile: string | undefined;
    label: string[];
    rest: string[];
    unknown: unknown;
  } = {
    check: args.check,
    c: args.c,
    json: args.json,
    level: args.level,
    logFile: args["log-file"],
    label: args.label,
    rest: args["--"],
    unknown: args.other,
  };
  assertEquals(typed, {
    check: true,
    c: true,
    json: false,
    level: "info",
    logFile: undefined,
    label: ["a", "b"],
    rest: [],
    unknown: undefined,
  });
  // @ts-expect-error An option that may be absent is no text.
  const file: string = args["log-file"];
  assertEquals<unknown>(file, undefined);
});

function generateArguments(below: Random): string[] {
  const pick = (list: readonly string[]) => list[below(list.length)] ?? "";
  const name = () => pick(["check", "c", "log-file", "f", "level", "tag", "no-tag", "other", "a.b", "n"]);
  const value = () => pick(["901", "-1", "/a b", "x=y", "true", "false", "", "-", "--", "=", " ", "1e3", "007", "é\n"]);
  const forms = [
    value,
    value,
    () => `--${name()}`,
    () => `--${name()}=${value()}`,
    () => `--no-${name()}`,
    () => `-${name()}`,
    () => `-${pick(["c", "f", "n", "cf", "fn", "nc"])}${value()}`,
    () => `-${pick(["c", "n"])}${pick(["n", "f"])}${pick(["", "=", "5", "/x", "-", "=7", "."])}${pick(["", "x", "1"])}`,
  ];
  return Array.from({ length: 1 + below(5) }, () => (forms[below(forms.length)] ?? value)());
}

// Each row: the options, and four digits for each of 24 generated argument lists, recorded with the package.
const generated: [ParseOptions, string][] = [
  [{}, "54f982c2895b6557c5d2fa7684f8db4fe53c70deb6dfdf01f5408701d66774bcbeb972c90d7945f7a5a6da193bdfe970"],
  [
    { string: ["_"] },
    "fda24e57577345a97dd5b1ff05cf442b6976350cde4593017fb253ec4a9c3b6d23abced77f9ae90b7adfb0ecf5a9bef5",
  ],
  [
    { boolean: ["check", "c"] },
    "82e09fa85e46fba11f2c602d8c12be8ad4f809ce24dd30f4872be31f7637b32a67a5fb8900ed724b80fedbb748f6479e",
  ],
  [
    { boolean: "check", string: "log-file", alias: { check: "c", "log-file": ["f"] } },
    "b4257616ed600c2ef5768981d6d1e2a36faf8d43815e2af96227439a7a1c42fc1fe9a8f5e9c4aedf85ec22ab856c5913",
  ],
  [
    { string: ["_", "log-file", "level", "f", "n"], boolean: ["check"] },
    "051c0911aee37584e12a18a1a0957e68b5509cc2cddacc8391a3a01ce1d91b6ef9e3f0d1dc6b55ac9bd56731051c8d97",
  ],
  [
    { boolean: ["check"], string: ["_", "tag"], collect: ["tag"], negatable: ["tag"] },
    "2e99f67994c3cb2c732ae5d753c9032f65be231c54d13a12b3299fa3e5aa4b4a6278fc8448e1802803bc63885065ee3b",
  ],
  [
    { collect: ["n", "check"], boolean: ["check"], alias: { check: "c" } },
    "48d579a2b28c9334e43e761bdb86c5ef6f0c1ef7060148c40deae559d7e540e552d107dded45c371eae77c3ff4469478",
  ],
  [
    { default: { check: true, level: "info", "a.b": 1 }, boolean: ["check"], negatable: ["check"] },
    "c6bed84696b319641125bd1566c675c68f587996abe61f29e503dee4385c62bc60c839ff41c54289b5f3323dca4fe5bb",
  ],
  [
    { stopEarly: true, boolean: ["check", "c"], string: ["_"] },
    "a63b9cfe04af0df00b584715e790065e00c3dc3de932514cf3e119b29d7c7479c9aa18016271b056c3b22c7feee59551",
  ],
  [
    { stopEarly: true, "--": true },
    "278792fc6c32c4e326981ef9f3c6560bd13edc9ba0a53644227d9d30d32fb98ddcd1241b22df8d5bbf98b98db98b8c21",
  ],
  [
    { "--": true, string: ["_", "f"], alias: { f: "log-file", n: ["level", "other"] } },
    "bd1b5f62691a02b91f2cc5fd6bdf6efe26ec4d9181fb830b9a9ac1836fb8ae4476ef43b8a6205f64faf4877a831f9ff1",
  ],
  [
    { default: { n: [] }, collect: ["n", "f"], alias: { n: "f" } },
    "8c97b379061a576f53d699e0088e9ce6dbbcbc8d10ca028e334a8767664ea08aa4fbaaa9928f2fb4188a4b422331d567",
  ],
  [
    { boolean: ["a.b", "check"], string: ["other", "level"], negatable: ["level", "a.b", "log-file"] },
    "a6204c003219b1f6a4b79cba5c2a8f57318c9e44e648cef6bc3dc0d77e632ebd0fea4fe7ea603983be373d45684a1513",
  ],
  [
    { string: ["_", "check", "tag"], negatable: "tag", alias: { tag: ["n", "f"] }, default: { tag: "x" } },
    "0e268ae7928e00dd4fe6f312738a5401605ebab9660fef94bd4af5759ea3f09cd90e022b1d74b134765f04f4c0a3e150",
  ],
];

/** Four digits of everything that parseArgs does with an argument list: result, questions, failure. */
function digits(args: string[], options: ParseOptions, refuses: boolean): [string, unknown] {
  const asked: unknown[][] = [];
  const unknown = (...question: unknown[]) => {
    asked.push(question);
    return !refuses;
  };
  let result: unknown;
  try {
    result = parseArgs(args, { ...structuredClone(options), unknown });
  } catch (error) {
    result = error instanceof Error ? error.name : error;
  }
  const sorted = (_key: string, value: unknown) =>
    typeof value === "object" && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort())
      : value;
  const record = [result, asked];
  return [createHash("sha256").update(JSON.stringify(record, sorted)).digest("hex").slice(0, 4), record];
}

Deno.test("parseArgs treats generated argument lists as recorded", () => {
  for (const [row, [options, recorded]] of generated.entries()) {
    const below = randomFrom(row);
    for (let index = 0; index < 24; index++) {
      const args = generateArguments(below);
      const [actual, record] = digits(args, options, index % 2 === 1);
      const place = JSON.stringify({ row, index, args, options, record });
      assertEquals(actual, recorded.slice(index * 4, index * 4 + 4), place);
    }
  }
});

Deno.test("parseArgs hands through, unchanged, every value and every positional argument that is declared as text", () => {
  const below = randomFrom(901);
  for (let index = 0; index < 500; index++) {
    const [value = "", ...positionals] = generateArguments(below);
    const options = { string: ["_", "log-file"], boolean: ["check"] } as const;
    assertEquals(parseArgs([`--log-file=${value}`], options)["log-file"], value);
    const args = parseArgs(["--check", "--", ...positionals], options);
    assertEquals<unknown>(args, { _: positionals, check: true });
  }
});

/** Keeps what it is given. */
class Collector extends BaseHandler {
  readonly lines: string[] = [];
  readonly records: LogRecord[] = [];
  override handle(record: LogRecord): void {
    this.records.push(record);
    super.handle(record);
  }
  log(msg: string): void {
    this.lines.push(msg);
  }
}

function recordOf(log: (logger: Logger) => void): LogRecord {
  const handler = new Collector("NOTSET");
  log(new Logger("a", "NOTSET", { handlers: [handler] }));
  return handler.records[0]!;
}

Deno.test("levels have names and numbers", () => {
  assertEquals(LogLevels, { NOTSET: 0, DEBUG: 10, INFO: 20, WARN: 30, ERROR: 40, CRITICAL: 50 });
  assertEquals(Object.keys(LogLevels), ["NOTSET", "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"]);
});

Deno.test("a handler writes records from its level on, by its formatter", () => {
  const record = (name: "debug" | "info" | "warn") => recordOf((logger) => logger[name]("text", 1));
  const handler = new Collector("WARN");
  assertEquals([handler.level, handler.levelName], [30, "WARN"]);
  handler.handle(record("info"));
  handler.handle(record("warn"));
  handler.level = LogLevels.ERROR;
  assertEquals(handler.levelName, "ERROR");
  handler.handle(record("warn"));
  handler.levelName = "NOTSET";
  handler.formatter = ({ levelName, msg, args, loggerName }) => `${loggerName} ${levelName} ${msg} ${args}`;
  handler.handle(record("debug"));
  assertEquals(handler.lines, ["WARN text", "a DEBUG text 1"]);
  assertEquals(new Collector("INFO", { formatter: () => "x" }).format(record("info")), "x");
  assertThrows(() => new Collector("FATAL" as LevelName), Error, "no level named FATAL");
  assertThrows(() => (handler.level = 15 as LogLevel), Error, "no name for level: 15");
});

Deno.test("a record cannot be changed", () => {
  const args = [1];
  const before = Date.now();
  const record = recordOf((logger) => logger.info("text", ...args));
  args.push(2);
  record.args.push(3);
  record.datetime.setTime(0);
  assertEquals(record.args, [1]);
  assert(record.datetime.getTime() >= before);
  assertEquals([record.msg, record.level, record.levelName, record.loggerName], ["text", 20, "INFO", "a"]);
});

Deno.test("each method of a logger has its level, and passes on the arguments", () => {
  const handler = new Collector("NOTSET");
  const logger = new Logger("a", "NOTSET", { handlers: [handler] });
  logger.debug("d", 1, [2]);
  logger.info("i");
  logger.warn("w");
  logger.error("e");
  logger.critical("c");
  assertEquals(handler.lines, ["DEBUG d", "INFO i", "WARN w", "ERROR e", "CRITICAL c"]);
  assertEquals(handler.records[0]?.args, [1, [2]]);
  assertEquals(handler.records.map((record) => record.loggerName), ["a", "a", "a", "a", "a"]);
  assertEquals(new Logger("b", "INFO").handlers, []);
});

Deno.test("a logger ignores what is below its level, and does not call for the message then", () => {
  const handler = new Collector("NOTSET");
  const logger = new Logger("a", "WARN", { handlers: [handler] });
  assertEquals(logger.info(() => must(false, "called")), undefined);
  assertEquals(logger.info("text"), "text");
  assertEquals(handler.records, []);
  assertEquals([logger.level, logger.levelName, logger.loggerName], [30, "WARN", "a"]);
  logger.level = LogLevels.DEBUG;
  assertEquals(logger.levelName, "DEBUG");
  logger.levelName = "INFO";
  assertEquals(logger.level, 20);
  assertEquals(logger.info(() => 5), 5);
  assertEquals(handler.lines, ["INFO 5"]);
  assertThrows(() => (logger.level = 15 as LogLevel), TypeError, "Invalid log level: 15");
});

// Each row: a message that is no text, and the text of its record.
const messages: [unknown, string][] = [
  [901, "901"],
  [true, "true"],
  [null, "null"],
  [undefined, "undefined"],
  [1n, "1"],
  [Symbol("s"), "Symbol(s)"],
  [{ a: 1, b: "x", c: { d: null } }, '{"a":1,"b":"x","c":{"d":null}}'],
  [["a", 1], '{"0":"a","1":1}'],
  [{ f: () => 1 }, '{"f":undefined}'],
];

Deno.test("a logger turns any message into text", () => {
  const handler = new Collector("NOTSET", { formatter: ({ msg }) => msg });
  const logger = new Logger("a", "NOTSET", { handlers: [handler] });
  for (const [message] of messages) logger.info(message);
  assertEquals(handler.lines, messages.map(([, text]) => text));
  const error = new Error("text");
  must(logger.error(error) === error, "the message is returned");
  assertEquals(handler.lines.at(-1), error.stack);
});

Deno.test("paths are joined, resolved and taken apart", () => {
  // Each row: the result, and what it has to be.
  const rows: [unknown, unknown][] = [
    [join("/a", "b", "../c"), "/a/c"],
    [join("a", "", "./b/"), "a/b/"],
    [join("/a", "/b"), "/a/b"],
    [join(""), "."],
    [join("..", "a"), "../a"],
    [join("/", ".."), "/"],
    [resolve("/a", "b"), "/a/b"],
    [resolve("/a", "../b/"), "/b"],
    [resolve("/a", "/b", "c"), "/b/c"],
    [resolve("/a", ""), "/a"],
    [dirname("/a/b"), "/a"],
    [dirname("/a"), "/"],
    [dirname("//a"), "/"],
    [dirname("/a//b/"), "/a"],
    [dirname("a"), "."],
    [dirname(""), "."],
    [dirname("/"), "/"],
    [dirname("//"), "/"],
    [basename("/a/b.ts"), "b.ts"],
    [basename("/a/b.ts", ".ts"), "b"],
    [basename("/a/b.ts//", ".ts"), "b"],
    [basename(".ts", ".ts"), ".ts"],
    [basename("a.ts", ".js"), "a.ts"],
    [basename("/"), "/"],
    [basename("//"), "/"],
    [basename(""), ""],
    [fromFileUrl("file:///a%20b/%25%2F"), "/a b/%/"],
    [fromFileUrl("file:///100%"), "/100%"],
    [fromFileUrl(new URL("file:///a/../b?q#f")), "/b"],
    [fromFileUrl("file://host/a"), "/a"],
  ];
  for (const [index, [actual, expected]] of rows.entries()) assertEquals(actual, expected, `row ${index}`);
  assertThrows(() => fromFileUrl("http://a/"), TypeError, 'URL must be a file URL: received "http:"');
  assertThrows(() => fromFileUrl("/a"), TypeError);
});

Deno.test("a file name survives the way to a URL and back", () => {
  const below = randomFrom(1);
  const alphabet = [..."ab %?#\\\"'<>&+é\t\n\r\v\f\u2028😀"];
  for (let index = 0; index < 500; index++) {
    const path = "/a/b" + Array.from({ length: below(12) }, () => alphabet[below(alphabet.length)]).join("");
    assertEquals(fromFileUrl(pathToFileURL(path)), path, JSON.stringify(path));
  }
});
