import { assert, assertEquals, assertThrows } from "@std/assert";
import { testWith } from "../tests/support/permission.ts";
import { availableSetups, selected, setupFile } from "./setups.ts";

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
