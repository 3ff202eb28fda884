import { assertEquals, assertInstanceOf, assertRejects } from "@std/assert";
import { testWith } from "../tests/permissions.ts";
import { on, StubContainer } from "../tests/stubs.ts";
import { failureOf, Output, PctContainer, readOnly } from "./container.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "./errors.ts";
import { Pct } from "./pct.ts";
import { sh } from "./shell.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** A container that is a shell of this machine; the file `shell` has the process id of the newest `pct exec`. */
function testContainer(
  name: string,
  test: (container: PctContainer, at: { folder: string; opened: () => number }) => Promise<void>,
): void {
  testWith(["run", "read", "write"], name, async () => {
    const folder = await Deno.makeTempDir();
    await Deno.writeTextFile(`${folder}/pct`, `#!/bin/sh\necho $$ >${folder}/shell\nshift 3\nexec "$@"\n`, {
      mode: 0o755,
    });
    let opened = 0;
    const container = new PctContainer(new Pct(`${folder}/pct`), 901, { onOpen: () => void opened++ });
    try {
      await test(container, { folder, opened: () => opened });
    } finally {
      await container.close();
      await Deno.remove(folder, { recursive: true });
    }
  });
}

// DESIGN 4: one session for the whole run, opened when it is first needed.
testContainer("all commands share one session", async (container, { opened }) => {
  assertEquals(opened(), 0);
  assertEquals((await container.read(sh`echo a`)).text, "a");
  assertEquals((await container.write(sh`cat`, { stdin: "b\n\n" })).text, "b");
  assertEquals((await container.open()).pid > 0, true);
  assertEquals(opened(), 1);
});

testContainer("an exit code that was not announced throws, with the evidence", async (container) => {
  const error = await assertRejects(() => container.read(sh`echo out; echo err >&2; exit 3`), CommandFailed);
  assertEquals([error.exitCode, error.message], [ExitCode.Step, "Command failed with exit code 3"]);
  assertEquals(error.evidence, {
    command: "echo out; echo err >&2; exit 3",
    code: 3,
    stdout: "out\n",
    stderr: "err\n",
  });
  assertEquals((await container.read(sh`exit 3`, { codes: [0, 3] })).code, 3);
  assertEquals((await container.write(sh`exit 77`, { codes: "any" })).code, 77);
  await assertRejects(() => container.write(sh`true`, { codes: [1] }), CommandFailed, "exit code 0");
});

// DESIGN 2 and 4: out of time is exit code 5, with what was written until then; the session lives on.
testContainer("a command that runs out of time ends with exit code 5", async (container, { opened }) => {
  for (const verb of ["read", "write"] as const) {
    const error = await assertRejects(
      () => container[verb](sh`echo begun; sleep 60`, { timeout: "150ms" }),
      CommandFailed,
    );
    assertEquals([error.exitCode, error.message], [
      ExitCode.Timeout,
      "Command did not end within 150 ms and was ended",
    ]);
    assertEquals([error.evidence.code, error.evidence.stdout], [undefined, "begun\n"]);
  }
  assertEquals([(await container.read(sh`echo on`)).text, opened()], ["on", 1]);
});

// DESIGN 4: a lost session is reopened for a probe, once, and never silently for an apply.
testContainer("a read is repeated once when the session is lost under it, a write never", async (container, at) => {
  const runs = `${at.folder}/runs`;
  const count = async () => (await Deno.readTextFile(runs)).length;
  /** Ends the shell of the newest `pct exec` in its first `times` runs. */
  const losing = (times: number) =>
    sh`printf x >>${runs}; [ "$(wc -c <${runs})" -gt ${times} ] || kill -9 $(cat ${at.folder}/shell); echo done`;

  assertEquals([(await container.read(losing(1))).text, await count(), at.opened()], ["done", 2, 2]);

  await Deno.remove(runs);
  await assertRejects(() => container.read(losing(2)), SessionLost);
  assertEquals(await count(), 2);

  await Deno.remove(runs);
  const lost = await assertRejects(() => container.write(losing(1)), SessionLost);
  assertEquals([lost.exitCode, lost.command?.startsWith("printf x"), await count()], [ExitCode.Container, true, 1]);
  assertEquals((await container.read(sh`echo back`)).text, "back");

  // A stream was read already: it cannot be sent again.
  await Deno.remove(runs);
  await assertRejects(() => container.read(losing(1), { stdin: new Blob(["x"]).stream() }), SessionLost);
  assertEquals(await count(), 1);
});

// DESIGN 6: a container that is not the one that is meant is refused, also when a lost session is opened anew.
testContainer("whoever refuses the container's greeting keeps every command from it", async (container, { folder }) => {
  const refusing = new PctContainer(new Pct(`${folder}/pct`), 901, {
    onOpen() {
      throw new Failure(ExitCode.Container, "not the one");
    },
  });
  for (const attempt of [() => refusing.open(), () => refusing.read(sh`true`), () => refusing.write(sh`true`)]) {
    await assertRejects(attempt, Failure, "not the one");
  }
  await container.open();
});

// DESIGN 3: check mode is a wrapper, not a flag.
Deno.test("a read-only container looks and refuses to change", async () => {
  const container = new StubContainer(on("look", "seen"));
  const wrapped = readOnly(container);
  assertEquals([wrapped.ctid, (await wrapped.read(sh`look`)).text], [901, "seen"]);
  const error = await assertRejects(() => wrapped.write(sh`touch /x`), Failure);
  assertEquals([error.exitCode, container.writes], [ExitCode.Defect, []]);
});

Deno.test("output as text has no newline at its end; the evidence has its last 16 KiB", () => {
  const output = new Output("c", { code: 1, stdout: encode(" a\nb \n\n"), stderr: encode("x".repeat(20_000) + "end") });
  assertEquals(output.text, " a\nb ");
  const failure = failureOf(output);
  assertInstanceOf(failure, CommandFailed);
  assertEquals([failure.evidence.stderr.length, failure.evidence.stderr.endsWith("xend")], [16 * 1024, true]);
});
