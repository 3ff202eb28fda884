import { assert, assertEquals, assertRejects } from "@std/assert";
import { hostFileOf, record, tar, type TarFile as Entry } from "../../../tests/fixtures/image_archive.ts";
import { testWith } from "../../../tests/support/permission.ts";
import type { HostFile } from "../../host/host.ts";
import { InvalidArchive, readTar } from "./tar.ts";

/**
 * The names in an archive, with the content of those that are read. One that is opened again and again fails the test.
 */
async function read(bytes: Uint8Array<ArrayBuffer>): Promise<[name: string, content: string | undefined][]> {
  const file = hostFileOf(bytes);
  let opened = 0;
  const chunks = (from?: number) => {
    if (opened++ > 20) throw new Error("The archive was opened again and again");
    return file.chunks(from);
  };
  return await Array.fromAsync(
    readTar({ ...file, chunks } satisfies HostFile),
    ({ name, content }) => [name, content && new TextDecoder().decode(content)],
  );
}

const LAST: Entry = { name: "manifest.json", content: "[]" };

// What a person packs again has gone through the machine's own tar.
testWith(["read", "write", "run"], "archives are read as GNU tar writes them, in each of its formats", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const long = `${"d".repeat(120)}/config.json`;
    await Deno.mkdir(`${folder}/tree/${"d".repeat(120)}`, { recursive: true });
    await Deno.writeTextFile(`${folder}/tree/${long}`, '{"of":"config"}');
    await Deno.writeTextFile(`${folder}/tree/a.json`, "{}");
    await Deno.link(`${folder}/tree/a.json`, `${folder}/tree/b.json`);
    await Deno.symlink("x".repeat(150), `${folder}/tree/link`);
    // So many holes that their places do not fit into the header.
    using layer = await Deno.open(`${folder}/tree/layer.tar`, { write: true, createNew: true });
    for (let at = 0; at < 40; at++) {
      await layer.seek(at * 1024 * 1024, Deno.SeekMode.Start);
      await layer.write(new TextEncoder().encode("data"));
    }
    const names = ["layer.tar", "a.json", "b.json", "link", long];
    const runTar = async (format: string, ...args: string[]) => {
      const all = ["--create", `--format=${format}`, "--file=-", ...args];
      const { stdout, stderr } = await new Deno.Command("tar", { args: all, cwd: `${folder}/tree` }).output();
      assertEquals(new TextDecoder().decode(stderr), "", format);
      return (await read(stdout)).filter(([name]) => !name.endsWith("layer.tar"));
    };
    for (const format of ["gnu", "oldgnu", "posix"]) {
      assertEquals(await runTar(format, "--sparse", ...names), [["a.json", "{}"], [long, '{"of":"config"}']], format);
    }
    assertEquals(await runTar("ustar", "a.json", long), [["a.json", "{}"], [long, '{"of":"config"}']]);
    assertEquals(await runTar("v7", "a.json", "b.json"), [["a.json", "{}"]]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a size that is not a number is damage", async () => {
  const sizes = ["garbage!!!!\0", "-0000000001\0", "00000000o02\0", "\xff".repeat(12), `\x80${"\x7f".repeat(11)}`];
  for (const size of sizes) {
    for (const before of [[], [LAST]]) {
      const archive = tar([...before, { name: "a.json", content: "", size }, LAST]);
      await assertRejects(() => read(archive), InvalidArchive, `it is damaged at byte ${before.length * 1024}`, size);
    }
  }
  for (const size of ["abc", "-512", "1.5", `1${"0".repeat(300)}`]) {
    const archive = tar([
      { name: "x", content: record("size", size), kind: "x" },
      { name: "a.json", content: "" },
      LAST,
    ]);
    await assertRejects(() => read(archive), InvalidArchive, "it is damaged at byte 1024", size);
  }
});

// Parallel compressors write many members, one after the other, and `docker load` takes them.
Deno.test("an archive that is compressed in several members is read as one", async () => {
  const gzip = (bytes: Uint8Array<ArrayBuffer>) =>
    new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).bytes();
  const archive = tar([{ name: "layer.tar", content: "x".repeat(3_000_000) }, LAST]);
  const members = await Promise.all([archive.slice(0, 700), archive.slice(700)].map(gzip));
  const files = await read(await new Blob(members).bytes());
  assertEquals(files.map(([name]) => name), ["layer.tar", "manifest.json"]);
  const truncated = await gzip(archive);
  await assertRejects(() => read(truncated.slice(0, -600)), InvalidArchive, "it is damaged: ");
});

Deno.test("a record without a value leaves the header's own", async () => {
  const archive = tar([{ name: "x", content: record("size", "") + record("path", ""), kind: "x" }, LAST]);
  assertEquals(await read(archive), [["manifest.json", "[]"]]);
});

// Some programs note the size of what a link leads to.
Deno.test("links, devices and folders have no content, whatever their headers say", async () => {
  for (const kind of ["1", "2", "3", "4", "5", "6"]) {
    assertEquals(
      await read(tar([{ name: "x", content: "", kind, size: 5_000 }, LAST])),
      [["manifest.json", "[]"]],
      kind,
    );
  }
});

Deno.test("whatever byte of a header is changed, reading ends with the files or with what is wrong", async () => {
  const archive = tar([{ name: "x", content: record("path", "long/a.json"), kind: "x" }, {
    name: "a.json",
    content: "{}",
  }, LAST]);
  let survived = 0;
  for (const header of [0, 1024]) {
    for (let at = 0; at < 512; at++) {
      for (const byte of [0, 0x2d, 0x39, 0x53, 0x80, 0xff]) {
        const changed = archive.slice();
        changed[header + at] = byte;
        sign(changed.subarray(header, header + 512));
        try {
          await read(changed);
          survived++;
        } catch (error) {
          assert(error instanceof InvalidArchive, `byte ${header + at} as ${byte}: ${error}`);
        }
      }
    }
  }
  assert(survived > 1_000);
});

/** Writes the checksum that a header has to have. */
function sign(header: Uint8Array): void {
  header.fill(0x20, 148, 156);
  const sum = header.reduce((sum, byte) => sum + byte, 0);
  header.set(new TextEncoder().encode(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
}
