import { assert, assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { ensure, on, StubContainer, stubHost } from "../tests/support/stubs.ts";
import type { Container } from "./container/container.ts";
import { Engine, StepFailed } from "./engine.ts";
import { describeDifference } from "./difference.ts";
import type { Step } from "./step.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "./errors.ts";
import type { RunEvent } from "./events.ts";
import { RunLog } from "./log/log.ts";
import { Secret } from "./secret.ts";
import { sh } from "./shell.ts";

function engineOf(container: Container = new StubContainer(), check = false) {
  const events: RunEvent[] = [];
  const engine = new Engine({
    container,
    host: stubHost(),
    check,
    report: (event) => events.push(event),
    pause: () => Promise.resolve(),
  });
  const outcomes = () => engine.results.map(({ outcome }) => outcome);
  return { engine, events, outcomes };
}

/** A step that finds one state after the other, and notes what is asked of it. */
function step(...states: string[]): Step<string> & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    title: "thing",
    probe() {
      asked.push("probe");
      return Promise.resolve(states.length > 1 ? states.shift()! : states[0]!);
    },
    diff(state) {
      asked.push(`diff ${state}`);
      return state === "right" ? [] : [{ what: "state", from: state, to: "right" }];
    },
    apply(_at, state) {
      asked.push(`apply ${state}`);
      return Promise.resolve();
    },
  };
}

Deno.test("a step is applied only where there is a difference, and looked at again", async () => {
  const cases = [
    { states: ["right"], check: false, outcome: "unchanged", changed: false, asked: ["probe", "diff right"] },
    {
      states: ["wrong", "right"],
      check: false,
      outcome: "changed",
      changed: true,
      asked: ["probe", "diff wrong", "apply wrong", "probe", "diff right"],
    },
    { states: ["right"], check: true, outcome: "unchanged", changed: false, asked: ["probe", "diff right"] },
    { states: ["wrong"], check: true, outcome: "would change", changed: true, asked: ["probe", "diff wrong"] },
  ] as const;
  for (const { states, check, outcome, changed, asked } of cases) {
    const thing = step(...states);
    const { engine, events } = engineOf(undefined, check);
    assertEquals(await engine.ensure(thing), changed);
    assertEquals(thing.asked, [...asked]);
    const { milliseconds } = engine.results[0]!;
    assertEquals(engine.results, [{ title: "thing", outcome, milliseconds }]);
    assertEquals(events, [
      { event: "step started", number: 1, title: "thing" },
      {
        event: "step finished",
        number: 1,
        title: "thing",
        outcome,
        milliseconds,
        differences: changed ? [{ what: "state", from: "wrong", to: "right" }] : [],
      },
    ]);
  }
});

Deno.test("an apply that changes nothing fails with the difference and its last output", async () => {
  const container = new StubContainer(on("first", "a"), on("second", { stdout: "all fine\n", stderr: "or so\n" }));
  const { engine, outcomes } = engineOf(container);
  const error = await assertRejects(() =>
    engine.ensure({
      ...step("wrong"),
      async apply({ container }) {
        await container.write(sh`first`);
        await container.write(sh`second`);
      },
    }), StepFailed);
  assertEquals([error.step, error.exitCode, outcomes()], ["thing", ExitCode.Step, ["failed"]]);
  assertEquals(error.message, "Applied without an error, but still different: state: wrong -> right");
  assertInstanceOf(error.cause, CommandFailed);
  assertEquals(error.cause.evidence, { command: "second", code: 0, stdout: "all fine", stderr: "or so" });

  const silent = await assertRejects(() => engineOf().engine.ensure(step("wrong")), StepFailed);
  assertEquals([silent.cause instanceof CommandFailed, silent.exitCode], [false, ExitCode.Step]);
});

// What a step throws decides about the exit code; what is no failure of the world is a defect.
Deno.test("a step that throws has failed, with the exit code and the hint of what it threw", async () => {
  const thrown: [unknown, ExitCode, string | undefined][] = [
    [new Failure(ExitCode.Timeout, "late", { hint: "wait" }), ExitCode.Timeout, "wait"],
    [new SessionLost("gone"), ExitCode.Container, undefined],
    [new TypeError("x is undefined"), ExitCode.Defect, undefined],
    ["a string", ExitCode.Defect, undefined],
  ];
  for (const [error, exitCode, hint] of thrown) {
    for (const at of ["probe", "diff", "apply"] as const) {
      const { engine, outcomes } = engineOf();
      const failing = {
        ...step("wrong"),
        [at]: () => {
          throw error;
        },
      };
      const failed = await assertRejects(() => engine.ensure(failing), StepFailed);
      assertEquals([failed.exitCode, failed.hint, failed.cause, outcomes()], [exitCode, hint, error, ["failed"]]);
      assertEquals(engine.running, undefined);
    }
  }
});

// --check wraps the container in one that refuses to write, whoever asks.
Deno.test("in check mode nothing is written, not even by a step that tries", async () => {
  const container = new StubContainer(on("look", "seen"));
  const { engine } = engineOf(container, true);
  const smuggler: Step<string> = {
    ...step("right"),
    async probe(at) {
      await at.container.read(sh`look`);
      await (at.container as Container).write(sh`touch /x`);
      return "right";
    },
  };
  const error = await assertRejects(() => engine.ensure(smuggler), StepFailed);
  assertEquals([error.exitCode, error.message], [
    ExitCode.Defect,
    'Cannot run "touch /x" as nothing may be changed in check mode',
  ]);
  assertEquals([container.reads, container.writes], [["look"], []]);
});

// What a predicted change would have made is not there yet, so that nobody can look at what stands on it.
Deno.test("in check mode a probe may fail after a predicted change, and only then", async () => {
  const cannotLook = (error: unknown): Step<string> => ({ ...step("right"), probe: () => Promise.reject(error) });
  const missing = new Failure(ExitCode.Step, "no such program");

  const { engine, events, outcomes } = engineOf(undefined, true);
  await engine.ensure(step("wrong"));
  assertEquals(await engine.ensure(cannotLook(missing)), true);
  assertEquals(await engine.ensure(step("right")), false);
  assertEquals(outcomes(), ["would change", "would change", "unchanged"]);
  const note = "cannot be predicted before the steps above are done: no such program";
  assertEquals(events.some((event) => event.event === "step finished" && event.note === note), true);

  await assertRejects(() => engineOf(undefined, true).engine.ensure(cannotLook(missing)), StepFailed);
  for (const error of [new TypeError("a defect"), new SessionLost("the container has stopped")]) {
    const { engine } = engineOf(undefined, true);
    await engine.ensure(step("wrong"));
    await assertRejects(() => engine.ensure(cannotLook(error)), StepFailed, error.message);
  }
  // Without --check the change was made, and a probe that fails is a failure.
  const real = engineOf().engine;
  await real.ensure(step("wrong", "right"));
  await assertRejects(() => real.ensure(cannotLook(missing)), StepFailed);
});

// Plain control flow needs "await"; where it is missing, two steps would work at once.
Deno.test("a step that is not awaited keeps the next one from starting", async () => {
  const { engine, outcomes } = engineOf();
  const gate = Promise.withResolvers<string>();
  const first = engine.ensure({ ...step("right"), title: "slow", probe: () => gate.promise });
  assertEquals(engine.running, "slow");
  const second = step("wrong");
  const error = await assertRejects(() => engine.ensure(second), Failure, '"slow" is still under way');
  assertEquals([error.exitCode, second.asked], [ExitCode.Defect, []]);
  gate.resolve("right");
  assertEquals([await first, engine.running, outcomes()], [false, undefined, ["unchanged"]]);
});

// Every fact of a run is an event, the output of what a step runs among them, line by line.
Deno.test("output becomes events as it comes, also the last line of a command that fails", async () => {
  const bytes = new TextEncoder().encode("é\ntwo\n\nlast");
  const container = new StubContainer(on("write", (_, { onOutput }) => {
    // Cut within a character.
    onOutput?.(bytes.subarray(0, 1), "stdout");
    onOutput?.(bytes.subarray(1), "stdout");
    onOutput?.(new TextEncoder().encode("x".repeat(5000)), "stderr");
    return { code: 1 };
  }));
  const { engine, events } = engineOf(container);
  const failing: Step<string> = {
    ...step("wrong"),
    apply: async ({ container }) => void await container.write(sh`write`),
  };
  await assertRejects(() => engine.ensure(failing), StepFailed, "exit code 1");
  const output = events.flatMap((event) => event.event === "output" ? [[event.stream, event.text]] : []);
  assertEquals(output, [
    ["stdout", "é"],
    ["stdout", "two"],
    ["stdout", ""],
    ["stderr", "x".repeat(4096) + "…"],
    ["stdout", "last"],
    ["stderr", "…" + "x".repeat(904)],
  ]);
});

// A line is cut where it is too long, and chunks end anywhere: also within a secret.
Deno.test("a secret is concealed wherever a chunk ends or a line is cut", async () => {
  const value = "hf_0123456789";
  for (const at of [4096 - value.length - 1, 4096 - 7, 4096 - 1, 4096, 2 * 4096 - 6]) {
    for (const chunk of [1, 1000, 4096, 65536]) {
      const line = new TextEncoder().encode("x".repeat(at) + value + "y".repeat(5000));
      const container = new StubContainer(on("write", (_, { onOutput }) => {
        for (let i = 0; i < line.length; i += chunk) onOutput?.(line.subarray(i, i + chunk), "stdout");
        return "";
      }));
      const { events } = await ensure({
        ...step("wrong", "right"),
        apply: async ({ container }) => void await container.write(sh`write`),
      }, container);
      let shown = "";
      const stream = { write: (text: string) => void (shown += text) };
      const log = new RunLog({
        form: "lines",
        level: "DEBUG",
        color: false,
        program: "",
        stdout: stream,
        stderr: stream,
      });
      log.conceal(new Secret("token", value));
      for (const event of events) log.report(event);
      const joined = shown.replace(/…\n.*?\| …/g, "");
      assert(joined.includes("y".repeat(5000)), "all of the line is there");
      // No more than three characters, which tell nothing, may be left.
      for (let i = 0; i <= value.length - 4; i++) assert(!joined.includes(value.slice(i, i + 4)), `${at}, ${chunk}`);
    }
  }
});

Deno.test("a step says how far it is, and a step's own listener hears the output as well", async () => {
  const heard: string[] = [];
  const container = new StubContainer(on("write", (_, { onOutput }) => {
    onOutput?.(new TextEncoder().encode("hello\n"), "stdout");
    return "";
  }));
  const { events } = await ensure({
    ...step("wrong", "right"),
    async apply(at) {
      at.progress("half");
      await at.container.write(sh`write`, { onOutput: (chunk) => heard.push(new TextDecoder().decode(chunk)) });
    },
  }, container);
  assertEquals(heard, ["hello\n"]);
  assertEquals(events[1], { event: "step progress", number: 1, title: "thing", text: "half" });
  assertEquals(events[2], { event: "output", stream: "stdout", text: "hello" });
});

Deno.test("a difference reads as one phrase", () => {
  assertEquals(describeDifference({ what: "mode", from: "644", to: "600" }), "mode: 644 -> 600");
  assertEquals(describeDifference({ what: "container", to: "running" }), "container: running");
  assertEquals(describeDifference({ what: "environment X", from: "set" }), "environment X: set (to be removed)");
  assertEquals(describeDifference({ what: "always runs" }), "always runs");
});
