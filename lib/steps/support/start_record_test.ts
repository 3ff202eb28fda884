import { assertEquals } from "@std/assert";
import { LocalShell, testInFolder } from "../../../tests/support/local_shell.ts";
import type { CommandOptions } from "../../container/container.ts";
import { Script, sh } from "../../shell.ts";
import type { PathChange, Writing } from "../../step.ts";
import { StartRecord } from "./start_record.ts";

/** A machine of which only one folder is ours. */
class Relocated extends LocalShell {
  constructor(readonly folder: string) {
    super();
  }

  override read(script: Script, options?: CommandOptions) {
    return super.read(this.#relocated(script), options);
  }

  override write(script: Script, options?: CommandOptions) {
    return super.write(this.#relocated(script), options);
  }

  #relocated({ text, display }: Script): Script {
    return new Script(text.replaceAll("/var/lib/phoenix_setup/", `${this.folder}/markers/`), display);
  }
}

/** What a step may use, where steps before it have changed, or would change, these paths. */
function accessTo(
  folder: string,
  { changed = [], predicted = [] }: Partial<Record<"changed" | "predicted", PathChange[]>> = {},
) {
  return { container: new Relocated(folder), changed, predicted } as unknown as Writing;
}

/** What has changed of `paths` since `note` noted them last, or `start` started something that reads them. */
function recordOf(folder: string, paths: readonly string[], at = accessTo(folder)) {
  const record = new StartRecord("services", "app", paths);
  const look = async () => record.compare(await at.container.read(record.look), at);
  return {
    start: (start = sh`:`) => record.start(at, start),
    note: async () => await record.note(at, await look()),
    changed: async () => (await look()).changed.map(({ path, why }) => `${path.replace(`${folder}/`, "")} ${why}`),
  };
}

const since = (...paths: string[]) => paths.map((path) => `${path} has changed since its last start`);

// Both ways of noting it leave the same note.
for (const how of ["start", "note"] as const) {
  testInFolder(`what was read at a start (${how}) is compared by its content`, async ({ folder }) => {
    await Deno.mkdir(`${folder}/conf.d/deep`, { recursive: true });
    await Deno.mkdir(`${folder}/elsewhere`);
    for (const name of ["file", "conf.d/a", "conf.d/deep/b", "target", "elsewhere/c"]) {
      await Deno.writeTextFile(`${folder}/${name}`, name);
    }
    await Deno.symlink("target", `${folder}/link`);
    await Deno.symlink("../target", `${folder}/conf.d/link`);
    await Deno.symlink("../elsewhere", `${folder}/conf.d/folder`);
    await Deno.symlink("..", `${folder}/conf.d/deep/loop`);
    await Deno.symlink("nowhere", `${folder}/conf.d/dangling`);
    const names = ["file", "conf.d", "link", "gone", "gone/below", "a b'\"$(id)\n\\n", "newline\n"];
    const { changed, ...record } = recordOf(folder, names.map((name) => `${folder}/${name}`));
    assertEquals(await changed(), since(...names), "nobody knows what was read");
    await record[how]();
    assertEquals(await changed(), [], "also of what is not there");

    const write = (name: string, text: string) => Deno.writeTextFile(`${folder}/${name}`, text);
    const remove = (name: string) => Deno.remove(`${folder}/${name}`, { recursive: true });
    const changes: [what: string, change: () => Promise<void>, changed: string[]][] = [
      ["a file", () => write("file", "other"), ["file"]],
      ["the same once more", () => write("file", "other"), []],
      ["a file in a folder", () => write("conf.d/deep/b", "other"), ["conf.d"]],
      ["a new file in a folder", () => write("conf.d/deep/new", ""), ["conf.d"]],
      ["a file that goes", () => remove("conf.d/a"), ["conf.d"]],
      ["what a link leads to", () => write("target", "other"), ["conf.d", "link"]],
      ["what a link in a folder leads to", () => write("elsewhere/c", "other"), ["conf.d"]],
      ["what was not there", () => write("gone", ""), ["gone"]],
      ["what was not there, as a folder", () => remove("gone").then(() => Deno.mkdir(`${folder}/gone`)), ["gone"]],
      ["a path that goes", () => remove("file"), ["file"]],
      ["a name of all kinds", () => write("a b'\"$(id)\n\\n", "x"), ["a b'\"$(id)\n\\n"]],
    ];
    for (const [what, change, expected] of changes) {
      await change();
      assertEquals(await changed(), since(...expected), what);
      await record[how]();
      assertEquals(await changed(), [], what);
    }
  });
}

// A clock that was set back, or is set right, dates what is there anew; a backup that is restored does, too.
testInFolder("times do not count, of what is read nor of the record", async ({ folder }) => {
  const [path, marker] = [`${folder}/file`, `${folder}/markers/services/app`];
  await Deno.writeTextFile(path, "one");
  const { start, changed } = recordOf(folder, [path]);
  await start();
  const dates = [new Date(0), new Date("2100-01-01")];
  for (const text of ["one", "two"]) {
    await Deno.writeTextFile(path, text);
    for (const record of dates) {
      for (const file of dates) {
        await Deno.utime(marker, record, record);
        await Deno.utime(path, file, file);
        assertEquals(await changed(), text === "one" ? [] : since("file"), `${text}, ${record}, ${file}`);
      }
    }
  }
  // Restored: another file of the same name and content.
  await Deno.remove(path);
  await Deno.writeTextFile(path, "one");
  await Deno.chmod(path, 0o600);
  assertEquals(await changed(), []);
});

testInFolder("what is noted is what was there before the start, and only of one that succeeds", async ({ folder }) => {
  const path = `${folder}/file`;
  await Deno.writeTextFile(path, "one");
  const { start, changed } = recordOf(folder, [path]);
  assertEquals((await start(sh`exit 3`)).code, 3);
  assertEquals(await changed(), since("file"));
  assertEquals((await start(sh`echo two >${path}`)).code, 0);
  assertEquals(await changed(), since("file"), "what was written meanwhile may not have been read");
  await start();
  assertEquals(await changed(), []);
  await Deno.writeTextFile(path, "three");
  assertEquals((await start(sh`false`)).code, 1);
  assertEquals(await changed(), since("file"), "the old note stays");
});

testInFolder("an empty record, as earlier versions wrote it, says nothing", async ({ folder }) => {
  await Deno.mkdir(`${folder}/markers/services`, { recursive: true });
  await Deno.writeTextFile(`${folder}/markers/services/app`, "");
  await Deno.writeTextFile(`${folder}/file`, "");
  const { start, changed } = recordOf(folder, [`${folder}/file`]);
  assertEquals(await changed(), since("file"));
  await start();
  assertEquals(await changed(), []);
});

testInFolder(
  "a path that is new among those that are read takes a start, and one that is gone does not",
  async ({ folder }) => {
    for (const name of ["a", "b"]) await Deno.writeTextFile(`${folder}/${name}`, name);
    const [a, b] = [`${folder}/a`, `${folder}/b`];
    await recordOf(folder, [a]).start();
    assertEquals(await recordOf(folder, [a, b]).changed(), since("b"));
    await recordOf(folder, [a, b]).start();
    assertEquals(await recordOf(folder, [b]).changed(), []);
    // Started without it: what it has read of it then, nobody has noted.
    await recordOf(folder, []).start();
    assertEquals(await recordOf(folder, [a]).changed(), since("a"));
  },
);

// Somebody may have restarted it with what was there until then, so that it runs with that although all files are right
// again.
testInFolder("what a step of this run has changed takes a start, until it has had one", async ({ folder }) => {
  const path = `${folder}/conf/file`;
  await Deno.mkdir(`${folder}/conf`);
  await Deno.writeTextFile(path, "one");
  await recordOf(folder, [path]).start();
  const changed: PathChange[] = [];
  const record = recordOf(folder, [path], accessTo(folder, { changed }));
  assertEquals(await record.changed(), []);
  for (const change of [{ path }, { path: `${folder}/conf`, goes: true as const }]) {
    changed.push({ ...change, content: false });
    assertEquals(await record.changed(), [], "only who may read it");
    changed.push({ ...change, content: true });
    assertEquals(await record.changed(), ["conf/file was changed by a step before this one"]);
    await record.start();
    assertEquals(await record.changed(), []);
  }
  changed.push({ path, content: true });
  await record.note();
  assertEquals(await record.changed(), []);

  const predicted = [{ path, content: true }];
  assertEquals(await recordOf(folder, [path], accessTo(folder, { predicted })).changed(), [
    "conf/file would be changed by a step before this one",
  ]);
});

testInFolder("looking is one command and changes nothing, and so is a start", async ({ folder }) => {
  await Deno.writeTextFile(`${folder}/file`, "one");
  const at = accessTo(folder);
  const shell = at.container as Relocated;
  const { start, changed } = recordOf(folder, [`${folder}/file`, `${folder}/gone`], at);
  await changed();
  assertEquals([shell.reads.length, shell.writes.length, (await Array.fromAsync(Deno.readDir(folder))).length], [
    1,
    0,
    1,
  ]);
  await start();
  assertEquals([shell.reads.length, shell.writes.length], [1, 1]);
  const note = `${folder}/markers/services/app`;
  assertEquals((await Deno.stat(note)).mode! & 0o777, 0o600, "the hash of a short secret is as good as the secret");
});
