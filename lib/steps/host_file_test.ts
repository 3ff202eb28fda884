import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { ensure, StubContainer } from "../../tests/support/stubs.ts";
import { testInFolder } from "../../tests/support/local_shell.ts";
import { StepFailed } from "../engine.ts";
import type { Host } from "../host/host.ts";
import { thisHost } from "../host/this_host.ts";
import { Pct } from "../container/pct.ts";
import { hostBlock, hostFile } from "./host_file.ts";

/** A host with one text file, or none. */
function withFile(text: string | undefined, mode = 0o644) {
  const written: { path: string; content: string; mode: number }[] = [];
  const host: Partial<Host> = {
    file: (path) =>
      Promise.resolve(
        text === undefined ? undefined : {
          path,
          size: text.length,
          mode,
          chunks: () => new Blob([text!]).stream(),
          text: () => Promise.resolve(text!),
          sha256: () => Promise.resolve(""),
        },
      ),
    writeFile(path, content, newMode) {
      written.push({ path, content, mode: newMode });
      [text, mode] = [content, newMode];
      return Promise.resolve();
    },
    editFile: (path, edited) =>
      Promise.resolve(edited(text ?? "")).then((now) => host.writeFile!(path, now, text === undefined ? 0o644 : mode)),
  };
  return { host, written };
}

const container = new StubContainer();

Deno.test("a host file is written when it is absent or differs, and left alone when it is right", async () => {
  const step = hostFile("/opt/x.json", { content: "{}\n" });
  for (
    const [text, mode, outcome] of [[undefined, 0o644, "changed"], ["[]\n", 0o644, "changed"], [
      "{}\n",
      0o600,
      "changed",
    ], ["{}\n", 0o644, "unchanged"]] as const
  ) {
    const { host, written } = withFile(text, mode);
    assertEquals((await ensure(step, container, { host })).outcome, outcome);
    assertEquals(written, outcome === "changed" ? [{ path: "/opt/x.json", content: "{}\n", mode: 0o644 }] : []);
    const checked = withFile(text, mode);
    assertEquals(
      (await ensure(step, container, { host: checked.host, check: true })).outcome,
      outcome === "changed" ? "would change" : "unchanged",
    );
    assertEquals(checked.written, []);
  }
});

Deno.test("a block is put at the end, replaced in its place, and the rest stays", async () => {
  const step = hostBlock("/etc/hosts", { name: "901", content: "10.0.0.99 portainer" });
  const block = "# BEGIN phoenix_setup 901\n10.0.0.99 portainer\n# END phoenix_setup 901\n";
  const cases: [string | undefined, string][] = [
    [undefined, block],
    ["127.0.0.1 localhost", `127.0.0.1 localhost\n${block}`],
    ["a\n# BEGIN phoenix_setup 901\nold\n# END phoenix_setup 901\nb\n", `a\n${block}b\n`],
    ["x # BEGIN phoenix_setup 901\n", `x # BEGIN phoenix_setup 901\n${block}`],
  ];
  for (const [before, after] of cases) {
    const { host, written } = withFile(before, 0o640);
    assertEquals((await ensure(step, container, { host })).outcome, "changed");
    assertEquals(written, [{ path: "/etc/hosts", content: after, mode: before === undefined ? 0o644 : 0o640 }]);
    assertEquals((await ensure(step, container, { host })).outcome, "unchanged");
  }
});

Deno.test("a block whose marks are not clear is an error, and nothing is written", async () => {
  const step = () => hostBlock("/etc/hosts", { name: "901", content: "x" });
  const [begin, end] = ["# BEGIN phoenix_setup 901\n", "# END phoenix_setup 901\n"];
  for (const text of [begin, end, end + begin, begin + end + begin + end]) {
    for (const check of [false, true]) {
      const { host, written } = withFile(text);
      const error = await assertRejects(
        () => ensure(step(), container, { host, check }),
        StepFailed,
        `Cannot edit "/etc/hosts" on the host as the lines "# BEGIN phoenix_setup 901" and "# END phoenix_setup 901" are not there`,
      );
      assertEquals([error.exitCode, written], [4, []]);
    }
  }
});

// The setup of another container has its own block in the same file.
Deno.test("a block that somebody else has put into the file meanwhile stays", async () => {
  const { host, written } = withFile("first\n");
  const step = hostBlock("/etc/hosts", { name: "901", content: "x" });
  await ensure(
    {
      ...step,
      async apply(at, state) {
        await host.writeFile!("/etc/hosts", "first\nsecond\n", 0o644);
        await step.apply(at, state);
      },
    },
    container,
    { host },
  );
  assertEquals(written.at(-1)!.content, "first\nsecond\n# BEGIN phoenix_setup 901\nx\n# END phoenix_setup 901\n");
});

Deno.test("what only its owner may read is not shown", async () => {
  const differences = async (step: Parameters<typeof ensure>[0], text: string, mode: number) =>
    (await ensure(step, container, { ...withFile(text, mode), check: true })).differences;
  const quiet = [{ what: "content", to: "2 other characters" }];
  assertEquals(await differences(hostFile("/x", { content: "b\n", mode: 0o600 }), "a\n", 0o600), quiet);
  assertEquals(
    await differences(hostFile("/x", { content: "b\n", mode: 0o600 }), "a\n", 0o644),
    [...quiet, { what: "mode", from: "644", to: "600" }],
  );
  assertEquals(
    await differences(hostFile("/x", { content: "b\n" }), "a\n", 0o600),
    [...quiet, { what: "mode", from: "600", to: "644" }],
  );
  const block = hostBlock("/x", { name: "901", content: "b" });
  assertEquals(await differences(block, "a\n", 0o600), [{ what: "block", to: "present" }]);
});

Deno.test("what cannot be on the host is refused when the step is described", () => {
  assertThrows(() => hostFile("x", { content: "" }), TypeError);
  assertThrows(() => hostBlock("/etc/", { name: "a", content: "" }), TypeError);
  assertThrows(() => hostBlock("/etc/hosts", { name: "a b", content: "" }), TypeError);
  assertThrows(() => hostBlock("/etc/hosts", { name: "a", content: "# END phoenix_setup a" }), TypeError, "own marks");
  assertThrows(() => hostFile("/etc/../x", { content: "" }), TypeError, "absolute path");
  assertThrows(() => hostFile("/etc/x", { content: "", mode: 0o10000 }), TypeError, "permissions");
});

// Setups of several containers have their blocks in one file, such as /etc/hosts, and run at once.
testInFolder("runs that edit one file of the host at once lose nothing of each other", async ({ folder }) => {
  const path = `${folder}/hosts`;
  await Deno.writeTextFile(path, "127.0.0.1 localhost\n", { mode: 0o640 });
  const { uid } = await Deno.stat(path);
  // Only root can give a file away.
  if (uid === 0) await Deno.chown(path, 1, 2);
  const ids = Array.from({ length: 20 }, (_, i) => 901 + i);
  await Promise.all(
    ids.map((ctid) =>
      ensure(hostBlock(path, { name: `${ctid}`, content: `10.0.0.1 c${ctid}` }), container, {
        host: thisHost(new Pct(), ctid),
      })
    ),
  );
  const text = await Deno.readTextFile(path);
  assertEquals(ids.filter((ctid) => !text.includes(`\n10.0.0.1 c${ctid}\n`)), []);
  const after = await Deno.stat(path);
  assertEquals([after.uid, after.gid, after.mode! & 0o777], [...(uid === 0 ? [1, 2] : [uid, after.gid]), 0o640]);
  assertEquals(await thisHost(new Pct(), 901).folder(folder), [{ name: "hosts", kind: "file" }]);
});

testInFolder("a link on the host stays one when what it leads to is edited", async ({ folder }) => {
  await Deno.writeTextFile(`${folder}/real`, "a\n");
  await Deno.symlink("real", `${folder}/link`);
  await ensure(hostBlock(`${folder}/link`, { name: "901", content: "b" }), container, {
    host: thisHost(new Pct(), 901),
  });
  assertEquals((await Deno.lstat(`${folder}/link`)).isSymlink, true);
  assertStringIncludes(await Deno.readTextFile(`${folder}/real`), "\nb\n");
});
