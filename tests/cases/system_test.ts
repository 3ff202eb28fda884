/**
 * Packages, services and waits on a simulated host, from the three starting points: absent, already right, wrong.
 *
 * @module
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type TestHost, testOnHost, type TestRun } from "../support/test_host.ts";

/** Runs a setup with this body. */
async function run(testHost: TestHost, body: string, ...options: string[]): Promise<TestRun> {
  return await testHost.run(await testHost.setup(body), [...options, "901"]);
}

/** Runs a setup with this body in check mode, and sees to it that it changes nothing. */
async function check(testHost: TestHost, body: string): Promise<TestRun> {
  const setup = await testHost.setup(body);
  const stamp = `${testHost.host.stateDirectory}/stamp`;
  await Deno.writeTextFile(stamp, "");
  const result = await testHost.run(setup, ["--check", "901"]);
  assertEquals(await changedSince(testHost, stamp), "", "check mode writes nothing");
  return result;
}

/**
 * What was made, changed or removed inside since a file of the host was written. What the stand-ins keep for speed does not count, nor
 * the books of containerd, which tidies them up when it likes.
 */
async function changedSince(testHost: TestHost, stamp: string): Promise<string> {
  // Only the container's own layer: the machine's `/usr` below it is large, and nobody's to write. Of a folder, an overlay touches the
  // attributes as it is looked into.
  const { stdout, stderr } = await testHost.host.run("/bin/sh", [
    "-c",
    `cd "$0" && find . \\( -path ./var/cache/simulated -o -path ./var/lib/containerd \\) -prune -o -type d -newer "$1" -print -o ! -type d -cnewer "$1" -print`,
    testHost.host.rootfs(testHost.ctid),
    stamp,
  ]);
  return stdout + stderr;
}

const versions = (testHost: TestHost, ...names: string[]) =>
  testHost.inside(`dpkg-query -W -f '\${Package} \${Version} \${db:Status-Status}\\n' ${names.join(" ")} 2>&1 || :`);

testOnHost("packages: absent, right, of a wrong version, no longer wanted", async (testHost, t) => {
  const wanted = `await ensure(packages(["curl", "htop", "jq=1.6-2.1"]));`;
  const title = "packages curl, htop, jq=1.6-2.1";

  await t.step("absent: check mode says so, the run refreshes the lists and installs them", async () => {
    const predicted = await check(testHost, wanted);
    assertEquals([predicted.code, predicted.outcomes[title]], [10, "would change"]);
    assertStringIncludes(predicted.stdout, "package jq: 1.6-2.1\n");
    const { code, outcomes, stdout } = await run(testHost, wanted, "--verbose");
    assertEquals([code, outcomes[title]], [0, "changed"]);
    assertStringIncludes(stdout, "Setting up jq (1.6-2.1) ...");
    assertEquals(await testHost.inside("htop --version"), "htop 3.2.2-2");
  });

  await t.step("right: nothing is done, in two processes of pct", async () => {
    const { code, outcomes, pctProcesses } = await run(testHost, wanted);
    assertEquals([code, outcomes[title], pctProcesses], [0, "unchanged", 2]);
    assertEquals((await check(testHost, wanted)).code, 0);
  });

  await t.step("of another version: that is shown, and put right even when it takes a downgrade", async () => {
    await testHost.inside("DEBIAN_FRONTEND=noninteractive apt-get -q -y install jq=1.6-2.1+deb12u3");
    assertStringIncludes((await check(testHost, wanted)).stdout, "package jq: 1.6-2.1+deb12u3 -> 1.6-2.1\n");
    const { code, stdout } = await run(testHost, wanted, "--verbose");
    assertEquals(code, 0);
    assertStringIncludes(stdout, "DOWNGRADED");
    assertEquals(stdout.includes("refreshing the lists"), false, "they were fresh");
    assertEquals(await versions(testHost, "jq"), "jq 1.6-2.1 installed");
  });

  await t.step("no longer wanted: removed, unless something else needs it", async () => {
    // Debian 13 calls it by another name.
    const library = await testHost.inside("dpkg-query -W -f '${Package}\n' libcurl4 libcurl4t64 2>/dev/null || :");
    const before = await versions(testHost, "curl", library);
    assertMatch(before, RegExp(`^${library} \\S+ installed$`, "m"));
    const refused = await run(testHost, `await ensure(packages(["${library}"], { state: "absent" }));`);
    assertEquals(refused.code, 4);
    assertStringIncludes(refused.stderr, `Cannot remove "${library}" as "curl" would have to go, too`);
    assertEquals(await versions(testHost, "curl", library), before);
    const absent = `await ensure(packages(["htop"], { state: "absent" }));`;
    assertStringIncludes((await check(testHost, absent)).stdout, "package htop: 3.2.2-2 (to go)");
    assertEquals((await run(testHost, absent)).outcomes["package htop absent"], "changed");
    assertEquals((await run(testHost, absent)).outcomes["package htop absent"], "unchanged");
    assertEquals(await versions(testHost, "htop"), "dpkg-query: no packages found matching htop");
  });
});

testOnHost("packages: other people's apt, interrupted dpkg, failing sources, unknown names", async (testHost, t) => {
  const archive = (paragraph: string) =>
    testHost.inside(`mkdir -p /var/lib/apt && printf '\\n${paragraph}' >>/var/lib/apt/archive`);

  await t.step("a lock that somebody holds is waited for, and the log says who", async () => {
    // The real apt takes locks with fcntl, the stand-in with flock: this one has both.
    const lock = `use Fcntl qw(:DEFAULT :flock); open F, ">>", "/var/lib/dpkg/lock-frontend";
      my $all = pack "s s x4 q q i x4", F_WRLCK; fcntl F, F_SETLK, $all; flock F, LOCK_EX; sleep 60`;
    const hold = `perl -e '${lock}' </dev/null >/dev/null 2>&1 & echo $! >/tmp/holder`;
    await testHost.inside(
      `mkdir -p /var/lib/dpkg && { ${hold}; } && until ! flock -n /var/lib/dpkg/lock-frontend true; do :; done`,
    );
    const late = await run(testHost, `await ensure(packages(["less"], { within: "500ms" }));`);
    assertEquals(late.code, 5);
    assertMatch(late.stderr, /Waited 500 ms for another apt or dpkg in vain; it is process \d+/);
    const waiting = run(testHost, `await ensure(packages(["nano"]));`, "--verbose");
    for (let log = ""; !/waiting for another apt or dpkg: process \d+/.test(log);) {
      log = await Deno.readTextFile(testHost.host.logFile);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await testHost.inside("kill $(cat /tmp/holder)");
    assertEquals((await waiting).code, 0);
  });

  await t.step("an installation that was killed is finished by the next run", async () => {
    await archive("Package: slow\\nArchitecture: all\\nVersion: 1.0-1\\nX-Seconds: 30\\n");
    await testHost.inside(`apt-get -q update >/dev/null
      apt-get -q -y install slow </dev/null >/dev/null 2>&1 &
      i=0
      until dpkg-query -W -f '\${db:Status-Status}' slow 2>/dev/null | grep -q half-configured || [ $i = 100 ]; do sleep 0.1; i=$((i+1)); done
      kill -KILL $!`);
    assertEquals(await versions(testHost, "slow"), "slow 1.0-1 half-configured");
    await testHost.inside("sed -i /X-Seconds/d /var/lib/dpkg/status");
    const wanted = `await ensure(packages(["less", "slow"]));`;
    const predicted = await check(testHost, wanted);
    assertStringIncludes(predicted.stdout, "package slow: half-configured -> installed");
    const { code, stderr } = await run(testHost, wanted);
    assertEquals([code, stderr], [0, ""]);
    assertEquals((await run(testHost, wanted)).code, 0);
    assertEquals(await versions(testHost, "slow"), "slow 1.0-1 installed");
  });

  await t.step("a package that was killed while it was unpacked is installed again", async () => {
    await testHost.inside(
      "sed -i '/^Package: slow$/,/^$/s/^Status: .*/Status: install reinstreq half-installed/' /var/lib/dpkg/status",
    );
    await testHost.inside("sed -i /X-Seconds/d /var/lib/apt/archive /var/lib/apt/lists/*_Packages");
    const { code, outcomes } = await run(testHost, `await ensure(packages(["slow"]));`);
    assertEquals([code, outcomes["package slow"]], [0, "changed"]);
  });

  await t.step("unknown names and versions are told, and nothing that matches them is installed", async () => {
    const unknown = await run(testHost, `await ensure(packages(["htop", "h.op"]));`);
    assertEquals(unknown.code, 4);
    assertStringIncludes(unknown.stderr, 'apt knows no package "h.op"');
    const version = await run(testHost, `await ensure(packages(["jq=9"]));`);
    assertStringIncludes(version.stderr, 'apt knows no version "9" of "jq", but 1.6-2.1+deb12u3, 1.6-2.1');
    assertEquals(await versions(testHost, "htop"), "dpkg-query: no packages found matching htop");
  });

  await t.step("a package that cannot be configured, or that clashes with another, fails the step", async () => {
    await archive("Package: broken\\nArchitecture: all\\nVersion: 1.0-1\\nX-Exit-Code: 3\\n");
    await archive("Package: clash\\nArchitecture: all\\nVersion: 1.0-1\\nConflicts: nano\\n");
    const clash = await run(testHost, `await ensure(packages(["clash"]));`);
    assertEquals(clash.code, 4);
    assertStringIncludes(clash.stderr, "E: Packages need to be removed but remove is disabled.");
    const broken = await run(testHost, `await ensure(packages(["broken"]));`);
    assertEquals(broken.code, 4);
    assertStringIncludes(broken.stderr, 'apt could not install "broken"');
    assertStringIncludes(broken.stderr, "post-installation script subprocess returned error exit status 3");
    // It can be removed all the same.
    assertEquals((await run(testHost, `await ensure(packages(["broken"], { state: "absent" }));`)).code, 0);
  });

  await t.step("without a network, what the lists have and the archive does not give is apt's failure", async () => {
    await testHost.inside(
      `echo '{ "networkDown": true }' >/var/lib/apt/knobs.json; touch -d '2 days ago' /var/lib/apt/lists`,
    );
    const known = await run(testHost, `await ensure(packages(["tmux"]));`);
    assertEquals(known.code, 4);
    assertStringIncludes(known.stderr, "Temporary failure resolving 'mirror.example'");
    await testHost.inside("rm /var/lib/apt/lists/*_Packages");
    const unknown = await run(testHost, `await ensure(packages(["tmux"]));`);
    assertStringIncludes(unknown.stderr, 'apt could not refresh its lists, and does not know "tmux"');
    await testHost.inside("rm /var/lib/apt/knobs.json");
    assertEquals((await run(testHost, `await ensure(packages(["tmux"]));`)).code, 0);
  });
});

/** A service that listens on a port and says what its configuration is, made by a setup. */
const APP = `
const unit = \`[Unit]
Description=An application
[Service]
ExecStart=/opt/app/start
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=200ms
[Install]
WantedBy=multi-user.target
\`;
await ensure(file("/opt/app/start", { mode: 0o755, content: \`#!/bin/bash
trap 'echo "reloaded with $(cat /etc/app.conf)"' HUP
echo "started with $(cat /etc/app.conf)"
while :; do sleep 0.05 & wait $!; done
\` }));
await ensure(file("/etc/app.conf", { content: "one\\\\n" }));
await ensure(service("app", { unit, restartWith: ["/opt/app/start", "/etc/app.conf"] }));
await ensure(logLine("app", "started with one"));
`;
const SERVICE = "service app";
const LINE = 'a line with "started with one" in the journal of app.service';

testOnHost("a service: absent, right, wrong in every way", async (testHost, t) => {
  const show = (...properties: string[]) =>
    testHost.inside(`systemctl show -p ${properties.join()} --value app | paste -s`);

  await t.step("absent: check mode says what is missing, the run makes it so", async () => {
    const predicted = await check(testHost, APP);
    assertEquals([predicted.code, predicted.outcomes[SERVICE], predicted.outcomes[LINE]], [
      10,
      "would change",
      "skipped",
    ]);
    for (
      const line of ["unit: 200 bytes, mode 644", "at boot: not started -> started", "state: not-found -> running"]
    ) {
      assertStringIncludes(predicted.stdout.replace(/unit: \d+/, "unit: 200"), line);
    }
    const { code, outcomes, stderr } = await run(testHost, APP);
    assertEquals([code, outcomes[SERVICE], stderr], [0, "changed", ""]);
    assertEquals(await show("ActiveState", "UnitFileState", "NeedDaemonReload"), "active\tenabled\tno");
  });

  await t.step("right: nothing is done, in two processes of pct", async () => {
    const { code, outcomes, pctProcesses } = await run(testHost, APP);
    assertEquals([code, ...new Set(Object.values(outcomes)), pctProcesses], [0, "unchanged", 2]);
    assertEquals((await check(testHost, APP)).code, 0);
  });

  // Each group is mended by one run: a service that was started has to live on for a while, which is waited for.
  const wrong: [damage: string, difference: string][][] = [[
    ["systemctl stop app; systemctl disable app 2>/dev/null", "at boot: not started -> started"],
  ], [
    ["rm /etc/app.conf", "restart: /etc/app.conf has changed since its last start"],
    ["echo two >/etc/app.conf", "- two"],
    // By hand: that is not known to have read what is there now.
    ["systemctl restart app", "restart: /etc/app.conf has changed since its last start"],
    ["sed -i s/application/accident/ /etc/systemd/system/app.service", "- Description=An accident"],
    ["rm -r /var/lib/phoenix_setup/services", "restart: /opt/app/start has changed since its last start"],
  ]];
  for (const group of wrong) {
    await t.step(`${group.map(([damage]) => damage).join("; ")}: check mode predicts what the run mends`, async () => {
      let predicted: TestRun | undefined;
      for (const [damage, difference] of group) {
        await testHost.inside(damage);
        predicted = await check(testHost, APP);
        assertEquals(predicted.code, 10);
        assertStringIncludes(predicted.stdout, difference);
      }
      const { code, outcomes } = await run(testHost, APP);
      assertEquals(code, 0);
      const told = (outcomes: TestRun["outcomes"]) =>
        Object.entries(outcomes).filter(([, outcome]) => ["changed", "would change"].includes(outcome)).map(([n]) => n);
      assertEquals(told(outcomes).filter((title) => title !== LINE), told(predicted!.outcomes));
      assertEquals(await show("ActiveState", "UnitFileState", "NeedDaemonReload"), "active\tenabled\tno");
      assertEquals((await check(testHost, APP)).code, 0);
    });
  }

  await t.step("it comes up with the container, and needs no restart then", async () => {
    await testHost.restart("shutdown");
    const { code, outcomes } = await run(testHost, APP);
    assertEquals([code, outcomes[SERVICE]], [0, "unchanged"]);
  });

  await t.step("one that reloads is reloaded, and keeps its process", async () => {
    const reloading = APP.replace("{ unit, ", "{ unit, reload: true, ");
    assertEquals((await run(testHost, reloading)).code, 0);
    const before = await show("MainPID");
    const changed = reloading.replaceAll("one\\\\n", "two\\\\n");
    assertEquals(
      (await run(testHost, changed.replace("started with one", "reloaded with two"))).outcomes[SERVICE],
      "changed",
    );
    assertEquals(await show("MainPID"), before);
  });

  await t.step("no longer wanted: stopped, and not started with the container", async () => {
    const gone = `await ensure(service("app", { running: false, enabled: false }));`;
    assertStringIncludes((await check(testHost, gone)).stdout, "state: active -> not running");
    assertEquals((await run(testHost, gone)).outcomes[SERVICE], "changed");
    assertEquals(await show("ActiveState", "UnitFileState"), "inactive\tdisabled");
    assertEquals((await run(testHost, gone)).outcomes[SERVICE], "unchanged");
  });
});

// Exit code 0 of systemctl is no evidence: it says that the process was started, not that it lives.
testOnHost("a service that does not live on fails the step, with its journal", async (testHost, t) => {
  const unit = (...lines: string[]) =>
    `await ensure(service("app", { unit: ${
      JSON.stringify(["[Service]", ...lines, "[Install]", "WantedBy=multi-user.target", ""].join("\n"))
    } }));`;
  const cases: [string, string, string][] = [
    [
      "one that fails",
      unit("ExecStart=/bin/sh -c 'echo cannot bind; exit 3'"),
      'The service "app" failed: exit code 3',
    ],
    [
      "one in a loop of crashes",
      unit("ExecStart=/bin/sh -c 'echo cannot bind; sleep 0.5; exit 3'", "Restart=always"),
      'The service "app" crashes again and again',
    ],
    ["one without a program", unit("ExecStart=/opt/none"), 'The service "app" failed: exit code 203'],
    ["one that ends", unit("ExecStart=/bin/sh -c 'echo cannot bind'"), 'The service "app" has ended'],
    [
      "one whose preparation fails",
      unit("ExecStartPre=/bin/sh -c 'echo cannot bind; exit 1'", "ExecStart=/bin/sleep 9"),
      'The service "app" did not start: exit-code',
    ],
  ];
  for (const [name, body, message] of cases) {
    await t.step(name, async () => {
      const { code, stderr } = await run(testHost, body);
      assertEquals(code, 4);
      assertStringIncludes(stderr, message);
      assertStringIncludes(
        stderr,
        "journalctl -q -n 20 --no-pager _SYSTEMD_UNIT=app.service + _UID=0 UNIT=app.service",
      );
      assertStringIncludes(stderr, name === "one without a program" ? "Failed at step EXEC" : "cannot bind");
    });
  }

  await t.step("one that was found in a loop of crashes, at a moment when it runs", async () => {
    await testHost.inside("echo 1000 >/opt/seconds");
    const body = unit("ExecStart=/bin/sh -c 'sleep $(cat /opt/seconds); exit 3'", "Restart=always")
      .replace("[Service]", "[Unit]\\nStartLimitIntervalSec=0\\n[Service]");
    assertEquals((await run(testHost, body)).code, 0);
    await testHost.inside(`echo 1 >/opt/seconds; kill -KILL $(systemctl show -p MainPID --value app)
      i=0; until [ "$(systemctl show -p NRestarts --value app)" -gt 0 ] || [ $i = 100 ]; do sleep 0.1; i=$((i+1)); done`);
    const { code, stderr } = await run(testHost, body);
    assertEquals(code, 4);
    assertStringIncludes(stderr, 'The service "app" crashes again and again');
  });
});

testOnHost("waits: what is there, what comes, and what never comes", async (testHost, t) => {
  await t.step("what comes is waited for, and what is there is unchanged", async () => {
    await testHost.inside(
      `cat >/opt/late <<'END'
#!/bin/sh
sleep 0.4; echo booting >/var/log/late; sleep 0.4; echo 'is $ready* now' >>/var/log/late; sleep 0.4; touch /opt/flag
exec sleep 1000
END
      chmod +x /opt/late; printf '[Service]\\nExecStart=/opt/late\\n' >/etc/systemd/system/late.service`,
    );
    // Not by \`service\`, which looks on for so long that all of it has come by then.
    const body = `
await ensure(command("start", sh\`systemctl start late\`, { unless: sh\`systemctl -q is-active late\` }));
await ensure(unitActive("late"));
await ensure(logLine("/var/log/late", "$ready*"));
await ensure(exists("/opt/flag"));
await ensure(succeeds("the flag is a file", sh\`[ -f /opt/flag ]\`));
`;
    const { code, stderr, outcomes } = await run(testHost, body);
    assertEquals([code, stderr], [0, ""]);
    assertEquals([outcomes['a line with "$ready*" in /var/log/late'], outcomes["/opt/flag exists"]], [
      "changed",
      "changed",
    ]);
    assertEquals([...new Set(Object.values((await run(testHost, body)).outcomes))], ["unchanged"]);
  });

  await t.step("a port is seen from inside and from the host", async () => {
    // The setup's first line permits the host 10.0.0.99:9443 and no other address.
    await testHost.inside(
      `printf '%s' 'const l = Deno.listen({ port: 9443 }); for await (const c of l) c.close();' >/opt/listen.ts
      printf '[Service]\\nExecStart=/usr/lib/simulated/deno run --quiet --no-config --allow-net /opt/listen.ts\\nEnvironment=DENO_DIR=/tmp/deno\\n' >/etc/systemd/system/listen.service`,
    );
    const body = `
await ensure(command("start", sh\`systemctl start listen\`, { unless: sh\`systemctl -q is-active listen\` }));
await ensure(port(9443));
await ensure(port(9443, { from: "host", address: "10.0.0.99" }));
`;
    const predicted = await check(testHost, body);
    assertEquals(predicted.outcomes["port 9443 listens"], "skipped");
    const { code, stderr } = await run(testHost, body);
    assertEquals([code, stderr], [0, ""]);
    const closed = await run(testHost, `await ensure(port(9444, { within: "300ms" }));`);
    assertEquals(closed.code, 5);
    assertStringIncludes(closed.stderr, "Waited 300 ms for port 9444 to be open in vain; seen last: nothing listens");
  });

  await t.step("a unit that has failed ends every wait for it at once", async () => {
    await testHost.inside(
      `printf '[Service]\\nExecStart=/bin/sh -c "echo cannot bind; exit 3"\\n' >/etc/systemd/system/bad.service; systemctl start bad; until systemctl -q is-failed bad; do sleep 0.05; done`,
    );
    const why = "has failed: exit code 3";
    for (
      const [body, message] of [
        [`unitActive("bad", { within: "1h" })`, `Waiting for unit "bad.service" is pointless: it ${why}`],
        [
          `exists("/opt/never", { within: "1h", while: unitActive("bad") })`,
          `Waiting for /opt/never to be there is pointless: the unit "bad.service" ${why}`,
        ],
      ]
    ) {
      const { code, stderr } = await run(testHost, `await ensure(${body});`);
      assertEquals(code, 4);
      assertStringIncludes(stderr, message!);
      assertStringIncludes(stderr, "cannot bind");
    }
  });

  await t.step("what a unit wrote before its last start does not count", async () => {
    await testHost.inside(
      `printf '[Service]\\nExecStart=/bin/sh -c "[ -e /opt/second ] || echo ready; touch /opt/second; exec sleep 60"\\n' >/etc/systemd/system/once.service
      systemctl start once`,
    );
    assertEquals((await run(testHost, `await ensure(logLine("once", "ready"));`)).code, 0);
    await testHost.inside("systemctl restart once");
    const { code, stderr } = await run(testHost, `await ensure(logLine("once", "ready", { within: "300ms" }));`);
    assertEquals(code, 5);
    assertStringIncludes(stderr, "seen last: nothing");
  });

  await t.step("a container that is stopped meanwhile is waited for, and the log says so", async () => {
    await testHost.host.run("/usr/bin/truncate", ["-s0", "/var/log/phoenix_hypervisor.log"]);
    const running = run(testHost, `await ensure(exists("/opt/afterwards", { within: "30s" }));`, "--verbose");
    for (const [said, then] of [[": nothing", "stop"], ["Waiting for container 901: ", "start"]] as const) {
      while (!(await Deno.readTextFile(testHost.host.logFile)).includes(said)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await testHost.host.run("/usr/sbin/pct", [then, "901"]);
    }
    await testHost.inside("touch /opt/afterwards");
    const { code, stdout, stderr } = await running;
    assertEquals(code, 0, stdout + stderr);
  });
});

// A stand-in that shrugs off what it does not know would let a setup pass that fails on a real host.
testOnHost("the stand-ins refuse what they do not know, and say so", async (testHost) => {
  await testHost.inside(
    `printf '[Service]\\nExecStart=/bin/true\\nProtectSystem=full\\n' >/etc/systemd/system/odd.service`,
  );
  for (
    const command of [
      "apt-get dist-upgrade",
      "apt-get install --frob jq",
      "apt-get -o Acquire::Frob=1 update",
      "apt-cache search jq",
      "dpkg -i x.deb",
      "dpkg-query -S /bin/sh",
      "dpkg-query -W -f '\${Homepage}' bash",
      "systemctl list-units",
      "systemctl show odd",
      "systemctl show -p Frob docker",
      "systemctl start odd",
      "systemctl start --frob docker",
      "systemctl start getty@tty1",
      "journalctl -u docker -f",
      "journalctl",
    ]
  ) {
    assertMatch(
      await testHost.inside(`${command} 2>&1; echo "exit $?"`),
      /^[a-z-]+ stand-in: not supported: .*\nexit 64$/,
      command,
    );
  }
});
