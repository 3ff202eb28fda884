import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { withSteppingClock } from "../../tests/support/clock.ts";
import { type Answer, ensure, on, StubContainer } from "../../tests/support/stubs.ts";
import { StepFailed } from "../engine.ts";
import type { Reading } from "../step.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { sh } from "../shell.ts";
import { running } from "./docker.ts";
import { waitUntil } from "./support/poll.ts";
import { exists, logLine, port, succeeds, unitActive } from "./waits.ts";

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
  const why = "the container does not answer, as when a backup froze or stopped it: The session";
  assertStringIncludes(told[1]!, why);
  // Once, also in a log that is not a long one.
  const warnings = warningsOf(events);
  assertEquals(warnings.length, 1);
  assertStringIncludes(warnings[0]!, `Waiting for /run/x to be there: ${why}`);
  const forEver = new StubContainer(on("[ -e /run/x ]", { code: 1 }, away));
  const error = await withSteppingClock(() => assertRejects(() => ensure(exists("/run/x"), forEver), StepFailed));
  assertStringIncludes(error.message, "seen last: the container does not answer");
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
      assertStringIncludes(warnings[0]!, `${step.title}: the container does not answer, as when a backup froze`);
    }
    const error = await withSteppingClock(() =>
      assertRejects(() => ensure(step, new StubContainer(on(question, away))), StepFailed)
    );
    assertEquals([error.exitCode, error.message.includes("seen last: the container does not answer")], [5, true]);
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

// A backup can hold a look for as long as it takes.
Deno.test("a look that does not end is not waited for beyond the deadline", async () => {
  const frozen = Promise.withResolvers<boolean>();
  const wait = { look: () => frozen.promise, done: (seen: boolean) => seen, seen: () => "nothing", lastLook: 20 };
  const at = { progress() {}, pause: () => Promise.resolve(), warn() {} } as unknown as Reading;
  const error = await assertRejects(() => waitUntil(at, "it", false, wait, { within: 30 }), Failure);
  assertEquals([error.exitCode, error.message], [
    ExitCode.Timeout,
    "Waited 30 ms for it in vain; seen last: a look did not end within 20 ms after the deadline",
  ]);
});

// A container that has just been started gives a shell before its systemd answers.
Deno.test("a systemd that cannot be asked yet is waited for, also as what another wait depends on", async () => {
  const booting = { code: 1, stderr: "Failed to connect to bus: No such file or directory" };
  const container = new StubContainer(on("systemctl show", booting, booting, unitIs("active")));
  const { outcome, differences } = await ensure(unitActive("app"), container);
  assertEquals([outcome, differences], ["changed", [
    { what: "unit app.service", from: `systemctl: ${booting.stderr}`, to: "active" },
  ]]);
  const other = () => on("[ -e /x ]", { code: 1 }, { code: 1 }, "");
  const rule = on("systemctl show", booting);
  assertEquals(
    (await ensure(exists("/x", { while: unitActive("app") }), new StubContainer(other(), rule))).outcome,
    "changed",
  );
  // So is a Docker that does not answer yet; one that is not installed never will.
  const docker = (answer: Answer) =>
    ensure(exists("/x", { while: running("web") }), new StubContainer(other(), on("docker container inspect", answer)));
  const starting = { code: 1, stderr: "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." };
  assertEquals((await docker(starting)).outcome, "changed");
  await assertRejects(() => docker({ code: 127, stderr: "sh: docker: not found" }), StepFailed, "exit code 127");
});

Deno.test("a port is looked at inside as a socket that listens, or connected to from the host", async () => {
  const asked: unknown[] = [];
  const answers = ["Connection refused", undefined];
  const connectError = (...question: unknown[]) => {
    asked.push(question.slice(0, 2));
    return Promise.resolve(answers.shift());
  };
  const step = port(22, { from: "host", address: "10.0.0.9" });
  assertEquals((await ensure(step, new StubContainer(), { host: { connectError } })).outcome, "changed");
  assertEquals(asked, [["10.0.0.9", 22], ["10.0.0.9", 22]]);
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
