import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type HostContent, hostFiles } from "../../tests/support/host_files.ts";
import { LocalShell, testInFolder } from "../../tests/support/local_shell.ts";
import { ensure } from "../../tests/support/stubs.ts";
import { StepFailed } from "../engine.ts";
import { ExitCode } from "../errors.ts";
import { tree, type TreeSpec } from "./tree.ts";

/** All that is below a folder: mode and content of files, mode of folders. */
async function contentOf(folder: string, at = ""): Promise<Record<string, string>> {
  const content: Record<string, string> = {};
  for await (const { name, isDirectory, isSymlink } of Deno.readDir(`${folder}${at}`)) {
    const path = `${at}/${name}`;
    if (isSymlink) {
      content[path] = `-> ${await Deno.readLink(`${folder}${path}`)}`;
      continue;
    }
    const mode = ((await Deno.stat(`${folder}${path}`)).mode! & 0o7777).toString(8);
    content[path] = isDirectory ? mode : `${mode} ${await Deno.readTextFile(`${folder}${path}`)}`;
    if (isDirectory) Object.assign(content, await contentOf(folder, path));
  }
  return content;
}

const source: Record<string, HostContent> = {
  "/src/a.conf": "a",
  "/src/sub/b b": "b",
  "/src/sub/deep/c\\d": "c",
  "/src/sub/-n": "hyphen",
  "/src/run": { text: "#!/bin/sh\n", mode: 0o755 },
  "/src/large": "x".repeat(100_000),
};

const right = {
  "/a.conf": "644 a",
  "/sub": "755",
  "/sub/b b": "644 b",
  "/sub/deep": "755",
  "/sub/deep/c\\d": "644 c",
  "/sub/-n": "644 hyphen",
  "/run": "755 #!/bin/sh\n",
  "/large": `644 ${"x".repeat(100_000)}`,
};

// All files are looked at in one go.
testInFolder("a folder is copied, and left alone the next time", async ({ folder, mine }) => {
  const path = `${folder}/in the/container`;
  const step = () => tree(path, { from: "/src", ...mine });
  const host = hostFiles(source);
  const shell = new LocalShell();
  const check = await ensure(step(), shell, { host, check: true });
  assertEquals([check.outcome, shell.reads.length, shell.writes], ["would change", 1, []]);
  assertEquals(check.differences, [
    { what: "folder", to: "folder, mode 755" },
    { what: "a.conf", to: "1 bytes, mode 644" },
    { what: "large", to: "100000 bytes, mode 644" },
    { what: "run", to: "10 bytes, mode 755" },
    { what: "sub", to: "folder, mode 755" },
    { what: "sub/-n", to: "6 bytes, mode 644" },
    { what: "sub/b b", to: "1 bytes, mode 644" },
    { what: "sub/deep", to: "folder, mode 755" },
    { what: "sub/deep/c\\d", to: "1 bytes, mode 644" },
  ]);
  const made = await ensure(step(), shell, { host });
  assertEquals([made.outcome, made.differences], ["changed", check.differences]);
  assertEquals(await contentOf(path), right);
  const again = new LocalShell();
  assertEquals((await ensure(step(), again, { host })).outcome, "unchanged");
  assertEquals([again.reads.length, again.writes.length], [1, 0]);
});

testInFolder("only what differs is sent; what is not on the host stays, or goes", async ({ folder, mine }) => {
  const path = `${folder}/app`;
  const step = (spec: Partial<TreeSpec> = {}) => tree(path, { from: "/src", ...mine, ...spec });
  const host = hostFiles(source);
  await ensure(step(), new LocalShell(), { host });

  await Deno.writeTextFile(`${path}/a.conf`, "A");
  await Deno.chmod(`${path}/run`, 0o700);
  await Deno.chmod(`${path}/sub/deep`, 0o711);
  await Deno.remove(`${path}/sub/-n`);
  await Deno.remove(`${path}/sub/b b`);
  await Deno.symlink("../a.conf", `${path}/sub/b b`);
  await Deno.mkdir(`${path}/old/er`, { recursive: true });
  await Deno.writeTextFile(`${path}/old/er/x`, "");
  await Deno.writeTextFile(`${path}/sub/line\nbreak`, "");
  const shell = new LocalShell();
  const inode = (await Deno.stat(`${path}/large`)).ino;
  const differences = [
    { what: "content of a.conf", to: "other 1 bytes" },
    { what: "mode of run", from: "700", to: "755" },
    { what: "sub/-n", to: "6 bytes, mode 644" },
    { what: "sub/b b", to: "1 bytes, mode 644" },
    { what: "mode of sub/deep", from: "711", to: "755" },
  ];
  assertEquals((await ensure(step(), shell, { host })).differences, differences);
  assertEquals((await Deno.stat(`${path}/large`)).ino, inode);
  const kept = { "/old": "755", "/old/er": "755", "/old/er/x": "644 ", "/sub/line\nbreak": "644 " };
  assertEquals(await contentOf(path), { ...right, ...kept });

  const removing = step({ remove: true });
  assertEquals((await ensure(removing, new LocalShell(), { host })).differences, [
    { what: "old", from: "not on the host" },
    { what: "sub/line\nbreak", from: "not on the host" },
  ]);
  assertEquals(await contentOf(path), right);
  assertEquals((await ensure(removing, new LocalShell(), { host })).outcome, "unchanged");
});

/** Cuts off what a command is to read. */
class LossyShell extends LocalShell {
  override write(...[script, options]: Parameters<LocalShell["write"]>) {
    const { stdin } = options ?? {};
    return super.write(script, stdin instanceof Uint8Array ? { ...options, stdin: stdin.subarray(1) } : options);
  }
}

// A folder can have hundreds of files of a few bytes each: not a frame for each of them, and nothing in part all the
// same.
testInFolder("small files go together, as many as fit into a frame", async ({ folder, mine }) => {
  const path = `${folder}/app`;
  const content = (i: number) => `${"\0\n\\x".repeat(i)}${i}`;
  const twins = { [`/src/${"x".repeat(60)}1`]: "one", [`/src/${"x".repeat(60)}2`]: "two" };
  const files: Record<string, HostContent> = {
    ...Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`/src/sub/back\\slash ${100 + i}`, content(i)])),
    "/src/a": { text: "#!/bin/sh\n", mode: 0o755 },
    "/src/empty": "",
    "/src/large": "x".repeat(100_000),
  };
  const step = () => tree(path, { from: "/src", ...mine });
  const shell = new LocalShell();
  const { events } = await ensure(step(), shell, { host: hostFiles(files) });
  // The folders, what is before the large one, that one, what is after it.
  assertEquals(shell.writes.length, 4);
  assertEquals(
    events.flatMap((event) => event.event === "step progress" ? event.text : []).filter((text) => /^file /.test(text))
      .map((text) => text.replace(/:.*/, "")),
    Array.from({ length: 43 }, (_, i) => `file ${i + 1} of 43`),
  );
  const expected = Object.entries(files).map(([name, file]) => {
    const { text, mode = 0o644 } = typeof file === "string" ? { text: file } : file!;
    return [name.slice("/src".length), `${mode!.toString(8)} ${text}`];
  });
  assertEquals(await contentOf(path), { ...Object.fromEntries(expected), "/sub": "755" });
  assertEquals((await ensure(step(), new LocalShell(), { host: hostFiles(files) })).outcome, "unchanged");

  // 64 KiB are the most; two that would have the same temporary name cannot go together.
  const halves = { "/src/1": "1".repeat(40_000), "/src/2": "2".repeat(25_536), "/src/3": "3" };
  for (const [more, frames] of [[halves, 2], [twins, 2]] as const) {
    const shell = new LocalShell();
    await ensure(step(), shell, { host: hostFiles({ ...files, ...more }) });
    assertEquals(shell.writes.length, frames);
  }
});

testInFolder("what does not arrive whole is not put in place", async ({ folder, mine }) => {
  await Deno.writeTextFile(`${folder}/a`, "old");
  const step = () => tree(folder, { from: "/src", directoryMode: 0o700, ...mine });
  const options = { host: hostFiles({ "/src/a": "new", "/src/b": "more" }) };
  const error = await assertRejects(() => ensure(step(), new LossyShell(), options), StepFailed);
  assertEquals(error.message, `Cannot write 2 files in "${folder}"; none of them was written in part`);
  assertEquals(await contentOf(folder), { "/a": "644 old" });
  // What a killed run left behind goes with the next one.
  for (const name of [".phoenix_setup", ".a.phoenix_setup"]) await Deno.writeTextFile(`${folder}/${name}`, "part");
  await ensure(step(), new LocalShell(), options);
  assertEquals(await contentOf(folder), { "/a": "644 new", "/b": "644 more" });
});

testInFolder("modes can be stated", async ({ folder, mine }) => {
  const path = `${folder}/keys`;
  const step = tree(path, { from: "/src", fileMode: 0o600, directoryMode: 0o700, ...mine });
  await ensure(step, new LocalShell(), {
    host: hostFiles({ "/src/run": { text: "x", mode: 0o755 }, "/src/d/e": "e" }),
  });
  assertEquals(await contentOf(folder), {
    "/keys": "700",
    "/keys/run": "600 x",
    "/keys/d": "700",
    "/keys/d/e": "600 e",
  });
});

testInFolder("what cannot be copied is an error that says where", async ({ folder, mine }) => {
  const path = `${folder}/app`;
  const failure = async (files: Record<string, HostContent>, to = path) => {
    const shell = new LocalShell();
    const step = tree(to, { from: "/src", remove: true, ...mine });
    const error = await assertRejects(() => ensure(step, shell, { host: hostFiles(files) }), StepFailed);
    assertEquals([error.exitCode, shell.writes], [ExitCode.Step, []]);
    return error.message;
  };
  assertEquals(await failure({}), 'Cannot copy the folder "/src" as there is no such folder on the host');
  assertEquals(
    await failure({ "/src/sub/link": null }),
    'Cannot copy "/src/sub/link" from the host as it is neither a file nor a folder: symbolic links are not followed',
  );
  assertEquals(await failure({ "/src/a\nb": "" }), 'Cannot copy "/src/a\\nb" as its name has a control character');
  assertEquals(
    await failure({ "/src/.x.phoenix_setup": "" }),
    'Cannot copy "/src/.x.phoenix_setup" as files on their way have names like that',
  );

  await Deno.mkdir(`${path}/a.conf`, { recursive: true });
  assertEquals(await failure({ "/src/a.conf": "" }), `Cannot copy to "${path}/a.conf" as it is no file`);
  // Through a link, the files of others would be written.
  await Deno.symlink(folder, `${path}/sub`);
  assertEquals(await failure({ "/src/sub/x": "" }), `Cannot copy to "${path}/sub" as it is no folder`);
  await Deno.symlink(folder, `${folder}/link`);
  assertEquals(
    await failure({ "/src/x": "" }, `${folder}/link`),
    `Cannot copy to "${folder}/link" as it is a symbolic link`,
  );
  await Deno.writeTextFile(`${folder}/file`, "");
  assertEquals(await failure({ "/src/x": "" }, `${folder}/file`), `Cannot copy to "${folder}/file" as it is no folder`);
});

testInFolder("a pipe in the tree is not waited for", async ({ folder, mine }) => {
  await new Deno.Command("mkfifo", { args: [`${folder}/x`] }).output();
  await assertRejects(
    () => ensure(tree(folder, { from: "/src", ...mine }), new LocalShell(), { host: hostFiles({ "/src/x": "x" }) }),
    StepFailed,
    "no file",
  );
});

testInFolder("of many differences, the first 40 are told", async ({ folder, mine }) => {
  const files = Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`/src/${100 + i}`, "x"]));
  const step = tree(folder, { from: "/src", directoryMode: 0o700, ...mine });
  const { differences } = await ensure(step, new LocalShell(), { check: true, host: hostFiles(files) });
  assertEquals([differences.length, differences.at(-1)], [41, { what: "and 20 more differences" }]);
});

Deno.test("what cannot be meant is refused when it is described", () => {
  for (const spec of [{ from: "src" }, { from: "/src", fileMode: -1 }, { from: "/src", owner: "a b" }]) {
    assertThrows(() => tree("/opt/app", spec), TypeError);
  }
  assertThrows(() => tree("/", { from: "/src" }), TypeError, '"/"');
  // Copying into a system's folder is fine, clearing it is not.
  tree("/etc", { from: "/src" });
  for (const path of ["/etc", "/usr/lib", "/proc/sys/net"]) {
    assertThrows(() => tree(path, { from: "/src", remove: true }), TypeError, path);
  }
});
