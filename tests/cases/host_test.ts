/**
 * Commands, host-level configuration, snapshots, secrets, and containers that are away for a while, on the simulated host.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { HostNeeds } from "../../lib/run/setup.ts";
import { permissionsOf } from "../../lib/run/permission.ts";
import { formsOf } from "../support/fleet.ts";
import { type TestHost, testOnHost, type TestRun } from "../support/test_host.ts";

/** A setup with this body that declares what it needs of the host. */
async function setupWith(testHost: TestHost, needs: HostNeeds, body: string): Promise<string> {
  const path = await testHost.setup(body);
  const options = permissionsOf({ ctid: testHost.ctid, name: "any", needs, perform: async () => {} });
  const text = await Deno.readTextFile(path);
  await Deno.writeTextFile(
    path,
    text.replace(/^.*/, `#!/usr/bin/env -S deno run ${options.join(" ")}`)
      .replace(/(await main\(setup\(\d+, ".*?", )/, (head) => `${head}${JSON.stringify(needs)}, `),
  );
  return path;
}

/** Runs a setup in check mode, and sees to it that it writes nothing, inside or in these folders of the host. */
async function check(testHost: TestHost, setup: string, ...folders: string[]): Promise<TestRun> {
  const onHost = async () =>
    folders.length === 0
      ? ""
      : (await testHost.host.run("/usr/bin/find", [...folders, "-type", "f", "-printf", "%p %i %C@ %m\n"])).stdout;
  await testHost.inside("touch /tmp/before");
  const before = await onHost();
  const result = await testHost.run(setup, ["901", "--check"]);
  const written = await testHost.inside("find / /usr/local -xdev -newer /tmp/before -type f ! -path '/var/cache/*'");
  assertEquals([written, await onHost()], ["", before], "check mode writes nothing");
  return result;
}

// Requirements, section 2: "Executing commands inside the container".
testOnHost("commands: absent, right, wrong, and what they are run with", async (testHost, t) => {
  await Deno.writeTextFile(`${testHost.host.etc}/token.conf`, "TOKEN=s3cret-of-the-test\n", { mode: 0o600 });
  await testHost.inside("mkdir -p '/srv/a b' && chmod 777 '/srv/a b' && touch /opt/pending");
  const body = `
    const token = await secret("API token", { file: "/usr/local/phoenix_hypervisor/etc/token.conf" });
    await ensure(command("key", sh\`echo key >/opt/key\`, { creates: "/opt/key" }));
    await ensure(command("greeting", sh\`echo hello >/opt/greeting\`, { unless: sh\`grep -q hello /opt/greeting\` }));
    await ensure(command("migration", sh\`rm /opt/pending; echo x >>/opt/migrations\`, { onlyIf: sh\`[ -e /opt/pending ]\` }));
    await ensure(command("report", sh\`{ id -un; pwd; echo "$HOME"; echo "$GREETING"; } >report
cat /proc/[0-9]*/cmdline >argv 2>/dev/null
printf %s "$TOKEN" >token\`, {
      unless: sh\`[ "$(cat token)" = "$TOKEN" ] && [ "$(id -un)" = daemon ] && [ -e report ]\`,
      user: "daemon",
      directory: "/srv/a b",
      environment: { GREETING: "it's $HOME", TOKEN: token },
    }));
    await ensure(command("now", sh\`date >>/opt/now\`));`;
  const setup = await testHost.setup(body);
  const told = ({ outcomes }: TestRun) =>
    Object.entries(outcomes).filter(([, it]) => it !== "unchanged").map(([n]) => n);
  const emitted: TestRun[] = [];

  await t.step(
    "absent: check mode says what is missing, the run makes it so, the next one has nothing to do",
    async () => {
      const predicted = await check(testHost, setup);
      assertEquals([predicted.code, told(predicted)], [10, ["key", "greeting", "migration", "report", "now"]]);
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
      const run = await testHost.run(setup, ["901", "--verbose"]);
      assertEquals([run.code, told(run)], [0, told(predicted)], run.stderr);
      const again = await testHost.run(setup);
      assertEquals([again.code, told(again), again.pctProcesses], [0, ["now"], 2]);
      assertEquals(told(await check(testHost, setup)), ["now"]);
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
      await Deno.readTextFile(testHost.host.logFile),
      await Deno.readTextFile(`${testHost.host.stateDirectory}/pct.log`),
      ...emitted.flatMap(({ stdout, stderr }) => [stdout, stderr]),
    ];
    assert(places[0] !== "");
    for (const place of places) assert(!place.includes("s3cret-of-the-test"), place);
  });

  await t.step("wrong: check mode predicts what the run then mends, and nothing else", async () => {
    await testHost.inside("rm /opt/key; echo hallo >/opt/greeting; touch /opt/pending; rm '/srv/a b/report'");
    const predicted = await check(testHost, setup);
    assertEquals([predicted.code, told(predicted)], [10, ["key", "greeting", "migration", "report", "now"]]);
    assertEquals(told(await testHost.run(setup)), told(predicted));
    assertEquals(
      await testHost.inside("cat /opt/key /opt/greeting; wc -l </opt/migrations; wc -l </opt/now"),
      "key\nhello\n2\n3",
    );
  });

  await t.step("what it cannot be run with is told as such, in check mode too, and nothing has run", async () => {
    const tries = `
      const guards = { none: {}, unless: { unless: sh\`false\` }, creates: { creates: "/opt/never" } };
      const failing = {
        "an unknown user": { user: "nosuch" },
        "no folder": { directory: "/srv/none" },
        "a folder that is closed to its user": { user: "daemon", directory: "/root/closed" },
      };
      const made = sh\`touch /opt/ran\`;
      const steps = [
        ...Object.entries(guards).flatMap(([guard, one]) =>
          Object.entries(failing).map(([name, other]) => command(name + ", guard " + guard, made, { ...one, ...other }))),
        command("a guard that is missing", made, { unless: sh\`nosuchprogram\` }),
        command("a guard that is killed", made, { onlyIf: sh\`kill -9 $$\` }),
        command("a guard that is no shell", made, { unless: sh\`/etc/passwd\` }),
      ];
      for (const step of steps) await ensure(step).catch((error) => console.log("Caught: " + step.title + ": " + error.message));`;
    await testHost.inside("mkdir -p -m 700 /root/closed");
    const setup = await testHost.setup(tries);
    for (const { stdout } of [await check(testHost, setup), await testHost.run(setup)]) {
      const caught = [...stdout.matchAll(/^Caught: (.*)$/gm)].map(([, text]) => text!);
      assertEquals(caught.length, 12);
      for (const text of caught) {
        const expected = text.startsWith("an unknown user")
          ? 'as "nosuch" in "/" inside the container: runuser: user nosuch does not exist'
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
      const setup = await testHost.setup(`
      const steps = [
        command("second time", sh\`echo x >>/opt/second; [ "$(wc -l </opt/second)" = 2 ]\`, { creates: "/opt/second", retries: 3 }),
        command("never", sh\`echo x >>/opt/never; echo "try $(wc -l </opt/never)" >&2; exit 7\`, { retries: 1 }),
        command("too slow", sh\`echo x >>/opt/slow; exec sleep 60\`, { retries: 1, timeout: "300ms" }),
      ];
      for (const step of steps) {
        await ensure(step).catch((error) => console.log("Caught:", error.exitCode, error.message, error.cause.evidence.stderr));
      }`);
      const { stdout, outcomes } = await testHost.run(setup, ["901", "--verbose"]);
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
    const setup = await testHost.setup(
      `await ensure(command("never", sh\`echo x >>/opt/tries; exit 1\`, { retries: 9 }));`,
    );
    const late = await testHost.run(setup, ["901", "--timeout", "1500ms"]);
    assertEquals(late.code, 5);
    assertStringIncludes(late.stderr, "The run did not end within 1.5 s");
    await testHost.inside("rm -f /opt/tries");
    const child = testHost.host.command(Deno.execPath(), [...await testHost.deno(setup), "901"], {
      stdout: "null",
      stderr: "null",
    }).spawn();
    await testHost.inside("until [ -e /opt/tries ]; do sleep 0.02; done");
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 143);
    assertEquals(await testHost.inside("sleep 1.1; wc -l </opt/tries"), "1");
  });
});

// Requirements, section 2: "Making host-level configurations specific to this container", all within what the setup declares.
testOnHost("the host's files, blocks and commands: absent, right, wrong", async (testHost, t) => {
  const folder = "/usr/local/phoenix_hypervisor/lib";
  const [json, names, copy] = [`${folder}/901.json`, `${folder}/names`, `${folder}/copy`];
  const needs: HostNeeds = { writes: [folder], commands: ["/usr/bin/cp", "/usr/bin/cmp"] };
  const setup = await setupWith(
    testHost,
    needs,
    `
    await ensure(hostFile("${json}", { content: "{}\\n", mode: 0o640 }));
    await ensure(hostBlock("${names}", { name: "901", content: "10.0.0.99 portainer" }));
    await ensure(hostCommand("copy", ["/usr/bin/cp", "${names}", "${copy}"], { unless: ["/usr/bin/cmp", "-s", "${names}", "${copy}"] }));`,
  );
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
      const predicted = await check(testHost, setup, folder);
      assertEquals([predicted.code, predicted.outcomes], [
        10,
        Object.fromEntries(titles.map((t) => [t, "would change"])),
      ]);
      for (const line of differences) assertStringIncludes(predicted.stdout, line);
      const run = await testHost.run(setup);
      assertEquals([run.code, run.outcomes], [0, Object.fromEntries(titles.map((t) => [t, "changed"]))], run.stderr);
      assertEquals(await onHost("cat 901.json names; cmp names copy; ls -A"), `{}\n${expected}901.json\ncopy\nnames\n`);
      assertEquals(await onHost("stat -c '%a %U' 901.json names"), `640 root\n${name === "absent" ? 644 : 664} root\n`);
      const right = await check(testHost, setup, folder);
      assertEquals([right.code, [...new Set(Object.values(right.outcomes))]], [0, ["unchanged"]]);
      const before = await onHost("stat -c '%i %z' *");
      assertEquals([(await testHost.run(setup)).code, await onHost("stat -c '%i %z' *")], [0, before]);
    });
  }

  await t.step("what is unclear or cannot be run is an error that says why, and nothing is changed", async () => {
    await onHost("printf '# BEGIN phoenix_setup 901\\nhalf\\n' >names; cp names copy");
    const cases: [string, string][] = [
      [
        `hostBlock("${names}", { name: "901", content: "x" })`,
        `Cannot edit "${names}" on the host as the lines "# BEGIN phoenix_setup 901" and "# END phoenix_setup 901" are not there once`,
      ],
      [
        `hostFile("${folder}/none/x", { content: "x" })`,
        `Cannot write "${folder}/none/x" on the host: its folder is not there`,
      ],
      [`hostFile("${folder}", { content: "x" })`, "as it is not a regular file"],
      [
        `hostCommand("x", ["/usr/bin/cp"], { unless: ["/usr/bin/nosuch"] })`,
        'Cannot run "/usr/bin/nosuch" as there is no such program on the host',
      ],
      [
        `hostCommand("x", ["/usr/bin/cp"], { unless: ["/bin/sh", "-c", "kill -9 $$"] })`,
        `Cannot tell whether the host's command "x" is needed as its guard ended with exit code 137`,
      ],
      [`hostCommand("x", ["/usr/bin/cp"], { unless: ["/bin/false"] })`, "Command failed with exit code 1"],
      [`hostCommand("x", ["/bin/true"], { unless: ["/bin/false"] })`, "Applied without an error, but still different"],
    ];
    const setup = await setupWith(
      testHost,
      { ...needs, commands: ["/usr/bin/cp", "/usr/bin/nosuch", "/bin/sh", "/bin/false", "/bin/true"] },
      cases.map(([step]) =>
        `await ensure(${step}).catch((error) => console.log("Caught:", error.exitCode, error.message));`
      )
        .join("\n"),
    );
    const { stdout } = await testHost.run(setup);
    const caught = [...stdout.matchAll(/^Caught: (.*)$/gm)].map(([, text]) => text!);
    assertEquals(caught.length, cases.length, stdout);
    for (const [i, [step, message]] of cases.entries()) {
      assertStringIncludes(caught[i]!, message);
      assert(caught[i]!.startsWith("4 "), `${step}: ${caught[i]}`);
    }
    assertEquals(await onHost("cat names"), "# BEGIN phoenix_setup 901\nhalf\n");
  });
});

async function snapshots(testHost: TestHost): Promise<string[]> {
  const { stdout } = await testHost.host.run("/usr/sbin/pct", ["listsnapshot", String(testHost.ctid)]);
  return [...stdout.matchAll(/`-> (\S+)/g)].map(([, name]) => name!).filter((name) => name !== "current");
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function status(testHost: TestHost): Promise<string> {
  return (await testHost.host.run("/usr/sbin/pct", ["status", String(testHost.ctid)])).stdout.trim();
}

// The fleet's templates: stop, snapshot, start, wait; taken once.
testOnHost("a snapshot is taken once, and the container runs again", async (testHost, t) => {
  const setup = await testHost.setup(`await ensure(snapshot("base-1", { description: "ready" }));`);

  await t.step("check mode takes none", async () => {
    await testHost.host.run("/usr/sbin/pct", ["snapshot", "901", "base-1-old"]);
    assertEquals((await testHost.run(setup, ["901", "--check"])).code, 10);
    assertEquals([await snapshots(testHost), await status(testHost)], [["base-1-old"], "status: running"]);
  });

  await t.step("a run takes it, the next one leaves it", async () => {
    assertEquals((await testHost.run(setup)).code, 0);
    assertEquals([await snapshots(testHost), await status(testHost)], [["base-1-old", "base-1"], "status: running"]);
    const again = await testHost.run(setup);
    assertEquals([again.code, again.outcomes["snapshot base-1"]], [0, "unchanged"]);
    const { stdout } = await testHost.host.run("/usr/sbin/pct", ["listsnapshot", "901"]);
    assert(/base-1 .* ready$/m.test(stdout), stdout);
  });

  await t.step("a run that was killed in between is made good by the next one", async () => {
    await testHost.host.setFault("latency", 0.5);
    const next = await testHost.setup(`await ensure(snapshot("base-2"));`);
    const child = testHost.host.command(Deno.execPath(), [...await testHost.deno(next), "901"], {
      stdout: "null",
      stderr: "null",
    }).spawn();
    while (await status(testHost) !== "status: stopped") await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill("SIGKILL");
    await child.status;
    await testHost.host.setFault("latency", undefined);
    const { code, stdout, stderr } = await testHost.run(next);
    assertEquals(code, 0, stdout + stderr);
    assertEquals([(await snapshots(testHost)).at(-1), await status(testHost)], ["base-2", "status: running"]);
  });

  await t.step(
    "a refused one stops the run, and the container runs again, also where the HA manager does both later",
    async () => {
      const conf = await Deno.readTextFile(testHost.host.conf(901));
      await Deno.writeTextFile(
        testHost.host.conf(901),
        conf.replace(/^rootfs: .*$/m, "rootfs: local:901/vm-901-disk-0.raw"),
      );
      const setup = await testHost.setup(`
      await ensure(snapshot("base-3"));
      await ensure(command("after", sh\`touch /opt/after\`));`);
      const refused = async ({ code, stderr }: { code: number; stderr: string }) => {
        assertEquals(code, 4, stderr);
        assertStringIncludes(
          stderr,
          '"pct snapshot" failed with exit code 255 and said: snapshot feature is not available',
        );
        assertEquals([await status(testHost), (await snapshots(testHost)).includes("base-3")], [
          "status: running",
          false,
        ]);
        assertEquals(await testHost.inside("[ -e /opt/after ] || echo none"), "none");
      };
      await refused(await testHost.run(setup));

      await testHost.host.setFault("ha-managed", "901");
      const running = testHost.run(setup);
      const asked = async (subcommand: string) => {
        while (!(await testHost.host.pctCalls()).some(([name]) => name === subcommand)) await sleep(20);
      };
      /** What the HA manager then does. */
      const later = async (subcommand: string, then?: string) => {
        await testHost.host.setFault("ha-managed", undefined);
        await testHost.host.run("/usr/sbin/pct", [subcommand, "901"]);
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
    const next = await testHost.setup(`await ensure(snapshot("base-3"));`);
    const conf = await Deno.readTextFile(testHost.host.conf(901));
    await Deno.writeTextFile(testHost.host.conf(901), `lock: migrate\n${conf}`);
    setTimeout(() => Deno.writeTextFileSync(testHost.host.conf(901), conf), 1_000);
    const { code } = await testHost.run(next);
    assertEquals([code, await status(testHost)], [0, "status: running"]);
  });
});

// Traps 17 and 18 of pct: a container that a backup froze or stopped is waited for, and the log says so.
testOnHost("a container that a backup has stopped is waited for", async (testHost) => {
  const setup = await testHost.setup(`await ensure(command("mark", sh\`touch /opt/mark\`, { creates: "/opt/mark" }));`);
  await testHost.host.run("/usr/sbin/pct", ["stop", "901"]);
  const conf = await Deno.readTextFile(testHost.host.conf(901));
  await Deno.writeTextFile(testHost.host.conf(901), `lock: backup\n${conf}`);
  const running = testHost.run(setup);
  const log = () => Deno.readTextFile(testHost.host.logFile).catch(() => "");
  while (!(await log()).includes("Waiting for")) await new Promise((resolve) => setTimeout(resolve, 50));
  await Deno.writeTextFile(testHost.host.conf(901), conf);
  await testHost.host.run("/usr/sbin/pct", ["start", "901"]);
  const { code, stderr } = await running;
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, "Waiting for container 901, which is stopped and locked (backup)");
});

testOnHost(
  "a container that is away before the first look of a wait, or in the middle of one, is waited for",
  async (testHost) => {
    const go = (name: string) => Deno.writeTextFile(`${testHost.host.etc}/${name}`, "");
    const setup = await testHost.setup(`
    const reached = async (name) => {
      console.log("reached", name);
      while (!await Deno.stat("/usr/local/phoenix_hypervisor/etc/" + name).catch(() => false)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await ensure(exists("/opt"));
    await reached("stop");
    await ensure(exists("/opt/started", { within: "50s" }));
    await ensure(succeeds("thawed", sh\`touch /opt/looking; until [ -e /opt/thawed ]; do sleep 0.05; done\`, { within: "50s" }));`);
    const child = testHost.host.command(Deno.execPath(), [...await testHost.deno(setup), "901"], {
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    let stdout = "", stderr = "";
    const heard = (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) stdout += text;
    })();
    const told = (async () => {
      for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) stderr += text;
    })();
    const until = async (what: () => boolean) => {
      for (let i = 0; i < 3000 && !what(); i++) await sleep(20);
    };
    await until(() => stdout.includes("reached stop"));
    await testHost.host.run("/usr/sbin/pct", ["stop", "901"]);
    await go("stop");
    await until(() => stderr.includes("Waiting for container 901"));
    await testHost.host.run("/usr/sbin/pct", ["start", "901"]);
    await testHost.inside("touch /opt/started");
    // As the freezer does, but for what `pct exec` itself waits for, which would stop, too.
    const signal = (name: string) =>
      testHost.inside(`for p in /proc/[0-9]*/stat; do
        read -r s <"$p" && set -- \${s##*) } && [ "$2" -gt 1 ] && [ "\${p%/*}" != /proc/$$ ] && p=\${p%/*} && kill -${name} "\${p##*/}"
      done 2>/dev/null; true`);
    await testHost.inside("until [ -e /opt/looking ]; do sleep 0.01; done");
    await signal("STOP");
    await testHost.inside("touch /opt/thawed");
    await sleep(700);
    assert(!stdout.includes("Step 3: thawed: "), stdout);
    await signal("CONT");
    assertEquals((await child.status).code, 0, stdout + stderr);
    await Promise.all([heard, told]);
    assertMatch(stdout, /Step 3: thawed: (un)?changed/);
  },
);

// Check mode predicts what the run then changes, also of what depends on files that steps before would write.
testOnHost("a restart, and another run of a script, are predicted", async (testHost) => {
  const body = (content: string, mode: string) => `
    await ensure(file("/etc/app.conf", { content: "${content}", mode: ${mode} }));
    await ensure(service("app", {
      unit: "[Service]\\nExecStart=/bin/sleep 1000\\n[Install]\\nWantedBy=multi-user.target\\n",
      restartWith: ["/etc/app.conf"],
    }));
    await ensure(script("index", { content: "true", inputs: ["/etc/app.conf"] }));`;
  const cases: [content: string, mode: string, changed: string[]][] = [
    ["two", "0o644", ["file /etc/app.conf", "service app", "index"]],
    ["two", "0o640", ["file /etc/app.conf"]],
  ];
  const told = ({ outcomes }: TestRun) =>
    Object.entries(outcomes).filter(([, it]) => it !== "unchanged").map(([n]) => n);
  assertEquals((await testHost.run(await testHost.setup(body("one", "0o644")))).code, 0);
  for (const [content, mode, changed] of cases) {
    const setup = await testHost.setup(body(content, mode));
    const predicted = await check(testHost, setup);
    const run = await testHost.run(setup);

    assertEquals(
      [run.code, told(predicted), told(run)],
      [0, changed, changed],
      predicted.stdout + run.stdout + run.stderr,
    );
  }
});

// Requirements, section 2: host-level configuration, all within what the setup declares.
testOnHost("a host file outside of what the setup declares is refused with exit code 70", async (testHost) => {
  const { code, stderr } = await testHost.run(
    await testHost.setup(`await ensure(hostFile("/etc/motd.phoenix", { content: "x" }));`),
  );
  assertEquals(code, 70, stderr);
  assertStringIncludes(stderr, "declare it in the setup: { reads: [");
});

// Secrets: read from a host file, and nowhere in what a failing run emits.
testOnHost("a secret reaches its place, and nothing that is emitted", async (testHost) => {
  const value = 'geheim "%&/\\n +xyz';
  await Deno.writeTextFile(`${testHost.host.etc}/token.conf`, `TOKEN=${value}\n`, { mode: 0o600 });
  const setup = await testHost.setup(`
    const token = await secret("API token", { file: "/usr/local/phoenix_hypervisor/etc/token.conf" });
    await ensure(file("/opt/token", { content: token }));
    await ensure(docker.container("web", { image: "alpine:3.22", command: ["sleep", "1000"], environment: { TOKEN: token } }));
    await ensure(command("leak", sh\`echo \${token}; printf %s \${token} | base64; cat /opt/token >&2; ps ax >&2; exit 3\`));`);
  const { code, stdout, stderr } = await testHost.run(setup, ["901", "--verbose"]);
  assertEquals(code, 4, stderr);
  assertEquals(await testHost.inside("cat /opt/token; stat -c %a /opt/token"), `${value}600`);
  assertStringIncludes(await testHost.inside("docker inspect web"), JSON.stringify(`TOKEN=${value}`));
  const emitted = [
    stdout,
    stderr,
    await Deno.readTextFile(testHost.host.logFile),
    await Deno.readTextFile(`${testHost.host.stateDirectory}/pct.log`),
  ].join("\n");
  assertStringIncludes(emitted, "[secret: API token]");
  for (const form of formsOf(value)) {
    assert(!emitted.includes(form), `${form} was emitted`);
  }
  const missing = await testHost.run(
    await testHost.setup(`await secret("API token", { file: "/usr/local/phoenix_hypervisor/etc/none.conf" });`),
  );
  assertEquals(missing.code, 2);
  assertStringIncludes(missing.stderr, '"/usr/local/phoenix_hypervisor/etc/none.conf" is not there');
});
