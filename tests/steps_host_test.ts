/**
 * Snapshots, host-level configuration, secrets and locked containers, on the simulated host.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { testOnHost, type Trial } from "./trial.ts";

async function snapshots(trial: Trial): Promise<string[]> {
  const { stdout } = await trial.host.run("/usr/sbin/pct", ["listsnapshot", String(trial.ctid)]);
  return [...stdout.matchAll(/`-> (\S+)/g)].map(([, name]) => name!).filter((name) => name !== "current");
}

async function status(trial: Trial): Promise<string> {
  return (await trial.host.run("/usr/sbin/pct", ["status", String(trial.ctid)])).stdout.trim();
}

// The fleet's templates: stop, snapshot, start, wait; taken once.
testOnHost("a snapshot is taken once, and the container runs again", async (trial, t) => {
  const setup = await trial.setup(`await ensure(snapshot("base-1", { description: "ready" }));`);

  await t.step("check mode takes none", async () => {
    await trial.host.run("/usr/sbin/pct", ["snapshot", "901", "base-1-old"]);
    assertEquals((await trial.run(setup, ["901", "--check"])).code, 10);
    assertEquals([await snapshots(trial), await status(trial)], [["base-1-old"], "status: running"]);
  });

  await t.step("a run takes it, the next one leaves it", async () => {
    assertEquals((await trial.run(setup)).code, 0);
    assertEquals([await snapshots(trial), await status(trial)], [["base-1-old", "base-1"], "status: running"]);
    const again = await trial.run(setup);
    assertEquals([again.code, again.outcomes["snapshot base-1"]], [0, "unchanged"]);
    const { stdout } = await trial.host.run("/usr/sbin/pct", ["listsnapshot", "901"]);
    assert(/base-1 .* ready$/m.test(stdout), stdout);
  });

  await t.step("a run that was killed in between is made good by the next one", async () => {
    await trial.host.setFault("latency", 0.5);
    const next = await trial.setup(`await ensure(snapshot("base-2"));`);
    const child = trial.host.command(Deno.execPath(), [...await trial.deno(next), "901"], {
      stdout: "null",
      stderr: "null",
    }).spawn();
    while (await status(trial) !== "status: stopped") await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill("SIGKILL");
    await child.status;
    await trial.host.setFault("latency", undefined);
    const { code, stdout, stderr } = await trial.run(next);
    assertEquals(code, 0, stdout + stderr);
    assertEquals([(await snapshots(trial)).at(-1), await status(trial)], ["base-2", "status: running"]);
  });

  await t.step("a lock that somebody else holds is waited for", async () => {
    const next = await trial.setup(`await ensure(snapshot("base-3"));`);
    const conf = await Deno.readTextFile(trial.host.conf(901));
    await Deno.writeTextFile(trial.host.conf(901), `lock: migrate\n${conf}`);
    setTimeout(() => Deno.writeTextFileSync(trial.host.conf(901), conf), 1_000);
    const { code } = await trial.run(next);
    assertEquals([code, await status(trial)], [0, "status: running"]);
  });
});

// Traps 17 and 18 of pct: a container that a backup froze or stopped is waited for, and the log says so.
testOnHost("a container that a backup has stopped is waited for", async (trial) => {
  const setup = await trial.setup(`await ensure(command("mark", sh\`touch /opt/mark\`, { creates: "/opt/mark" }));`);
  await trial.host.run("/usr/sbin/pct", ["stop", "901"]);
  const conf = await Deno.readTextFile(trial.host.conf(901));
  await Deno.writeTextFile(trial.host.conf(901), `lock: backup\n${conf}`);
  const running = trial.run(setup);
  const log = () => Deno.readTextFile(trial.host.logFile).catch(() => "");
  while (!(await log()).includes("Waiting for")) await new Promise((resolve) => setTimeout(resolve, 50));
  await Deno.writeTextFile(trial.host.conf(901), conf);
  await trial.host.run("/usr/sbin/pct", ["start", "901"]);
  const { code, stderr } = await running;
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, "Waiting for container 901, which is stopped and locked (backup)");
});

// Requirements, section 2: host-level configuration, all within what the setup declares.
testOnHost("a host file outside of what the setup declares is refused with exit code 70", async (trial) => {
  const { code, stdout } = await trial.run(
    await trial.setup(`await ensure(hostFile("/etc/motd.phoenix", { content: "x" }));`),
  );
  assertEquals(code, 70, stdout);
  assertStringIncludes(stdout, "declare it in the setup: { reads: [");
});

// Secrets: read from a host file, and nowhere in what a failing run emits.
testOnHost("a secret reaches its place, and nothing that is emitted", async (trial) => {
  const value = 'geheim "%&/\\n +xyz';
  await Deno.writeTextFile(`${trial.host.etc}/token.conf`, `TOKEN=${value}\n`, { mode: 0o600 });
  const setup = await trial.setup(`
    const token = await secret("API token", { file: "/usr/local/phoenix_hypervisor/etc/token.conf" });
    await ensure(file("/opt/token", { content: token }));
    await ensure(docker.container("web", { image: "alpine:3.22", command: ["sleep", "1000"], environment: { TOKEN: token } }));
    await ensure(command("leak", sh\`echo \${token}; printf %s \${token} | base64; cat /opt/token >&2; ps ax >&2; exit 3\`));`);
  const { code, stdout, stderr } = await trial.run(setup, ["901", "--verbose"]);
  assertEquals(code, 4, stderr);
  assertEquals(await trial.inside("cat /opt/token; stat -c %a /opt/token"), `${value}600`);
  assertStringIncludes(await trial.inside("docker inspect web"), JSON.stringify(`TOKEN=${value}`));
  const emitted = [
    stdout,
    stderr,
    await Deno.readTextFile(trial.host.logFile),
    await Deno.readTextFile(`${trial.host.stateDirectory}/pct.log`),
  ].join("\n");
  assertStringIncludes(emitted, "[secret: API token]");
  const bytes = new TextEncoder().encode(value);
  for (
    const form of [
      value,
      JSON.stringify(value).slice(1, -1),
      encodeURIComponent(value),
      bytes.toBase64().replace(/=+$/, ""),
    ]
  ) {
    assert(!emitted.includes(form), `${form} was emitted`);
  }
  const missing = await trial.run(
    await trial.setup(`await secret("API token", { file: "/usr/local/phoenix_hypervisor/etc/none.conf" });`),
  );
  assertEquals(missing.code, 2);
  assertStringIncludes(missing.stderr, '"/usr/local/phoenix_hypervisor/etc/none.conf" is not there');
});
