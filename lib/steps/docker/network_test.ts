import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ensure, StubContainer } from "../../../tests/support/stubs.ts";
import { StepFailed } from "../../engine.ts";
import { network } from "./network.ts";

Deno.test("a network is created where it is missing; one with another name does not count", async () => {
  const gone = { code: 1, stderr: "Error response from daemon: network models not found" };
  const cases: [found: { code: number; stdout?: string; stderr?: string }, outcome: string][] = [
    [{ code: 0, stdout: "models\n" }, "unchanged"],
    [gone, "changed"],
    [{ code: 1, stderr: "Error: No such network: models" }, "changed"],
    // Docker finds it by the beginning of its id, too.
    [{ code: 0, stdout: "other\n" }, "changed"],
  ];
  for (const [found, outcome] of cases) {
    let made = false;
    const stub = new StubContainer((script, verb) => {
      if (verb === "read") return made ? { code: 0, stdout: "models\n" } : found;
      made = script.display === "docker network create models";
      return "";
    });
    const predicted = await ensure(network("models"), stub, { check: true });
    assertEquals([predicted.outcome, made], [outcome === "changed" ? "would change" : "unchanged", false]);
    assertEquals((await ensure(network("models"), stub)).outcome, outcome);
  }
  const down = new StubContainer(() => ({ code: 1, stderr: "Cannot connect to the Docker daemon" }));
  await assertRejects(() => ensure(network("models"), down), StepFailed, "exit code 1");
});

Deno.test("predefined and invalid names are refused when the step is made", () => {
  for (const name of ["host", "a b", ""]) assertThrows(() => network(name), TypeError);
});
