import { assertThrows } from "@std/assert";
import { sh } from "../shell.ts";
import { succeeds } from "./succeeds.ts";

Deno.test("a command without a title is refused when the step is described", () => {
  assertThrows(() => succeeds("", sh`true`), TypeError, "title");
});
