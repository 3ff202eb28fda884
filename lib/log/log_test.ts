import { assert, assertEquals, assertMatch } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import type { RunEvent } from "../events.ts";
import type { ConsoleOptions } from "./console.ts";
import { RunLog } from "./log.ts";
import { Secret } from "../secret.ts";

/** A log whose streams and file are texts. `synced` is what the file had when it was last made to outlast a crash. */
function logOf(options: Partial<ConsoleOptions> = {}) {
  const out = { stdout: "", stderr: "", file: "", synced: "" };
  const log = new RunLog({
    form: "lines",
    level: "INFO",
    color: false,
    program: "setup",
    stdout: { write: (text) => void (out.stdout += text) },
    stderr: { write: (text) => void (out.stderr += text) },
    ...options,
  });
  const file = {
    append: (bytes: Uint8Array) => void (out.file += new TextDecoder().decode(bytes)),
    sync: () => void (out.synced = out.file),
  };
  return { log, out, file };
}

/** The lines without time, program and process id. */
const shown = (text: string) => text.replace(/^\S+Z (\S+) setup(?:\[\d+\])?: /gm, "$1 ");

const message = (level: (RunEvent & { event: "message" })["level"], text: string): RunEvent => ({
  event: "message",
  level,
  text,
});
const end = (code: number, text: string): RunEvent => ({
  event: "run finished",
  ctid: 901,
  code,
  text,
  milliseconds: 17_200,
  outcomes: { changed: 2, failed: 1 },
  slowest: [{ title: "pull", milliseconds: 12_400 }],
});

/** Each event there is, with `text` wherever a text can come from outside. */
const everyEvent = (text: string): RunEvent[] => [
  message("debug", text),
  message("info", text),
  message("warning", text),
  message("fatal", text),
  { event: "run started", ctid: 901, name: text, check: false },
  { event: "step started", number: 1, title: text },
  { event: "step progress", number: 1, title: text, text },
  { event: "output", stream: "stdout", text },
  {
    event: "step finished",
    number: 1,
    title: text,
    outcome: "would change",
    milliseconds: 1,
    differences: [{ what: text, from: text, to: text }],
    note: text,
  },
  {
    event: "failure",
    message: text,
    step: text,
    command: text,
    code: 1,
    meaning: text,
    output: [text],
    hint: text,
    again: text,
  },
  { ...end(4, text), slowest: [{ title: text, milliseconds: 1 }] } as RunEvent,
];

// Requirements, section 5; DESIGN 5: one stream of events, errors and warnings to stderr.
Deno.test("an event becomes timestamped lines, each with level and program", () => {
  const { log, out, file } = logOf({ level: "DEBUG" });
  log.openFile("/log", "DEBUG", () => file);
  const events: [RunEvent, string][] = [
    [message("info", "Received CTID: 901"), "INFO Received CTID: 901\n"],
    [message("warning", "a\nb"), "WARN a\nWARN     b\n"],
    [message("fatal", "Usage error"), "FATAL Usage error\n"],
    [{ event: "run started", ctid: 901, name: "Portainer", check: true }, "INFO Checking container 901 (Portainer)\n"],
    [{ event: "step started", number: 2, title: "image x" }, "INFO Step 2: image x\n"],
    [{ event: "step progress", number: 2, title: "image x", text: "pulling" }, "DEBUG Step 2: image x: pulling\n"],
    [{ event: "output", stream: "stderr", text: "50 %" }, "DEBUG | 50 %\n"],
    [
      {
        event: "step finished",
        number: 2,
        title: "image x",
        outcome: "would change",
        milliseconds: 1_500,
        differences: [{ what: "image", from: "a", to: "b" }, { what: "content:\n- a\n+ b" }],
        note: "perhaps",
      },
      "INFO Step 2: image x: would change (1.5 s)\nINFO     image: a -> b\nINFO     content:\nINFO     - a\nINFO     + b\nINFO     perhaps\n",
    ],
    [
      {
        event: "failure",
        message: "no",
        step: "image x",
        command: "docker pull \\\n  x",
        code: 1,
        output: ["a", "b"],
        meaning: "it failed",
        hint: "log in",
        again: "setup 901",
      },
      'ERROR Step "image x" failed: no\nERROR $ docker pull \\\nERROR     x\nERROR | a\nERROR | b\nERROR Exit code 1: it failed\n' +
      "ERROR What to do: log in\nERROR Run again: setup 901\n",
    ],
    [end(0, "done"), "INFO 2 changed, 1 failed in 17.2 s; slowest: pull (12.4 s)\nINFO done\n"],
    [end(10, "would"), "INFO 2 changed, 1 failed in 17.2 s; slowest: pull (12.4 s)\nINFO would\n"],
    [end(4, "failed"), "ERROR 2 changed, 1 failed in 17.2 s; slowest: pull (12.4 s)\nERROR failed\n"],
  ];
  for (const [event, lines] of events) {
    Object.assign(out, { stdout: "", stderr: "", file: "" });
    log.report(event);
    const isError = /^(?:WARN|ERROR|FATAL)/.test(lines);
    assertEquals([shown(out.stdout), shown(out.stderr)], isError ? ["", lines] : [lines, ""]);
    assertEquals(shown(out.file), lines);
    assertMatch(out.file, new RegExp(`^\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z [A-Z]+ setup\\[${Deno.pid}\\]: `));
  }
});

Deno.test("JSON has one object a line, with the same names of levels for every event", () => {
  const { log, out } = logOf({ form: "json" });
  for (const event of everyEvent("a\nb")) log.report(event);
  const lines = [...out.stdout.trimEnd().split("\n"), ...out.stderr.trimEnd().split("\n")].map((line) =>
    JSON.parse(line)
  );
  assertEquals(lines.map(({ event, level }) => `${level} ${event}`), [
    "INFO message",
    "INFO run started",
    "INFO step started",
    "INFO step finished",
    "WARN message",
    "FATAL message",
    "ERROR failure",
    "ERROR run finished",
  ]);
  assertEquals(lines[0], { time: lines[0].time, level: "INFO", event: "message", text: "a\nb" });
  assert(!Number.isNaN(Date.parse(lines[0].time)));
});

Deno.test("a level holds for stdout and stderr and can be changed; the file has its own", () => {
  const { log, out, file } = logOf({ level: "WARN" });
  log.openFile("/log", "INFO", () => file);
  log.report(message("info", "a"));
  log.report(message("warning", "b"));
  log.setLevel("DEBUG");
  log.report(message("debug", "c"));
  assertEquals([shown(out.stdout), shown(out.stderr), shown(out.file)], ["DEBUG c\n", "WARN b\n", "INFO a\nWARN b\n"]);
});

// DESIGN 4: secrets are redacted in every line, error, diff and event that leaves the program, also in encoded forms.
Deno.test("a secret is nowhere in the log, in no form of it and in no form of the log", () => {
  const value = 'hf_"ä b\\c+/?&=%\t1';
  const encoded = {
    plain: value,
    base64: new TextEncoder().encode(value).toBase64(),
    json: JSON.stringify(value).slice(1, -1),
    url: encodeURIComponent(value),
  };
  for (const form of ["terminal", "lines", "json"] as const) {
    for (const [name, text] of Object.entries(encoded)) {
      const { log, out, file } = logOf({ form, level: "DEBUG", color: form === "terminal" });
      log.openFile("/log", "DEBUG", () => file);
      log.conceal(new Secret("token", value));
      for (const event of everyEvent(`<${text}>`)) log.report(event);
      log.flush();
      for (const [where, written] of Object.entries(out)) {
        for (const form of [...Object.values(encoded), encoded.base64.replace(/=+$/, ""), "hf_"]) {
          assert(!written.includes(form), `${name} in ${where}`);
        }
        // Base64's padding tells nothing.
        if (written !== "") assertMatch(written, /<\[secret: token\]=*>/);
      }
    }
  }
});

// Output is logged line by line, so a secret of several lines, or one with a line break at its end, never appears as a whole.
Deno.test("each line of a secret is concealed, and a short one that tells nothing is not", () => {
  const { log, out } = logOf();
  log.conceal(new Secret("key", "-----BEGIN-----\nMIIEvQIBADAN\n}\n"));
  log.conceal(new Secret("token", "abcd\n"));
  log.conceal(new Secret("long", "abcdef"));
  for (const text of ["key: MIIEvQIBADAN", "{}", "token=abcd;", "abcdef"]) log.report(message("info", text));
  assertEquals(
    shown(out.stdout),
    "INFO key: [secret: key]\nINFO {}\nINFO token=[secret: token];\nINFO [secret: long]\n",
  );
});

// DESIGN 5: output can neither drive a terminal nor forge a line.
Deno.test("control characters are made visible, and colours go", () => {
  const { log, out } = logOf();
  const cases: [text: string, line: string][] = [
    ["\x1b[1;31mred\x1b[0m", "red"],
    ["a\x1b[2Jb\x07\x9b", "a\\x1b[2Jb\\x07\\x9b"],
    ["one\rtwo", "one\\x0dtwo"],
    ["tab\tstays, é and 日本 too", "tab\tstays, é and 日本 too"],
    ["a\u202eb", "a\\u{202e}b"],
    ["dos\r\nlines", "dos\nINFO     lines"],
    ["a\u0085b\u2028c\u2029d", "a\\x85b\\u{2028}c\\u{2029}d"],
  ];
  for (const [text, line] of cases) {
    out.stdout = "";
    log.report(message("info", text));
    assertEquals(shown(out.stdout), `INFO ${line}\n`);
  }
});

// Requirements, section 2, exit_script: the logs are flushed, and the last line is in the file.
Deno.test("the file begins with what was logged before it was open, and ends with the last line", () => {
  const { log, out, file } = logOf({ form: "json", level: "ERROR" });
  log.report(message("info", "Received CTID: 901"));
  log.report(message("debug", "nobody asked"));
  assertEquals(out.file, "");
  const appended: string[] = [];
  const append = (bytes: Uint8Array) => {
    appended.push(new TextDecoder().decode(bytes));
    file.append(bytes);
  };
  log.openFile("/log", "INFO", () => ({ ...file, append }));
  log.report(end(0, "Specific setup for container 901 completed successfully"));
  log.flush();
  const [first, ...rest] = shown(out.synced).trimEnd().split("\n");
  assertEquals(first, "INFO Received CTID: 901");
  assertEquals(rest.at(-1), "INFO Specific setup for container 901 completed successfully");
  assert(appended.every((text) => text.endsWith("\n")), "only whole lines are ever written");
});

// Requirements, section 5: the log file is a help; a run that could do its work must not end for its sake.
Deno.test("a log file that cannot be opened, or that fills up, does not stop the log", () => {
  const refused = logOf();
  refused.log.report(message("info", "before"));
  refused.log.openFile("/log", "INFO", () => {
    throw new Error("Is a directory (os error 21)");
  });
  refused.log.report(message("info", "after"));
  refused.log.flush();
  assertEquals(shown(refused.out.stdout), "INFO before\nINFO after\n");
  assertEquals(
    shown(refused.out.stderr),
    'WARN Cannot write the log file "/log", so this run is logged here only: Is a directory (os error 21)\n',
  );

  const full = logOf();
  full.log.openFile("/log", "INFO", () => ({
    append() {
      throw new Error("No space left on device");
    },
    sync() {
      throw new Error("Invalid argument");
    },
  }));
  for (const text of ["a", "b"]) full.log.report(message("info", text));
  full.log.flush();
  assertEquals(shown(full.out.stdout), "INFO a\nINFO b\n");
});

// DESIGN 5: a terminal gets a line for each step; the differences where someone asked to see them.
Deno.test("a terminal shows one line for each step, and more with --check and --verbose", () => {
  const finished = (outcome: "changed" | "would change"): RunEvent => ({
    event: "step finished",
    number: 1,
    title: `image ${"x".repeat(60)}`,
    outcome,
    milliseconds: 12_400,
    differences: [{ what: "content:\n- a\n+ b" }],
  });
  const lineFor = (mark: string, outcome: string) =>
    `  ${mark} image ${"x".repeat(41)}… ${outcome.padEnd(12)}    12.4 s\n`;
  const details = "      content:\n      - a\n      + b\n";
  const cases: [level: "INFO" | "DEBUG" | "WARN", event: RunEvent, text: string][] = [
    ["INFO", finished("changed"), lineFor("✔", "changed")],
    ["DEBUG", finished("changed"), lineFor("✔", "changed") + details],
    ["INFO", finished("would change"), lineFor("~", "would change") + details],
    ["WARN", finished("changed"), ""],
    // The steps say the same.
    ["INFO", message("info", "Received CTID: 901"), ""],
    ["DEBUG", message("info", "Received CTID: 901"), "  Received CTID: 901\n"],
    ["INFO", message("warning", "careful"), "  ! careful\n"],
    ["INFO", message("fatal", "no"), "  ✖ no\n"],
    ["INFO", end(10, "last"), "901 would change: 2 changed, 1 failed in 17.2 s\nlast\n"],
    ["INFO", end(4, "last"), "901 failed: 2 changed, 1 failed in 17.2 s\nlast\n"],
  ];
  for (const [level, event, text] of cases) {
    const { log, out } = logOf({ form: "terminal", level });
    log.report(event);
    log.flush();
    assertEquals(out.stdout, text);
  }
});

// DESIGN 5: a live line with its time and a spinner on long work.
Deno.test("the live line follows the step under way, and is gone at the end", () => {
  const { log, out } = logOf({ form: "terminal", color: true });
  log.report({ event: "step started", number: 1, title: "image x" });
  const live = (text: string) => `\r\x1b[K\x1b[36m  ${text}\x1b[0m`;
  const written = () => out.stdout.replace(/\d+ ms/g, "0 ms");
  assertEquals(written(), live("⠋ image x 0 ms"));
  log.report({ event: "step progress", number: 1, title: "image x", text: "50 %" });
  log.report(message("warning", "careful"));
  assert(written().endsWith(`careful\n${live("⠙ image x 0 ms · 50 %")}`));
  log.flush();
  assert(out.stdout.endsWith("\r\x1b[K"));
});

// DESIGN 5: whatever a text from outside is, it begins no line that looks like one of ours.
Deno.test("no text can forge a line, on a terminal or in a file", () => {
  const forged = "901 completed";
  for (const newline of ["\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029", "\x1b[1A\r", "\x1b[0m\n"]) {
    for (const form of ["terminal", "lines", "json"] as const) {
      const { log, out, file } = logOf({ form, level: "DEBUG" });
      log.openFile("/log", "DEBUG", () => file);
      for (const event of everyEvent(`a${newline}${forged}`)) log.report(event);
      for (const written of Object.values(out)) {
        for (const line of written.split(/[\n\v\f\r\x85\u2028\u2029]/)) {
          assert(!/^(?:\S+Z [A-Z]+ setup(?:\[\d+\])?: )?(?:Step \d+: )?901 completed/.test(line), line);
        }
      }
    }
  }
});

// DESIGN 4: also where a tool has put it into another form, or into something longer.
Deno.test("a secret is found in base64 at every place, wrapped, in JSON, in URLs and in shell quotes", () => {
  const value = `hf_"é 'b\\c+/?&=%<${"x".repeat(60)}`;
  const bytes = (text: string) => new TextEncoder().encode(text);
  const texts = [
    ...["", "u", "us", "use", "user:"].flatMap((before) =>
      ["", ";", ";;"].map((after) => bytes(before + value + after).toBase64())
    ),
    bytes(`u${value}`).toBase64({ alphabet: "base64url" }),
    ...bytes(value).toBase64().match(/.{1,76}/g)!.slice(0, -1),
    ...bytes(value).toBase64().match(/.{1,64}/g)!.slice(0, -1),
    JSON.stringify(JSON.parse(JSON.stringify(value))),
    JSON.stringify(value).replaceAll("/", "\\/"),
    JSON.stringify(value).replaceAll("é", "\\u00e9"),
    JSON.stringify(value).replaceAll("&", "\\u0026").replaceAll("<", "\\u003c"),
    `https://h/?token=${encodeURIComponent(value)}`,
    encodeURIComponent(value).replace(/%../g, (code) => code.toLowerCase()),
    String(new URLSearchParams({ token: value })),
    `+ login 'hf_"é '\\''b${value.slice(value.indexOf("b") + 1)}'`,
  ];
  for (const text of texts) {
    const { log, out } = logOf();
    log.conceal(new Secret("token", value));
    log.report(message("info", text));
    assertMatch(out.stdout, /\[secret: token\]/, text);
    // Of base64, what stands at the two ends of it is also its neighbours'.
    assert(!/eHh4|xxxx/.test(out.stdout), `${text} became ${out.stdout}`);
  }
});

// A whole file can be a secret.
Deno.test("a secret of hundreds of kilobytes is concealed, and so is each of several secrets", () => {
  const { log, out } = logOf();
  const long = "0123456789".repeat(30_000);
  log.conceal(new Secret("long", long));
  log.conceal(new Secret("short", "456$&78"));
  log.report(message("info", `a${long}b456$&78c`));
  assertEquals(shown(out.stdout), "INFO a[secret: long]b[secret: short]c\n");
});

// Redacted before it is cut, or told by the cut: only fewer than four characters of a secret are ever left beside one.
Deno.test("a secret that is cut is concealed on both sides of the cut", () => {
  const value = "hf_0123456789";
  for (let at = 0; at <= value.length; at++) {
    const { log, out } = logOf({ level: "DEBUG" });
    log.conceal(new Secret("token", value));
    log.report({ event: "output", stream: "stdout", text: `before ${value.slice(0, at)}…` });
    log.report({ event: "output", stream: "stdout", text: `…${value.slice(at)} after` });
    const lines = shown(out.stdout).split("\n");
    const part = (text: string) => text.length >= 4 ? "[secret: token]" : text;
    assertEquals(lines, [`DEBUG | before ${part(value.slice(0, at))}…`, `DEBUG | …${part(value.slice(at))} after`, ""]);
  }
  const { log, out } = logOf();
  log.conceal(new Secret("long", "x".repeat(100) + "0123456789"));
  log.report(message("info", `…${"x".repeat(50)}…`));
  log.report(message("info", "nothing… is …cut"));
  assertEquals(shown(out.stdout), "INFO …[secret: long]…\nINFO nothing… is …cut\n");
});

Deno.test("a text of megabytes is cut, and so is the output of one step in the file, but not on stdout", () => {
  const { log, out, file } = logOf({ level: "DEBUG" });
  log.openFile("/log", "DEBUG", () => file);
  log.report(message("info", "x".repeat(10_000_000)));
  assertMatch(shown(out.file), /^INFO x{65536}…\n$/);
  out.file = out.stdout = "";
  const finished = (number: number): RunEvent => ({
    event: "step finished",
    number,
    title: "talk",
    outcome: "changed",
    milliseconds: 1,
    differences: [],
  });
  for (const number of [1, 2]) {
    log.report({ event: "step started", number, title: "talk" });
    for (let i = 0; i < 3_000; i++) log.report({ event: "output", stream: "stdout", text: "y".repeat(1_000) });
    log.report(finished(number));
  }
  assertEquals(out.stdout.match(/\| y{1000}\n/g)!.length, 6_000);
  const [first, second] = shown(out.file).split(/(?<=changed \(1 ms\)\n)/);
  for (const [number, text] of [first!, second!].entries()) {
    const lines = text.split("\n");
    const kept = lines.filter((line) => line.startsWith("DEBUG | ")).length;
    assert(kept > 900 && kept < 1_049, `${kept} lines`);
    assertEquals(lines.slice(-3), [
      `INFO (${3_000 - kept} more lines of output, some ${/some (\d+)/.exec(text)![1]} KiB, are left out of this file)`,
      `INFO Step ${number + 1}: talk: changed (1 ms)`,
      "",
    ]);
  }
});

// A disk that is full now need not be so for ever; what could not be written is told as soon as it can be.
Deno.test("a file that takes no more for a while is warned of once, and says later how much it lacks", () => {
  const { log, out, file } = logOf();
  let full = false;
  log.openFile("/log", "INFO", () => ({
    ...file,
    append(bytes) {
      if (full) throw new Error("ENOSPC: no space left on device, write");
      file.append(bytes);
    },
  }));
  log.report(message("info", "a"));
  full = true;
  for (const text of ["b", "c", "d"]) log.report(message("info", text));
  full = false;
  for (const text of ["e", "f"]) log.report(message("info", text));
  assertEquals(shown(out.file), "INFO a\nWARN (4 lines could not be written here)\nINFO e\nINFO f\n");
  assertEquals(shown(out.stdout), ["a", "b", "c", "d", "e", "f"].map((text) => `INFO ${text}\n`).join(""));
  assertEquals(
    shown(out.stderr),
    'WARN Cannot write the log file "/log" any more, so what follows is logged here only: ENOSPC: no space left on device, write\n',
  );
});

/** The arguments with which Deno runs a script that has this module at hand, and is permitted `permissions`. */
function script(source: string, ...permissions: string[]): string[] {
  // The names resolve as they do here, whichever import map this test was given.
  const imports = Object.fromEntries(["@std/log", "@std/path", "dax"].map((name) => [name, import.meta.resolve(name)]));
  const map = `data:application/json,${encodeURIComponent(JSON.stringify({ imports }))}`;
  const head = `import { openLogFile } from "${import.meta.resolve("./file.ts")}"; import { RunLog } from "${
    import.meta.resolve("./log.ts")
  }";\n`;
  return [
    ...["run", "--quiet", "--no-check", "--no-lock", "--no-prompt", "--allow-env", ...permissions],
    `--import-map=${map}`,
    `data:application/typescript,${encodeURIComponent(head + source)}`,
  ];
}

/** Runs a script in a process of its own. */
function inProcess(source: string, ...args: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [...script(source, "--allow-read", "--allow-write"), ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/**
 * A log in a process that may write below `folder` and read nothing, as an executable. `under` is a command that runs another one.
 * Gives what logging a text said on stderr.
 */
async function withLogger(
  folder: string,
  path: string,
  use: (say: (text: string) => Promise<string>, pid: number) => Promise<void>,
  under: readonly string[] = ["env"],
): Promise<void> {
  const source = `let said = "";
    const stderr = { write(text) { said += text; } };
    const log = new RunLog({ form: "lines", level: "INFO", color: false, program: "setup", stdout: { write() {} }, stderr });
    log.openFile(Deno.args[0], "INFO", openLogFile);
    let rest = "";
    for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\\n");
      rest = lines.pop();
      for (const text of lines) {
        log.report({ event: "message", level: "info", text });
        log.flush();
        console.log(JSON.stringify(said));
        said = "";
      }
    }`;
  const [program, ...args] = [...under, Deno.execPath(), ...script(source, `--allow-write=${folder}`), path];
  await using child = new Deno.Command(program!, { args, stdin: "piped", stdout: "piped" }).spawn();
  const input = child.stdin.getWriter();
  const answers = child.stdout.pipeThrough(new TextDecoderStream())[Symbol.asyncIterator]();
  const say = async (text: string) => {
    await input.write(new TextEncoder().encode(`${text}\n`));
    return shown(JSON.parse((await answers.next()).value!) as string);
  };
  try {
    await use(say, child.pid);
  } finally {
    await input.close();
    for (let next = await answers.next(); !next.done;) next = await answers.next();
  }
}

// Requirements, section 5: orchestrator and scripts append to one central log.
testWith(["read", "write", "run"], "many writers never tear or lose a line of the file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/central.log`;
    await Deno.writeTextFile(path, "the orchestrator's own line\n");
    const script = `const [path, name] = Deno.args;
      const stdout = { write() {} };
      const log = new RunLog({ form: "lines", level: "ERROR", color: false, program: name, stdout, stderr: stdout });
      log.openFile(path, "INFO", openLogFile);
      for (let i = 0; i < 200; i++) log.report({ event: "message", level: "info", text: name.repeat(300) + " " + i });
      log.flush();`;
    const names = ["a", "b", "c", "d"];
    const writers = await Promise.all(names.map((name) => inProcess(script, path, name).output()));
    for (const { code, stderr } of writers) assertEquals(code, 0, new TextDecoder().decode(stderr));
    const [own, ...lines] = (await Deno.readTextFile(path)).trimEnd().split("\n");
    assertEquals(own, "the orchestrator's own line");
    const next = new Map(names.map((name) => [name, 0]));
    for (const line of lines) {
      const [, name, text, number] = /^\S+Z INFO (\w)\[\d+\]: (\w+) (\d+)$/.exec(line)!;
      assertEquals([text, Number(number)], [name!.repeat(300), next.get(name!)]);
      next.set(name!, Number(number) + 1);
    }
    assertEquals([...next.values()], [200, 200, 200, 200]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** The file's lines, without time, program and process id. */
const linesOf = async (path: string) => shown(await Deno.readTextFile(path));

// Requirements, section 5. Rotation moves a log away, or somebody removes it, while a run goes on: it must lose no line by that.
testWith(
  ["read", "write", "run"],
  "a file that is moved, removed or emptied is begun anew, readable by its group",
  async () => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/log`;
    try {
      await withLogger(folder, path, async (say) => {
        assertEquals(await say("a"), "");
        assertEquals((await Deno.stat(path)).mode! & 0o777, 0o640);
        await Deno.rename(path, `${path}.1`);
        await say("b");
        assertEquals([await linesOf(`${path}.1`), await linesOf(path)], ["INFO a\n", "INFO b\n"]);
        // As logrotate does with "create".
        await Deno.rename(path, `${path}.2`);
        await Deno.writeTextFile(path, "", { mode: 0o600 });
        await say("c");
        assertEquals([await linesOf(path), (await Deno.stat(path)).mode! & 0o777], ["INFO c\n", 0o600]);
        await Deno.remove(path);
        await say("d");
        assertEquals([await linesOf(path), (await Deno.stat(path)).mode! & 0o777], ["INFO d\n", 0o640]);
        // As logrotate does with "copytruncate".
        await Deno.truncate(path, 0);
        await say("e");
        assertEquals(await linesOf(path), "INFO e\n");
        await Deno.remove(folder, { recursive: true });
        assertMatch(await say("f"), /^WARN Cannot write the log file ".*" any more, .*: ENOENT: /);
        await Deno.mkdir(folder);
        assertEquals(await say("g"), "");
        assertEquals(await linesOf(path), "WARN (2 lines could not be written here)\nINFO g\n");
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

// A log in a folder in which others may write, such as /tmp: what they put in its place must neither be written to nor stop a run.
testWith(["read", "write", "run"], "what somebody else has put in the file's place is left alone", async (t) => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/log`;
  const foreign = `${folder}/foreign`;
  const cases: [name: string, plant: () => Promise<unknown>, why: string][] = [
    [
      "a symbolic link to a file",
      () => Deno.symlink(foreign, path),
      "it is a symbolic link, or is replaced all the time",
    ],
    [
      "a relative symbolic link",
      () => Deno.symlink("foreign", path),
      "it is a symbolic link, or is replaced all the time",
    ],
    [
      "a symbolic link to nothing",
      () => Deno.symlink(`${folder}/new`, path),
      "it is a symbolic link, or is replaced all the time",
    ],
    ["a symbolic link to itself", () => Deno.symlink(path, path), "ELOOP: too many symbolic links encountered"],
    ["a hard link", () => Deno.link(foreign, path), "it has another name, a hard link"],
    ["a folder", () => Deno.mkdir(path), "EISDIR: illegal operation on a directory"],
    ["a FIFO that nobody reads", () => new Deno.Command("mkfifo", { args: [path] }).output(), "it is a FIFO"],
  ];
  try {
    await Deno.writeTextFile(foreign, "foreign\n");
    // In the midst of a run; and, the same code but another message, before it.
    await withLogger(folder, path, async (say) => {
      for (const [name, plant, why] of cases) {
        await t.step(name, async () => {
          await Deno.remove(path, { recursive: true }).catch(() => {});
          await say("a");
          await Deno.remove(path);
          await plant();
          const warned = await say("b");
          assert(
            warned.includes(`Cannot write the log file "${path}" any more`) && warned.includes(`: ${why}`),
            warned,
          );
          assertEquals(await Deno.readTextFile(foreign), "foreign\n");
          assertEquals(Array.from(Deno.readDirSync(folder), ({ name }) => name).sort(), ["foreign", "log"]);
        });
      }
    });
    await Deno.remove(path);
    await Deno.symlink(foreign, path);
    await withLogger(folder, path, async (say) => {
      assertMatch(
        await say("a"),
        /^WARN Cannot write the log file .* so this run is logged here only: it is a symbolic link/,
      );
    });
    assertEquals(await Deno.readTextFile(foreign), "foreign\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const namespaces = Deno.permissions.querySync({ name: "run" }).state === "granted" &&
  new Deno.Command("unshare", { args: ["--map-root-user", "--mount", "true"], stderr: "null" }).outputSync().success;

// Requirements, section 5, on a real file system of 64 KiB.
testWith(
  ["read", "write", "run"],
  `a full disk and a read-only one are survived, and no line is torn${namespaces ? "" : " (needs namespaces)"}`,
  async () => {
    if (!namespaces) return;
    const folder = await Deno.makeTempDir();
    const under = ["unshare", "--map-root-user", "--mount", "sh", "-c"];
    const mount = `mount -t tmpfs -o size=64k none "$0" && exec "$@"`;
    try {
      await withLogger(folder, `${folder}/log`, async (say, pid) => {
        const enter = ["--target", String(pid), "--user", "--preserve-credentials", "--mount", "--"];
        const inside = async (...command: string[]) => {
          const { code, stdout, stderr } = await new Deno.Command("nsenter", { args: [...enter, ...command] }).output();
          assertEquals(code, 0, new TextDecoder().decode(stderr));
          return shown(new TextDecoder().decode(stdout));
        };
        const linesInside = () => inside("cat", `${folder}/log`);
        const remount = (how: string) => inside("mount", "-o", `remount,${how}`, folder);
        await say("first");
        let warnings = "";
        for (let i = 0; i < 100; i++) warnings += await say("x".repeat(1_000));
        assertMatch(
          warnings,
          /^WARN Cannot write .* any more, so what follows is logged here only: No space left on device [^\n]*\n$/,
        );
        // Nothing but what was torn off at the end of the disk stands there without its line.
        assertMatch(await linesInside(), /^INFO first\n(?:INFO x{1000}\n)+.*$/);
        await inside("mv", `${folder}/log`, `${folder}/log.1`);
        await inside("truncate", "--size", "10000", `${folder}/log.1`);
        await say("room again");
        assertMatch(
          await linesInside(),
          /^\n?WARN \(\d+ lines could not be written here\)\nINFO room again\n$/,
        );

        await remount("ro");
        assertMatch(await say("a"), /^WARN Cannot write .* any more, .*: EROFS: /);
        assertEquals(await say("b"), "");
        await remount("rw");
        assertEquals(await say("c"), "");
        assertMatch(
          await linesInside(),
          /room again\nWARN \(3 lines could not be written here\)\nINFO c\n$/,
        );
      }, [...under, mount, folder]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
