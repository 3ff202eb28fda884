import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { withSteppingClock } from "../../tests/clock.ts";
import { type Answer, ensure, on, StubContainer } from "../../tests/stubs.ts";
import { StepFailed } from "../engine.ts";
import { SessionLost } from "../errors.ts";
import { sh } from "../shell.ts";
import { exists, logLine, port, succeeds, unitActive } from "./waits.ts";

const unitIs = (active: string, more = ""): Answer =>
  `LoadState=loaded\nActiveState=${active}\nSubState=sub\nResult=success\n${more}`;

// [the wait, what it asks, an answer of no, an answer of yes, what is said to be seen]
const waits = [
  [port(8080), ":1F90 ", { code: 1 }, "", "nothing listens"],
  [unitActive("app"), "systemctl show", unitIs("activating"), unitIs("active"), "activating (sub)"],
  [logLine("/var/log/app", "ready"), "/var/log/app", { code: 1, stdout: "no such file\n" }, "", "no such file"],
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

Deno.test("a wait ends at its deadline with exit code 5 and what was seen last", async () => {
  for (const [step, question, no, , seen] of waits) {
    const error = await withSteppingClock(() =>
      assertRejects(() => ensure(step, new StubContainer(on(question, no))), StepFailed)
    );
    assertEquals(error.exitCode, 5, step.title);
    assertStringIncludes(error.message, "Waited 1 min 0 s for ");
    assertStringIncludes(error.message, `in vain; seen last: ${seen}`);
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
  assertStringIncludes(told[1]!, "the container does not answer, as when a backup froze or stopped it: The session");
  const forEver = new StubContainer(on("[ -e /run/x ]", { code: 1 }, away));
  const error = await withSteppingClock(() => assertRejects(() => ensure(exists("/run/x"), forEver), StepFailed));
  assertStringIncludes(error.message, "seen last: the container does not answer");
});

Deno.test("a port is looked at inside as a socket that listens, or connected to from the host", async () => {
  const asked: unknown[] = [];
  const answers = ["Connection refused", undefined, undefined];
  const connects = (...question: unknown[]) => {
    asked.push(question.slice(0, 2));
    return Promise.resolve(answers.shift());
  };
  const step = port(22, { from: "host", address: "10.0.0.9" });
  assertEquals((await ensure(step, new StubContainer(), { host: { connects } })).outcome, "changed");
  assertEquals(asked, [["10.0.0.9", 22], ["10.0.0.9", 22], ["10.0.0.9", 22]]);
});

Deno.test("a unit that will not become active fails the step at once, with its journal", async () => {
  const hopeless: [string, string][] = [
    [unitIs("failed") as string, "it has failed"],
    ["LoadState=not-found\nActiveState=inactive\n", "it is not known to systemd"],
    ["LoadState=masked\nActiveState=inactive\n", "it cannot be loaded: masked"],
  ];
  for (const [answer, why] of hopeless) {
    const rules = [on("systemctl show", unitIs("activating"), unitIs("activating"), answer), on("journalctl", "bang")];
    const error = await assertRejects(() => ensure(unitActive("app"), new StubContainer(...rules)), StepFailed);
    assertEquals(error.exitCode, 4);
    assertStringIncludes(error.message, `Waiting for unit "app.service" is pointless: ${why}`);
  }
});

Deno.test("a unit can be what another wait depends on", async () => {
  const failed = unitIs("failed", "Result=exit-code\nExecMainCode=1\nExecMainStatus=3\n");
  const container = new StubContainer(
    on("[ -e /run/x ]", { code: 1 }),
    on("systemctl show", unitIs("inactive"), unitIs("active"), failed),
    on("journalctl", "bang"),
  );
  const error = await assertRejects(
    () => ensure(exists("/run/x", { while: unitActive("app") }), container),
    StepFailed,
  );
  assertEquals(
    error.message,
    "Waiting for /run/x to be there is pointless: " +
      'the unit "app.service" has failed: exit code 3, and its journal ends with:\nbang',
  );
});

Deno.test("what cannot be waited for is refused when the step is described", () => {
  for (const number of [0, 65536, 1.5, NaN]) assertThrows(() => port(number), TypeError, "1 to 65535");
  assertThrows(() => port(80, { from: "host" } as never), TypeError, "address");
  assertThrows(() => port(80, { address: "10.0.0.9" } as never), TypeError, "address");
  assertThrows(() => port(80, { within: "soon" as "1s" }), TypeError);
  assertThrows(() => unitActive("a b"), TypeError, "systemd unit");
  assertThrows(() => logLine("/var/log/x", ""), TypeError, "line break");
  assertThrows(() => logLine("/var/log/x", "a\nb"), TypeError, "line break");
  assertThrows(() => logLine("/var/log/../x", "a"), TypeError, "absolute path");
  assertThrows(() => exists("run/x"), TypeError, "absolute path");
  assertThrows(() => succeeds("", sh`true`), TypeError, "title");
});
