import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { hostFile, hostFiles } from "../../../tests/support/host_files.ts";
import { LocalShell, namesIn, testInFolder } from "../../../tests/support/local_shell.ts";
import { ensure, on, StubContainer } from "../../../tests/support/stubs.ts";
import type { CommandOptions } from "../../container/container.ts";
import { StepFailed } from "../../engine.ts";
import { type CommandFailed, ExitCode } from "../../errors.ts";
import type { RunEvent } from "../../events.ts";
import { Secret } from "../../secret.ts";
import { lines, Script, sh } from "../../shell.ts";
import { file } from "../file.ts";
import { digestOf } from "./digest.ts";
import { sourceOfBytes } from "./source.ts";
import { formatBytes, timeFor } from "./transfer.ts";

// 64 KiB is where content begins to take a process of its own.
testInFolder("a host file is copied whatever its size, and not again", async ({ folder, mine }) => {
  for (const size of [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 1024 * 1024]) {
    const text = "\0x\n".repeat(Math.ceil(size / 3)).slice(0, size);
    const path = `${folder}/copy of ${size}`;
    const step = () => file(path, { from: "/src/model", ...mine });
    const options = { host: hostFiles({ "/src/model": text }) };

    const shell = new LocalShell();
    assertEquals((await ensure(step(), shell, { ...options, check: true })).outcome, "would change");
    assertEquals(shell.writes, []);
    const first = await ensure(step(), shell, options);
    assertEquals(first.differences, [{ what: "file", to: `${formatBytes(size)}, mode 644` }]);
    assertEquals(await Deno.readTextFile(path), text);
    assertEquals((await Deno.stat(path)).mode! & 0o7777, 0o644);
    const again = new LocalShell();
    assertEquals((await ensure(step(), again, options)).outcome, "unchanged");
    assertEquals([again.reads.length, again.writes.length], [1, 0]);
  }
});

// The content of a copy may be anybody's secret: sizes say enough.
testInFolder("of a copy that differs, sizes are shown", async ({ folder, mine }) => {
  const step = () => file(`${folder}/x`, { from: "/src/x", ...mine });
  await Deno.writeTextFile(`${folder}/x`, "old", { mode: 0o644 });
  for (
    const [text, difference] of [
      ["hunter22", { what: "content", from: "3 bytes", to: "8 bytes" }],
      ["hunter23", { what: "content", to: "other 8 bytes" }],
    ] as const
  ) {
    const { outcome, differences } = await ensure(step(), new LocalShell(), { host: hostFiles({ "/src/x": text }) });
    assertEquals([outcome, differences], ["changed", [difference]]);
    assertEquals(await Deno.readTextFile(`${folder}/x`), text);
  }
});

// Hashing gigabytes inside takes its time: not where the size has told already.
testInFolder("inside, a file of another size is not hashed", async ({ folder, mine }) => {
  await Deno.writeTextFile(`${folder}/x`, "12345");
  for (const [text, hashed] of [["1234", false], ["abcde", true]] as const) {
    const shell = new TracingShell();
    const step = file(`${folder}/x`, { from: "/src/x", ...mine });
    await ensure(step, shell, { check: true, host: hostFiles({ "/src/x": text }) });
    assertStringIncludes(shell.trace, "+ stat ");
    assertEquals(shell.trace.includes("+ sha256sum"), hashed);
  }
});

// OpenSSL is faster, and many containers have none.
testInFolder("the hash of a large file inside is the same with OpenSSL and without", async ({ folder }) => {
  const path = `${folder}/it's large`;
  await Deno.writeTextFile(path, "x".repeat(100_000));
  const digest = digestOf(sh`${path}`, 100_000);
  for (const openssl of [sh`:`, sh`openssl() { echo 'not here' >&2; return 127; }`]) {
    const { text } = await new LocalShell().read(lines(openssl, digest));
    assertEquals(text.split(" ")[0], "d69e68988157833272305aaf21f453c800346e8a3640db6578e260215542e5d4", `${openssl}`);
  }
});

// Of gigabytes that arrived whole, the look afterwards would take as long again. What is there is still found, whoever
// put it there.
testInFolder("what was just sent and verified is not read again, unless somebody has written to it", async (at) => {
  const { folder, mine } = at;
  const size = 16 * 1024 * 1024;
  const host = hostFiles({ "/src/x": "x".repeat(size), "/src/less": "x".repeat(size - 1) });
  const shell = new TracingShell();
  await ensure(file(`${folder}/x`, { from: "/src/x", ...mine }), shell, { host });
  assertEquals(/\+ (openssl|sha256sum)/.test(shell.trace), false);
  // A smaller one could be hashed, and written to, within a tick of the clock that dates changes.
  await ensure(file(`${folder}/less`, { from: "/src/less", ...mine }), shell, { host });
  assertStringIncludes(shell.trace, "+ openssl");

  const meddled = new class extends TracingShell {
    override async write(...args: Parameters<LocalShell["write"]>) {
      const output = await super.write(...args);
      using copy = await Deno.open(`${folder}/y`, { write: true });
      await copy.write(new TextEncoder().encode("y"));
      return output;
    }
  }();
  const step = file(`${folder}/y`, { from: "/src/x", ...mine });
  await assertRejects(() => ensure(step, meddled, { host }), StepFailed, "content");
  assertStringIncludes(meddled.trace, "+ openssl");
});

// Where `stat` tells no more than the second, as that of older BusyBoxes, much can happen in it.
Deno.test("a state that is only known to the second is no evidence", () => {
  const known = (state: string) => digestOf(sh`x`, 2 ** 30, { state, sha256: "0" }).text.includes("stat");
  assertEquals([known("8:1 12 2026-11-27 01:02:03.000000004 +0000"), known("8:1 12 2026-11-27 01:02:03")], [
    true,
    false,
  ]);
});

/** Notes the commands that were run. */
class TracingShell extends LocalShell {
  trace = "";

  override async read(script: Script, options?: CommandOptions) {
    const output = await super.read(new Script(`set -x\n${script.text}`, script.display), options);
    this.trace += output.errorText;
    return output;
  }
}

testInFolder(
  "a source that is missing or changes meanwhile is an error, and nothing is replaced",
  async ({ folder, mine }) => {
    const path = `${folder}/x`;
    await Deno.writeTextFile(path, "old");
    const step = () => file(path, { from: "/src/x", ...mine });
    const missing = await assertRejects(() => ensure(step(), new LocalShell(), { host: hostFiles({}) }), StepFailed);
    assertEquals(missing.exitCode, ExitCode.Step);
    assertEquals(missing.message, 'Cannot copy "/src/x" as there is no such file on the host');

    const large = "x".repeat(100_000);
    for (
      const [then, now, how] of [
        ["abc", "abd", "its content is another"],
        ["abc", "abcd", "it has more than the 3 bytes that it had"],
        [large, large.slice(1), "it has 99999 of the 100000 bytes that it had"],
        [large, `${large.slice(1)}y`, "its content is another"],
        [large, `${large}x`, "it has more than the 100000 bytes that it had"],
      ] as const
    ) {
      const host = { file: () => Promise.resolve(hostFile("/src/x", then, 0o644, now)) };
      const error = await assertRejects(() => ensure(step(), new LocalShell(), { host }), StepFailed);
      assertEquals(
        [error.message, error.exitCode],
        [`Cannot copy "/src/x" from the host as it was changed meanwhile: ${how}`, ExitCode.Step],
      );
      assertEquals([await namesIn(folder), await Deno.readTextFile(path)], [["x"], "old"]);
    }
  },
);

// Between the first byte and the last, nobody else may read it, whoever may in the end.
testInFolder("while it is sent, only root can read it, and the old content stays", async ({ folder, mine }) => {
  await Deno.writeTextFile(`${folder}/x`, "old");
  const seen = new Set<string>();
  const original = hostFile("/src/x", "x".repeat(1024 * 1024));
  const host = {
    file: () =>
      Promise.resolve({
        ...original,
        async *chunks() {
          for await (const chunk of original.chunks()) {
            yield chunk;
            const { mode } = await Deno.stat(`${folder}/.x.phoenix_setup`).catch(() => ({ mode: undefined }));
            if (mode) seen.add(`${(mode & 0o777).toString(8)} ${await Deno.readTextFile(`${folder}/x`)}`);
          }
        },
      }),
  };
  await ensure(file(`${folder}/x`, { from: "/src/x", mode: 0o666, ...mine }), new LocalShell(), { host });
  assertEquals([...seen], ["600 old"]);
});

const nothing = on("stat -c", "nothing\n");

// A disk that is full to the brim takes more than this container down.
Deno.test("room is looked for before more than a frame's worth is sent", async () => {
  const size = 10 * 1024 * 1024;
  // Names of file systems can have blanks in them.
  const line = (free: number) => `//nas/My Share 2000000 500000 ${free} 25% /mnt/a b\n`;
  const host = hostFiles({ "/src/x": "x".repeat(size) });
  const container = new StubContainer(on("df -Pk", line(size / 1024 - 1)), nothing);
  const error = await assertRejects(() => ensure(file("/a/x", { from: "/src/x" }), container, { host }), StepFailed);
  assertEquals(
    [error.message, error.hint],
    [
      'Only 10.0 MiB are free for "/a" inside the container, expected at least 10.0 MiB',
      "Free some space, or enlarge the disk, such as: pct resize 901 rootfs +8G",
    ],
  );
  assertEquals(container.writes, []);

  const enough = new StubContainer(on("df -Pk", line(size / 1024)), on("mv -f", { code: 1 }), nothing);
  await assertRejects(() => ensure(file("/a/x", { from: "/src/x" }), enough, { host }), StepFailed, "Cannot write");
  assertEquals(enough.writes.length, 1);

  // A container that went down in the middle of a copy: what there is of that must not be in its own way.
  const left = `${line(1024)}${size / 1024 - 1024}\t/a/.x.phoenix_setup\n`;
  const again = new StubContainer(on("df -Pk", left), on("mv -f", { code: 1 }), nothing);
  await assertRejects(() => ensure(file("/a/x", { from: "/src/x" }), again, { host }), StepFailed, "Cannot write");

  const odd = new StubContainer(on("df -Pk", "?"), nothing);
  const unclear = await assertRejects(() => ensure(file("/a/x", { from: "/src/x" }), odd, { host }), StepFailed);
  assertStringIncludes(unclear.message, "Cannot tell how much space is free");
});

// A folder that is a user's own lets that user put anything in the place of what root is writing there.
testInFolder("owner and mode are given to what was sent, whatever is put in its place", async ({ folder, mine }) => {
  await Deno.writeTextFile(`${folder}/victim`, "", { mode: 0o600 });
  const swap = sh`sha256sum() { command sha256sum && rm -f ${folder}/.x.phoenix_setup &&
  ln -s ${folder}/victim ${folder}/.x.phoenix_setup; }`;
  class Shell extends LocalShell {
    override write(script: Script, options?: CommandOptions) {
      return super.write(new Script(`${swap.text}\n${script.text}`, script.display), options);
    }
  }
  const step = file(`${folder}/x`, { content: "text", mode: 0o666, ...mine });
  await assertRejects(() => ensure(step, new Shell()), StepFailed);
  assertEquals((await Deno.stat(`${folder}/victim`)).mode! & 0o777, 0o600);

  // Where only they differ, it is the file itself that could be replaced.
  await Deno.remove(`${folder}/x`);
  await Deno.writeTextFile(`${folder}/x`, "text", { mode: 0o600 });
  class Later extends LocalShell {
    override async write(script: Script, options?: CommandOptions) {
      await Deno.remove(`${folder}/x`);
      await Deno.symlink("victim", `${folder}/x`);
      return await super.write(script, options);
    }
  }
  await assertRejects(() => ensure(step, new Later()), StepFailed, "exit code");
  assertEquals((await Deno.stat(`${folder}/victim`)).mode! & 0o777, 0o600);
});

// The hash of a short password is as good as the password.
testInFolder("the hash of a secret is not shown by a failure", async ({ folder, mine }) => {
  const step = file(`${folder}/none/x`, { content: new Secret("PIN", "1234"), ...mine });
  await Deno.writeTextFile(`${folder}/none`, "");
  const { cause } = await assertRejects(
    () => ensure(step, new StubContainer(nothing, on("mv -f", { code: 1 }))),
    StepFailed,
  );
  const { command } = (cause as CommandFailed).evidence;
  assertStringIncludes(command, "mv -f");
  assertEquals(command.includes((await sourceOfBytes(new TextEncoder().encode("1234"))).sha256), false);
});

// A person who waits wants to see it move; a log wants no line for each piece.
testInFolder("sending tells how far it is, once for each percent at the most", async ({ folder, mine }) => {
  const size = 8 * 1024 * 1024;
  const { events } = await ensure(file(`${folder}/x`, { from: "/src/x", ...mine }), new LocalShell(), {
    host: hostFiles({ "/src/x": "x".repeat(size) }),
  });
  const told = events.filter((event): event is RunEvent & { event: "step progress" } => event.event === "step progress")
    .map(({ text }) => text).filter((text) => text.endsWith("sent"));
  assertEquals(told.length, 101);
  assertEquals(told.at(-1), "8.0 MiB of 8.0 MiB sent");
});

Deno.test("the time that sending may take grows with the size", () => {
  const gibibyte = 1024 ** 3;
  assertEquals(timeFor(600_000, 0), 600_000);
  assertEquals(timeFor(600_000, 10 * gibibyte), 600_000 + 2_560_000);
});

Deno.test("sizes read well", () => {
  const sizes = [0, 1, 66_560, 1024 ** 2, 1.5 * 1024 ** 3, 7 * 1024 ** 4, 1024 ** 5];
  assertEquals(sizes.map(formatBytes), [
    "0 bytes",
    "1 bytes",
    "66560 bytes",
    "1.0 MiB",
    "1.5 GiB",
    "7.0 TiB",
    "1024.0 TiB",
  ]);
});

testInFolder("names can have any characters, and be as long as a name can be", async ({ folder, mine }) => {
  for (const name of [" ", "-n", "a\nb\n", `'"$(id)\\`, "é日本", "x".repeat(255), "日".repeat(85)]) {
    await ensure(file(`${folder}/${name}`, { content: name, ...mine }), new LocalShell());
    assertEquals([await namesIn(folder), await Deno.readTextFile(`${folder}/${name}`)], [[name], name]);
    await Deno.remove(`${folder}/${name}`);
  }
});

Deno.test("what cannot be meant is refused when it is described", () => {
  for (
    const [describe, said] of [
      [() => file("/a/../b", { content: "" }), '"/a/../b"'],
      [() => file("/a/.", { content: "" }), '"/a/."'],
      [() => file("/a\0", { content: "" }), '"/a\\u0000"'],
      [() => file("/a", { from: "b" }), '"b"'],
      [() => file("/a", {} as { content: string }), 'either "content" or "from"'],
      [() => file("/a", { content: "", from: "/b" } as unknown as { content: string }), 'either "content" or "from"'],
      [() => file("/a", { content: "", mode: 0o10000 }), "4096"],
      [() => file("/a", { content: "", mode: 1.5 }), "1.5"],
      [() => file("/a", { content: "", owner: "-R" }), '"-R"'],
      [() => file("/a", { content: "", group: "a:b" }), '"a:b"'],
    ] as const
  ) {
    assertThrows(describe, TypeError, said);
  }
});

// What only its owner may read is hidden inside for a reason.
testInFolder("the content of a private file is not shown", async ({ folder, mine }) => {
  const quiet = { what: "content", to: "13 other bytes" };
  for (
    const [is, mode, differences] of [
      [0o600, 0o600, [quiet]],
      [0o644, 0o600, [quiet, { what: "mode", from: "644", to: "600" }]],
      [0o600, 0o644, [quiet, { what: "mode", from: "600", to: "644" }]],
    ] as const
  ) {
    await Deno.writeTextFile(`${folder}/x`, "token=hunter1");
    await Deno.chmod(`${folder}/x`, is);
    const step = file(`${folder}/x`, { content: "token=hunter2", mode, ...mine });
    assertEquals((await ensure(step, new LocalShell(), { check: true })).differences, differences);
  }
});

Deno.test("a device is never replaced", async () => {
  const error = await assertRejects(
    () => ensure(file("/dev/null", { content: "" }), new StubContainer(on("stat -c", "device\n"))),
    StepFailed,
  );
  assertEquals(error.message, 'Cannot write the file "/dev/null" as there is a device');
});
