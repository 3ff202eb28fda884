import { assert, assertEquals, assertMatch } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import { message, type RunEvent } from "../events.ts";
import { end, logOf, shown } from "../../tests/support/log.ts";

// At its end a run flushes the log, and the last line is in the file.
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

// The log file is a help: a run that could do its work must not end for its sake.
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
    'WARN Cannot write the log file "/log": Is a directory (os error 21). This run is logged only here\n',
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

Deno.test("the output of one step is cut in the file, but not on stdout", () => {
  const { log, out, file } = logOf({ level: "DEBUG" });
  log.openFile("/log", "DEBUG", () => file);
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
      `INFO (Left out of this file, which takes 1 MiB of output per step: ${3_000 - kept} more lines, about ${
        /about (\d+)/.exec(text)![1]
      } KiB)`,
      `INFO Step ${number + 1}: talk: changed (1 ms)`,
      "",
    ]);
  }
});

Deno.test("the output of one step takes as many bytes of the file as are promised, in any language", () => {
  const { log, out, file } = logOf({ level: "WARN" });
  log.openFile("/log", "DEBUG", () => file);
  log.report({ event: "step started", number: 1, title: "talk" });
  for (let i = 0; i < 2_000; i++) log.report({ event: "output", stream: "stdout", text: "日本語".repeat(100) });
  const { length } = new TextEncoder().encode(out.file);
  const line = `${out.file.split("\n")[1]}\n`;
  assert(length > 1024 * 1024 - 2_000 && length < 1024 * 1024 + 200, `${length} bytes`);
  out.file = "";
  log.report(message("info", "end"));
  const [, lines, size] = /: (\d+) more lines, about (\d+) KiB\)$/m.exec(out.file)!;
  assertEquals(Number(size), Math.ceil(Number(lines) * new TextEncoder().encode(line).length / 1024));
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
  assertEquals(
    shown(out.file),
    "INFO a\nWARN (Missing here, as this file could not be written: 4 lines)\nINFO e\nINFO f\n",
  );
  assertEquals(shown(out.stdout), ["a", "b", "c", "d", "e", "f"].map((text) => `INFO ${text}\n`).join(""));
  assertEquals(
    shown(out.stderr),
    'WARN Cannot write the log file "/log": ENOSPC: no space left on device, write. What follows is logged only here\n',
  );
});

/** The arguments with which Deno runs a script that has the log at hand and is permitted `permissions`. */
function script(source: string, ...permissions: string[]): string[] {
  // The names resolve as they do here, whichever import map this test was given.
  const imports = Object.fromEntries(["@std/log", "@std/path", "dax"].map((name) => [name, import.meta.resolve(name)]));
  const map = `data:application/json,${encodeURIComponent(JSON.stringify({ imports }))}`;
  const head = `
    import { openLogFile } from "${import.meta.resolve("./file.ts")}";
    import { RunLog } from "${import.meta.resolve("./log.ts")}";
  `;
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
 * A log in a process that may write below `folder` and read nothing, as an executable. `under` is a command that runs
 * another one. Gives what logging a text said on stderr.
 */
async function withLogger(
  folder: string,
  path: string,
  use: (say: (text: string) => Promise<string>, pid: number) => Promise<void>,
  under: readonly string[] = ["env"],
): Promise<void> {
  const source = `let said = "";
    const stderr = { write(text) { said += text; } };
    const stdout = { write() {} };
    const log = new RunLog({ form: "lines", level: "INFO", color: false, program: "setup", stdout, stderr });
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

// The orchestrator and every setup append to one central log.
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

// Rotation moves a log away, or somebody removes it, while a run goes on: it must lose no line by that.
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
        assertMatch(
          await say("f"),
          /^WARN Cannot write the log file ".*": ENOENT: .*\. What follows is logged only here\n$/,
        );
        await Deno.mkdir(folder);
        assertEquals(await say("g"), "");
        assertEquals(await linesOf(path), "WARN (Missing here, as this file could not be written: 2 lines)\nINFO g\n");
      });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

// A log in a folder in which others may write, such as /tmp: what they put in its place must neither be written to nor
// stop a run.
testWith(["read", "write", "run"], "what somebody else has put in the file's place is left alone", async (t) => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/log`;
  const foreign = `${folder}/foreign`;
  const cases: [name: string, plant: () => Promise<unknown>, why: string][] = [
    [
      "a symbolic link to a file",
      () => Deno.symlink(foreign, path),
      "it is a symbolic link, or is being replaced again and again",
    ],
    [
      "a relative symbolic link",
      () => Deno.symlink("foreign", path),
      "it is a symbolic link, or is being replaced again and again",
    ],
    [
      "a symbolic link to nothing",
      () => Deno.symlink(`${folder}/new`, path),
      "it is a symbolic link, or is being replaced again and again",
    ],
    ["a symbolic link to itself", () => Deno.symlink(path, path), "ELOOP: too many symbolic links encountered"],
    ["a hard link", () => Deno.link(foreign, path), "it has a second name (a hard link)"],
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
            warned.includes(`Cannot write the log file "${path}": ${why}`) &&
              warned.includes(". What follows is logged only"),
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
        /^WARN Cannot write the log file .*: it is a symbolic link.*\. This run is logged only here$/m,
      );
    });
    assertEquals(await Deno.readTextFile(foreign), "foreign\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const namespaces = Deno.permissions.querySync({ name: "run" }).state === "granted" &&
  new Deno.Command("unshare", { args: ["--map-root-user", "--mount", "true"], stderr: "null" }).outputSync().success;

// On a real file system of 64 KiB.
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
          /^WARN Cannot write [^\n]*: No space left on device [^\n]*\. What follows is logged only here\n$/,
        );
        // Nothing but what was torn off at the end of the disk stands there without its line.
        assertMatch(await linesInside(), /^INFO first\n(?:INFO x{1000}\n)+.*$/);
        await inside("mv", `${folder}/log`, `${folder}/log.1`);
        await inside("truncate", "--size", "10000", `${folder}/log.1`);
        await say("room again");
        assertMatch(
          await linesInside(),
          /^\n?WARN \(Missing here, as this file could not be written: \d+ lines\)\nINFO room again\n$/,
        );

        await remount("ro");
        assertMatch(await say("a"), /^WARN Cannot write .*: EROFS: .*\. What follows is logged only here\n$/);
        assertEquals(await say("b"), "");
        await remount("rw");
        assertEquals(await say("c"), "");
        assertMatch(
          await linesInside(),
          /room again\nWARN \(Missing here, as this file could not be written: 3 lines\)\nINFO c\n$/,
        );
      }, [...under, mount, folder]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
