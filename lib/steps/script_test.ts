import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { hostFiles } from "../../tests/support/host_files.ts";
import { LocalShell, testInFolder } from "../../tests/support/local_shell.ts";
import { ensure, StubContainer } from "../../tests/support/stubs.ts";
import type { CommandOptions } from "../container/container.ts";
import { StepFailed } from "../engine.ts";
import { Secret } from "../secret.ts";
import { Script } from "../shell.ts";
import { script, type ScriptSpec } from "./script.ts";

/** A machine of which only one folder is ours, and where we need not be root. */
class Relocated extends LocalShell {
  /** What was run, as the shell was given it. */
  readonly texts: string[] = [];

  constructor(readonly folder: string, readonly uid: number) {
    super();
  }

  override read(script: Script, options?: CommandOptions) {
    return super.read(this.#relocated(script), options);
  }

  override write(script: Script, options: CommandOptions = {}) {
    this.inputs.push(String(options.stdin));
    return super.write(this.#relocated(script), options);
  }

  #relocated({ text, display }: Script): Script {
    this.texts.push(text);
    return new Script(
      text.replaceAll("/var/lib/phoenix_setup/", `${this.folder}/markers/`)
        .replaceAll("/run/phoenix_setup.script", `${this.folder}/running`).replace("chown root ", `chown ${this.uid} `),
      display,
    );
  }
}

/** The script appends to the folder's `log`. */
function testScript(
  name: string,
  test: (at: { folder: string; shell: Relocated; log: () => Promise<string> }) => Promise<void>,
): void {
  testInFolder(name, async ({ folder, mine }) => {
    await Deno.writeTextFile(`${folder}/log`, "");
    await test({ folder, shell: new Relocated(folder, mine.owner), log: () => Deno.readTextFile(`${folder}/log`) });
    assert(!(await exists(`${folder}/running`)), "the script itself is removed");
  });
}

const exists = (path: string) => Deno.lstat(path).then(() => true, () => false);

/** What a step does on the machine: `changed` or `unchanged`. */
const take = async (title: string, spec: ScriptSpec, shell: Relocated, host = hostFiles({})) =>
  (await ensure(script(title, spec), shell, { host })).outcome;

testScript("a script runs once for each change of what it works with", async ({ folder, shell, log }) => {
  const input = `${folder}/input dir`;
  await Deno.mkdir(input);
  const spec = {
    content: `echo "$1 $2 $NAME" >>${folder}/log\n`,
    arguments: ["a b", 2],
    environment: { NAME: "it's" },
    inputs: [input, `${folder}/not there`],
  };
  const check = await ensure(script("index", spec), shell, { check: true });
  assertEquals([check.differences, shell.writes, await log()], [[{ what: "has not run yet" }], [], ""]);
  assertEquals([await take("index", spec, shell), await log()], ["changed", "a b 2 it's\n"]);

  const changes: [what: string, spec: ScriptSpec, before?: () => Promise<void>][] = [
    ["content", { ...spec, content: `${spec.content}:\n` }],
    ["arguments", { ...spec, arguments: ["a", "b 2"] }],
    ["environment", { ...spec, environment: { NAME: "other" } }],
    ["a secret", { ...spec, environment: { NAME: new Secret("name", "hunter2") } }],
    ["another secret", { ...spec, environment: { NAME: new Secret("name", "hunter3") } }],
    ["interpreter", { ...spec, interpreter: "/bin/sh" }],
    ["an input that is new", spec, () => Deno.writeTextFile(`${input}/x`, "1")],
    ["an input that changes", spec, () => Deno.writeTextFile(`${input}/x`, "2")],
    ["an input's name", spec, () => Deno.rename(`${input}/x`, `${input}/y`)],
    [
      "an input that is a link",
      { ...spec, inputs: [`${folder}/link`] },
      () => Deno.symlink(`${input}/y`, `${folder}/link`),
    ],
    ["what it leads to", { ...spec, inputs: [`${folder}/link`] }, () => Deno.writeTextFile(`${input}/y`, "3")],
    ["an input that goes", spec, () => Deno.remove(`${input}/y`)],
  ];
  for (const [what, changed, before] of changes) {
    await before?.();
    const { outcome, differences } = await ensure(script("index", changed), shell);
    assertEquals(outcome, "changed", what);
    assertEquals(differences, [{ what: "has changed since its last run, or something that it works with has" }]);
    const reads = shell.reads.length;
    assertEquals(await take("index", changed, shell), "unchanged", what);
    assertEquals(shell.reads.length, reads + 1, "one look is enough");
  }
  assertEquals((await log()).split("\n").length - 1, 1 + changes.length);
  // Other scripts have markers of their own, whatever their titles look like.
  assertEquals(await take("in/dex", spec, shell), "changed");
  assertEquals(await take("in:dex", spec, shell), "changed");
  assertEquals(await take("in/dex", spec, shell), "unchanged");
});

testScript("a script that runs once does not run again when it changes", async ({ folder, shell, log }) => {
  const spec = (word: string) => ({ content: `echo ${word} >>${folder}/log`, when: "once" }) as const;
  assertEquals(await take("first boot", spec("a"), shell), "changed");
  assertEquals(await take("first boot", spec("b"), shell), "unchanged");
  assertEquals(await log(), "a\n");
});

testScript("a script that fails runs again, and its code and output are told", async ({ folder, shell, log }) => {
  const content =
    `#!/bin/sh -e\necho ran >>${folder}/log; echo to stdout; echo to stderr >&2; [ -e ${folder}/ready ]\n`;
  for (const _ of [1, 2]) {
    const error = await assertRejects(() => take("picky", { content }, shell), StepFailed);
    assertEquals(error.message, "Script failed with exit code 1");
    const { evidence } = error.cause as { evidence: { command: string; code: number; stdout: string; stderr: string } };
    assertEquals(
      [evidence.command, evidence.code, evidence.stdout, evidence.stderr],
      ["/bin/sh -e /run/phoenix_setup.script", 1, "to stdout\n", "to stderr\n"],
    );
  }
  await Deno.writeTextFile(`${folder}/ready`, "");
  assertEquals([await take("picky", { content }, shell), await take("picky", { content }, shell)], [
    "changed",
    "unchanged",
  ]);
  assertEquals(await log(), "ran\nran\nran\n");
});

testScript(
  "a script runs as its first line says, in /, from a private file, with nothing to read",
  async ({ folder, shell, log }) => {
    const report = `{ pwd; stat -c %a "$0"; cat; echo "$HOME"; } >>${folder}/log\n`;
    await take("sh", { content: report }, shell);
    const home = (await log()).split("\n")[2];
    assertEquals(await log(), `/\n700\n${home}\n`);
    assertMatch(home!, /^\//);
    await Deno.truncate(`${folder}/log`);
    await take("env", { content: `#! /usr/bin/env -S sh -u\n${report}` }, shell);
    assertEquals(await log(), `/\n700\n${home}\n`);
    await Deno.truncate(`${folder}/log`);
    await take("stated", { content: "not sh\n", interpreter: "/bin/cat" }, shell);
    await take("long", { content: `echo long >>${folder}/log\n${"# filler\n".repeat(20_000)}` }, shell);
    assertEquals(await log(), "long\n");
    await take("copied", { from: "/src/run" }, shell, hostFiles({ "/src/run": `echo copied >>${folder}/log` }));
    assertEquals(await log(), "long\ncopied\n");
    await assertRejects(
      () => take("missing", { from: "/src/run" }, shell),
      StepFailed,
      'Cannot copy "/src/run" as there is no such file on the host',
    );
  },
);

// A script of which half arrives is another script.
testScript("a script that did not arrive whole is not run", async ({ folder, shell, log }) => {
  class Lossy extends Relocated {
    override write(script: Script, options: CommandOptions = {}) {
      return super.write(script, { ...options, stdin: String(options.stdin).slice(0, -2) });
    }
  }
  const error = await assertRejects(
    () => take("half", { content: `echo 1 >>${folder}/log #23` }, new Lossy(folder, shell.uid)),
    StepFailed,
  );
  assert(JSON.stringify(error.cause).includes("did not arrive as it was sent"));
  assertEquals(await log(), "");
});

testScript("a script that changes its own inputs never settles, which is an error", async ({ folder, shell }) => {
  const spec = { content: `echo more >>${folder}/log`, inputs: [`${folder}/log`] };
  await assertRejects(() => take("loop", spec, shell), StepFailed, "still different");
});

// Every secret travels on stdin, and a plain hash of one could be looked up.
testScript("a secret is in the script's environment and nowhere else", async ({ folder, shell, log }) => {
  const spec = {
    content: `echo "$TOKEN" >${folder}/log\n`,
    environment: { TOKEN: new Secret("token", "hunter2 $(id)") },
  };
  const { events } = await ensure(script("secret", spec), shell);
  assertEquals(await log(), "hunter2 $(id)\n");
  const marker = await Array.fromAsync(Deno.readDir(`${folder}/markers/scripts`));
  const path = `${folder}/markers/scripts/${marker[0]!.name}`;
  const noted = await Deno.readTextFile(path);
  assertEquals((await Deno.stat(path)).mode! & 0o7777, 0o600);
  assert(!/hunter/.test(JSON.stringify([noted, events, shell.reads, shell.writes, shell.inputs])));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode("hunter2 $(id)")));
  assertNotEquals(noted.trim(), digest.toHex());
});

// A stub shows what the machine of a test need not have: other users.
Deno.test("another user's script is given to that user, and runs in that user's home environment", async () => {
  const container = new StubContainer(
    (given, verb) => {
      if (verb === "read") return "there\n-\n";
      assert(given.text.includes("chown www-data ") && given.text.includes("HOME=~www-data;"), given.text);
      return { code: 3 };
    },
  );
  const step = script("as user", { content: "id", user: "www-data", arguments: ["a b"] });
  await assertRejects(() => ensure(step, container), StepFailed, "exit code 3");
  assertEquals(container.writes, ["runuser -u www-data -- /bin/sh /run/phoenix_setup.script 'a b'"]);
});

Deno.test("a user that is not there is told before the script is sent, and only where it has to run", async () => {
  const spec = { content: "id", user: "www-data" } as const;
  for (const check of [false, true]) {
    const container = new StubContainer((_, verb) => verb === "read" ? "missing\n-\n" : undefined);
    const error = await assertRejects(() => ensure(script("as user", spec), container, { check }), StepFailed);
    assertEquals([error.exitCode, error.message], [
      4,
      'Cannot run the script as "www-data": the container has no such user',
    ]);
  }
  const once = new StubContainer(() => "missing\nan old digest\n");
  assertEquals((await ensure(script("as user", { ...spec, when: "once" }), once)).outcome, "unchanged");
});

Deno.test("what cannot be meant is refused when it is described", () => {
  for (
    const [title, spec] of [
      ["", { content: "x" }],
      ["x", {}],
      ["x", { content: "x", from: "/x" }],
      ["x", { content: "" }],
      ["x", { from: "x" }],
      ["x", { content: "x", inputs: ["x"] }],
      ["x", { content: "x", user: "-u" }],
      ["x", { content: "x", environment: { "A B": "x" } }],
    ] as const
  ) {
    assertThrows(() => script(title, spec as unknown as ScriptSpec), TypeError, "Cannot");
  }
});
