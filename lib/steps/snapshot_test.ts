import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { withSteppingClock } from "../../tests/support/clock.ts";
import { hostFile } from "../../tests/support/host_files.ts";
import { ensure, on, StubContainer } from "../../tests/support/stubs.ts";
import { StepFailed } from "../engine.ts";
import type { Host } from "../host/host.ts";
import type { PctResult } from "../container/pct.ts";
import { snapshot } from "./snapshot.ts";

/**
 * A container in Proxmox, as `pct` and its configuration show it. `refusals` are what the next calls of a subcommand
 * answer.
 */
function proxmox(names: string[], refusals: Record<string, (string | undefined)[]> = {}) {
  const calls: string[] = [];
  const files = new Set<string>();
  const state = { running: true, config: "" };
  const result = (code: number, stdout = "", stderr = ""): Promise<PctResult> =>
    Promise.resolve({ code, stdout, stderr });
  const host: Partial<Host> = {
    containerStatus: () => result(0, `status: ${state.running ? "running" : "stopped"}\n`),
    changeContainer(subcommand, args) {
      calls.push([subcommand, ...args].join(" "));
      const refusal = refusals[subcommand]?.shift();
      if (refusal !== undefined) return result(255, "", `${refusal}\n`);
      if (subcommand === "shutdown") state.running = false;
      if (subcommand === "start") state.running = true;
      if (subcommand === "snapshot") names.push(args[0]!);
      return result(0);
    },
    file: (path) =>
      Promise.resolve(
        path === "/etc/pve/lxc/901.conf" ? hostFile(path, state.config || configOf(names)) : undefined,
      ),
    writeFile: (path) => Promise.resolve(void (files.add(path), calls.push("note"))),
    removeFile: (path) => Promise.resolve(void (files.delete(path), calls.push("no note"))),
  };
  return { host, calls, files, state, names };
}

/** The configuration as Proxmox writes it: a part for each snapshot, and what is pending until the next start. */
function configOf(names: readonly string[]): string {
  const parts = names.map((name) => `\n[${name}]\n#a comment\nhostname: a\nsnaptime: 1763833240\n`);
  return `hostname: a\nparent: ${names.at(-1)}\n\n[pve:pending]\nhostname: b\n${parts.join("")}`;
}

const ready = () => new StubContainer(on("is-system-running", "running"));

// Proxmox lists it also when the host went down while it was taken, or removed.
Deno.test("a snapshot that is not whole is none, and the step says what to do", async () => {
  const { host, state, calls } = proxmox(["base"]);
  const parts = (snapstate: string) =>
    `hostname: a\n#snapstate: x\n\n[base]\nhostname: a\n${snapstate}snaptime: 1\n\n[base2]\nsnapstate: delete\n`;
  state.config = parts("");
  assertEquals((await ensure(snapshot("base"), ready(), { host })).outcome, "unchanged");
  for (const check of [false, true]) {
    state.config = parts("snapstate: prepare\n");
    const error = await assertRejects(() => ensure(snapshot("base"), ready(), { host, check }), StepFailed);
    assertEquals([error.message, error.hint], [
      'The snapshot "base" is incomplete: Proxmox has it in the state "prepare", perhaps because the host went down meanwhile',
      "Unless Proxmox is at work on it right now, remove it, and run this again: pct delsnapshot 901 base --force",
    ]);
  }
  assertEquals(calls, []);
});

// A shell is to be had before systemd answers.
Deno.test("a container is ready when its systemd is", async () => {
  const bus = { code: 1, stdout: "Failed to connect to bus: No such file or directory" };
  for (const early of [bus, { code: 1, stdout: "unknown" }, { code: 1, stdout: "starting" }]) {
    const container = new StubContainer(on("is-system-running", early, early, { code: 1, stdout: "degraded" }));
    const { outcome } = await ensure(snapshot("base"), container, { host: proxmox([]).host });
    assertEquals([outcome, container.reads.length], ["changed", 3]);
  }
});

// As the requirements of the fleet's templates have it: stop, `pct snapshot`, start, wait until ready; taken once.
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

Deno.test("where the container then does not start, both failures are told, and the note stays", async () => {
  const { host, files } = proxmox([], {
    snapshot: ["snapshot feature is not available"],
    start: ["startup for container '901' failed"],
  });
  const error = await assertRejects(() => ensure(snapshot("base"), ready(), { host }), StepFailed);
  assertStringIncludes(error.message, "startup for container '901' failed; before that: ");
  assertStringIncludes(error.message, "snapshot feature is not available");
  // By it, the next run starts the container.
  assertEquals(files.size, 1);
});

// For an HA-managed container, start and shutdown exit 0 at once, and something else does them later.
Deno.test("a stop that was only queued is waited for, and taken back where it does not come", async () => {
  const queue = (stops: boolean) => {
    const { host, calls, state, names } = proxmox([]);
    let looks = 0;
    const changeContainer: Host["changeContainer"] = (subcommand, args, timeout) => {
      if (subcommand === "snapshot") return host.changeContainer!(subcommand, args, timeout);
      calls.push(subcommand);
      if (subcommand === "start") state.running = true;
      return Promise.resolve({ code: 0, stdout: `Requesting HA ${subcommand} for CT 901\n`, stderr: "" });
    };
    const containerStatus = () => {
      if (stops && ++looks === 3) state.running = false;
      return host.containerStatus!();
    };
    return { host: { ...host, containerStatus, changeContainer }, calls, state, names };
  };
  const later = queue(true);
  assertEquals((await ensure(snapshot("base"), ready(), { host: later.host })).outcome, "changed");
  assertEquals([later.names, later.calls, later.state.running], [
    ["base"],
    ["note", "shutdown", "snapshot base", "start", "no note"],
    true,
  ]);

  const never = queue(false);
  const error = await withSteppingClock(() =>
    assertRejects(() => ensure(snapshot("base", { within: "2s" }), ready(), { host: never.host }), StepFailed)
  );
  assertEquals([error.exitCode, error.message], [
    5,
    "Timed out after 2.0 s waiting for the container to stop; last seen: status: running",
  ]);
  assertEquals(never.calls, ["note", "shutdown", "start", "no note"]);
});

// Never taken away.
Deno.test("a lock is waited for", async () => {
  const { host, calls } = proxmox([], {
    shutdown: ["CT is locked (backup)", "can't lock file '/run/lock/lxc/pve-config-901.lock' - got timeout"],
  });
  assertEquals((await ensure(snapshot("base"), ready(), { host })).outcome, "changed");
  assertEquals(calls.filter((call) => call.startsWith("shutdown")).length, 3);
});

Deno.test("a configuration that is not there is not taken for one without snapshots", async () => {
  const host = { file: () => Promise.resolve(undefined) };
  await assertRejects(
    () => ensure(snapshot("base"), ready(), { host }),
    StepFailed,
    'Cannot look for the snapshot "base" as there is no "/etc/pve/lxc/901.conf"',
  );
});

Deno.test("names that Proxmox refuses are refused when the step is described", () => {
  for (const name of ["", "a", "1st", "a b", "current", "vzdump", "x".repeat(41), "ü1"]) {
    assertThrows(() => snapshot(name), TypeError, "Cannot name a snapshot");
  }
});
