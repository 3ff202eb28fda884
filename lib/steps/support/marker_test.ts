import { assertEquals, assertRejects } from "@std/assert";
import { LocalShell, namesIn, testInFolder } from "../../../tests/support/local_shell.ts";
import { CommandFailed } from "../../errors.ts";
import { sh } from "../../shell.ts";
import { writeMarker } from "./marker.ts";

testInFolder("a marker appears whole or not at all, for root only", async ({ folder }) => {
  const path = `${folder}/it's/deep/marker`;
  const shell = new LocalShell();
  await shell.write(writeMarker(path, sh`echo one`));
  assertEquals(await Deno.readTextFile(path), "one\n");
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);

  // Who reads it while it is written, sees the old one.
  const { text } = await shell.write(writeMarker(path, sh`{ echo two; cat ${path} >&2; }`));
  assertEquals([text, await Deno.readTextFile(path)], ["", "two\n"]);

  // Where it fails, or is ended, the old one stays, and nothing else.
  const halves = [[sh`{ echo half; exit 3; }`, 3], [
    sh`{ echo half; sh -c 'kill -TERM $PPID'; sleep 0.1; }`,
    143,
  ]] as const;
  for (const [half, code] of halves) {
    await assertRejects(() => shell.write(writeMarker(path, half)), CommandFailed, `exit code ${code}`);
    assertEquals([await Deno.readTextFile(path), await namesIn(`${folder}/it's/deep`)], ["two\n", ["marker"]]);
  }
  // What the loss of power has left is in nobody's way.
  await Deno.writeTextFile(`${path}.new`, "half", { mode: 0o666 });
  await shell.write(writeMarker(path, sh`cat`), { stdin: "three\n" });
  assertEquals([await Deno.readTextFile(path), await namesIn(`${folder}/it's/deep`)], ["three\n", ["marker"]]);
  assertEquals((await Deno.stat(path)).mode! & 0o777, 0o600);
});
