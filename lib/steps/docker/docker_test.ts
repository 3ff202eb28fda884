import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { withSteppingClock } from "../../../tests/support/clock.ts";
import { type Answer, ensure as ensureStep, on, type Rule, StubContainer } from "../../../tests/support/stubs.ts";
import { StepFailed } from "../../engine.ts";
import type { Step } from "../../step.ts";
import { CommandFailed, ExitCode, SessionLost } from "../../errors.ts";
import type { Difference } from "../../events.ts";
import { Secret } from "../../secret.ts";
import { absent, container, type DockerContainerSpec, engine, image, running } from "../docker.ts";

/** What `docker container inspect` says of a container, as far as it is used. */
interface Info {
  Name: string;
  readonly Id: string;
  readonly Image: string;
  RestartCount: number;
  State: {
    Status: string;
    Running: boolean;
    ExitCode: number;
    Error?: string;
    Health?: { Status: string; Log?: { Output: string }[] };
  };
  Config: { Image: string; Env: string[]; Cmd: string[] | null; Labels: Record<string, string> };
  HostConfig: {
    RestartPolicy: { Name: string; MaximumRetryCount: number };
    PortBindings: Record<string, { HostIp: string; HostPort: string }[] | null> | null;
  };
  Mounts: { Type: string; Name?: string; Source: string; Destination: string; RW: boolean }[];
}

const IMAGES: Readonly<Record<string, string>> = { "app:1": "sha256:1111aaaa", "app:2": "sha256:2222bbbb" };
const IMAGE_ENV = ["PATH=/bin", "LANG=C"];

/** A Docker engine with its containers, for the commands that the steps use and no other. */
class FakeDocker {
  readonly containers = new Map<string, Info>();
  readonly images = new Set(Object.keys(IMAGES));
  freeKib = 10_000_000;
  /** What becomes of a running container of an image, each time that it is looked at. */
  readonly lives: Record<string, (state: Info["State"], info: Info) => void> = {};
  /** The containers that go as soon as they have ended, as `docker run --rm` makes them. */
  readonly autoRemoved = new Set<string>();
  #created = 0;

  /** Answers a command; `undefined` is one that no step should run. */
  readonly rule: Rule = (script, verb, { stdin }) => {
    const [program, ...words] = (script.display.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replace(/^'|'$/g, ""));
    if (verb === "read" && script.display.includes("df -Pk")) return `overlay 99 9 ${this.freeKib} 9% /var/lib/docker`;
    if (program !== "docker") return undefined;
    if (verb === "read" && words[1] === "inspect") return this.#inspect(script.display.split("\n"));
    const command = words.slice(0, words[1] === "inspect" ? 2 : 1).join(" ");
    const name = words.at(-1)!;
    const known = this.containers.get(name);
    const missing = { code: 1, stderr: `Error response from daemon: No such container: ${name}` };
    if (verb === "read") {
      switch (command) {
        case "logs":
          return "first line\nlast words\n";
      }
      return undefined;
    }
    switch (command) {
      case "pull":
        this.images.add(name);
        return `Status: Downloaded newer image for ${name}`;
      case "create":
        return this.#create(words, stdin as string | undefined);
      case "rename": {
        const old = this.containers.get(words[1]!);
        if (!old) return { ...missing, stderr: `No such container: ${words[1]}` };
        if (known) return { code: 1, stderr: `Conflict. The name "${name}" is in use` };
        this.containers.delete(words[1]!);
        this.containers.set(name, Object.assign(old, { Name: `/${name}` }));
        return "";
      }
      case "start":
        if (!known) return missing;
        if (known.State.Status === "paused") return { code: 1, stderr: "cannot start a paused container" };
        known.State = { Status: "running", Running: true, ExitCode: 0 };
        return name;
      case "stop":
        if (!known) return missing;
        known.State = { Status: "exited", Running: false, ExitCode: 0 };
        if (this.autoRemoved.has(name)) this.containers.delete(name);
        return name;
      case "unpause":
        known!.State = { Status: "running", Running: true, ExitCode: 0 };
        return name;
      case "rm":
        if (!known) return missing;
        if (known.State.Running && words[1] !== "-f") return { code: 1, stderr: "container is running" };
        this.containers.delete(name);
        return name;
    }
    return undefined;
  };

  /** One object a line with `--format`, else an array; what is missing goes to stderr. */
  #inspect(commands: readonly string[]): Answer {
    const found: unknown[] = [];
    const missing: string[] = [];
    const asLines = commands[0]!.includes("--format");
    for (const command of commands) {
      if (command === ":") continue;
      const [, kind, , ...names] = command.replace("--format '{{json .}}' ", "").split(" ");
      for (const name of names) {
        const info = this.containers.get(name);
        if (kind === "image" && this.images.has(name)) found.push({ Id: IMAGES[name], Config: { Env: IMAGE_ENV } });
        else if (kind === "container" && info) {
          if (info.State.Status === "running") this.lives[info.Config.Image]?.(info.State, info);
          found.push(info);
        } else missing.push(`Error response from daemon: No such ${kind}: ${name}`);
      }
    }
    return {
      code: missing.length > 0 ? 1 : 0,
      stdout: asLines ? found.map((object) => `${JSON.stringify(object)}\n`).join("") : JSON.stringify(found),
      stderr: missing.join("\n"),
    };
  }

  #create(words: string[], stdin = ""): Answer {
    const options: Record<string, string[]> = {};
    let at = 1;
    for (; words[at]!.startsWith("--"); at += 2) (options[words[at]!.slice(2)] ??= []).push(words[at + 1]!);
    const [image, ...command] = words.slice(at);
    const name = options.name![0]!;
    if (this.containers.has(name)) return { code: 1, stderr: `Conflict. The name "${name}" is in use` };
    if (!this.images.has(image!)) return { code: 1, stderr: `No such image: ${image}` };
    assertEquals(options.pull, ["never"]);
    assertEquals(options["env-file"], stdin === "" ? undefined : ["/dev/stdin"]);
    const own = [...stdin.split("\n").filter(Boolean), ...options.env ?? []];
    const [policy, retries] = (options.restart?.[0] ?? "no").split(":");
    this.containers.set(name, {
      ...infoOf(name, { image: image!, id: `new${++this.#created}`, status: "created" }),
      Config: {
        Image: image!,
        Env: [...own, ...IMAGE_ENV.filter((entry) => !own.some((mine) => mine.startsWith(/^.*?=/.exec(entry)![0])))],
        Cmd: command.length > 0 ? command : null,
        Labels: Object.fromEntries((options.label ?? []).map((label) => label.split("=") as [string, string])),
      },
      HostConfig: {
        RestartPolicy: { Name: policy!, MaximumRetryCount: Number(retries ?? 0) },
        PortBindings: Object.fromEntries((options.publish ?? []).map((port) => {
          const [HostPort, inside] = port.split(":");
          return [inside!.includes("/") ? inside! : `${inside}/tcp`, [{ HostIp: "", HostPort: HostPort! }]];
        })),
      },
      Mounts: (options.volume ?? []).map((volume) => {
        const [Source, Destination, access] = volume.split(":") as [string, string, string | undefined];
        const bind = Source.startsWith("/");
        return {
          Type: bind ? "bind" : "volume",
          ...(!bind && { Name: Source }),
          Source,
          Destination,
          RW: access !== "ro",
        };
      }),
    });
    return `new${this.#created}`;
  }

  /** The containers that there are: name, id and state. */
  get summary(): string[] {
    return [...this.containers].map(([name, { Id, State }]) => `${name} ${Id} ${State.Status}`).sort();
  }

  add(name: string, options: { image?: string; id?: string; status?: string } = {}): Info {
    const info = infoOf(name, options);
    this.containers.set(name, info);
    return info;
  }
}

function infoOf(name: string, { image = "app:1", id = "old", status = "running" } = {}): Info {
  return {
    Name: `/${name}`,
    Id: id,
    Image: IMAGES[image]!,
    RestartCount: 0,
    State: { Status: status, Running: ["running", "restarting", "paused"].includes(status), ExitCode: 0 },
    Config: { Image: image, Env: [...IMAGE_ENV], Cmd: ["serve"], Labels: { maintainer: "x" } },
    HostConfig: { RestartPolicy: { Name: "no", MaximumRetryCount: 0 }, PortBindings: {} },
    Mounts: [],
  };
}

/** Takes a step; no test waits. */
function ensure<State>(step: Step<State>, stub: StubContainer, options?: { check?: boolean }) {
  return withSteppingClock(() => ensureStep(step, stub, options));
}

const exits = (state: Info["State"]) =>
  Object.assign(state, { Status: "exited", Running: false, ExitCode: 3, Error: "OOM" });
const healthOf = (Health: NonNullable<Info["State"]["Health"]>) => (state: Info["State"]) =>
  Object.assign(state, { Health });
const healthAfter = (looks: number) => (state: Info["State"]) =>
  Object.assign(state, { Health: { Status: looks-- > 0 ? "starting" : "healthy" } });

/** A rule that lets `before` commands pass that match, and fails the one after them without any effect. */
function failOnce(part: RegExp, error?: Error, before = 0): Rule {
  return (script, verb) => {
    if (verb !== "write" || !part.test(script.display) || before-- !== 0) return undefined;
    if (error) throw error;
    return { code: 1, stderr: "refused by the test" };
  };
}

const SPEC = { image: "app:2" } satisfies DockerContainerSpec;

// Requirements, section 2: "Pulling/Loading Docker Images". DESIGN 3: what is there and what was asked for are compared.
Deno.test("a container that is missing is created as stated, started and proven, once", async () => {
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

Deno.test("a container that does not come to run is removed again", async () => {
  for (const fault of [/docker create/, /docker start/]) {
    const docker = new FakeDocker();
    await assertRejects(
      () => ensure(container("app", SPEC), new StubContainer(failOnce(fault), docker.rule)),
      StepFailed,
    );
    assertEquals(docker.summary, []);
  }
  const docker = new FakeDocker();
  docker.lives["app:2"] = (state) => Object.assign(state, { Status: "exited", Running: false, ExitCode: 3 });
  const error = await assertRejects(() => ensure(container("app", SPEC), new StubContainer(docker.rule)), StepFailed);
  assertEquals([error.message, docker.summary], ['The container "app" ended with exit code 3', []]);
});

// Whoever reads the failure has to learn of its cause, not of what could not be done about it.
Deno.test("why a new container does not run is told also when it cannot be removed", async () => {
  const docker = new FakeDocker();
  docker.lives["app:2"] = exits;
  const stub = new StubContainer(failOnce(/docker rm/, new SessionLost("gone")), docker.rule);
  const error = await assertRejects(() => ensure(container("app", SPEC), stub), StepFailed);
  assertEquals(error.message, 'The container "app" ended with exit code 3: OOM');
  // What is left does not count as running: the next run goes on from there.
  delete docker.lives["app:2"];
  assertEquals((await ensure(container("app", SPEC), new StubContainer(docker.rule))).outcome, "changed");
  assertEquals(docker.summary, ["app new1 running"]);
});

type Drift = [
  spec: Partial<DockerContainerSpec>,
  is: (info: Info) => void,
  differences: Difference[],
];

const bindings = (ports: Record<string, [ip: string, port: string][] | null>) => (info: Info) => {
  info.HostConfig.PortBindings = Object.fromEntries(
    Object.entries(ports).map((
      [inside, all],
    ) => [inside, all?.map(([HostIp, HostPort]) => ({ HostIp, HostPort })) ?? null]),
  );
};
const mounted = (...mounts: string[]) => (info: Info) => {
  info.Mounts = mounts.map((mount) => {
    const [Type, Name, Destination, access] = mount.split(" ") as [string, string, string, string | undefined];
    return Type === "volume"
      ? { Type, Name, Source: `/var/lib/docker/volumes/${Name}/_data`, Destination, RW: access !== "ro" }
      : { Type, Source: Name, Destination, RW: access !== "ro" };
  });
};
const restarts = (Name: string, MaximumRetryCount = 0) => (info: Info) => {
  info.HostConfig.RestartPolicy = { Name, MaximumRetryCount };
};
const variables = (...all: string[]) => (info: Info) => void info.Config.Env.push(...all);
const arguments_ = (Cmd: string[] | null) => (info: Info) => void (info.Config.Cmd = Cmd);
const labelled = (labels: Record<string, string>) => (info: Info) => void Object.assign(info.Config.Labels, labels);

const PORTS = { ports: ["9443:9443", "9001:9001"] };
const VOLUMES = { volumes: ["/run/docker.sock:/sock", "data:/data"] };

// reference: "running" was taken for "as specified", so that a changed image, port or volume was never applied.
const DRIFTS: Drift[] = [
  [{ image: "app:2" }, () => {}, [{ what: "image", from: "app:1", to: "app:2" }]],
  [PORTS, () => {}, [{ what: "ports", from: "none", to: "9001:9001, 9443:9443" }]],
  [PORTS, bindings({ "9443/tcp": [["", "9443"]] }), [{ what: "ports", from: "9443:9443", to: "9001:9001, 9443:9443" }]],
  [
    { ports: ["53:53/udp"] },
    bindings({ "53/tcp": [["", "53"]], "53/udp": null }),
    [{ what: "ports", from: "53:53", to: "53:53/udp" }],
  ],
  [{ ports: ["80:80"] }, bindings({ "80/tcp": [["127.0.0.1", "80"]] }), [
    { what: "ports", from: "127.0.0.1:80:80", to: "80:80" },
  ]],
  [{ ports: [] }, bindings({ "80/tcp": [["", "80"]] }), [{ what: "ports", from: "80:80", to: "none" }]],
  [{ ports: ["80:80"] }, bindings({ "80/tcp": [["", "80"], ["", "81"]] }), [{
    what: "ports",
    from: "80:80, 81:80",
    to: "80:80",
  }]],
  [VOLUMES, mounted("volume data /data"), [
    { what: "volumes", from: "data:/data", to: "/run/docker.sock:/sock, data:/data" },
  ]],
  [{ volumes: ["data:/data:ro"] }, mounted("volume data /data"), [{
    what: "volumes",
    from: "data:/data",
    to: "data:/data:ro",
  }]],
  [{ volumes: ["/a:/data"] }, mounted("bind /b /data"), [{ what: "volumes", from: "/b:/data", to: "/a:/data" }]],
  [{ volumes: [] }, mounted("volume data /data"), [{ what: "volumes", from: "data:/data", to: "none" }]],
  [{ restart: "always" }, restarts("no"), [{ what: "restart", from: "no", to: "always" }]],
  [{ restart: "on-failure:3" }, restarts("on-failure"), [{ what: "restart", from: "on-failure", to: "on-failure:3" }]],
  [{ restart: "no" }, restarts("unless-stopped"), [{ what: "restart", from: "unless-stopped", to: "no" }]],
  [{ command: ["a b"] }, arguments_(["a", "b"]), [{ what: "command", from: '["a","b"]', to: '["a b"]' }]],
  [{ command: ["a"] }, arguments_(null), [{ what: "command", from: "[]", to: '["a"]' }]],
  [{ environment: { A: "1" } }, () => {}, [{ what: "environment A", to: "1" }]],
  [{ environment: { A: "1" } }, variables("A=2=3"), [{ what: "environment A", from: "2=3", to: "1" }]],
  [{ environment: {} }, variables("A=2"), [{ what: "environment A", from: "set" }]],
  [{ environment: { LANG: "de" } }, () => {}, [{ what: "environment LANG", from: "C", to: "de" }]],
  [{ environment: { A: new Secret("token", "hunter2") } }, variables("A=hunter1"), [
    { what: "environment A", from: "another value", to: "[secret: token]" },
  ]],
  [{ labels: { team: "ai" } }, () => {}, [{ what: "label team", to: "ai" }]],
  [{ labels: { team: "ai" } }, labelled({ team: "web" }), [{ what: "label team", from: "web", to: "ai" }]],
  [{ labels: { team: "" } }, () => {}, [{ what: "label team", to: "" }]],
  [
    { restart: "always", labels: { team: "ai" } },
    () => {},
    [{ what: "restart", from: "no", to: "always" }, { what: "label team", to: "ai" }],
  ],
];

Deno.test("each stated field that differs is drift, and a new container has it", async () => {
  for (const [spec, is, differences] of DRIFTS) {
    const docker = new FakeDocker();
    is(docker.add("app"));
    const stub = new StubContainer(docker.rule);
    const step = () => container("app", { image: "app:1", ...spec });
    const checked = await ensure(step(), stub, { check: true });
    assertEquals([checked.outcome, checked.differences, stub.writes], ["would change", differences, []]);
    const { outcome } = await ensure(step(), stub);
    assertEquals([outcome, docker.summary], ["changed", ["app new1 running"]], JSON.stringify(spec));
    assertEquals((await ensure(step(), stub)).outcome, "unchanged");
  }
});

// DESIGN: only what the setup states counts as drift, and what means the same is the same.
Deno.test("what is not stated, and what is only written in another way, is no drift", async () => {
  const everything = (info: Info) => {
    bindings({ "80/tcp": [["", "80"]] })(info);
    mounted("volume data /data", `volume ${"f".repeat(64)} /anonymous`, "tmpfs x /tmp")(info);
    restarts("always")(info);
    variables("A=1")(info);
    arguments_(["anything"])(info);
    labelled({ team: "ai" })(info);
  };
  const same: [spec: Partial<DockerContainerSpec>, is: (info: Info) => void][] = [
    [{}, everything],
    [
      PORTS,
      bindings({
        "9001/tcp": [["0.0.0.0", "9001"]],
        "9443/tcp": [["", "9443"], ["0.0.0.0", "9443"]],
        "8000/tcp": null,
      }),
    ],
    [{ ports: ["0.0.0.0:80:80/tcp", "[::1]:80:80"] }, bindings({ "80/tcp": [["", "80"], ["::1", "80"]] })],
    [{ ports: [] }, (info) => void (info.HostConfig.PortBindings = null)],
    [VOLUMES, mounted("volume data /data", "bind /run/docker.sock /sock")],
    // Docker's client gives them to every container that it makes, where its configuration has proxies.
    [{ environment: { A: "1" } }, variables("A=1", "HTTP_PROXY=http://proxy:3128", "no_proxy=localhost")],
    // The image's own, for what the setup does not mount.
    [VOLUMES, mounted("volume data /data", "bind /run/docker.sock /sock", `volume ${"f".repeat(64)} /cache`)],
    [{ volumes: ["/srv/:/data/:rw", "data:/x:ro"] }, mounted("bind /srv /data", "volume data /x ro")],
    [{ restart: "no" }, restarts("")],
    [{ restart: "on-failure:0" }, restarts("on-failure")],
    [{ restart: "on-failure:3" }, restarts("on-failure", 3)],
    [{ command: [] }, arguments_(null)],
    [{ environment: {} }, () => {}],
    [{ environment: { A: "x=y", LANG: "C" } }, variables("A=x=y")],
    [{ environment: { A: new Secret("token", "hunter2") } }, variables("A=hunter2")],
    [{ labels: { team: "ai" } }, labelled({ team: "ai", other: "1" })],
  ];
  for (const [spec, is] of same) {
    const docker = new FakeDocker();
    is(docker.add("app"));
    const { outcome, differences } = await ensure(
      container("app", { image: "app:1", ...spec }),
      new StubContainer(docker.rule),
    );
    assertEquals([outcome, differences], ["unchanged", []], JSON.stringify(spec));
  }
});

// An image of the same name can be another one: what counts is its id.
Deno.test("an image that was pulled again under its name is drift; which variables are its own is not guessed", async () => {
  const docker = new FakeDocker();
  const info = docker.add("app", { image: "app:1" });
  info.Config.Image = "app:2";
  const spec = { image: "app:2", environment: { A: "1" } };
  const { differences } = await ensure(container("app", spec), new StubContainer(docker.rule), { check: true });
  assertEquals(differences, [
    { what: "image", from: "app:2 (1111aaaa)", to: "app:2 (2222bbbb)" },
    { what: "environment A", to: "1" },
  ]);
  docker.images.delete("app:2");
  const missing = await ensure(container("app", spec), new StubContainer(docker.rule), { check: true });
  assertEquals(missing.differences[0], { what: "image", from: "app:2 (1111aaaa)", to: "app:2 (to be pulled)" });
});

// DESIGN: without a gap in safety. The old one stays until the new one runs, and is removed last.
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

// Its data would be lost: the new container would not have it.
Deno.test("a container with an anonymous volume is never replaced, and not touched", async () => {
  const docker = new FakeDocker();
  mounted(`volume ${"0a".repeat(32)} /var/lib/data`)(docker.add("app"));
  const stub = new StubContainer(docker.rule);
  const error = await assertRejects(() => ensure(container("app", SPEC), stub), StepFailed, '"/var/lib/data"');
  assertEquals([error.exitCode, stub.writes, docker.summary], [ExitCode.Step, [], ["app old running"]]);
  assertStringIncludes(error.hint ?? "", "state a named volume");
});

// What a run has created that was cut off before it could start it, or connect it to all of its networks.
Deno.test("a container that was never started has no data to lose", async () => {
  const docker = new FakeDocker();
  mounted(`volume ${"0a".repeat(32)} /var/lib/data`)(docker.add("app", { status: "created" }));
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
  readonly lives?: FakeDocker["lives"][string];
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
    message: 'The container "app" restarts again and again, last with exit code 1',
  },
  "it crashes between two looks": {
    lives: (_, info) => void info.RestartCount++,
    message: 'The container "app" restarts again and again, last with exit code 0',
  },
  "it is unhealthy": {
    lives: healthOf({ Status: "unhealthy", Log: [{ Output: "first" }, { Output: "no answer\n" }] }),
    message: 'The container "app" is unhealthy: no answer',
  },
  "it is unhealthy and says nothing": {
    lives: healthOf({ Status: "unhealthy" }),
    message: 'The container "app" is unhealthy: its health check fails',
  },
  "it is never healthy": {
    lives: healthOf({ Status: "starting" }),
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
    message: 'The container "app" was removed while it was waited for',
  },
};

// DESIGN: otherwise the old one is put back and the step fails.
Deno.test("whatever goes wrong with the new container, the old one is back as it was", async (t) => {
  for (const [name, { rule, lives, message, exitCode = ExitCode.Step }] of Object.entries(MISHAPS)) {
    await t.step(name, async () => {
      for (const status of ["running", "exited"]) {
        const docker = new FakeDocker();
        docker.add("app", { status });
        if (lives) docker.lives["app:2"] = lives;
        const stub = new StubContainer(...(rule ? [rule()] : []), docker.rule);
        const step = container("app", { ...SPEC, within: "10s" });
        const error = await assertRejects(() => ensure(step, stub), StepFailed, message);
        assertEquals([error.exitCode, docker.summary], [exitCode, [`app old ${status}`]]);
        // DESIGN 5: a failure shows the tail of the output.
        if (lives) assertEquals((error.cause as CommandFailed).evidence.stdout, "first line\nlast words\n");
      }
    });
  }
});

Deno.test("an old container that cannot be put back is said to be where it is, and the next run goes on from there", async () => {
  const gone = new SessionLost("gone");
  const cases: [fault: Rule, where: string, summary: string[]][] = [
    [failOnce(/docker rm -f app$/, gone), "app_previous", ["app new1 exited", "app_previous old exited"]],
    [failOnce(/docker rename app_previous app$/, gone), "app_previous", ["app_previous old exited"]],
    [failOnce(/docker start app$/, gone, 1), "app", ["app old exited"]],
  ];
  for (const [fault, where, summary] of cases) {
    const docker = new FakeDocker();
    docker.add("app");
    docker.lives["app:2"] = exits;
    const error = await assertRejects(
      () => ensure(container("app", SPEC), new StubContainer(fault, docker.rule)),
      StepFailed,
    );
    assertEquals(
      error.message,
      'The new container "app" does not run (The container "app" ended with exit code 3: OOM), and the old one could not be ' +
        `put back (gone): it is there as "${where}"`,
    );
    assertEquals(docker.summary, summary);

    delete docker.lives["app:2"];
    assertEquals((await ensure(container("app", SPEC), new StubContainer(docker.rule))).outcome, "changed");
    assertEquals(docker.summary.map((line) => line.replace(/\d/, "")), ["app new running"]);
  }
});

// DESIGN: a replacement that was cut off is recognised by the renamed container, and finished or undone.
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
      found: (docker) => [old(docker, "exited"), made(docker, "created"), docker.lives["app:2"] = exits],
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

// DESIGN 4: secrets travel on stdin, never in any argument list, and are redacted in every diff and event.
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

// DESIGN 3: "running" and "healthy" are looked at, and waited for where they are on their way.
Deno.test("a container as specified that does not run is started, and its health is waited for", async () => {
  const cases: {
    status: string;
    lives?: FakeDocker["lives"][string];
    differences: Difference[];
    writes: string[];
    fails?: string;
  }[] = [
    { status: "running", differences: [], writes: [] },
    { status: "running", lives: healthOf({ Status: "healthy" }), differences: [], writes: [] },
    // Without a health check, or with one that was turned off, some engines say this.
    { status: "running", lives: healthOf({ Status: "none" }), differences: [], writes: [] },
    { status: "running", lives: healthOf({ Status: "" }), differences: [], writes: [] },
    {
      status: "exited",
      lives: healthOf({ Status: "none" }),
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
      lives: healthAfter(3),
      differences: [{ what: "state", from: "created", to: "running" }],
      writes: ["docker start app"],
    },
    {
      status: "running",
      lives: healthAfter(3),
      differences: [{ what: "health", from: "starting", to: "healthy" }],
      writes: [],
    },
    {
      status: "running",
      lives: healthOf({ Status: "unhealthy" }),
      differences: [{ what: "health", from: "unhealthy", to: "healthy" }],
      writes: [],
      fails: "is unhealthy",
    },
    // Docker says "running: true" of these, too.
    {
      status: "restarting",
      differences: [{ what: "state", from: "restarting", to: "running" }],
      writes: [],
      fails: "restarts again and again",
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
      if (lives) docker.lives["app:2"] = lives;
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

// reference: `docker ps --filter name=portainer` matches any name that contains it; inspect also takes an id.
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

Deno.test("what Docker would not take, or would read in another way, is refused when the step is made", () => {
  const wrong: [name: string, spec: Record<string, unknown>, said: string][] = [
    ["", {}, '""'],
    ["-x", {}, '"-x"'],
    ["a/b", {}, '"a/b"'],
    ["app; reboot", {}, '"app; reboot"'],
    ...["9443", "9443:", "0:80", "80:0", "80:65536", "080:80", "80:80/icmp", "host:80:80", "80-81:80-81", ""].map((
      port,
    ) => ["app", { ports: [port] }, `"${port}"`] as [string, Record<string, unknown>, string]),
    ...["/data", "data", "data:", ":/data", "./x:/data", "data:data", "a:/b:rw,z", ""].map((volume) =>
      ["app", { volumes: [volume] }, `"${volume}"`] as [string, Record<string, unknown>, string]
    ),
    ["app", { environment: { "A B": "1" } }, '"A B"'],
    ["app", { environment: { "": "1" } }, '""'],
    ["app", { environment: { A: new Secret("key", "line\nbreak") } }, '"A"'],
    ["app", { environment: { A: new Secret("key", "of Windows\r") } }, '"A"'],
    ["app", { within: "soon" }, '"soon"'],
  ];
  for (const [name, spec, said] of wrong) {
    const error = assertThrows(() => container(name, { ...SPEC, ...spec }), TypeError, said);
    assert(!error.message.includes("line\nbreak"));
  }
});

// Requirements, section 2: "Pulling/Loading Docker Images", and section 1: idempotency.
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

  // DESIGN 3: exit code 0 and no image is a failure.
  docker.images.clear();
  const idle = new StubContainer(on("docker pull", "Done"), docker.rule);
  await assertRejects(() => ensure(image("app:2"), idle), StepFailed, "still different: image: app:2");
});

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

// What a wait is told: whether there is any hope left.
Deno.test("a container that is waited for is gone when it has ended or was removed", async () => {
  const why = async (status: string | undefined, name = "app") => {
    const docker = new FakeDocker();
    if (status !== undefined) docker.add("app", { status });
    const reading = { container: new StubContainer(docker.rule) } as unknown as Parameters<
      ReturnType<typeof running>["whyGone"]
    >[0];
    return await running(name).whyGone(reading);
  };
  for (const status of ["running", "restarting", "created"]) assertEquals(await why(status), undefined, status);
  const ended = 'the container "app" ended with exit code 0, and said:\nfirst line\nlast words';
  for (const status of ["exited", "dead", "removing"]) assertEquals(await why(status), ended, status);
  assertEquals(await why(undefined), 'there is no container "app"');
  assertThrows(() => running("a b"), TypeError, '"a b"');
});
