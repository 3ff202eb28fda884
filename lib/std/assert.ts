/**
 * The part of `@std/assert` that the project uses, for networks that do not reach JSR.
 *
 * Same signatures, same verdicts and same messages as the package; only the layout of a diff is its own.
 * `conformance_test.ts` holds both to that.
 *
 * @module
 */
import { diff, stripVTControlCharacters } from "node:util";

/** The error that every failed assertion throws. */
export class AssertionError extends Error {
  /** Creates the error of an assertion that failed. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

/** @internal */
type ErrorClass<E extends Error> = abstract new (...args: never[]) => E;

function suffix(msg: string | undefined): string {
  return msg ? `: ${msg}` : ".";
}

/** Makes sure that `expr` is truthy, and narrows its type; the failure's message is `msg`. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/**
 * Makes sure that two values are deeply equal: own properties, inherited ones of class instances, entries of
 * maps and sets in any order, elements of typed arrays. `NaN` equals itself, `0` equals `-0`, and an object without
 * prototype equals a plain one.
 */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (equal(actual, expected)) return;
  throw new AssertionError(`Values are not equal${suffix(msg)}\n${describeDifference(actual, expected)}`);
}

/** Makes sure that two values are not deeply equal, by the measure of {@linkcode assertEquals}. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!equal(actual, expected)) return;
  throw new AssertionError(
    `Expected actual: ${format(actual)} not to be: ${format(expected)}${suffix(msg)}`,
  );
}

/** Makes sure that the text `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  throw new AssertionError(`Expected actual: "${actual}" to contain: "${expected}"${suffix(msg)}`);
}

/** Makes sure that the text `actual` matches `expected`. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (expected.test(actual)) return;
  throw new AssertionError(`Expected actual: "${actual}" to match: "${expected}"${suffix(msg)}`);
}

/** Makes sure that `actual` is an instance of `expectedType`, and narrows its type. */
export function assertInstanceOf<T extends abstract new (...args: never[]) => unknown>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (actual instanceof expectedType) return;
  const expected = expectedType.name;
  const found = nameOfType(actual);
  const detail = found === expected
    ? ""
    : found === "function"
    ? " but was not an instanced object"
    : ` but was "${found}"`;
  throw new AssertionError(`Expected object to be an instance of "${expected}"${detail}${suffix(msg)}`);
}

function nameOfType(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "object") return value.constructor?.name ?? "Object";
  return typeof value;
}

/** Makes sure that `fn` throws, and returns what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Makes sure that `fn` throws an error of a class, whose message includes `msgIncludes`, and returns it. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  errorClassOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const expected = expectation(errorClassOrMsg, msgIncludes, msg);
  try {
    fn();
  } catch (error) {
    expected.check(error, "A non-Error object was thrown");
    return error;
  }
  throw new AssertionError(`Expected function to throw${expected.suffix}`);
}

/** Makes sure that the promise `fn` returns rejects, and resolves to what it rejected with. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** Makes sure that the promise rejects with an error of a class, whose message includes `msgIncludes`. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  errorClassOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const expected = expectation(errorClassOrMsg, msgIncludes, msg);
  let promise: PromiseLike<unknown> | undefined;
  try {
    promise = fn();
  } catch { /* Reported below, as any other value that is not a promise. */ }
  if (typeof promise?.then !== "function") {
    throw new AssertionError(`Function throws when expected to reject${expected.suffix}`);
  }
  try {
    await promise;
  } catch (error) {
    expected.check(error, "A non-Error object was rejected");
    return error;
  }
  throw new AssertionError(`Expected function to reject${expected.suffix}`);
}

/** What a thrown or rejected value has to be: the overloads of {@linkcode assertThrows}, read once. */
function expectation<E extends Error>(
  errorClassOrMsg: ErrorClass<E> | string | undefined,
  msgIncludes: string | undefined,
  msg: string | undefined,
) {
  const errorClass = typeof errorClassOrMsg === "string" ? undefined : errorClassOrMsg;
  const end = suffix(typeof errorClassOrMsg === "string" ? errorClassOrMsg : msg);
  return {
    suffix: end,
    check(error: unknown, notAnError: string): void {
      if (!errorClass) return;
      if (!(error instanceof Error)) throw new AssertionError(`${notAnError}${end}`);
      if (!(error instanceof errorClass)) {
        throw new AssertionError(
          `Expected error to be instance of "${errorClass.name}", but was "${error.constructor?.name}"${end}`,
        );
      }
      if (!msgIncludes) return;
      if (!stripVTControlCharacters(error.message).includes(stripVTControlCharacters(msgIncludes))) {
        throw new AssertionError(
          `Expected error message to include ${JSON.stringify(msgIncludes)}, but got ${
            JSON.stringify(error.message)
          }${end}`,
        );
      }
    },
  };
}

function equal(left: unknown, right: unknown, underComparison = new Map<unknown, unknown>()): boolean {
  if (left === right || Object.is(left, right)) return true;
  if (!isObject(left) || !isObject(right)) return false;
  const same = (a: unknown, b: unknown) => equal(a, b, underComparison);

  if (left instanceof Date && right instanceof Date) return Object.is(left.getTime(), right.getTime());
  if (basePrototype(left) !== basePrototype(right)) return false;
  if (isByteView(left) && isByteView(right)) {
    return left.length === right.length && left.every((element, index) => same(element, right[index]));
  }
  if (left instanceof ArrayBuffer && right instanceof ArrayBuffer) {
    return same(new Uint8Array(left), new Uint8Array(right));
  }
  if (left instanceof WeakMap || left instanceof WeakSet) {
    throw new TypeError(`Cannot compare ${left.constructor.name} instances`);
  }
  // A cycle is equal as long as both sides return to the same pair.
  if (underComparison.get(left) === right) return true;
  underComparison.set(left, right);

  if ((left instanceof Map && right instanceof Map) || (left instanceof Set && right instanceof Set)) {
    const candidates = [...right];
    return left.size === right.size && [...left].every((entry) => candidates.some((other) => same(entry, other)));
  }
  if (left instanceof RegExp || left instanceof URL || left instanceof URLSearchParams) {
    return String(left) === String(right);
  }
  return [...propertiesOf(left).union(propertiesOf(right))].every((key) =>
    key in left && key in right && same(Reflect.get(left, key), Reflect.get(right, key))
  );
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function isByteView(value: object): value is Uint8Array {
  return ArrayBuffer.isView(value) && !(value instanceof DataView);
}

/** An object without prototype, such as the groups of a match, counts as a plain one. */
function basePrototype(value: object): unknown {
  return Object.getPrototypeOf(value) ?? Object.prototype;
}

/** What makes up a value: of a plain one what it shows, of a class instance also what is hidden or inherited. */
function propertiesOf(value: object): Set<PropertyKey> {
  const plain: unknown[] = [Object.prototype, Array.prototype];
  if (plain.includes(basePrototype(value))) return new Set(Reflect.ownKeys({ ...value }));
  const properties = new Set<PropertyKey>();
  for (let level: object | null = value; level && !plain.includes(level); level = Object.getPrototypeOf(level)) {
    for (const key of Reflect.ownKeys(level)) properties.add(key);
  }
  return properties;
}

function format(value: unknown): string {
  return Deno.inspect(value, {
    depth: Infinity,
    sorted: true,
    trailingComma: true,
    compact: false,
    iterableLimit: Infinity,
    getters: true,
    strAbbreviateSize: Infinity,
  });
}

/** The lines of both values: after `-` those of `actual` alone, after `+` those of `expected` alone. */
function describeDifference(actual: unknown, expected: unknown): string {
  const areTexts = typeof actual === "string" && typeof expected === "string";
  // Texts of several lines are compared as they are. One line is quoted: its blanks may be what differs.
  const asTheyAre = areTexts && (actual + expected).includes("\n");
  const linesOf = (value: unknown) => (asTheyAre ? String(value) : format(value)).split("\n");
  const lines = diff(...aroundFirstDifference(linesOf(actual), linesOf(expected))).map(([side, line]) =>
    `${side === 0 ? " " : side > 0 ? "-" : "+"}   ${line}`
  );
  return ["", "", "    [Diff] Actual / Expected", "", "", ...lines, ""].join("\n");
}

/** The time and memory of a diff grow with the square of the lines, and nobody reads thousands. */
function aroundFirstDifference(left: string[], right: string[]): [string[], string[]] {
  const most = 1000;
  if (left.length <= most && right.length <= most) return [left, right];
  const first = left.findIndex((line, index) => line !== right[index]);
  const start = Math.max(0, (first < 0 ? left.length : first) - 10);
  return [left.slice(start, start + most), right.slice(start, start + most)];
}
