import { assertEquals, assertMatch } from "@std/assert";
import { message, type RunEvent } from "../events.ts";
import { end, logOf, shown } from "../../tests/support/log.ts";

// One stream of events; errors and warnings go to stderr.
Deno.test("an event becomes timestamped lines, each with level and program", () => {
  const { log, out, file } = logOf({ level: "DEBUG" });
  log.openFile("/log", "DEBUG", () => file);
  const events: [RunEvent, string][] = [
    [message("info", "Received CTID: 901"), "INFO Received CTID: 901\n"],
    [message("warning", "a\nb"), "WARN a\nWARN     b\n"],
    [message("fatal", "Usage error"), "FATAL Usage error\n"],
    [{ event: "run started", ctid: 901, name: "Portainer", check: true }, "INFO Checking container 901 (Portainer)\n"],
    [{ event: "step started", number: 2, title: "image x" }, "INFO Step 2: image x\n"],
    [{ event: "step progress", number: 2, title: "image x", text: "pulling" }, "DEBUG Step 2: image x: pulling\n"],
    [{ event: "output", stream: "stderr", text: "50 %" }, "DEBUG | 50 %\n"],
    [
      {
        event: "step finished",
        number: 2,
        title: "image x",
        outcome: "would change",
        milliseconds: 1_500,
        differences: [{ what: "image", from: "a", to: "b" }, { what: "content:\n- a\n+ b" }],
        note: "perhaps",
      },
      "INFO Step 2: image x: would change (1.5 s)\nINFO     image: a -> b\nINFO     content:\nINFO     - a\n" +
      "INFO     + b\nINFO     perhaps\n",
    ],
    [
      {
        event: "failure",
        message: "no",
        step: "image x",
        command: "docker pull \\\n  x",
        code: 1,
        output: ["a", "b"],
        meaning: "it failed",
        hint: "log in",
        again: "setup 901",
      },
      'ERROR Step "image x" failed: no\nERROR $ docker pull \\\nERROR     x\nERROR | a\nERROR | b\n' +
      "ERROR Exit code 1: it failed\nERROR What to do: log in\nERROR Run again: setup 901\n",
    ],
    [end(0, "done"), "INFO 2 changed, 1 failed in 17.2 s; slowest: pull (12.4 s)\nINFO done\n"],
    [end(10, "would"), "INFO 2 changed, 1 failed in 17.2 s; slowest: pull (12.4 s)\nINFO would\n"],
    [end(4, "failed"), "ERROR 2 changed, 1 failed in 17.2 s; slowest: pull (12.4 s)\nERROR failed\n"],
  ];
  for (const [event, lines] of events) {
    Object.assign(out, { stdout: "", stderr: "", file: "" });
    log.report(event);
    const isError = /^(?:WARN|ERROR|FATAL)/.test(lines);
    assertEquals([shown(out.stdout), shown(out.stderr)], isError ? ["", lines] : [lines, ""]);
    assertEquals(shown(out.file), lines);
    assertMatch(out.file, new RegExp(`^\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z [A-Z]+ setup\\[${Deno.pid}\\]: `));
  }
});
