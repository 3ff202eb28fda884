import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { ensure, StubContainer } from "../../tests/stubs.ts";
import { testWith } from "../../tests/permissions.ts";
import { Output } from "../container.ts";
import { StepFailed } from "../engine.ts";
import { type Host, thisHost } from "../host.ts";
import { Pct } from "../pct.ts";
import { hostBlock, hostCommand, hostFile } from "./host.ts";

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
          stream: () => new Blob([text!]).stream(),
          text: () => Promise.resolve(text!),
          sha256: () => Promise.resolve(""),
        },
      ),
    writeFile(path, content, newMode) {
      written.push({ path, content, mode: newMode });
      [text, mode] = [content, newMode];
      return Promise.resolve();
    },
  };
  return { host, written };
}

const container = new StubContainer();

// Requirements, section 2: "Making host-level configurations specific to this container".
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

Deno.test("a host command runs when its guard says so, and its guard has to hold afterwards", async () => {
  const step = hostCommand("forwarding", ["/usr/sbin/sysctl", "-w", "a=1"], {
    unless: ["/bin/grep", "-q", "1", "/proc/a"],
  });
  const host = (guards: number[], code = 0): Partial<Host> => {
    const output = (command: string, code: number) =>
      Promise.resolve(new Output(command, { code, stdout: new Uint8Array(), stderr: new TextEncoder().encode("why") }));
    return { read: (program) => output(program, guards.shift()!), write: (program) => output(program, code) };
  };
  assertEquals((await ensure(step, container, { host: host([0]) })).outcome, "unchanged");
  assertEquals((await ensure(step, container, { host: host([1, 0]) })).outcome, "changed");
  assertStringIncludes(
    (await assertRejects(() => ensure(step, container, { host: host([1, 1]) }), StepFailed)).message,
    "still not so",
  );
  assertStringIncludes(
    (await assertRejects(() => ensure(step, container, { host: host([1], 3) }), StepFailed)).message,
    "exit code 3",
  );
});

Deno.test("relative paths are refused when the step is described", () => {
  assertThrows(() => hostFile("x", { content: "" }), TypeError);
  assertThrows(() => hostBlock("/etc/", { name: "a", content: "" }), TypeError);
  assertThrows(() => hostBlock("/etc/hosts", { name: "a b", content: "" }), TypeError);
  assertThrows(() => hostCommand("x", ["sysctl"], { unless: ["/bin/true"] }), TypeError);
});

// The real host: whole or not at all, and what is no regular file is refused.
testWith(
  ["read", "write", "run"],
  "the host port writes files whole, with their mode, and runs programs without a shell",
  async () => {
    const folder = await Deno.makeTempDir();
    const host = thisHost(new Pct(), 901);
    try {
      await host.writeFile(`${folder}/f`, "one", 0o640);
      await host.writeFile(`${folder}/f`, "two", 0o640);
      const file = (await host.file(`${folder}/f`))!;
      assertEquals([await file.text(), file.mode, file.size], ["two", 0o640, 3]);
      assertEquals(await file.sha256(), "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3");
      assertEquals(await new Response(file.stream()).text(), "two");
      assertEquals(await host.folder(folder), [{ name: "f", kind: "file" }]);
      assertEquals([await host.file(`${folder}/none`), await host.folder(`${folder}/none`)], [undefined, undefined]);
      await assertRejects(() => host.file(folder), Error, "not a regular file");
      assertEquals((await host.read("/bin/echo", ["$HOME;", "`id`"])).text, "$HOME; `id`");
      await host.removeFile(`${folder}/f`);
      await host.removeFile(`${folder}/f`);
      assertEquals(await host.folder(folder), []);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
