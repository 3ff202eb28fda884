import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "@std/path";
import { denortMissing } from "../tests/denort.ts";
import { testWith } from "../tests/permissions.ts";
import { availableSetups, build, buildOptions, compileArguments, selected, setupFile, TARGETS } from "./compile.ts";
import { versionIn } from "./place.ts";

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

/** Writes a setup, which may log into its own folder. */
async function writeSetup(folder: string, file: string, exports: string): Promise<string> {
  const path = join(folder, file);
  await Deno.writeTextFile(
    path,
    `import { main, setup } from "${new URL("lib/mod.ts", project)}";
const needs = { writes: ["${folder}"] };
${exports}
if (import.meta.main) await main(setup(910, "Greeter", needs, async () => {}));
`,
  );
  return path;
}

const GREETER = `export const greeter = setup(910, "Greeter", needs, async () => {});`;

async function run(program: string, args: string[], options: Deno.CommandOptions = {}) {
  const { code, stdout, stderr } = await new Deno.Command(program, { stdin: "null", ...options, args }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

/** The task, as `deno.json` runs it. */
function compileTask(args: string[], env: Record<string, string> = {}) {
  const permissions = "--allow-read --allow-write --allow-run --allow-net --allow-env=PHOENIX_IMPORTS,JSR_URL,INIT_CWD";
  return run(Deno.execPath(), ["run", "--quiet", "--no-prompt", ...permissions.split(" "), "bin/compile.ts", ...args], {
    cwd: project,
    env: { NO_COLOR: "1", ...env },
  });
}

Deno.test("a command line names setups that there are, or all of them", () => {
  assertEquals(selected(["902", "901", "902"], false, [901, 902, 903]), [902, 901]);
  assertEquals(selected([], true, [901, 902]), [901, 902]);
  assertThrows(() => selected([], false, [901, 902]), Error, "No CTID given. There are: 901, 902");
  assertThrows(() => selected(["901"], true, [901]), Error, "not both");
  for (const wrong of ["777", "", "0901", "901.ts", "../901", "9e2", " 901", "-1"]) {
    const message = `There is no setup for ${JSON.stringify(wrong)}. There are: 901`;
    assertThrows(() => selected(["901", wrong], false, [901]), Error, message);
  }
});

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

// DESIGN 7: `deno compile` with the permissions baked in, and nothing from around the file or from the network.
Deno.test("an executable is compiled with what its setup is permitted, and with nothing else", () => {
  const permissions = ["--no-prompt", "--allow-run=/usr/sbin/pct", "-R=/a,/b"];
  assertEquals(compileArguments("/w/a.js", "/out/a", permissions, TARGETS[0]), [
    "compile",
    "--quiet",
    "--no-config",
    "--no-lock",
    "--no-remote",
    "--no-npm",
    "--ext=js",
    "--no-code-cache",
    "--deny-import",
    ...permissions,
    "--target=x86_64-unknown-linux-gnu",
    "--output=/out/a",
    "/w/a.js",
  ]);
});

testWith(NEEDED, "a script is one file that runs from anywhere", async (t) => {
  await withFolder(async (folder) => {
    const source = await writeSetup(folder, "910.ts", GREETER);
    const [built] = await build([source], folder, { form: "script", pct: "/opt/none/pct" });
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
          "--no-config --no-lock --no-remote --no-npm --ext=js --no-prompt --allow-run=/opt/none/pct ",
          " -R=/opt/none/pct,/etc/pve,",
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
      await build([source], again, { form: "script", pct: "/opt/none/pct" });
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

    await t.step("with the pct that it was built for, and no other", async () => {
      const { code, stderr } = await run(there, ["910", `--log-file=${folder}/log`], {
        env: { PCT_PATH: "/bin/true" },
      });
      assertEquals(code, 1);
      assertStringIncludes(stderr, 'Cannot find "/opt/none/pct"');
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
    "a wrong type": ["910.ts", `export const a = setup(910, 5, needs, async () => {});`, /TS2\d+.*910\.ts/s],
    "a line break in a path": [
      "910.ts",
      `export const a = setup(910, "a", { reads: ["/a\\n/b"] }, async () => {});`,
      /expected an absolute path/,
    ],
  };
  await withFolder(async (folder) => {
    for (const [name, [file, exports, message]] of Object.entries(wrong)) {
      await t.step(name, async () => {
        const source = await writeSetup(folder, file, exports);
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
      assertMatch(stderr, /Cannot build .*: it was to say "phoenix_hypervisor_setup_\d+ .*" to --version, and said "/);
      await nothing();
    });
  });
});

// The base binary only runs what it is given; what surrounds it can be tested with another program in its place.
testWith(NEEDED, "an executable carries its version where it can be read", async () => {
  await withFolder(async (folder) => {
    await build([await writeSetup(folder, "910.ts", GREETER)], folder, { form: "script" });
    const script = join(folder, "phoenix_hypervisor_setup_910");
    const executable = join(folder, "out", "phoenix_hypervisor_setup_910");
    const { code, stderr } = await run(
      Deno.execPath(),
      compileArguments(script, executable, ["--no-prompt"], TARGETS[0]),
      { env: { DENORT_BIN: Deno.execPath() } },
    );
    assertEquals(code, 0, stderr);
    assertEquals(await versionIn(executable), await versionIn(script));
    await Deno.copyFile("/bin/true", executable);
    assertEquals(await versionIn(executable), undefined);
  });
});

const noDenort = denortMissing();
Deno.test({
  name: `an executable is built, runs, and is the same when it is built again${noDenort ? ` (${noDenort})` : ""}`,
  ignore: noDenort !== undefined,
  async fn() {
    await withFolder(async (folder) => {
      const source = await writeSetup(folder, "910.ts", GREETER);
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
    for (const args of [[], ["777"], ["901", "--frob"], ["901", "--form", "x"], ["--all", "901"]]) {
      const { code, stdout, stderr } = await compileTask(args);
      assertEquals([code, stdout], [1, ""]);
      assert(stderr !== "" && !stderr.includes("    at "), stderr);
    }
  },
);

testWith(["read"], "every setup that there is can be named", () => {
  for (const ctid of availableSetups()) assert(Deno.statSync(setupFile(ctid)).isFile);
  assert(availableSetups().includes(901));
});
