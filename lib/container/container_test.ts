import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { on, StubContainer } from "../../tests/support/stubs.ts";
import { CommandFailed, ExitCode, Failure } from "../errors.ts";
import { sh } from "../shell.ts";
import { failureOf, Output, readOnly } from "./container.ts";

const encode = (text: string) => new TextEncoder().encode(text);

// Check mode is a wrapper, not a flag.
Deno.test("a read-only container looks and refuses to change", async () => {
  const container = new StubContainer(on("look", "seen"));
  const wrapped = readOnly(container);
  assertEquals([wrapped.ctid, (await wrapped.read(sh`look`)).text], [901, "seen"]);
  const error = await assertRejects(() => wrapped.write(sh`touch /x`), Failure);
  assertEquals([error.exitCode, container.writes], [ExitCode.Defect, []]);
});

Deno.test("output as text has no newline at its end; the evidence has its last 16 KiB", () => {
  const output = new Output("c", { code: 1, stdout: encode(" a\nb \n\n"), stderr: encode("x".repeat(20_000) + "end") });
  assertEquals(output.text, " a\nb ");
  const failure = failureOf(output);
  assertInstanceOf(failure, CommandFailed);
  // What is cut is marked, so that the log can tell a part of a secret, and no character is halved.
  assertEquals(failure.evidence.stderr, `…${"x".repeat(16 * 1024 - 3)}end`);
  const cut = failureOf(new Output("c", { code: 1, stdout: encode(`${"é".repeat(10_000)}x`), stderr: encode("") }));
  assertEquals(cut.evidence.stdout, `…${"é".repeat(8191)}x`);
});
