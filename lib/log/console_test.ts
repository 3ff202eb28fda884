import { assert, assertEquals } from "@std/assert";
import { message, type RunEvent } from "../events.ts";
import { end, everyEvent, logOf } from "../../tests/support/log.ts";

Deno.test("JSON has one object a line, with the same names of levels for every event", () => {
  const { log, out } = logOf({ form: "json" });
  for (const event of everyEvent("a\nb")) log.report(event);
  const lines = [...out.stdout.trimEnd().split("\n"), ...out.stderr.trimEnd().split("\n")].map((line) =>
    JSON.parse(line)
  );
  assertEquals(lines.map(({ event, level }) => `${level} ${event}`), [
    "INFO message",
    "INFO run started",
    "INFO step started",
    "INFO step finished",
    "WARN message",
    "FATAL message",
    "ERROR failure",
    "ERROR run finished",
  ]);
  assertEquals(lines[0], { time: lines[0].time, level: "INFO", event: "message", text: "a\nb" });
  assert(!Number.isNaN(Date.parse(lines[0].time)));
});

// A terminal gets a line for each step; the differences where someone asked to see them.
Deno.test("a terminal shows one line for each step, and more with --check and --verbose", () => {
  const finished = (outcome: "changed" | "would change"): RunEvent => ({
    event: "step finished",
    number: 1,
    title: `image ${"x".repeat(60)}`,
    outcome,
    milliseconds: 12_400,
    differences: [{ what: "content:\n- a\n+ b" }],
  });
  const lineFor = (mark: string, outcome: string) =>
    `  ${mark} image ${"x".repeat(41)}… ${outcome.padEnd(12)}    12.4 s\n`;
  const details = "      content:\n      - a\n      + b\n";
  const cases: [level: "INFO" | "DEBUG" | "WARN", event: RunEvent, text: string][] = [
    ["INFO", finished("changed"), lineFor("✔", "changed")],
    ["DEBUG", finished("changed"), lineFor("✔", "changed") + details],
    ["INFO", finished("would change"), lineFor("~", "would change") + details],
    ["WARN", finished("changed"), ""],
    // The steps say the same.
    ["INFO", message("info", "Received CTID: 901"), ""],
    ["DEBUG", message("info", "Received CTID: 901"), "  Received CTID: 901\n"],
    ["INFO", message("warning", "careful"), "  ! careful\n"],
    ["INFO", message("fatal", "no"), "  ✖ no\n"],
    ["INFO", end(10, "last"), "901 checked: 2 changed, 1 failed in 17.2 s\nlast\n"],
    ["INFO", end(4, "last"), "901 failed: 2 changed, 1 failed in 17.2 s\nlast\n"],
  ];
  for (const [level, event, text] of cases) {
    const { log, out } = logOf({ form: "terminal", level });
    log.report(event);
    log.flush();
    assertEquals(out.stdout, text);
  }
});

// Long work is seen to go on: a line with its time and a spinner.
Deno.test("the live line follows the step under way, and is gone at the end", () => {
  const { log, out } = logOf({ form: "terminal", color: true });
  log.report({ event: "step started", number: 1, title: "image x" });
  const live = (text: string) => `\r\x1b[K\x1b[36m  ${text}\x1b[0m`;
  const written = () => out.stdout.replace(/\d+ ms/g, "0 ms");
  assertEquals(written(), live("⠋ image x 0 ms"));
  log.report({ event: "step progress", number: 1, title: "image x", text: "50 %" });
  log.report(message("warning", "careful"));
  assert(written().endsWith(`careful\n${live("⠙ image x 0 ms · 50 %")}`));
  log.flush();
  assert(out.stdout.endsWith("\r\x1b[K"));
});
