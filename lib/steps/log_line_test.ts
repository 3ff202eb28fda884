import { assertThrows } from "@std/assert";
import { logLine } from "./log_line.ts";

Deno.test("what is no line, or neither a path nor a unit, is refused when the step is described", () => {
  assertThrows(() => logLine("/var/log/x", ""), TypeError, "line break");
  assertThrows(() => logLine("/var/log/x", "a\nb"), TypeError, "line break");
  assertThrows(() => logLine("/var/log/../x", "a"), TypeError, "absolute path");
  assertThrows(() => logLine("a b", "a"), TypeError, "systemd unit");
});
