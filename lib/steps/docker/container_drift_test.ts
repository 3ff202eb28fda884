import { assertEquals } from "@std/assert";
import { ensure, type FakeContainer, FakeDocker, take } from "../../../tests/support/fake_docker.ts";
import { StubContainer } from "../../../tests/support/stubs.ts";
import type { Difference } from "../../events.ts";
import { Secret } from "../../secret.ts";
import { container } from "./container.ts";
import type { DockerContainerSpec } from "./container_options.ts";
import type { DeviceRequest } from "./container_info.ts";

type Drift = [
  spec: Partial<DockerContainerSpec>,
  is: (info: FakeContainer) => void,
  differences: Difference[],
];

const bindings = (ports: Record<string, [ip: string, port: string][] | null>) => (info: FakeContainer) => {
  info.HostConfig.PortBindings = Object.fromEntries(
    Object.entries(ports).map((
      [inside, all],
    ) => [inside, all?.map(([HostIp, HostPort]) => ({ HostIp, HostPort })) ?? null]),
  );
};
const mounted = (...mounts: string[]) => (info: FakeContainer) => {
  info.Mounts = mounts.map((mount) => {
    const [Type, Name, Destination, access] = mount.split(" ") as [string, string, string, string | undefined];
    return Type === "volume"
      ? { Type, Name, Source: `/var/lib/docker/volumes/${Name}/_data`, Destination, RW: access !== "ro" }
      : { Type, Source: Name, Destination, RW: access !== "ro" };
  });
};
const restarts = (Name: string, MaximumRetryCount = 0) => (info: FakeContainer) => {
  info.HostConfig.RestartPolicy = { Name, MaximumRetryCount };
};
const variables = (...all: string[]) => (info: FakeContainer) => void info.Config.Env.push(...all);
const arguments_ = (Cmd: string[] | null) => (info: FakeContainer) => void (info.Config.Cmd = Cmd);
const labelled = (labels: Record<string, string>) => (info: FakeContainer) =>
  void Object.assign(info.Config.Labels, labels);

const PORTS = { ports: ["9443:9443", "9001:9001"] };
const VOLUMES = { volumes: ["/run/docker.sock:/sock", "data:/data"] };

// A container that runs need not be as specified: a changed image, port or volume has to be applied.
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

// Only what the setup states counts as drift, and what means the same is the same.
Deno.test("what is not stated, and what is only written differently, is no drift", async () => {
  const everything = (info: FakeContainer) => {
    bindings({ "80/tcp": [["", "80"]] })(info);
    mounted("volume data /data", `volume ${"f".repeat(64)} /anonymous`, "tmpfs x /tmp")(info);
    restarts("always")(info);
    variables("A=1")(info);
    arguments_(["anything"])(info);
    labelled({ team: "ai" })(info);
  };
  const same: [spec: Partial<DockerContainerSpec>, is: (info: FakeContainer) => void][] = [
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
Deno.test("another image under the same name is drift; which variables came with the old one is not guessed", async () => {
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

const allGpus = { Driver: "", Count: -1, DeviceIDs: null, Capabilities: [["gpu"]] };

Deno.test("other ways of asking for GPUs are told apart, and no GPU is asked for where none is stated", async () => {
  const found: [DeviceRequest, string][] = [
    [{ ...allGpus, Count: 2 }, "any 2"],
    [{ ...allGpus, Count: 0, DeviceIDs: ["10", "2"] }, "2,10"],
    [{ ...allGpus, Capabilities: [["tpu"]] }, "none"],
  ];
  for (const [request, from] of found) {
    const docker = new FakeDocker("app");
    docker.containers.get("app")!.HostConfig.DeviceRequests = [request];
    const { differences } = await take(container("app", { image: "app:1", gpus: "all" }), docker, true);
    assertEquals(differences, [{ what: "GPUs", from, to: "all" }]);
  }
  const docker = new FakeDocker();
  const { stub } = await take(container("app", { image: "app:1", gpus: [] }), docker);
  assertEquals(stub.writes[0]!.includes("--gpus"), false);
});
