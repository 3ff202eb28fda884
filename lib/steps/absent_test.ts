import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { LocalShell, testInFolder } from "../../tests/support/local_shell.ts";
import { ensure, on, StubContainer } from "../../tests/support/stubs.ts";
import { StepFailed } from "../engine.ts";
import { ExitCode } from "../errors.ts";
import { absent } from "./absent.ts";

testInFolder("a file, a folder and a link go, and what a link leads to stays", async ({ folder }) => {
  for (const name of ["x", "-rf", "a b\n", "é'\"$(id)"]) {
    const path = `${folder}/${name}`;
    const makers: [kind: string, make: () => Promise<unknown>][] = [
      ["a file", () => Deno.writeTextFile(path, "")],
      ["a symbolic link", () => Deno.symlink(folder, path)],
      ["a symbolic link", () => Deno.symlink("nowhere", path)],
      ["a folder", () => Deno.mkdir(`${path}/with/more`, { recursive: true })],
    ];
    for (const [kind, make] of makers) {
      await make();
      const shell = new LocalShell();
      const check = await ensure(absent(path), shell, { check: true });
      assertEquals([check.differences, shell.writes], [[{ what: path, from: kind }], []]);
      assertEquals((await ensure(absent(path), shell)).outcome, "changed");
      assertEquals((await Array.fromAsync(Deno.readDir(folder))).length, 0);
      assertEquals((await ensure(absent(path), shell)).outcome, "unchanged");
      assertEquals([shell.writes.length, shell.reads.length], [1, 5]);
    }
  }
  assertEquals((await ensure(absent(`${folder}/no/such/folder`), new LocalShell())).outcome, "unchanged");
});

// Proxmox mounts folders of the host into containers: what is in them is nobody's to remove from in there.
Deno.test("nothing is removed where something is mounted", async () => {
  const mounts = (at: string, parent: string) => `proc /proc proc rw 0 0\nrpool/data ${at} zfs rw 0 0\n\0${parent}\n`;
  const take = (at: string, parent = "/srv/real") => {
    const container = new StubContainer(
      on("echo nothing", "a folder\n", "nothing\n"),
      on("/proc/self/mounts", mounts(at, parent)),
      on("rm -rf", ""),
    );
    return { container, done: ensure(absent("/srv/link/my data"), container) };
  };
  for (const at of ["/srv/real/my\\040data", "/srv/real/my\\040data/models/deep"]) {
    const { container, done } = take(at);
    const error = await assertRejects(() => done, StepFailed);
    assertEquals(error.exitCode, ExitCode.Step);
    assertEquals(
      error.message,
      `Cannot remove "/srv/link/my data" as something is mounted at "${at.replace("\\040", " ")}"`,
    );
    assertEquals(container.writes, []);
  }
  for (const at of ["/srv/real", "/srv/real/my\\040data2", "/srv/real/other"]) {
    const { container, done } = take(at);
    assertEquals((await done).outcome, "changed");
    assertEquals(container.inputs, ["/srv/real/my data\0"]);
  }
  await assertRejects(() => take("/my\\040data", "/").done, StepFailed, 'mounted at "/my data"');
});

Deno.test("a system's own folders and unclear paths are refused when it is described", () => {
  for (
    const path of [
      ...["/", "/etc", "/usr", "//etc", "/opt", "/srv/", "", "opt/x", "/opt/../etc", "/opt/x/..", "/opt/./x", "/a/\0"],
      ...["/usr/lib", "/usr//bin", "/var/lib", "/var/log", "/proc/sys/net", "/sys/fs", "/dev/null"],
    ]
  ) {
    assertThrows(() => absent(path), TypeError, "Cannot remove");
  }
  for (const path of ["/opt/x", "/etc/motd", "/var/lib/x", "/usr/local/bin", "/opt/..x"]) absent(path);
});
