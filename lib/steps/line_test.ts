import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { LocalShell, testInFolder } from "../../tests/support/local_shell.ts";
import { ensure, on, StubContainer } from "../../tests/support/stubs.ts";
import { edited, withFile } from "../../tests/support/text_edits.ts";
import { StepFailed } from "../engine.ts";
import { ExitCode } from "../errors.ts";
import { line, type LineSpec } from "./line.ts";

Deno.test("a line is added, replaces the one that matches, or is right already", async () => {
  const cases: [spec: LineSpec, before: string, after: string | undefined][] = [
    [{ line: "b" }, "", "b\n"],
    [{ line: "b" }, "a\n", "a\nb\n"],
    [{ line: "b" }, "a", "a\nb\n"],
    [{ line: "b" }, "a\nb\nc", undefined],
    [{ line: "b" }, "b", undefined],
    [{ line: "b" }, "b\nb\n", undefined],
    [{ line: "b" }, " b\nbb\n", " b\nbb\nb\n"],
    [{ line: "b" }, "a\n\n", "a\n\nb\n"],
    [{ line: "é $x \\1 & 'q'" }, "a\n", "a\né $x \\1 & 'q'\n"],
    [{ line: "key no", match: /^#?key\s/ }, "a\n#key yes\nz\n", "a\nkey no\nz\n"],
    [{ line: "key no", match: /^#?key\s/ }, "a\nkey no\nz\n", undefined],
    [{ line: "key no", match: /^#?key\s/ }, "a\n", "a\nkey no\n"],
    [{ line: "$& $1", match: /^(k)/g }, "k\nj", "$& $1\nj\n"],
    [{ line: "new", match: /^old/ }, "a\nold 1", "a\nnew\n"],
    [{ line: "b", after: /^\[x\]$/ }, "[x]\n[y]\n", "[x]\nb\n[y]\n"],
    [{ line: "b", after: /^a/ }, "a\na\nc\n", "a\na\nb\nc\n"],
    [{ line: "b", after: /^x/ }, "b\n", undefined],
    [{ line: "b", match: /^B/, after: /^a/ }, "B\na\n", "b\na\n"],
    [{ absent: "b" }, "a\nb\nbb\nb", "a\nbb\n"],
    [{ absent: "b" }, "a", undefined],
    [{ absent: "b" }, "b\n", ""],
    [{ absent: /\sswap\s/g }, "a swap x\nb swap y\nc\n", "c\n"],
  ];
  for (const [spec, before, after] of cases) {
    assertEquals(await edited(line("/etc/x", spec), before), after, JSON.stringify([spec, before]));
    // What was made is right.
    if (after !== undefined) assertEquals(await edited(line("/etc/x", spec), after), undefined);
  }
});

Deno.test("what is unclear is an error that says why, and nothing is written", async () => {
  const cases: [spec: LineSpec, text: string, said: string][] = [
    [{ line: "b", match: /^a/ }, "a1\nc\na2\n", 'its lines 1, 3 are "b" or match /^a/'],
    [{ line: "b", match: /^a/ }, "b\na\n", "its lines 1, 2"],
    [{ line: "b", after: /^x/ }, "a\n", "none of its lines matches /^x/"],
  ];
  for (const [spec, text, said] of cases) {
    const container = withFile(text);
    const error = await assertRejects(() => ensure(line("/etc/x", spec), container), StepFailed, said);
    assertEquals([error.exitCode, container.writes], [ExitCode.Step, []]);
  }
  for (
    const [answer, said] of [
      ["link\n../x\n", 'it is a symbolic link: edit "../x"'],
      ["other\n", "it is not a regular file"],
      ["file 00 644 0 0 1048577\n", "it has 1048577 bytes, expected at most 1048576"],
    ] as const
  ) {
    const container = new StubContainer(on("stat -c", answer));
    await assertRejects(() => ensure(line("/etc/x", { line: "b" }), container), StepFailed, said);
  }
});

// Somebody else has to say what else is in the file; check mode may run before that.
Deno.test("without the file, a line is missing, and to be absent is fine", async () => {
  const container = new StubContainer(on("stat -c", "nothing\n"));
  assertEquals((await ensure(line("/etc/x", { absent: "b" }), container)).outcome, "unchanged");
  const { differences } = await ensure(line("/etc/x", { line: "b" }), container, { check: true });
  assertEquals(differences, [{ what: "line", to: "b" }]);
  await assertRejects(
    () => ensure(line("/etc/x", { line: "b" }), container),
    StepFailed,
    'Cannot edit "/etc/x" as there is no such file',
  );
  assertEquals(container.writes, []);
});

Deno.test("what changes is shown, but not what others may not read", async () => {
  const step = line("/etc/x", { line: "b", match: /^token/ });
  const shown = await ensure(step, withFile("a\ntoken=hunter2\n"), { check: true });
  assertEquals(shown.differences, [{ what: "content:\n@ line 2\n- token=hunter2\n+ b" }]);
  const hidden = await ensure(step, withFile("a\ntoken=hunter2\n", 600), { check: true });
  assertEquals(hidden.differences, [{ what: "line", to: "b" }]);
});

testInFolder("the file keeps owner and mode, and is replaced whole", async ({ folder }) => {
  const path = `${folder}/it's a file`;
  await Deno.writeTextFile(path, "\ufeffa\nb", { mode: 0o640 });
  // Only root can give a file away.
  if ((await Deno.stat(path)).uid === 0) await Deno.chown(path, 65534, 65533);
  const before = await Deno.stat(path);
  const shell = new LocalShell();
  const step = line(path, { line: "ü", match: /b/ });
  assertEquals((await ensure(step, shell)).outcome, "changed");
  assertEquals((await ensure(step, shell)).outcome, "unchanged");
  assertEquals([shell.reads.length, shell.writes.length], [3, 1]);
  assertEquals(await Deno.readFile(path), new TextEncoder().encode("\ufeffa\nü\n"));
  const { uid, gid, mode, ino } = await Deno.stat(path);
  assertEquals([uid, gid, mode], [before.uid, before.gid, before.mode]);
  assert(ino !== before.ino, "a reader never sees half of it");

  // What somebody else wrote in between is not lost.
  const read = shell.read.bind(shell);
  shell.read = async (script, options) => {
    const output = await read(script, options);
    await Deno.writeTextFile(path, "mine\n");
    return output;
  };
  await assertRejects(() => ensure(line(path, { line: "theirs" }), shell), StepFailed, "which is unchanged");
  assertEquals(await Deno.readTextFile(path), "mine\n");
  assertEquals((await Array.fromAsync(Deno.readDir(folder))).length, 1);
  await Deno.writeFile(path, new Uint8Array([0xe9, 0x0a]));
  await assertRejects(() => ensure(line(path, { line: "x" }), new LocalShell()), StepFailed, "it is not UTF-8");
});

Deno.test("what cannot be meant is refused when it is described", () => {
  for (const spec of [{}, { line: "a", absent: "b" }, { line: "" }, { line: "a\nb" }, { absent: "a\0" }]) {
    assertThrows(() => line("/etc/x", spec as LineSpec), TypeError, '"/etc/x"');
  }
  assertThrows(() => line("etc/x", { line: "a" }), TypeError, '"etc/x"');
});
