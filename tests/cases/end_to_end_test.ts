/**
 * The whole program on a whole host: what a user runs, and what is there afterwards.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { importArguments } from "../../bin/toolchain.ts";
import { project, skipReason, testOnHost } from "../support/test_host.ts";

testOnHost("901: first run, second run, check mode, and after somebody changed things", async (testHost, t) => {
  const titles = [
    "Docker engine answers",
    "image portainer/portainer-ce:2.33.1",
    "container portainer",
    "https://localhost:9443 answers 200",
    "https://10.0.0.99:9443 answers 200 to the host",
  ];

  await t.step("check mode before the first run tells what would change, and changes nothing", async () => {
    const before = await testHost.inside(
      "find / -xdev -newermt '-1 second' -type f 2>/dev/null | sort; docker ps -aq; docker images -q",
    );
    const { code, outcomes, stdout } = await testHost.run(undefined, ["--check", "901"]);
    assertEquals(code, 10);
    assertEquals(outcomes[titles[0]!], "unchanged");
    assertEquals(titles.slice(1).map((title) => outcomes[title]), [
      "would change",
      "would change",
      "skipped",
      "skipped",
    ]);
    assertStringIncludes(stdout, "container: running portainer/portainer-ce:2.33.1");
    assertEquals(
      await testHost.inside("docker ps -aq; docker images -q"),
      before.split("\n").filter((line) => !line.startsWith("/")).join("\n"),
    );
  });

  await t.step("the first run sets it up and says so last, also in the central log", async () => {
    const { code, outcomes, stdout, stderr } = await testHost.run();
    assertEquals([code, stderr], [0, ""]);
    assertEquals([outcomes[titles[1]!], outcomes[titles[2]!]], ["changed", "changed"]);
    const last = /Specific setup for container 901 completed successfully\n$/;
    assertMatch(stdout, last);
    assertMatch(await Deno.readTextFile(testHost.host.logFile), last);
  });

  await t.step("the second run changes nothing, and takes two processes of pct", async () => {
    const { code, outcomes, pctProcesses } = await testHost.run();
    assertEquals(code, 0);
    assertEquals(outcomes, Object.fromEntries(titles.map((title) => [title, "unchanged"])));
    assertEquals(pctProcesses, 2);
    assertEquals((await testHost.run(undefined, ["901", "--check"])).code, 0);
  });

  await t.step("a container that was stopped is started, one that differs is replaced with its data kept", async () => {
    await testHost.inside(
      "docker stop portainer; echo kept >$(docker volume inspect -f '{{.Mountpoint}}' portainer_data 2>/dev/null || docker volume inspect portainer_data | sed -n 's/.*\"Mountpoint\": \"\\(.*\\)\".*/\\1/p')/mark",
    );
    assertEquals((await testHost.run()).outcomes["container portainer"], "changed");
    await testHost.inside(
      "docker rm -f portainer; docker create --name portainer -p 9443:9443 -v portainer_data:/data portainer/portainer-ce:2.33.1; docker start portainer",
    );
    const { code, stdout } = await testHost.run();
    assertEquals(code, 0);
    assertStringIncludes(stdout, "ports: 9443:9443 -> 9001:9001, 9443:9443");
    assertStringIncludes(stdout, "restart: no -> always");
    assertEquals(await testHost.inside("cat /var/lib/docker/volumes/portainer_data/_data/mark"), "kept");
    assertEquals(await testHost.inside("docker ps -a --format '{{.Names}}'"), "portainer");
    assertEquals((await testHost.run()).outcomes["container portainer"], "unchanged");
  });
});

testOnHost("what is refused before anything is touched", async (testHost, t) => {
  await t.step("a container that is stopped: exit code 3", async () => {
    await testHost.host.run("/usr/sbin/pct", ["stop", "901"]);
    const { code, stderr } = await testHost.run();
    assertEquals(code, 3);
    assertStringIncludes(stderr, "Container 901 is stopped");
    await testHost.host.run("/usr/sbin/pct", ["start", "901"]);
  });

  await t.step("a container of another name: exit code 3", async () => {
    await testHost.inside("hostname mailserver");
    const { code, stderr } = await testHost.run();
    assertEquals(code, 3);
    assertStringIncludes(stderr, 'its host name is "mailserver"');
    await testHost.inside("hostname Portainer");
  });

  await t.step("a wrong configuration: exit code 2, with file, path, expected and found", async () => {
    const file = `${testHost.host.etc}/phoenix_hypervisor_config.json`;
    const right = await Deno.readTextFile(file);
    await Deno.writeTextFile(file, right.replace(/("portainer_server_port":) *\d+/, '$1 "9443"'));
    const { code, stderr } = await testHost.run();
    assertEquals(code, 2);
    assertStringIncludes(stderr, `"/usr/local/phoenix_hypervisor/etc/phoenix_hypervisor_config.json"`);
    assertStringIncludes(
      stderr,
      `"$.network.portainer_server_port" has to be an integer from 1 to 65535, found "9443"`,
    );
    await Deno.writeTextFile(file, right);
  });

  await t.step("a container that does not exist: exit code 1 and pct's words", async () => {
    await testHost.host.run("/usr/sbin/pct", ["stop", "901"]);
    await Deno.remove(testHost.host.conf(901));
    const { code, stderr } = await testHost.run();
    assertEquals(code, 1);
    assertStringIncludes(stderr, "Configuration file 'nodes/pve/lxc/901.conf' does not exist");
  });
});

// DESIGN 2 and phoenix.md: under cron and systemd there is no terminal, no locale, hardly an environment.
testOnHost(
  "the orchestrator's way of calling: bare environment, C locale, another directory, by its name",
  async (testHost) => {
    const bin = `${testHost.host.stateDirectory}/bin`;
    await Deno.mkdir(bin);
    // Imports may have to come from the local modules here; the first line of the setup says the rest.
    await Deno.writeTextFile(
      `${bin}/deno`,
      `#!/bin/sh\nshift\nexec ${Deno.execPath()} run --quiet ${(await importArguments()).join(" ")} "$@"\n`,
      { mode: 0o755 },
    );
    const cache = Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`;
    const { code, stdout } = await testHost.host.run(`${project}setups/901.ts`, ["901"], {
      clearEnv: true,
      env: { PATH: `${bin}:/usr/bin:/bin`, LC_ALL: "C", DENO_DIR: cache, BASH_ENV: "/dev/null", IFS: "x" },
      cwd: "/tmp",
    });
    assertEquals(code, 0, stdout);
    assertMatch(stdout, /completed successfully\n$/);
  },
);

// DESIGN 3: atomic, verified files; guards that tell the truth.
testOnHost("files and commands inside the container", async (testHost, t) => {
  const content = "läuft: 'quoted' \"$HOME\" `id`\nno newline at the end";
  const setup = await testHost.setup(`
    await ensure(file("/opt/deep/er/app.conf", { content: ${JSON.stringify(content)}, mode: 0o640, group: "daemon" }));
    await ensure(command("mark", sh\`touch /opt/mark\`, { creates: "/opt/mark" }));
    await ensure(command("greeting", sh\`echo hello >/opt/greeting\`, { unless: sh\`grep -q hello /opt/greeting\` }));
    await ensure(command("date", sh\`date\`));`);

  await t.step("are made", async () => {
    const { code, outcomes } = await testHost.run(setup);
    assertEquals([code, ...Object.values(outcomes)], [0, "changed", "changed", "changed", "changed"]);
    assertEquals(
      await testHost.inside("cat /opt/deep/er/app.conf; stat -c ' %a %U %G' /opt/deep/er/app.conf; ls -A /opt/deep/er"),
      `${content} 640 root daemon\napp.conf`,
    );
  });

  await t.step("are left alone when they are right; a command without a guard always runs", async () => {
    assertEquals(Object.values((await testHost.run(setup)).outcomes), [
      "unchanged",
      "unchanged",
      "unchanged",
      "changed",
    ]);
  });

  await t.step("check mode shows what would change", async () => {
    await testHost.inside(
      "sed -i 's/no newline/a newline/; 1a inserted' /opt/deep/er/app.conf; chmod 604 /opt/deep/er/app.conf",
    );
    const { code, stdout } = await testHost.run(setup, ["901", "--check"]);
    assertEquals(code, 10);
    for (
      const line of [
        "    - inserted",
        "    - a newline at the end",
        "    + no newline at the end",
        "    mode: 604 -> 640",
      ]
    ) {
      assertStringIncludes(stdout, line);
    }
    assertEquals(Object.values((await testHost.run(setup)).outcomes).slice(0, 3), [
      "changed",
      "unchanged",
      "unchanged",
    ]);
  });

  await t.step("a command whose guard still does not hold afterwards fails the run", async () => {
    const { code, stderr } = await testHost.run(
      await testHost.setup(`
      await ensure(command("lie", sh\`echo done\`, { creates: "/opt/never" }));`),
    );
    assertEquals(code, 4);
    assertStringIncludes(
      stderr,
      'Step "lie" failed: Applied without an error, but still different: /opt/never: present',
    );
  });
});

// Replacement without a gap in safety: the old container is there again when the new one does not run.
testOnHost("a new container that does not run is undone", async (testHost) => {
  // With an init, which hands on the signal to stop: `sleep` as a first process would be waited for, for 30 seconds.
  const setup = (image: string) =>
    testHost.setup(
      `await ensure(docker.container("web", { image: "${image}", init: true, command: ["sleep", "1000"] }));`,
    );
  assertEquals((await testHost.run(await setup("alpine:3.22"))).code, 0);
  const id = await testHost.inside("docker inspect --format '{{.Id}}' web");
  const { code, stderr } = await testHost.run(
    await testHost.setup(`
    await ensure(docker.container("web", { image: "alpine:3.22", command: ["false"] }));`),
  );
  assertEquals(code, 4, stderr);
  assertStringIncludes(stderr, 'Step "container web" failed');
  assertEquals(await testHost.inside("docker inspect --format '{{.Id}}' web"), id);
  assertEquals(await testHost.inside("docker ps --format '{{.Names}}'"), "web");
});

// DESIGN 6: one run per container, by a lock that dies with its holder; DESIGN 2: signals end the run after cleaning up.
testOnHost("two runs at once, signals and kills", async (testHost, t) => {
  const setup = await testHost.setup(`await ensure(command("slow", sh\`echo $$ >/tmp/pid; sleep 30\`));`);
  const start = async () => {
    await testHost.inside("rm -f /tmp/pid");
    const child = testHost.host.command(Deno.execPath(), [...await testHost.deno(setup), "901"], {
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    await testHost.inside("i=0; until [ -s /tmp/pid ] || [ $i = 100 ]; do sleep 0.1; i=$((i+1)); done");
    return child;
  };
  const gone = () =>
    testHost.inside(
      "i=0; while kill -0 $(cat /tmp/pid) 2>/dev/null && [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; kill -0 $(cat /tmp/pid) 2>/dev/null && echo alive || echo gone",
    );

  await t.step("the second one ends with exit code 6 and says who holds the container", async () => {
    const first = await start();
    const { code, stderr } = await testHost.run(setup);
    assertEquals(code, 6);
    assertMatch(stderr, new RegExp(`another run holds it: process ${first.pid}, since \\d{4}-`));
    first.kill("SIGTERM");
    await first.output();
  });

  for (const [signal, expected] of [["SIGTERM", 143], ["SIGINT", 130], ["SIGHUP", 129]] as const) {
    await t.step(`${signal} ends what runs inside, and exits with ${expected}`, async () => {
      const child = await start();
      child.kill(signal);
      const { code, stdout, stderr } = await child.output();
      assertEquals(code, expected, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
      assertEquals(await gone(), "gone");
    });
  }

  await t.step("SIGKILL frees the lock", async () => {
    const child = await start();
    child.kill("SIGKILL");
    await child.output();
    await testHost.inside("kill $(cat /tmp/pid)");
    const quick = await testHost.setup(`await ensure(command("quick", sh\`true\`));`);
    assertEquals((await testHost.run(quick)).code, 0);
  });
});

// DESIGN 6: what the first line permits is all that a setup can do.
testOnHost("a setup that does what it did not declare is stopped with exit code 70", async (testHost) => {
  const { code, stderr } = await testHost.run(
    await testHost.setup(`
    await ensure(http("http://10.0.0.98:80", { from: "host" }));`),
  );
  assertEquals(code, 70);
  assertStringIncludes(stderr, 'Permission refused in step "http://10.0.0.98:80 answers 200 to the host"');
  assertStringIncludes(stderr, 'addresses: ["10.0.0.98:80"]');
});

// DESIGN 2: exit_script is the only end: no stack trace, and the last line is there.
testOnHost("a failing step that is not awaited ends the run with its code and the last line", async (testHost) => {
  const { code, stdout, stderr } = await testHost.run(
    await testHost.setup(`
    ensure(command("fails", sh\`exit 3\`));
    await new Promise(() => {});`),
  );
  assertEquals(code, 4, stderr);
  assertStringIncludes(stderr, 'Step "fails" failed');
  assertMatch(stderr, /Specific setup for container 901 failed in step "fails" with exit code 4\n$/);
  assert(!(stdout + stderr).includes("    at "));
});

Deno.test({
  name: skipReason === undefined
    ? "deno task setup with an unknown number says which setups there are"
    : `deno task setup (${skipReason})`,
  ignore: skipReason !== undefined,
  async fn() {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: ["task", "setup", "777"], cwd: project })
      .output();
    const text = new TextDecoder().decode(stderr);
    assertEquals(code, 1);
    assertMatch(text, /There is no setup for "777". There are: 901/);
    assert(!text.includes("    at "));
  },
});
