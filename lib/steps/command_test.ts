import { assertEquals, assertRejects } from "@std/assert";
import { ensure, on, StubContainer } from "../../tests/stubs.ts";
import type { CommandOptions } from "../container.ts";
import { StepFailed } from "../engine.ts";
import { CommandFailed, ExitCode } from "../errors.ts";
import { sh } from "../shell.ts";
import { command } from "./command.ts";

const yes = { code: 0 };
const no = { code: 1 };

// DESIGN 3: a raw command carries a guard. It runs only where the guard does not hold, and the guard has to hold afterwards.
Deno.test("a guarded command runs only where its guard does not hold", async () => {
  const guards = [
    {
      spec: { creates: "/etc/it's" },
      rule: `[ -e '/etc/it'\\''s' ]`,
      difference: { what: "/etc/it's", to: "present" },
    },
    { spec: { unless: sh`has it` }, rule: "has it", difference: { what: "not so yet: has it" } },
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
    const error = await assertRejects(() => ensure(step(), idle), StepFailed, "still not so");
    assertEquals((error.cause as CommandFailed).evidence.stdout, "Nothing to be done");

    const failing = new StubContainer(on(rule, no), on("make it", { code: 2, stderr: "no rule\n" }));
    const failed = await assertRejects(() => ensure(step(), failing), StepFailed, "exit code 2");
    assertEquals([failed.exitCode, (failed.cause as CommandFailed).evidence.stderr], [ExitCode.Step, "no rule\n"]);
  }
});

Deno.test("of two guards both have to hold, and any failure of the command that is a guard counts as no", async () => {
  const step = () => command("it", sh`make it`, { creates: "/x", unless: sh`has it` });
  const outcomes = [];
  for (const [exists, unless] of [[0, 0], [0, 1], [0, 127], [1, 0]]) {
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

Deno.test("a look at the path that itself fails is a failure, not a no", async () => {
  const container = new StubContainer(on("[ -e /x ]", { code: 2, stderr: "sh: too many arguments" }));
  await assertRejects(
    () => ensure(command("it", sh`make it`, { creates: "/x" }), container),
    StepFailed,
    "exit code 2",
  );
  assertEquals(container.writes, []);
});

// DESIGN 3: without a guard nobody can know.
Deno.test("a command without a guard always runs, and is reported so", async () => {
  for (const check of [false, true]) {
    const container = new StubContainer(on("date", ""));
    const { outcome, differences } = await ensure(command("now", sh`date`), container, { check });
    assertEquals(differences, [{ what: "always runs" }]);
    assertEquals([outcome, container.writes], check ? ["would change", []] : ["changed", ["date"]]);
  }
});

Deno.test("user, folder and time-out are the command's; the guard shares user and folder", async () => {
  const seen: [string, CommandOptions][] = [];
  const step = command("it", sh`make it`, { unless: sh`has it`, user: "www", directory: "/srv/a b", timeout: "3m" });
  const guard = [no, yes];
  await ensure(
    step,
    new StubContainer((script, verb, { user, timeout }) => {
      seen.push([script.display, { ...(user && { user }), ...(timeout && { timeout }) }]);
      return verb === "read" ? guard.shift()! : "";
    }),
  );
  const inFolder = (script: string) => `cd '/srv/a b' || exit\n${script}`;
  assertEquals(seen, [
    [inFolder("has it"), { user: "www" }],
    [inFolder("make it"), { user: "www", timeout: "3m" }],
    [inFolder("has it"), { user: "www" }],
  ]);
});
