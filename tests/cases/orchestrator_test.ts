/**
 * Built setups as the orchestrator meets them: found by name, run by name, judged by exit code; and what they are
 * permitted.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { build, FORMS } from "../../bin/compile.ts";
import type { ProxmoxHost } from "../hosts/host.ts";
import { denortMissing } from "../support/denort.ts";
import { writeSetup } from "../support/setup_file.ts";
import { beginHost, project, skipReason, testWithHosts } from "../support/test_host.ts";
import { type ATTEMPTS, attempts } from "./setups/attempts.ts";
import { configured, failing, marking } from "./setups/orchestrator.ts";

const BIN = "/usr/local/phoenix_hypervisor/bin";

/** What a run says of each attempt at what its setup did not declare, and the declaration that it names. */
const REFUSED: Record<Exclude<keyof typeof ATTEMPTS, "nothing">, [refusal: string, declaration: string]> = {
  "net": [`net access to "10.9.9.9:80"`, `{ addresses: ["10.9.9.9:80"] }`],
  "net, in a step": [
    `in step "https://10.9.9.9 answers 200 to the host": net access to "10.9.9.9:443"`,
    `{ addresses: ["10.9.9.9:443"] }`,
  ],
  "net, through a Node module": [`net access to "10.9.9.9:80"`, `{ addresses: ["10.9.9.9:80"] }`],
  "read": [`read access to "/etc/shadow"`, `{ reads: ["/etc/shadow"] }`],
  "read, in a step": [`in step "file /x": read access to "/etc/shadow"`, `{ reads: ["/etc/shadow"] }`],
  "read, through a Node module, wrapped": [`read access to "/etc/shadow"`, `{ reads: ["/etc/shadow"] }`],
  "write": [`write access to "/etc/x"`, `{ writes: ["/etc/x"] }`],
  "write, to the folder of the setups": [
    `write access to "${BIN}/phoenix_hypervisor_setup_901"`,
    `{ writes: ["${BIN}/phoenix_hypervisor_setup_901"] }`,
  ],
  "read, by an import": [`read access to "/etc/x.js"`, `{ reads: ["/etc/x.js"] }`],
  "an import from another machine": [`import access to "10.9.9.9:443"`, "a setup cannot be permitted this"],
  "run": [`in step "x": run access to "/bin/id"`, `{ commands: ["/bin/id"] }`],
  "env": [`env access to "SECRET"`, `{ environment: ["SECRET"] }`],
  "env, all of it": [`env access to everything`, `{ environment: […] }`],
  "ffi": [`ffi access to "/lib/x.so"`, "a setup cannot be permitted this"],
  "sys": [`sys access to "hostname"`, "a setup cannot be permitted this"],
  "an error that nobody waits for": [`read access to "/etc/shadow"`, `{ reads: ["/etc/shadow"] }`],
};

const PARTS = {
  "the orchestrator finds each by its name, runs it and reads its exit code": orchestrated,
  "what one did not declare ends its run with exit code 70 and the declaration to add": refused,
  "a path that the configuration names is permitted or declared, else the exit code is 2": configuredPaths,
};

for (const form of FORMS) {
  const reason = skipReason ?? (form === "executable" ? denortMissing() : undefined);
  testWithHosts(`setups built as ${form}`, async (t) => {
    await using host = await beginHost([
      { ctid: 901, hostname: "Portainer" },
      { ctid: 905, hostname: "renamed" },
      { ctid: 906, hostname: "last" },
      { ctid: 907, hostname: "tries" },
      { ctid: 908, hostname: "undeclared" },
      { ctid: 909, hostname: "declared" },
      { ctid: 910, hostname: "fails" },
      { ctid: 911, hostname: "none" },
      { ctid: 912, hostname: "stopped", running: false },
    ]);
    await host.run("/bin/ln", ["-sfn", Deno.execPath(), "/usr/local/bin/deno"]); // Where installations have it.
    const folder = `${host.stateDirectory}/build`;
    await Deno.mkdir(folder);
    const declared = { reads: ["/srv/phoenix"], writes: ["/srv/log"] };
    const sources = await Promise.all([
      writeSetup(folder, marking, 901, "Portainer"),
      writeSetup(folder, failing, 910, "fails"),
      writeSetup(folder, marking, 912, "stopped"),
      writeSetup(folder, marking, 906, "last"),
      writeSetup(folder, attempts),
      writeSetup(folder, configured, 908, "undeclared"),
      writeSetup(folder, configured, 909, "declared", declared),
    ]);
    await build(sources, folder, { form });
    for (const [name, part] of Object.entries(PARTS)) await t.step(name, (t) => part(t, host, folder));
  }, reason);
}

// Nothing is read but the exit code, and one failure does not stop the others.
async function orchestrated(t: Deno.TestContext, host: ProxmoxHost, folder: string): Promise<void> {
  const installed = await host.run(Deno.execPath(), [
    ...["run", "--no-prompt", "--allow-read", "--allow-write", "--allow-run", "--allow-env", "--allow-sys=uid"],
    ...[`${project}bin/install.ts`, "901", "906", "910", "912", "--from", folder],
  ]);
  assertEquals(installed.code, 0, installed.stderr);
  await host.run("/bin/cp", ["-P", `${BIN}/phoenix_hypervisor_setup_906`, `${BIN}/phoenix_hypervisor_setup_905`]);
  await host.run("/bin/ln", ["-s", "phoenix_hypervisor_setup_905", `${BIN}/phoenix_hypervisor_setup_905.sh`]);

  const environments: Record<string, { env: Record<string, string>; cwd: string; shell: string }> = {
    "an empty environment": { env: {}, cwd: "/", shell: 'exec "$0" "$@"' },
    "cron's environment": {
      env: { PATH: "/usr/bin:/bin", SHELL: "/bin/sh", HOME: "/root", LOGNAME: "root", LC_ALL: "C", LANG: "C" },
      cwd: "/var/tmp",
      shell: 'exec "$0" "$@"',
    },
    "stdin closed, and a home that is none": {
      env: { PATH: "/bin", HOME: "/proc/none", TERM: "xterm", BASH_ENV: "/dev/null" },
      cwd: "/tmp",
      shell: 'exec "$0" "$@" <&-',
    },
  };
  for (const [name, { env, cwd, shell }] of Object.entries(environments)) {
    await t.step(name, async () => {
      const ctids = ["901", "910", "911", "912", "905", "906"];
      const { code, stdout, stderr } = await host.run(
        "/bin/bash",
        ["-c", shell, `${project}tests/fixtures/run_specific_setup_script`, BIN, ...ctids],
        { clearEnv: true, env, cwd },
      );
      assertEquals(code, 0, stderr);
      const verdicts = stdout.split("\n").filter((line) => line.startsWith("ORCHESTRATOR "));
      assertEquals(verdicts, [
        "ORCHESTRATOR 901: succeeded",
        "ORCHESTRATOR 910: failed with exit code 4",
        "ORCHESTRATOR 911: no specific setup script",
        "ORCHESTRATOR 912: failed with exit code 3",
        "ORCHESTRATOR 905: failed with exit code 1",
        "ORCHESTRATOR 906: succeeded",
      ], stderr);
      assertStringIncludes(stderr, "Container 912 is stopped");
      assertStringIncludes(stderr, "CTID 905 does not belong to this executable, which sets up container 906");
      assertMatch(await Deno.readTextFile(host.logFile), /container 906 completed successfully\n$/);
    });
  }

  await t.step("each time what was right was left alone", async () => {
    const { stdout } = await host.run("/usr/sbin/pct", ["exec", "906", "--", "cat", "/mark"]);
    assertEquals(stdout, "x\n");
  });

  await t.step("with an argument that is its file name's and not its own it does nothing either", async () => {
    const { code, stderr } = await host.run(`${BIN}/phoenix_hypervisor_setup_905.sh`, ["906"], { clearEnv: true });
    assertEquals(code, 1);
    assertMatch(stderr, /CTID 906 does not match the file name "phoenix_hypervisor_setup_905(\.sh)?"/);
  });
}

// A setup declares what it needs of the host, and its executable is permitted that and no more.
async function refused(t: Deno.TestContext, host: ProxmoxHost, folder: string): Promise<void> {
  const attempt = (name: string) =>
    host.run(`${folder}/phoenix_hypervisor_setup_907`, ["907"], { clearEnv: true, env: { ATTEMPT: name } });
  for (const [name, [refusal, declaration]] of Object.entries(REFUSED)) {
    await t.step(name, async () => {
      const { code, stdout, stderr } = await attempt(name);
      assertEquals(code, 70, stderr + stdout);
      assertStringIncludes(stderr, refusal);
      assertStringIncludes(stderr, declaration);
    });
  }
  await t.step("and what it declared it can do", async () => {
    assertEquals((await attempt("nothing")).code, 0);
  });
}

// What a person chose when it runs is no defect of the setup: the configuration or the declaration has to change.
async function configuredPaths(t: Deno.TestContext, host: ProxmoxHost, folder: string): Promise<void> {
  const run = (ctid: number, env: Record<string, string> = {}, ...args: string[]) =>
    host.run(`${folder}/phoenix_hypervisor_setup_${ctid}`, [String(ctid), ...args], { clearEnv: true, env });

  const configFile = `${host.etc}/phoenix_hypervisor_config.json`;
  const standard = await Deno.readTextFile(configFile);
  const configure = (key: string, path: string) => {
    const config = JSON.parse(standard);
    config.core_paths[key] = path;
    return Deno.writeTextFile(configFile, JSON.stringify(config));
  };
  // Inside, as the machine's /srv is to stay as it is.
  const prepare = `mount -t tmpfs tmpfs /srv && cd /srv && mkdir phoenix log && echo image >phoenix/image.tar &&
    echo token >phoenix/token && cp "$0/phoenix_lxc_configs.json" phoenix/lxc.json &&
    echo token >"$0/phoenix_hf_token.conf" && mkdir -p "$0/proxmox_docker_images" &&
    echo image >"$0/proxmox_docker_images/image.tar"`;
  const prepared = await host.run("/bin/sh", ["-c", prepare, "/usr/local/phoenix_hypervisor/etc"]);
  assertEquals(prepared.code, 0, prepared.stderr);

  const cases: Record<string, { env?: Record<string, string>; args?: string[]; key?: string; path: string }> = {
    "the containers' configuration": {
      env: { PHOENIX_LXC_CONFIG_FILE: "/srv/phoenix/lxc.json" },
      path: "/srv/phoenix/lxc.json",
    },
    "the log": { env: { PHOENIX_LOG_FILE: "/srv/log/phoenix.log" }, path: "/srv/log/phoenix.log" },
    "the log, by option": { args: ["--log-file", "/srv/log/phoenix.log"], path: "/srv/log/phoenix.log" },
    "the file of a secret": { key: "hf_token_file", path: "/srv/phoenix/token" },
    "the folder of the archives": { key: "docker_images_path", path: "/srv/phoenix" },
  };
  for (const [name, { env = {}, args = [], key, path }] of Object.entries(cases)) {
    await t.step(name, async () => {
      if (key !== undefined) await configure(key, path);
      const field = path.includes("log") ? "writes" : "reads";
      const refused = await run(908, env, ...args);
      assertEquals(refused.code, 2, refused.stderr);
      assertStringIncludes(refused.stderr, `"${path}`);
      assertStringIncludes(refused.stderr, "as this program is not permitted to");
      assert(refused.stderr.includes(`${field}: ["${path}"]`), refused.stderr);
      const permitted = await run(909, env, ...args);
      assertEquals(permitted.code, 0, permitted.stderr);
      await Deno.writeTextFile(configFile, standard);
    });
  }
  await t.step("where it is by default it needs no declaration", async () => {
    const { code, stderr } = await run(908);
    assertEquals(code, 0, stderr);
  });
}
