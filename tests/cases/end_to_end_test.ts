/**
 * The whole program on a whole host: what a user runs, and what is there afterwards.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { importArguments } from "../../bin/toolchain.ts";
import { testUnless } from "../support/permission.ts";
import { denoEnvironment, project, skipReason, testOnHost } from "../support/test_host.ts";
import { assertTranscript } from "../support/transcript.ts";
import * as setups from "./setups/end_to_end.ts";

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
    const run = await testHost.run(testHost.own, "--check");
    const { code, outcomes, stdout } = run;
    await assertTranscript("check_absent", run);
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
    const run = await testHost.run(testHost.own);
    const { code, outcomes, stdout, stderr } = run;
    // Whether the server answers at the first look is a matter of chance.
    await assertTranscript("first_run", run, [
      [/(answers 200(?: to the host)?: )(?:un)?changed/g, "$1(un)changed"],
      [/\d unchanged, \d changed in/g, "N unchanged, N changed in"],
    ]);
    assertEquals([code, stderr], [0, ""]);
    assertEquals([outcomes[titles[1]!], outcomes[titles[2]!]], ["changed", "changed"]);
    const last = /Specific setup for container 901 completed successfully\n$/;
    assertMatch(stdout, last);
    assertMatch(await Deno.readTextFile(testHost.host.logFile), last);
  });

  await t.step("the second run changes nothing, and takes two processes of pct", async () => {
    const run = await testHost.run(testHost.own);
    await assertTranscript("second_run", run);
    assertEquals(run.code, 0);
    assertEquals(run.outcomes, Object.fromEntries(titles.map((title) => [title, "unchanged"])));
    assertEquals(run.pctCalls.length, 2);
  });

  await t.step("check mode, JSON lines, and only warnings and errors, of what is right already", async () => {
    const check = await testHost.runWith(testHost.own, ["901", "--check"]);
    await assertTranscript("check_converged", check);
    assertEquals(check.code, 0);
    await assertTranscript("json", await testHost.run(testHost.own, "--json"));
    await assertTranscript("quiet", await testHost.run(testHost.own, "--quiet"));
  });

  await t.step("a container that was stopped is started, one that differs is replaced with its data kept", async () => {
    await testHost.inside(
      "docker stop portainer; echo kept >$(docker volume inspect -f '{{.Mountpoint}}' portainer_data 2>/dev/null || docker volume inspect portainer_data | sed -n 's/.*\"Mountpoint\": \"\\(.*\\)\".*/\\1/p')/mark",
    );
    assertEquals((await testHost.run(testHost.own)).outcomes["container portainer"], "changed");
    await testHost.inside(
      "docker rm -f portainer; docker create --name portainer -p 9443:9443 -v portainer_data:/data portainer/portainer-ce:2.33.1; docker start portainer",
    );
    const { code, stdout } = await testHost.run(testHost.own);
    assertEquals(code, 0);
    assertStringIncludes(stdout, "ports: 9443:9443 -> 9001:9001, 9443:9443");
    assertStringIncludes(stdout, "restart: no -> always");
    assertEquals(await testHost.inside("cat /var/lib/docker/volumes/portainer_data/_data/mark"), "kept");
    assertEquals(await testHost.inside("docker ps -a --format '{{.Names}}'"), "portainer");
    assertEquals((await testHost.run(testHost.own)).outcomes["container portainer"], "unchanged");
  });
});

testOnHost("what is answered without a container", async (testHost, t) => {
  const cases: [transcript: string, ...args: string[]][] = [
    ["help", "--help"],
    ["version", "--version"],
    ["usage_error", "--chek", "901", "902"],
    ["not_a_number", "portainer"],
    ["another_number", "902"],
  ];
  for (const [transcript, ...args] of cases) {
    await t.step(args.join(" "), async () => {
      const run = await testHost.runWith(testHost.own, args);
      await assertTranscript(transcript, run);
      assertEquals(run.pctCalls, []);
    });
  }
});

testOnHost("what is refused before anything is touched", async (testHost, t) => {
  await t.step("a container that is stopped: exit code 3", async () => {
    await testHost.pct("stop", "901");
    const run = await testHost.run(testHost.own);
    await assertTranscript("container_stopped", run);
    assertEquals(run.code, 3);
    assertStringIncludes(run.stderr, "Container 901 is stopped");
    await testHost.pct("start", "901");
  });

  await t.step("a container of another name: exit code 3", async () => {
    await testHost.inside("hostname mailserver");
    const run = await testHost.run(testHost.own);
    await assertTranscript("wrong_name", run);
    assertEquals(run.code, 3);
    assertStringIncludes(run.stderr, 'its host name is "mailserver"');
    await testHost.inside("hostname Portainer");
  });

  await t.step("a wrong configuration: exit code 2, with file, path, expected and found", async () => {
    const file = `${testHost.host.etc}/phoenix_hypervisor_config.json`;
    const right = await Deno.readTextFile(file);
    await Deno.writeTextFile(file, right.replace(/("portainer_server_port":) *\d+/, '$1 "9443"'));
    const run = await testHost.run(testHost.own);
    await assertTranscript("wrong_configuration", run);
    assertEquals(run.code, 2);
    assertStringIncludes(run.stderr, `"/usr/local/phoenix_hypervisor/etc/phoenix_hypervisor_config.json"`);
    assertStringIncludes(
      run.stderr,
      `"$.network.portainer_server_port" has to be an integer from 1 to 65535, found "9443"`,
    );
    await Deno.writeTextFile(file, right);
  });

  await t.step("a container that does not exist: exit code 1 and pct's words", async () => {
    await testHost.pct("stop", "901");
    await Deno.remove(testHost.host.conf(901));
    const run = await testHost.run(testHost.own);
    await assertTranscript("container_missing", run);
    assertEquals(run.code, 1);
    assertStringIncludes(run.stderr, "Configuration file 'nodes/pve/lxc/901.conf' does not exist");
  });
});

// Under cron and systemd there is no terminal, no locale, hardly an environment.
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
    const { code, stdout } = await testHost.host.run(testHost.own, ["901"], {
      clearEnv: true,
      env: { PATH: `${bin}:/usr/bin:/bin`, LC_ALL: "C", BASH_ENV: "/dev/null", IFS: "x", ...denoEnvironment() },
      cwd: "/tmp",
    });
    assertEquals(code, 0, stdout);
    assertMatch(stdout, /completed successfully\n$/);
  },
);

// A file appears whole or not at all, and is verified; a guard tells whether its command is needed.
testOnHost("files and commands inside the container", async (testHost, t) => {
  const setup = await testHost.setup(setups.fileAndCommands);

  await t.step("are made", async () => {
    const { code, outcomes } = await testHost.run(setup);
    assertEquals([code, ...Object.values(outcomes)], [0, "changed", "changed", "changed", "changed"]);
    assertEquals(
      await testHost.inside("cat /opt/deep/er/app.conf; stat -c ' %a %U %G' /opt/deep/er/app.conf; ls -A /opt/deep/er"),
      `${setups.APP_CONF} 640 root daemon\napp.conf`,
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
    const { code, stdout } = await testHost.run(setup, "--check");
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
    const { code, stderr } = await testHost.run(testHost.setup(setups.brokenPromise));
    assertEquals(code, 4);
    assertStringIncludes(
      stderr,
      'Step "lie" failed: Applied without an error, but still different: /opt/never: present',
    );
  });

  await t.step("a command that fails ends the run, and all that is needed to mend it is said", async () => {
    const setup = await testHost.setup(setups.failing);
    const run = await testHost.run(setup);
    await assertTranscript("failing_step", run);
    assertEquals(run.code, 4);
    await assertTranscript("failing_step_json", await testHost.run(setup, "--json"));
    assertEquals(await testHost.inside("ls /opt/before /opt/after 2>/dev/null || true"), "/opt/before");
  });
});

// Replacement without a gap in safety: the old container is there again when the new one does not run.
testOnHost("a new container that does not run is undone", async (testHost) => {
  assertEquals((await testHost.run(testHost.setup(setups.web, "3.22"))).code, 0);
  const id = await testHost.inside("docker inspect --format '{{.Id}}' web");
  const { code, stderr } = await testHost.run(testHost.setup(setups.webThatEnds));
  assertEquals(code, 4, stderr);
  assertStringIncludes(stderr, 'Step "container web" failed');
  assertEquals(await testHost.inside("docker inspect --format '{{.Id}}' web"), id);
  assertEquals(await testHost.inside("docker ps --format '{{.Names}}'"), "web");
});

// A container has one run at a time, by a lock that dies with its holder; a signal ends the run after cleaning up.
testOnHost("two runs at once, signals and kills", async (testHost, t) => {
  const setup = await testHost.setup(setups.slow);
  const start = async () => {
    await testHost.inside("rm -f /tmp/pid");
    const child = await testHost.start(setup, "piped");
    await testHost.until("[ -s /tmp/pid ]");
    return child;
  };

  await t.step("the second one ends with exit code 6 and says who holds the container", async () => {
    const first = await start();
    const run = await testHost.run(setup);
    first.kill("SIGTERM");
    await first.output();
    await assertTranscript("held_by_another_run", run);
    assertEquals(run.code, 6);
    assertMatch(run.stderr, new RegExp(`another run holds it: process ${first.pid}, since \\d{4}-`));
  });

  for (const [signal, expected] of [["SIGTERM", 143], ["SIGINT", 130], ["SIGHUP", 129]] as const) {
    await t.step(`${signal} ends what runs inside, and exits with ${expected}`, async () => {
      const child = await start();
      child.kill(signal);
      const { code, stdout, stderr } = await child.output();
      assertEquals(code, expected, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
      await testHost.until("! kill -0 $(cat /tmp/pid) 2>/dev/null", 5_000);
    });
  }

  await t.step("SIGKILL frees the lock", async () => {
    const child = await start();
    child.kill("SIGKILL");
    await child.output();
    await testHost.inside("kill $(cat /tmp/pid)");
    assertEquals((await testHost.run(testHost.setup(setups.quick))).code, 0);
  });
});

// What the first line permits is all that a setup can do.
testOnHost("a setup that does what it did not declare is stopped with exit code 70", async (testHost) => {
  const run = await testHost.run(testHost.setup(setups.undeclaredAddress));
  await assertTranscript("permission_refused", run);
  assertEquals(run.code, 70);
  assertStringIncludes(run.stderr, 'Permission refused in step "http://10.0.0.98:80 answers 200 to the host"');
  assertStringIncludes(run.stderr, 'addresses: ["10.0.0.98:80"]');
});

// There is one way to end: no stack trace is printed, and the last line is.
testOnHost("a failing step that is not awaited ends the run with its code and the last line", async (testHost) => {
  const { code, stdout, stderr } = await testHost.run(testHost.setup(setups.notAwaited));
  assertEquals(code, 4, stderr);
  assertStringIncludes(stderr, 'Step "fails" failed');
  assertMatch(stderr, /Specific setup for container 901 failed in step "fails" with exit code 4\n$/);
  assert(!(stdout + stderr).includes("    at "));
});

testUnless(skipReason, "deno task setup with an unknown number says which setups there are", async () => {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: ["task", "setup", "777"], cwd: project })
    .output();
  const text = new TextDecoder().decode(stderr);
  assertEquals(code, 1);
  assertMatch(text, /There is no setup for "777". There are: 901/);
  assert(!text.includes("    at "));
});
