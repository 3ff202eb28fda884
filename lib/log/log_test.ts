import { assert, assertEquals, assertMatch } from "@std/assert";
import { everyEvent, logOf, shown } from "../../tests/support/log.ts";
import { message } from "../events.ts";

Deno.test("a level holds for stdout and stderr and can be changed; the file has its own", () => {
  const { log, out, file } = logOf({ level: "WARN" });
  log.openFile("/log", "INFO", () => file);
  log.report(message("info", "a"));
  log.report(message("warning", "b"));
  log.setLevel("DEBUG");
  log.report(message("debug", "c"));
  assertEquals([shown(out.stdout), shown(out.stderr), shown(out.file)], ["DEBUG c\n", "WARN b\n", "INFO a\nWARN b\n"]);
});

// Output can neither drive a terminal nor forge a line.
Deno.test("control characters are made visible, and colours go", () => {
  const { log, out } = logOf();
  const cases: [text: string, line: string][] = [
    ["\x1b[1;31mred\x1b[0m", "red"],
    ["a\x1b[2Jb\x07\x9b", "a\\x1b[2Jb\\x07\\x9b"],
    ["one\rtwo", "one\\x0dtwo"],
    ["tab\tstays, é and 日本 too", "tab\tstays, é and 日本 too"],
    ["a\u202eb", "a\\u{202e}b"],
    ["dos\r\nlines", "dos\nINFO     lines"],
    ["a\u0085b\u2028c\u2029d", "a\\x85b\\u{2028}c\\u{2029}d"],
  ];
  for (const [text, line] of cases) {
    out.stdout = "";
    log.report(message("info", text));
    assertEquals(shown(out.stdout), `INFO ${line}\n`);
  }
});

// Whatever a text from outside is, it begins no line that looks like one of ours.
Deno.test("no text can forge a line, on a terminal or in a file", () => {
  const forged = "901 completed";
  for (const newline of ["\n", "\r", "\r\n", "\v", "\f", "\x85", "\u2028", "\u2029", "\x1b[1A\r", "\x1b[0m\n"]) {
    for (const form of ["terminal", "lines", "json"] as const) {
      const { log, out, file } = logOf({ form, level: "DEBUG" });
      log.openFile("/log", "DEBUG", () => file);
      for (const event of everyEvent(`a${newline}${forged}`)) log.report(event);
      for (const written of Object.values(out)) {
        for (const line of written.split(/[\n\v\f\r\x85\u2028\u2029]/)) {
          assert(!/^(?:\S+Z [A-Z]+ setup(?:\[\d+\])?: )?(?:Step \d+: )?901 completed/.test(line), line);
        }
      }
    }
  }
});

Deno.test("a text of megabytes is cut", () => {
  const { log, out, file } = logOf({ level: "DEBUG" });
  log.openFile("/log", "DEBUG", () => file);
  log.report(message("info", "x".repeat(10_000_000)));
  assertMatch(shown(out.file), /^INFO x{65536}…\n$/);
});
