import { assertEquals, assertRejects } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import { CommandFailed, ExitCode, Failure, SessionLost } from "../errors.ts";
import { sh } from "../shell.ts";
import { PctContainer } from "./connection.ts";
import { Pct } from "./pct.ts";
import type { Greeting } from "./protocol.ts";

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

// One session for the whole run, opened when it is first needed.
testContainer("all commands share one session", async (container, { opened }) => {
  assertEquals(opened(), 0);
  assertEquals((await container.read(sh`echo a`)).text, "a");
  assertEquals((await container.write(sh`cat`, { stdin: "b\n\n" })).text, "b");
  await container.open();
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

// Out of time is exit code 5, with what was written until then; the session lives on.
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

// A lost session is reopened for a probe, once, and never silently for an apply.
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

// A backup freezes a container for a while, and the clock of a command goes on.
testContainer(
  "of a container that is locked, a look that was cut off is repeated, and a time-out says why",
  async (_, at) => {
    let lock: string | undefined = "backup";
    const container = new PctContainer(new Pct(`${at.folder}/pct`), 901, { lockedBy: () => lock });
    const runs = `${at.folder}/runs`;
    const slow = sh`printf x >>${runs}; sleep 60`;
    const take = async (verb: "read" | "write") => {
      await Deno.writeTextFile(runs, "");
      const error = await assertRejects(() => container[verb](slow, { timeout: "150ms" }), CommandFailed);
      return [error.exitCode, error.hint, (await Deno.readTextFile(runs)).length];
    };
    const hint = "Container 901 is locked (backup), which may have frozen it: run this again when that is over";
    assertEquals([await take("read"), await take("write")], [[ExitCode.Timeout, hint, 2], [ExitCode.Timeout, hint, 1]]);
    lock = undefined;
    assertEquals(await take("read"), [ExitCode.Timeout, undefined, 1]);
    await container.close();
  },
);

// A container that is not the one that is meant is refused, also when a lost session is opened anew.
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

// Of the same id is not the same container. A reboot leaves both marks as they are; the first start sets the machine
// id.
testWith(["run", "read", "write"], "a container that was replaced in the middle of a run is refused", async () => {
  const [a, b] = ["a".repeat(32), "b".repeat(32)];
  type Marks = [machineId: string, rootMade: string];
  const cases: [first: Marks, second: Marks, refusal: string | undefined][] = [
    [[a, "1700000000"], [a, "1700000000"], undefined],
    [["", "1700000000"], [a, "1700000000"], undefined],
    [["uninitialized", "?"], [a, "?"], undefined],
    [["", "0"], ["", "0"], undefined],
    [[a, "0"], [b, "0"], `its machine id was ${a} and is ${b}`],
    [
      ["", "1700000000"],
      ["", "1700000060"],
      "made at 2023-11-14T22:13:20.000Z, and now is one of 2023-11-14T22:14:20.000Z",
    ],
    [[a, "1700000000"], [a, "1700000060"], "its root file system was made at"],
  ];
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      `${folder}/pct`,
      `#!/bin/sh
sed -u "s|m=; read -r m </etc/machine-id|m=$(cat ${folder}/machine)|; s|^w=.*|w=$(cat ${folder}/made)|" | sh
`,
      { mode: 0o755 },
    );
    const become = async ([machine, made]: Marks) => {
      await Deno.writeTextFile(`${folder}/machine`, machine);
      await Deno.writeTextFile(`${folder}/made`, made);
    };
    for (const [first, second, refusal] of cases) {
      let pid = 0;
      const onOpen = (greeting: Greeting) => void (pid = greeting.pid);
      const container = new PctContainer(new Pct(`${folder}/pct`), 901, { onOpen });
      await become(first);
      await container.open();
      Deno.kill(pid, "SIGKILL");
      // What comes before it has let go of its input would be lost, and nobody the wiser: `sed` is not `pct`.
      await hasEnded(pid);
      await become(second);
      const touched = `${folder}/touched`;
      // A probe is repeated where its session is lost, and that must be the first thing to notice.
      const probe = () => container.read(sh`echo again`);
      if (refusal === undefined) assertEquals((await probe()).text, "again", JSON.stringify([first, second]));
      else {
        const error = await assertRejects(probe, Failure, refusal);
        assertEquals(error.exitCode, ExitCode.Container);
        await assertRejects(() => container.write(sh`touch ${touched}`), Failure, refusal);
        await assertRejects(() => Deno.stat(touched), Deno.errors.NotFound);
      }
      await container.close();
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** A container whose `pct exec` is this shell script; `calls` counts them. */
async function withPct(script: string, test: (pct: Pct, calls: () => number, folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/pct`, `#!/bin/sh\nprintf x >>${folder}/calls; shift 3\n${script}\n`, {
      mode: 0o755,
    });
    await test(new Pct(`${folder}/pct`), () => Deno.statSync(`${folder}/calls`).size, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

// Most of a run is `pct` starting: the session may start while `pct status` does.
testWith(
  ["run", "read", "write"],
  "a session that is prepared is the one that is opened; where that fails, another is",
  async () => {
    await withPct(`exec "$@"`, async (pct, calls) => {
      const container = new PctContainer(pct, 901);
      container.prepare();
      assertEquals((await container.read(sh`echo there`)).text, "there");
      assertEquals(calls(), 1);
      await container.close();
    });
    await withPct(`[ "$(wc -c <"\${0%/*}/calls")" -gt 1 ] || exit 2; exec "$@"`, async (pct, calls) => {
      const container = new PctContainer(pct, 901);
      container.prepare();
      assertEquals((await container.read(sh`echo there`)).text, "there");
      assertEquals(calls(), 2);
      await container.close();
    });
    // Nobody waits for one that is not needed after all.
    await withPct(`sleep 60`, async (pct) => {
      const container = new PctContainer(pct, 901);
      container.prepare();
      await container.close();
    });
  },
);

testWith(["run", "read", "write"], "a container that is just being rebooted is tried again", () =>
  withPct(
    `[ "$(wc -c <"\${0%/*}/calls")" -gt 2 ] || { echo "container '901' not running!" >&2; exit 255; }; exec "$@"`,
    async (pct, calls) => {
      const waited: string[] = [];
      const container = new PctContainer(pct, 901, { onWait: (why) => waited.push(why) });
      assertEquals((await container.read(sh`echo there`)).text, "there");
      // Said once, however often it is tried.
      assertEquals([calls(), waited.length], [3, 1]);
      await container.close();
    },
  ));

testWith(
  ["run", "read", "write"],
  "what will not pass is not tried again",
  () =>
    withPct(`echo "please run as root" >&2; exit 255`, async (pct, calls) => {
      await assertRejects(() => new PctContainer(pct, 901).read(sh`true`), SessionLost, "please run as root");
      assertEquals(calls(), 2, "a probe is tried twice");
    }),
);

// A run that is being ended must not begin anything new, whatever its steps do about the loss of their session.
testWith(["run", "read", "write"], "an interrupted connection stays closed, and one that hangs is ended", async () => {
  await withPct(`exec "$@"`, async (pct, calls) => {
    const container = new PctContainer(pct, 901);
    const begun = Promise.withResolvers<void>();
    const reading = container.read(sh`echo begun; sleep 60`, { onOutput: () => begun.resolve() });
    await begun.promise;
    await Promise.all([container.interrupt(), assertRejects(() => reading, SessionLost)]);
    const before = calls();
    await assertRejects(() => container.write(sh`true`), SessionLost, "interrupted");
    assertEquals(calls(), before);
  });
  await withPct(`echo $$ >"\${0%/*}/pid"; exec sleep 60`, async (pct, calls, folder) => {
    const container = new PctContainer(pct, 901);
    const opening = container.open();
    const pid = async () => await Deno.readTextFile(`${folder}/pid`).catch(() => "");
    while (await pid() === "") await new Promise((resolve) => setTimeout(resolve, 5));
    await Promise.all([container.interrupt(), assertRejects(() => opening, SessionLost, "interrupted")]);
    await hasEnded(Number(await pid()));
    assertEquals(calls(), 1);
  });
});

/**
 * Waits until a process has ended, be it waited for or not, and fails after 10 s. Deno itself reads `/proc` only for
 * who may do anything.
 */
async function hasEnded(pid: number): Promise<void> {
  const script =
    'i=0; while read -r s </proc/$0/stat && [ "${s#*) Z}" = "$s" ]; do [ $((i+=1)) -lt 1000 ] || exit 1; sleep 0.01; done';
  const { code } = await new Deno.Command("/bin/sh", { args: ["-c", script, String(pid)], stderr: "null" }).output();
  assertEquals(code, 0, `process ${pid} has not ended`);
}

// A signal can come while `pct status` is asked, when the prepared session is there and nobody has used it yet.
testContainer("after an interruption nothing is run in a session that was prepared", async (container, { folder }) => {
  const later = new PctContainer(new Pct(`${folder}/pct`), 901);
  container.prepare();
  await later.open();
  await container.interrupt();
  const marker = `${folder}/marker`;
  await assertRejects(() => container.write(sh`touch ${marker}`), SessionLost, "interrupted");
  await assertRejects(() => Deno.stat(marker), Deno.errors.NotFound);
  await later.close();
});
