import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  type Behaviour,
  ensure,
  exits,
  failOnce,
  FakeDocker,
  reportsHealth,
} from "../../../tests/support/fake_docker.ts";
import { on, type Rule, StubContainer } from "../../../tests/support/stubs.ts";
import { StepFailed } from "../../engine.ts";
import { CommandFailed, ExitCode, SessionLost } from "../../errors.ts";
import type { Difference } from "../../events.ts";
import type { Step } from "../../step.ts";
import { absent, container } from "./container.ts";
import type { DockerContainerSpec } from "./container_options.ts";

const SPEC = { image: "app:2" } satisfies DockerContainerSpec;

Deno.test("a new container that does not run is removed again", async () => {
  for (const fault of [/docker create/, /docker start/]) {
    const docker = new FakeDocker();
    await assertRejects(
      () => ensure(container("app", SPEC), new StubContainer(failOnce(fault), docker.rule)),
      StepFailed,
    );
    assertEquals(docker.summary, []);
  }
  const docker = new FakeDocker();
  docker.behaviours["app:2"] = (state) => Object.assign(state, { Status: "exited", Running: false, ExitCode: 3 });
  const error = await assertRejects(() => ensure(container("app", SPEC), new StubContainer(docker.rule)), StepFailed);
  assertEquals([error.message, docker.summary], ['The container "app" ended with exit code 3', []]);
});

// Whoever reads the failure has to learn of its cause, not of what could not be done about it.
Deno.test("why a new container does not run is shown even when it cannot be removed", async () => {
  const docker = new FakeDocker();
  docker.behaviours["app:2"] = exits;
  const stub = new StubContainer(failOnce(/docker rm/, new SessionLost("gone")), docker.rule);
  const error = await assertRejects(() => ensure(container("app", SPEC), stub), StepFailed);
  assertEquals(error.message, 'The container "app" ended with exit code 3: OOM');
  // What is left does not count as running: the next run goes on from there.
  delete docker.behaviours["app:2"];
  assertEquals((await ensure(container("app", SPEC), new StubContainer(docker.rule))).outcome, "changed");
  assertEquals(docker.summary, ["app new1 running"]);
});

// Without a gap in safety: the old one stays until the new one runs, and is removed last.
Deno.test("a replacement goes in this order", async () => {
  const docker = new FakeDocker();
  docker.add("app");
  const stub = new StubContainer(docker.rule);
  await ensure(container("app", SPEC), stub);
  assertEquals(stub.writes, [
    "docker rename app app_previous",
    "docker create --pull never --name app app:2 ",
    "docker stop -t 30 app_previous",
    "docker start app",
    "docker rm -f app_previous",
  ]);
  assertEquals(docker.summary, ["app new1 running"]);
});

Deno.test("a missing image is pulled, and space is looked at, before the old container is touched", async () => {
  const docker = new FakeDocker();
  docker.add("app");
  docker.images.delete("app:2");
  const order: string[] = [];
  const note: Rule = (script, verb) => {
    if (verb === "write" || script.display.includes("df ")) order.push(script.display.split("\n").at(-1)!);
    return undefined;
  };
  await ensure(container("app", SPEC), new StubContainer(note, docker.rule));
  const df = 'df -Pk "$d" | tail -n 1';
  assertEquals(order.slice(0, 4), [df, "docker pull app:2", df, "docker rename app app_previous"]);

  for (const [free, message] of [[400 * 1024, "Only 400 MiB are free"], [NaN, "Cannot tell how much space"]] as const) {
    for (const image of [true, false]) {
      for (const there of [true, false]) {
        const full = new FakeDocker();
        full.freeKib = free;
        if (there) full.add("app");
        if (!image) full.images.delete("app:2");
        const stub = new StubContainer(full.rule);
        const error = await assertRejects(() => ensure(container("app", SPEC), stub), StepFailed, message);
        assertEquals([error.exitCode, stub.writes, full.summary], [
          ExitCode.Step,
          [],
          there ? ["app old running"] : [],
        ]);
      }
    }
  }

  const gone = new FakeDocker();
  gone.add("app");
  gone.images.delete("app:2");
  const stub = new StubContainer(failOnce(/docker pull/), gone.rule);
  await assertRejects(() => ensure(container("app", SPEC), stub), StepFailed, "exit code 1");
  assertEquals([stub.writes, gone.summary], [["docker pull app:2"], ["app old running"]]);
});

const anonymousVolume = {
  Type: "volume",
  Name: "0a".repeat(32),
  Source: `/var/lib/docker/volumes/${"0a".repeat(32)}/_data`,
  Destination: "/var/lib/data",
  RW: true,
};

// Its data would be lost: the new container would not have it.
Deno.test("a container with an anonymous volume is never replaced, and not touched", async () => {
  const docker = new FakeDocker();
  docker.add("app").Mounts = [anonymousVolume];
  const stub = new StubContainer(docker.rule);
  const error = await assertRejects(() => ensure(container("app", SPEC), stub), StepFailed, '"/var/lib/data"');
  assertEquals([error.exitCode, stub.writes, docker.summary], [ExitCode.Step, [], ["app old running"]]);
  assertStringIncludes(error.hint ?? "", "specify a named volume");
});

// What a run has created that was cut off before it could start it, or connect it to all of its networks.
Deno.test("a container that was never started has no data to lose", async () => {
  const docker = new FakeDocker();
  docker.add("app", { status: "created" }).Mounts = [anonymousVolume];
  await ensure(container("app", SPEC), new StubContainer(docker.rule));
  assertEquals(docker.summary, ["app new1 running"]);
});

// As the services of systemd often do it: docker run --rm.
Deno.test("a container that Docker removes by itself when it stops is replaced, or absent", async () => {
  const busy = { code: 1, stderr: "Error response from daemon: removal of container app is already in progress" };
  for (const rules of [[], [on(/^docker rm/, busy, busy, "")]]) {
    for (const [step, left] of [[container("app", SPEC), "app new1 running"], [absent("app"), ""]] as const) {
      const docker = new FakeDocker();
      docker.add("app");
      docker.autoRemoved.add("app").add("app_previous");
      await ensure<unknown>(step as Step<unknown>, new StubContainer(...rules, on(/^rm -f/, ""), docker.rule));
      assertEquals(docker.summary.join(), left);
    }
  }
});

/** What can go wrong with a new container. */
interface Mishap {
  readonly rule?: () => Rule;
  readonly lives?: Behaviour;
  readonly message: string;
  readonly exitCode?: ExitCode;
}

const MISHAPS: Record<string, Mishap> = {
  "it cannot be created": { rule: () => failOnce(/docker create/), message: "exit code 1" },
  "the old one cannot be stopped": { rule: () => failOnce(/docker stop/), message: "exit code 1" },
  "it cannot be started": { rule: () => failOnce(/docker start app$/), message: "exit code 1" },
  "the session is lost": {
    rule: () => failOnce(/docker stop/, new SessionLost("lost")),
    message: "lost",
    exitCode: ExitCode.Container,
  },
  "it ends": { lives: exits, message: 'The container "app" ended with exit code 3: OOM' },
  "it crashes and is restarted": {
    lives: (state) => Object.assign(state, { Status: "restarting", ExitCode: 1 }),
    message: 'The container "app" keeps restarting, last with exit code 1',
  },
  "it crashes between two looks": {
    lives: (_, info) => void info.RestartCount++,
    message: 'The container "app" keeps restarting, last with exit code 0',
  },
  "it is unhealthy": {
    lives: reportsHealth({ Status: "unhealthy", Log: [{ Output: "first" }, { Output: "no answer\n" }] }),
    message: 'The container "app" is unhealthy: no answer',
  },
  "it is unhealthy and says nothing": {
    lives: reportsHealth({ Status: "unhealthy" }),
    message: 'The container "app" is unhealthy: its health check fails',
  },
  "it is never healthy": {
    lives: reportsHealth({ Status: "starting" }),
    message: 'The container "app" was not healthy within 10.0 s: its health is "starting"',
    exitCode: ExitCode.Timeout,
  },
  "it is removed": {
    rule() {
      let started = false;
      return (script) => {
        started ||= script.display === "docker start app";
        return started && script.display === "docker container inspect app"
          ? { code: 1, stderr: "Error: No such container: app" }
          : undefined;
      };
    },
    message: 'The container "app" was removed while waiting for it to run',
  },
};

Deno.test("whatever goes wrong with the new container, the old one is back as it was", async (t) => {
  for (const [name, { rule, lives, message, exitCode = ExitCode.Step }] of Object.entries(MISHAPS)) {
    await t.step(name, async () => {
      for (const status of ["running", "exited"]) {
        const docker = new FakeDocker();
        docker.add("app", { status });
        if (lives) docker.behaviours["app:2"] = lives;
        const stub = new StubContainer(...(rule ? [rule()] : []), docker.rule);
        const step = container("app", { ...SPEC, within: "10s" });
        const error = await assertRejects(() => ensure(step, stub), StepFailed, message);
        assertEquals([error.exitCode, docker.summary], [exitCode, [`app old ${status}`]]);
        // A failure shows the end of the log.
        if (lives) assertEquals((error.cause as CommandFailed).evidence.stdout, "first line\nlast words\n");
      }
    });
  }
});

Deno.test("where an old container that cannot be put back is, is said, and the next run goes on from there", async () => {
  const gone = new SessionLost("gone");
  const cases: [fault: Rule, where: string, summary: string[]][] = [
    [failOnce(/docker rm -f app$/, gone), "app_previous", ["app new1 exited", "app_previous old exited"]],
    [failOnce(/docker rename app_previous app$/, gone), "app_previous", ["app_previous old exited"]],
    [failOnce(/docker start app$/, gone, 1), "app", ["app old exited"]],
  ];
  for (const [fault, where, summary] of cases) {
    const docker = new FakeDocker();
    docker.add("app");
    docker.behaviours["app:2"] = exits;
    const error = await assertRejects(
      () => ensure(container("app", SPEC), new StubContainer(fault, docker.rule)),
      StepFailed,
    );
    assertEquals(
      error.message,
      'The new container "app" does not run (The container "app" ended with exit code 3: OOM), and the old one ' +
        `could not be put back (gone): it still exists as "${where}"`,
    );
    assertEquals(docker.summary, summary);

    delete docker.behaviours["app:2"];
    assertEquals((await ensure(container("app", SPEC), new StubContainer(docker.rule))).outcome, "changed");
    assertEquals(docker.summary.map((line) => line.replace(/\d/, "")), ["app new running"]);
  }
});

// A replacement that was cut off is recognised by the renamed container.
Deno.test("a replacement that was cut off at any point is finished or undone by the next run", async (t) => {
  const left = { what: "app_previous", from: "left by an interrupted replacement" };
  const old = (docker: FakeDocker, status: string) => docker.add("app_previous", { status });
  const made = (docker: FakeDocker, status: string) => docker.add("app", { image: "app:2", id: "made", status });
  const cases: Record<string, {
    found: (docker: FakeDocker) => unknown;
    differences: Difference[];
    /** `undefined` where the step fails. */
    outcome?: "changed";
    summary: string[];
  }> = {
    "after the rename": {
      found: (docker) => old(docker, "running"),
      differences: [left, { what: "container", to: "running app:2" }],
      outcome: "changed",
      summary: ["app new1 running"],
    },
    "after the new one was created": {
      found: (docker) => [old(docker, "running"), made(docker, "created")],
      differences: [left, { what: "state", from: "created", to: "running" }],
      outcome: "changed",
      summary: ["app made running"],
    },
    "after the old one was stopped": {
      found: (docker) => [old(docker, "exited"), made(docker, "created")],
      differences: [left, { what: "state", from: "created", to: "running" }],
      outcome: "changed",
      summary: ["app made running"],
    },
    "after the new one was started": {
      found: (docker) => [old(docker, "exited"), made(docker, "running")],
      differences: [left],
      outcome: "changed",
      summary: ["app made running"],
    },
    "with a new one that ends": {
      found: (docker) => [old(docker, "exited"), made(docker, "created"), docker.behaviours["app:2"] = exits],
      differences: [left, { what: "state", from: "created", to: "running" }],
      summary: ["app old running"],
    },
    "with a new one that the setup does not want any more": {
      found: (docker) => [old(docker, "exited"), docker.add("app", { id: "made" })],
      differences: [left, { what: "image", from: "app:1", to: "app:2" }],
      outcome: "changed",
      summary: ["app new1 running"],
    },
    "while the old one was put back": {
      found: (docker) => docker.add("app", { status: "exited" }),
      differences: [{ what: "image", from: "app:1", to: "app:2" }, { what: "state", from: "exited", to: "running" }],
      outcome: "changed",
      summary: ["app new1 running"],
    },
  };
  for (const [name, { found, differences, outcome, summary }] of Object.entries(cases)) {
    await t.step(name, async () => {
      const docker = new FakeDocker();
      found(docker);
      const stub = new StubContainer(docker.rule);
      assertEquals((await ensure(container("app", SPEC), stub, { check: true })).differences, differences);
      assertEquals(stub.writes, []);
      if (outcome === undefined) {
        await assertRejects(() => ensure(container("app", SPEC), stub), StepFailed, "exit code 3");
      } else {
        assertEquals((await ensure(container("app", SPEC), stub)).outcome, outcome);
        assertEquals((await ensure(container("app", SPEC), stub)).outcome, "unchanged");
      }
      assertEquals(docker.summary, summary);
    });
  }
});

Deno.test("a replacement that is cut off between any two commands ends well in the next run", async () => {
  for (let survived = 0; survived < 5; survived++) {
    const docker = new FakeDocker();
    docker.add("app");
    // From there on the session is gone, so that nothing can be put back either.
    let writes = 0;
    const cut: Rule = (_, verb) => {
      if (verb === "write" && writes++ >= survived) throw new SessionLost("gone");
      return undefined;
    };
    await assertRejects(() => ensure(container("app", SPEC), new StubContainer(cut, docker.rule)), StepFailed);
    const names = [...docker.containers.values()].map(({ Id }) => Id);
    assert(names.includes("old"), "the old one is still there");
    await ensure(container("app", SPEC), new StubContainer(docker.rule));
    assertEquals([survived, docker.summary], [survived, ["app new1 running"]]);
  }
});
