import { assertEquals, assertThrows } from "@std/assert";
import { ensure, StubContainer } from "../../tests/support/stubs.ts";
import { port } from "./port.ts";

Deno.test("a port is looked at inside as a socket that listens, or connected to from the host", async () => {
  const asked: unknown[] = [];
  const answers = ["Connection refused", undefined];
  const connectError = (...question: unknown[]) => {
    asked.push(question.slice(0, 2));
    return Promise.resolve(answers.shift());
  };
  const step = port(22, { from: "host", address: "10.0.0.9" });
  assertEquals((await ensure(step, new StubContainer(), { host: { connectError } })).outcome, "changed");
  assertEquals(asked, [["10.0.0.9", 22], ["10.0.0.9", 22]]);
});

Deno.test("what is no port, or has no address where it needs one, is refused when the step is described", () => {
  for (const number of [0, 65536, 1.5, NaN]) assertThrows(() => port(number), TypeError, "1 to 65535");
  assertThrows(() => port(80, { from: "host" } as never), TypeError, "address");
  assertThrows(() => port(80, { address: "10.0.0.9" } as never), TypeError, "address");
  assertThrows(() => port(80, { within: "soon" as "1s" }), TypeError);
});
