import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { ensure, StubContainer } from "../../tests/support/stubs.ts";
import { Output } from "../container/container.ts";
import { StepFailed } from "../engine.ts";
import type { Host } from "../host/host.ts";
import { hostCommand } from "./host_command.ts";

const container = new StubContainer();

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
    "still different",
  );
  assertStringIncludes(
    (await assertRejects(() => ensure(step, container, { host: host([1], 3) }), StepFailed)).message,
    "exit code 3",
  );
  const checked = await ensure(step, container, { host: { ...host([1]), write: () => Promise.reject() }, check: true });
  assertEquals([checked.outcome, checked.differences], [
    "would change",
    [{ what: '"/bin/grep"', from: "fails", to: "succeeds" }],
  ]);
  // A guard that was killed has not said no.
  for (const code of [126, 127, 137]) {
    const error = await assertRejects(() => ensure(step, container, { host: host([code]) }), StepFailed);
    assertStringIncludes(error.message, `its guard ended with exit code ${code}`);
  }
});

Deno.test("what is no program, and what has no title, is refused when the step is described", () => {
  assertThrows(() => hostCommand("x", ["sysctl"], { unless: ["/bin/true"] }), TypeError);
  assertThrows(() => hostCommand("", ["/bin/true"], { unless: ["/bin/true"] }), TypeError, "title");
});
