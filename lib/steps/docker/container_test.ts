import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { ensure, FakeDocker, take } from "../../../tests/support/fake_docker.ts";
import { withSteppingClock } from "../../../tests/support/clock.ts";
import { on, type Rule, StubContainer, stubHost } from "../../../tests/support/stubs.ts";
import { Engine, StepFailed } from "../../engine.ts";
import type { CommandFailed } from "../../errors.ts";
import { Secret } from "../../secret.ts";
import type { Step } from "../../step.ts";
import { absent, container } from "./container.ts";
import type { DockerContainerSpec } from "./container_options.ts";
import { image } from "./image.ts";

const SPEC = { image: "app:2" } satisfies DockerContainerSpec;

Deno.test("a container that is missing is created as stated, started and waited for, once", async () => {
  const docker = new FakeDocker();
  const stub = new StubContainer(docker.rule);
  const step = () =>
    container("app", {
      image: "app:2",
      ports: ["9443:9443", "53:53/udp"],
      volumes: ["/srv/a b:/in:ro", "data:/data"],
      environment: { MODE: "fast", EMPTY: "", LINES: "a\nb" },
      restart: "on-failure:3",
      command: ["serve", "--all now"],
      labels: { team: "ai" },
    });
  const { outcome, differences } = await ensure(step(), stub);
  assertEquals([outcome, differences], ["changed", [{ what: "container", to: "running app:2" }]]);
  assertEquals(stub.writes, [
    "docker create --pull never --name app --restart on-failure:3 --publish 9443:9443 --publish 53:53/udp " +
    "--volume '/srv/a b:/in:ro' --volume data:/data --label team=ai --env 'LINES=a\nb' --env-file /dev/stdin " +
    "app:2 serve '--all now'",
    "docker start app",
  ]);
  assertEquals(stub.inputs[0], "MODE=fast\nEMPTY=\n");
  assertEquals(docker.summary, ["app new1 running"]);
  assertEquals((await ensure(step(), stub)).outcome, "unchanged");
  assertEquals(stub.writes.length, 2);
});

// Secrets travel on stdin, never in any argument list, and are redacted in every diff and event.
Deno.test("a secret of the environment is on stdin and nowhere else", async () => {
  for (const before of [undefined, "A=hunter1", "A=hunter2"]) {
    const docker = new FakeDocker();
    if (before !== undefined) docker.add("app").Config.Env.push(before);
    const stub = new StubContainer(docker.rule);
    const spec = { image: "app:2", environment: { A: new Secret("token", "hunter2"), B: "plain" } };
    const { events, differences } = await ensure(container("app", spec), stub);
    const all = JSON.stringify([stub.reads, stub.writes, events, differences]);
    assert(!all.includes("hunter"), all);
    assertEquals(stub.inputs.filter(Boolean), ["A=hunter2\nB=plain\n"]);
    assertEquals((await ensure(container("app", spec), stub)).outcome, "unchanged");
  }
});

// Kill-safety: what it has read is noted only after its start, so that a run that is cut off restarts it once more.
Deno.test("a container is restarted when a file that it reads has changed, and only then", async () => {
  const step = () => container("app", { image: "app:1", restartWith: ["/etc/app.conf", "/opt/app"] });
  const restart = (path: string) => ({ what: `restart: ${path} has changed since its last start` });
  const docker = new FakeDocker();
  Object.assign(docker.files, { "/etc/app.conf": "a", "/opt/app": "b" });
  const note = (a: string, b: string) => `${a.repeat(64)} /etc/app.conf\n${b.repeat(64)} /opt/app\n`;

  const made = await take(step(), docker);
  assertEquals([made.outcome, made.stub.writes.at(-1)!.split(" ")[0], docker.marker], [
    "changed",
    "mkdir",
    note("a", "b"),
  ]);
  assertEquals((await take(step(), docker)).outcome, "unchanged");

  docker.files["/opt/app"] = "c";
  const predicted = await take(step(), docker, true);
  assertEquals([predicted.outcome, predicted.differences], ["would change", [restart("/opt/app")]]);
  const changed = await take(step(), docker);
  assertEquals([changed.stub.writes[0], docker.marker], ["docker restart -t 30 app", note("a", "c")]);
  assertEquals((await take(step(), docker)).outcome, "unchanged");

  // One that somebody else made has read nobody knows what.
  docker.marker = "";
  const unknown = await take(step(), docker);
  assertEquals([unknown.differences, unknown.stub.writes[0]], [
    [restart("/etc/app.conf"), restart("/opt/app")],
    "docker restart -t 30 app",
  ]);

  // One that does not run reads it at its start anyway.
  docker.files["/opt/app"] = "d";
  docker.containers.get("app")!.State = { Status: "exited", Running: false, ExitCode: 0 };
  assertEquals((await take(step(), docker)).stub.writes.map((line) => line.split(" ")[1]), ["start", "-p"]);
  const again = await take(step(), docker);
  assertEquals([again.outcome, again.stub.reads.length, again.stub.writes.length], ["unchanged", 1, 0]);
});

Deno.test("a container is restarted for a file that the run only changes back, and check mode says so", async () => {
  const docker = new FakeDocker("app");
  const run = async (check: boolean) => {
    const stub = new StubContainer(docker.rule);
    const engine = new Engine({
      container: stub,
      host: stubHost(),
      check,
      report() {},
      pause: () => Promise.resolve(),
    });
    await engine.ensure({
      title: "a file",
      probe: () => Promise.resolve(docker.files["/etc/app.conf"]),
      diff: (found) => found === "a" ? [] : [{ what: "content", to: "a" }],
      apply: () => Promise.resolve(void (docker.files["/etc/app.conf"] = "a")),
      changes: () => [{ path: "/etc/app.conf", content: true }],
    });
    await engine.ensure(container("app", { image: "app:1", restartWith: ["/etc/app.conf"] }));
    return [engine.results.map(({ outcome }) => outcome), stub.writes.filter((line) => line.startsWith("docker"))];
  };
  const restarted = [["changed", "changed"], ["docker restart -t 30 app"]];
  assertEquals(await withSteppingClock(() => run(false)), restarted);
  assertEquals(await run(false), [["unchanged", "unchanged"], []]);
  // Somebody may have restarted it with this.
  docker.files["/etc/app.conf"] = "b";
  assertEquals(await run(true), [["would change", "would change"], []]);
  assertEquals(await withSteppingClock(() => run(false)), restarted);
  assertEquals(await run(false), [["unchanged", "unchanged"], []]);
});

// `docker ps --filter name=portainer` matches any name that contains it; inspect also takes an id.
Deno.test("only a container of exactly this name counts", async () => {
  const docker = new FakeDocker();
  docker.add("app");
  const byId: Rule = (script) =>
    script.display === "docker container inspect 01d" ? JSON.stringify([docker.containers.get("app")]) : undefined;
  const { differences } = await ensure(container("01d", SPEC), new StubContainer(byId, docker.rule), { check: true });
  assertEquals(differences, [{ what: "container", to: "running app:2" }]);
});

// What `inspect` prints has the values of all variables, also those of secrets that were replaced meanwhile.
Deno.test("a look that fails does not show what it found", async () => {
  const half = { code: 1, stdout: '{"Name":"/app","Config":{"Env":["TOKEN=hunter1"]}}\n', stderr: "Docker is gone" };
  for (const step of [container("app", SPEC), absent("app")]) {
    const error = await assertRejects(
      () => ensure(step as Step<unknown>, new StubContainer(on("inspect", half))),
      StepFailed,
    );
    const { stdout, stderr } = (error.cause as CommandFailed).evidence;
    assertEquals([stdout, stderr], ["", "Docker is gone"]);
  }
});

// An engine that cannot answer must not be taken for one that has nothing.
Deno.test("a look that fails is a failure, not an absence", async () => {
  const down = { code: 1, stderr: "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." };
  for (const step of [container("app", SPEC), image("app:2")]) {
    const stub = new StubContainer(on("inspect", down));
    const error = await assertRejects(() => ensure(step as Step<unknown>, stub), StepFailed);
    assertStringIncludes((error.cause as CommandFailed).evidence.stderr, "Cannot connect");
    assertEquals(stub.writes, []);
  }
});

Deno.test("an answer that Docker does not give is a failure, not an absence", async () => {
  const stub = new StubContainer((_, verb) =>
    verb === "read" ? { code: 0, stderr: "sh: 1: docker: not found" } : undefined
  );
  for (const step of [container("app", { image: "app:1", restartWith: ["/etc/app.conf"] }), absent("app")]) {
    await assertRejects(() => ensure<unknown>(step as Step<unknown>, stub), StepFailed);
  }
});

Deno.test("a container that must not be is stopped and removed, with what a replacement left of it", async () => {
  const docker = new FakeDocker("app", "app_previous");
  docker.containers.get("app_previous")!.State = { Status: "exited", Running: false, ExitCode: 0 };
  const differences = [
    { what: "container app", from: "running, app:1" },
    { what: "container app_previous", from: "exited, app:1" },
  ];
  const predicted = await take(absent("app"), docker, true);
  assertEquals([predicted.outcome, predicted.differences, predicted.stub.writes], ["would change", differences, []]);
  const { outcome, stub } = await take(absent("app"), docker);
  assertEquals([outcome, stub.writes], ["changed", [
    "docker stop -t 30 app",
    "docker rm -f app",
    "docker rm -f app_previous",
    "rm -f /var/lib/phoenix_setup/docker/app /var/lib/phoenix_setup/docker/app_previous",
  ]]);
  const again = await take(absent("app"), docker);
  assertEquals([again.outcome, again.stub.reads.length], ["unchanged", 1]);
});
