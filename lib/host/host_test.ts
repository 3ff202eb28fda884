import { assertEquals, assertRejects } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import { ExitCode, Failure } from "../errors.ts";
import { thisHost } from "./host.ts";
import { Pct } from "../container/pct.ts";

const host = thisHost(new Pct(), 901);

testWith(["run"], "a program of the host that does not stop writing is ended", async () => {
  const error = await assertRejects(() => host.write("/bin/sh", ["-c", "yes"], 60_000), Failure, "exceeds");
  assertEquals(error.exitCode, ExitCode.Step);
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
