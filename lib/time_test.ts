import { assertEquals, assertThrows } from "@std/assert";
import { head } from "./text.ts";
import { formatDuration, milliseconds, within } from "./time.ts";

Deno.test("a duration is a positive number with a unit, of 24 days at most", () => {
  const right: [string | number, number][] = [
    ["500ms", 500],
    ["30s", 30_000],
    ["1.5m", 90_000],
    ["2h", 7_200_000],
    ["0.5ms", 0.5],
    [250, 250],
    [2 ** 31 - 1, 2 ** 31 - 1],
  ];
  for (const [text, ms] of right) assertEquals(milliseconds(text as `${number}s`), ms);
  // A longer one would let a timer fire at once.
  const wrong = [
    "",
    "soon",
    "5",
    "5 s",
    "-5s",
    "+5s",
    "1e3s",
    "0s",
    "5S",
    "5d",
    "s",
    ".5s",
    "٥s",
    "597h",
    "9".repeat(400) + "s",
  ];
  for (const text of [...wrong, 0, -1, NaN, Infinity, 2 ** 31]) {
    assertThrows(() => milliseconds(text as string), TypeError, `Cannot use "${head(String(text), 64)}" as a duration`);
  }
});

// A person reads these.
Deno.test("a duration reads in the unit that suits it", () => {
  const shown: [number, string][] = [
    [0, "0 ms"],
    [38.4, "38 ms"],
    [999.4, "999 ms"],
    [999.5, "1.0 s"],
    [12_440, "12.4 s"],
    [59_949, "59.9 s"],
    [59_950, "1 min 0 s"],
    [200_000, "3 min 20 s"],
    [3_599_499, "59 min 59 s"],
    [3_599_500, "1 h 0 min"],
    [7_500_000, "2 h 5 min"],
  ];
  for (const [ms, text] of shown) assertEquals(formatDuration(ms), text);
});

// Nothing of ours may block for ever. Deno's sanitizer fails this test for a timer that is left.
Deno.test("a bounded wait gives the value, the error, or nothing", async () => {
  assertEquals(await within(Promise.resolve(7), 60_000), 7);
  assertEquals(await within(Promise.reject(new Error("no")), 60_000).catch((error) => error.message), "no");
  assertEquals(await within(new Promise(() => {}), 1), undefined);
  // A timer of more milliseconds than 32 bits hold would fire at once.
  assertEquals(await within(new Promise((resolve) => setTimeout(resolve, 20, 7)), 2 ** 31 + 1), 7);
});
