import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import { ExitCode, Failure } from "../errors.ts";
import { RunLock } from "./lock.ts";

function testLock(name: string, test: (folder: string) => Promise<void> | void): void {
  testWith(["read", "write", "run"], name, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await test(`${folder}/locks`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

/** Another process that takes the lock of 901 and keeps it until it is killed. */
async function holder(folder: string): Promise<Deno.ChildProcess> {
  const script = `import { RunLock } from ${JSON.stringify(import.meta.resolve("./lock.ts"))};
    globalThis.lock = RunLock.take(${JSON.stringify(folder)}, 901);
    console.log("held");
    setTimeout(() => {}, 60_000);`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-config", "--no-lock", "--no-check", "--allow-read", "--allow-write", "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const reader = child.stdout.getReader();
  assertEquals(new TextDecoder().decode((await reader.read()).value), "held\n");
  await reader.cancel();
  return child;
}

testLock("a container is held by one run, and its holder is named", (folder) => {
  const lock = RunLock.take(folder, 901);
  const error = assertThrows(() => RunLock.take(folder, 901), Failure);
  assertEquals(error.exitCode, ExitCode.Held);
  assertMatch(
    error.message,
    new RegExp(`^Cannot set up container 901 as another run holds it: process ${Deno.pid}, since \\d{4}-\\S+Z$`),
  );
  RunLock.take(folder, 902).release();
  lock.release();
  lock.release();
  const again = RunLock.take(folder, 901);
  again.release();
  // A run that came later must not be freed by the release of an earlier one.
  const later = RunLock.take(folder, 901);
  lock.release();
  assertThrows(() => RunLock.take(folder, 901), Failure);
  later.release();
});

testLock("a lock that another process holds is free as soon as that process is killed", async (folder) => {
  const child = await holder(folder);
  try {
    assertMatch(
      assertThrows(() => RunLock.take(folder, 901), Failure).message,
      new RegExp(`process ${child.pid}, since`),
    );
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
  // What the killed one wrote is still in the file; nothing of it may be taken for the next holder's.
  assertMatch(await Deno.readTextFile(`${folder}/setup_901.lock`), new RegExp(`^process ${child.pid}`));
  await Deno.writeTextFile(`${folder}/setup_901.lock`, "and more\n".repeat(20), { append: true });
  const lock = RunLock.take(folder, 901);
  assertMatch(
    await Deno.readTextFile(`${folder}/setup_901.lock`),
    new RegExp(`^process ${Deno.pid}, since [^\\n]+\\n$`),
  );
  lock.release();
});

testLock("a folder that cannot be used is said to be so", async (folder) => {
  await Deno.writeTextFile(folder, "a file");
  for (const unusable of [folder, `${folder}/below`]) {
    const error = assertThrows(() => RunLock.take(unusable, 901), Failure, `"${unusable}/setup_901.lock"`);
    assertEquals(error.exitCode, ExitCode.Configuration);
  }
});

// A lock file is emptied: somebody else's must not be reached through it.
testLock("what was planted in the place of a lock file is refused and left as it is", async (folder) => {
  await Deno.mkdir(folder);
  const path = `${folder}/setup_901.lock`;
  const precious = `${folder}/precious`;
  await Deno.writeTextFile(precious, "precious");
  const plants: Record<string, () => Promise<unknown>> = {
    "a symbolic link": () => Deno.symlink(precious, path),
    "a symbolic link to nothing": () => Deno.symlink(`${folder}/not there`, path),
    "a hard link": () => Deno.link(precious, path),
    "a folder": () => Deno.mkdir(path),
    "a FIFO": () => new Deno.Command("mkfifo", { args: [path] }).output(),
  };
  for (const [what, plant] of Object.entries(plants)) {
    await plant();
    const error = assertThrows(() => RunLock.take(folder, 901), Failure, "Remove it", what);
    assertEquals(error.exitCode, ExitCode.Configuration);
    await Deno.remove(path);
  }
  assertEquals(await Deno.readTextFile(precious), "precious");
  assertEquals((await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name), ["precious"]);
});

// Who can read a file can lock it.
testLock("nobody else can open the lock file", async (folder) => {
  const lock = RunLock.take(folder, 901);
  assertEquals((await Deno.stat(`${folder}/setup_901.lock`)).mode! & 0o777, 0o600);
  lock.release();
});

testLock("a holder that does not say who it is holds it all the same", async (folder) => {
  await Deno.mkdir(folder);
  using file = await Deno.open(`${folder}/setup_901.lock`, { write: true, create: true });
  await file.lock(true);
  assertThrows(() => RunLock.take(folder, 901), Failure, "another run holds it: it does not say which process it is");
});
