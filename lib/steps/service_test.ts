import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { ensure, on, type Rule, StubContainer } from "../../tests/support/stubs.ts";
import { StepFailed } from "../engine.ts";
import type { CommandFailed } from "../errors.ts";
import { service, type ServiceSpec } from "./service.ts";

const RUNNING = { LoadState: "loaded", ActiveState: "active", SubState: "running", UnitFileState: "enabled" };
const STOPPED = { ...RUNNING, ActiveState: "inactive", SubState: "dead" };
const FAILED = {
  ...RUNNING,
  ActiveState: "failed",
  SubState: "failed",
  Result: "exit-code",
  ExecMainCode: "1",
  ExecMainStatus: "3",
};
const UNKNOWN = { LoadState: "not-found", ActiveState: "inactive", SubState: "dead", UnitFileState: "" };

/** What `systemctl show` says, one after the other; `changed` are paths that are newer than the last start. */
function shows(...units: (Record<string, string> & { changed?: string })[]): Rule {
  return on(
    "systemctl show",
    ...units.map(({ changed, ...properties }) =>
      Object.entries({
        NeedDaemonReload: "no",
        NRestarts: "0",
        Result: "success",
        ExecMainCode: "0",
        ExecMainStatus: "0",
        ActiveEnterTimestamp: "Sun 2026-11-22 20:54:42 UTC",
        // An hour later.
        Now: "1795384482",
        ...properties,
        ...(changed === undefined ? {} : { changed }),
      }).map(([name, value]) => `${name}=${value}\n`).join("")
    ),
  );
}

const journal = on("journalctl", "app[12]: cannot bind\n");
const verbs = on(/^(?:mkdir -p .*\nnow\nEND\n.*\n)?systemctl (?!show)/, "");
/** The commands of systemctl that were run. */
const jobs = (container: StubContainer) =>
  container.writes.flatMap((script) =>
    [...script.matchAll(/^systemctl ([a-z-]+)(?: app.service(?: 2>\S+)?)?/gm)].map(([, verb]) => verb!)
  );

async function checked(spec: ServiceSpec, ...rules: Rule[]): Promise<string[]> {
  const { differences } = await ensure(service("app", spec), new StubContainer(...rules), { check: true });
  return differences.map(({ what, from, to }) => `${what}${from === undefined ? "" : `: ${from} -> ${to}`}`);
}

Deno.test("a service that is enabled and runs is left alone, at the price of one look", async () => {
  const container = new StubContainer(shows(RUNNING));
  assertEquals((await ensure(service("app"), container)).outcome, "unchanged");
  assertEquals([container.reads.length, container.writes.length], [1, 0]);
});

Deno.test("only what is stated is a difference", async () => {
  const cases: [Record<string, string>, ServiceSpec, string[]][] = [
    [UNKNOWN, {}, ["at boot: not started -> started", "state: not-found -> running"]],
    [STOPPED, {}, ["state: inactive -> running"]],
    [STOPPED, { running: false }, []],
    [RUNNING, { running: false }, ["state: active -> not running"]],
    [RUNNING, { enabled: false }, ["at boot: started -> not started"]],
    [{ ...RUNNING, UnitFileState: "disabled" }, {}, ["at boot: not started -> started"]],
    [{ ...RUNNING, UnitFileState: "static" }, {}, ["at boot: not started (static) -> started"]],
    [{ ...RUNNING, UnitFileState: "static" }, { enabled: false }, []],
    // It runs until the next start of the container only.
    [{ ...RUNNING, UnitFileState: "enabled-runtime" }, {}, ["at boot: not started (enabled-runtime) -> started"]],
    [FAILED, {}, ["state: failed: exit code 3 -> running"]],
    [FAILED, { running: false }, []],
    [{ ...RUNNING, ActiveState: "activating", SubState: "auto-restart" }, {}, ["state: crashing -> running"]],
    [{ ...UNKNOWN, LoadState: "masked", UnitFileState: "masked" }, { enabled: false, running: false }, []],
    [{ ...RUNNING, NeedDaemonReload: "yes" }, {}, ["unit: outdated in systemd -> read again"]],
  ];
  for (const [unit, spec, expected] of cases) {
    assertEquals(await checked(spec, shows(unit)), expected, JSON.stringify([unit, spec]));
  }
});

// Active at the moment of a look is not the same as running: Restart= brings it back again and again.
Deno.test("a service that was restarted and is young may be about to fail again", async () => {
  const young = { ...RUNNING, NRestarts: "57", Now: "1795380885" };
  assertEquals(await checked({}, shows(young)), ["state: running for 3 s after 57 crashes -> running"]);
  assertEquals(await checked({}, shows({ ...young, NRestarts: "0" })), []);
  assertEquals(await checked({}, shows({ ...young, Now: "1795381000" })), []);
  const container = new StubContainer(shows(young, young, { ...young, NRestarts: "58" }), journal);
  const error = await assertRejects(() => ensure(service("app"), container), StepFailed);
  assertStringIncludes(error.message, 'The service "app" crashes again and again');
  assertEquals(container.writes, []);
});

Deno.test("a service is enabled and started, and has to live on", async () => {
  const disabled = { ...STOPPED, UnitFileState: "disabled" };
  const container = new StubContainer(shows(disabled, RUNNING), verbs);
  assertEquals((await ensure(service("app"), container)).outcome, "changed");
  assertEquals(jobs(container), ["enable", "reset-failed", "restart"]);
  const stopped = new StubContainer(shows(RUNNING, STOPPED), verbs);
  assertEquals((await ensure(service("app", { enabled: true, running: false }), stopped)).outcome, "changed");
  assertEquals(jobs(stopped), ["stop"]);
});

Deno.test("a service that fails, ends or crashes after its start is an error with its journal", async () => {
  const ends: [Record<string, string>, string][] = [
    [FAILED, "failed: exit code 3"],
    [{ ...FAILED, Result: "signal", ExecMainCode: "2", ExecMainStatus: "9" }, "failed: signal 9"],
    [{ ...FAILED, Result: "start-limit-hit" }, "failed: start-limit-hit"],
    [STOPPED, "has ended; one that is not to stay (Type=oneshot) needs RemainAfterExit=yes"],
    [{ ...RUNNING, NRestarts: "1" }, "crashes again and again"],
    [
      { ...FAILED, ActiveState: "activating", SubState: "auto-restart" },
      "crashes again and again, last with exit code 3",
    ],
  ];
  for (const [end, expected] of ends) {
    const container = new StubContainer(shows(STOPPED, RUNNING, end), verbs, journal);
    const error = await assertRejects(() => ensure(service("app"), container), StepFailed);
    assertStringIncludes(error.message, `The service "app" ${expected}`);
    const { command, stdout } = (error.cause as CommandFailed).evidence;
    assertEquals([command, stdout], [
      "journalctl -q -n 20 --no-pager _SYSTEMD_UNIT=app.service + _UID=0 UNIT=app.service + _UID=0 OBJECT_SYSTEMD_UNIT=app.service",
      "app[12]: cannot bind\n",
    ]);
  }
});

Deno.test("a start that systemd refuses says why", async () => {
  const said = "Job for app.service failed because the control process exited with error code.\nSee …";
  const container = new StubContainer(
    shows(STOPPED, FAILED),
    on("systemctl restart", { code: 1, stderr: said }),
    journal,
  );
  const error = await assertRejects(() => ensure(service("app"), container), StepFailed);
  assertEquals(error.message, 'The service "app" did not start: exit code 3');
});

Deno.test("a unit that is to be written is a difference of the service", async () => {
  const unit = "[Service]\nExecStart=/opt/app\n[Install]\nWantedBy=multi-user.target\n";
  assertEquals(await checked({ unit }, on("p=/etc/systemd/system/app.service", "nothing\n"), shows(UNKNOWN)), [
    "unit",
    "at boot: not started -> started",
    "state: not-found -> running",
  ]);
});

Deno.test("a change of what the service has read restarts it, or reloads it where that is stated", async () => {
  const restartWith = ["/etc/app.conf"];
  const changed = { ...RUNNING, changed: "/etc/app.conf" };
  const what = (verb: string, of: string) => `${verb}: ${of} has changed since its last start`;
  assertEquals(await checked({ restartWith }, shows(RUNNING)), []);
  assertEquals(await checked({ restartWith }, shows(changed)), [what("restart", "/etc/app.conf")]);
  assertEquals(await checked({ restartWith, reload: true }, shows(changed)), [what("reload", "/etc/app.conf")]);
  for (const reload of [false, true]) {
    const container = new StubContainer(shows(changed, RUNNING), verbs);
    assertEquals((await ensure(service("app", { restartWith, reload }), container)).outcome, "changed");
    assertEquals(jobs(container), reload ? ["reload"] : ["reset-failed", "restart"]);
  }
});

Deno.test("what is being started by somebody else is waited for, not started anew", async () => {
  const container = new StubContainer(
    shows({ ...RUNNING, ActiveState: "activating", SubState: "start" }, RUNNING),
    verbs,
  );
  assertEquals((await ensure(service("app"), container)).outcome, "changed");
  assertEquals(jobs(container), ["start"]);
});

Deno.test("a unit that is unknown, masked, broken or cannot be enabled is refused with what to do", async () => {
  const refused: [Record<string, string>, string][] = [
    [UNKNOWN, "systemd knows no such unit"],
    [{ ...UNKNOWN, LoadState: "masked", UnitFileState: "masked" }, "somebody has masked it"],
    [{ ...UNKNOWN, LoadState: "bad-setting" }, "systemd cannot load it: bad-setting"],
    [{ ...RUNNING, UnitFileState: "static" }, "it is static"],
  ];
  for (const [found, expected] of refused) {
    const container = new StubContainer(shows(found));
    const error = await assertRejects(() => ensure(service("app"), container), StepFailed);
    assertStringIncludes(error.message, expected);
    assertEquals([error.exitCode, error.hint === undefined], [4, false]);
  }
  const container = new StubContainer(on("systemctl show", { code: 127 }));
  const error = await assertRejects(() => ensure(service("app"), container), StepFailed);
  assertStringIncludes(error.message, "there is no systemd");
});

Deno.test("what cannot be a service is refused when the step is described", () => {
  for (const name of ["", "a b", "-x", "../x", "a/b", ".service", "x".repeat(260)]) {
    assertThrows(() => service(name), TypeError, "Cannot use");
  }
  assertThrows(() => service("backup.timer"), TypeError, "name of a service");
  assertThrows(() => service("app", { unit: "ExecStart=/x" }), TypeError, "[Service]");
  assertThrows(() => service("app", { unit: "[Service]\nExecStart=/x\n" }), TypeError, "[Install]");
  service("app", { unit: "[Service]\nExecStart=/x\n", enabled: false });
  assertThrows(() => service("app", { restartWith: ["app.conf"] }), TypeError, "absolute path");
});
