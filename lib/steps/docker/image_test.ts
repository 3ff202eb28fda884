import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { FakeDocker } from "../../../tests/support/fake_docker.ts";
import { type Answer, ensure, on, type Rule, StubContainer } from "../../../tests/support/stubs.ts";
import { StepFailed } from "../../engine.ts";
import { CommandFailed, ExitCode } from "../../errors.ts";
import { Secret } from "../../secret.ts";
import { image } from "./image.ts";

const space = on("df -Pk", "overlay 99 9 10000000 9% /var/lib/docker");
const missing = { code: 1, stderr: "Error response from daemon: No such image: app:1" };
const there = '[{"Id":"sha256:1"}]';
const refused = (stderr: string) => ({ code: 1, stderr: `Error response from daemon: ${stderr}` });

Deno.test("an image is pulled where it is missing, and left alone where it is there", async () => {
  const docker = new FakeDocker();
  const there = new StubContainer(docker.rule);
  assertEquals([(await ensure(image("app:2"), there)).outcome, there.writes], ["unchanged", []]);

  docker.images.clear();
  const pulls: Rule = (script, _verb, { onOutput }) => {
    if (script.display === "docker pull app:2") {
      onOutput?.(new TextEncoder().encode("a: Waiting\nb: Pull complete\n"), "stdout");
    }
    return undefined;
  };
  const missing = new StubContainer(pulls, docker.rule);
  const { outcome, differences, events } = await ensure(image("app:2"), missing);
  assertEquals([outcome, differences, missing.writes], ["changed", [{ what: "image", to: "app:2" }], [
    "docker pull app:2",
  ]]);
  const progress = events.flatMap((event) => event.event === "step progress" ? [event.text] : []);
  assertEquals(progress, ["pulling", "b: Pull complete"]);

  // Exit code 0 and no image is a failure.
  docker.images.clear();
  const idle = new StubContainer(on("docker pull", "Done"), docker.rule);
  await assertRejects(() => ensure(image("app:2"), idle), StepFailed, "still different: image: app:2");
});

Deno.test("a failure of the network that may pass is tried again, after a longer delay each time", async () => {
  const passing = [
    'Get "https://registry-1.docker.io/v2/": net/http: TLS handshake timeout',
    'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 127.0.0.53:53: no such host',
    'Head "https://registry-1.docker.io/v2/library/app/manifests/1": EOF',
    "received unexpected HTTP status: 503 Service Unavailable",
    "read tcp 10.0.0.5:41: read: connection reset by peer",
  ];
  for (const text of passing) {
    const stub = new StubContainer(
      on("image inspect", missing, there),
      space,
      on("docker pull", refused(text), refused(text), "Status: Downloaded"),
    );
    const { outcome, events } = await ensure(image("app:1"), stub);
    assertEquals([outcome, stub.writes], ["changed", Array(3).fill("docker pull app:1")]);
    const said = events.flatMap((event) => event.event === "step progress" ? [event.text] : []);
    assertEquals(said.filter((line) => line.includes("retrying")).map((line) => line.split(", retrying in ")[1]), [
      "2.0 s",
      "10.0 s",
    ]);
    assertStringIncludes(said.join("\n"), `attempt 1 failed (Error response from daemon: ${text}`);
  }
});

Deno.test("the third failure is the last and the one that is shown; a lasting one is not tried again", async () => {
  const cases: [answers: Answer[], message: string, tries: number][] = [
    [
      [refused("i/o timeout"), refused("unexpected EOF"), refused("connection refused")],
      'Cannot pull "app:1" (tried 3 times, last exit code 1): Error response from daemon: connection refused',
      3,
    ],
    [[refused("i/o timeout"), refused("manifest unknown")], "tried 2 times, last exit code 1): Error", 2],
    [[refused("pull access denied for app")], 'Cannot pull "app:1" (exit code 1): Error response', 1],
    [[refused("toomanyrequests: You have reached your unauthenticated pull rate limit")], "rate limit", 1],
    [[{ code: 1, stderr: "failed to register layer: no space left on device" }], "no space left", 1],
  ];
  for (const [answers, message, tries] of cases) {
    const stub = new StubContainer(on("image inspect", missing), space, on("docker pull", ...answers));
    const error = await assertRejects(() => ensure(image("app:1"), stub), StepFailed, message);
    assertEquals([stub.writes.length, error.exitCode], [tries, ExitCode.Step]);
    assert(error.cause instanceof CommandFailed);
  }
});

Deno.test("without 512 MiB to spare nothing is pulled", async () => {
  const stub = new StubContainer(on("image inspect", missing), on("df -Pk", "overlay 99 9 400000 9% /"));
  await assertRejects(() => ensure(image("app:1"), stub), StepFailed, "expected at least 512 MiB");
  assertEquals(stub.writes, []);
});

// A secret travels on stdin, never in any argument list, and nothing of it stays.
Deno.test("a login has its token on stdin, a folder that goes, and the registry of the image", async () => {
  const registries: [reference: string, stated: string | undefined, login: string][] = [
    ["app:1", undefined, "docker login --username phoenix --password-stdin >/dev/null"],
    ["docker.io/team/app:1", undefined, "docker login --username phoenix --password-stdin >/dev/null"],
    ["team/app:1", undefined, "docker login --username phoenix --password-stdin >/dev/null"],
    ["ghcr.io/team/app:1", undefined, "--password-stdin ghcr.io >/dev/null"],
    ["localhost/app", undefined, "--password-stdin localhost >/dev/null"],
    ["10.0.0.99:5000/app:1", undefined, "--password-stdin 10.0.0.99:5000 >/dev/null"],
    ["app:1", "mirror:5000", "--password-stdin mirror:5000 >/dev/null"],
  ];
  for (const [reference, registry, login] of registries) {
    const stub = new StubContainer(on("docker login", "Done"), on("image inspect", missing, there), space);
    const token = new Secret("registry token", "dckr_pat_x");
    const spec = { login: { username: "phoenix", token, ...(registry === undefined ? {} : { registry }) } };
    const { events } = await ensure(image(reference, spec), stub);
    assertStringIncludes(stub.writes[0]!, login);
    assertStringIncludes(stub.writes[0]!, `docker pull ${reference} </dev/null`);
    assertStringIncludes(stub.writes[0]!, `trap 'rm -rf "$d"' EXIT`);
    assertEquals(stub.inputs, ["dckr_pat_x"]);
    assert(!JSON.stringify([stub.reads, stub.writes, events]).includes("dckr_pat_x"));
  }
});

Deno.test("a login that is refused is shown as such", async () => {
  const stub = new StubContainer(
    on("docker login", { code: 3, stderr: "Error response from daemon: unauthorized: incorrect username or password" }),
    on("image inspect", missing),
    space,
  );
  const login = { username: "phoenix", token: new Secret("registry token", "wrong") };
  await assertRejects(
    () => ensure(image("ghcr.io/team/app:1", { login }), stub),
    StepFailed,
    'Cannot log in to ghcr.io as "phoenix" (exit code 3): Error response from daemon: unauthorized',
  );
  assertEquals(stub.writes.length, 1);
});

Deno.test("names that no image and no user can have are refused when the step is made", () => {
  for (const reference of ["", "-v", "a b", "app:1;id", "$(id)"]) {
    assertThrows(() => image(reference), TypeError, "as an image");
  }
  const token = new Secret("token", "dckr_pat_x");
  for (const username of ["", "a:b", "a b"]) {
    assertThrows(() => image("app", { login: { username, token } }), TypeError, "log in");
  }
});
