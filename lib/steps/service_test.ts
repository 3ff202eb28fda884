import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { LocalShell, testInFolder } from "../../tests/support/local_shell.ts";
import { ensure, on, type Rule, StubContainer, stubHost } from "../../tests/support/stubs.ts";
import type { CommandOptions } from "../container/container.ts";
import { Engine, StepFailed } from "../engine.ts";
import type { CommandFailed } from "../errors.ts";
import { Script } from "../shell.ts";
import { file } from "./file.ts";
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

/** What `systemctl show` says of a unit with these properties. */
function propertiesOf(properties: Record<string, string>): string {
  return Object.entries({
    NeedDaemonReload: "no",
    NRestarts: "0",
    Result: "success",
    ExecMainCode: "0",
    ExecMainStatus: "0",
    ActiveEnterTimestamp: "Sun 2026-11-22 20:54:42 UTC",
    // An hour later.
    Now: "1795384482",
    ...properties,
  }).map(([name, value]) => `${name}=${value}\n`).join("");
}

/** What `systemctl show` says, one after the other; `inputs` are the lines about what the service reads. */
function shows(...units: (Record<string, string> & { inputs?: string })[]): Rule {
  return on("systemctl show", ...units.map(({ inputs = "", ...properties }) => propertiesOf(properties) + inputs));
}

const journal = on("journalctl", "app[12]: cannot bind\n");
const verbs = on(/^(?::|r=\$\(.*)?\n?systemctl (?!show)/m, "");
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
    [UNKNOWN, {}, ["at boot: disabled -> enabled", "state: not-found -> running"]],
    [STOPPED, {}, ["state: inactive -> running"]],
    [STOPPED, { running: false }, []],
    [RUNNING, { running: false }, ["state: active -> not running"]],
    [RUNNING, { enabled: false }, ["at boot: enabled -> disabled"]],
    [{ ...RUNNING, UnitFileState: "disabled" }, {}, ["at boot: disabled -> enabled"]],
    [{ ...RUNNING, UnitFileState: "static" }, {}, ["at boot: static -> enabled"]],
    [{ ...RUNNING, UnitFileState: "static" }, { enabled: false }, []],
    // It runs until the next start of the container only.
    [{ ...RUNNING, UnitFileState: "enabled-runtime" }, {}, ["at boot: enabled-runtime -> enabled"]],
    [FAILED, {}, ["state: failed: exit code 3 -> running"]],
    [FAILED, { running: false }, []],
    [{ ...RUNNING, ActiveState: "activating", SubState: "auto-restart" }, {}, ["state: crashing -> running"]],
    [{ ...UNKNOWN, LoadState: "masked", UnitFileState: "masked" }, { enabled: false, running: false }, []],
    [{ ...RUNNING, NeedDaemonReload: "yes" }, {}, ["unit: changed since systemd read it -> read again"]],
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

Deno.test("a service is enabled and started, and has to keep running", async () => {
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
    [STOPPED, "has ended; one that is not meant to stay (Type=oneshot) needs RemainAfterExit=yes"],
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
    "at boot: disabled -> enabled",
    "state: not-found -> running",
  ]);
});

Deno.test("a change of what the service has read restarts it, or reloads it where that is stated", async () => {
  const restartWith = ["/etc/app.conf"];
  const [old, current] = ["a".repeat(64), "b".repeat(64)];
  const same = { ...RUNNING, inputs: `read ${old} /etc/app.conf\ncontent ${old}\n` };
  const changed = { ...RUNNING, inputs: `read ${old} /etc/app.conf\ncontent ${current}\n` };
  const what = (verb: string, of: string) => `${verb}: ${of} has changed since its last start`;
  assertEquals(await checked({ restartWith }, shows(same)), []);
  assertEquals(await checked({ restartWith }, shows({ ...RUNNING, inputs: `content ${current}\n` })), [
    what("restart", "/etc/app.conf"),
  ]);
  assertEquals(await checked({ restartWith }, shows(changed)), [what("restart", "/etc/app.conf")]);
  assertEquals(await checked({ restartWith, reload: true }, shows(changed)), [what("reload", "/etc/app.conf")]);
  for (const reload of [false, true]) {
    const container = new StubContainer(shows(changed, same), verbs);
    assertEquals((await ensure(service("app", { restartWith, reload }), container)).outcome, "changed");
    assertEquals(jobs(container), reload ? ["reload"] : ["reset-failed", "restart"]);
    // Looking, comparing and noting cost nothing more: one look before and one after, and those that watch it; one
    // command.
    assertEquals([container.reads.length, container.writes.length], [2 + 5, 1]);
  }
});

/**
 * A machine of which only one folder is ours, with a service that always runs, and reads what is at `conf` when it is
 * started.
 */
class Machine extends LocalShell {
  constructor(readonly folder: string) {
    super();
  }

  override read(script: Script, options?: CommandOptions) {
    return super.read(this.#relocated(script), options);
  }

  override write(script: Script, options?: CommandOptions) {
    return super.write(this.#relocated(script), options);
  }

  /** The jobs that systemd was asked for since the last call. */
  async jobs(): Promise<string[]> {
    const path = `${this.folder}/jobs`;
    const text = await Deno.readTextFile(path).catch(() => "");
    await Deno.writeTextFile(path, "");
    return text.split("\n").filter((job) => job !== "" && job !== "reset-failed");
  }

  #relocated({ text, display }: Script): Script {
    const systemctl = `systemctl() {
  if [ "$1" = show ]; then cat ${this.folder}/unit; else echo "$1" >>${this.folder}/jobs; fi
}`;
    const relocated = text.replaceAll("/var/lib/phoenix_setup/", `${this.folder}/markers/`);
    return new Script(`${systemctl}\n${relocated}`, display);
  }
}

testInFolder(
  "a service is restarted for content that has changed, whatever a clock says, and for no other reason",
  async ({ folder }) => {
    const [conf, gone] = [`${folder}/app.conf`, `${folder}/gone`];
    const marker = `${folder}/markers/services/app.service`;
    await Deno.writeTextFile(`${folder}/unit`, propertiesOf(RUNNING));
    await Deno.writeTextFile(conf, "one");
    const restarts = async (...restartWith: string[]) => {
      const machine = new Machine(folder);
      const { outcome } = await ensure(service("app", { restartWith }), machine);
      // One look at what there is where there is nothing to do.
      if (outcome === "unchanged") assertEquals([machine.reads.length, machine.writes.length], [1, 0]);
      return (await machine.jobs()).length;
    };
    assertEquals([await restarts(conf), await restarts(conf)], [1, 0], "nobody knows what it has read");

    // The clock was ahead, and was set right.
    await Deno.utime(marker, new Date("2100-01-01"), new Date("2100-01-01"));
    await Deno.writeTextFile(conf, "two");
    assertEquals([await restarts(conf), await restarts(conf)], [1, 0], "a change");

    // A backup was restored.
    await Deno.utime(marker, new Date(0), new Date(0));
    await Deno.remove(conf);
    await Deno.writeTextFile(conf, "two");
    assertEquals(await restarts(conf), 0, "no change");

    assertEquals([await restarts(conf, gone), await restarts(conf, gone)], [1, 0], "what is not there");
    await Deno.writeTextFile(gone, "");
    assertEquals([await restarts(conf, gone), await restarts(conf, gone)], [1, 0], "what was not there");
    await Deno.remove(gone);
    assertEquals([await restarts(conf, gone), await restarts(conf, gone)], [1, 0], "what is not there any more");

    // As a version of this program before this one has left it.
    await Deno.writeTextFile(marker, "");
    assertEquals([await restarts(conf), await restarts(conf)], [1, 0], "an empty note");
  },
);

// Check mode would say so, too: what an administrator has tried out by hand is not what runs afterwards.
testInFolder("a service is restarted for a file that the run only changes back", async ({ folder, mine }) => {
  const conf = `${folder}/app.conf`;
  await Deno.writeTextFile(`${folder}/unit`, propertiesOf(RUNNING));
  const machine = new Machine(folder);
  const run = async (check: boolean) => {
    const report = () => {};
    const engine = new Engine({ container: machine, host: stubHost(), check, report, pause: () => Promise.resolve() });
    await engine.ensure(file(conf, { content: "one", ...mine }));
    await engine.ensure(service("app", { restartWith: [conf] }));
    return engine.results.map(({ outcome }) => outcome);
  };
  assertEquals([await run(false), await machine.jobs()], [["changed", "changed"], ["restart"]]);
  assertEquals([await run(false), await machine.jobs()], [["unchanged", "unchanged"], []]);
  // And the service was restarted by hand, with this.
  await Deno.writeTextFile(conf, "two");
  assertEquals([await run(true), await machine.jobs()], [["would change", "would change"], []]);
  assertEquals([await run(false), await machine.jobs()], [["changed", "changed"], ["restart"]]);
  assertEquals([await run(false), await machine.jobs()], [["unchanged", "unchanged"], []]);
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
    [{ ...UNKNOWN, LoadState: "masked", UnitFileState: "masked" }, "it is masked"],
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
