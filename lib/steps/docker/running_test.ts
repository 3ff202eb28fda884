import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  becomesHealthy,
  type Behaviour,
  ensure,
  exits,
  FakeDocker,
  reportsHealth,
} from "../../../tests/support/fake_docker.ts";
import { StubContainer } from "../../../tests/support/stubs.ts";
import { StepFailed } from "../../engine.ts";
import type { Difference } from "../../events.ts";
import { container } from "./container.ts";
import type { DockerContainerSpec } from "./container_options.ts";
import { running } from "./running.ts";

const SPEC = { image: "app:2" } satisfies DockerContainerSpec;

Deno.test("a container as specified that does not run is started, and its health is waited for", async () => {
  const cases: {
    status: string;
    lives?: Behaviour;
    differences: Difference[];
    writes: string[];
    fails?: string;
  }[] = [
    { status: "running", differences: [], writes: [] },
    { status: "running", lives: reportsHealth({ Status: "healthy" }), differences: [], writes: [] },
    // Without a health check, or with one that was turned off, some engines say this.
    { status: "running", lives: reportsHealth({ Status: "none" }), differences: [], writes: [] },
    { status: "running", lives: reportsHealth({ Status: "" }), differences: [], writes: [] },
    {
      status: "exited",
      lives: reportsHealth({ Status: "none" }),
      differences: [{ what: "state", from: "exited", to: "running" }],
      writes: ["docker start app"],
    },
    {
      status: "exited",
      differences: [{ what: "state", from: "exited", to: "running" }],
      writes: ["docker start app"],
    },
    {
      status: "created",
      lives: becomesHealthy(3),
      differences: [{ what: "state", from: "created", to: "running" }],
      writes: ["docker start app"],
    },
    {
      status: "running",
      lives: becomesHealthy(3),
      differences: [{ what: "health", from: "starting", to: "healthy" }],
      writes: [],
    },
    {
      status: "running",
      lives: reportsHealth({ Status: "unhealthy" }),
      differences: [{ what: "health", from: "unhealthy", to: "healthy" }],
      writes: [],
      fails: "is unhealthy",
    },
    // Docker says "running: true" of these, too.
    {
      status: "restarting",
      differences: [{ what: "state", from: "restarting", to: "running" }],
      writes: [],
      fails: "keeps restarting",
    },
    {
      status: "paused",
      differences: [{ what: "state", from: "paused", to: "running" }],
      writes: ["docker unpause app"],
    },
    {
      status: "exited",
      lives: exits,
      differences: [{ what: "state", from: "exited", to: "running" }],
      writes: ["docker start app"],
      fails: "ended with exit code 3",
    },
  ];
  for (const { status, lives, differences, writes, fails } of cases) {
    const dockerOf = () => {
      const docker = new FakeDocker();
      docker.add("app", { image: "app:2", status });
      if (lives) docker.behaviours["app:2"] = lives;
      return new StubContainer(docker.rule);
    };
    assertEquals((await ensure(container("app", SPEC), dockerOf(), { check: true })).differences, differences);
    const stub = dockerOf();
    if (fails) await assertRejects(() => ensure(container("app", SPEC), stub), StepFailed, fails);
    else {assertEquals(
        (await ensure(container("app", SPEC), stub)).outcome,
        differences.length > 0 ? "changed" : "unchanged",
      );}
    assertEquals(stub.writes, writes, `${status} ${fails ?? ""}`);
  }
});

// What a wait is told: whether there is any hope left.
Deno.test("a container that something waits for is gone when it has ended or was removed", async () => {
  const why = async (status: string | undefined, name = "app") => {
    const docker = new FakeDocker();
    if (status !== undefined) docker.add("app", { status });
    const reading = { container: new StubContainer(docker.rule) } as unknown as Parameters<
      ReturnType<typeof running>["whyGone"]
    >[0];
    return await running(name).whyGone(reading);
  };
  for (const status of ["running", "restarting", "created"]) assertEquals(await why(status), undefined, status);
  const ended = 'the container "app" ended with exit code 0, and its log ends with:\nfirst line\nlast words';
  for (const status of ["exited", "dead", "removing"]) assertEquals(await why(status), ended, status);
  assertEquals(await why(undefined), 'there is no container "app"');
  assertThrows(() => running("a b"), TypeError, '"a b"');
});
