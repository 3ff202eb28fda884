import { assertEquals } from "@std/assert";
import { concat } from "./bytes.ts";

Deno.test("byte arrays are joined in their order, into memory of their own", () => {
  const parts = [Uint8Array.of(1, 2), new Uint8Array(0), Uint8Array.of(3)];
  const all = concat(parts);
  assertEquals(all, Uint8Array.of(1, 2, 3));
  parts[0]![0] = 9;
  assertEquals(all[0], 1);
  assertEquals(concat([]).length, 0);
  const only = Uint8Array.of(7);
  assertEquals(concat([only]).buffer === only.buffer, false);
});
