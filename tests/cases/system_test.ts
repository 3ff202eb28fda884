/**
 * Packages, services and waits on a simulated host, from the three starting points: absent, already right, wrong.
 *
 * @module
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { PackagesSpec, Setup } from "../../lib/mod.ts";
import { changesIn, type TestHost, testOnHost, type TestRun } from "../support/test_host.ts";
import { until } from "../support/until.ts";
import * as setups from "./setups/system.ts";

/** Runs a setup with these packages. */
const runPackages = (testHost: TestHost, names: string[], spec: PackagesSpec = {}, ...options: string[]) =>
  testHost.run(testHost.setup(setups.withPackages, names, spec), ...options);

const versions = (testHost: TestHost, ...names: string[]) =>
  testHost.inside(`dpkg-query -W -f '\${Package} \${Version} \${db:Status-Status}\\n' ${names.join(" ")} 2>&1 || :`);

testOnHost("packages: absent, right, of a wrong version, no longer wanted", async (testHost, t) => {
  const wanted = await testHost.setup(setups.withPackages, ["curl", "htop", "jq=1.6-2.1"]);
  const title = "packages curl, htop, jq=1.6-2.1";

  await t.step("absent: check mode says so, the run refreshes the lists and installs them", async () => {
    const predicted = await testHost.check(wanted);
    assertEquals([predicted.code, predicted.outcomes[title]], [10, "would change"]);
    assertStringIncludes(predicted.stdout, "package jq: 1.6-2.1\n");
    const { code, outcomes, stdout } = await testHost.run(wanted, "--verbose");
    assertEquals([code, outcomes[title]], [0, "changed"]);
    assertStringIncludes(stdout, "Setting up jq (1.6-2.1) ...");
    assertEquals(await testHost.inside("htop --version"), "htop 3.2.2-2");
  });

  await t.step("right: nothing is done, in two processes of pct", async () => {
    const { code, outcomes, pctCalls } = await testHost.run(wanted);
    assertEquals([code, outcomes[title], pctCalls.length], [0, "unchanged", 2]);
    assertEquals((await testHost.check(wanted)).code, 0);
  });

  await t.step("of another version: that is shown, and put right even when it takes a downgrade", async () => {
    await testHost.inside("DEBIAN_FRONTEND=noninteractive apt-get -q -y install jq=1.6-2.1+deb12u3");
    assertStringIncludes((await testHost.check(wanted)).stdout, "package jq: 1.6-2.1+deb12u3 -> 1.6-2.1\n");
    const { code, stdout } = await testHost.run(wanted, "--verbose");
    assertEquals(code, 0);
    assertStringIncludes(stdout, "DOWNGRADED");
    assertEquals(stdout.includes("refreshing the lists"), false, "they were fresh");
    assertEquals(await versions(testHost, "jq"), "jq 1.6-2.1 installed");
  });

  await t.step("no longer wanted: removed, unless something else needs it", async () => {
    // Debian 13 calls it by another name.
    const [library = ""] =
      /^libcurl4\S*(?= \S+ installed$)/m.exec(await versions(testHost, "libcurl4", "libcurl4t64")) ??
        [];
    const before = await versions(testHost, "curl", library);
    assertMatch(before, RegExp(`^${library} \\S+ installed$`, "m"));
    const refused = await runPackages(testHost, [library], { state: "absent" });
    assertEquals(refused.code, 4);
    assertStringIncludes(refused.stderr, `Cannot remove "${library}" as "curl" would have to be removed, too`);
    assertEquals(await versions(testHost, "curl", library), before);
    const absent = await testHost.setup(setups.withPackages, ["htop"], { state: "absent" });
    assertStringIncludes((await testHost.check(absent)).stdout, "package htop: 3.2.2-2 (to be removed)");
    assertEquals((await testHost.run(absent)).outcomes["package htop absent"], "changed");
    assertEquals((await testHost.run(absent)).outcomes["package htop absent"], "unchanged");
    assertEquals(await versions(testHost, "htop"), "dpkg-query: no packages found matching htop");
  });
});

// apt itself knows nothing of a source before its lists are refreshed, and installs what another source has.
testOnHost("packages: a source that was just added is known to the next step", async (testHost) => {
  await testHost.inside(`apt-get -q update >/dev/null
    if [ -e /usr/lib/simulated/apt.ts ]; then
      mkdir -p /var/lib/apt && printf '\\nPackage: jq\\nPriority: optional\\nArchitecture: amd64\\nVersion: 9.0\\n' >>/var/lib/apt/archive
    else
      mkdir -p /opt/repository/package/DEBIAN && cd /opt/repository
      printf 'Package: jq\\nArchitecture: all\\nVersion: 9.0\\nMaintainer: Nobody <nobody@example.org>\\nDescription: newer\\n' >package/DEBIAN/control
      env -u TMPDIR dpkg-deb -b package jq.deb >/dev/null && [ -s jq.deb ] || exit
      { cat package/DEBIAN/control; echo "Filename: ./jq.deb"; echo "Size: $(stat -c %s jq.deb)"
        echo "SHA256: $(sha256sum jq.deb | cut -c -64)"; } >Packages
    fi`);
  const { code, stdout, stderr } = await testHost.run(testHost.setup(setups.newerSource));
  assertEquals(code, 0, stdout + stderr);
  assertStringIncludes(await versions(testHost, "jq"), "jq 9.0 installed");
});

testOnHost("packages: other people's apt, interrupted dpkg, failing sources, unknown names", async (testHost, t) => {
  const archive = (paragraph: string) =>
    testHost.inside(`mkdir -p /var/lib/apt && printf '\\n${paragraph}' >>/var/lib/apt/archive`);

  await t.step("a lock that somebody holds is waited for, and the log says who", async () => {
    // The real apt takes locks with fcntl, the stand-in with flock: this one has both.
    const lock = `use Fcntl qw(:DEFAULT :flock); open F, ">>", "/var/lib/dpkg/lock-frontend";
      my $all = pack "s s x4 q q i x4", F_WRLCK; fcntl F, F_SETLK, $all; flock F, LOCK_EX; sleep 60`;
    const hold = `perl -e '${lock}' </dev/null >/dev/null 2>&1 & echo $! >/tmp/holder`;
    await testHost.inside(`mkdir -p /var/lib/dpkg; ${hold}`);
    await testHost.until("! flock -n /var/lib/dpkg/lock-frontend true");
    const late = await runPackages(testHost, ["less"], { within: "500ms" });
    assertEquals(late.code, 5);
    assertMatch(late.stderr, /Timed out after 500 ms waiting for another apt or dpkg: process \d+/);
    const waiting = runPackages(testHost, ["nano"], {}, "--verbose");
    await until(
      "the run waits for the lock",
      async () => /waiting for another apt or dpkg: process \d+/.test(await Deno.readTextFile(testHost.host.logFile)),
    );
    await testHost.inside("kill $(cat /tmp/holder)");
    assertEquals((await waiting).code, 0);
  });

  await t.step("an installation that was killed is finished by the next run", async () => {
    await archive("Package: slow\\nArchitecture: all\\nVersion: 1.0-1\\nX-Seconds: 30\\n");
    await testHost.inside(`apt-get -q update >/dev/null
      apt-get -q -y install slow </dev/null >/dev/null 2>&1 &
      echo $! >/tmp/apt`);
    await testHost.until("dpkg-query -W -f '${db:Status-Status}' slow 2>/dev/null | grep -q half-configured");
    await testHost.inside("kill -KILL $(cat /tmp/apt)");
    assertEquals(await versions(testHost, "slow"), "slow 1.0-1 half-configured");
    await testHost.inside("sed -i /X-Seconds/d /var/lib/dpkg/status");
    const wanted = await testHost.setup(setups.withPackages, ["less", "slow"]);
    const predicted = await testHost.check(wanted);
    assertStringIncludes(predicted.stdout, "package slow: half-configured -> installed");
    const { code, stderr } = await testHost.run(wanted);
    assertEquals([code, stderr], [0, ""]);
    assertEquals((await testHost.run(wanted)).code, 0);
    assertEquals(await versions(testHost, "slow"), "slow 1.0-1 installed");
  });

  await t.step("a package that was killed while it was unpacked is installed again", async () => {
    await testHost.inside(
      "sed -i '/^Package: slow$/,/^$/s/^Status: .*/Status: install reinstreq half-installed/' /var/lib/dpkg/status",
    );
    await testHost.inside("sed -i /X-Seconds/d /var/lib/apt/archive /var/lib/apt/lists/*_Packages");
    const { code, outcomes } = await runPackages(testHost, ["slow"]);
    assertEquals([code, outcomes["package slow"]], [0, "changed"]);
  });

  await t.step("unknown names and versions are told, and nothing that matches them is installed", async () => {
    const unknown = await runPackages(testHost, ["htop", "h.op"]);
    assertEquals(unknown.code, 4);
    assertStringIncludes(unknown.stderr, 'apt knows no package "h.op"');
    const version = await runPackages(testHost, ["jq=9"]);
    assertStringIncludes(version.stderr, 'apt knows no version "9" of "jq", but 1.6-2.1+deb12u3, 1.6-2.1');
    assertEquals(await versions(testHost, "htop"), "dpkg-query: no packages found matching htop");
  });

  await t.step("a package that cannot be configured, or that clashes with another, fails the step", async () => {
    await archive("Package: broken\\nArchitecture: all\\nVersion: 1.0-1\\nX-Exit-Code: 3\\n");
    await archive("Package: clash\\nArchitecture: all\\nVersion: 1.0-1\\nConflicts: nano\\n");
    const clash = await runPackages(testHost, ["clash"]);
    assertEquals(clash.code, 4);
    assertStringIncludes(clash.stderr, "E: Packages need to be removed but remove is disabled.");
    const broken = await runPackages(testHost, ["broken"]);
    assertEquals(broken.code, 4);
    assertStringIncludes(broken.stderr, 'apt could not install "broken"');
    assertStringIncludes(broken.stderr, "post-installation script subprocess returned error exit status 3");
    // It can be removed all the same.
    assertEquals((await runPackages(testHost, ["broken"], { state: "absent" })).code, 0);
  });

  await t.step("without a network, what the lists have and the archive does not give is apt's failure", async () => {
    await testHost.inside(
      `echo '{ "networkDown": true }' >/var/lib/apt/knobs.json; touch -d '2 days ago' /var/lib/apt/lists`,
    );
    const known = await runPackages(testHost, ["tmux"]);
    assertEquals(known.code, 4);
    assertStringIncludes(known.stderr, "Temporary failure resolving 'mirror.example'");
    await testHost.inside("rm /var/lib/apt/lists/*_Packages");
    const unknown = await runPackages(testHost, ["tmux"]);
    assertStringIncludes(unknown.stderr, 'apt could not refresh its lists, and does not know "tmux"');
    await testHost.inside("rm /var/lib/apt/knobs.json");
    assertEquals((await runPackages(testHost, ["tmux"])).code, 0);
  });
});

const SERVICE = "service app";
const LINE = 'a line with "started with one" in the journal of app.service';

testOnHost("a service: absent, right, wrong in every way", async (testHost, t) => {
  const setup = await testHost.setup(setups.application);
  const show = (...properties: string[]) =>
    testHost.inside(`systemctl show -p ${properties.join()} --value app | paste -s`);

  await t.step("absent: check mode says what is missing, the run makes it so", async () => {
    const predicted = await testHost.check(setup);
    assertEquals([predicted.code, predicted.outcomes[SERVICE], predicted.outcomes[LINE]], [
      10,
      "would change",
      "skipped",
    ]);
    for (
      const line of ["unit: 200 bytes, mode 644", "at boot: disabled -> enabled", "state: not-found -> running"]
    ) {
      assertStringIncludes(predicted.stdout.replace(/unit: \d+/, "unit: 200"), line);
    }
    const { code, outcomes, stderr } = await testHost.run(setup);
    assertEquals([code, outcomes[SERVICE], stderr], [0, "changed", ""]);
    assertEquals(await show("ActiveState", "UnitFileState", "NeedDaemonReload"), "active\tenabled\tno");
  });

  await t.step("right: nothing is done, in two processes of pct", async () => {
    const { code, outcomes, pctCalls } = await testHost.run(setup);
    assertEquals([code, ...new Set(Object.values(outcomes)), pctCalls.length], [0, "unchanged", 2]);
    assertEquals((await testHost.check(setup)).code, 0);
  });

  // Each group is mended by one run: a service that was started has to live on for a while, which is waited for.
  const journal = "journalctl -q --no-pager -n 1 -o cat _SYSTEMD_UNIT=app.service";
  const wrong: [damage: string, difference: string, done?: string][][] = [[
    ["systemctl stop app; systemctl disable app 2>/dev/null", "at boot: disabled -> enabled"],
  ], [
    ["rm /etc/app.conf", "restart: /etc/app.conf has changed since its last start"],
    ["echo two >/etc/app.conf", "- two"],
    // By hand: that is not known to have read what is there now.
    [
      "systemctl restart app",
      "restart: /etc/app.conf has changed since its last start",
      `${journal} | grep -q 'started with two'`,
    ],
    ["sed -i s/application/accident/ /etc/systemd/system/app.service", "- Description=An accident"],
    ["rm -r /var/lib/phoenix_setup/services", "restart: /opt/app/start has changed since its last start"],
  ], [
    // What somebody has tried out is not what runs afterwards.
    ["echo two >/etc/app.conf; systemctl restart app", "- two"],
  ], [
    // Content counts, whatever the clock was at the last start.
    [
      "touch -d 2100-01-01 /var/lib/phoenix_setup/services/app.service; mkdir /etc/app.d; echo x >/etc/app.d/x",
      "restart: /etc/app.d has changed since its last start",
    ],
  ], [
    ["rm -r /etc/app.d", "restart: /etc/app.d has changed since its last start"],
  ]];
  for (const group of wrong) {
    await t.step(`${group.map(([damage]) => damage).join("; ")}: check mode predicts what the run mends`, async () => {
      let predicted: TestRun | undefined;
      for (const [damage, difference, done = "true"] of group) {
        await testHost.inside(damage);
        await testHost.until(done);
        predicted = await testHost.check(setup);
        assertEquals(predicted.code, 10);
        assertStringIncludes(predicted.stdout, difference);
      }
      const run = await testHost.run(setup);
      assertEquals(run.code, 0);
      const changes = (run: TestRun) => changesIn(run).filter((title) => title !== LINE);
      assertEquals(changes(run), changes(predicted!));
      assertEquals(await show("ActiveState", "UnitFileState", "NeedDaemonReload"), "active\tenabled\tno");
      assertEquals((await testHost.check(setup)).code, 0);
    });
  }

  await t.step("a backup that was restored, and other owners and modes, are no change", async () => {
    await testHost.inside(`cp /etc/app.conf /etc/app.new; mv /etc/app.new /etc/app.conf
      touch -d 2100-01-01 /etc/app.conf; touch -d 1970-01-02 /var/lib/phoenix_setup/services/app.service`);
    assertEquals((await testHost.check(setup)).code, 0);
    await testHost.inside("chmod 600 /etc/app.conf");
    const { code, outcomes } = await testHost.run(setup);
    assertEquals([code, outcomes["file /etc/app.conf"], outcomes[SERVICE]], [0, "changed", "unchanged"]);
  });

  await t.step("it comes up with the container, and needs no restart then", async () => {
    await testHost.restart("shutdown");
    const { code, outcomes } = await testHost.run(setup);
    assertEquals([code, outcomes[SERVICE]], [0, "unchanged"]);
  });

  await t.step("one that reloads is reloaded, and keeps its process", async () => {
    assertEquals((await testHost.run(testHost.setup(setups.application, { reload: true }))).code, 0);
    const before = await show("MainPID");
    const changed = { content: "two\n", reload: true, says: "reloaded with two" };
    const { outcomes } = await testHost.run(testHost.setup(setups.application, changed));
    assertEquals(outcomes[SERVICE], "changed");
    assertEquals(await show("MainPID"), before);
  });

  await t.step("no longer wanted: stopped, and not started with the container", async () => {
    const gone = await testHost.setup(setups.appService, { running: false, enabled: false });
    assertStringIncludes((await testHost.check(gone)).stdout, "state: active -> not running");
    assertEquals((await testHost.run(gone)).outcomes[SERVICE], "changed");
    assertEquals(await show("ActiveState", "UnitFileState"), "inactive\tdisabled");
    assertEquals((await testHost.run(gone)).outcomes[SERVICE], "unchanged");
  });
});

// Exit code 0 of systemctl is no evidence: it says that the process was started, not that it lives.
testOnHost("a service that does not live on fails the step, with its journal", async (testHost, t) => {
  const run = (unit: string) => testHost.run(testHost.setup(setups.appService, { unit }));
  const cases: [name: string, unit: string, message: string][] = [
    [
      "one that fails",
      setups.unitOf("ExecStart=/bin/sh -c 'echo cannot bind; exit 3'"),
      'The service "app" failed: exit code 3',
    ],
    [
      "one in a loop of crashes",
      setups.unitOf("ExecStart=/bin/sh -c 'echo cannot bind; sleep 0.5; exit 3'", "Restart=always"),
      'The service "app" crashes again and again',
    ],
    ["one without a program", setups.unitOf("ExecStart=/opt/none"), 'The service "app" failed: exit code 203'],
    ["one that ends", setups.unitOf("ExecStart=/bin/sh -c 'echo cannot bind'"), 'The service "app" has ended'],
    [
      "one whose preparation fails",
      setups.unitOf("ExecStartPre=/bin/sh -c 'echo cannot bind; exit 1'", "ExecStart=/bin/sleep 9"),
      'The service "app" did not start: exit-code',
    ],
  ];
  for (const [name, unit, message] of cases) {
    await t.step(name, async () => {
      const { code, stderr } = await run(unit);
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
    const service = setups.unitOf("ExecStart=/bin/sh -c 'sleep $(cat /opt/seconds); exit 3'", "Restart=always");
    const unit = `[Unit]\nStartLimitIntervalSec=0\n${service}`;
    assertEquals((await run(unit)).code, 0);
    await testHost.inside("echo 1 >/opt/seconds; kill -KILL $(systemctl show -p MainPID --value app)");
    await testHost.until('[ "$(systemctl show -p NRestarts --value app)" -gt 0 ]');
    const { code, stderr } = await run(unit);
    assertEquals(code, 4);
    assertStringIncludes(stderr, 'The service "app" crashes again and again');
  });
});

testOnHost("waits: what is there, what comes, and what never comes", async (testHost, t) => {
  await t.step("what comes is waited for, and what is there is unchanged", async () => {
    await testHost.inside(
      `cat >/opt/late <<'END'
#!/bin/sh
await() { until [ -e "/opt/$1" ]; do sleep 0.02; done; }
await booting && echo booting >/var/log/late
await ready && echo 'is $ready* now' >>/var/log/late
await done && touch /opt/flag
exec sleep 1000
END
      chmod +x /opt/late; printf '[Service]\\nExecStart=/opt/late\\n' >/etc/systemd/system/late.service`,
    );
    const setup = await testHost.setup(setups.whatComesLate);
    const running = testHost.run(setup, "--verbose");
    const line = 'a line with "$ready*" in /var/log/late';
    const flag = "/opt/flag exists";
    for (
      const [seen, next] of [
        [`${line}: no such file`, "booting"],
        [`${line}: as the last line: booting`, "ready"],
        [`${flag}: nothing`, "done"],
      ] as const
    ) {
      const log = () => Deno.readTextFile(testHost.host.logFile).catch(() => "");
      await until(`the run says "${seen}"`, async () => (await log()).includes(seen));
      await testHost.inside(`touch /opt/${next}`);
    }
    const { code, stderr, outcomes } = await running;
    assertEquals([code, stderr], [0, ""]);
    assertEquals([outcomes[line], outcomes[flag]], ["changed", "changed"]);
    assertEquals([...new Set(Object.values((await testHost.run(setup)).outcomes))], ["unchanged"]);
  });

  await t.step("a port is seen from inside and from the host", async () => {
    await testHost.inside(
      `printf '%s' 'const l = Deno.listen({ port: 9443 }); for await (const c of l) c.close();' >/opt/listen.ts
      printf '[Service]\\nExecStart=/usr/lib/simulated/deno run --quiet --no-config --allow-net /opt/listen.ts\\nEnvironment=DENO_DIR=/tmp/deno\\n' >/etc/systemd/system/listen.service`,
    );
    const setup = await testHost.setup(setups.openPort);
    const predicted = await testHost.check(setup);
    assertEquals(predicted.outcomes["port 9443 listens"], "skipped");
    const { code, stderr } = await testHost.run(setup);
    assertEquals([code, stderr], [0, ""]);
    const closed = await testHost.run(testHost.setup(setups.closedPort));
    assertEquals(closed.code, 5);
    assertStringIncludes(
      closed.stderr,
      "Timed out after 300 ms waiting for port 9444 to be open; last seen: nothing listens",
    );
  });

  await t.step("a unit that has failed ends every wait for it at once", async () => {
    await testHost.inside(
      `printf '[Service]\\nExecStart=/bin/sh -c "echo cannot bind; exit 3"\\n' >/etc/systemd/system/bad.service; systemctl start bad`,
    );
    await testHost.until("systemctl -q is-failed bad");
    const why = "has failed: exit code 3";
    for (
      const [setup, message] of [
        [setups.failedUnit, `Stopped waiting for the unit "bad.service", which ${why}`],
        [
          setups.fileOfFailedUnit,
          `Stopped waiting for /opt/never to be there: the unit "bad.service" ${why}`,
        ],
      ] satisfies [Setup, string][]
    ) {
      const { code, stderr } = await testHost.run(testHost.setup(setup));
      assertEquals(code, 4);
      assertStringIncludes(stderr, message);
      assertStringIncludes(stderr, "cannot bind");
    }
  });

  await t.step("what a unit wrote before its last start does not count", async () => {
    await testHost.inside(
      `printf '[Service]\\nExecStart=/bin/sh -c "[ -e /opt/second ] || echo ready; touch /opt/second; exec sleep 60"\\n' >/etc/systemd/system/once.service
      systemctl start once`,
    );
    assertEquals((await testHost.run(testHost.setup(setups.lineInJournal, "1m"))).code, 0);
    await testHost.inside("systemctl restart once");
    const { code, stderr } = await testHost.run(testHost.setup(setups.lineInJournal, "300ms"));
    assertEquals(code, 5);
    assertStringIncludes(stderr, "last seen: nothing");
  });

  await t.step("a container that is stopped meanwhile is waited for, and the log says so", async () => {
    await Deno.truncate(testHost.host.logFile);
    const running = testHost.run(testHost.setup(setups.fileThatComes), "--verbose");
    for (const [said, then] of [[": nothing", "stop"], ["Waiting for container 901: ", "start"]] as const) {
      const log = () => Deno.readTextFile(testHost.host.logFile);
      await until(`the run says "${said}"`, async () => (await log()).includes(said));
      await testHost.pct(then, "901");
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
