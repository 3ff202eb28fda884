import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { denortMissing } from "../tests/support/denort.ts";
import { testWith } from "../tests/support/permission.ts";
import { build, buildOptions, revision, TARGETS, writeImportMap } from "./compile.ts";
import { versionIn } from "./place.ts";
import { availableSetups } from "./setups.ts";

const project = new URL("../", import.meta.url);
const NEEDED = ["read", "write", "run", "env", "net"] as const;

/** A folder that is gone after the test. */
async function withFolder(fn: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await fn(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const GREETER = `export const greeter = setup(910, "Greeter", needs, async () => {});`;

/** Writes a setup that may log into its own folder, and gives its path. */
async function writeGreeter(folder: string): Promise<string> {
  const path = join(folder, "910.ts");
  await Deno.writeTextFile(
    path,
    `import { main, setup } from "${new URL("lib/mod.ts", project)}";
const needs = { writes: ["${folder}"] };
${GREETER}
if (import.meta.main) await main(greeter);
`,
  );
  return path;
}

async function run(program: string, args: string[], options: Deno.CommandOptions = {}) {
  const { code, stdout, stderr } = await new Deno.Command(program, { stdin: "null", ...options, args }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** The task, as `deno.json` runs it. */
function compileTask(args: string[], env: Record<string, string> = {}) {
  return run(Deno.execPath(), ["run", "--quiet", "-A", "bin/compile.ts", ...args], {
    cwd: project,
    env: { NO_COLOR: "1", ...env },
  });
}

Deno.test("how to build is checked before anything is built", () => {
  assertEquals(buildOptions({}), { form: "executable" });
  assertEquals(buildOptions({ form: "script", pct: "/opt/pct" }), { form: "script", pct: "/opt/pct" });
  assertThrows(() => buildOptions({ form: "binary" }), Error, 'expected executable or script, found "binary"');
  assertThrows(() => buildOptions({ target: "x86_64-pc-windows-msvc" }), Error, `expected ${TARGETS[0]} or`);
  assertThrows(() => buildOptions({ target: TARGETS[0], form: "script" }), Error, "A script runs on any machine");
  for (const pct of ["pct", "", "./pct", "/a,/", "/a\nb"]) {
    assertThrows(() => buildOptions({ pct }), Error, "expected an absolute path");
  }
});

// The imports come from JSR, or from `lib/std` where JSR is out of reach; both have to be there under the same names.
testWith(
  NEEDED,
  "a build resolves the same names as the project, with its own values in the place of lib/build.ts",
  async () => {
    await withFolder(async (folder) => {
      const config = JSON.parse(await Deno.readTextFile(new URL("deno.json", project)));
      const local = new URL("lib/std/import_map.json", project);
      const build = new URL("lib/build.ts", project).href;
      const mapOf = async (imports: string[]) =>
        JSON.parse(await Deno.readTextFile(await writeImportMap(folder, imports, "/opt/pct"))).imports;
      assertEquals(await mapOf([]), { ...config.imports, [build]: "./build.ts" });
      const names = await mapOf([`--import-map=${local.pathname}`]);
      assertEquals(Object.keys(names).sort(), [...Object.keys(config.imports), build].sort());
      assertEquals(names["@std/path"], new URL("path.ts", local).href);
      assertStringIncludes(await Deno.readTextFile(join(folder, "build.ts")), `export const PCT_PATH = "/opt/pct";`);
    });
  },
);

// Whoever asks an executable for its revision wants to know what runs, and not what else somebody was working on.
testWith(NEEDED, "the revision is that of what goes into an executable, and of nothing else", async (t) => {
  await withFolder(async (folder) => {
    const git = (...args: string[]) =>
      run("git", ["-c", "user.name=x", "-c", "user.email=x@example", ...args], { cwd: folder });
    const write = async (file: string, text: string) => {
      await Deno.mkdir(join(folder, file, ".."), { recursive: true });
      await Deno.writeTextFile(join(folder, file), text);
    };
    if (await git("init", "--quiet").then(({ code }) => code !== 0, () => true)) {
      assertEquals(await revision(folder), "unknown", "without Git");
      return;
    }
    const inside = ["lib/run/main.ts", "lib/std/import_map.json", "setups/901.ts", "setups/shared/vllm.ts"]
      .concat(["bin/compile.ts", "bin/place.ts", "deno.json", "deno.lock"]);
    const outside = ["lib/run/main_test.ts", "lib/README.md", "bin/setup.ts", "bin/compile_test.ts", "README.md"]
      .concat(["tests/hosts/simulated/pct", "tests/laws_test.ts"]);
    for (const file of [...inside, ...outside]) await write(file, "");
    await git("add", ".");
    await git("commit", "--quiet", "--message", "x");
    const clean = await revision(folder);
    assertMatch(clean, /^[0-9a-f]{12}$/);
    const afterChange = async (file: string, text?: string) => {
      if (text === undefined) await Deno.remove(join(folder, file));
      else await write(file, text);
      const found = await revision(folder);
      await git("reset", "--quiet", "--hard");
      await git("clean", "--quiet", "--force", "-d");
      return found;
    };
    for (const file of [...inside, "lib/new/new.ts"]) {
      await t.step(file, async () => assertEquals(await afterChange(file, "x"), `${clean}+modified`));
    }
    for (const file of [...outside, "lib/new/new_test.ts", "tests/new.ts"]) {
      await t.step(`not ${file}`, async () => assertEquals(await afterChange(file, "x"), clean));
    }
    assertEquals(await afterChange("lib/run/main.ts"), `${clean}+modified`);
  });
});

testWith(NEEDED, "a script is one file that runs from anywhere", async (t) => {
  await withFolder(async (folder) => {
    const source = await writeGreeter(folder);
    const pct = join(folder, "pct");
    await Deno.writeTextFile(pct, `#!/bin/sh\necho "$* $(ulimit -c)" >>"$0.log"\necho "status: stopped"\n`, {
      mode: 0o755,
    });
    const [built] = await build([source], folder, { form: "script", pct });
    const script = join(folder, "phoenix_hypervisor_setup_910");
    const text = await Deno.readTextFile(script);

    await t.step("with a version and a revision inside, which can be read without running it", async () => {
      assertMatch(
        built!.version,
        /^phoenix_hypervisor_setup_910 \d+\.\d+\.\d+ \((?:[0-9a-f]{12}(?:\+modified)?|unknown)\) Greeter$/,
      );
      assertEquals([built!.ctid, built!.name], [910, "Greeter"]);
      assertEquals(await versionIn(script), built!.version);
      assertEquals((await Deno.stat(script)).mode! & 0o777, 0o755);
    });

    await t.step("with the permissions in its head, which no kernel cuts", () => {
      const lines = text.split("\n");
      assertEquals(lines[0], "#!/bin/sh");
      const command = lines.find((line) => line.includes(" exec "))!;
      for (
        const option of [
          `--no-config --no-lock --no-remote --no-npm --deny-import --ext=js --no-prompt --allow-run=${pct} `,
          ` -R=${pct},/etc/pve,`,
          ` -W=/var/log,/run/phoenix_setup,${folder} `,
          ` '-E=PHOENIX_*,`,
        ]
      ) {
        assertStringIncludes(command, option);
      }
      assert(!command.includes("--allow-net") && !command.includes("-N"), command);
    });

    await t.step("the same to the last byte when it is built again", async () => {
      const again = join(folder, "again");
      await Deno.mkdir(again);
      await build([source], again, { form: "script", pct });
      assertEquals(await Deno.readTextFile(join(again, "phoenix_hypervisor_setup_910")), text);
    });

    // The places of Deno are those of an installation, which this machine need not have.
    const strange = join(folder, "a b%20#c?'");
    const there = join(strange, "phoenix_hypervisor_setup_910");
    await Deno.mkdir(strange);
    await Deno.writeTextFile(there, text.replace("/usr/local/bin/deno", await Deno.realPath(Deno.execPath())));
    await Deno.chmod(there, 0o755);
    await Deno.symlink("phoenix_hypervisor_setup_910", `${there}.sh`);
    await Deno.writeTextFile(join(strange, "deno.json"), "{ broken");
    await Deno.writeTextFile(join(strange, "package.json"), "{ broken");

    await t.step(
      "from a folder with an odd name and broken configuration in it, with an empty environment",
      async () => {
        const options = { clearEnv: true, cwd: "/" };
        assertEquals(await run(`${there}.sh`, ["--version"], options), {
          code: 0,
          stdout: `${built!.version}\n`,
          stderr: "",
        });
        assertEquals((await run("/bin/sh", ["phoenix_hypervisor_setup_910", "--version"], { cwd: strange })).code, 0);
        assertStringIncludes(
          (await run(`${there}.sh`, ["-h"], options)).stdout,
          "phoenix_hypervisor_setup_910.sh [opt",
        );
      },
    );

    await t.step("with its arguments as they are, and its exit code", async () => {
      const log = join(folder, "log");
      const { code, stderr } = await run(there, ["", "a b", "$HOME", `--log-file=${log}`]);
      assertEquals(code, 1);
      assertStringIncludes(stderr, `got 3: "", "a b", "$HOME"`);
      assertStringIncludes(await Deno.readTextFile(log), `got 3: "", "a b", "$HOME"`);
    });

    await t.step("with the pct that it was built for, and no other, and with core dumps off", async () => {
      const command = ["-c", `ulimit -c unlimited; exec "$0" 910 --log-file=${folder}/log`, there];
      const { code, stderr } = await run("/bin/sh", command, { env: { PCT_PATH: "/bin/true", PATH: folder } });
      assertEquals(code, 3, stderr);
      // The session starts at the same time, and may be ended before it says so.
      const calls = (await Deno.readTextFile(`${pct}.log`)).trim().split("\n")
        .map((call) => call.replace(/^(exec 910) -- .* (\d+)$/, "$1 $2"));
      assertEquals([...new Set([...calls, "exec 910 0"])].sort(), ["exec 910 0", "status 910 0"]);
    });

    const nothing = join(folder, "nothing");
    const offline = (...command: string[]) =>
      run("/usr/bin/unshare", ["--net", "--map-root-user", ...command], {
        clearEnv: true,
        cwd: "/",
        env: { DENO_DIR: nothing, HOME: nothing },
      });
    const canBeOffline = await offline("/bin/true").then(({ code }) => code === 0, () => false);
    await t.step({
      name: `without node_modules, network, cache or home${canBeOffline ? "" : " (needs network namespaces)"}`,
      ignore: !canBeOffline,
      async fn() {
        assertEquals(await offline(there, "--version"), { code: 0, stdout: `${built!.version}\n`, stderr: "" });
      },
    });

    await t.step("where there is no Deno, it says how to get it and exits with 70", async () => {
      await Deno.writeTextFile(there, text.replaceAll(/\/[\w./]+\/deno\b/g, "/nonexistent/deno"));
      const { code, stdout, stderr } = await run(`${there}.sh`, ["910"], { clearEnv: true });
      assertEquals([code, stdout], [70, ""]);
      assertMatch(
        stderr,
        /^phoenix_hypervisor_setup_910\.sh: Cannot find Deno.*\nInstall it .*\ndeno task compile 910/,
      );
    });
  });
});

testWith(NEEDED, "what cannot be built is an error that names the file", async (t) => {
  const wrong: Record<string, [file: string, exports: string, message: RegExp]> = {
    "the number of another setup": ["911.ts", GREETER, /911\.ts" as it is the setup of 910: rename it to 910\.ts/],
    "no setup": ["910.ts", "export const nothing = 1;", /it exports 0 setups: export just one/],
    "two setups": ["910.ts", `${GREETER} export const b = greeter;`, /it exports 2 setups: export just one/],
    "an id that Proxmox does not give": [
      "910.ts",
      `export const a = setup(1, "a", needs, async () => {});`,
      /container 1/,
    ],
    "a wrong type": [
      "910.ts",
      `export const a: string = setup(910, "a", needs, async () => {});`,
      /TS2\d+.*910\.ts/s,
    ],
  };
  await withFolder(async (folder) => {
    for (const [name, [file, exports, message]] of Object.entries(wrong)) {
      await t.step(name, async () => {
        const source = join(folder, file);
        const lines = [
          `import { setup } from "${new URL("lib/run/setup.ts", project)}";`,
          "const needs = {};",
          exports,
        ];
        await Deno.writeTextFile(source, lines.join("\n"));
        const error = await assertRejects(() => build([source], folder, { form: "script" }), Error);
        assertMatch(error.message, message);
        assertEquals(Array.from(Deno.readDirSync(folder), ({ name }) => name), [file], "nothing else is left");
        await Deno.remove(source);
      });
    }
  });
});

// Never a file that looks compiled and is not.
testWith(NEEDED, "without denort there is an error with the ways out, and no file", async (t) => {
  await withFolder(async (folder) => {
    const ctid = String(availableSetups()[0]!);
    const compile = (denort: string) => compileTask([ctid, "--out", join(folder, "out")], { DENORT_BIN: denort });
    const nothing = async () => {
      for (const name of ["out", `phoenix_hypervisor_setup_${ctid}`]) {
        assertEquals(await Deno.stat(join(folder, name)).catch(() => "nothing"), "nothing");
      }
    };
    await t.step("where it is missing", async () => {
      const { code, stdout, stderr } = await compile("/nonexistent/denort");
      assertEquals([code, stdout], [1, ""]);
      assertStringIncludes(stderr, `"denort" ${Deno.version.deno} for `);
      assertStringIncludes(stderr, "Could not find denort at '/nonexistent/denort'");
      for (const way of ["DENORT_BIN=", "dl.deno.land", "--form script"]) assertStringIncludes(stderr, way);
      assert(!stderr.includes("    at "), "no stack");
      await nothing();
    });
    await t.step("where it is Deno itself, whose compiled file runs its argument", async () => {
      const { code, stderr } = await compile(Deno.execPath());
      assertEquals(code, 1);
      assertStringIncludes(stderr, 'DENORT_BIN is Deno itself and not "denort"');
      await nothing();
    });
    await t.step("where it is another program", async () => {
      const { code, stderr } = await compile("/bin/true");
      assertEquals(code, 1);
      assertMatch(
        stderr,
        /Cannot build .*: expected it to answer --version with "phoenix_hypervisor_setup_\d+ .*", found "/,
      );
      await nothing();
    });
  });
});

// The base binary only runs what it is given. For another machine it is not tried, so that any program can stand in for
// it.
testWith(
  NEEDED,
  "an executable holds its version and what its setup is permitted, and is the same when it is built again",
  async () => {
    await withFolder(async (folder) => {
      const { portainer } = await import("../setups/901.ts");
      const target = TARGETS.find((target) => target !== Deno.build.target)!;
      const build = async (to: string): Promise<Uint8Array> => {
        const args = ["901", "--target", target, "--pct", "/opt/pct", "--out", join(folder, to)];
        const { code, stdout, stderr } = await compileTask(args, { DENORT_BIN: "/bin/true" });
        assertEquals(code, 0, stderr);
        const file = join(folder, to, "phoenix_hypervisor_setup_901");
        assertStringIncludes(stdout, `  ${await versionIn(file)}\n`);
        return await Deno.readFile(file);
      };
      const bytes = await build("once");
      const metadata = /"code_cache_key":null,"permissions":(\{[^{}]*\})/.exec(new TextDecoder("latin1").decode(bytes));
      const { prompt, deny_import, allow_import: _, ...others } = JSON.parse(metadata?.[1] ?? "{}");
      assertEquals([prompt, deny_import], [false, []], "no question, and no import");
      assertEquals(Object.fromEntries(Object.entries(others).filter(([, value]) => value !== null)), {
        allow_run: ["/opt/pct"],
        allow_read: ["/opt/pct", "/etc/pve", "/usr/local/phoenix_hypervisor", "/run/phoenix_setup"],
        allow_write: ["/var/log", "/run/phoenix_setup"],
        allow_env: ["PHOENIX_*", "NO_COLOR", "TERM", "PATH", "NODE_V8_COVERAGE"],
        allow_net: portainer.needs.addresses,
      });
      const again = await build("again");
      assert(bytes.length === again.length && bytes.every((byte, i) => byte === again[i]));
      assertEquals(await versionIn("/bin/true"), undefined);
    });
  },
);

const noDenort = denortMissing();
Deno.test({
  name: `an executable is built, runs, and is the same when it is built again${noDenort ? ` (${noDenort})` : ""}`,
  ignore: noDenort !== undefined,
  async fn() {
    await withFolder(async (folder) => {
      const source = await writeGreeter(folder);
      const executable = join(folder, "phoenix_hypervisor_setup_910");
      const [built] = await build([source], folder);
      const bytes = await Deno.readFile(executable);
      assertEquals(await run(executable, ["--version"], { clearEnv: true, cwd: "/" }), {
        code: 0,
        stdout: `${built!.version}\n`,
        stderr: "",
      });
      await build([source], folder);
      assertEquals(await Deno.readFile(executable), bytes);
    });
  },
});

testWith(
  NEEDED,
  "deno task compile puts the file and its link beside each other, for a copy to be all it takes",
  async () => {
    await withFolder(async (folder) => {
      const ctid = availableSetups()[0]!;
      const name = `phoenix_hypervisor_setup_${ctid}`;
      const args = [String(ctid), "--form", "script", "--out", "made/here"];
      const { code, stdout, stderr } = await compileTask(args, { INIT_CWD: folder });
      assertEquals([code, stderr.replace(/^Imports: .*\n/, "")], [0, ""]);
      assertMatch(stdout, new RegExp(`^${folder}/made/here/${name}  \\d+ KiB  ${name} .*\n$`));
      assertEquals(await Deno.readLink(join(folder, "made/here", `${name}.sh`)), name);
      assertEquals(Array.from(Deno.readDirSync(join(folder, "made/here"))).length, 2);
    });
    const wrong = [[], ["777"], ["901", "--frob"], ["901", "--form", "x"], ["--all", "901"]];
    for (const { code, stdout, stderr } of await Promise.all(wrong.map((args) => compileTask(args)))) {
      assertEquals([code, stdout], [1, ""]);
      assert(stderr !== "" && !stderr.includes("    at "), stderr);
    }
    const { code, stdout } = await compileTask(["--help"]);
    assertEquals(code, 0);
    assertStringIncludes(stdout, "Usage: deno task compile <CTID…>|--all");
  },
);
