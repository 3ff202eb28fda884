import { assertEquals } from "@std/assert";
import { counted, head, oneLine, tail, visible, withoutColors } from "./text.ts";

Deno.test("what is too long is cut so that the cut can be seen", () => {
  assertEquals([head("abcd", 4), head("abcd", 3)], ["abcd", "abc…"]);
  assertEquals([tail("abcd", 4), tail("abcd", 3)], ["abcd", "…bcd"]);
});

// Half a character would be shown as another one, and the log would not know a secret by it.
Deno.test("the end of an output begins with a whole character", () => {
  const bytes = new TextEncoder().encode("aé日z");
  const ends = ["…", "…z", "…z", "…z", "…日z", "…日z", "…é日z", "aé日z"];
  assertEquals(Array.from(ends, (_, length) => tail(bytes, length)), ends);
});

Deno.test("one is counted as one", () => {
  assertEquals([0, 1, 2].map((count) => counted(count, "line")), ["0 lines", "1 line", "2 lines"]);
});

Deno.test("a text that could drive a terminal becomes one that can be read", () => {
  assertEquals(withoutColors("\x1b[1;31mred\x1b[0m and \x1b[2J"), "red and \x1b[2J");
  assertEquals(visible("\x1b[2J\x07\x9b\r\n\tend\r\u202e\u2028"), "\\x1b[2J\\x07\\x9b\n\tend\\x0d\\u{202e}\\u{2028}");
  assertEquals(oneLine("one\ntwo"), "one\\x0atwo");
});
