/**
 * Steps that put files into a container and run scripts there, on a whole host.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname } from "@std/path";
import { type TestHost, testOnHost } from "../support/test_host.ts";
import * as setups from "./setups/files.ts";

/** Writes a file into the host's folder of what is copied, and gives its path on the host. */
async function onHost(testHost: TestHost, name: string, content: string | Uint8Array, mode = 0o644): Promise<string> {
  const path = `${setups.HOST_FOLDER}/${name}`;
  const outside = testHost.host.outside(path);
  await Deno.mkdir(dirname(outside), { recursive: true });
  await Deno.writeFile(outside, typeof content === "string" ? new TextEncoder().encode(content) : content);
  await Deno.chmod(outside, mode);
  return path;
}

/**
 * All that a step could have written: kinds, owners, modes, content; with other `traces` than none sizes, inodes and
 * times, too.
 */
async function stateOf(testHost: TestHost, traces = "%s %i %y"): Promise<string> {
  // BusyBox knows no `find -printf`.
  const state = await testHost.inside(
    `list() { find /etc /opt /srv /root /tmp /var/lib -xdev ! -path '/etc/ssl/*' "$@"; }
    list -exec stat -c '%N %F %a %U %G ${traces}' {} + | sort; list -type f -exec sha256sum {} + | sort -k 2`,
  );
  assertStringIncludes(state, "/etc/app/app.conf");
  return state;
}

testOnHost("files, folders, lines and scripts: absent, right and wrong", async (testHost, t) => {
  const large = new Uint8Array(3 * 1024 * 1024 + 1).map((_, i) => i % 251);
  await onHost(testHost, "model.gguf", large);
  await onHost(testHost, "site/index.html", "<h1>It's here</h1>\n");
  await onHost(testHost, "site/cgi/läuft.sh", "#!/bin/sh\necho ok\n", 0o755);
  await onHost(testHost, "token", "hunter2\n");
  await onHost(
    testHost,
    "build.sh",
    `#!/bin/sh -e\ncp "$1" /opt/built; echo "$TOKEN" | wc -c >>/opt/built\necho built it\n`,
  );
  await testHost.inside(`mkdir -p /etc/app /opt/old/deep; echo x >/opt/old/deep/y
    printf 'a=1\\n#mode fast\\nz=2' >/etc/app/app.conf; chmod 640 /etc/app/app.conf; chown www-data:daemon /etc/app/app.conf`);
  const setup = await testHost.setup(setups.oneOfEach);
  const titles = [
    "file /opt/models/a model.gguf",
    "folder /srv/site",
    'line "mode safe" in /etc/app/app.conf',
    "block fleet in /etc/app/app.conf",
    "/opt/old is absent",
    "build",
    "as user",
  ];
  const all = (outcome: string) => Object.fromEntries(titles.map((title) => [title, outcome]));
  let right = "";

  await t.step("absent: check mode says what would change, and writes nothing", async () => {
    const before = await stateOf(testHost);
    const { code, outcomes, stdout } = await testHost.run(setup, "--check");
    assertEquals([code, outcomes], [10, all("would change")]);
    for (
      const line of [
        "file: 3.0 MiB, mode 440",
        "folder: folder, mode 755",
        "cgi/läuft.sh: 18 bytes, mode 755",
        "- #mode fast",
        "+ mode safe",
        "+ peer=10.0.0.99",
        "/opt/old: a folder (to be removed)",
        "has not run yet",
      ]
    ) {
      assertStringIncludes(stdout, `    ${line}\n`);
    }
    assertEquals(await stateOf(testHost), before);
  });

  await t.step("absent: a run makes it so", async () => {
    const { code, outcomes, stdout, stderr } = await testHost.run(setup, "--verbose");
    assertEquals([code, stderr, outcomes], [0, "", all("changed")], stdout);
    assertStringIncludes(stdout, "3.0 MiB of 3.0 MiB sent\n");
    assertStringIncludes(stdout, "| built it\n");
    assert(!stdout.includes("hunter2"));
    assertEquals(
      await testHost.inside(
        `cat /etc/app/app.conf; stat -c '%n %a %U %G' /etc/app/app.conf /opt/models/* /srv/site/cgi/* /srv/site
        ls -A /opt /opt/models /run | grep phoenix_setup; cat /tmp/who; tail -n 1 /opt/built; stat -c %a /var/lib/phoenix_setup/scripts/*`,
      ),
      `a=1
mode safe
z=2
# BEGIN phoenix_setup fleet
peer=10.0.0.99
# END phoenix_setup fleet
/etc/app/app.conf 640 www-data daemon
/opt/models/a model.gguf 440 www-data root
/srv/site/cgi/läuft.sh 755 root www-data
/srv/site 755 root www-data
www-data
/var/www
8
600
600`,
    );
    assertEquals(await Deno.readFile(`${testHost.host.rootfs(901)}/opt/models/a model.gguf`), large);
    right = await stateOf(testHost, "");
  });

  await t.step("right: nothing is done, in two processes of pct, and check mode agrees", async () => {
    const before = await stateOf(testHost);
    const { code, outcomes, pctCalls } = await testHost.run(setup);
    assertEquals([code, outcomes, pctCalls.length], [0, all("unchanged"), 2]);
    const check = await testHost.run(setup, "--check");
    assertEquals([check.code, check.outcomes], [0, all("unchanged")]);
    assertEquals(await stateOf(testHost), before);
  });

  const damage = () =>
    testHost.inside(`printf X | dd of='/opt/models/a model.gguf' conv=notrunc seek=1000 bs=1 2>/dev/null
      chown daemon /opt/models/*; echo changed >/srv/site/index.html; chmod 600 /srv/site/cgi/*; touch "/srv/site/left over"
      sed -i 's/mode safe/mode fast/; /peer/d' /etc/app/app.conf; chmod 640 /etc/app/app.conf; chown www-data:daemon /etc/app/app.conf
      ln -s /etc /opt/old; rm /var/lib/phoenix_setup/scripts/*`);

  await t.step("wrong: check mode says what would change, and writes nothing", async () => {
    await damage();
    const before = await stateOf(testHost);
    const { code, outcomes, stdout } = await testHost.run(setup, "--check");
    assertEquals([code, outcomes], [10, all("would change")]);
    for (
      const line of [
        "content: other 3.0 MiB",
        "owner: daemon -> www-data",
        "content of index.html: 8 bytes -> 19 bytes",
        "mode of cgi/läuft.sh: 600 -> 755",
        "left over: not on the host (to be removed)",
        "- mode fast",
        "+ mode safe",
        "+ peer=10.0.0.99",
        "/opt/old: a symbolic link (to be removed)",
      ]
    ) {
      assertStringIncludes(stdout, `    ${line}\n`);
    }
    assertEquals(await stateOf(testHost), before);
  });

  await t.step("wrong: a run puts it right", async () => {
    const { code, outcomes } = await testHost.run(setup);
    assertEquals([code, outcomes], [0, all("changed")]);
    assertEquals(await stateOf(testHost, ""), right);
    assertEquals((await testHost.run(setup)).outcomes, all("unchanged"));
  });
});

// From 64 KiB on, content takes a process of its own. A name is only ever a name.
testOnHost("content of every kind, and names of every kind", async (testHost, t) => {
  await t.step("content", async () => {
    const lengths = [0, 1, 65_535, 65_536, 65_537, 300_000];
    for (const length of lengths) await onHost(testHost, `${length}`, setups.bytesOf(length));
    const setup = await testHost.setup(setups.ofLengths, ...lengths);
    const { code, outcomes, stdout } = await testHost.run(setup);
    assertEquals([code, new Set(Object.values(outcomes))], [0, new Set(["changed"])], stdout);
    for (const length of lengths) {
      for (const folder of ["content", "copy"]) {
        const path = `${testHost.host.rootfs(901)}/opt/${folder}/${length}`;
        assertEquals(await Deno.readFile(path), setups.bytesOf(length));
      }
    }
    // Equal content is not sent again, also where owner or permissions differ: the files stay the same ones.
    const files = () => testHost.inside("stat -c '%n %i %a %U' /opt/content/* /opt/copy/*");
    const before = await files();
    await testHost.inside("chmod 600 /opt/content/65535 /opt/copy/300000; chown daemon /opt/copy/300000");
    const again = await testHost.run(setup);
    const changed = Object.entries(again.outcomes).filter(([, outcome]) => outcome !== "unchanged");
    assertEquals([again.pctCalls.length, changed], [2, [
      ["file /opt/content/65535", "changed"],
      ["file /opt/copy/300000", "changed"],
    ]]);
    assertEquals(await files(), before);
  });

  await t.step("names", async () => {
    const names = [" ", "-rf", "a\nb", `it's "$(id)" \`id\``, "日本é", "*", "\\", "x".repeat(255)];
    assertEquals((await testHost.run(testHost.setup(setups.named, ...names))).code, 0);
    const folder = `${testHost.host.rootfs(901)}/opt/names`;
    const found = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
    assertEquals(found.sort(), names.toSorted());
    for (const name of names) assertEquals(await Deno.readTextFile(`${folder}/${name}`), name);
    assertEquals((await testHost.run(testHost.setup(setups.namedAbsent, ...names))).code, 0);
    assertEquals(await testHost.inside("ls -A /opt/names"), "");
  });
});

testOnHost("what goes wrong while a file is copied", async (testHost, t) => {
  const large = new Uint8Array(16 * 1024 * 1024).map((_, i) => i % 249);
  const from = await onHost(testHost, "large", large);
  const leftOver = () => testHost.inside("ls -A /opt/models 2>/dev/null | cat");

  await t.step("there is no such file on the host", async () => {
    const missing = `${setups.HOST_FOLDER}/none`;
    const { code, stderr } = await testHost.run(testHost.setup(setups.copy, "/opt/models/x", missing));
    assertEquals(code, 4);
    assertStringIncludes(stderr, `Cannot copy "${missing}" as there is no such file on the host`);
  });

  await t.step("the setup did not declare it", async () => {
    assertEquals((await testHost.run(testHost.setup(setups.copy, "/opt/models/x", "/root/x"))).code, 70);
  });

  await t.step("it grows while it is sent", async () => {
    const growing = await onHost(testHost, "growing", large);
    const outside = testHost.host.outside(growing);
    const writer = new Deno.Command("sh", {
      args: ["-c", `exec >>"$0"; while [ -e "$0" ]; do echo more; sleep 0.01; done`, outside],
    }).spawn();
    const { code, stderr } = await testHost.run(testHost.setup(setups.copy, "/opt/models/growing", growing));
    await Deno.remove(outside);
    await writer.output();
    assertEquals(code, 4);
    assertStringIncludes(stderr, `Cannot copy "${growing}" from the host as it was changed meanwhile`);
    await testHost.until('[ -z "$(ls -A /opt/models)" ]', 5_000);
  });

  await t.step("there is no room", async () => {
    await testHost.host.setFault("small-disk", 8);
    await testHost.pct("stop", "901");
    await testHost.pct("start", "901");
    const setup = await testHost.setup(setups.copy, "/opt/small/deep/x", from);
    const { code, stderr, stdout, pctCalls } = await testHost.run(setup);
    assertEquals([code, pctCalls.length], [4, 2], "it is not even tried");
    assertStringIncludes(
      stderr,
      'Only 8.0 MiB are free for "/opt/small/deep" inside the container, expected at least 16.0 MiB',
    );
    assertStringIncludes(stdout + stderr, "pct resize 901");
    await testHost.inside("ln -s /opt /srv/link");
    const removing = await testHost.run(testHost.setup(setups.nothingAt, "/srv/link/small"));
    assertEquals(removing.code, 4);
    assertStringIncludes(removing.stderr, 'Cannot remove "/srv/link/small" as something is mounted at "/opt/small"');
  });

  await t.step("a run that is killed meanwhile is made up for by the next one", async () => {
    const setup = await testHost.setup(setups.copy, "/opt/models/large", from);
    const child = await testHost.start(setup);
    await testHost.until("[ -e /opt/models/.large.phoenix_setup ] || [ -e /opt/models/large ]");
    child.kill("SIGKILL");
    await child.status;
    assertEquals((await testHost.run(setup)).code, 0);
    assertEquals(await leftOver(), "large");
    assertEquals(await Deno.readFile(`${testHost.host.rootfs(901)}/opt/models/large`), large);
  });
});

testOnHost(
  "a script that is ended, by its time or by a signal, leaves no trace and runs again",
  async (testHost, t) => {
    const clean = async () => {
      assertEquals(await testHost.inside("ls -A /run /var/lib | grep phoenix_setup | cat"), "");
      assertEquals(await testHost.inside("kill -0 $(cat /tmp/pid) 2>/dev/null && echo alive || echo gone"), "gone");
    };

    await t.step("time-out: exit code 5", async () => {
      const { code, stderr } = await testHost.run(testHost.setup(setups.slowScript, "2s"));
      assertEquals(code, 5);
      assertStringIncludes(stderr, "Command did not end within 2.0 s and was ended");
      await clean();
    });

    await t.step("SIGTERM: exit code 143", async () => {
      await testHost.inside("rm /tmp/pid");
      const child = await testHost.start(await testHost.setup(setups.slowScript, "1m"));
      await testHost.until("[ -s /tmp/pid ]");
      child.kill("SIGTERM");
      assertEquals((await child.status).code, 143);
      await clean();
    });

    await t.step("then it runs, and that is that", async () => {
      await testHost.inside("touch /opt/quick");
      const setup = await testHost.setup(setups.slowScript, "1m");
      assertEquals([(await testHost.run(setup)).code, (await testHost.run(setup)).outcomes], [0, {
        slow: "unchanged",
      }]);
      assertEquals(await testHost.inside("cat /opt/ran"), "ran");
    });
  },
);
