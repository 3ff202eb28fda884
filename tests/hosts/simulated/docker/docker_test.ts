/**
 * What only the stand-in for Docker needs: where it ends, how its containers behave and survive, and that its many
 * processes do not get into each other's way. What it answers is compared with Docker's own answers, in the lab.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { skipReason } from "../../../support/test_host.ts";
import type { Result } from "../../host.ts";
import { SimulatedHost } from "../simulated_host.ts";
import { certificate } from "./certificate.ts";
import { APP, type Registry } from "./registry.ts";

/** The images of these tests. */
const REGISTRY: Registry = {
  images: {
    "own/servers:1": {
      ...APP,
      behaviour: {
        http: [
          { port: 443, tls: true, afterMs: 300, paths: { "/": { body: "hello" }, "/v1": { body: '"${--model}"' } } },
          { port: 80, paths: { "/old": { status: 503, body: "gone" } } },
          { port: 81, afterMs: 3_600_000, paths: {} },
        ],
      },
    },
  },
};

// All tests share one host and one container; each leaves it running, without Docker containers.
let shared: Promise<SimulatedHost> | undefined;
Deno.test.afterAll(async () => await (await shared)?.close());

async function begin(): Promise<SimulatedHost> {
  const host = await SimulatedHost.temporary({ containers: [{ ctid: 901, hostname: "Portainer" }] });
  await pct(host, ["exec", "901", "--", "mkdir", "/var/lib/docker"]);
  await Deno.writeTextFile(`${host.rootfs(901)}/var/lib/docker/registry.json`, JSON.stringify(REGISTRY));
  return host;
}

function test(name: string, body: (engine: Engine) => Promise<void>): void {
  Deno.test({
    name: skipReason === undefined ? name : `${name} (skipped: ${skipReason})`,
    ignore: skipReason !== undefined,
    fn: async () => {
      const engine = new Engine(await (shared ??= begin()));
      try {
        await body(engine);
      } finally {
        await engine.shell("docker rm --force $(docker ps --all --quiet) 2>&1");
      }
    },
  });
}

function pct(host: SimulatedHost, args: readonly string[]): Promise<Result> {
  return host.run("/usr/sbin/pct", args, { clearEnv: true, env: { PATH: "/usr/bin:/bin" }, cwd: "/" });
}

/** Docker in the container. */
class Engine {
  constructor(readonly host: SimulatedHost) {}

  shell(script: string): Promise<Result> {
    return pct(this.host, ["exec", "901", "--", "bash", "-c", script]);
  }

  docker(...args: string[]): Promise<Result> {
    return pct(this.host, ["exec", "901", "--", "docker", ...args]);
  }

  /** Runs a script that has to succeed, and gives its output. */
  async ok(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.shell(script);
    assertEquals([code, stderr], [0, ""], script);
    return stdout.trimEnd();
  }

  /** What a container shows. */
  of(name: string, template: string): Promise<string> {
    return this.ok(`docker container inspect --format '${template}' ${name}`);
  }

  /** What the server at an address in the container answers: status and body, or `""`. */
  async get(url: string): Promise<string> {
    return (await this.shell(`curl --silent --cacert <(echo '${certificate}') --write-out ' %{http_code}' ${url}`))
      .stdout
      .replace(/^ 000$/, "");
  }
}

/** Waits until a condition is met; the deadline only ends a test that hangs. */
async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 20_000; !await condition();) {
    assert(Date.now() < deadline, `still not so: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test("what it does not have ends with exit code 64, so that nobody takes it for an answer of Docker's", async (engine) => {
  assertEquals((await engine.docker("pull", "--quiet", "app:1")).code, 0);
  const calls = [
    [],
    ["--version"],
    ["bogus"],
    ["compose", "up"],
    ["exec", "app", "true"],
    ["container"],
    ["container", "ls"],
    ["ps"],
    ["images"],
    ["images", "app"],
    ["info"],
    ["info", "--format", "{{.Driver}}"],
    ["ps", "--quiet", "--bogus"],
    ["ps", "--quiet", "--filter", "health=healthy"],
    ["stop", "--signal", "INT", "app"],
    ["create", "--cap-add", "x", "app:1"],
    ["create", "--publish", "80", "app:1"],
    ["create", "--publish", "1-3:1-3", "app:1"],
    ["create", "--network", "a", "--network", "b", "app:1"],
    ["create", "--user", "nobody", "app:1"],
    ["create", "--gpus", "driver=x", "app:1"],
    ["image", "inspect", "app:1", "--format", "{{range .RepoTags}}x{{end}}"],
    ["image", "inspect", "app:1", "--format", "{{.Size}}"],
    ["image", "inspect", "app:1", "--format", "{{.RootFS}}"],
    ["image", "inspect", "app:1", "--format", "{{.Id"],
  ];
  await Promise.all(calls.map(async (args) => {
    const { code, stdout, stderr } = await engine.docker(...args);
    assertEquals([code, stdout], [64, ""], args.join(" "));
    assertStringIncludes(stderr, "docker stand-in: not supported: ");
  }));
  assertEquals(await engine.ok("docker ps --all --quiet"), "");
});

test("servers listen on the published ports when they are ready; before, connections are dropped", async (engine) => {
  await engine.ok(
    "docker run --detach --pull always --name app -p 4443:443 -p 127.0.0.1:8080:80 -p 8081:81 own/servers:1 --model m/n 2>/dev/null",
  );
  assertEquals(await engine.get("http://localhost:8080/old"), "gone 503");
  assertEquals(await engine.get("http://localhost:8080/none"), "404 page not found\n 404");
  assertEquals(await engine.get("http://localhost:8081/"), "");
  await engine.ok("exec 3<>/dev/tcp/127.0.0.1/8081");
  await until("the server listens", async () => await engine.get("https://localhost:4443/") !== "");
  assertEquals(await engine.get("https://localhost:4443/"), "hello 200");
  assertEquals(await engine.get("https://localhost:4443/v1"), '"m/n" 200');
  await engine.ok("docker stop app");
  assertEquals(await engine.get("https://localhost:4443/"), "");
});

test("a server is healthy when all of its ports are served", async (engine) => {
  const run = "docker run --detach --health-cmd true --health-interval 100ms --health-retries 1";
  await engine.ok(`${run} --name slow own/servers:1 && ${run} --name ready app:1`);
  const health = (name: string) => engine.of(name, "{{.State.Health.Status}}");
  await until(
    "one is healthy, one is not",
    async () => await health("ready") === "healthy" && await health("slow") === "unhealthy",
  );
});

// The engine does the work, not the client that asked for it.
test("a container whose client is ended while it starts comes up all the same", async (engine) => {
  // The signal may come late, when the client has done its work.
  for (let stdout = "", attempt = 0; stdout !== "143\n" && attempt < 20; attempt++) {
    await engine.shell("docker rm --force app");
    const id = await engine.ok("docker create --name app app:1 2>/dev/null");
    const order = `/var/lib/docker/containers/${id}/order.json`;
    ({ stdout } = await engine.shell(
      `docker start app >/dev/null & until [ -e ${order} ]; do :; done; kill -TERM $!; wait $!; echo $?`,
    ));
    assert(["0\n", "143\n"].includes(stdout), stdout);
    assert(attempt < 19 || stdout === "143\n", "the signal came late each time");
  }
  assertEquals(await engine.of("app", "{{.State.Status}}"), "running");
});

test("a client that is ended while it pulls leaves nothing", async (engine) => {
  await engine.ok(`echo '{"pull":{"delay":20000}}' >/var/lib/docker/knobs.json`);
  const { stdout } = await engine.shell("timeout --preserve-status 1 docker pull --quiet alpine:3.22; echo $?");
  assertEquals(stdout, "143\n");
  await engine.ok("rm /var/lib/docker/knobs.json");
  assertEquals((await engine.docker("image", "inspect", "alpine:3.22")).code, 1);
});

test("what a container has started ends with it", async (engine) => {
  await engine.ok("docker run --detach --name app busybox:1.37 sh -c 'sleep 1234 & sleep 1234' 2>/dev/null");
  assertEquals(await engine.ok("pgrep --count --full '^sleep 1234'"), "2");
  await engine.ok("docker kill app");
  await until("both have ended", async () => (await engine.shell("pgrep --full '^sleep 1234'")).stdout === "");
});

// Whoever keeps the exit code of one start may come late.
test("a container that was restarted keeps nothing of the end before", async (engine) => {
  await engine.ok("docker run --detach --name app app:1");
  const shim = await engine.ok(`ps --no-headers -o ppid= --pid ${await engine.of("app", "{{.State.Pid}}")}`);
  await engine.ok(`kill -STOP ${shim}; docker restart app; kill -CONT ${shim}`);
  await until("its shim has ended", async () => (await engine.shell(`kill -0 ${shim}`)).code !== 0);
  assertEquals(await engine.of("app", "{{.State.Status}}"), "running");
  await engine.ok("docker kill app");
  assertEquals(await engine.of("app", "{{.State.ExitCode}}"), "137");
});

test("after a boot the engine knows how its containers ended, and starts those whose policy says so", async (engine) => {
  for (const [verb, code] of [["stop", 255], ["shutdown", 0]] as const) {
    await engine.ok(
      "docker run --detach --name once app:1 && docker run --detach --name always --restart always app:1",
    );
    assertEquals((await pct(engine.host, [verb, "901"])).code, 0);
    assertEquals((await pct(engine.host, ["start", "901"])).code, 0);
    await until("Docker is back", async () => (await engine.docker("version")).code === 0);
    assertEquals(await engine.of("once", "{{.State.Status}} {{.State.ExitCode}}"), `exited ${code}`);
    assertEquals(await engine.of("always", "{{.State.Status}} {{.State.ExitCode}}"), "running 0");
    await engine.ok("docker rm --force once always");
  }
});

test("clients at the same time do not lose each other's changes, and a name is given once", async (engine) => {
  const results = await Promise.all([
    ...[1, 2, 3, 4].map((number) => engine.docker("run", "--detach", "--name", `own-${number}`, "app:1")),
    ...[1, 2, 3, 4].map(() => engine.docker("create", "--name", "same", "app:1")),
  ]);
  assertEquals(results.map(({ code }) => code).sort(), [0, 0, 0, 0, 0, 1, 1, 1]);
  const names = (await engine.ok("docker ps --all --format '{{.Names}}'")).split("\n");
  assertEquals(names.sort(), ["own-1", "own-2", "own-3", "own-4", "same"]);
  assertEquals((await engine.ok("docker ps --quiet")).split("\n").length, 4);
});
