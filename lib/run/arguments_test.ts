import { assertEquals } from "@std/assert";
import { readCommandLine, usage } from "./arguments.ts";

const ordinary = {
  positional: ["901"],
  check: false,
  verbose: false,
  quiet: false,
  json: false,
  help: false,
  version: false,
  logFile: undefined,
  timeout: undefined,
  problems: [],
};

Deno.test("options and the positional argument are taken apart, in any order", () => {
  const cases: [args: string[], expected: Partial<typeof ordinary> | Record<string, unknown>][] = [
    [["901"], {}],
    [[], { positional: [] }],
    [["--check", "901"], { check: true }],
    [["901", "-v"], { verbose: true }],
    [["-hv", "901"], { help: true, verbose: true }],
    [["--verbose", "--verbose", "901"], { verbose: true }],
    [["901", "--quiet", "--json", "--version"], { quiet: true, json: true, version: true }],
    [["--log-file", "/x y.log", "901"], { logFile: "/x y.log" }],
    [["--log-file=/x=y.log", "901"], { logFile: "/x=y.log" }],
    [["901", "--timeout", "90s"], { timeout: 90_000 }],
    [["901", "902"], { positional: ["901", "902"] }],
    // Nothing of a positional argument is lost: it is judged as it was given.
    [["0901"], { positional: ["0901"] }],
    [["9e2"], { positional: ["9e2"] }],
    [[" 901\n"], { positional: [" 901\n"] }],
    [[""], { positional: [""] }],
    [["-"], { positional: ["-"] }],
    [["--", "--check"], { positional: ["--check"] }],
    [["901", "--", "--check=maybe", "true"], { positional: ["901", "--check=maybe", "true"] }],
    [["true"], { positional: ["true"] }],
  ];
  for (const [args, expected] of cases) {
    assertEquals(readCommandLine(args), { ...ordinary, ...expected }, args.join(" "));
  }
});

// Anything else is a usage error. Never an exception, and never an option that is half understood.
Deno.test("what is wrong with a command line is a problem that names it", () => {
  const cases: [args: string[], problem: string][] = [
    [["--frob", "901"], 'Unknown option "--frob"'],
    [["-x", "901"], 'Unknown option "-x"'],
    [["-901"], 'Unknown option "-901"'],
    [["--no-check", "901"], 'Unknown option "--no-check"'],
    [["--__proto__=1", "901"], 'Unknown option "--__proto__=1"'],
    [["--check.x", "901"], 'Unknown option "--check.x"'],
    [["901", "--_=5"], 'Unknown option "_"'],
    [["--_", "901"], 'Unknown option "_"'],
    [["901", "-v_"], 'Unknown option "_"'],
    [["901", "--_=5", "902"], 'Unknown option "_"'],
    [["--check=maybe", "901"], 'Option "--check=maybe" takes no value'],
    [["--check=false", "901"], 'Option "--check=false" takes no value'],
    [["901", "--check", "false"], 'Option "--check" takes no value'],
    [["901", "-v", "true"], 'Option "-v" takes no value'],
    [["-v=5", "901"], 'Option "-v=5" takes no value'],
    [["-q0", "901"], 'Option "-q0" takes no value'],
    [["901", "--log-file"], 'Option "--log-file" needs a path'],
    [["--log-file", "--check", "901"], 'Option "--log-file" needs a path'],
    [["--log-file=", "901"], 'Option "--log-file" needs a path'],
    [["--log-file", "/a", "--log-file=/b", "901"], 'Option "--log-file" is given 2 times'],
    [["--timeout=1s", "--timeout=1s", "--timeout=2s", "901"], 'Option "--timeout" is given 3 times'],
    [
      ["901", "--timeout"],
      'Wrong value for "--timeout": Cannot use "" as a duration: expected a number with a unit, such as "30s" or "2m"',
    ],
    [
      ["--timeout", "90", "901"],
      'Wrong value for "--timeout": Cannot use "90" as a duration: expected a number with a unit, such as "30s" or "2m"',
    ],
    [["-vq", "901"], 'Options "--verbose" and "--quiet" exclude each other'],
  ];
  for (const [args, problem] of cases) assertEquals(readCommandLine(args).problems, [problem], args.join(" "));
});

// Whatever comes, there is an answer: a command line must not be able to end the program before its log is open.
Deno.test("no command line throws", () => {
  const pieces = [
    "-",
    "--",
    "=",
    "_",
    "no-",
    "check",
    "v",
    "q",
    "log-file",
    "timeout",
    ".",
    "5",
    "true",
    "/",
    "\n",
    "é",
  ];
  const random = (n: number) => crypto.getRandomValues(new Uint32Array(1))[0]! % n;
  for (let i = 0; i < 3_000; i++) {
    const word = () => Array.from({ length: random(5) }, () => pieces[random(pieces.length)]).join("");
    const args = Array.from({ length: random(4) }, word);
    const { positional, problems, check } = readCommandLine(args);
    const known = typeof check === "boolean" && [...positional, ...problems].every((text) => typeof text === "string");
    assertEquals(known, true, JSON.stringify(args));
  }
});

Deno.test("the usage names every option and every exit code", () => {
  const text = usage("901.ts", { ctid: 901, name: "Portainer" });
  const { positional: _, problems: __, logFile: ___, ...options } = ordinary;
  for (const option of [...Object.keys(options), "log-file"]) assertEquals(text.includes(`--${option}`), true, option);
  for (const code of [0, 1, 2, 3, 4, 5, 6, 10, 70]) assertEquals(new RegExp(`\\b${code} [a-zA-Z]`).test(text), true);
  assertEquals(text.includes("Usage: 901.ts [options] 901"), true);
});
