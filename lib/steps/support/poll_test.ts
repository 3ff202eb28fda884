import { assertEquals, assertRejects } from "@std/assert";
import { type Answer, ensure, on, StubContainer } from "../../../tests/support/stubs.ts";
import { StepFailed } from "../../engine.ts";
import { ExitCode, Failure } from "../../errors.ts";
import type { Reading } from "../../step.ts";
import { running } from "../docker.ts";
import { exists } from "../exists.ts";
import { pollUntil } from "./poll.ts";

// A backup can hold a look for as long as it takes.
Deno.test("a look that does not end is not waited for beyond the deadline", async () => {
  const frozen = Promise.withResolvers<boolean>();
  const poll = {
    subject: "it",
    look: () => frozen.promise,
    isDone: (seen: boolean) => seen,
    describe: () => "nothing",
    maxLastLookMs: 20,
  };
  const at = { progress() {}, pause: () => Promise.resolve(), warn() {} } as unknown as Reading;
  const error = await assertRejects(() => pollUntil(at, poll, false, { within: 30 }), Failure);
  assertEquals([error.exitCode, error.message], [
    ExitCode.Timeout,
    "Timed out after 30 ms waiting for it; last seen: the last look had not ended 20 ms after the deadline",
  ]);
});

// That a Docker does not answer yet is no evidence; one that is not installed never will.
Deno.test("what a wait depends on need not be there to be asked yet", async () => {
  const other = () => on("[ -e /x ]", { code: 1 }, { code: 1 }, "");
  const docker = (answer: Answer) =>
    ensure(exists("/x", { while: running("web") }), new StubContainer(other(), on("docker container inspect", answer)));
  const starting = { code: 1, stderr: "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." };
  assertEquals((await docker(starting)).outcome, "changed");
  await assertRejects(() => docker({ code: 127, stderr: "sh: docker: not found" }), StepFailed, "exit code 127");
});
