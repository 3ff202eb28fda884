import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { withSteppingClock } from "../../../tests/support/clock.ts";
import { ensure, type Rule, StubContainer } from "../../../tests/support/stubs.ts";
import { StepFailed } from "../../engine.ts";
import type { Step } from "../../step.ts";
import type { Difference } from "../../events.ts";
import { absent, container, type DockerContainerSpec } from "./container.ts";
import { network } from "./network.ts";

/** What `docker container inspect` says of a container as `docker create app:1` makes it. */
function infoOf(name: string) {
  return {
    Id: `id of ${name}`,
    Name: `/${name}`,
    Image: "sha256:1",
    RestartCount: 0,
    State: { Status: "running", Running: true, ExitCode: 0 },
    Config: {
      Image: "app:1",
      Env: [],
      Cmd: ["serve"] as string[] | null,
      Entrypoint: ["/bin/app"] as string[] | null,
      Hostname: "0123456789ab",
      User: "",
      Healthcheck: undefined as unknown,
    },
    HostConfig: {
      RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
      PortBindings: {},
      DeviceRequests: null as unknown,
      Runtime: "runc",
      IpcMode: "private",
      ShmSize: 64 * 1024 * 1024,
      Init: null as boolean | null,
    },
    Mounts: [] as { Type: string; Name: string; Source: string; Destination: string; RW: boolean }[],
    NetworkSettings: { Networks: { bridge: {} } as Record<string, unknown> },
  };
}

/** A Docker engine with the image `app:1`, and files inside. What `create` is asked for does not matter to it. */
class FakeDocker {
  readonly containers = new Map<string, ReturnType<typeof infoOf>>();
  /** The content of files, whose hash is the content itself, repeated. */
  readonly files: Record<string, string> = {};
  marker = "";
  /** What a new container is like, beside what the engine makes by itself. */
  made: (info: ReturnType<typeof infoOf>) => void = () => {};

  constructor(...names: string[]) {
    for (const name of names) this.containers.set(name, infoOf(name));
  }

  readonly rule: Rule = (script, verb, { stdin }) => {
    const text = script.display;
    if (text.includes("df -Pk")) return "overlay 99 9 10000000 9% /var/lib/docker";
    if (verb === "read") {
      const names = /^docker container inspect (?:--format \S+ \S+ )?(.*)$/m.exec(text)![1]!.split(" ");
      const found = names.flatMap((name) => this.containers.get(name) ?? []);
      if (!text.includes("--format")) return JSON.stringify(found);
      const missing = names.filter((name) => !this.containers.has(name));
      const lines = found.map((info) => JSON.stringify(info));
      if (text.includes("docker image inspect")) lines.push('{"Id":"sha256:1","RepoTags":["app:1"],"Config":{}}');
      const paths = /for p in (.*); do/.exec(text)?.[1]?.split(" ") ?? [];
      if (paths.length > 0) lines.push(...this.marker.split("\n").filter(Boolean).map((line) => `read ${line}`));
      lines.push(...paths.map((path) => `content ${(this.files[path] ?? "-").repeat(64).slice(0, 64)} ${path}`));
      const stderr = missing.map((name) => `Error response from daemon: No such container: ${name}`).join("\n");
      return { code: text.includes("image") ? 0 : Number(missing.length > 0), stdout: lines.join("\n"), stderr };
    }
    const name = text.split(" ").at(-1)!;
    const known = this.containers.get(name);
    if (text.startsWith("mkdir")) this.marker = stdin as string;
    else if (text.startsWith("rm -f")) this.marker = "";
    else if (text.startsWith("docker create")) {
      const info = infoOf(/--name (\S+)/.exec(text)![1]!);
      this.made(info);
      this.containers.set(info.Name.slice(1), info);
    } else if (text.startsWith("docker rename")) {
      const old = text.split(" ")[2]!;
      this.containers.set(name, { ...this.containers.get(old)!, Name: `/${name}` });
      this.containers.delete(old);
    } else if (text.startsWith("docker rm")) {
      this.containers.delete(text.split(" ").find((word) => this.containers.has(word))!);
    } else if (/^docker stop/.test(text)) known!.State = { Status: "exited", Running: false, ExitCode: 0 };
    else if (/^docker (?:re)?start/.test(text)) known!.State = { Status: "running", Running: true, ExitCode: 0 };
    else if (!text.startsWith("docker network connect")) return undefined;
    return "";
  };
}

function take<State>(step: Step<State>, docker: FakeDocker, check = false) {
  const stub = new StubContainer(docker.rule);
  return withSteppingClock(async () => ({ ...await ensure(step, stub, { check }), stub }));
}

type Case = [
  spec: Partial<DockerContainerSpec>,
  options: string,
  is: (info: ReturnType<typeof infoOf>) => void,
  differences: Difference[],
];

const gpus = (...requests: unknown[]) => (info: ReturnType<typeof infoOf>) =>
  void (info.HostConfig.DeviceRequests = requests);
const allGpus = { Driver: "", Count: -1, DeviceIDs: null, Capabilities: [["gpu"]] };
const checked = (check: unknown) => (info: ReturnType<typeof infoOf>) => void (info.Config.Healthcheck = check);

// Each option as Docker 20 to 28 take it, and as they note it, in which the container that was found differs.
const CASES: Case[] = [
  [{ gpus: "all" }, "--gpus all", gpus(allGpus), [{ what: "GPUs", from: "none", to: "all" }]],
  [
    { gpus: [1, 0] },
    `--gpus '"device=0,1"'`,
    gpus({ ...allGpus, Count: 0, DeviceIDs: ["1", "0"] }),
    [{ what: "GPUs", from: "none", to: "0,1" }],
  ],
  [{ runtime: "nvidia" }, "--runtime nvidia", (info) => info.HostConfig.Runtime = "nvidia", [
    { what: "runtime", from: "runc", to: "nvidia" },
  ]],
  [{ ipc: "host" }, "--ipc host", (info) => info.HostConfig.IpcMode = "host", [
    { what: "ipc", from: "private", to: "host" },
  ]],
  [{ shmSize: "16g" }, "--shm-size 16g", (info) => info.HostConfig.ShmSize = 16 * 1024 ** 3, [
    { what: "shm size", from: "64m", to: "16g" },
  ]],
  [{ networks: ["host"] }, "--network host", (info) => info.NetworkSettings.Networks = { host: {} }, [
    { what: "networks", from: "bridge", to: "host" },
  ]],
  [
    { networks: ["models", "web"] },
    "--network models",
    (info) => info.NetworkSettings.Networks = { web: {}, models: {} },
    [{ what: "networks", from: "bridge", to: "models, web" }],
  ],
  [{ hostname: "llm" }, "--hostname llm", (info) => info.Config.Hostname = "llm", [
    { what: "hostname", from: "0123456789ab", to: "llm" },
  ]],
  [{ user: "1000:1000" }, "--user 1000:1000", (info) => info.Config.User = "1000:1000", [
    { what: "user", from: "none", to: "1000:1000" },
  ]],
  [{ init: true }, "--init=true", (info) => info.HostConfig.Init = true, [{ what: "init", from: "false", to: "true" }]],
  [{ entrypoint: "/bin/other" }, "--entrypoint /bin/other", (info) => info.Config.Entrypoint = ["/bin/other"], [
    { what: "entrypoint", from: "/bin/app", to: "/bin/other" },
  ]],
  [
    { entrypoint: "a b" },
    "--entrypoint 'a b'",
    (info) => info.Config.Entrypoint = ["a b"],
    [{ what: "entrypoint", from: "/bin/app", to: "a b" }],
  ],
  [{ entrypoint: "" }, "--entrypoint ''", (info) => info.Config.Entrypoint = null, [
    { what: "entrypoint", from: "/bin/app", to: "none" },
  ]],
  [
    { health: { command: "curl -f localhost" } },
    "--health-cmd 'curl -f localhost'",
    checked({
      Test: ["CMD-SHELL", "curl -f localhost"],
      Interval: 5e9,
    }),
    [{ what: "health check: command", from: "none", to: "curl -f localhost" }],
  ],
  [
    { health: { command: "true", interval: "1500ms", timeout: "2s", retries: 5, startPeriod: "10m" } },
    "--health-cmd true --health-interval 1500ms --health-timeout 2000ms --health-retries 5 --health-start-period 600000ms",
    checked({ Test: ["CMD-SHELL", "true"], Interval: 1.5e9, Timeout: 2e9, Retries: 5, StartPeriod: 600e9 }),
    [
      { what: "health check: command", from: "none", to: "true" },
      { what: "health check: interval", from: "none", to: "1.5 s" },
      { what: "health check: time-out", from: "none", to: "2.0 s" },
      { what: "health check: start period", from: "none", to: "10 min 0 s" },
      { what: "health check: retries", from: "none", to: "5" },
    ],
  ],
];

Deno.test("each option is drift where it differs, is given to a new container, and then is none", async () => {
  for (const [more, options, is, differences] of CASES) {
    const docker = new FakeDocker("app");
    const step = () => container("app", { image: "app:1", ...more });
    const predicted = await take(step(), docker, true);
    assertEquals([predicted.outcome, predicted.differences, predicted.stub.writes], ["would change", differences, []]);
    docker.made = is;
    const { outcome, stub } = await take(step(), docker);
    assertEquals(outcome, "changed", options);
    const create = stub.writes.find((line) => line.startsWith("docker create"));
    assertEquals(create?.trim(), `docker create --pull never --name app ${options} app:1`);
    const again = await take(step(), docker);
    assertEquals([again.outcome, again.stub.reads.length], ["unchanged", 1], options);
    // Nobody states what is not said.
    const indifferent = await take(container("app", { image: "app:1" }), docker);
    assertEquals(indifferent.outcome, "unchanged", options);
  }
});

Deno.test("other ways of asking for GPUs are told apart, and no GPU is asked for where none is stated", async () => {
  const found: [unknown, string][] = [
    [{ ...allGpus, Count: 2 }, "any 2"],
    [{ ...allGpus, Count: 0, DeviceIDs: ["10", "2"] }, "2,10"],
    [{ ...allGpus, Capabilities: [["tpu"]] }, "none"],
  ];
  for (const [request, from] of found) {
    const docker = new FakeDocker("app");
    gpus(request)(docker.containers.get("app")!);
    const { differences } = await take(container("app", { image: "app:1", gpus: "all" }), docker, true);
    assertEquals(differences, [{ what: "GPUs", from, to: "all" }]);
  }
  const docker = new FakeDocker();
  const { stub } = await take(container("app", { image: "app:1", gpus: [] }), docker);
  assertEquals(stub.writes[0]!.includes("--gpus"), false);
});

// Docker before version 25 takes one network when a container is made.
Deno.test("further networks are connected before the container starts", async () => {
  const docker = new FakeDocker();
  docker.made = (info) => info.NetworkSettings.Networks = { web: {}, models: {}, db: {} };
  const { stub } = await take(container("app", { image: "app:1", networks: ["models", "web", "db"] }), docker);
  assertEquals(stub.writes.slice(1), [
    "docker network connect web app",
    "docker network connect db app",
    "docker start app",
  ]);
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
  assertEquals((await take(step(), docker)).outcome, "unchanged");
});

Deno.test("what Docker does not say is a failure, not an absence", async () => {
  const stub = new StubContainer((_, verb) =>
    verb === "read" ? { code: 0, stderr: "sh: 1: docker: not found" } : undefined
  );
  for (const step of [container("app", { image: "app:1", restartWith: ["/etc/app.conf"] }), absent("app")]) {
    await assertRejects(() => ensure<unknown>(step as Step<unknown>, stub), StepFailed);
  }
});

Deno.test("what Docker would not take is refused when the step is made", () => {
  const wrong: [Partial<DockerContainerSpec>, string][] = [
    [{ gpus: [0, 0] }, 'expected "all" or numbers'],
    [{ gpus: [-1] }, 'expected "all" or numbers'],
    [{ networks: [] }, "expected names of networks"],
    [{ networks: ["host", "models"] }, "expected names of networks"],
    [{ networks: ["container:x"] }, "Cannot name a Docker network"],
    [{ shmSize: "lots" }, 'such as "16g"'],
    [{ health: { command: " " } }, "empty command"],
    [{ health: { command: "true", retries: 0 } }, "0 retries"],
    [{ restartWith: ["etc/app.conf"] }, "absolute path"],
    [{ image: "--privileged" }, "as an image"],
  ];
  for (const [spec, message] of wrong) {
    const error = assertThrows(() => container("app", { image: "app:1", ...spec }), TypeError);
    assertStringIncludes(error.message, message);
  }
  assertThrows(() => absent("a b"), TypeError);
  for (const name of ["host", "a b", ""]) assertThrows(() => network(name), TypeError);
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

Deno.test("a network is made where it is missing, and one of another name is none", async () => {
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
