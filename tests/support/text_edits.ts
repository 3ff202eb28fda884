/**
 * Text files for tests of the steps that edit them.
 *
 * @module
 */

import { assert, assertRejects } from "@std/assert";
import { StepFailed } from "../../lib/engine.ts";
import type { Step } from "../../lib/step.ts";
import { ensure, on, StubContainer } from "./stubs.ts";

/** A container with one file, for as long as nobody writes. */
export function withFile(text: string, mode = 644): StubContainer {
  return new StubContainer(on("stat -c", `file 00 ${mode} 0 0 ${new TextEncoder().encode(text).length}\n${text}`));
}

/** What a step would make of a file: what is sent, or `undefined` where it is right. */
export async function edited(step: Step<unknown>, text: string): Promise<string | undefined> {
  const container = withFile(text);
  const { outcome } = await ensure(step, container, { check: true });
  if (outcome === "unchanged") return undefined;
  const writing = new StubContainer(
    on("mv -f", ""),
    on("stat -c", `file 00 640 7 8 ${new TextEncoder().encode(text).length}\n${text}`),
  );
  // It is looked at again, and the stub has not changed.
  await assertRejects(() => ensure(step, writing), StepFailed, "still different");
  assert(writing.writes[0]!.includes("chown 7:8") && writing.writes[0]!.includes("chmod 640"));
  return writing.inputs[0];
}
