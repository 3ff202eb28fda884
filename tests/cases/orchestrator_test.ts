/**
 * Built setups as the orchestrator meets them: found by name, run by name, judged by exit code; and what they are permitted.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { build, FORMS } from "../../bin/compile.ts";
import { SimulatedHost } from "../hosts/simulated/simulated_host.ts";
import { denortMissing } from "../support/denort.ts";
import { project, skipReason } from "../support/test_host.ts";

const BIN = "/usr/local/phoenix_hypervisor/bin";

/** Writes the setup of a container as a file of its own, and gives its path. */
async function writeSetup(folder: string, ctid: number, name: string, body: string, needs = "{}"): Promise<string> {
  const path = `${folder}/${ctid}.ts`;
  await Deno.writeTextFile(
    path,
    `// @ts-nocheck: some of these do what no setup should.
import { command, file, http, main, setup, sh } from "${project}lib/mod.ts";
import { hostCommand } from "${project}lib/steps/host_command.ts";
void [command, file, hostCommand, http, sh];
export const it = setup(${ctid}, "${name}", ${needs}, async (context) => {
  const { ensure, environment } = context;
  void [ensure, environment];
  ${body}
});
if (import.meta.main) await main(it);
`,
  );
  return path;
}

const MARK = `await ensure(command("mark", sh\`echo x >>/mark\`, { creates: "/mark" }));`;

/** Uses what the host's configuration names. */
const CONFIGURED = `
  const secret = await context.secret("HF_TOKEN", { file: context.hypervisor.hfTokenFile });
  await ensure(file("/token", { content: secret }));
  await ensure(file("/image", { from: \`\${context.hypervisor.dockerImagesPath}/image.tar\` }));`;

/** What a setup does that did not declare it, what the run then says of it, and the declaration that it names. */
const REFUSED: Record<string, [body: string, refusal: string, declaration: string]> = {
  "net": [`await fetch("http://10.9.9.9/");`, `net access to "10.9.9.9:80"`, `{ addresses: ["10.9.9.9:80"] }`],
  "net, in a step": [
    `await ensure(http("https://10.9.9.9", { from: "host", insecure: true }));`,
    `in step "https://10.9.9.9 answers 200 to the host": net access to "10.9.9.9:443"`,
    `{ addresses: ["10.9.9.9:443"] }`,
  ],
  "net, through a Node module": [
    `const { connect } = await import("node:net");
         await new Promise((_, reject) => connect(80, "10.9.9.9").on("error", reject));`,
    `net access to "10.9.9.9:80"`,
    `{ addresses: ["10.9.9.9:80"] }`,
  ],
  "read": [
    `await Deno.readTextFile("/etc/shadow");`,
    `read access to "/etc/shadow"`,
    `{ reads: ["/etc/shadow"] }`,
  ],
  "read, in a step": [
    `await ensure(file("/x", { from: "/etc/shadow" }));`,
    `in step "file /x": read access to "/etc/shadow"`,
    `{ reads: ["/etc/shadow"] }`,
  ],
  "read, through a Node module, wrapped": [
    `const { readFile } = await import("node:fs/promises");
         await readFile("/etc/shadow").catch((cause) => { throw new Error("no luck", { cause }); });`,
    `read access to "/etc/shadow"`,
    `{ reads: ["/etc/shadow"] }`,
  ],
  "write": [`await Deno.writeTextFile("/etc/x", "");`, `write access to "/etc/x"`, `{ writes: ["/etc/x"] }`],
  "write, to the folder of the setups": [
    `await Deno.writeTextFile("${BIN}/phoenix_hypervisor_setup_901", "");`,
    `write access to "${BIN}/phoenix_hypervisor_setup_901"`,
    `{ writes: ["${BIN}/phoenix_hypervisor_setup_901"] }`,
  ],
  "read, by an import": [
    `const path = "file:///etc/x.js"; await import(path + "");`,
    `read access to "/etc/x.js"`,
    `{ reads: ["/etc/x.js"] }`,
  ],
  "an import from another machine": [
    `const url = "https://10.9.9.9/x.js"; await import(url + "");`,
    `import access to "10.9.9.9:443"`,
    "a setup cannot be permitted this",
  ],
  "run": [
    `await ensure(hostCommand("x", ["/bin/id"], { unless: ["/bin/id"] }));`,
    `in step "x": run access to "/bin/id"`,
    `{ commands: ["/bin/id"] }`,
  ],
  "env": [`Deno.env.get("SECRET");`, `env access to "SECRET"`, `{ environment: ["SECRET"] }`],
  "env, all of it": [`Deno.env.toObject();`, `env access to everything`, `{ environment: […] }`],
  "ffi": [`Deno.dlopen("/lib/x.so", {});`, `ffi access to "/lib/x.so"`, "a setup cannot be permitted this"],
  "sys": [`Deno.hostname();`, `sys access to "hostname"`, "a setup cannot be permitted this"],
  "an error that nobody waits for": [
    `setTimeout(() => Deno.readTextFileSync("/etc/shadow")); await new Promise(() => {});`,
    `read access to "/etc/shadow"`,
    `{ reads: ["/etc/shadow"] }`,
  ],
};

const PARTS = {
  "the orchestrator finds each by its name, runs it and reads its exit code": orchestrated,
  "what one did not declare ends its run with exit code 70 and the declaration to add": refused,
  "a path that the configuration names is permitted or declared, else the exit code is 2": configured,
};

for (const form of FORMS) {
  const reason = skipReason ?? (form === "executable" ? denortMissing() : undefined);
  Deno.test({
    name: `setups built as ${form}${reason === undefined ? "" : ` (${reason})`}`,
    ignore: reason !== undefined,
    async fn(t) {
      await using host = await SimulatedHost.temporary({
        containers: [
          { ctid: 901, hostname: "Portainer" },
          { ctid: 902, hostname: "GPUtemplate" },
          { ctid: 903, hostname: "vllmTemplate" },
          { ctid: 904, hostname: "llamacppTemplate", running: false },
          { ctid: 905, hostname: "renamed" },
          { ctid: 906, hostname: "last" },
          { ctid: 907, hostname: "tries" },
          { ctid: 908, hostname: "undeclared" },
          { ctid: 909, hostname: "declared" },
        ],
      });
      await host.run("/bin/ln", ["-sfn", Deno.execPath(), "/usr/local/bin/deno"]); // Where installations have it.
      const folder = `${host.stateDirectory}/build`;
      await Deno.mkdir(folder);
      const attempts = Object.values(REFUSED).map(([body], i) => `case "${i}": { ${body} break; }`).join("\n");
      const sources = await Promise.all([
        writeSetup(folder, 901, "Portainer", MARK),
        writeSetup(folder, 902, "GPUtemplate", `await ensure(command("fail", sh\`exit 7\`));`),
        writeSetup(folder, 904, "llamacppTemplate", MARK),
        writeSetup(folder, 906, "last", MARK),
        writeSetup(
          folder,
          907,
          "tries",
          `switch (environment("ATTEMPT")) { ${attempts} }`,
          `{ environment: ["ATTEMPT"] }`,
        ),
        writeSetup(folder, 908, "undeclared", CONFIGURED),
        writeSetup(folder, 909, "declared", CONFIGURED, `{ reads: ["/srv/phoenix"], writes: ["/srv/log"] }`),
      ]);
      await build(sources, folder, { form });
      for (const [name, part] of Object.entries(PARTS)) await t.step(name, (t) => part(t, host, folder));
    },
  });
}

// Requirements, sections 1, 3 and 4; DESIGN 2: nothing is read but the exit code, and one failure does not stop the others.
async function orchestrated(t: Deno.TestContext, host: SimulatedHost, folder: string): Promise<void> {
  const installed = await host.run(Deno.execPath(), [
    ...["run", "--no-prompt", "--allow-read", "--allow-write", "--allow-run", "--allow-env", "--allow-sys=uid"],
    ...[`${project}bin/install.ts`, "901", "902", "904", "906", "--from", folder],
  ]);
  assertEquals(installed.code, 0, installed.stderr);
  await host.run("/bin/cp", ["-P", `${BIN}/phoenix_hypervisor_setup_906`, `${BIN}/phoenix_hypervisor_setup_905`]);
  await host.run("/bin/ln", ["-s", "phoenix_hypervisor_setup_905", `${BIN}/phoenix_hypervisor_setup_905.sh`]);

  const surroundings: Record<string, { env: Record<string, string>; cwd: string; shell: string }> = {
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
  for (const [name, { env, cwd, shell }] of Object.entries(surroundings)) {
    await t.step(name, async () => {
      const ctids = ["901", "902", "903", "904", "905", "906"];
      const { code, stdout, stderr } = await host.run(
        "/bin/bash",
        ["-c", shell, `${project}tests/fixtures/run_specific_setup_script`, BIN, ...ctids],
        { clearEnv: true, env, cwd },
      );
      assertEquals(code, 0, stderr);
      const verdicts = stdout.split("\n").filter((line) => line.startsWith("ORCHESTRATOR "));
      assertEquals(verdicts, [
        "ORCHESTRATOR 901: succeeded",
        "ORCHESTRATOR 902: failed with exit code 4",
        "ORCHESTRATOR 903: no specific setup script",
        "ORCHESTRATOR 904: failed with exit code 3",
        "ORCHESTRATOR 905: failed with exit code 1",
        "ORCHESTRATOR 906: succeeded",
      ], stderr);
      assertStringIncludes(stderr, "Container 904 is stopped");
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

// DESIGN 1: a setup declares what it needs of the host, and its executable is permitted that and no more.
async function refused(t: Deno.TestContext, host: SimulatedHost, folder: string): Promise<void> {
  const attempt = (which: string) =>
    host.run(`${folder}/phoenix_hypervisor_setup_907`, ["907"], { clearEnv: true, env: { ATTEMPT: which } });
  for (const [i, [name, [, refusal, declaration]]] of Object.entries(REFUSED).entries()) {
    await t.step(name, async () => {
      const { code, stdout, stderr } = await attempt(String(i));
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
async function configured(t: Deno.TestContext, host: SimulatedHost, folder: string): Promise<void> {
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
