import { assert, assertEquals, assertThrows } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { permissionsOf } from "../lib/run/permission.ts";
import type { Setup } from "../lib/run/setup.ts";
import { testWith } from "../tests/support/permission.ts";
import { availableSetups, permissionsIn, selected, setupFile } from "./setups.ts";

Deno.test("a command line names setups that there are, or all of them", () => {
  assertEquals(selected(["902", "901", "902"], false, [901, 902, 903]), [902, 901]);
  assertEquals(selected([], true, [901, 902]), [901, 902]);
  assertThrows(() => selected([], false, [901, 902]), Error, "No CTID given. There are: 901, 902");
  assertThrows(() => selected(["901"], true, [901]), Error, "not both");
  for (const wrong of ["777", "", "0901", "901.ts", "../901", "9e2", " 901", "-1"]) {
    const message = `There is no setup for ${JSON.stringify(wrong)}. There are: 901`;
    assertThrows(() => selected(["901", wrong], false, [901]), Error, message);
  }
});

testWith(["read"], "every setup that there is can be named", () => {
  assert(availableSetups().includes(901));
  for (const ctid of availableSetups()) assert(Deno.statSync(setupFile(ctid)).isFile);
});

testWith(["read", "write"], "a file whose first line does not say what it is permitted is not run", async () => {
  const file = await Deno.makeTempFile();
  try {
    const line = "#!/usr/bin/env -S deno run --no-prompt -R=/a,/b";
    await Deno.writeTextFile(file, `${line}\n#!/usr/bin/env -S deno run -A\n`);
    assertEquals(permissionsIn(file), ["--no-prompt", "-R=/a,/b"]);
    for (const text of ["", `\n${line}`, "#!/bin/sh\n", "#!/usr/bin/env -S deno run\n"]) {
      await Deno.writeTextFile(file, text);
      assertThrows(() => permissionsIn(file), Error, "its first line does not say what it is permitted");
    }
  } finally {
    await Deno.remove(file);
  }
});

// A setup is a short file with one import, executable as it stands, and independent of every other one.
testWith(["read"], "each file of setups/ is what a setup has to be", async (t) => {
  const folder = new URL("../setups/", import.meta.url);
  const names = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name).sort();
  assert(names.includes("901.ts"));
  for (const name of names) {
    await t.step(name, async () => {
      const url = new URL(name, folder);
      const text = await Deno.readTextFile(url);
      const [first, ...lines] = text.trimEnd().split("\n");
      const exported: Record<string, unknown> = await import(url.href);
      const setups = Object.values(exported).filter((value): value is Setup =>
        typeof value === "object" && value !== null && "perform" in value
      );
      assertEquals(setups.length, 1, "exactly one setup is exported");
      assertEquals(name, `${setups[0]!.ctid}.ts`);
      assertEquals(permissionsIn(fromFileUrl(url)), permissionsOf(setups[0]!));
      assert(new TextEncoder().encode(first).length <= 255, "the kernel cuts a longer first line");
      assertEquals((await Deno.stat(url)).mode! & 0o111, 0o111, "the file is executable");
      const imports = [...text.matchAll(/\b(?:from|import)\s*\(?\s*["'`]([^"'`]+)/g)].map(([, module]) => module);
      assertEquals(imports, ["../lib/mod.ts"]);
      assert(lines.length + 1 <= 60, `${lines.length + 1} lines`);
    });
  }
});
