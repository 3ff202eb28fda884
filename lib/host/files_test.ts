import { assertEquals, assertRejects } from "@std/assert";
import { testInFolder } from "../../tests/support/local_shell.ts";
import { testWith } from "../../tests/support/permission.ts";
import { Pct } from "../container/pct.ts";
import { Failure } from "../errors.ts";
import { thisHost } from "./this_host.ts";

const host = thisHost(new Pct(), 901);

// Whole or not at all, and what is no regular file is refused.
testInFolder("a file of the host is written whole, with its mode", async ({ folder }) => {
  await host.writeFile(`${folder}/f`, "one", 0o640);
  await host.writeFile(`${folder}/f`, "two", 0o640);
  const file = (await host.file(`${folder}/f`))!;
  assertEquals([await file.text(), file.mode, file.size], ["two", 0o640, 3]);
  assertEquals(await file.sha256(), "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3");
  assertEquals(new TextDecoder().decode((await Array.fromAsync(file.chunks()))[0]), "two");
  assertEquals(await host.folder(folder), [{ name: "f", kind: "file" }]);
  assertEquals([await host.file(`${folder}/none`), await host.folder(`${folder}/none`)], [undefined, undefined]);
  await assertRejects(() => host.file(folder), Error, "not a regular file");
  await assertRejects(() => host.writeFile(`${folder}/none/f`, "", 0o644), Failure, "its folder is not there");
  await assertRejects(() => host.writeFile(folder, "", 0o644), Failure, `Cannot write "${folder}" on the host: `);
  await host.removeFile(`${folder}/f`);
  await host.removeFile(`${folder}/f`);
  assertEquals(await host.folder(folder), []);
});

// A share that is gone, a loop of links: nothing of it is a defect of this program.
testInFolder("what cannot be read on the host is told as a failure", async ({ folder }) => {
  await Deno.symlink("loop", `${folder}/loop`);
  await Deno.writeTextFile(`${folder}/f`, "x");
  for (const look of [() => host.file(`${folder}/loop`), () => host.folder(`${folder}/loop`)]) {
    await assertRejects(look, Failure, `Cannot read "${folder}/loop" on the host: `);
  }
  assertEquals([await host.file(`${folder}/f/x`), await host.folder(`${folder}/f`)], [undefined, undefined]);
  const file = (await host.file(`${folder}/f`))!;
  await Deno.remove(`${folder}/f`);
  for (const read of [() => file.text(), () => file.sha256(), () => Array.fromAsync(file.chunks())]) {
    await assertRejects(read, Failure, `Cannot read "${folder}/f" on the host: `);
  }
});

testWith(["read", "write"], "a file is opened when its first chunk is asked for, and not before", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, "before");
  const chunks = (await host.file(path))!.chunks(2);
  await Deno.remove(path);
  await Deno.writeTextFile(path, "afterwards");
  assertEquals((await Array.fromAsync(chunks, (chunk) => new TextDecoder().decode(chunk))).join(""), "terwards");
  await Deno.remove(path);
});

testWith(["read", "write"], "a file of many chunks is read whole, or as far as somebody wants it", async () => {
  const path = await Deno.makeTempFile();
  const content = crypto.getRandomValues(new Uint8Array(60_000)).toBase64().repeat(20);
  await Deno.writeTextFile(path, content);
  const file = (await host.file(path))!;
  const copies = await Array.fromAsync(file.chunks(), (chunk) => chunk.slice());
  assertEquals(await new Blob(copies).text() === content, true);
  assertEquals(copies.length > 10, true);
  // What is open when the test ends fails it.
  for await (const chunk of file.chunks()) {
    assertEquals(new TextDecoder().decode(chunk), content.slice(0, chunk.length));
    break;
  }
  await Deno.remove(path);
});

// A hash is taken once for each state of a file, which a change that keeps the size is another one of.
testWith(["read", "write"], "a host file that has changed is hashed again", async () => {
  const path = await Deno.makeTempFile();
  const hash = async () => (await host.file(path))!.sha256();
  try {
    await Deno.writeTextFile(path, "one");
    assertEquals(await hash(), "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
    await Deno.writeTextFile(path, "two");
    assertEquals(await hash(), "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3");
    // Old enough to be trusted.
    await new Promise((resolve) => setTimeout(resolve, 150));
    const trusted = await hash();
    assertEquals(await hash(), trusted);
    await Deno.writeTextFile(path, "one");
    assertEquals(await hash(), "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed");
  } finally {
    await Deno.remove(path);
  }
});
