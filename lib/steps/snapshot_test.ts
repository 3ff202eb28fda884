import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { ensure, on, StubContainer } from "../../tests/stubs.ts";
import { StepFailed } from "../engine.ts";
import type { Host } from "../host.ts";
import type { PctResult } from "../pct.ts";
import { snapshot } from "./snapshot.ts";

/** A container in Proxmox, as `pct` shows it. `refusals` are what the next calls of a subcommand answer. */
function proxmox(names: string[], refusals: Record<string, (string | undefined)[]> = {}) {
  const calls: string[] = [];
  const files = new Set<string>();
  const state = { running: true };
  const result = (code: number, stdout = "", stderr = ""): Promise<PctResult> =>
    Promise.resolve({ code, stdout, stderr });
  const host: Partial<Host> = {
    pctRead(subcommand) {
      if (subcommand === "status") return result(0, `status: ${state.running ? "running" : "stopped"}\n`);
      const tree = names.map((name, i) =>
        `${" ".repeat(i)}\`-> ${name.padEnd(28)}2026-11-22 17:40:40     no-description\n`
      );
      return result(0, `${tree.join("")}${" ".repeat(names.length)}\`-> current                 You are here!\n`);
    },
    pctWrite(subcommand, args) {
      calls.push([subcommand, ...args].join(" "));
      const refusal = refusals[subcommand]?.shift();
      if (refusal !== undefined) return result(255, "", `${refusal}\n`);
      if (subcommand === "shutdown") state.running = false;
      if (subcommand === "start") state.running = true;
      if (subcommand === "snapshot") names.push(args[0]!);
      return result(0);
    },
    writeFile: (path) => Promise.resolve(void (files.add(path), calls.push("note"))),
    removeFile: (path) => Promise.resolve(void (files.delete(path), calls.push("no note"))),
  };
  return { host, calls, files, state, names };
}

const ready = () => new StubContainer(on("is-system-running", "running"));

// Requirements of the fleet's templates: stop, `pct snapshot`, start, wait until ready; taken once.
Deno.test("a snapshot is taken of the stopped container, which is started again", async () => {
  const { host, calls, files, state } = proxmox([]);
  assertEquals((await ensure(snapshot("gpu-base", { description: "x" }), ready(), { host })).outcome, "changed");
  assertEquals(calls, [
    "note",
    "shutdown --timeout 120 --forceStop 1",
    "snapshot gpu-base --description x",
    "start",
    "no note",
  ]);
  assertEquals([state.running, files.size], [true, 0]);
});

// phoenix.md: `grep -q name` for "exists" also matches `name-old`.
Deno.test("a snapshot of this very name counts, none that contains it", async () => {
  assertEquals((await ensure(snapshot("base"), ready(), { host: proxmox(["one", "base"]).host })).outcome, "unchanged");
  assertEquals(
    (await ensure(snapshot("base"), ready(), { host: proxmox(["base-old", "a-base"]).host, check: true })).outcome,
    "would change",
  );
});

// A refused snapshot stops the run, and the container is started again.
Deno.test("a refused snapshot fails the step with pct's words, and the container runs again", async () => {
  const { host, state, files } = proxmox([], { snapshot: ["snapshot feature is not available"] });
  const error = await assertRejects(() => ensure(snapshot("base"), ready(), { host }), StepFailed);
  assertStringIncludes(error.message, "snapshot feature is not available");
  assertEquals([error.exitCode, state.running, files.size], [4, true, 0]);
});

// pct.md, trap 17: locks are waited for, never taken away.
Deno.test("a lock is waited for", async () => {
  const { host, calls } = proxmox([], {
    shutdown: ["CT is locked (backup)", "can't lock file '/run/lock/lxc/pve-config-901.lock' - got timeout"],
  });
  assertEquals((await ensure(snapshot("base"), ready(), { host })).outcome, "changed");
  assertEquals(calls.filter((call) => call.startsWith("shutdown")).length, 3);
});

Deno.test("a listing that is none is not taken for an empty one", async () => {
  const host = { pctRead: () => Promise.resolve({ code: 0, stdout: "", stderr: "" }) };
  await assertRejects(() => ensure(snapshot("base"), ready(), { host }), StepFailed, '"pct listsnapshot" failed');
});

Deno.test("names that Proxmox refuses are refused when the step is described", () => {
  for (const name of ["", "a", "1st", "a b", "current", "vzdump", "x".repeat(41), "ü1"]) {
    assertThrows(() => snapshot(name), TypeError, "Cannot name a snapshot");
  }
});
