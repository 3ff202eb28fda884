import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ensure, on, StubContainer } from "../../tests/support/stubs.ts";
import type { CommandOptions } from "../container/container.ts";
import { StepFailed } from "../engine.ts";
import { CommandFailed, ExitCode, SessionLost } from "../errors.ts";
import { Secret } from "../secret.ts";
import { sh } from "../shell.ts";
import { command, type CommandSpec } from "./command.ts";

const yes = { code: 0 };
const no = { code: 1 };

// It runs only where the guard does not hold, and the guard has to hold afterwards.
Deno.test("a guarded command runs only where its guard does not hold", async () => {
  const guards = [
    {
      spec: { creates: "/etc/it's" },
      rule: `[ -e '/etc/it'\\''s' ]`,
      difference: { what: "/etc/it's", to: "present" },
    },
    { spec: { unless: sh`has it` }, rule: "has it", difference: { what: `"has it"`, from: "fails", to: "succeeds" } },
  ];
  for (const { spec, rule, difference } of guards) {
    const step = () => command("it", sh`make it`, spec);
    const holds = new StubContainer(on(rule, yes));
    assertEquals([(await ensure(step(), holds)).outcome, holds.writes], ["unchanged", []]);

    const mended = new StubContainer(on(rule, no, yes), on("make it", ""));
    const { outcome, differences } = await ensure(step(), mended);
    assertEquals([outcome, differences, mended.writes], ["changed", [difference], ["make it"]]);

    const checked = new StubContainer(on(rule, no));
    assertEquals((await ensure(step(), checked, { check: true })).outcome, "would change");
    assertEquals([checked.reads, checked.writes], [[rule], []]);

    // Exit code 0 is no evidence.
    const idle = new StubContainer(on(rule, no), on("make it", "Nothing to be done\n"));
    const error = await assertRejects(() => ensure(step(), idle), StepFailed, "still different");
    assertEquals((error.cause as CommandFailed).evidence.stdout, "Nothing to be done");

    const failing = new StubContainer(on(rule, no), on("make it", { code: 2, stderr: "no rule\n" }));
    const failed = await assertRejects(() => ensure(step(), failing), StepFailed, "exit code 2");
    assertEquals([failed.exitCode, (failed.cause as CommandFailed).evidence.stderr], [ExitCode.Step, "no rule\n"]);
  }
});

Deno.test("of two guards both have to hold", async () => {
  const step = () => command("it", sh`make it`, { creates: "/x", unless: sh`has it` });
  const outcomes = [];
  for (const [exists, unless] of [[0, 0], [0, 1], [0, 255], [1, 0]]) {
    const container = new StubContainer(
      on("[ -e /x ]", { code: exists! }, yes),
      on("has it", { code: unless! }, yes),
      on("make it", ""),
    );
    outcomes.push((await ensure(step(), container)).outcome);
  }
  // The guard that is asked first answers for both while it does not hold.
  assertEquals(outcomes, ["unchanged", "changed", "changed", "changed"]);
});

Deno.test("with onlyIf a command runs only while that succeeds, and alone it has to fail afterwards", async () => {
  const step = () => command("it", sh`migrate`, { onlyIf: sh`is pending` });
  const idle = new StubContainer(on("is pending", no));
  assertEquals([(await ensure(step(), idle)).outcome, idle.writes], ["unchanged", []]);

  const run = new StubContainer(on("is pending", yes, no), on("migrate", ""));
  const { outcome, differences } = await ensure(step(), run);
  assertEquals([outcome, differences, run.writes], [
    "changed",
    [{ what: '"is pending"', from: "succeeds", to: "fails" }],
    ["migrate"],
  ]);

  const checked = new StubContainer(on("is pending", yes));
  assertEquals((await ensure(step(), checked, { check: true })).outcome, "would change");
  assertEquals([checked.reads, checked.writes], [["is pending"], []]);

  // It would run in every run.
  const still = new StubContainer(on("is pending", yes), on("migrate", ""));
  await assertRejects(
    () => ensure(step(), still),
    StepFailed,
    'still different: "is pending": succeeds -> fails',
  );
});

Deno.test("onlyIf narrows the other guards, which have to hold after the command all the same", async () => {
  for (const [guard, rule] of [[{ unless: sh`has it` }, "has it"], [{ creates: "/x" }, "[ -e /x ]"]] as const) {
    const step = () => command("it", sh`make it`, { ...guard, onlyIf: sh`may be` });
    const outcome = async (...rules: Parameters<typeof on>[]) => {
      const container = new StubContainer(...rules.map((rule) => on(...rule)));
      return [(await ensure(step(), container)).outcome, container.writes.length];
    };
    assertEquals(await outcome(["may be", no]), ["unchanged", 0]);
    assertEquals(await outcome(["may be", yes], [rule, yes]), ["unchanged", 0]);
    assertEquals(await outcome(["may be", yes], [rule, no, yes], ["make it", ""]), ["changed", 1]);
    // The command took its own reason away, and did not do its work.
    const spent = new StubContainer(on("may be", yes, no), on(rule, no), on("make it", ""));
    await assertRejects(() => ensure(step(), spent), StepFailed, "still different");
  }
});

// A guard that cannot run has not said no: what it guards may be there.
Deno.test("a guard that is missing or was killed is an error, in check mode too", async () => {
  for (const spec of [{ unless: sh`has it` }, { onlyIf: sh`has it` }]) {
    for (const [code, hint] of [[126, true], [127, true], [137, false], [143, false]] as const) {
      for (const check of [false, true]) {
        const container = new StubContainer(on("has it", { code, stderr: "sh: 1: has: not found" }));
        const error = await assertRejects(
          () => ensure(command("it", sh`make it`, spec), container, { check }),
          StepFailed,
          `Cannot tell whether the command "it" is needed as its guard ended with exit code ${code}`,
        );
        assertEquals([error.exitCode, error.hint !== undefined, container.writes], [ExitCode.Step, hint, []]);
        assertEquals((error.cause as CommandFailed).evidence.command, "has it");
      }
    }
  }
});

Deno.test("a guard that does not end is an error with the exit code for that", async () => {
  const late = () => {
    throw new CommandFailed("Command did not end", { command: "has it", code: undefined, stdout: "", stderr: "" }, {
      exitCode: ExitCode.Timeout,
    });
  };
  const container = new StubContainer(on("has it", late));
  const error = await assertRejects(
    () => ensure(command("it", sh`make it`, { unless: sh`has it` }), container),
    StepFailed,
  );
  assertEquals([error.exitCode, container.writes], [ExitCode.Timeout, []]);
});

Deno.test("a look at the path that itself fails is a failure, not a no", async () => {
  const container = new StubContainer(on("[ -e /x ]", { code: 2, stderr: "sh: too many arguments" }));
  await assertRejects(
    () => ensure(command("it", sh`make it`, { creates: "/x" }), container),
    StepFailed,
    "exit code 2",
  );
  assertEquals(container.writes, []);
});

// Without a guard nobody can know.
Deno.test("a command without a guard always runs, and is reported so", async () => {
  for (const check of [false, true]) {
    const container = new StubContainer(on("date", ""));
    const { outcome, differences } = await ensure(command("now", sh`date`), container, { check });
    assertEquals(differences, [{ what: "always runs" }]);
    assertEquals([outcome, container.writes], check ? ["would change", []] : ["changed", ["date"]]);
  }
});

Deno.test("a command without a guard runs each time that it is asked for", async () => {
  const container = new StubContainer(on("date", ""));
  const step = command("now", sh`date`);
  await ensure(step, container);
  assertEquals([(await ensure(step, container)).outcome, container.writes], ["changed", ["date", "date"]]);
});

Deno.test("user, folder, environment and time-out are the command's; the guard shares all but the time-out", async () => {
  const seen: [string, CommandOptions][] = [];
  const step = command("it", sh`make it`, {
    unless: sh`has it`,
    user: "www",
    directory: "/srv/a b",
    environment: { MODE: "it's", TOKEN: new Secret("API token", "geheim") },
    timeout: "3m",
  });
  const guard = [{ stdout: "begun\n", code: 1 }, "begun\nyes\n"];
  await ensure(
    step,
    new StubContainer((script, verb, { user, timeout }) => {
      seen.push([script.text, { ...(user && { user }), ...(timeout && { timeout }) }]);
      // Neither the name of a secret nor its value belongs into the other form.
      assertEquals([script.display.includes("geheim"), script.text.includes("[secret")], [false, false]);
      return verb === "read" ? guard.shift()! : "";
    }),
  );
  const there = (script: string) =>
    `HOME=~www; export HOME\nexport MODE='it'\\''s'\nexport TOKEN=geheim\ncd '/srv/a b' || exit\n${script}`;
  assertEquals(seen, [
    [there("echo begun\nhas it"), { user: "www" }],
    [there("make it"), { user: "www", timeout: 180_000 }],
    [there("echo begun\nhas it"), { user: "www" }],
  ]);
});

// Without this, "no such user" would be taken for a guard's no.
Deno.test("a user or folder that is not there is told before the command runs, with and without a guard", async () => {
  const said = "runuser: user nobody2 does not exist or the user entry does not contain all the required fields";
  for (const spec of [{}, { unless: sh`has it` }, { onlyIf: sh`has it` }, { creates: "/x" }]) {
    for (const check of [false, true]) {
      const container = new StubContainer(
        on("[ -e /x ]", no),
        (_, verb) => verb === "read" ? { code: 1, stderr: said } : undefined,
      );
      const error = await assertRejects(
        () => ensure(command("it", sh`make it`, { ...spec, user: "nobody2" }), container, { check }),
        StepFailed,
        `Cannot run the command "it" as "nobody2" in "/" inside the container: ${said}`,
      );
      assertEquals([error.exitCode, container.writes], [ExitCode.Step, []]);
    }
  }
});

Deno.test("a command that fails is tried again, with longer and longer pauses, and its last failure counts", async () => {
  const failures = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ code: i + 1, stderr: `failure ${i + 1}` }));
  const run = async (container: StubContainer, retries: number, timeout?: "2s") => {
    const pauses: number[] = [];
    const step = command("it", sh`fetch`, { creates: "/x", retries, ...(timeout && { timeout }) });
    const { outcome, events } = await ensure({
      ...step,
      apply: (at, state) => step.apply({ ...at, pause: (ms) => Promise.resolve(void pauses.push(ms)) }, state),
    }, container);
    const told = events.flatMap((event) => event.event === "step progress" ? [event.text] : []);
    return { outcome, pauses, told };
  };
  const guard = () => on("[ -e /x ]", no, yes);

  const third = new StubContainer(guard(), on("fetch", ...failures(2), ""));
  assertEquals(await run(third, 3), {
    outcome: "changed",
    pauses: [1000, 2000],
    told: [
      "try 1 of 4: Command failed with exit code 1; the next one in 1.0 s",
      "try 2 of 4: Command failed with exit code 2; the next one in 2.0 s",
    ],
  });
  const eighth = await run(new StubContainer(guard(), on("fetch", ...failures(7), "")), 7);
  assertEquals(eighth.pauses, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);

  const never = new StubContainer(guard(), on("fetch", ...failures(9)));
  const error = await assertRejects(() => run(never, 2), StepFailed);
  assertEquals(error.message, "Command failed with exit code 3, the last of 3 tries");
  assertEquals((error.cause as CommandFailed).evidence.stderr, "failure 3");
  assertEquals(never.writes.length, 3);

  // Each try has the whole time; what ran out of time ends with the exit code for that.
  const late = () => {
    throw new CommandFailed("Command did not end", { command: "fetch", code: undefined, stdout: "", stderr: "" }, {
      exitCode: ExitCode.Timeout,
    });
  };
  const slow = new StubContainer(guard(), on("fetch", late));
  const timedOut = await assertRejects(() => run(slow, 1, "2s"), StepFailed, "the last of 2 tries");
  assertEquals([timedOut.exitCode, slow.writes.length], [ExitCode.Timeout, 2]);

  // Whether it took effect is not known: it is not run twice.
  const lost = new StubContainer(
    guard(),
    on("fetch", () => {
      throw new SessionLost("gone");
    }),
  );
  assertEquals((await assertRejects(() => run(lost, 3), StepFailed)).exitCode, ExitCode.Container);
  assertEquals(lost.writes.length, 1);
});

Deno.test("what a command cannot be run with is refused when it is described", () => {
  const refused: [CommandSpec, string][] = [
    [{ creates: "etc/x" }, "absolute path"],
    [{ creates: "/etc/../x" }, "absolute path"],
    [{ directory: "srv" }, "absolute path"],
    [{ user: "a b" }, "name of a user"],
    [{ user: "" }, "name of a user"],
    [{ user: "-x" }, "name of a user"],
    [{ environment: { "A-B": "x" } }, "MODEL_PATH"],
    [{ environment: { "": "x" } }, "MODEL_PATH"],
    [{ environment: { A: "x\0" } }, "NUL"],
    [{ retries: -1 }, "whole number"],
    [{ retries: 1.5 }, "whole number"],
    [{ timeout: "soon" as "1s" }, "duration"],
  ];
  for (const [spec, message] of refused) {
    assertThrows(() => command("it", sh`make it`, spec), TypeError, message, JSON.stringify(spec));
  }
  assertThrows(() => command("", sh`true`), TypeError, "title");
  command("it", sh`true`, { directory: "/" });
});
