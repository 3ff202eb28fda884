import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ensure, on, StubContainer } from "../../tests/support/stubs.ts";
import { edited, withFile } from "../../tests/support/text_edits.ts";
import { StepFailed } from "../engine.ts";
import { ExitCode } from "../errors.ts";
import { block } from "./block.ts";

Deno.test("a block is added or replaced between its marks, the rest stays", async () => {
  const hosts = (content: string) => block("/etc/hosts", { name: "fleet", content });
  const marked = (content: string) => `# BEGIN phoenix_setup fleet\n${content}# END phoenix_setup fleet\n`;
  for (
    const [before, content, after] of [
      ["", "x\n", marked("x\n")],
      ["a", "x", `a\n${marked("x\n")}`],
      [`a\n${marked("old\nold\n")}z\n`, "x\ny\n", `a\n${marked("x\ny\n")}z\n`],
      [`a\n${marked("x\n")}z`, "x", undefined],
      [marked("x\n").trimEnd(), "x", undefined],
      [marked("x\n"), "", marked("")],
      [marked(""), "", undefined],
      [`# BEGIN phoenix_setup fleet2\n# END phoenix_setup fleet2\n`, "x", undefined],
    ] as const
  ) {
    const expected = before.includes("fleet2") ? `${before}${marked("x\n")}` : after;
    assertEquals(await edited(hosts(content), before), expected);
  }
});

Deno.test("a block whose marks are not clear is an error, and nothing is written", async () => {
  const step = block("/etc/x", { name: "n", content: "" });
  const [begin, end] = ["# BEGIN phoenix_setup n\n", "# END phoenix_setup n\n"];
  for (const text of [begin, end, end + begin, begin + end + begin + end]) {
    const container = withFile(text);
    const said = "are not there once each, in this order";
    const error = await assertRejects(() => ensure(step, container), StepFailed, said);
    assertEquals([error.exitCode, container.writes], [ExitCode.Step, []]);
  }
  const container = new StubContainer(on("stat -c", "nothing\n"));
  const said = 'Cannot edit "/etc/x" as there is no such file';
  await assertRejects(() => ensure(step, container), StepFailed, said);
  assertEquals(container.writes, []);
});

Deno.test("what cannot be a block is refused when it is described", () => {
  assertThrows(() => block("/etc/x", { name: "a b", content: "" }), TypeError, '"a b"');
  assertThrows(() => block("/etc/x", { name: "a", content: "# END phoenix_setup a\n" }), TypeError, "its own marks");
});
