import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { withSteppingClock } from "../../tests/support/clock.ts";
import { hostFile } from "../../tests/support/host_files.ts";
import { StubContainer, type StubOptions, type StubRun, stubSystem } from "../../tests/support/stubs.ts";
import type { PctResult } from "../container/pct.ts";
import type { Step } from "../step.ts";
import { CommandFailed, SessionLost } from "../errors.ts";
import { main } from "./main.ts";
import { type Setup, setup } from "./setup.ts";
import { stoppedMarker } from "../host/paths.ts";
import { sh } from "../shell.ts";

const empty = setup(901, "Portainer", async () => {});

async function live(options: StubOptions = {}, of: Setup = empty): Promise<StubRun & { code: number }> {
  const [system, run] = stubSystem(options);
  await main(of, system);
  assertEquals(run.exits.length, 1, "exitScript is the only end, and it comes once");
  assertEquals(run.locked, false, "no lock is left");
  return Object.assign(run, { code: run.exits[0]! });
}

/** The messages of the log, without time, level and program. */
function messages(log: string): string[] {
  return log.trimEnd().split("\n").map((line) =>
    line.replace(/^\S+ (\S+) \S+: /, (_, level) => level === "INFO" ? "" : `${level} `)
  );
}

const step = (title: string, ...states: boolean[]): Step<boolean> => ({
  title,
  probe: () => Promise.resolve(states.length > 1 ? states.shift()! : states[0]!),
  diff: (there) => there ? [] : [{ what: title, to: "there" }],
  apply: async () => {},
});

// The requirements of the orchestrator: "Log the received CTID", "Log checking for the existence of container CTID", if
// it exists "log confirmation", at the end "Log a success message".
Deno.test("a run logs what it checks and does, in this order, and exits 0", async () => {
  const run = await live(
    {},
    setup(901, "Portainer", async ({ ensure }) => void await ensure(step("thing", false, true))),
  );
  assertEquals(run.code, 0);
  assertEquals(messages(run.log).map((line) => line.replace(/\d+(\.\d+)? m?s/, "0 ms")), [
    "Received CTID: 901",
    "Checking for the existence of container 901",
    "Container 901 exists and is running",
    "Setting up container 901 (Portainer)",
    "Step 1: thing",
    "Step 1: thing: changed (0 ms)",
    "    thing: there",
    "1 changed in 0 ms",
    "Specific setup for container 901 completed successfully",
  ]);
  assertEquals(run.stdout, run.log.replaceAll(`[${Deno.pid}]`, ""));
  assertEquals(run.stderr, "");
  assertEquals(run.pctCalls, [["status", "901"]]);
});

Deno.test("anything but one positional argument is a usage error", async () => {
  for (
    const args of [[], ["901", "902"], ["901", ""], ["--frob", "901"], ["901", "--timeout", "soon"], [
      "901",
      "--log-file=",
    ], ["-vq", "901"]]
  ) {
    const run = await live({ args });
    assertEquals(run.code, 1, args.join(" "));
    assertMatch(run.stderr, / FATAL \S+: Usage error: /);
    assertEquals(messages(run.log).at(-1), "ERROR Specific setup failed with exit code 1");
    assertEquals(run.pctCalls, [], "nothing is asked of pct");
  }
});

Deno.test("a CTID that is not plain decimal, not Proxmox's or not the setup's own is refused", async () => {
  const wrong = [
    "",
    "0901",
    "+901",
    " 901",
    "901 ",
    "9.01e2",
    "901.0",
    "0x385",
    "٩٠١",
    "９０１",
    "901\n",
    "99",
    "0",
    "1000000000",
    "902",
    "nine",
    "9".repeat(400),
  ];
  for (const argument of wrong) {
    const run = await live({ args: [argument] });
    assertEquals(run.code, 1, JSON.stringify(argument));
    assertMatch(run.stderr, / FATAL \S+: CTID /);
    assertEquals(run.pctCalls, []);
  }
  // A hyphen makes an option of it, which is just as wrong.
  assertEquals((await live({ args: ["-901"] })).code, 1);
  assertEquals((await live({ args: ["--", "-901"] })).code, 1);
});

Deno.test("a file name that carries another number is refused, one that carries none is not asked", async () => {
  const codes: Record<string, number> = {};
  for (
    const name of [
      "phoenix_hypervisor_setup_901",
      "phoenix_hypervisor_setup_901.sh",
      "901.ts",
      "portainer",
      "phoenix_hypervisor_setup_902",
      "phoenix_hypervisor_setup_901.bak",
      "phoenix_hypervisor_setup_902.sh",
      "902.ts",
    ]
  ) {
    codes[name] = (await live({ program: `/opt/${name}` })).code;
  }
  assertEquals(Object.values(codes), [0, 0, 0, 0, 1, 1, 1, 1]);
});

Deno.test("a container that pct does not know ends the run with exit code 1 and pct's words", async () => {
  const said = "Configuration file 'nodes/pve/lxc/901.conf' does not exist";
  const run = await live({ status: { code: 2, stderr: `${said}\n` } });
  assertEquals(run.code, 1);
  assertStringIncludes(run.stderr, said);
  assertMatch(run.stderr, / FATAL /);
  assertEquals(messages(run.log).at(-1), "ERROR Specific setup for container 901 failed with exit code 1");
});

// Exit code 0 is no evidence. dax reports it for a pct that was killed.
Deno.test("pct status that exits 0 without a status is not taken for an answer", async () => {
  assertEquals((await live({ status: "" })).code, 1);
});

Deno.test("a stopped container ends the run with exit code 3 and the command that starts it", async () => {
  const run = await live({ status: "status: stopped\n" });
  assertEquals(run.code, 3);
  assertStringIncludes(run.stderr, "Container 901 is stopped");
  // Also on a terminal, which shows no INFO, and with --quiet.
  assertStringIncludes(run.stderr, ": What to do: Start it: pct start 901");
});

Deno.test("a container on another node is said to be there", async () => {
  const run = await live({
    status: { code: 2, stderr: "Configuration file 'nodes/pve/lxc/901.conf' does not exist\n" },
    files: { "/etc/pve/.vmlist": { version: 3, ids: { 901: { node: "pve2", type: "lxc", version: 1 } } } },
  });
  assertEquals(run.code, 1);
  assertStringIncludes(run.stderr, 'it lives on node "pve2"');
});

// A wrong id must never configure somebody else's container.
Deno.test("a container of another name is never touched", async () => {
  let performed = false;
  const of = setup(901, "Portainer", () => Promise.resolve(void (performed = true)));
  const run = await live({ hostname: "mailserver" }, of);
  assertEquals([run.code, performed], [3, false]);
  assertStringIncludes(run.stderr, '"mailserver"');
  assertStringIncludes(run.stderr, '"Portainer"');
  // The short form counts, in any case.
  assertEquals((await live({ hostname: "PORTAINER.home.example" }, of)).code, 0);
  // The configuration's name counts as well.
  const file = "/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json";
  const other = await live({ files: { [file]: { lxc_configs: { 901: { name: "Harbor" } } } } }, of);
  assertEquals(other.code, 3);
  assertStringIncludes(other.stderr, '"Harbor"');
});

Deno.test("check mode exits 10 with the difference, 0 when there is none", async () => {
  const args = ["901", "--check"];
  const change = await live(
    { args },
    setup(901, "Portainer", async ({ ensure }) => void await ensure(step("thing", false))),
  );
  assertEquals(change.code, 10);
  assertStringIncludes(change.stdout, "thing: would change");
  assertStringIncludes(change.stdout, "    thing: there");
  const none = await live(
    { args },
    setup(901, "Portainer", async ({ ensure }) => void await ensure(step("thing", true))),
  );
  assertEquals(none.code, 0);
  assertEquals(
    messages(none.log).at(-1),
    "Check of the specific setup for container 901 completed: 0 of 1 steps would change something",
  );
});

Deno.test("a failed step shows the command, its output, what the code means, a hint and the line to run again", async () => {
  const of = setup(901, "Portainer", async ({ ensure }) => {
    await ensure({
      ...step("image", false),
      apply: () =>
        Promise.reject(
          new CommandFailed("Command failed with exit code 1", {
            command: "docker pull x",
            code: 1,
            stdout: "",
            stderr: "write /var/lib: no space left on device\n",
          }),
        ),
    });
  });
  const run = await live({}, of);
  assertEquals(run.code, 4);
  const errors = messages(run.stderr);
  assertEquals(errors, [
    'ERROR Step "image" failed: Command failed with exit code 1',
    "ERROR $ docker pull x",
    "ERROR | write /var/lib: no space left on device",
    "ERROR Exit code 1: the command's own code for failure",
    "ERROR What to do: The container's disk is full: free some space, or enlarge it with pct resize",
    "ERROR Run again: /usr/local/phoenix_hypervisor/bin/phoenix_hypervisor_setup_901 901",
    ...errors.slice(6, 7),
    'ERROR Specific setup for container 901 failed in step "image" with exit code 4',
  ]);
});

Deno.test("a defect ends the run with exit code 70", async () => {
  const run = await live({}, setup(901, "Portainer", () => Promise.reject(new TypeError("x is undefined"))));
  assertEquals(run.code, 70);
  assertStringIncludes(run.stderr, "Defect: x is undefined");
  const refused = await live(
    {},
    setup(901, "Portainer", () =>
      Promise.reject(
        new Deno.errors.NotCapable('Requires net access to "10.0.0.5:80", run again with the --allow-net flag'),
      )),
  );
  assertEquals(refused.code, 70);
  assertStringIncludes(refused.stderr, 'declare it in the setup: { addresses: ["10.0.0.5:80"] }');
});

Deno.test("a step that is not awaited is found out", async () => {
  const of = setup(901, "Portainer", ({ ensure }) => {
    ensure({ ...step("slow", true), probe: () => new Promise(() => {}) });
    return Promise.resolve();
  });
  const run = await live({}, of);
  assertEquals(run.code, 70);
  assertStringIncludes(run.stderr, 'write "await ensure(…)"');
});

// There is one end only, also for an error that nobody waits for.
Deno.test("an error that nobody waits for ends the run as a defect", async () => {
  const [system, run] = stubSystem();
  const of = setup(901, "Portainer", () => {
    run.unhandled(new TypeError("nobody waits for this"));
    return new Promise(() => {});
  });
  await main(of, system);
  assertEquals(run.exits, [70]);
  assertStringIncludes(run.stderr, "nobody waits for this");
});

Deno.test("a setup that uses no configuration runs without one, another ends with exit code 2", async () => {
  assertEquals((await live()).code, 0);
  const run = await live({}, setup(901, "Portainer", ({ config }) => Promise.resolve(void config.ip)));
  assertEquals(run.code, 2);
  assertStringIncludes(run.stderr, '"/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json"');
});

Deno.test("paths come from the environment, then from core_paths, then from the default", async () => {
  const config = (name: string) => ({ lxc_configs: { 901: { name: "Portainer", network_config: { ip: name } } } });
  const files = {
    "/usr/local/phoenix_hypervisor/etc/phoenix_hypervisor_config.json": {
      core_paths: { lxc_config_file: "/core.json" },
    },
    "/env.json": config("10.0.0.1/24"),
    "/core.json": config("10.0.0.2/24"),
  };
  let ip = "";
  const of = setup(901, "Portainer", ({ config }) => Promise.resolve(void (ip = config.ip)));
  await live({ files, environment: { PHOENIX_LXC_CONFIG_FILE: "/env.json" } }, of);
  assertEquals(ip, "10.0.0.1");
  await live({ files }, of);
  assertEquals(ip, "10.0.0.2");
  const missing = await live({ files, environment: { PHOENIX_LXC_CONFIG_FILE: "/none.json" } }, of);
  assertEquals(missing.code, 2);
  assertStringIncludes(missing.stderr, '"/none.json"');
  let opened = "";
  const openLogFile = (path: string) => {
    opened = path;
    return { append() {}, sync() {} };
  };
  await live({ openLogFile, environment: { PHOENIX_LOG_FILE: "/env.log" } });
  assertEquals(opened, "/env.log");
  await live({
    openLogFile,
    environment: { PHOENIX_LOG_FILE: "/env.log" },
    args: ["901", "--log-file", "/option.log"],
  });
  assertEquals(opened, "/option.log");
});

// Variables that the orchestrator sets are for the setup that declares them.
Deno.test("a setup reads the environment variables that it declares, and no other", async () => {
  const of = (declared: string[]) =>
    setup(901, "Portainer", { environment: declared }, ({ environment }) => {
      assertEquals(environment("PHOENIX_COLOR"), "blue");
      return Promise.resolve();
    });
  const environment = { PHOENIX_COLOR: "blue" };
  assertEquals((await live({ environment }, of(["PHOENIX_COLOR"]))).code, 0);
  assertEquals((await live({ environment }, of([]))).code, 70);
});

// A secret is never shown; one that is too short to be found again in a log is none.
Deno.test("a secret is the value or NAME=value, and of at least four characters", async () => {
  const read = async (value: string) => {
    let seen: string | undefined;
    const run = await live(
      { environment: { TOKEN: value } },
      setup(901, "Portainer", { environment: ["TOKEN"] }, async ({ secret, ensure }) => {
        const token = await secret("API token", { environment: "TOKEN" });
        seen = token.reveal();
        await ensure({ ...step(`with ${seen}`, true) });
      }),
    );
    assert(!`${run.stdout}${run.stderr}${run.log}`.includes(seen ?? "\0"));
    return { seen, ...run };
  };
  for (
    const [text, value] of [
      ["hf_abc\n", "hf_abc"],
      ["HF_TOKEN=hf_abc", "hf_abc"],
      ["export token='hf abc'\n", "hf abc"],
      ['TOKEN="a=b=="', "a=b=="],
      // Base64, which can end like that.
      ["c2VjcmV0MTIzNDU2Nzg5MA==", "c2VjcmV0MTIzNDU2Nzg5MA=="],
      ["c2VjcmV0MTIzNDU2Nzg5MDE=", "c2VjcmV0MTIzNDU2Nzg5MDE="],
    ]
  ) {
    assertEquals((await read(text!)).seen, value);
  }
  for (const text of ["", " \n", "TOKEN=", "abc", "TOKEN=abc"]) {
    const { code, seen, stderr } = await read(text);
    assertEquals([code, seen], [2, undefined]);
    assertMatch(stderr, /API token: the environment variable "TOKEN" (?:is empty|has fewer than 4 characters)/);
  }
});

Deno.test("a log file that cannot be written does not fail the run", async () => {
  const run = await live({
    openLogFile: () => {
      throw new Deno.errors.NotFound("No such file or directory");
    },
  });
  assertEquals(run.code, 0);
  assertStringIncludes(run.stderr, 'Cannot write the log file "/var/log/phoenix_hypervisor.log"');
});

Deno.test("signals end the run with their codes, after what runs inside was ended", async () => {
  for (const [signal, code] of [["SIGHUP", 129], ["SIGINT", 130], ["SIGTERM", 143]] as const) {
    let interrupted = false;
    const container = new StubContainer();
    container.interrupt = () => Promise.resolve(void (interrupted = true));
    const [system, run] = stubSystem({ container });
    const hang = step("hang", false);
    await main(
      setup(901, "Portainer", async ({ ensure }) => {
        setTimeout(() => run.signal(signal));
        await ensure({ ...hang, apply: () => new Promise(() => {}) });
      }),
      system,
    );
    assertEquals([run.exits, interrupted, run.locked], [[code], true, false]);
    assertStringIncludes(run.stderr, `Ended by ${signal}`);
    assertStringIncludes(run.stderr, 'failed in step "hang"');
  }
});

// A terminal and systemd send a signal to pct and to what runs inside as well: their end may be seen first.
Deno.test("what a signal has broken is not the reason of the end", async () => {
  const [system, run] = stubSystem();
  await main(
    setup(901, "Portainer", async ({ ensure }) => {
      setTimeout(() => run.signal("SIGTERM"), 10);
      await ensure({ ...step("lost", false), apply: () => Promise.reject(new SessionLost("the session was lost")) });
    }),
    system,
  );
  assertEquals(run.exits, [143]);
});

// What the cut-off phase asked for may still be answered before the process is gone.
Deno.test("after a signal no phase begins any more", async () => {
  const [system, run] = stubSystem();
  const status = Promise.withResolvers<PctResult>();
  await main(
    setup(901, "Portainer", () => Promise.reject(new Error("the setup was performed"))),
    {
      ...system,
      pct: {
        ...system.pct,
        run() {
          setTimeout(() => run.signal("SIGTERM"));
          return status.promise;
        },
      },
    },
  );
  status.resolve({ code: 0, stdout: "status: running\n", stderr: "" });
  await new Promise((resolve) => setTimeout(resolve, 10));
  assertEquals([run.exits, run.locked], [[143], false]);
});

// A run that was killed while a snapshot was taken leaves a stopped container, its note, and a pct that is still at it.
Deno.test("a container that a run has stopped is started as soon as Proxmox lets go of it", async () => {
  const answers = ["CT is locked (snapshot)", "can't lock file '/run/lock/lxc/pve-config-901.lock' - got timeout", ""];
  const done: string[] = [];
  const run = await live({
    status: "status: stopped\n",
    host: {
      file: (path) => Promise.resolve(path.endsWith(".stopped") ? hostFile(path, "") : undefined),
      removeFile: (path) => Promise.resolve(void done.push(path)),
      changeContainer(subcommand) {
        done.push(subcommand);
        const stderr = answers.shift()!;
        return Promise.resolve({ code: stderr === "" ? 0 : 255, stdout: "", stderr });
      },
    },
  });
  assertEquals([run.code, done], [0, ["start", "start", "start", "/run/phoenix_setup/setup_901.stopped"]]);
});

// The step that is under way goes on until the process is gone.
Deno.test("after a signal the host is not changed any more, and what has begun to change it is waited for", async () => {
  const begun: string[] = [];
  const stopping = Promise.withResolvers<void>();
  const [system, run] = stubSystem({
    host: {
      file: (path) => Promise.resolve(path.endsWith(".stopped") ? hostFile(path, "") : undefined),
      removeFile: () => Promise.resolve(void begun.push("removeFile")),
      interrupt: () => void begun.push("interrupt"),
      async changeContainer(subcommand) {
        begun.push(subcommand);
        if (subcommand === "shutdown") await stopping.promise;
        begun.push(`${subcommand} has ended`);
        return { code: 0, stdout: "", stderr: "" };
      },
    },
  });
  await main(
    setup(901, "Portainer", async ({ ensure }) => {
      begun.length = 0;
      setTimeout(() => run.signal("SIGTERM"));
      setTimeout(() => stopping.resolve(), 50);
      await ensure({
        ...step("snapshot", false),
        async apply({ host }) {
          await host.changeContainer("shutdown", [], 1_000);
          await host.changeContainer("snapshot", [], 1_000);
        },
      });
    }),
    system,
  );
  assertEquals([run.exits, begun], [[143], [
    "shutdown",
    "interrupt",
    "shutdown has ended",
    "start",
    "start has ended",
    "removeFile",
  ]]);
});

Deno.test("the run as a whole has a deadline", async () => {
  const run = await live({ args: ["901", "--timeout", "20ms"] }, setup(901, "Portainer", () => new Promise(() => {})));
  assertEquals(run.code, 5);
});

// Output can neither drive a terminal nor forge a line of the log.
Deno.test("control characters and newlines in what is logged are made harmless", async () => {
  const container = new StubContainer((script) =>
    script.display === "evil"
      ? { code: 1, stderr: "\x1b[2Jx\n2026-01-01T00:00:00.000Z INFO forged\r\u202e" }
      : undefined
  );
  const of = setup(901, "Portainer", async ({ ensure }) => {
    await ensure({ ...step("evil", false), apply: async ({ container }) => void await container.write(sh`evil`) });
  });
  const run = await live({ container }, of);
  assert(!/[^\P{Cc}\n]|\u202e/u.test(run.log + run.stderr));
  assertStringIncludes(run.stderr, "\\x1b[2Jx");
  for (const line of run.log.trimEnd().split("\n")) {
    assertMatch(line, /^\S+Z (INFO|WARN|ERROR|FATAL) phoenix_hypervisor_setup_901\[\d+\]: /);
  }
});

Deno.test("JSON lines carry every event", async () => {
  const run = await live(
    { args: ["901", "--json"] },
    setup(901, "Portainer", async ({ ensure }) => void await ensure(step("thing", true))),
  );
  const events = run.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(events.map(({ event }) => event), [
    "message",
    "message",
    "message",
    "run started",
    "step started",
    "step finished",
    "run finished",
  ]);
  assertEquals(events.at(-1).code, 0);
  assertEquals(events[5].outcome, "unchanged");
});

Deno.test("a terminal gets one line for each step, and colours unless NO_COLOR is set", async () => {
  const of = setup(901, "Portainer", async ({ ensure }) => void await ensure(step("thing", false, true)));
  const run = await live({ terminal: true, environment: { NO_COLOR: "1" } }, of);
  assertEquals(
    run.stdout.replace(/ \d+ ms/g, " 0 ms").replace(/ +/g, " "),
    `901 Portainer · running
 ✔ thing changed 0 ms
901 completed: 1 changed in 0 ms
Specific setup for container 901 completed successfully
`,
  );
  assertMatch((await live({ terminal: true }, of)).stdout, /\[33m✔/);
});

Deno.test("--quiet shows nothing of a run that goes well; --help and --version run nothing", async () => {
  const quiet = await live({ args: ["901", "--quiet"] });
  assertEquals([quiet.stdout, quiet.stderr], ["", ""]);
  assertStringIncludes(quiet.log, "completed successfully");
  const help = await live({ args: ["--help"] });
  assertEquals([help.code, help.pctCalls.length, help.log], [0, 0, ""]);
  assertStringIncludes(help.stdout, "Usage: phoenix_hypervisor_setup_901 [options] 901");
  assertMatch(
    (await live({ args: ["--version"] })).stdout,
    /^phoenix_hypervisor_setup_901 \d+\.\d+\.\d+ \(development\) Portainer\n$/,
  );
});

// A lock that a crash of the host has left behind never goes: it must not take the two hours of a run.
Deno.test("a container that stays stopped and locked is given up, and said to be locked", async () => {
  const [system, run] = stubSystem({ status: "status: stopped\n" });
  const { setTimeout: wait } = globalThis;
  globalThis.setTimeout = ((act: () => void, ms: number) => wait(act, ms === 5_000 ? 0 : ms)) as typeof setTimeout;
  try {
    let looks = 0;
    // As good as for ever.
    const lockedBy = () => ++looks > 500 ? undefined : "backup";
    await withSteppingClock(() => main(empty, { ...system, lockedBy }), 10_000);
  } finally {
    globalThis.setTimeout = wait;
  }
  assertEquals(run.exits, [3]);
  assertEquals(run.stderr.match(/Waiting for container 901/g)?.length, 1);
  assertStringIncludes(run.stderr, "Container 901 is stopped and locked (backup)");
});

Deno.test("the line to run again is one that a shell understands, whatever the arguments", async () => {
  const failing = setup(901, "Portainer", async ({ ensure }) => {
    await ensure({
      ...step("x", false),
      apply: () => Promise.reject(new CommandFailed("no", { command: "x", code: 1, stdout: "", stderr: "" })),
    });
  });
  const path = `/var/log/${"long/".repeat(20)}$(reboot) it's.log`;
  const run = await live({ args: ["--log-file", path, "901"] }, failing);
  assertStringIncludes(
    run.stderr,
    `phoenix_hypervisor_setup_901 --log-file '/var/log/${"long/".repeat(20)}$(reboot) it'\\''s.log' 901\n`,
  );
  // The source of a setup, as `deno task setup` runs it.
  const source = await live({ program: "/root/project/setups/901.ts" }, failing);
  assertStringIncludes(source.stderr, ": Run again: deno task setup 901\n");
});

// A signal to all processes of a run ends the `pct` that asked the container to shut down; what was asked for goes on
// inside.
Deno.test("a container that a run has told to stop is started again also where it stops only now", async () => {
  for (const states of [["running", "stopped"], ["running"]]) {
    const calls: string[] = [];
    const said = [...states];
    const note = stoppedMarker(901);
    await withSteppingClock(() =>
      live({
        host: {
          file: (path) => Promise.resolve(path === note ? hostFile(path, "") : undefined),
          removeFile: (path) => Promise.resolve(void calls.push(`remove ${path}`)),
          containerStatus: () =>
            Promise.resolve({ code: 0, stdout: `status: ${said.length > 1 ? said.shift() : said[0]}\n`, stderr: "" }),
          changeContainer(subcommand) {
            calls.push(subcommand);
            const isUp = calls.length === 1;
            return Promise.resolve({
              code: isUp ? 255 : 0,
              stdout: "",
              stderr: isUp ? "CT 901 already running\n" : "",
            });
          },
        },
      })
    );
    assertEquals(calls, states.length > 1 ? ["start", "start", `remove ${note}`] : ["start", `remove ${note}`]);
  }
});
