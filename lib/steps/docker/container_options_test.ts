import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { type FakeContainer, FakeDocker, take } from "../../../tests/support/fake_docker.ts";
import type { Difference } from "../../events.ts";
import { Secret } from "../../secret.ts";
import { absent, container } from "./container.ts";
import type { DockerContainerSpec } from "./container_options.ts";
import type { DeviceRequest, HealthCheckInfo } from "./container_info.ts";

type Case = [
  spec: Partial<DockerContainerSpec>,
  options: string,
  is: (info: FakeContainer) => void,
  differences: Difference[],
];

const gpus = (...requests: DeviceRequest[]) => (info: FakeContainer) =>
  void (info.HostConfig.DeviceRequests = requests);
const allGpus = { Driver: "", Count: -1, DeviceIDs: null, Capabilities: [["gpu"]] };
const checked = (check: HealthCheckInfo) => (info: FakeContainer) => void (info.Config.Healthcheck = check);

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
    docker.afterCreate = is;
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

// Docker before version 25 takes one network when a container is made.
Deno.test("further networks are connected before the container starts", async () => {
  const docker = new FakeDocker();
  docker.afterCreate = (info) => info.NetworkSettings.Networks = { web: {}, models: {}, db: {} };
  const { stub } = await take(container("app", { image: "app:1", networks: ["models", "web", "db"] }), docker);
  assertEquals(stub.writes.slice(1), [
    "docker network connect web app",
    "docker network connect db app",
    "docker start app",
  ]);
});

Deno.test("names, ports, volumes and variables that Docker would refuse or misread are refused when the step is made", () => {
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
    const error = assertThrows(() => container(name, { image: "app:2", ...spec }), TypeError, said);
    assert(!error.message.includes("line\nbreak"));
  }
});

Deno.test("other options that Docker would refuse are refused when the step is made", () => {
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
});
