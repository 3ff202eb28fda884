/**
 * Built setups as the orchestrator meets them: found by name, run by name, judged by exit code; and what they are permitted.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { build, type Form, FORMS } from "../bin/compile.ts";
import { type SimulatedContainer, SimulatedHost } from "../lib/simulated/host.ts";
import { denortMissing } from "./denort.ts";
import { obstacle, project } from "./trial.ts";

const BIN = "/usr/local/phoenix_hypervisor/bin";

/** Writes the setup of a container as a file of its own, and gives its path. */
async function writeSetup(folder: string, ctid: number, name: string, body: string, needs = "{}"): Promise<string> {
  const path = `${folder}/${ctid}.ts`;
  await Deno.writeTextFile(
    path,
    `// @ts-nocheck: some of these do what no setup should.
import { command, file, http, main, setup, sh } from "${project}lib/mod.ts";
import { hostCommand } from "${project}lib/steps/host.ts";
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

/** A host that has Deno where installations have it. */
async function hostWith(containers: readonly SimulatedContainer[]): Promise<SimulatedHost> {
  const host = await SimulatedHost.temporary({ containers });
  await host.run("/bin/ln", ["-sfn", Deno.execPath(), "/usr/local/bin/deno"]);
  return host;
}

function testForm(form: Form, name: string, fn: (t: Deno.TestContext) => Promise<void>): void {
  const reason = obstacle ?? (form === "executable" ? denortMissing() : undefined);
  Deno.test({
    name: `${form}: ${name}${reason === undefined ? "" : ` (${reason})`}`,
    ignore: reason !== undefined,
    fn,
  });
}

for (const form of FORMS) {
  // Requirements, sections 1, 3 and 4; DESIGN 2: nothing is read but the exit code, and one failure does not stop the others.
  testForm(form, "the orchestrator finds each setup by its name, runs it and reads its exit code", async (t) => {
    await using host = await hostWith([
      { ctid: 901, hostname: "Portainer" },
      { ctid: 902, hostname: "GPUtemplate" },
      { ctid: 903, hostname: "vllmTemplate" },
      { ctid: 904, hostname: "llamacppTemplate", running: false },
      { ctid: 905, hostname: "renamed" },
      { ctid: 906, hostname: "last" },
    ]);
    const folder = `${host.stateDirectory}/build`;
    await Deno.mkdir(folder);
    const mark = `await ensure(command("mark", sh\`echo x >>/mark\`, { creates: "/mark" }));`;
    const sources = await Promise.all([
      writeSetup(folder, 901, "Portainer", mark),
      writeSetup(folder, 902, "GPUtemplate", `await ensure(command("fail", sh\`exit 7\`));`),
      writeSetup(folder, 904, "llamacppTemplate", mark),
      writeSetup(folder, 906, "last", mark),
    ]);
    await build(sources, folder, { form });
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
          ["-c", shell, `${project}tests/run_specific_setup_script`, BIN, ...ctids],
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
        assertStringIncludes(stderr, "CTID 905 is not this executable's: it sets up container 906");
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
  });

  // DESIGN 1: a setup declares what it needs of the host, and its executable is permitted that and no more.
  testForm(
    form,
    "what a setup did not declare ends the run with exit code 70 and the declaration to add",
    async (t) => {
      const refused: Record<string, [body: string, refusal: string, declaration: string]> = {
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
      await using host = await hostWith([{ ctid: 901, hostname: "Portainer" }]);
      const folder = `${host.stateDirectory}/build`;
      await Deno.mkdir(folder);
      const cases = Object.values(refused).map(([body], i) => `case "${i}": { ${body} break; }`).join("\n");
      const source = await writeSetup(
        folder,
        901,
        "Portainer",
        `switch (environment("ATTEMPT")) { ${cases} }`,
        `{ environment: ["ATTEMPT"] }`,
      );
      await build([source], folder, { form });
      for (const [i, [name, [, refusal, declaration]]] of Object.entries(refused).entries()) {
        await t.step(name, async () => {
          const { code, stdout, stderr } = await host.run(`${folder}/phoenix_hypervisor_setup_901`, ["901"], {
            clearEnv: true,
            env: { ATTEMPT: String(i) },
          });
          assertEquals(code, 70, stderr + stdout);
          assertStringIncludes(stderr, refusal);
          assertStringIncludes(stdout, declaration);
        });
      }
      await t.step("and what it declared it can do", async () => {
        const { code } = await host.run(`${folder}/phoenix_hypervisor_setup_901`, ["901"], {
          clearEnv: true,
          env: { ATTEMPT: "nothing" },
        });
        assertEquals(code, 0);
      });
    },
  );
}

// What a person chose when it runs is no defect of the setup: the configuration or the declaration has to change.
testForm(
  "script",
  "a path that the configuration names is permitted or declared, else the exit code is 2",
  async (t) => {
    await using host = await hostWith([
      { ctid: 901, hostname: "Portainer" },
      { ctid: 902, hostname: "GPUtemplate" },
    ]);
    const folder = `${host.stateDirectory}/build`;
    await Deno.mkdir(folder);
    const body = `
    const secret = await context.secret("HF_TOKEN", { file: context.hypervisor.hfTokenFile });
    await ensure(file("/token", { content: secret }));
    await ensure(file("/image", { from: \`\${context.hypervisor.dockerImagesPath}/image.tar\` }));`;
    const declared = `{ reads: ["/srv/phoenix"], writes: ["/srv/log"] }`;
    await build(
      [
        await writeSetup(folder, 901, "Portainer", body),
        await writeSetup(folder, 902, "GPUtemplate", body, declared),
      ],
      folder,
      { form: "script" },
    );
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
        const refused = await run(901, env, ...args);
        assertEquals(refused.code, 2, refused.stderr);
        assertStringIncludes(refused.stderr, `"${path}`);
        assertStringIncludes(refused.stderr, "as this program is not permitted to");
        assert(refused.stdout.includes(`${field}: ["${path}"]`), refused.stdout);
        const permitted = await run(902, env, ...args);
        assertEquals(permitted.code, 0, permitted.stderr);
        await Deno.writeTextFile(configFile, standard);
      });
    }
    await t.step("where it is by default it needs no declaration", async () => {
      const { code, stderr } = await run(901);
      assertEquals(code, 0, stderr);
    });
  },
);
