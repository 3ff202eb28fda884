/**
 * What a run does when `pct`, the container, its disk, its locks or its own environment are broken: a sample of the
 * cases in `fault_cases.ts`, and what takes a process of its own.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { permissionsIn, writeSetup } from "../support/setup_file.ts";
import { denoEnvironment, testWithHosts } from "../support/test_host.ts";
import { importArguments } from "../../bin/toolchain.ts";
import { FAULTS } from "./fault_cases.ts";
import { FaultHost, SECRET, SECRET_TRACES, tells } from "./fault_host.ts";
import { ProcessWatch } from "./processes.ts";
import { surroundings } from "./setups/faults.ts";

testWithHosts("faults end in the right state, or with one clear error and its exit code", async (t) => {
  await using host = await FaultHost.begin(1);
  for (const one of FAULTS.filter(({ sample }) => sample)) {
    await t.step(`${one.fault}: exit code ${one.code}`, async () => assertEquals((await host.try(one)).wrong, []));
  }
  await t.step("a hostile environment and a terminal, with a secret in play", () => hostileEnvironment(host));
});

/**
 * What comes with the process: a C locale, the variables that kill Perl's `pct`, others that shells act on, a folder
 * that the container has as well, and a terminal, which would merge stdout and stderr if `pct` saw it.
 */
async function hostileEnvironment(at: FaultHost): Promise<void> {
  const { host } = at;
  const setup = await writeSetup(await Deno.makeTempDir({ dir: host.stateDirectory }), surroundings);
  await at.inside("rm -rf /srv/*");
  await host.setFault("locale-noise", true);
  await Deno.writeTextFile(`${host.stateDirectory}/startup`, "echo evaluated >&2; exit 9\n");
  const startup = `${host.stateDirectory}/startup`;
  const words = [Deno.execPath(), "run", "--quiet", ...await importArguments(), ...await permissionsIn(setup), setup];
  const watch = await ProcessWatch.start(SECRET_TRACES);
  const { code, stdout, stderr } = await host.run("script", [
    "--quiet",
    "--return",
    "--command",
    `${words.join(" ")} --verbose 901`,
    "/dev/null",
  ], {
    cwd: "/usr/bin",
    clearEnv: true,
    env: {
      PATH: "/usr/bin:/bin",
      ...denoEnvironment(),
      LC_ALL: "C",
      TERM: "xterm",
      NO_COLOR: "1",
      BASH_ENV: startup,
      ENV: startup,
      CDPATH: "/etc:/tmp",
      PERL5OPT: "-MNoSuchModule",
    },
  });
  // A control: the watch sees what it is there for.
  await new Deno.Command("sh", { args: ["-c", "sleep 1; :", "sh", `x${encodeURIComponent(SECRET)}`] }).output();
  const { looks, seen } = await watch.stop();
  await host.setFault("locale-noise", undefined);

  assertEquals(code, 0, stdout + stderr);
  assertEquals(await at.inside("cat /srv/größe"), "größe ✓");
  assertEquals(await at.inside("cat /srv/token"), SECRET);
  assertEquals(await at.inside("cat /srv/where"), "/root\n0022\nC.UTF-8\n1");
  assertStringIncludes(stdout, "said [secret: token]");
  assert(!tells(stdout + stderr), "the secret is in the output");
  assert(!tells(await Deno.readTextFile(host.logFile)), "the secret is in the central log");
  const { stdout: locks } = await host.run("sh", ["-c", "cat /run/phoenix_setup/*"]);
  assert(!tells(locks), "the secret is in the lock file");
  assert(!(await host.pctCalls()).flat().some(tells), "the secret is an argument of pct");
  assert(looks > 5, `looked only ${looks} times`);
  const telling = seen.filter(({ where, inside }) => where === "cmdline" || !inside);
  assertEquals(telling.length, 1, JSON.stringify(telling));
  assertStringIncludes(telling[0]!.command, "sleep 1");
}
