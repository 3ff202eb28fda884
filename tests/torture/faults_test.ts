/**
 * What a run does when `pct`, the container, its disk, its locks or its own environment are broken: a sample of the cases of
 * `torture/faults.ts`, and what takes a process of its own.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { importArguments } from "../../bin/toolchain.ts";
import { Bench, FAULTS, SECRET, SECRET_FORMS, SECRET_ON_HOST, tells } from "./faults.ts";
import { ProcessWatch } from "./processes.ts";
import { project, skipReason } from "../support/test_host.ts";

Deno.test({
  name: skipReason === undefined
    ? "faults end in the right state, or with one clear error and its exit code"
    : `faults (${skipReason})`,
  ignore: skipReason !== undefined,
  async fn(t) {
    await using bench = await Bench.begin(1);
    for (const one of FAULTS.filter(({ sample }) => sample)) {
      await t.step(`${one.fault}: exit code ${one.code}`, async () => assertEquals((await bench.try(one)).wrong, []));
    }
    await t.step("a hostile environment and a terminal, with a secret in play", () => hostileEnvironment(bench));
  },
});

/**
 * What comes with the process: a C locale, the variables that kill Perl's `pct`, others that shells act on, a folder that the
 * container has as well, and a terminal, which would merge stdout and stderr if `pct` saw it.
 */
async function hostileEnvironment(bench: Bench): Promise<void> {
  const { host } = bench;
  const [line = ""] = (await Deno.readTextFile(`${project}setups/901.ts`)).split("\n");
  const setup = `${await Deno.makeTempDir({ dir: host.stateDirectory })}/901.ts`;
  await Deno.writeTextFile(
    setup,
    `import { command, file, main, setup, sh } from "${project}lib/mod.ts";
await main(setup(901, "Portainer", async ({ ensure, secret }) => {
  const token = await secret("token", { file: "${SECRET_ON_HOST}" });
  await ensure(file("/srv/größe", { content: "größe ✓" }));
  await ensure(file("/srv/token", { content: token, mode: 0o600 }));
  await ensure(command("where", sh\`{ pwd; umask; echo "$LC_ALL$BASH_ENV$ENV$CDPATH"; } >/srv/where
for n in 0 1 2; do [ ! -t $n ] || echo "$n is a terminal"; done >>/srv/where
printf '%s\\\\n' "$TOKEN" | grep -c . >>/srv/where; sleep 0.2; echo "said $TOKEN" >&2\`, {
    creates: "/srv/where",
    environment: { TOKEN: token },
  }));
}));
`,
  );
  await bench.inside("rm -rf /srv/*");
  await host.setFault("locale-noise", true);
  await Deno.writeTextFile(`${host.stateDirectory}/startup`, "echo evaluated >&2; exit 9\n");
  const startup = `${host.stateDirectory}/startup`;
  const words = [Deno.execPath(), "run", "--quiet", ...await importArguments(), ...line.split(" ").slice(4), setup];
  const watch = await ProcessWatch.start(SECRET_FORMS);
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
      DENO_DIR: Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`,
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
  assertEquals(await bench.inside("cat /srv/größe"), "größe ✓");
  assertEquals(await bench.inside("cat /srv/token"), SECRET);
  assertEquals(await bench.inside("cat /srv/where"), "/root\n0022\nC.UTF-8\n1");
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
