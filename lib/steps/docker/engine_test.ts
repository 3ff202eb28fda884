import { assertEquals, assertRejects } from "@std/assert";
import { ensure } from "../../../tests/support/fake_docker.ts";
import { type Answer, on, StubContainer } from "../../../tests/support/stubs.ts";
import { StepFailed } from "../../engine.ts";
import { ExitCode } from "../../errors.ts";
import { engine } from "./engine.ts";

Deno.test("the engine answers, is started, or the step says what is wrong", async () => {
  const up = "26.1.5";
  const down = { code: 1, stderr: "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." };
  const of = (...answers: Answer[]) =>
    new StubContainer(on("docker version", ...answers), on("systemctl start docker", ""));

  const running = of(up);
  assertEquals([(await ensure(engine(), running)).outcome, running.writes], ["unchanged", []]);

  const stopped = of(down, down, down, up);
  const { outcome, differences } = await ensure(engine(), stopped);
  assertEquals([outcome, differences, stopped.writes.length], [
    "changed",
    [{ what: "engine", from: down.stderr, to: "answers" }],
    1,
  ]);

  const failing: [stub: StubContainer, exitCode: ExitCode, message: string][] = [
    [of({ code: 127, stderr: "sh: 1: docker: not found" }), ExitCode.Step, "Docker is not installed"],
    [of(down, { code: 1, stderr: "client version 1.99 is too new" }), ExitCode.Step, "exit code 1"],
    [of(down), ExitCode.Timeout, "did not answer within 1 min"],
  ];
  for (const [stub, exitCode, message] of failing) {
    const error = await assertRejects(() => ensure(engine(), stub), StepFailed, message);
    assertEquals(error.exitCode, exitCode);
  }
});
