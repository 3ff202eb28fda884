import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { withSteppingClock } from "../../../tests/support/clock.ts";
import { type Answer, ensure, on, StubContainer } from "../../../tests/support/stubs.ts";
import { StepFailed } from "../../engine.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "../../errors.ts";
import type { RunEvent } from "../../events.ts";
import { sh } from "../../shell.ts";
import { exists } from "../exists.ts";
import { logLine } from "../log_line.ts";
import { port } from "../port.ts";
import { succeeds } from "../succeeds.ts";
import { unitActive } from "../unit_active.ts";

const unitIs = (active: string, more = ""): Answer =>
  `LoadState=loaded\nActiveState=${active}\nSubState=sub\nResult=success\n${more}`;

const warningsOf = (events: readonly RunEvent[]) =>
  events.flatMap((event) => event.event === "message" && event.level === "warning" ? [event.text] : []);

// [the wait, what it asks, an answer of no, an answer of yes, what is said to be seen]
const waits = [
  [port(8080), ":1F90 ", { code: 1 }, "", "nothing listens"],
  [unitActive("app"), "systemctl show", unitIs("activating"), unitIs("active"), "activating (sub)"],
  [logLine("/var/log/app", "ready"), "/var/log/app", { code: 1, stdout: "no such file\n" }, "", "no such file"],
  [
    logLine("app", "ready"),
    "InvocationID",
    { code: 1, stderr: "Failed to connect to bus" },
    "",
    "Failed to connect to bus",
  ],
  [exists("/run/app.sock"), "[ -e /run/app.sock ]", { code: 1 }, "", "nothing"],
  [succeeds("ping", sh`app ping`), "app ping", { code: 7, stderr: "a\nrefused" }, "", "exit code 7: refused"],
] as const;

Deno.test("a wait looks until it is so, and changes nothing", async () => {
  for (const [step, question, no, yes] of waits) {
    const container = new StubContainer(on(question, no, no, no, yes));
    assertEquals((await ensure(step, container)).outcome, "changed", step.title);
    assertEquals(container.writes, []);
    assertEquals((await ensure(step, new StubContainer(on(question, yes)))).outcome, "unchanged", step.title);
  }
});

Deno.test("a wait ends at its deadline with exit code 5 and what was last seen", async () => {
  for (const [step, question, no, , seen] of waits) {
    const error = await withSteppingClock(() =>
      assertRejects(() => ensure(step, new StubContainer(on(question, no))), StepFailed)
    );
    assertEquals(error.exitCode, 5, step.title);
    assertStringIncludes(error.message, "Timed out after 1 min 0 s waiting for ");
    assertStringIncludes(error.message, ` to be `);
    assertStringIncludes(error.message, `; last seen: ${seen}`);
  }
});

Deno.test("check mode says what is not so yet", async () => {
  for (const [step, question, no, , seen] of waits) {
    const { outcome, differences } = await ensure(step, new StubContainer(on(question, no)), { check: true });
    assertEquals([outcome, differences[0]!.from], ["would change", seen], step.title);
  }
});

// A backup freezes or stops the container for a while.
Deno.test("a container that goes away is waited for, and the progress says so", async () => {
  const away = (): Answer => {
    throw new SessionLost("The session with container 901 was lost: container '901' not running!");
  };
  const container = new StubContainer(on("[ -e /run/x ]", { code: 1 }, away, away, ""));
  const { outcome, events } = await ensure(exists("/run/x"), container);
  assertEquals(outcome, "changed");
  const told = events.flatMap((event) => event.event === "step progress" ? [event.text] : []);
  assertEquals(told.length, 3);
  const why = "the container does not answer, perhaps because a backup froze or stopped it: The session";
  assertStringIncludes(told[1]!, why);
  // Once, also in a log that is not a long one.
  const warnings = warningsOf(events);
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, `Waiting for /run/x to be there: ${why}`);
  const forEver = new StubContainer(on("[ -e /run/x ]", { code: 1 }, away));
  const error = await withSteppingClock(() => assertRejects(() => ensure(exists("/run/x"), forEver), StepFailed));
  assertStringIncludes(error.message, "last seen: the container does not answer");
});

// The first look is the probe of the step, before there is a loop.
Deno.test("a container that is away at the first look is waited for as well, and the log says so", async () => {
  const away = (): Answer => {
    throw new SessionLost("The session with container 901 was lost: it was stopped");
  };
  const cutOff = (): Answer => {
    throw new CommandFailed("Command did not end", { command: "", code: undefined, stdout: "", stderr: "" }, {
      exitCode: ExitCode.Timeout,
    });
  };
  for (const [step, question, , yes] of waits) {
    for (const first of [away, cutOff]) {
      const { outcome, events } = await ensure(step, new StubContainer(on(question, first, first, yes)));
      assertEquals(outcome, "changed", step.title);
      const warnings = warningsOf(events);
      // Of a command that is waited for, a look that did not end says nothing about the container.
      if (step.title === "ping" && first === cutOff) continue;
      assertEquals(warnings.length, 1, step.title);
      assertStringIncludes(
        warnings[0]!,
        `${step.title}: the container does not answer, perhaps because a backup froze`,
      );
    }
    const error = await withSteppingClock(() =>
      assertRejects(() => ensure(step, new StubContainer(on(question, away))), StepFailed)
    );
    assertEquals([error.exitCode, error.message.includes("last seen: the container does not answer")], [5, true]);
    // What is no absence of the container fails at once.
    const other = new StubContainer(on(question, () => {
      throw new Failure(ExitCode.Container, "Container 901 was replaced by another one");
    }));
    assertEquals((await assertRejects(() => ensure(step, other), StepFailed)).exitCode, ExitCode.Container);
  }
});

// Once seen, it is so: a container that is frozen a moment later must not turn that into a failure.
Deno.test("a wait that has seen it looks no more", async () => {
  for (const [step, question, no, yes] of waits) {
    const container = new StubContainer(on(question, no, yes, no));
    assertEquals((await ensure(step, container)).outcome, "changed", step.title);
    assertEquals(container.reads.length, 2, step.title);
  }
});
