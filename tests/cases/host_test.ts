/**
 * Commands, the host's own configuration, snapshots, secrets, and containers that are away for a while.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { emittedBy, tracesOf } from "../support/secrets.ts";
import { changesIn, type TestHost, testOnHost, type TestRun } from "../support/test_host.ts";
import { until } from "../support/until.ts";
import * as setups from "./setups/host.ts";

/** What the central log has. */
const logOf = (testHost: TestHost) => Deno.readTextFile(testHost.host.logFile).catch(() => "");

/** The texts behind `Caught:` in what a setup printed. */
const caughtIn = ({ stdout }: TestRun) => [...stdout.matchAll(/^Caught: (.*)$/gm)].map(([, text]) => text!);

testOnHost("commands: absent, right, wrong, and what they are run with", async (testHost, t) => {
  await Deno.writeTextFile(`${testHost.host.etc}/token.conf`, "TOKEN=s3cret-of-the-test\n", { mode: 0o600 });
  await testHost.inside("mkdir -p '/srv/a b' && chmod 777 '/srv/a b' && touch /opt/pending");
  const setup = await testHost.setup(setups.commands);
  const emitted: TestRun[] = [];

  await t.step(
    "absent: check mode says what is missing, the run makes it so, the next one has nothing to do",
    async () => {
      const predicted = await testHost.check(setup);
      assertEquals([predicted.code, changesIn(predicted)], [10, ["key", "greeting", "migration", "report", "now"]]);
      for (
        const line of [
          "/opt/key: present",
          '"grep -q hello /opt/greeting": fails -> succeeds',
          '"[ -e /opt/pending ]": succeeds -> fails',
          '"[ "$(cat token)" = "$TOKEN" ] && [ "$(id -un)" = daemon ] && [ -e report ]": fails -> succeeds',
          "always runs",
        ]
      ) {
        assertStringIncludes(predicted.stdout, line);
      }
      const run = await testHost.run(setup, "--verbose");
      assertEquals([run.code, changesIn(run)], [0, changesIn(predicted)], run.stderr);
      const again = await testHost.run(setup);
      assertEquals([again.code, changesIn(again), again.pctCalls.length], [0, ["now"], 2]);
      assertEquals(changesIn(await testHost.check(setup)), ["now"]);
      emitted.push(predicted, run, again);
    },
  );

  await t.step("they ran as stated, and a secret is in no argument and in nothing that was emitted", async () => {
    assertEquals(await testHost.inside("cat '/srv/a b/report'"), "daemon\n/srv/a b\n/usr/sbin\nit's $HOME");
    assertEquals(
      await testHost.inside("cat '/srv/a b/token'; stat -c ' %U' '/srv/a b/token'"),
      "s3cret-of-the-test daemon",
    );
    const places = [
      await testHost.inside("tr '\\0' ' ' <'/srv/a b/argv'"),
      await emittedBy(testHost.host),
      ...emitted.flatMap(({ stdout, stderr, pctCalls }) => [stdout, stderr, ...pctCalls.flat()]),
    ];
    assert(places[0] !== "");
    for (const place of places) assert(!place.includes("s3cret-of-the-test"), place);
  });

  await t.step("wrong: check mode predicts what the run then mends, and nothing else", async () => {
    await testHost.inside("rm /opt/key; echo hallo >/opt/greeting; touch /opt/pending; rm '/srv/a b/report'");
    const predicted = await testHost.check(setup);
    assertEquals([predicted.code, changesIn(predicted)], [10, ["key", "greeting", "migration", "report", "now"]]);
    assertEquals(changesIn(await testHost.run(setup)), changesIn(predicted));
    assertEquals(
      await testHost.inside("cat /opt/key /opt/greeting; wc -l </opt/migrations; wc -l </opt/now"),
      "key\nhello\n2\n3",
    );
  });

  await t.step("what it cannot be run with is told as such, in check mode too, and nothing has run", async () => {
    await testHost.inside("mkdir -p -m 700 /root/closed");
    const setup = await testHost.setup(setups.impossibleCommands);
    for (const run of [await testHost.check(setup), await testHost.run(setup)]) {
      const caught = caughtIn(run);
      assertEquals(caught.length, 12);
      for (const text of caught) {
        const expected = text.startsWith("an unknown user")
          ? /as "nosuch" in "\/" inside the container: (runuser: user nosuch does not exist|su: unknown user nosuch)/
          : text.startsWith("no folder")
          ? 'in "/srv/none" inside the container: sh: '
          : text.startsWith("a folder")
          ? 'as "daemon" in "/root/closed" inside the container: sh: '
          : / guard that is (missing|killed|no shell): Cannot tell whether .* as its guard ended with exit code (127|137|126)$/;
        assertMatch(text, typeof expected === "string" ? new RegExp(expected.replace(/[/.()]/g, "\\$&")) : expected);
      }
    }
    assertEquals(await testHost.inside("[ -e /opt/ran ] || echo none"), "none");
  });

  await t.step(
    "it is tried again as often as is stated, each time for its own time, and the last failure counts",
    async () => {
      const { stdout, outcomes } = await testHost.run(testHost.setup(setups.triedAgain), "--verbose");
      assertEquals(outcomes, { "second time": "changed", never: "failed", "too slow": "failed" });
      for (
        const line of [
          "second time: try 1 of 4: Command failed with exit code 1; the next one in 1.0 s",
          "Caught: 4 Command failed with exit code 7, the last of 2 tries try 2",
          "Caught: 5 Command did not end within 300 ms and was ended, the last of 2 tries",
        ]
      ) {
        assertStringIncludes(stdout, line);
      }
      assertEquals(await testHost.inside("wc -l </opt/second; wc -l </opt/never; wc -l </opt/slow"), "2\n2\n2");
    },
  );

  await t.step("a signal and the run's own deadline end it between two tries", async () => {
    const setup = await testHost.setup(setups.triedForLong);
    const late = await testHost.run(setup, "--timeout", "1500ms");
    assertEquals(late.code, 5);
    assertStringIncludes(late.stderr, "The run did not end within 1.5 s");
    await testHost.inside("rm -f /opt/tries");
    const child = await testHost.start(setup);
    await testHost.until("[ -e /opt/tries ]");
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 143);
    assertEquals(await testHost.inside("sleep 1.1; wc -l </opt/tries"), "1");
  });
});

testOnHost("the host's files, blocks and commands: absent, right, wrong", async (testHost, t) => {
  const folder = setups.LIB;
  const [json, names, copy] = [`${folder}/901.json`, `${folder}/names`, `${folder}/copy`];
  const setup = await testHost.setup(setups.onTheHost);
  const titles = [`host file ${json}`, `block 901 in host file ${names}`, "copy"];
  const onHost = async (script: string) =>
    (await testHost.host.run("/bin/sh", ["-c", `cd ${folder} && ${script}`])).stdout;
  const block = "# BEGIN phoenix_setup 901\n10.0.0.99 portainer\n# END phoenix_setup 901\n";
  await testHost.host.run("/bin/mkdir", ["-p", folder]);

  const begin: Record<string, [damage: string, differences: string[], names: string]> = {
    absent: ["rm -f 901.json names copy", [
      "file: 3 characters, mode 640",
      "+ 10.0.0.99 portainer",
      `"/usr/bin/cmp -s ${names} ${copy}": fails -> succeeds`,
    ], block],
    wrong: [
      `echo [] >901.json; chmod 600 901.json; chmod 664 names; echo x >copy
      printf 'first\\n# BEGIN phoenix_setup 901\\nold\\n# END phoenix_setup 901\\nlast\\n# BEGIN phoenix_setup 902\\n# END phoenix_setup 902\\n' >names`,
      ["content: 3 other characters", "mode: 600 -> 640", "- old", "+ 10.0.0.99 portainer", ": fails -> succeeds"],
      `first\n${block}last\n# BEGIN phoenix_setup 902\n# END phoenix_setup 902\n`,
    ],
  };
  for (const [name, [damage, differences, expected]] of Object.entries(begin)) {
    await t.step(`${name}: check mode tells, the run makes it so, the next one leaves it`, async () => {
      await onHost(damage);
      const predicted = await testHost.check(setup, setups.LIB);
      assertEquals([predicted.code, predicted.outcomes], [
        10,
        Object.fromEntries(titles.map((t) => [t, "would change"])),
      ]);
      for (const line of differences) assertStringIncludes(predicted.stdout, line);
      const run = await testHost.run(setup);
      assertEquals([run.code, run.outcomes], [0, Object.fromEntries(titles.map((t) => [t, "changed"]))], run.stderr);
      assertEquals(await onHost("cat 901.json names; cmp names copy; ls -A"), `{}\n${expected}901.json\ncopy\nnames\n`);
      assertEquals(await onHost("stat -c '%a %U' 901.json names"), `640 root\n${name === "absent" ? 644 : 664} root\n`);
      const right = await testHost.check(setup, setups.LIB);
      assertEquals([right.code, [...new Set(Object.values(right.outcomes))]], [0, ["unchanged"]]);
      const before = await onHost("stat -c '%i %z' *");
      assertEquals([(await testHost.run(setup)).code, await onHost("stat -c '%i %z' *")], [0, before]);
    });
  }

  await t.step("what is unclear or cannot be run is an error that says why, and nothing is changed", async () => {
    await onHost("printf '# BEGIN phoenix_setup 901\\nhalf\\n' >names; cp names copy");
    const messages = [
      `Cannot edit "${names}" on the host as the lines "# BEGIN phoenix_setup 901" and "# END phoenix_setup 901" are not there once`,
      `Cannot write "${folder}/none/x" on the host: its folder is not there`,
      "as it is not a regular file",
      'Cannot run "/usr/bin/nosuch" as there is no such program on the host',
      `Cannot tell whether the host's command "x" is needed as its guard ended with exit code 137`,
      "Command failed with exit code 1",
      "Applied without an error, but still different",
    ];
    const run = await testHost.run(testHost.setup(setups.impossibleOnTheHost));
    const caught = caughtIn(run);
    assertEquals(caught.length, messages.length, run.stdout);
    for (const [i, message] of messages.entries()) {
      assertStringIncludes(caught[i]!, message);
      assert(caught[i]!.startsWith("4 "), caught[i]);
    }
    assertEquals(await onHost("cat names"), "# BEGIN phoenix_setup 901\nhalf\n");
  });
});

const status = async (testHost: TestHost) => (await testHost.pct("status", String(testHost.ctid))).trim();

// The fleet's templates: stop, snapshot, start, wait; taken once.
testOnHost("a snapshot is taken once, and the container runs again", async (testHost, t) => {
  const setup = await testHost.setup(setups.withSnapshot, "base-1", "ready");

  await t.step("check mode takes none", async () => {
    await testHost.pct("snapshot", "901", "base-1-old");
    assertEquals((await testHost.run(setup, "--check")).code, 10);
    assertEquals([await testHost.snapshots(), await status(testHost)], [["base-1-old"], "status: running"]);
  });

  await t.step("a run takes it, the next one leaves it", async () => {
    assertEquals((await testHost.run(setup)).code, 0);
    assertEquals([await testHost.snapshots(), await status(testHost)], [["base-1-old", "base-1"], "status: running"]);
    const again = await testHost.run(setup);
    assertEquals([again.code, again.outcomes["snapshot base-1"]], [0, "unchanged"]);
    assertMatch(await testHost.pct("listsnapshot", "901"), /base-1 .* ready$/m);
  });

  await t.step("a run that was killed in between is made good by the next one", async () => {
    await testHost.host.setFault("latency", 0.5);
    const next = await testHost.setup(setups.withSnapshot, "base-2");
    const child = await testHost.start(next);
    await until("the container is stopped", async () => await status(testHost) === "status: stopped");
    child.kill("SIGKILL");
    await child.status;
    await testHost.host.setFault("latency", undefined);
    const { code, stdout, stderr } = await testHost.run(next);
    assertEquals(code, 0, stdout + stderr);
    assertEquals([(await testHost.snapshots()).at(-1), await status(testHost)], ["base-2", "status: running"]);
  });

  await t.step(
    "a refused one stops the run, and the container runs again, also where the HA manager does both later",
    async () => {
      const conf = await Deno.readTextFile(testHost.host.conf(901));
      await Deno.writeTextFile(
        testHost.host.conf(901),
        conf.replace(/^rootfs: .*$/m, "rootfs: local:901/vm-901-disk-0.raw"),
      );
      const setup = await testHost.setup(setups.snapshotAndMore);
      const refused = async ({ code, stderr }: { code: number; stderr: string }) => {
        assertEquals(code, 4, stderr);
        assertStringIncludes(
          stderr,
          '"pct snapshot" failed with exit code 255 and said: snapshot feature is not available',
        );
        assertEquals([await status(testHost), (await testHost.snapshots()).includes("base-3")], [
          "status: running",
          false,
        ]);
        assertEquals(await testHost.inside("[ -e /opt/after ] || echo none"), "none");
      };
      await refused(await testHost.run(setup));

      await testHost.host.setFault("ha-managed", "901");
      await testHost.host.forgetPctCalls();
      const running = testHost.run(setup);
      const asked = (subcommand: string) =>
        until(
          `pct ${subcommand} is called`,
          async () => (await testHost.host.pctCalls()).some(([name]) => name === subcommand),
        );
      /** What the HA manager then does. */
      const later = async (subcommand: string, then?: string) => {
        await testHost.host.setFault("ha-managed", undefined);
        await testHost.pct(subcommand, "901");
        await testHost.host.setFault("ha-managed", then);
      };
      await asked("shutdown");
      assertEquals(await status(testHost), "status: running");
      await later("stop", "901");
      await asked("start");
      assertEquals(await status(testHost), "status: stopped");
      await later("start");
      await refused(await running);
      await Deno.writeTextFile(testHost.host.conf(901), conf);
    },
  );

  await t.step("a lock that somebody else holds is waited for", async () => {
    const next = await testHost.setup(setups.withSnapshot, "base-3");
    const conf = await Deno.readTextFile(testHost.host.conf(901));
    await Deno.writeTextFile(testHost.host.conf(901), `lock: migrate\n${conf}`);
    const running = testHost.run(next, "--verbose");
    await until("the lock is waited for", async () => (await logOf(testHost)).includes("CT is locked (migrate)"));
    await Deno.writeTextFile(testHost.host.conf(901), conf);
    assertEquals([(await running).code, await status(testHost)], [0, "status: running"]);
  });
});

testOnHost("a container that a backup has stopped is waited for", async (testHost) => {
  await testHost.pct("stop", "901");
  const conf = await Deno.readTextFile(testHost.host.conf(901));
  await Deno.writeTextFile(testHost.host.conf(901), `lock: backup\n${conf}`);
  const running = testHost.run(testHost.setup(setups.mark));
  await until("the run waits", async () => (await logOf(testHost)).includes("Waiting for"));
  await Deno.writeTextFile(testHost.host.conf(901), conf);
  await testHost.pct("start", "901");
  const { code, stderr } = await running;
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, "Waiting for container 901, which is stopped and locked (backup)");
});

testOnHost(
  "a container that is away before the first look of a wait, or in the middle of one, is waited for",
  async (testHost) => {
    const child = await testHost.start(await testHost.setup(setups.waitsBesideStops), "piped");
    let stdout = "", stderr = "";
    const heard = (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) stdout += text;
    })();
    const told = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) stderr += text;
    })();
    await until("the first wait is to begin", () => stdout.includes("reached stop"));
    await testHost.pct("stop", "901");
    await Deno.writeTextFile(`${testHost.host.etc}/stop`, "");
    await until("the container is waited for", () => stderr.includes("Waiting for container 901"));
    await testHost.pct("start", "901");
    await testHost.inside("touch /opt/started");
    // As the freezer does, but for what `pct exec` itself waits for, which would stop, too.
    const signal = (name: string) =>
      testHost.inside(`for p in /proc/[0-9]*/stat; do
        read -r s <"$p" && set -- \${s##*) } && [ "$2" -gt 1 ] && [ "\${p%/*}" != /proc/$$ ] && p=\${p%/*} && kill -${name} "\${p##*/}"
      done 2>/dev/null; true`);
    await testHost.until("[ -e /opt/looking ]");
    await signal("STOP");
    await testHost.inside("touch /opt/thawed");
    await new Promise((resolve) => setTimeout(resolve, 700));
    assert(!stdout.includes("Step 3: thawed: "), stdout);
    await signal("CONT");
    assertEquals((await child.status).code, 0, stdout + stderr);
    await Promise.all([heard, told]);
    assertMatch(stdout, /Step 3: thawed: (un)?changed/);
  },
);

// Also what depends on files that steps before would write.
testOnHost("a restart, and another run of a script, are predicted", async (testHost) => {
  const cases: [content: string, mode: number, changed: string[]][] = [
    ["two", 0o644, ["file /etc/app.conf", "service app", "index"]],
    ["two", 0o640, ["file /etc/app.conf"]],
  ];
  assertEquals((await testHost.run(testHost.setup(setups.dependents, "one", 0o644))).code, 0);
  for (const [content, mode, changed] of cases) {
    const setup = await testHost.setup(setups.dependents, content, mode);
    const predicted = await testHost.check(setup);
    const run = await testHost.run(setup);
    assertEquals(
      [run.code, changesIn(predicted), changesIn(run)],
      [0, changed, changed],
      predicted.stdout + run.stdout + run.stderr,
    );
  }
});

testOnHost("a host file outside of what the setup declares is refused with exit code 70", async (testHost) => {
  const { code, stderr } = await testHost.run(testHost.setup(setups.undeclaredHostFile));
  assertEquals(code, 70, stderr);
  assertStringIncludes(stderr, "declare it in the setup: { reads: [");
});

testOnHost("a secret reaches its place, and nothing that is emitted", async (testHost) => {
  const value = 'geheim "%&/\\n +xyz';
  await Deno.writeTextFile(`${testHost.host.etc}/token.conf`, `TOKEN=${value}\n`, { mode: 0o600 });
  const { code, stdout, stderr, pctCalls } = await testHost.run(testHost.setup(setups.withSecret), "--verbose");
  assertEquals(code, 4, stderr);
  const emitted = [stdout, stderr, await emittedBy(testHost.host), ...pctCalls.flat()].join("\n");
  assertEquals(await testHost.inside("cat /opt/token; stat -c %a /opt/token"), `${value}600`);
  assertStringIncludes(await testHost.inside("docker inspect web"), JSON.stringify(`TOKEN=${value}`));
  assertStringIncludes(emitted, "[secret: API token]");
  for (const trace of tracesOf(value)) assert(!emitted.includes(trace), `${trace} was emitted`);
  const missing = await testHost.run(testHost.setup(setups.missingSecret));
  assertEquals(missing.code, 2);
  assertStringIncludes(missing.stderr, '"/usr/local/phoenix_hypervisor/etc/none.conf" is not there');
});
