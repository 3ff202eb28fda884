import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { LocalShell, namesIn, testInFolder } from "../../tests/support/local_shell.ts";
import { ensure, on, StubContainer } from "../../tests/support/stubs.ts";
import type { CommandOptions, Output } from "../container/container.ts";
import { StepFailed } from "../engine.ts";
import { ExitCode } from "../errors.ts";
import { Secret } from "../secret.ts";
import type { Script } from "../shell.ts";
import { file, type FileSpec } from "./file.ts";

const modeOf = async (path: string) => (await Deno.lstat(path)).mode! & 0o7777;
const encode = (text: string) => new TextEncoder().encode(text);

testInFolder(
  "a file is made with its content, owner and mode, and left alone the next time",
  async ({ folder, mine }) => {
    const cases: [name: string, spec: FileSpec, mode: number][] = [
      ["text", { content: "Welcome\n" }, 0o644],
      ["empty", { content: "" }, 0o644],
      ["no newline at the end", { content: "é 日本", mode: 0o600 }, 0o600],
      ['it\'s "odd" $(id) `x` -\n', { content: "x", mode: 0o4755 }, 0o4755],
      ["binary", { content: new Uint8Array(300).map((_, i) => i) }, 0o644],
      ["large", { content: "0123456789".repeat(30_000), mode: 0o400 }, 0o400],
      ["secret", { content: new Secret("token", "hunter2") }, 0o600],
      ["secret for a group", { content: new Secret("token", "hunter2"), mode: 0o640 }, 0o640],
    ];
    for (const [name, spec, mode] of cases) {
      const path = `${folder}/made/below/${name}`;
      const step = () => file(path, { ...mine, ...spec });
      const shell = new LocalShell();
      const { content } = spec;
      const bytes = content instanceof Uint8Array
        ? content
        : encode(content instanceof Secret ? content.reveal() : content);

      assertEquals((await ensure(step(), shell, { check: true })).outcome, "would change");
      assertEquals(shell.writes, []);
      const { outcome, differences } = await ensure(step(), shell);
      assertEquals([outcome, differences], ["changed", [
        { what: "file", to: `${bytes.length} bytes, mode ${mode.toString(8)}` },
      ]]);
      assertEquals([await Deno.readFile(path), await modeOf(path)], [bytes, mode]);
      assertEquals((await ensure(step(), shell)).outcome, "unchanged");
      assertEquals(shell.writes.length, 1);
    }
    assertEquals(await namesIn(`${folder}/made/below`), cases.map(([name]) => name).sort());
    assertEquals([await modeOf(`${folder}/made`), await modeOf(`${folder}/made/below`)], [0o755, 0o755]);
  },
);

testInFolder("what differs is shown and mended, and equal content is not sent", async ({ folder, mine }) => {
  const path = `${folder}/conf`;
  const step = (spec: Partial<FileSpec> = {}) => file(path, { content: "a\nb\nc\n", ...mine, ...spec });
  await ensure(step(), new LocalShell());

  await Deno.writeTextFile(path, "a\nx\ny\nc\n");
  const content = await ensure(step(), new LocalShell());
  assertEquals(content.differences, [{ what: "content:\n@ line 2\n- x\n- y\n+ b" }]);
  assertEquals(await Deno.readTextFile(path), "a\nb\nc\n");

  await Deno.chmod(path, 0o666);
  const shell = new LocalShell();
  const { ino } = await Deno.stat(path);
  assertEquals((await ensure(step(), shell)).differences, [{ what: "mode", from: "666", to: "644" }]);
  assertEquals([await modeOf(path), (await Deno.stat(path)).ino], [0o644, ino]);

  if (mine.owner === 0) {
    const nobody = { owner: 65534, group: "root" };
    const { differences } = await ensure(step(nobody), new LocalShell());
    assertEquals(differences, [{ what: "owner", from: "root", to: "65534" }]);
    assertEquals((await Deno.stat(path)).uid, 65534);
    // A name is as good as a number.
    assertEquals((await ensure(step({ owner: "nobody", group: 0 }), new LocalShell())).outcome, "unchanged");
  }
});

// A symbolic link must neither be followed nor, where it leads to a folder, be taken for one.
testInFolder(
  "what is no regular file is replaced, what it led to stays, and a folder is an error",
  async ({ folder, mine }) => {
    const path = `${folder}/conf`;
    const step = () => file(path, { content: "new", ...mine });
    await Deno.writeTextFile(`${folder}/target`, "kept");
    await Deno.mkdir(`${folder}/folder`);
    const makers: [kind: string, make: () => Promise<unknown>][] = [
      ["symbolic link", () => Deno.symlink("target", path)],
      ["symbolic link", () => Deno.symlink("nowhere", path)],
      ["symbolic link", () => Deno.symlink("folder", path)],
      ["other", () => new Deno.Command("mkfifo", { args: [path] }).output()],
    ];
    for (const [kind, make] of makers) {
      await make();
      const { differences } = await ensure(step(), new LocalShell());
      assertEquals(differences, [{ what: "file", from: kind, to: "3 bytes, mode 644" }]);
      assertEquals([(await Deno.lstat(path)).isFile, await Deno.readTextFile(path)], [true, "new"]);
      assertEquals([await Deno.readTextFile(`${folder}/target`), await namesIn(`${folder}/folder`)], ["kept", []]);
      assertEquals(await namesIn(folder), ["conf", "folder", "target"]);
      await Deno.remove(path);
    }
    await Deno.mkdir(path);
    for (const check of [false, true]) {
      const error = await assertRejects(() => ensure(step(), new LocalShell(), { check }), StepFailed);
      assertEquals(error.message, `Cannot write the file "${path}" as there is a folder`);
    }
  },
);

/** Loses the second half of what is sent. */
class LossyShell extends LocalShell {
  override write(script: Script, options: CommandOptions = {}): Promise<Output> {
    const stdin = options.stdin as Uint8Array;
    return super.write(script, { ...options, stdin: stdin.subarray(0, stdin.length / 2) });
  }
}

// A transfer counts only with size and hash read back. The file is whole or as it was.
testInFolder("a write that fails leaves the old file as it was, and nothing beside it", async ({ folder, mine }) => {
  const path = `${folder}/conf`;
  await Deno.writeTextFile(path, "old", { mode: 0o644 });
  const failures: [step: ReturnType<typeof file>, shell: LocalShell, said: string][] = [
    [
      file(path, { content: "new content", ...mine }),
      new LossyShell(),
      "not all of the 11 bytes arrived whole: 5 came",
    ],
    [file(path, { content: "new", owner: "no-such-user" }), new LocalShell(), "no-such-user"],
    [file(`${path}/below`, { content: "new", ...mine }), new LocalShell(), "mkdir"],
  ];
  for (const [step, shell, said] of failures) {
    const error = await assertRejects(() => ensure(step, shell), StepFailed);
    assertEquals(error.exitCode, ExitCode.Step);
    assertStringIncludes(error.message, "which is unchanged");
    assertStringIncludes(JSON.stringify(error.cause), said);
    assertEquals([await namesIn(folder), await Deno.readTextFile(path)], [["conf"], "old"]);
  }
});

testInFolder("what an earlier run that was cut off left is cleared away", async ({ folder, mine }) => {
  await Deno.writeTextFile(`${folder}/.conf.phoenix_setup`, "half", { mode: 0o777 });
  await ensure(file(`${folder}/conf`, { content: "whole", ...mine }), new LocalShell());
  assertEquals([await namesIn(folder), await Deno.readTextFile(`${folder}/conf`)], [["conf"], "whole"]);
});

// It travels on stdin, never in any argument list, and is redacted in every difference.
testInFolder("a secret is in the file and nowhere else", async ({ folder, mine }) => {
  const path = `${folder}/token`;
  await Deno.writeTextFile(path, "hunter1", { mode: 0o600 });
  const shell = new LocalShell();
  const { differences, events } = await ensure(file(path, { content: new Secret("token", "hunter2"), ...mine }), shell);
  assertEquals(differences, [{ what: "content", to: "[secret: token]" }]);
  assertEquals(await Deno.readTextFile(path), "hunter2");
  assert(!/hunter/.test(JSON.stringify([shell.reads, shell.writes, events])), "neither the new value nor the old one");
});

/** What the probe of a regular file says. */
const found = (content: string | Uint8Array<ArrayBuffer>, head = "file 644 0 root 0 root 00") =>
  on("sha256sum", `${head}\n${typeof content === "string" ? content : new TextDecoder().decode(content)}`);

Deno.test("a difference of content shows the lines that differ, 40 of each at the most", async () => {
  const check = async (before: string, content: FileSpec["content"]) =>
    (await ensure(file("/etc/x", { content }), new StubContainer(found(before)), { check: true })).differences;
  assertEquals(await check("a\nb\n", "a\nb\nc\n"), [{ what: "content:\n@ line 3\n+ c" }]);
  assertEquals(await check("a\nb", "a\nb\n"), [{ what: "content:\n@ line 3\n+ " }]);
  assertEquals(await check("", "a\n"), [{ what: "content:\n@ line 1\n+ a" }]);
  const many = (letter: string) => `${letter}\n`.repeat(45);
  const lines = (sign: string, letter: string) => `${`${sign} ${letter}\n`.repeat(40)}${sign} (5 more lines)`;
  assertEquals(await check(many("x"), many("y")), [
    { what: `content:\n@ line 1\n${lines("-", "x")}\n${lines("+", "y")}` },
  ]);
  assertEquals(await check("a\0b", "text"), [{ what: "content", to: "4 other bytes" }]);
  assertEquals(await check("x".repeat(65 * 1024), "text"), [{ what: "content", to: "4 other bytes" }]);
  assertEquals(await check("text", new Uint8Array(9)), [{ what: "content", to: "9 other bytes" }]);
  assertEquals(await check("text", "x".repeat(65 * 1024)), [{ what: "content", to: "66560 other bytes" }]);
});

Deno.test("a path has to be absolute and to name a file", () => {
  for (const path of ["etc/motd", "", "/etc/", "/", "./x"]) {
    assertThrows(() => file(path, { content: "" }), TypeError, `"${path}"`);
  }
});
