import { assertEquals, assertRejects } from "@std/assert";
import { testWith } from "../tests/permissions.ts";
import { ExitCode, Failure } from "./errors.ts";
import { thisHost } from "./host.ts";
import { Pct } from "./pct.ts";

const host = thisHost(new Pct(), 901);

testWith(["run"], "a program of the host that does not stop writing is ended", async () => {
  const error = await assertRejects(() => host.write("/bin/sh", ["-c", "yes"], 60_000), Failure, "exceeds");
  assertEquals(error.exitCode, ExitCode.Step);
});

testWith(["read", "write"], "a file is opened when its stream is read, and not before", async () => {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, "before");
  const stream = (await host.file(path))!.stream(2);
  await Deno.remove(path);
  await Deno.writeTextFile(path, "afterwards");
  assertEquals(await new Response(stream).text(), "terwards");
  await Deno.remove(path);
});
