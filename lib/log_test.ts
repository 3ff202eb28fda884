import { assert, assertEquals, assertMatch } from "@std/assert";
import { testWith } from "../tests/permissions.ts";
import type { RunEvent } from "./events.ts";
import { type LogOptions, openLogFile, processSink, RunLog } from "./log.ts";
import { Secret } from "./secret.ts";

/** A log whose streams and file are texts. `synced` is what the file had when it was last made to outlast a crash. */
function logOf(options: Partial<LogOptions> = {}) {
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
    [message("warning", "a\nb"), "WARN a\nWARN b\n"],
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
  log.conceal(new Secret("token", "abc\n"));
  log.conceal(new Secret("long", "abcdef"));
  for (const text of ["key: MIIEvQIBADAN", "{}", "token=abc;", "abcdef"]) log.report(message("info", text));
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
    ["dos\r\nlines", "dos\nINFO lines"],
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

// DESIGN 5: a reader that went away (`| head -1`) is no reason to stop a setup half-way.
Deno.test("a stream takes text in parts, and a closed one is survived", () => {
  let written = "";
  let calls = 0;
  const sink = processSink({
    writeSync(bytes) {
      if (++calls > 3) throw new Deno.errors.BrokenPipe("Broken pipe (os error 32)");
      written += new TextDecoder().decode(bytes.subarray(0, 2));
      return Math.min(2, bytes.length);
    },
  });
  sink.write("abcde");
  assertEquals(written, "abcde");
  sink.write("lost");
  sink.write("lost, too, and not even tried");
  assertEquals([written, calls], ["abcde", 4]);
});

/** Runs a script in a process of its own, in which this module is at hand. */
function inProcess(script: string, ...args: string[]): Deno.ChildProcess {
  // The names resolve as they do here, whichever import map this test was given.
  const imports = Object.fromEntries(["@std/log", "@std/path", "dax"].map((name) => [name, import.meta.resolve(name)]));
  const map = `data:application/json,${encodeURIComponent(JSON.stringify({ imports }))}`;
  const source = `import { openLogFile, processSink, RunLog } from "${import.meta.resolve("./log.ts")}";\n${script}`;
  return new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-check", "--no-lock", "--no-prompt", "--allow-read", "--allow-write", "--allow-env"],
      `--import-map=${map}`,
      `data:application/typescript,${encodeURIComponent(source)}`,
      ...args,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
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

testWith(["read", "write", "run"], "a file that is made for the log is not for everyone to read", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = openLogFile(`${folder}/log`);
    file.append(new TextEncoder().encode("a\n"));
    openLogFile(`${folder}/log`).append(new TextEncoder().encode("b\n"));
    file.sync();
    assertEquals(await Deno.readTextFile(`${folder}/log`), "a\nb\n");
    assertEquals((await Deno.stat(`${folder}/log`)).mode! & 0o007, 0);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

testWith(["read", "run"], "a process whose stdout is closed goes on to its end", async () => {
  const child = inProcess(`const sink = processSink(Deno.stdout);
    for (let i = 0; i < 100; i++) sink.write("x".repeat(10_000));
    processSink(Deno.stderr).write("done");`);
  await child.stdout.cancel();
  const [{ code }, said] = await Promise.all([child.status, new Response(child.stderr).text()]);
  assertEquals([code, said], [0, "done"]);
});
