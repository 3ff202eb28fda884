/**
 * The READMEs say what is so: their code, their lists of steps, options and exit codes, and the paths that they name.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { ExitCode } from "../lib/errors.ts";
import * as mod from "../lib/mod.ts";
import { sh, type Step } from "../lib/mod.ts";
import { usage } from "../lib/run/arguments.ts";
import { testWith } from "./support/permission.ts";
import { ensure, on, StubContainer } from "./support/stubs.ts";

/** The width of what people read, as that of the code. */
const MAX_COLUMNS = 120;

const root = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFile(new URL(path, root));

/** What stands below a heading, up to the next one. */
const below = (heading: string, text: string) => text.split(`${heading}\n`)[1]!.split(/^##+ /m)[0]!;

/** The blocks of TypeScript. */
const codeIn = (text: string) => [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!);

/** What stands between backticks. */
const termsIn = (text: string) => [...text.matchAll(/`([^`\n]+)`/g)].map(([, term]) => term!);

testWith(["read"], "the README shows the setup of 901 as it is", async () => {
  const setup = (await read("setups/901.ts")).replace(/^#!.*\n/, "");
  assertEquals(codeIn(await read("README.md"))[0], setup);
});

// This is the README's, to the letter.
const timeZone = (zone: string): Step<string> => ({
  title: `time zone ${zone}`,
  async probe({ container }) {
    return (await container.read(sh`readlink /etc/localtime`, { codes: [0, 1] })).text.trim();
  },
  diff: (found) => found.endsWith(`/${zone}`) ? [] : [{ what: "time zone", from: found, to: zone }],
  async apply({ container }) {
    await container.write(sh`ln -sfn ${"/usr/share/zoneinfo/" + zone} /etc/localtime`);
  },
});

testWith(["read"], "the step that the README shows does what it says", async () => {
  const own = /^const timeZone .*?^}\);\n/ms.exec(await Deno.readTextFile(new URL(import.meta.url)))![0];
  assertEquals(codeIn(await read("README.md"))[1], `import { sh, type Step } from "../lib/mod.ts";\n\n${own}`);
  const [utc, berlin] = ["UTC", "Europe/Berlin"].map((zone) => `/usr/share/zoneinfo/${zone}`);
  const container = new StubContainer(on("readlink", `${utc}\n`, `${berlin}\n`), on("ln", ""));
  const { outcome, differences } = await ensure(timeZone("Europe/Berlin"), container);
  assertEquals([outcome, differences], ["changed", [{ what: "time zone", from: utc, to: "Europe/Berlin" }]]);
  assertEquals(container.writes, [`ln -sfn ${berlin} /etc/localtime`]);
  assertEquals((await ensure(timeZone("Europe/Berlin"), container)).outcome, "unchanged");
});

testWith(["read"], "the README lists every step, and no other", async () => {
  const listed = termsIn(below("### Steps", await read("README.md")))
    .flatMap((term) => /^(?:(?:docker|gpu)\.)?\w+(?=\()/.exec(term) ?? []);
  const { main: _main, setup: _setup, sh: _sh, docker, gpu, ...others } = mod;
  const { running: _running, ...ofDocker } = docker;
  const names = (prefix: string, all: object) => Object.keys(all).map((name) => prefix + name);
  const steps = [...names("", others), ...names("docker.", ofDocker), ...names("gpu.", gpu)];
  assertEquals([...new Set(listed)].sort(), steps.sort());
});

testWith(["read"], "the README lists every option and every exit code", async () => {
  const text = await read("README.md");
  const options = termsIn(below("### Options", text)).flatMap((term) => /^-[-\w]+/.exec(term) ?? []);
  const lines = usage("setup", { ctid: 901, name: "Portainer" }).split("\n").filter((line) => line.startsWith("  -"));
  const known = lines.flatMap((line) => line.slice(0, 19).match(/--?[\w-]+/g) ?? []);
  assertEquals(options.sort(), known.sort());
  const rows = [...below("### Exit codes", text).matchAll(/^\| ([\d, ]+) \|/gm)];
  assertEquals(rows.flatMap(([, codes]) => codes!.split(",").map(Number)), Object.values(ExitCode));
});

testWith(["read"], "the map of the code has each file that stands alone and each room", async () => {
  const terms = termsIn(below("## The map", await read("lib/README.md")));
  const there = await Array.fromAsync(Deno.readDir(new URL("lib/", root)));
  const names = there.map(({ name, isDirectory }) => isDirectory ? `${name}/` : name)
    .filter((name) => !name.endsWith("_test.ts") && name !== "README.md");
  assertEquals(names.filter((name) => !terms.includes(name)), []);
});

testWith(["read"], "the paths that the map of the code names are there", async () => {
  const there = await pathsIn(root);
  const named = termsIn(await read("lib/README.md")).filter((term) => /^[\w./]+(?:\.ts|\/)$/.test(term));
  assertEquals(named.filter((path) => !there.some((one) => one.endsWith(`/${path.replace(/^\.+\//, "")}`))), []);
});

/** Every file and, with a slash at its end, every folder of the project's code. */
async function pathsIn(folder: URL): Promise<string[]> {
  const paths: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (name.startsWith(".") || name === "compiled") continue;
    const url = new URL(isDirectory ? `${name}/` : name, folder);
    paths.push(url.pathname, ...(isDirectory ? await pathsIn(url) : []));
  }
  return paths;
}

testWith(["read"], "the READMEs are no wider than the code", async () => {
  for (const path of ["README.md", "lib/README.md"]) {
    const wide = (await read(path)).split("\n").filter((line) => [...line].length > MAX_COLUMNS);
    assertEquals(wide, [], path);
  }
});
