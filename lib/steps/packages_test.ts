import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { withSteppingClock } from "../../tests/support/clock.ts";
import { type Answer, ensure, on, type Rule, StubContainer } from "../../tests/support/stubs.ts";
import { StepFailed } from "../engine.ts";
import { lockHolder, packages } from "./packages.ts";

/** Answers of `dpkg-query`, one after the other. Each is a list of "name architecture version status flag". */
function query(...answers: string[][]): Rule {
  return on(
    "dpkg-query -W",
    ...answers.map((known): Answer => ({
      code: known.length === 0 ? 1 : 0,
      stdout: known.map((one) => `${one.replaceAll(" ", "\t")}\n`).join(""),
    })),
  );
}

/** A Debian whose lists are fresh and have these versions, as `apt-cache madison` shows them. */
function debian(versions: Record<string, string[]>, ...rules: Rule[]): Rule[] {
  const madison = Object.entries(versions).flatMap(([name, all]) =>
    all.map((version) => `${name} | ${version} | http://mirror.example/debian bookworm/main amd64 Packages\n`)
  );
  return [
    ...rules,
    on("command -v apt-get", "/usr/bin/apt-get\n"),
    on("apt-cache madison", `mirror.example_Packages\n${madison.join("")}`),
    on("dpkg --force-confold --configure -a", ""),
  ];
}

const without = (container: StubContainer) => container.writes.map((script) => script.replace(/^export.*\n/, ""));
const jq = "jq amd64 1.6-2.1 installed ok";

// Only what dpkg calls installed, whole, and of the stated version and architecture, is there.
Deno.test("a package is there when it is installed, whole, at the stated version", async () => {
  const cases: [string, string[], "unchanged" | string][] = [
    ["jq", [jq], "unchanged"],
    ["jq=1.6-2.1", [jq], "unchanged"],
    ["jq=1:1.6-2.1", [jq], "1.6-2.1 -> 1:1.6-2.1"],
    ["jq:amd64", [jq], "unchanged"],
    ["jq:i386", [jq], "installed"],
    ["debconf:amd64", ["debconf all 1.5.82 installed ok"], "unchanged"],
    ["libc6:i386", ["libc6 amd64 2.36-9 installed ok", "libc6 i386 2.36-9 installed ok"], "unchanged"],
    ["jq", [], "installed"],
    ["jq", ["jq amd64 1.6-2.1 config-files ok"], "installed"],
    ["awk", ["awk   not-installed ok"], "installed"],
    ["jq", ["jq amd64 1.6-2.1 half-configured ok"], "half-configured -> installed"],
    ["jq", ["jq amd64 1.6-2.1 half-installed reinstreq"], "half-installed, reinstreq -> installed"],
  ];
  for (const [name, known, expected] of cases) {
    const container = new StubContainer(query(known));
    const { outcome, differences } = await ensure(packages([name]), container, { check: true });
    const shown = differences.map(({ from, to }) => from === undefined ? to : `${from} -> ${to}`).join();
    assertEquals(outcome === "unchanged" ? outcome : shown, expected, `${name} with ${known}`);
    assertEquals(container.reads.length, 1, "one look");
  }
});

Deno.test("a package is absent when nothing but its configuration files is left", async () => {
  for (const [known, expected] of [[[], 0], [["jq amd64 1 config-files ok"], 0], [[jq], 1]] as const) {
    const container = new StubContainer(query([...known]));
    const { differences } = await ensure(packages(["jq"], { state: "absent" }), container, { check: true });
    assertEquals(differences.length, expected);
  }
});

Deno.test("missing packages are installed, unattended, and only these", async () => {
  const curl = "curl amd64 7.88.1 installed ok";
  const container = new StubContainer(
    query([curl], [curl, jq]),
    ...debian({ jq: ["1.6-2.1"] }, on("apt-get -q -y", "")),
  );
  assertEquals((await ensure(packages(["curl", "jq"]), container)).outcome, "changed");
  assertStringIncludes(container.writes[1]!, "export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a\n");
  assertEquals(without(container), [
    "dpkg --force-confold --configure -a",
    "apt-get -q -y --no-install-recommends --no-remove  -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 install jq",
  ]);
});

Deno.test("a stated version permits a downgrade; what was cut off while it was unpacked is installed again", async () => {
  const container = new StubContainer(
    query(["jq amd64 1.7-1 half-installed reinstreq"], ["jq amd64 1.7-1 half-installed reinstreq"], [jq]),
    ...debian({ jq: ["1.7-1", "1.6-2.1"] }, on("apt-get -q -y", "")),
  );
  assertEquals((await ensure(packages(["jq=1.6-2.1"]), container)).outcome, "changed");
  assertStringIncludes(container.writes[1]!, "--no-remove --reinstall --allow-downgrades -o");
  assertStringIncludes(container.writes[1]!, "install jq=1.6-2.1");
});

// Refreshed only when it must be: no lists, old lists, or an unknown package.
Deno.test("the lists are refreshed when they are not fresh, or do not have the package", async () => {
  const has = "jq | 1.6-2.1 | http://mirror.example/debian\n";
  for (
    const [before, refreshed] of [[`x_Packages\n${has}`, 0], [has, 1], ["x_Packages\n", 1], ["", 1]] as const
  ) {
    const container = new StubContainer(
      query([], [jq]),
      on("apt-cache madison", before, `x_Packages\n${has}`),
      on("update && mv -f /var/lib/phoenix_setup/apt_update.new /var/lib/phoenix_setup/apt_update", ""),
      on("apt-get -q -y", ""),
      ...debian({}),
    );
    assertEquals((await ensure(packages(["jq"]), container)).outcome, "changed");
    assertEquals(container.writes.filter((script) => script.includes("update")).length, refreshed, before);
  }
});

Deno.test("a source that fails does not matter while another has the package", async () => {
  const container = new StubContainer(
    query([], [jq]),
    on("apt-cache madison", "", "jq | 1.6-2.1 | x\n"),
    on("update &&", { code: 100, stderr: "E: Failed to fetch http://broken.example/" }),
    on("apt-get -q -y", ""),
    ...debian({}),
  );
  assertEquals((await ensure(packages(["jq"]), container)).outcome, "changed");
});

Deno.test("an unknown package, an unknown version and lists that cannot be refreshed are told apart", async () => {
  const failure = async (name: string, update: Answer, versions: Record<string, string[]>) => {
    const container = new StubContainer(query([]), on("update &&", update), ...debian(versions));
    const error = await assertRejects(() => ensure(packages([name]), container), StepFailed);
    assertEquals(error.exitCode, 4);
    assertEquals(container.writes.filter((script) => script.includes("install")), []);
    return error.message;
  };
  assertEquals(await failure("jq.", "", { jq: ["1"] }), 'apt knows no package "jq."');
  assertEquals(await failure("jq=2", "", { jq: ["1.6", "1.5"] }), 'apt knows no version "2" of "jq", but 1.6, 1.5');
  assertEquals(
    await failure("jq", { code: 100, stderr: "E: Failed to fetch" }, {}),
    'apt could not refresh its lists, and does not know "jq"',
  );
});

Deno.test("a mirror that has replaced a version is asked for its lists, and apt tries once more", async () => {
  const gone = `E: Failed to fetch http://mirror.example/pool/jq_1.6-2.1_amd64.deb  404  Not Found [IP: 10.0.0.1 80]
E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?`;
  // That of apt 3.1 says "apt update".
  for (const stderr of [gone, gone.replace("apt-get update", "apt update")]) {
    const rules = (...answers: Answer[]) =>
      debian({ jq: ["1.6-2.1"] }, on("update &&", ""), on("apt-get -q -y", ...answers));
    const once = new StubContainer(query([], [jq]), ...rules({ code: 100, stderr }, ""));
    assertEquals((await ensure(packages(["jq"]), once)).outcome, "changed");
    assertEquals(once.writes.filter((script) => script.includes(" update")).length, 1);
    // What is still not there has another cause.
    const never = new StubContainer(query([]), ...rules({ code: 100, stderr }));
    await assertRejects(() => ensure(packages(["jq"]), never), StepFailed, 'apt could not install "jq"');
    assertEquals(never.writes.filter((script) => script.includes(" install ")).length, 2);
  }
});

Deno.test("a package that no source has is configured where only that is missing", async () => {
  const begun = "own amd64 1.0 half-configured ok";
  const own = "own amd64 1.0 installed ok";
  const configured = new StubContainer(query([begun], [own]), ...debian({}));
  assertEquals((await ensure(packages(["own"]), configured)).outcome, "changed");
  assertEquals(without(configured), ["dpkg --force-confold --configure -a"]);
  // Its own script failed: apt tries it again, and says why.
  const failing = new StubContainer(
    query([begun]),
    on("apt-get -q -y", { code: 100, stderr: "E: Sub-process /usr/bin/dpkg returned an error code (1)" }),
    ...debian({}),
  );
  await assertRejects(() => ensure(packages(["own"]), failing), StepFailed, 'apt could not install "own"');
});

Deno.test("sources that apt cannot read are told as such, not as an unknown package", async () => {
  const stderr =
    "E: Malformed entry 1 in list file /etc/apt/sources.list.d/b.list (Suite)\nE: The list of sources could not be read.";
  const container = new StubContainer(query([]), on("apt-cache madison", { code: 100, stderr }), ...debian({}));
  await assertRejects(() => ensure(packages(["jq"]), container), StepFailed, "apt cannot read its sources and lists");
});

// As apt and dpkg of Debian 11 to 13 and of Ubuntu 22.04 to 26.04 say it.
Deno.test("a lock that somebody holds is told from one that cannot be opened, in every version's words", () => {
  const held: [text: string, holder: string][] = [
    [
      `E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 131 (dpkg)
E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?`,
      "process 131 (dpkg)",
    ],
    [
      `E: Could not get lock /var/lib/dpkg/lock. It is held by process 443
E: Unable to lock the administration directory (/var/lib/dpkg/), is another process using it?`,
      "process 443",
    ],
    [
      `E: Could not get lock /var/lib/apt/lists/lock. It is held by process 295 (apt-get)
E: Unable to lock directory /var/lib/apt/lists/`,
      "process 295 (apt-get)",
    ],
    ["dpkg: error: dpkg frontend lock was locked by another process with pid 131", "process 131"],
    [
      `dpkg: error: dpkg database lock was locked by /usr/bin/dpkg process with pid 342
Note: removing the lock file is always wrong, can damage the locked area`,
      "process 342 (/usr/bin/dpkg)",
    ],
    [
      "dpkg: error: dpkg frontend lock was locked by /tmp/p p (deleted) process with pid 108",
      "process 108 (/tmp/p p (deleted))",
    ],
    ["dpkg: error: dpkg frontend lock was locked by <unknown> process with pid 0", "process 0 (<unknown>)"],
    ["dpkg: error: dpkg database lock was locked by another process", "a process that apt does not name"],
  ];
  for (const [text, holder] of held) assertEquals(lockHolder(text), holder, text);
  const others = [
    `E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)
E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?`,
    `E: Could not open lock file /var/lib/apt/lists/lock - open (13: Permission denied)
E: Unable to lock directory /var/lib/apt/lists/`,
    `E: Could not open lock file /var/lib/dpkg/lock - open (21: Is a directory)
E: Unable to lock the administration directory (/var/lib/dpkg/), are you root?`,
    "dpkg: error: unable to open/create dpkg frontend lock for directory /var/lib/dpkg: Is a directory",
    "dpkg: error: unable to lock dpkg frontend lock: No locks available",
    "dpkg: error: required read/write access to the dpkg database directory /var/lib/dpkg",
  ];
  for (const text of others) assertEquals(lockHolder(text), undefined, text);
});

Deno.test("a lock file that cannot be opened fails the step at once", async () => {
  const stderr = `E: Could not open lock file /var/lib/dpkg/lock-frontend - open (13: Permission denied)
E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?`;
  const container = new StubContainer(query([]), on("apt-get -q -y", { code: 100, stderr }), ...debian({ jq: ["1"] }));
  const error = await assertRejects(() => ensure(packages(["jq"]), container), StepFailed);
  assertEquals([error.exitCode, error.message], [4, 'apt could not install "jq"']);
});

// apt waits for some of its locks only, and dpkg for none.
Deno.test("another apt or dpkg is waited for, whatever the lock, and the progress says who it is", async () => {
  const locks = [
    "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 334 (apt-get)",
    "E: Could not get lock /var/cache/apt/archives/lock. It is held by process 334 (apt-get)\nE: Unable to lock directory",
  ];
  const container = new StubContainer(
    query([], [jq]),
    on(
      "dpkg --force-confold --configure -a",
      { code: 2, stderr: "dpkg: error: dpkg frontend lock was locked by another process with pid 334" },
      "",
    ),
    on("apt-get -q -y", ...locks.map((stderr) => ({ code: 100, stderr })), ""),
    ...debian({ jq: ["1.6-2.1"] }),
  );
  const { outcome, events } = await ensure(packages(["jq"]), container);
  assertEquals(outcome, "changed");
  const told = events.flatMap((event) => event.event === "step progress" ? [event.text] : []);
  assertEquals(told.filter((text) => text.startsWith("waiting")), [
    "waiting for another apt or dpkg: process 334",
    "waiting for another apt or dpkg: process 334 (apt-get)",
    "waiting for another apt or dpkg: process 334 (apt-get)",
  ]);
});

Deno.test("the wait for another apt has a deadline, with exit code 5", async () => {
  const container = new StubContainer(
    query([]),
    on("apt-get -q -y", { code: 100, stderr: "E: Could not get lock /x. It is held by process 7 (unattended-upgr)" }),
    ...debian({ jq: ["1"] }),
  );
  const error = await withSteppingClock(() =>
    assertRejects(() => ensure(packages(["jq"], { within: "5s" }), container), StepFailed)
  );
  assertEquals(error.exitCode, 5);
  assertEquals(
    error.message,
    "Timed out after 5.0 s waiting for another apt or dpkg: process 7 (unattended-upgr)",
  );
});

Deno.test("apt's own failure is shown", async () => {
  const container = new StubContainer(
    query([]),
    on("apt-get -q -y", { code: 100, stderr: "E: Sub-process /usr/bin/dpkg returned an error code (1)" }),
    ...debian({ jq: ["1"] }),
  );
  const error = await assertRejects(() => ensure(packages(["jq"]), container), StepFailed);
  assertEquals(error.message, 'apt could not install "jq"');
});

Deno.test("a package is removed, unless others would have to go with it", async () => {
  const step = packages(["jq"], { state: "absent" });
  const alone = new StubContainer(
    query([jq], []),
    on("apt-get -q -s remove", "Remv jq [1.6-2.1]\n"),
    on("apt-get -q -y -o Dpkg::Use-Pty=0 remove jq", ""),
    ...debian({}),
  );
  assertEquals((await ensure(step, alone)).outcome, "changed");
  const needed = new StubContainer(
    query([jq]),
    on("apt-get -q -s remove", "Remv tool [2.0]\nRemv jq [1.6-2.1]\n"),
    ...debian({}),
  );
  const error = await assertRejects(() => ensure(step, needed), StepFailed);
  assertEquals(error.message, 'Cannot remove "jq" as "tool" would have to be removed, too');
});

Deno.test("without dpkg nothing is there, and without apt-get nothing can be installed", async () => {
  const container = () => new StubContainer(on("dpkg-query", { code: 127 }), on("command -v apt-get", { code: 127 }));
  assertEquals((await ensure(packages(["jq"]), container(), { check: true })).outcome, "would change");
  // "Absent" is never claimed where nobody can look.
  const absent = await assertRejects(() => ensure(packages(["jq"], { state: "absent" }), container()), StepFailed);
  assertStringIncludes(absent.message, 'Cannot tell whether "jq" is absent as there is no dpkg inside');
  const error = await assertRejects(() => ensure(packages(["jq"]), container()), StepFailed);
  assertStringIncludes(error.message, "there is no apt-get");
});

Deno.test("what cannot be a package is refused when the step is described", () => {
  for (const name of ["", "JQ", "jq ", "-y", "jq-", "jq*", "jq=", "jq=*", "jq/stable", "jq;id", "j"]) {
    assertThrows(() => packages([name]), TypeError, "Cannot manage the package", name);
  }
  for (const name of ["g++", "libstdc++6", "python3.11", "libc6:i386=2.36-9+deb12u14", "vim=2:9.0.1378-2~x"]) {
    packages([name]);
  }
  assertThrows(() => packages([]), TypeError, "at least one");
  assertThrows(() => packages(["jq=1"], { state: "absent" }), TypeError, "without a version");
  assertThrows(() => packages(["jq"], { state: "gone" as "absent" }), TypeError);
  assertThrows(() => packages(["jq"], { within: "soon" as "1s" }), TypeError);
});
