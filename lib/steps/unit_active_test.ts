import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { type Answer, ensure, on, StubContainer } from "../../tests/support/stubs.ts";
import { StepFailed } from "../engine.ts";
import { exists } from "./exists.ts";
import { unitActive } from "./unit_active.ts";

const unitIs = (active: string, more = ""): Answer =>
  `LoadState=loaded\nActiveState=${active}\nSubState=sub\nResult=success\n${more}`;

// A container that has just been started gives a shell before its systemd answers.
Deno.test("a systemd that cannot be asked yet is waited for, also as what another wait depends on", async () => {
  const booting = { code: 1, stderr: "Failed to connect to bus: No such file or directory" };
  const container = new StubContainer(on("systemctl show", booting, booting, unitIs("active")));
  const { outcome, differences } = await ensure(unitActive("app"), container);
  assertEquals([outcome, differences], ["changed", [
    { what: "unit app.service", from: `systemctl: ${booting.stderr}`, to: "active" },
  ]]);
  const other = () => on("[ -e /x ]", { code: 1 }, { code: 1 }, "");
  const rule = on("systemctl show", booting);
  assertEquals(
    (await ensure(exists("/x", { while: unitActive("app") }), new StubContainer(other(), rule))).outcome,
    "changed",
  );
});

Deno.test("a unit that will not become active fails the step at once, with its journal", async () => {
  const hopeless: [string, string][] = [
    [unitIs("failed") as string, "has failed"],
    ["LoadState=not-found\nActiveState=inactive\n", "is not known to systemd"],
    ["LoadState=masked\nActiveState=inactive\n", "cannot be loaded: masked"],
  ];
  for (const [answer, why] of hopeless) {
    const rules = [on("systemctl show", unitIs("activating"), unitIs("activating"), answer), on("journalctl", "bang")];
    const error = await assertRejects(() => ensure(unitActive("app"), new StubContainer(...rules)), StepFailed);
    assertEquals(error.exitCode, 4);
    assertStringIncludes(error.message, `Stopped waiting for the unit "app.service", which ${why}`);
  }
});

Deno.test("a unit can be what another wait depends on", async () => {
  const failed = unitIs("failed", "Result=exit-code\nExecMainCode=1\nExecMainStatus=3\n");
  const container = new StubContainer(
    on("[ -e /run/x ]", { code: 1 }),
    on("systemctl show", unitIs("inactive"), unitIs("active"), failed),
    on("journalctl", "bang"),
  );
  const error = await assertRejects(
    () => ensure(exists("/run/x", { while: unitActive("app") }), container),
    StepFailed,
  );
  assertEquals(
    error.message,
    "Stopped waiting for /run/x to be there: " +
      'the unit "app.service" has failed: exit code 3, and its journal ends with:\nbang',
  );
});

Deno.test("what is no name of a unit is refused when the step is described", () => {
  assertThrows(() => unitActive("a b"), TypeError, "systemd unit");
});
