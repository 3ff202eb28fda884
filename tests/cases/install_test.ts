/**
 * `deno task install` on a host: what it places where, what it leaves alone, and what it says of it.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { build } from "../../bin/compile.ts";
import type { ProxmoxHost } from "../hosts/host.ts";
import { writeSetup } from "../support/setup_file.ts";
import { beginHost, project, testWithHosts } from "../support/test_host.ts";
import { empty } from "./setups/install.ts";

const BIN = "/usr/local/phoenix_hypervisor/bin";

/** A host to install files on, and the files that were built for it. It has no containers. */
class Place implements AsyncDisposable {
  private constructor(readonly host: ProxmoxHost, readonly built: string) {}

  static async make(): Promise<Place> {
    const host = await beginHost([]);
    await host.run("/bin/ln", ["-sfn", Deno.execPath(), "/usr/local/bin/deno"]);
    const built = `${host.stateDirectory}/built`;
    await Deno.mkdir(built);
    const names = { 901: "Portainer", 902: "GPUtemplate", 907: "unknown" };
    const sources = await Promise.all(
      Object.entries(names).map(([ctid, name]) => writeSetup(host.stateDirectory, empty, Number(ctid), name)),
    );
    await build(sources, built, { form: "script" });
    return new Place(host, built);
  }

  /** The task, as `deno.json` runs it. */
  command(...args: string[]): [string, ...string[]] {
    const deno = ["run", "--quiet", "-A", `${project}bin/install.ts`];
    return [Deno.execPath(), ...deno, ...args];
  }

  install(...args: string[]) {
    const [program, ...rest] = this.command(...args);
    return this.host.run(program, rest, { cwd: "/" });
  }

  /** Runs a command on the host, and gives its stdout. */
  async on(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.host.run("/bin/sh", ["-c", script], { cwd: BIN });
    assertEquals(code, 0, stderr);
    return stdout.trim();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.host.close();
  }
}

type Case = (place: Place, t: Deno.TestContext) => Promise<void>;
const cases: Record<string, Case> = {};

cases["places files, and takes them away again"] = async (place, t) => {
  const { built } = place;
  await place.on("echo '#!/bin/sh' >phoenix_establish_hypervisor.sh; chmod 700 phoenix_establish_hypervisor.sh");
  const listing = () => place.on("stat -c '%n %i %a %u:%g %Y' * | sort; readlink *.sh || :");

  await t.step("as root's, executable, with the orchestrator's name, and nothing else beside them", async () => {
    await Deno.chmod(`${built}/phoenix_hypervisor_setup_901`, 0o600);
    const { code, stdout, stderr } = await place.install("901", "--from", built);
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^901 {2}installed: \/usr\/local\/.*\/phoenix_hypervisor_setup_901 and \.sh, .* Portainer\n$/);
    assertEquals(
      await place.on("stat -c '%n %a %u:%g' .* * | grep -v '^\\.\\.\\? '; readlink phoenix_hypervisor_setup_901.sh"),
      [
        "phoenix_establish_hypervisor.sh 700 0:0",
        "phoenix_hypervisor_setup_901 755 0:0",
        "phoenix_hypervisor_setup_901.sh 777 0:0",
        "phoenix_hypervisor_setup_901",
      ].join("\n"),
    );
    assertStringIncludes(await place.on("env -i ./phoenix_hypervisor_setup_901.sh --version"), "Portainer");
  });

  await t.step("once: a second time changes nothing", async () => {
    const before = await listing();
    const { code, stdout } = await place.install("901", "--from", built);
    assertEquals(code, 0);
    assertMatch(stdout, /^901 {2}unchanged: /);
    assertEquals(await listing(), before);
  });

  await t.step("again where something is not right any more", async () => {
    for (
      const damage of [
        "chmod 644 phoenix_hypervisor_setup_901",
        "rm phoenix_hypervisor_setup_901.sh",
        "rm phoenix_hypervisor_setup_901",
        "echo >>phoenix_hypervisor_setup_901",
        "cp --remove-destination phoenix_hypervisor_setup_901 phoenix_hypervisor_setup_901.sh",
      ]
    ) {
      await place.on(damage);
      assertMatch((await place.install("901", "--from", built)).stdout, /^901 {2}installed: /, damage);
      assertMatch((await place.install("901", "--from", built)).stdout, /^901 {2}unchanged: /, damage);
    }
  });

  await t.step("all of them, but those that the host's configuration does not mean", async () => {
    const file = `${place.host.etc}/phoenix_lxc_configs.json`;
    const config = await Deno.readTextFile(file);
    await Deno.writeTextFile(
      file,
      config.replace('"GPUtemplate"', '"mailserver"').replace("Portainer", "PORTAINER.lan"),
    );
    const { code, stdout } = await place.install("--all", "--from", built);
    assertEquals(code, 0);
    const etc = "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json";
    const [first, ...skipped] = stdout.trimEnd().split("\n");
    assertMatch(first!, /^901 {2}unchanged/);
    assertEquals(skipped, [
      `902  skipped: "${etc}" calls it "mailserver", the setup is for "GPUtemplate"`,
      `907  skipped: "${etc}" has no container 907`,
    ]);
    assert(!(await listing()).includes("902"));
    await Deno.remove(file);
    const without = await place.install("--all", "--from", built);
    assertEquals(without.code, 1);
    assertStringIncludes(without.stderr, `there is no "${etc}": name their CTIDs`);
    await Deno.writeTextFile(file, config);
  });

  await t.step("away, and only its own", async () => {
    assertEquals((await place.install("901", "--uninstall")).stdout, "901  removed\n");
    assertEquals((await place.install("901", "--uninstall")).stdout, "901  unchanged: not installed\n");
    assertMatch(await listing(), /^phoenix_establish_hypervisor\.sh \S+ 700 0:0 \d+$/);
    await place.on("echo mine >phoenix_hypervisor_setup_905");
    assertEquals(await place.install("--all", "--uninstall"), { code: 0, stdout: "", stderr: "" });
    assertEquals(await place.on("cat phoenix_hypervisor_setup_905"), "mine");
  });
};

cases["leaves alone what is not its own"] = async (place, t) => {
  const { built } = place;
  const own = "#!/bin/bash\n# phoenix_hypervisor_setup_901 of my own\ntouch /run/was-run\n";

  for (
    const [what, make] of Object.entries({
      "a script of the orchestrator's name":
        "cat >phoenix_hypervisor_setup_901.sh; chmod 755 phoenix_hypervisor_setup_901.sh",
      "a script of the file's name": "cat >phoenix_hypervisor_setup_901; chmod 755 phoenix_hypervisor_setup_901",
      "a link to somewhere else": "cat >mine; ln -s mine phoenix_hypervisor_setup_901.sh",
      "a program": "cat >/dev/null; cp /bin/true phoenix_hypervisor_setup_901",
      "a folder": "cat >/dev/null; mkdir phoenix_hypervisor_setup_901.sh",
    })
  ) {
    await t.step(what, async () => {
      const { code } = await place.host.run("/bin/sh", ["-c", make], { cwd: BIN, stdin: own });
      assertEquals(code, 0);
      const before = await place.on("stat -c '%n %i %Y' *901*");
      for (const args of [["901", "902", "--from", built], ["901", "902", "--uninstall"]]) {
        const { code, stdout, stderr } = await place.install(...args);
        assertEquals(code, 1);
        assertMatch(
          stderr,
          /^901 {2}failed: Cannot replace or remove ".*901(\.sh)?" as it was not built by this project: look at it, and move it away first\n$/,
        );
        assertMatch(stdout, /^902 {2}(installed|removed)/, "the others are served");
        assertEquals(await place.on("stat -c '%n %i %Y' *901*"), before);
      }
      assertEquals(await place.on("test ! -e /run/was-run && echo never run"), "never run");
      await place.on("rm -rf *901* mine");
    });
  }
};

cases["replaces a file whole or not at all"] = async (place, t) => {
  const built = `${place.host.stateDirectory}/damaged`;
  await Deno.mkdir(built);
  await Deno.copyFile(`${place.built}/phoenix_hypervisor_setup_901`, `${built}/phoenix_hypervisor_setup_901`);
  assertEquals((await place.install("901", "--from", built)).code, 0);
  const right = await place.on("sha256sum *; ls -A");
  const source = `${built}/phoenix_hypervisor_setup_901`;
  const whole = await Deno.readTextFile(source);

  await t.step("a file that was cut off on its way is not placed", async () => {
    await Deno.writeTextFile(source, whole.slice(0, whole.length / 2));
    const { code, stderr } = await place.install("901", "--from", built);
    assertEquals(code, 1);
    assertMatch(
      stderr,
      /^901 {2}failed: Cannot use ".*": expected it to answer --version with "phoenix_hypervisor_setup_901 .*", found "/,
    );
    assertEquals(await place.on("sha256sum *; ls -A"), right);
  });
  await t.step("a file of another origin is not placed", async () => {
    await Deno.writeTextFile(source, "#!/bin/sh\ntouch /run/was-run\n");
    const { code, stderr } = await place.install("901", "--from", built);
    assertEquals(code, 1);
    assertStringIncludes(stderr, 'There is no setup for "901". There are: none');
    assertEquals(await place.on("sha256sum *; ls -A; test ! -e /run/was-run"), right);
  });
  await t.step("what a run that was killed left behind is cleared up", async () => {
    await Deno.writeTextFile(source, whole.replace("exit 70", "exit 70 "));
    await place.on("echo half >.phoenix_hypervisor_setup_901.new");
    assertMatch((await place.install("901", "--from", built)).stdout, /^901 {2}installed/);
    assertEquals(await place.on("ls -A"), "phoenix_hypervisor_setup_901\nphoenix_hypervisor_setup_901.sh");
  });
  await t.step("where Deno is missing, a script is not placed", async () => {
    await Deno.writeTextFile(source, whole.replaceAll(/\/[\w./]+\/deno\b/g, "/nonexistent/deno"));
    const { code, stderr } = await place.install("901", "--from", built);
    assertEquals(code, 1);
    assertStringIncludes(stderr, "Cannot find Deno");
  });
};

cases["builds what it places"] = async (place) => {
  const { code, stdout, stderr } = await place.install("901", "--form", "script");
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^901 {2}installed: /);
  assertMatch((await place.install("901", "--form", "script")).stdout, /^901 {2}unchanged: /);
  assertStringIncludes(await place.on("env -i ./phoenix_hypervisor_setup_901.sh --version"), "Portainer");
};

cases["says what is wrong with the call"] = async (place, t) => {
  const wrong: [args: string[], message: string][] = [
    [[], "No CTID given. There are: 901"],
    [["777", "--form", "script"], 'There is no setup for "777". There are: 901'],
    [["901", "--from", "/tmp", "--uninstall"], "exclude each other"],
    [["901", "--from", "/tmp", "--form", "script"], "exclude each other"],
    [["901", "--prefix", "/nonexistent"], 'There is no folder "/nonexistent/bin"'],
    [["901", "--frob"], "Unknown option '--frob'"],
  ];
  await Promise.all(wrong.map(async ([args, message]) => {
    const { code, stdout, stderr } = await place.install(...args);
    assertEquals([code, stdout], [1, ""]);
    assertStringIncludes(stderr, message);
    assert(!stderr.includes("    at "), stderr);
  }));
  assertStringIncludes(
    (await place.install("--help")).stdout,
    "deno task install <CTID…>|--all [--prefix DIR] --from DIR",
  );

  const asUser = ["--user", "--map-user=1000", "--map-group=1000"];
  const canBeUser = (await place.host.run("/usr/bin/unshare", [...asUser, "/bin/true"])).code === 0;
  await t.step({
    name: "and to whom it is not root's",
    ignore: !canBeUser,
    async fn() {
      const { code, stderr } = await place.host.run("/usr/bin/unshare", [...asUser, ...place.command("901")]);
      assertEquals(code, 1);
      assertStringIncludes(stderr, "run this as root");
    },
  });
};

testWithHosts("deno task install", async (t) => {
  await using place = await Place.make();
  for (const [name, run] of Object.entries(cases)) {
    await t.step(name, (t) => run(place, t));
    await place.on("find . -mindepth 1 -delete");
  }
});
