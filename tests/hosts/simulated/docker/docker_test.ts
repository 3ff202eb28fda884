/**
 * The stand-in for Docker, called as a program as the simulated container calls it. What it answers was compared with Docker
 * 26.1.5 itself.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { testWith } from "../../../support/permission.ts";
import { certificate } from "./certificate.ts";
import { type KnownImage, knownRegistry, type Registry } from "./registry.ts";
import type { Knobs } from "./state.ts";

const test = (name: string, fn: () => Promise<void>) => testWith(["read", "write", "run", "env"], name, fn);

interface Result {
  code: number;
  out: string;
  err: string;
}

/** An engine of its own for one test. */
class Engine {
  readonly state = Deno.makeTempDirSync({ prefix: "docker-stand-in-" });

  start(args: string[], stdin?: string | Uint8Array, env: Record<string, string> = {}): Deno.ChildProcess {
    const names = ["read", "write", "run", "env", "net", "sys=hostname,osRelease,systemMemoryInfo"];
    const permissions = names.map((name) => `--allow-${name}`);
    return new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-config",
        "--no-lock",
        "--cached-only",
        "--no-prompt",
        ...permissions,
        `${import.meta.dirname}/main.ts`,
        ...args,
      ],
      env: { DOCKER_STAND_IN_STATE: this.state, DOCKER_CONFIG: `${this.state}/client`, ...env },
      stdin: stdin === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  async run(args: string[], stdin?: string | Uint8Array, env: Record<string, string> = {}): Promise<Result> {
    const child = this.start(args, stdin, env);
    if (stdin !== undefined) {
      const writer = child.stdin.getWriter();
      await writer.write(typeof stdin === "string" ? new TextEncoder().encode(stdin) : stdin);
      await writer.close();
    }
    const { code, stdout, stderr } = await child.output();
    return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
  }

  /** Runs a command that has to succeed, given as words; the answer is its output. */
  async ok(command: string, ...more: string[]): Promise<string> {
    const result = await this.run([...command.split(" "), ...more]);
    // The progress of a pull is told there as well.
    const complaints = result.err.replace(/^Unable to find image .*\n(.*\n)*?Status: .*\n/m, "");
    assertEquals([result.code, complaints], [0, ""], command);
    return result.out.trimEnd();
  }

  /** Runs a command that has to fail with just this. */
  async fails(command: string[], code: number, err: string, out = ""): Promise<void> {
    const result = await this.run(command);
    const ids = (text: string) => text.replace(/\b[0-9a-f]{64}\b/g, "ID").trimEnd();
    assertEquals(
      { code: result.code, err: ids(result.err), out: ids(result.out) },
      { code, err, out },
      command.join(" "),
    );
  }

  /** The part of a container's document at a path. */
  async of(name: string, path: string): Promise<unknown> {
    return JSON.parse(await this.ok(`container inspect ${name} --format`, `{{json ${path}}}`));
  }

  /** Waits until a condition is met; the deadline only ends a test that hangs. */
  async until(what: string, condition: () => Promise<boolean>): Promise<void> {
    for (const end = Date.now() + 10_000; !await condition(); await new Promise((resolve) => setTimeout(resolve, 20))) {
      assert(Date.now() < end, `still different: ${what}`);
    }
  }

  knobs(knobs: Knobs): void {
    Deno.writeTextFileSync(`${this.state}/knobs.json`, JSON.stringify(knobs));
  }

  registry(images: Registry["images"], logins: NonNullable<Registry["logins"]> = {}): void {
    Deno.writeTextFileSync(`${this.state}/registry.json`, JSON.stringify({ images, logins }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.knobs({});
    const all = (await this.run(["ps", "-aq"])).out.split("\n").filter((id) => id !== "");
    if (all.length > 0) await this.run(["rm", "-f", ...all]);
    // A keeper may be at its last step.
    await this.until(
      "its files are removed",
      () => Deno.remove(this.state, { recursive: true }).then(() => false, isMissing),
    );
  }
}

function isMissing(error: unknown): Promise<boolean> {
  return Promise.resolve(error instanceof Deno.errors.NotFound);
}

function image(behaviour: KnownImage["behaviour"], config: KnownImage["config"] = {}): KnownImage {
  return {
    created: "2025-01-01T00:00:00Z",
    size: 1_000_000,
    config: { Cmd: ["/server"], Env: ["PATH=/usr/bin:/bin"], ...config },
    behaviour,
  };
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function get(url: string): Promise<[number, string] | string> {
  using client = Deno.createHttpClient({ caCerts: [certificate] });
  try {
    const response = await fetch(url, { client });
    return [response.status, await response.text()];
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";

test("an engine that is down is said to be, by every command in its own way", async () => {
  await using engine = new Engine();
  assertEquals(await engine.ok("version --format {{.Server.Version}}"), "26.1.5+dfsg1");
  assertEquals(await engine.ok("info --format {{.DockerRootDir}}"), engine.state);
  engine.knobs({ down: true });
  for (
    const command of ["ps", "images", "stop x", "rm x", "logs x", "exec x true", "load", "pull -q x", "volume rm v"]
  ) {
    await engine.fails(command.split(" "), 1, down);
  }
  await engine.fails(["version", "--format", "{{.Server.Version}}"], 1, down, "");
  await engine.fails(["container", "inspect", "x"], 1, down, "[]");
  await engine.fails(["create", "x"], 1, down);
  await engine.fails(["run", "x"], 125, `docker: ${down}.\nSee 'docker run --help'.`);
  await engine.fails(["start", "x"], 1, `${down}\nError: failed to start containers: x`);
  // Docker's own oddity: with a format it is no failure.
  await engine.fails(["info", "--format", "{{.DockerRootDir}}"], 0, down);
});

test("images are pulled by tag and by digest, and found by name, id and beginning of an id", async () => {
  await using engine = new Engine();
  const lines = (await engine.ok("pull portainer/portainer-ce:2.33.1")).replace(/[0-9a-f]{12,}/g, "#").split("\n");
  assertEquals(lines, [
    "2.33.1: Pulling from portainer/portainer-ce",
    "#: Pulling fs layer",
    "#: Verifying Checksum",
    "#: Download complete",
    "#: Pull complete",
    "Digest: sha256:#",
    "Status: Downloaded newer image for portainer/portainer-ce:2.33.1",
    "docker.io/portainer/portainer-ce:2.33.1",
  ]);
  assertStringIncludes(
    await engine.ok("pull portainer/portainer-ce:2.33.1"),
    "Status: Image is up to date for portainer/portainer-ce:2.33.1",
  );
  assertEquals(await engine.ok("pull -q busybox"), "docker.io/library/busybox:latest");
  const [id = "", digest = ""] =
    (await engine.ok("image inspect portainer/portainer-ce:2.33.1 --format", "{{.Id}} {{json .RepoDigests}}"))
      .split(" ");
  const byDigest = JSON.parse(digest)[0] as string;
  for (
    const name of [
      id,
      id.slice("sha256:".length),
      id.slice("sha256:".length, 19),
      byDigest,
      "docker.io/portainer/portainer-ce:2.33.1",
    ]
  ) {
    assertEquals(await engine.ok(`image inspect --format {{.Id}} ${name}`), id);
  }
  assertEquals(JSON.parse(await engine.ok(`image inspect ${id} --format`, "{{json .Config.ExposedPorts}}")), {
    "8000/tcp": {},
    "9000/tcp": {},
    "9443/tcp": {},
  });
  await engine.ok("image rm portainer/portainer-ce:2.33.1");
  assertEquals(await engine.ok(`pull -q ${byDigest}`), `docker.io/${byDigest}`);
  const rows = (await engine.ok("images --no-trunc --format", "{{json .}}")).split("\n").map((row) => JSON.parse(row));
  assertEquals(rows.map(({ Repository, Tag, ID }) => [Repository, Tag, ID.slice(0, 7)]), [
    ["portainer/portainer-ce", "<none>", "sha256:"],
    ["busybox", "latest", "sha256:"],
  ]);
  assertEquals(
    await engine.ok("images -q busybox"),
    (await engine.ok("image inspect busybox --format {{.Id}}")).slice(7, 19),
  );
});

test("what cannot be pulled fails in the registry's words", async () => {
  await using engine = new Engine();
  const from = "Error response from daemon: ";
  const denied = (name: string) =>
    `${from}pull access denied for ${name}, repository does not exist or may require 'docker login': denied: requested access to the resource is denied`;
  await engine.fails(
    ["pull", "-q", "busybox:0"],
    1,
    `${from}manifest for busybox:0 not found: manifest unknown: manifest unknown`,
  );
  await engine.fails(["pull", "nobody/nothing"], 1, denied("nobody/nothing"), "Using default tag: latest");
  await engine.fails(
    ["pull", "-q", "reg.test/a:1"],
    1,
    `${from}Get "https://reg.test/v2/": dial tcp: lookup reg.test: no such host`,
  );
  await engine.fails(
    ["pull", "Busybox"],
    1,
    "invalid reference format: repository name (library/Busybox) must be lowercase",
  );
  engine.knobs({ noSpace: true });
  const full = await engine.run(["pull", "busybox"]);
  assertEquals([full.code, full.err], [
    1,
    "failed to register layer: write /usr/lib/x86_64-linux-gnu/libc.so.6: no space left on device\n",
  ]);
  engine.knobs({ pull: { error: "network", times: 1 } });
  await engine.fails(
    ["create", "busybox"],
    1,
    `Unable to find image 'busybox:latest' locally\n${from}Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host`,
  );
  await engine.ok("create busybox");

  engine.registry({ "own/secret:1": { ...image({}), private: true } }, { "docker.io": { me: "pass:word" } });
  await engine.fails(["pull", "-q", "own/secret:1"], 1, denied("own/secret"));
  const wrong = await engine.run(["login", "--username", "me", "--password-stdin"], "wrong");
  assertEquals([wrong.code, wrong.err], [
    1,
    `${from}Get "https://registry-1.docker.io/v2/": unauthorized: incorrect username or password\n`,
  ]);
  assertEquals(
    (await engine.run(["login", "--username", "me", "--password-stdin"], "pass:word\n")).out,
    "Login Succeeded\n",
  );
  await engine.ok("pull -q own/secret:1");
  await engine.ok("logout");
  await engine.fails(["pull", "-q", "own/secret:1"], 1, denied("own/secret"));
});

test("an archive carries its image: the configuration's hash is the id that the image has after loading", async () => {
  await using engine = new Engine();
  // Not before: this module needs a permission to be imported.
  const { imageArchive } = await import("./images.ts");
  const { archive, id } = await imageArchive(image({ executes: true }), ["local/server:1"]);
  const file = `${engine.state}/image.tar`;
  Deno.writeFileSync(file, archive);
  const tar = (...args: string[]) => new Deno.Command("tar", { args, cwd: engine.state }).outputSync().stdout;
  const manifest = JSON.parse(new TextDecoder().decode(tar("xOf", file, "manifest.json")));
  assertEquals(manifest[0].Config, `blobs/sha256/${id.slice(7)}`);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", tar("xOf", file, manifest[0].Config)));
  assertEquals(`sha256:${Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("")}`, id);

  assertEquals(await engine.ok(`load -i ${file}`), "Loaded image: local/server:1");
  assertEquals(await engine.ok("image inspect local/server:1 --format {{.Id}}"), id);
  await engine.ok(`save -o ${engine.state}/again.tar local/server:1`);
  await engine.ok("rmi local/server:1");
  const again = Deno.readFileSync(`${engine.state}/again.tar`);
  assertEquals(again, archive);
  assertEquals((await engine.run(["load"], again)).out, "Loaded image: local/server:1\n");
  await engine.ok("save -o", `${engine.state}/untagged.tar`, id);
  assertEquals(await engine.ok(`load -q -i ${engine.state}/untagged.tar`), `Loaded image ID: ${id}`);
  Deno.writeFileSync(file, archive.subarray(0, 700));
  await engine.fails(["load", "-i", file], 1, "unexpected EOF");
  await engine.fails(["load", "-i", "/nowhere"], 1, "open /nowhere: no such file or directory");
  await engine.fails(
    ["save", "-o", "/nowhere/x", "local/server:1"],
    1,
    `failed to save image: invalid output path: directory "/nowhere" does not exist`,
  );
});

test("wrong options are refused as Docker refuses them, and unknown ones as the stand-in's limit", async () => {
  await using engine = new Engine();
  await engine.ok("pull -q busybox");
  const client = (text: string) => `docker: ${text}.\nSee 'docker create --help'.`;
  const flag = (text: string) => `${text}\nSee 'docker create --help'.`;
  const from = "Error response from daemon: ";
  const cases: [args: string[], code: number, err: string][] = [
    [["-p", "abc:80"], 125, client("Invalid hostPort: abc")],
    [["-p", "80:abc"], 125, client("Invalid containerPort: abc")],
    [["-p", "80:80/bogus"], 125, client("Invalid proto: bogus")],
    [["-p", "256.1.1.1:80:80"], 125, client("Invalid ip address: 256.1.1.1")],
    [["-p", "1-3:1-3"], 64, "docker stand-in: not supported: a range of ports: 1-3:1-3"],
    [["-e", "=x"], 125, flag('invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x')],
    [["--env-file", "/nope"], 125, client("open /nope: no such file or directory")],
    [
      ["--restart", "on-failure:x"],
      125,
      client("invalid restart policy format: maximum retry count must be an integer"),
    ],
    [
      ["--restart", "always:3"],
      1,
      `${from}invalid restart policy: maximum retry count can only be used with 'on-failure'`,
    ],
    [
      ["--gpus", "bogus=1"],
      125,
      flag(`invalid argument "bogus=1" for "--gpus" flag: unexpected key 'bogus' in 'bogus=1'`),
    ],
    [["--runtime", "nvidia"], 1, `${from}unknown or invalid runtime name: nvidia`],
    [["--network-alias", "a"], 125, client("network-scoped aliases are only supported for user-defined networks")],
    [
      ["--health-interval", "1"],
      125,
      flag('invalid argument "1" for "--health-interval" flag: time: missing unit in duration "1"'),
    ],
    [["--health-cmd", "x", "--no-healthcheck"], 125, client("--no-healthcheck conflicts with --health-* options")],
    [["--ipc", "bogus"], 1, `${from}invalid IPC mode: bogus`],
    [["--memory", "1x"], 125, flag(`invalid argument "1x" for "-m, --memory" flag: invalid size: '1x'`)],
    [["--pull", "bogus"], 125, client(`invalid pull option: 'bogus': must be one of "always", "missing" or "never"`)],
    [
      ["-v", "rel:x"],
      1,
      `${from}invalid volume specification: 'rel:x': invalid mount config for type "volume": invalid mount path: 'x' mount path must be absolute`,
    ],
    [["-v", "/tmp:/x", "-v", "/tmp:/x"], 1, `${from}Duplicate mount point: /x`],
    [
      ["--mount", "type=bind,source=/tmp"],
      125,
      flag('invalid argument "type=bind,source=/tmp" for "--mount" flag: target is required'),
    ],
    [
      ["--mount", "type=bind,source=/nowhere,target=/x"],
      1,
      `${from}invalid mount config for type "bind": bind source path does not exist: /nowhere`,
    ],
    [["--name", "x"], 1, `${from}Invalid container name (x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`],
    [["--cgroup-parent", "x"], 64, "docker stand-in: not supported: docker create --cgroup-parent"],
  ];
  await Promise.all(cases.map(([args, code, err]) => engine.fails(["create", ...args, "busybox"], code, err)));
  assertEquals(await engine.ok("ps -aq"), "");
  const usage =
    "\nSee 'docker stop --help'.\n\nUsage:  docker stop [OPTIONS] CONTAINER [CONTAINER...]\n\nStop one or more running containers";
  await engine.fails(["stop"], 1, `"docker stop" requires at least 1 argument.${usage}`);
  await engine.fails(
    ["run", "--rm", "--restart", "always", "x"],
    125,
    "docker: Conflicting options: --restart and --rm.\nSee 'docker run --help'.",
  );
  await engine.fails(["bogus"], 1, "docker: 'bogus' is not a docker command.\nSee 'docker --help'");
  await engine.fails(["compose", "up"], 64, "docker stand-in: not supported: docker compose");
  await engine.fails(
    ["image", "inspect", "busybox", "--format", "{{range .RepoTags}}x{{end}}"],
    64,
    "docker stand-in: not supported: --format with {{range .RepoTags}}",
  );
});

test("inspect shows what a container was made with", async () => {
  await using engine = new Engine();
  engine.knobs({ nvidia: true });
  engine.registry({
    "own/server:1": image({}, {
      Env: ["PATH=/bin", "A=image"],
      Labels: { from: "image" },
      Volumes: { "/data": {} },
      ExposedPorts: { "70/tcp": {} },
    }),
  });
  await engine.ok("network create net");
  const { err, code } = await engine.run(
    [
      ..."create --name made -p 80:81 -p 127.0.0.1:82:83/udp -p 84 -v named:/data --mount type=bind,source=/tmp,target=/tmp2,readonly"
        .split(" "),
      ..."-e A=own -e TOKEN --env-file /dev/stdin -l one=1 --restart=on-failure:3 --network net --network-alias alias --ipc host"
        .split(" "),
      ..."--runtime nvidia --shm-size 1g --user 1:2 --workdir /w --hostname host --init --privileged --cap-add sys_admin"
        .split(" "),
      ..."--device /dev/null --ulimit memlock=-1 --memory 1g --cpus 0.5 --add-host a:1.2.3.4 --stop-timeout 3 --log-opt max-size=1m"
        .split(" "),
      "--gpus",
      '"device=0,1"',
      "--health-cmd=true",
      "--health-interval=5s",
      "own/server:1",
      "serve",
      "two words",
    ],
    "SECRET=from stdin\n",
    { TOKEN: "token" },
  );
  assertEquals(code, 0, err);
  const volumes = Array.from({ length: 12 }, (_, n) => `v${n}:/v${n}`);
  await engine.ok(`create --name many ${volumes.map((volume) => `-v ${volume}`).join(" ")} own/server:1`);
  const binds = await engine.of("many", ".HostConfig.Binds") as string[];
  assertEquals(binds.toSorted(), volumes.toSorted());
  assert(binds.join() !== volumes.join(), "in no order at all");
  const of = async (path: string) => await engine.of("made", path);
  assertEquals(await of(".Config.Env"), ["SECRET=from stdin", "A=own", "TOKEN=token", "PATH=/bin"]);
  assertEquals(await of(".Config.Labels"), { from: "image", one: "1" });
  assertEquals(await of(".Config.Cmd"), ["serve", "two words"]);
  assertEquals(await of(".Config.ExposedPorts"), { "70/tcp": {}, "81/tcp": {}, "83/udp": {}, "84/tcp": {} });
  assertEquals(await of(".Config.Healthcheck"), { Test: ["CMD-SHELL", "true"], Interval: 5e9 });
  const { HostConfig: host, NetworkSettings: network, Mounts, Config, State } = (await of(".")) as Record<
    string,
    Record<string, unknown>
  >;
  assertEquals(host?.["PortBindings"], {
    "81/tcp": [{ HostIp: "", HostPort: "80" }],
    "83/udp": [{ HostIp: "127.0.0.1", HostPort: "82" }],
    "84/tcp": [{ HostIp: "", HostPort: "" }],
  });
  const wanted = {
    Binds: ["named:/data"],
    RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 },
    NetworkMode: "net",
    IpcMode: "host",
    Runtime: "nvidia",
    ShmSize: 1024 ** 3,
    Init: true,
    Privileged: true,
    CapAdd: ["SYS_ADMIN"],
    Devices: [{ PathOnHost: "/dev/null", PathInContainer: "/dev/null", CgroupPermissions: "rwm" }],
    DeviceRequests: [{ Driver: "", Count: 0, DeviceIDs: ["0", "1"], Capabilities: [["gpu"]], Options: {} }],
    Ulimits: [{ Name: "memlock", Hard: -1, Soft: -1 }],
    Memory: 1024 ** 3,
    NanoCpus: 5e8,
    ExtraHosts: ["a:1.2.3.4"],
    LogConfig: { Type: "json-file", Config: { "max-size": "1m" } },
    Mounts: [{ Type: "bind", Source: "/tmp", Target: "/tmp2", ReadOnly: true }],
  };
  assertEquals(Object.fromEntries(Object.keys(wanted).map((name) => [name, host?.[name]])), wanted);
  assertEquals(["User", "WorkingDir", "Hostname", "StopTimeout"].map((name) => Config?.[name]), [
    "1:2",
    "/w",
    "host",
    3,
  ]);
  assertEquals((network?.["Networks"] as Record<string, { Aliases: string[] }>)["net"]?.Aliases, ["alias"]);
  assertEquals([State?.["Status"], State?.["Running"], State?.["Pid"], State?.["StartedAt"]], [
    "created",
    false,
    0,
    "0001-01-01T00:00:00Z",
  ]);
  const volume = `${engine.state}/volumes/named/_data`;
  assertEquals(
    (Mounts as unknown as Record<string, unknown>[]).map((
      { Type, Name, Source, Destination, RW },
    ) => [Type, Name, Source, Destination, RW]),
    [
      ["volume", "named", volume, "/data", true],
      ["bind", undefined, "/tmp", "/tmp2", false],
    ],
  );
  assert(Deno.statSync(volume).isDirectory);
});

test("a bind makes its missing source, and volumes live until somebody removes them", async () => {
  await using engine = new Engine();
  await engine.ok(`create --name user -v ${engine.state}/made/deep:/x -v kept:/y -v /anonymous busybox`);
  assert(Deno.statSync(`${engine.state}/made/deep`).isDirectory);
  assertEquals((await engine.ok("volume ls -q")).split("\n").length, 2);
  await engine.fails(["volume", "rm", "kept"], 1, "Error response from daemon: remove kept: volume is in use - [ID]");
  await engine.ok("rm -v user");
  assertEquals(await engine.ok("volume ls -q"), "kept");
  assertEquals(await engine.ok("volume inspect kept --format {{.Mountpoint}}"), `${engine.state}/volumes/kept/_data`);
  assertEquals(await engine.ok("volume rm kept"), "kept");
  await engine.fails(["volume", "inspect", "kept"], 1, "Error response from daemon: get kept: no such volume", "[]");
  await engine.fails(
    ["network", "rm", "bridge"],
    1,
    "Error response from daemon: bridge is a pre-defined network and cannot be removed",
  );
});

test("a container's life: created, running, exited, renamed, removed", async () => {
  await using engine = new Engine();
  await engine.ok("pull -q portainer/agent:2.33.1");
  const id = await engine.ok("create --name agent portainer/agent:2.33.1");
  assertEquals(await engine.of("agent", ".State.Status"), "created");
  assertEquals(await engine.ok("start agent"), "agent");
  assertEquals([await engine.of("agent", ".State.Status"), await engine.of(id.slice(0, 8), ".Name")], [
    "running",
    "/agent",
  ]);
  await engine.fails(
    ["run", "-d", "--name", "agent", "portainer/agent:2.33.1"],
    125,
    `docker: Error response from daemon: Conflict. The container name "/agent" is already in use by container "ID". You have to remove (or rename) that container to be able to reuse that name.\nSee 'docker run --help'.`,
  );
  await engine.fails(
    ["rm", "agent"],
    1,
    `Error response from daemon: cannot remove container "/agent": container is running: stop the container before removing or force remove`,
  );
  assertEquals(await engine.ok("stop agent"), "agent");
  assertEquals([await engine.of("agent", ".State.Status"), await engine.of("agent", ".State.ExitCode")], ["exited", 2]);
  await engine.ok("rename agent agent-old");
  await engine.fails(
    ["start", "agent"],
    1,
    "Error response from daemon: No such container: agent\nError: failed to start containers: agent",
  );
  await engine.fails(
    ["rename", "agent", "x"],
    1,
    "Error response from daemon: No such container: agent\nError: failed to rename container named agent",
  );
  await engine.ok("restart agent-old");
  await engine.ok("kill agent-old");
  assertEquals(await engine.ok("wait agent-old"), "137");
  await engine.fails(
    ["kill", "agent-old"],
    1,
    "Error response from daemon: cannot kill container: agent-old: container ID is not running",
  );
  await engine.fails(["exec", "agent-old", "true"], 1, "Error response from daemon: container ID is not running");
  assertEquals(await engine.ok("rm agent-old"), "agent-old");
  await engine.fails(
    ["container", "inspect", "agent-old"],
    1,
    "Error response from daemon: No such container: agent-old",
    "[]",
  );
  await engine.fails(["inspect", "agent-old"], 1, "Error: No such object: agent-old", "[]");
  await engine.fails(["rm", "-f", "agent-old"], 0, "Error response from daemon: No such container: agent-old");
});

test("servers listen on the published port when they are ready; before, connections are dropped", async () => {
  await using engine = new Engine();
  const [tls, plain, late, model] = [freePort(), freePort(), freePort(), freePort()];
  engine.registry({
    "own/slow:1": image({
      http: [
        { port: 443, tls: true, after: 150, paths: { "/": { body: "hello" } } },
        {
          port: 80,
          paths: {
            "/soon": { body: "ok", first: { ms: 200, status: 503 } },
            "/never": { first: { ms: 1e9, status: 503, body: "loading" } },
          },
        },
        { port: 81, after: 1e9, paths: {} },
      ],
    }),
  });
  await engine.ok(`run -d --name slow -p ${tls}:443 -p 127.0.0.1:${plain}:80 -p ${late}:81 own/slow:1`);
  assertEquals(await get(`http://127.0.0.1:${plain}/never`), [503, "loading"]);
  assertEquals(await get(`http://127.0.0.1:${plain}/nothing`), [404, "404 page not found\n"]);
  assertEquals(await get(`http://127.0.0.1:${late}/`), "fetch failed");
  (await Deno.connect({ port: late })).close();
  await engine.until("the server listens", async () => typeof await get(`https://127.0.0.1:${tls}/`) !== "string");
  assertEquals(await get(`https://127.0.0.1:${tls}/`), [200, "hello"]);
  await engine.until("it has loaded", async () => (await get(`http://127.0.0.1:${plain}/soon`))[0] === 200);
  await engine.ok("stop slow");
  assertEquals(await get(`http://127.0.0.1:${plain}/soon`), "fetch failed");

  // vLLM needs a GPU, and lists the model that its command line names, in the host's network at the port that this says.
  const vllm = structuredClone(knownRegistry.images["vllm/vllm-openai:v0.10.1"] ?? null);
  for (const listener of vllm?.behaviour.http ?? []) listener.after = 50;
  engine.registry({ "vllm/vllm-openai:v0.10.1": vllm });
  await engine.ok("create --name no-gpu vllm/vllm-openai:v0.10.1 --model m");
  await engine.ok("start no-gpu");
  assertEquals(await engine.ok("wait no-gpu"), "1");
  assertStringIncludes((await engine.run(["logs", "no-gpu"])).err, "Failed to infer device type");
  await engine.ok("create --name gpu --gpus all vllm/vllm-openai:v0.10.1");
  const problem =
    `Error response from daemon: could not select device driver "" with capabilities: [[gpu]]\nError: failed to start containers: gpu`;
  await engine.fails(["start", "gpu"], 1, problem);
  engine.knobs({ nvidia: true });
  await engine.ok(
    `run -d --name vllm --runtime nvidia --gpus all --network host vllm/vllm-openai:v0.10.1 --model org/name --port ${model}`,
  );
  await engine.until("the API answers", async () => (await get(`http://127.0.0.1:${model}/health`))[0] === 200);
  assertEquals(JSON.parse((await get(`http://127.0.0.1:${model}/v1/models`))[1] ?? "").data[0].id, "org/name");
});

test("a port that is taken keeps a container from starting, and it stays created", async () => {
  await using engine = new Engine();
  const port = freePort();
  const endpoint = "driver failed programming external connectivity on endpoint";
  await engine.ok(`run -d --name first -p ${port}:80 portainer/agent:2.33.1`);
  const taken = `${endpoint} second (ID): Bind for 0.0.0.0:${port} failed: port is already allocated`;
  await engine.fails(
    ["run", "-d", "--name", "second", "-p", `${port}:90`, "portainer/agent:2.33.1"],
    125,
    `docker: Error response from daemon: ${taken}.`,
    "ID",
  );
  await engine.fails(
    ["start", "second"],
    1,
    `Error response from daemon: ${taken}\nError: failed to start containers: second`,
  );
  assertEquals([await engine.of("second", ".State.Status"), await engine.of("second", ".State.ExitCode")], [
    "created",
    128,
  ]);
  assertMatch(String(await engine.of("second", ".State.Error")), /port is already allocated$/);
  await engine.ok("rm -f first");
  {
    using _other = Deno.listen({ hostname: "0.0.0.0", port });
    const inUse =
      `${endpoint} second (ID): Error starting userland proxy: listen tcp4 0.0.0.0:${port}: bind: address already in use`;
    await engine.fails(
      ["start", "second"],
      1,
      `Error response from daemon: ${inUse}\nError: failed to start containers: second`,
    );
  }
  assertEquals(await engine.ok("start second"), "second");
  assertEquals(await engine.of("second", ".NetworkSettings.Ports"), {
    "9001/tcp": null,
    "90/tcp": [{ HostIp: "0.0.0.0", HostPort: String(port) }, { HostIp: "::", HostPort: String(port) }],
  });
});

// The engine does the work, not the client that asked for it.
test("a container whose client is ended while it starts comes up all the same", async () => {
  await using engine = new Engine();
  engine.registry({ "own/stays:1": image({}) });
  const id = await engine.ok("create --pull always --quiet --name app own/stays:1");
  const child = engine.start(["start", "app"]);
  const order = `${engine.state}/containers/${id.split("\n").at(-1)}/order.json`;
  await engine.until("it starts", () => Deno.stat(order).then(() => true, () => false));
  child.kill("SIGTERM");
  const { code } = await child.output();
  assertEquals([code, await engine.of("app", ".State.Status")], [143, "running"]);
});

// Whoever keeps the exit code of one start may come late.
test("a container that was restarted keeps nothing of the end before", async () => {
  await using engine = new Engine();
  engine.registry({ "own/stays:1": image({ stopCode: 4 }) });
  await engine.ok("run -d --name app own/stays:1");
  // Deno's permission to read does not cover /proc. What follows the name is the state and the parent.
  const process = async (pid: unknown) => {
    const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/stat`], stderr: "null" }).output();
    const text = new TextDecoder().decode(stdout);
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  };
  const keeper = Number((await process(await engine.of("app", ".State.Pid")))[1]);
  Deno.kill(keeper, "SIGSTOP");
  await engine.ok("restart app");
  Deno.kill(keeper, "SIGCONT");
  await engine.until("its keeper is done", async () => ["", "Z"].includes((await process(keeper))[0]!));
  assertEquals(await engine.of("app", ".State.Status"), "running");
  await engine.ok("kill app");
  assertEquals(await engine.of("app", ".State.ExitCode"), 137);
});

test("restart policies bring a container back after a crash, a kill from outside and a start of the engine, not after a stop", async () => {
  await using engine = new Engine();
  engine.registry({
    "own/crash:1": image({ logs: [{ line: "started" }], exits: { after: 10, code: 3 } }),
    "own/twice:1": image({ exits: { after: 10, code: 3, times: 2 } }),
    "own/stays:1": image({}),
  });
  const status = async (
    name: string,
  ) => [await engine.of(name, ".State.Status"), await engine.of(name, ".RestartCount")];
  await engine.ok("run -d --name failing --restart on-failure:2 own/crash:1");
  await engine.ok("run -d --name recovering --restart always own/twice:1");
  await engine.until("it has given up", async () => (await status("failing"))[0] === "exited");
  assertEquals([await status("failing"), await engine.of("failing", ".State.ExitCode")], [["exited", 2], 3]);
  assertEquals(await engine.ok("logs failing"), "started\nstarted\nstarted");
  await engine.until("it has recovered", async () => (await status("recovering")).join() === "running,2");

  Deno.kill(Number(await engine.of("recovering", ".State.Pid")), "SIGKILL");
  await engine.until("it is back", async () => (await status("recovering")).join() === "running,3");
  await engine.ok("stop recovering");
  await engine.ok("run -d --name untouched --restart unless-stopped own/stays:1");
  await engine.ok("run -d --name halted --restart unless-stopped own/stays:1");
  await engine.ok("run -d --name once own/stays:1");
  await engine.ok("stop halted");
  await engine.ok("engine-stop");
  await engine.fails(["ps"], 1, down);
  await engine.ok("engine-start");
  const names = ["recovering", "untouched", "halted", "once"];
  assertEquals(await Promise.all(names.map((name) => engine.of(name, ".State.Status"))), [
    "running",
    "running",
    "exited",
    "exited",
  ]);
});

test("after a boot the engine knows how its containers ended, and starts those whose policy says so", async () => {
  await using engine = new Engine();
  await engine.ok("pull -q portainer/agent:2.33.1");
  for (const name of ["cut", "shut"]) {
    await engine.ok(`run -d --name ${name}-always --restart always portainer/agent:2.33.1`);
    await engine.ok(`run -d --name ${name} portainer/agent:2.33.1`);
  }
  const parent = (pid: number) =>
    Number(
      new TextDecoder().decode(
        new Deno.Command("ps", { args: ["-o", "ppid=", "-p", String(pid)] }).outputSync().stdout,
      ),
    );
  const signals = { cut: "SIGKILL", "cut-always": "SIGKILL", shut: "SIGTERM", "shut-always": "SIGTERM" } as const;
  const pids: [number, Deno.Signal][] = [];
  for (const [name, signal] of Object.entries(signals)) {
    const pid = Number(await engine.of(name, ".State.Pid"));
    pids.push([parent(pid), signal], [pid, signal]);
  }
  for (const [pid, signal] of pids) Deno.kill(pid, signal);
  await engine.until("all have ended", () => Promise.resolve(pids.every(([pid]) => parent(pid) === 0)));
  Deno.removeSync(`${engine.state}/docker.sock`);
  await engine.fails(["ps"], 1, down);
  await engine.ok("engine-start");
  const state = async (name: string) => {
    return [await engine.of(name, ".State.Status"), await engine.of(name, ".State.ExitCode")];
  };
  assertEquals(await state("cut"), ["exited", 255]);
  assertEquals(await state("shut"), ["exited", 2]);
  assertEquals([await state("cut-always"), await state("shut-always")], [["running", 0], ["running", 0]]);
});

test("commands are executed: output, exit codes, log, exec, signals as a first process gets them", async () => {
  await using engine = new Engine();
  await engine.ok("pull -q busybox");
  const run = await engine.run(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7"]);
  assertEquals(run, { code: 7, out: "out\n", err: "err\n" });
  const missing = "OCI runtime create failed: runc create failed: unable to start container process";
  await engine.fails(
    ["run", "--rm", "busybox", "no-such-program"],
    127,
    `docker: Error response from daemon: failed to create task for container: failed to create shim task: ${missing}: exec: "no-such-program": executable file not found in $PATH: unknown.`,
  );
  assertEquals(await engine.ok("ps -aq"), "");

  await engine.ok("run -d --name lines busybox", "sh", "-c", "for i in 1 2 3; do echo $i; done; exec sleep 100");
  await engine.until("three lines are there", async () => await engine.ok("logs lines") === "1\n2\n3");
  assertEquals(await engine.ok("logs --tail 1 lines"), "3");
  assertMatch(await engine.ok("logs -n 1 -t lines"), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z 3$/);
  assertEquals(await engine.ok("logs --since 2100-01-01T00:00:00Z lines"), "");
  assertEquals(await engine.run(["exec", "-i", "-e", "A=b", "lines", "sh", "-c", "cat; echo $A; exit 4"], "stdin\n"), {
    code: 4,
    out: "stdin\nb\n",
    err: "",
  });
  // TERM does not reach a first process that has no handler for it, unless there is an init.
  await engine.ok("stop -t 0 lines");
  assertEquals(await engine.of("lines", ".State.ExitCode"), 137);
  await engine.ok("run -d --name init --init busybox sleep 100");
  await engine.ok("run -d --name handler busybox", "sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.02; done");
  await engine.until("the handler is set", async () => (await engine.run(["exec", "handler", "true"])).code === 0);
  assertEquals(await engine.ok("stop init handler"), "init\nhandler");
  assertEquals([await engine.of("init", ".State.ExitCode"), await engine.of("handler", ".State.ExitCode")], [143, 9]);
});

test("a health check goes from starting to healthy or unhealthy", async () => {
  await using engine = new Engine();
  engine.registry({
    "own/well:1": image({ health: { after: 100 } }),
    "own/ill:1": image({ health: { unhealthy: true, output: "refused" } }),
  });
  const check = "--health-cmd true --health-interval 50ms --health-retries 2";
  await engine.ok(`run -d --name well ${check} own/well:1`);
  await engine.ok(`run -d --name ill ${check} own/ill:1`);
  await engine.ok("run -d --name calm --health-cmd true --health-interval 1h own/well:1");
  await engine.ok("run -d --name none own/well:1");
  const health = (name: string) => engine.of(name, ".State.Health.Status");
  await engine.until(
    "well and ill",
    async () => await health("well") === "healthy" && await health("ill") === "unhealthy",
  );
  assertEquals(await health("calm"), "starting");
  const log = await engine.of("ill", ".State.Health.Log") as { ExitCode: number; Output: string }[];
  assertEquals([log[0]?.ExitCode, log[0]?.Output], [1, "refused"]);
  await engine.fails(
    ["inspect", "none", "--format", "{{.State.Health.Status}}"],
    1,
    `template parsing error: template: :1:8: executing "" at <.State.Health.Status>: map has no entry for key "Health"`,
  );
});

test("ps shows what runs, and its name filter matches parts of names", async () => {
  await using engine = new Engine();
  engine.registry({ "own/stays:1": image({}) });
  for (const name of ["app", "app-old", "other"]) await engine.ok(`create --name ${name} -l tier=${name} own/stays:1`);
  await engine.ok("start app-old");
  const names = async (...args: string[]) =>
    (await engine.ok("ps --format {{.Names}}", ...args)).split("\n").sort().join(" ");
  assertEquals(await names(), "app-old");
  assertEquals(await names("-a"), "app app-old other");
  assertEquals(await names("-a", "--filter", "name=app"), "app app-old");
  assertEquals(await names("-a", "--filter", "name=^/?app$"), "app");
  assertEquals(await names("-a", "--filter", "label=tier=other"), "other");
  assertEquals(await names("--filter", "status=created", "--filter", "name=app"), "app");
  const row = JSON.parse(await engine.ok("ps --no-trunc --format", "{{json .}}"));
  assertEquals([row.Names, row.State, row.Image, row.ID.length, row.Command], [
    "app-old",
    "running",
    "own/stays:1",
    64,
    '"/server"',
  ]);
  assertMatch(
    await engine.ok("ps"),
    /^CONTAINER ID {3}IMAGE {9}COMMAND {5}CREATED .* NAMES\n[0-9a-f]{12} {3}own\/stays:1 {3}"\/server" /,
  );
});

test("clients at the same time do not lose each other's changes, and one name is given once", async () => {
  await using engine = new Engine();
  engine.registry({ "own/stays:1": image({}) });
  await engine.ok("pull -q own/stays:1");
  const results = await Promise.all([
    ...[1, 2, 3, 4].map((number) => engine.run(["run", "-d", "--name", `own-${number}`, "own/stays:1"])),
    ...[1, 2, 3, 4].map(() => engine.run(["create", "--name", "same", "own/stays:1"])),
  ]);
  assertEquals(results.map(({ code }) => code).sort(), [0, 0, 0, 0, 0, 1, 1, 1]);
  assertEquals((await engine.ok("ps -a --format {{.Names}}")).split("\n").sort(), [
    "own-1",
    "own-2",
    "own-3",
    "own-4",
    "same",
  ]);
  assertEquals((await engine.ok("ps -q")).split("\n").length, 4);
});
