import { assertThrows } from "@std/assert";
import { exists } from "./exists.ts";

Deno.test("a path that is not absolute is refused when the step is described", () => {
  assertThrows(() => exists("run/x"), TypeError, "absolute path");
});
