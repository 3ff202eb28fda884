import { assert, assertEquals, assertMatch, assertNotEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { ContainerToCreate, Fault, Result, RunOptions } from "../host.ts";
import { missingPermissions, testUnless, testWith } from "../../support/permission.ts";
import { until } from "../../support/until.ts";
import { SimulatedHost, whatIsMissing } from "./simulated_host.ts";

const missing = missingPermissions(["read", "write", "run", "env"]) ?? await whatIsMissing();
const isRoot = missing === undefined && (await new Deno.Command("id", { args: ["-u"] }).output()).stdout[0] === 0x30;

// Most tests share one host; each leaves 901 running, unlocked and without faults.
const containers: ContainerToCreate[] = [
  { ctid: 901, hostname: "Portainer", ip: "10.0.0.99" },
  { ctid: 902, hostname: "GPUtemplate", ip: "10.0.0.110" },
  { ctid: 905, hostname: "stopped", running: false },
];
let shared: Promise<SimulatedHost> | undefined;
Deno.test.afterAll(async () => await (await shared)?.close());

function test(name: string, body: (host: SimulatedHost) => Promise<void>, needsRoot = false): void {
  const reason = missing ?? (needsRoot && !isRoot ? "one user only, since this is not root" : undefined);
  testUnless(reason, name, async () => body(await (shared ??= SimulatedHost.temporary({ containers }))));
}

const utf8 = { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8" };

/** What a driver does: `pct` by its full path, in an environment of its own. */
function pct(host: SimulatedHost, args: string[], options: RunOptions = {}): Promise<Result> {
  return host.run("/usr/sbin/pct", args, { clearEnv: true, env: utf8, cwd: "/", ...options });
}

/** A shell inside of 901, whose success is a part of the test. */
async function inside(host: SimulatedHost, script: string, options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await pct(host, ["exec", "901", "--", "sh", "-c", script], options);
  assertEquals({ code, stderr }, { code: 0, stderr: "" }, script);
  return stdout.trimEnd();
}

async function withFault(
  host: SimulatedHost,
  fault: Fault,
  value: string | number | true,
  body: () => Promise<unknown>,
): Promise<void> {
  await host.setFault(fault, value);
  try {
    await body();
  } finally {
    await host.setFault(fault, undefined);
  }
}

test("the host looks like a Proxmox host to what runs on it", async (host) => {
  assertEquals((await host.run("uname", ["-n"])).stdout, "pve\n");
  assertEquals((await host.run("id", ["-u"])).stdout, "0\n");
  assertMatch((await host.run("cat", ["/etc/pve/lxc/901.conf"])).stdout, /^hostname: Portainer$/m);
  const members = JSON.parse((await host.run("cat", ["/etc/pve/.vmlist"])).stdout);
  assertEquals(members.ids["902"], { node: "pve", type: "lxc", version: 1 });
  const fleet = await host.run("cat", ["/usr/local/phoenix_hypervisor/etc/phoenix_lxc_configs.json"]);
  assertEquals(JSON.parse(fleet.stdout).lxc_configs["901"].network_config.ip, "10.0.0.99/24");
  // What is written there is seen from outside.
  await host.run("sh", ["-c", "echo line >>/var/log/phoenix_hypervisor.log"]);
  assertEquals(await Deno.readTextFile(host.logFile), "line\n");
});

test("nothing of it is on the machine", async (host) => {
  await host.run("sh", ["-c", "touch /etc/of-the-host /usr/of-the-host /var/lib/of-the-host /run/of-the-host"]);
  await inside(host, "touch /etc/of-901 /usr/bin/of-901 /opt/of-901");
  for (
    const path of [
      "/usr/sbin/pct",
      "/etc/pve",
      "/usr/local/phoenix_hypervisor",
      ...["/etc", "/usr", "/var/lib", "/run"].map((folder) => `${folder}/of-the-host`),
      ...["/etc", "/usr/bin", "/opt"].map((folder) => `${folder}/of-901`),
    ]
  ) {
    await assertRejects(() => Deno.lstat(path), Deno.errors.NotFound, undefined, path);
  }
  assertNotEquals(
    new TextDecoder().decode((await new Deno.Command("uname", { args: ["-n"] }).output()).stdout),
    "pve\n",
  );
});

test("a command on the host is the program itself: signals, pid and working directory", async (host) => {
  const child = host.command("sh", [
    "-c",
    "trap 'echo caught; exit 7' TERM; echo $$ $PWD; while :; do sleep 0.01; done",
  ], {
    cwd: "/tmp",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  assertEquals((await reader.read()).value, `${child.pid} /tmp\n`);
  child.kill("SIGTERM");
  assertEquals((await reader.read()).value, "caught\n");
  assertEquals((await child.status).code, 7);
  await reader.cancel();
  const { stdout } = await host.run("env", [], { clearEnv: true, env: { ONLY: "this" } });
  assertEquals(stdout, "ONLY=this\n");
  assertEquals((await host.run("no-such-program", [], { env: utf8 })).code, 127);
});

// [arguments, exit code, stdout, start of stderr]
const answers: [string[], number, string, string][] = [
  [["status", "901"], 0, "status: running\n", ""],
  [["status", "905"], 0, "status: stopped\n", ""],
  [["status", "999"], 2, "", "Configuration file 'nodes/pve/lxc/999.conf' does not exist\n"],
  [["config", "999"], 2, "", "Configuration file 'nodes/pve/lxc/999.conf' does not exist\n"],
  [["listsnapshot", "999"], 2, "", "Configuration file 'nodes/pve/lxc/999.conf' does not exist\n"],
  [["exec", "999", "--", "true"], 2, "", "Configuration file 'nodes/pve/lxc/999.conf' does not exist\n"],
  [["status"], 255, "", "400 not enough arguments\npct status <vmid> [OPTIONS]\n"],
  [["status", "901", "902"], 255, "", "400 too many arguments\npct status <vmid> [OPTIONS]\n"],
  [
    ["status", "99"],
    255,
    "",
    "400 Parameter verification failed.\nvmid: invalid format - value does not look like a valid VM ID\npct status <vmid>",
  ],
  [
    ["status", "abc"],
    255,
    "",
    "400 Parameter verification failed.\nvmid: type check ('integer') failed - got 'abc'\npct status <vmid>",
  ],
  [["status", "0901"], 255, "", "400 Parameter verification failed.\nvmid: invalid format"],
  [["status", "1234567890"], 255, "", "400 Parameter verification failed.\nvmid: invalid format"],
  [["status", "901", "--wrong"], 255, "", "Unknown option: wrong\n400 unable to parse option\npct status <vmid>"],
  [["--verbose", "status"], 255, "", "ERROR: unknown command 'pct --verbose'\n"],
  [[], 255, "", "ERROR: no command specified\n"],
  // A subcommand may be abbreviated as long as it is clear.
  [["stat", "901"], 0, "status: running\n", ""],
  [["st", "901"], 255, "", "ERROR: incomplete command 'pct st'\n"],
  [["statuses", "901"], 255, "", "ERROR: unknown command 'pct statuses'\n"],
  // Options may follow, and the first `--` is dropped wherever it stands.
  [["status", "--verbose", "0", "901"], 0, "status: running\n", ""],
  [["status", "--", "901"], 0, "status: running\n", ""],
  [["exec", "901", "ls", "-la"], 255, "", "Unknown option: la\n400 unable to parse option\npct exec <vmid>"],
  [["exec", "901", "echo", "a", "--", "--", "-b"], 0, "a -- -b\n", ""],
  [
    ["exec", "901", "--keep-env", "maybe", "--", "true"],
    255,
    "",
    "400 Parameter verification failed.\nkeep-env: type check ('boolean') failed - got 'maybe'\n",
  ],
  [["exec", "905", "--", "true"], 255, "", "container '905' not running!\n"],
  [["exec", "901", "--"], 255, "", "missing command"],
  [["exec", "901", "--", "sh", "-c", "echo out; echo err >&2; exit 3"], 3, "out\n", "err\n"],
  [["exec", "901", "--", "sh", "-c", "kill -KILL $$"], 137, "", ""],
  [["exec", "901", "--", "sh", "-c", "kill -TERM $$"], 143, "", ""],
  // This one is ignored in everything that runs there.
  [["exec", "901", "--", "sh", "-c", "kill -PIPE $$; echo lives"], 0, "lives\n", ""],
  [
    ["exec", "901", "--", "no-such"],
    127,
    "",
    'lxc-attach: 901: ../src/lxc/attach.c: lxc_attach_run_command: 1841 No such file or directory - Failed to exec "no-such"\n',
  ],
  [
    ["exec", "901", "--", "/etc/passwd"],
    126,
    "",
    'lxc-attach: 901: ../src/lxc/attach.c: lxc_attach_run_command: 1841 Permission denied - Failed to exec "/etc/passwd"\n',
  ],
  [["exec", "901", "--", "/etc"], 126, "", "lxc-attach: 901: "],
  [["exec", "901", "--", ""], 127, "", "lxc-attach: 901: "],
  [["push", "905", "/etc/hostname", "/tmp/x"], 255, "", "can only push files to a running CT\n"],
  [["push", "999", "/etc/hostname", "/tmp/x"], 255, "", "can only push files to a running CT\n"],
  [
    ["push", "901", "/etc/hostname"],
    255,
    "",
    "400 not enough arguments\npct push <vmid> <file> <destination> [OPTIONS]\n",
  ],
  [["start", "901"], 255, "", "CT 901 already running\n"],
  [["stop", "905"], 255, "", "CT 905 not running\n"],
  [["shutdown", "905"], 255, "", "CT 905 not running\n"],
  [["reboot", "905"], 255, "", "VM 905 not running\n"],
  [["stop", "999"], 255, "", "CT 999 not running\n"],
  [["shutdown", "999"], 255, "", "CT 999 not running\n"],
  [["reboot", "999"], 255, "", "VM 999 not running\n"],
  // Found out by a worker, whose every failure is 255.
  [["start", "999"], 255, "", "Configuration file 'nodes/pve/lxc/999.conf' does not exist\n"],
  [["snapshot", "999", "name"], 255, "", "Configuration file 'nodes/pve/lxc/999.conf' does not exist\n"],
  [["set", "999", "--hostname", "x"], 2, "", "Configuration file 'nodes/pve/lxc/999.conf' does not exist\n"],
  [["set", "901"], 255, "", "no options specified\n"],
  [["set", "901", "--hostname", "a_b"], 255, "", "400 Parameter verification failed.\nhostname: invalid format"],
  [["unlock", "901"], 255, "", "no lock found trying to remove any lock\n"],
  [["unlock", "999"], 2, "", "Configuration file 'nodes/pve/lxc/999.conf' does not exist\n"],
  [
    ["snapshot", "create", "901", "name"],
    255,
    "",
    "400 too many arguments\npct snapshot <vmid> <snapname> [OPTIONS]\n",
  ],
  [["snapshot", "901", "current"], 255, "", "unable to use snapshot name 'current' (reserved name)\n"],
  [["snapshot", "901", "vzdump"], 255, "", "unable to use snapshot name 'vzdump' (reserved name)\n"],
  [["snapshot", "901", "1st"], 255, "", "400 Parameter verification failed.\nsnapname: invalid format"],
  [["snapshot", "901", "x"], 255, "", "400 Parameter verification failed.\nsnapname: invalid format"],
  [["snapshot", "901", "x".repeat(41)], 255, "", "400 Parameter verification failed.\nsnapname: value may only be 40"],
  [["delsnapshot", "901", "none"], 255, "", "snapshot 'none' does not exist\n"],
  [["rollback", "901", "none"], 255, "", "snapshot 'none' does not exist\n"],
  [["listsnapshot", "901"], 0, "`-> " + "current".padEnd(27) + " " + "".padEnd(23) + " You are here!\n", ""],
  [
    ["list"],
    0,
    "VMID       Status     Lock         Name                \n" +
    "901        running                 Portainer           \n" +
    "902        running                 GPUtemplate         \n" +
    "905        stopped                 stopped             \n",
    "",
  ],
];
test("pct answers every call in Proxmox's words and codes", async (host) => {
  for (const [args, code, stdout, stderr] of answers) {
    const result = await pct(host, args);
    assertEquals(
      { ...result, stderr: result.stderr.slice(0, stderr.length) },
      { code, stdout, stderr },
      args.join(" "),
    );
    if (stderr === "") assertEquals(result.stderr, "", args.join(" "));
  }
});

test("pct config sorts the keys, and leaves out snapshots", async (host) => {
  const lines = (await pct(host, ["config", "901"])).stdout.trimEnd().split("\n");
  assertEquals(lines, lines.toSorted());
  assert(lines.includes("net0: name=eth0,bridge=vmbr0,gw=10.0.0.1,hwaddr=BC:24:11:00:03:85,ip=10.0.0.99/24,type=veth"));
});

test("pct list says nothing at all without containers", async () => {
  await using empty = await SimulatedHost.temporary({ containers: [] });
  assertEquals(await pct(empty, ["list"]), { code: 0, stdout: "", stderr: "" });
});

test("pct is root's only", async (host) => {
  assertEquals(await host.run("setpriv", ["--reuid=1000", "--clear-groups", "/usr/sbin/pct", "status", "901"]), {
    code: 255,
    stdout: "",
    stderr: "ipcc_send_rec[1] failed: Unknown error -1\nipcc_send_rec[2] failed: Unknown error -1\n" +
      "ipcc_send_rec[3] failed: Unknown error -1\nUnable to load access control list: Unknown error -1\n",
  });
}, true);

test("exec hands over arguments and streams as they are", async (host) => {
  const args = ["", "a b", "it's", '"', "$HOME", "*", "\\", "one\ntwo", "--", "-n", "ünï"];
  const printed = await pct(host, ["exec", "901", "--", "printf", "<%s>", ...args]);
  assertEquals(printed.stdout, args.map((argument) => `<${argument}>`).join(""));

  const bytes = crypto.getRandomValues(new Uint8Array(60_000));
  const child = host.command("/usr/sbin/pct", ["exec", "901", "--", "sh", "-c", "tee /tmp/copy; cat /tmp/copy >&2"], {
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const written = writer.write(bytes).then(() => writer.close());
  const { stdout, stderr } = await child.output();
  await written;
  assertEquals(stdout, bytes);
  assertEquals(stderr, bytes);
});

// On a real host `curl -D /dev/stderr` crashes for this.
test("a pipe of the host's is nobody's inside: it cannot be opened anew as /dev/stdout and the like", async (host) => {
  const open = "for f in stdin stdout stderr; do [ ! -r /dev/$f ] || echo $f can; done";
  assertEquals(await inside(host, open, { stdin: "x" }), "");
  assertEquals(await inside(host, "echo own | cat /dev/stdin"), "own");
}, true);

test("the environment leaks in by default, and PATH is pct's", async (host) => {
  // Some of these are variables of the stand-in.
  const env = {
    ...utf8,
    SECRET: "leaked",
    TERM: "xterm",
    config: "c",
    values: "v",
    id: "i",
    verbose: "1",
    PWD: "/nowhere",
  };
  const print = (args: string[]) => pct(host, ["exec", "901", ...args, "--", "env"], { env });
  assertEquals(
    (await print([])).stdout.split("\n").toSorted().join("\n").trim(),
    "LC_ALL=C.UTF-8\nPATH=/sbin:/bin:/usr/sbin:/usr/bin\nPWD=/\nSECRET=leaked\nTERM=linux\nconfig=c\ncontainer=lxc\nid=i\nvalues=v\nverbose=1",
  );
  assertEquals(
    (await print(["--keep-env", "0"])).stdout.split("\n").toSorted().join("\n").trim(),
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nTERM=linux\ncontainer=lxc",
  );
  await withFault(host, "keep-env-unknown", true, async () => {
    assertStringIncludes(
      (await print(["--keep-env", "0"])).stderr,
      "Unknown option: keep-env\n400 unable to parse option",
    );
    assertEquals((await print([])).code, 0);
  });
});

test("without a UTF-8 locale, what is not ASCII becomes U+FFFD", async (host) => {
  for (
    const [locale, expected] of [["C.UTF-8", "é\n"], ["en_US.utf8", "é\n"], ["C", "��\n"], ["POSIX", "��\n"], [
      "",
      "��\n",
    ]]
  ) {
    const { stdout } = await pct(host, ["exec", "901", "--", "echo", "é"], { env: { PATH: "/bin", LC_ALL: locale! } });
    assertEquals(stdout, expected, locale);
  }
  assertEquals((await pct(host, ["exec", "901", "--", "cat"], { env: {}, stdin: "é" })).stdout, "é");
});

test("perl's taint mode makes exec die", async (host) => {
  for (const name of ["BASH_ENV", "ENV", "CDPATH", "IFS"]) {
    const env = { ...utf8, [name]: "/dev/null" };
    const { code, stderr } = await pct(host, ["exec", "901", "--", "true"], { env });
    assertEquals(code, 255);
    assertStringIncludes(stderr, `Insecure $ENV{${name}} while running with -T switch`);
    assertEquals((await pct(host, ["status", "901"], { env })).code, 0);
  }
});

test("noise about the locale comes with success", async (host) => {
  await withFault(host, "locale-noise", true, async () => {
    const { code, stdout, stderr } = await pct(host, ["status", "901"]);
    assertEquals({ code, stdout }, { code: 0, stdout: "status: running\n" });
    assertStringIncludes(stderr, "perl: warning: Setting locale failed.");
  });
});

test("the working directory is the host's where the container has it, else /", async (host) => {
  const cwd = async (path: string) => (await pct(host, ["exec", "901", "--", "pwd"], { cwd: path })).stdout;
  assertEquals(await cwd("/usr/bin"), "/usr/bin\n");
  assertEquals(await cwd("/etc/pve"), "/\n");
});

test("what runs inside outlives pct, and ends with its container", async (host) => {
  const child = host.command("/usr/sbin/pct", ["exec", "902", "--", "sh", "-c", "echo $$; exec sleep 1000"], {
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const pid = (await reader.read()).value!.trim();
  child.kill("SIGKILL");
  await child.status;
  // A background child lives on as well, and holds the pipe of the one who waits for the end of the output.
  const background = (await pct(host, ["exec", "902", "--", "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"])).stdout
    .trim();
  for (const survivor of [pid, background]) {
    assertEquals((await pct(host, ["exec", "902", "--", "kill", "-0", survivor])).code, 0);
  }
  assertEquals(await pct(host, ["stop", "902"]), { code: 0, stdout: "", stderr: "" });
  assertEquals((await reader.read()).done, true);
  assertEquals(await pct(host, ["start", "902"]), { code: 0, stdout: "", stderr: "" });
  for (const ended of [pid, background]) {
    assertNotEquals(
      (await pct(host, ["exec", "902", "--", "cat", `/proc/${ended}/cmdline`])).stdout,
      "sleep\x001000\x00",
    );
  }
});

test("an orphan is reaped by the container's init", async (host) => {
  const pid = await inside(host, "(sh -c 'echo $$; exec sleep 0.01' &)");
  await until(
    "it has ended",
    async () => (await pct(host, ["exec", "901", "--", "test", "-e", `/proc/${pid}`])).code === 1,
  );
});

test("push and pull copy, silently", async (host) => {
  await using _ = await onHost(host, "/tmp/simulated-host-test", "content");
  assertEquals(await pct(host, ["push", "901", "/tmp/simulated-host-test", "/root/copy"]), {
    code: 0,
    stdout: "",
    stderr: "",
  });
  assertEquals(await inside(host, "stat -c '%a %s' /root/copy; cat /root/copy"), "644 7\ncontent");
  assertEquals(await Deno.readTextFile(`${host.rootfs(901)}/root/copy`), "content");
  await pct(host, ["push", "901", "/tmp/simulated-host-test", "/root/mode", "--perms", "0640"]);
  assertEquals(await inside(host, "stat -c %a /root/mode; echo pulled >/root/copy"), "640");
  assertEquals(await pct(host, ["pull", "901", "/root/copy", "/tmp/simulated-host-test"]), {
    code: 0,
    stdout: "",
    stderr: "",
  });
  assertEquals((await host.run("cat", ["/tmp/simulated-host-test"])).stdout, "pulled\n");
});

test("push knows the host's users, and the container's numbers", async (host) => {
  await using _ = await onHost(host, "/tmp/simulated-host-test", "content");
  await host.run("sh", [
    "-c",
    "echo only-here:x:1234:1234::/:/bin/sh >>/etc/passwd; echo only-here:x:4321: >>/etc/group",
  ]);
  const push = (...args: string[]) => pct(host, ["push", "901", "/tmp/simulated-host-test", "/root/owned", ...args]);
  for (
    const [args, owner] of [
      [["--user", "1000", "--group", "1001"], "1000:1001"],
      [["--user", "only-here", "--group", "only-here"], "1234:4321"],
    ] as const
  ) {
    assertEquals((await push(...args)).code, 0);
    assertEquals(await inside(host, "stat -c %u:%g /root/owned"), owner);
  }
}, true);

test("a copy that fails exits 0", async (host) => {
  await using source = await onHost(host, "/tmp/simulated-host-test", "0123456789");
  const push = async (from: string, to: string, ...options: string[]) => {
    const { code, stderr } = await pct(host, ["push", "901", from, to, ...options]);
    return [code, stderr];
  };
  assertEquals(await push("/no/such", "/root/x"), [0, "failed to open /no/such for reading\n"]);
  assertEquals(await push(source.path, "/no/such"), [
    0,
    "failed to create file: /no/such: No such file or directory\n",
  ]);
  assertEquals(await push(source.path, "/etc"), [0, "failed to create file: /etc: Is a directory\n"]);
  assertEquals(await push(source.path, "/etc/passwd/x"), [
    0,
    "failed to create file: /etc/passwd/x: Not a directory\n",
  ]);
  assertEquals(await push(source.path, "/root/x", "--perms", "rw"), [0, "invalid mode: rw\n"]);
  assertEquals(await push(source.path, "/root/x", "--user", "nobody-knows"), [
    0,
    "failed to get uid for: nobody-knows\n",
  ]);
  await withFault(
    host,
    "push-writes-nothing",
    true,
    async () => assertEquals(await push(source.path, "/root/none"), [0, ""]),
  );
  await withFault(
    host,
    "push-writes-half",
    true,
    async () => assertEquals(await push(source.path, "/root/half"), [0, ""]),
  );
  assertEquals(await inside(host, "ls /root/x 2>/dev/null; stat -c %s /root/none /root/half"), "0\n5");
  // A pull leaves an empty file.
  assertEquals(await pct(host, ["pull", "901", "/no/such", source.path]), {
    code: 0,
    stdout: "",
    stderr: "failed to open /no/such: No such file or directory\n",
  });
  assertEquals((await host.run("stat", ["-c", "%s", source.path])).stdout, "0\n");
});

test("a folder is copied as an empty file", async (host) => {
  await using target = await onHost(host, "/tmp/simulated-host-test", "content");
  const silent = { code: 0, stdout: "", stderr: "" };
  assertEquals(await pct(host, ["push", "901", "/etc", "/root/folder"]), silent);
  assertEquals(await pct(host, ["pull", "901", "/etc", target.path]), silent);
  assertEquals(await inside(host, "stat -c '%F %s' /root/folder"), "regular empty file 0");
  assertEquals((await host.run("stat", ["-c", "%F %s", target.path])).stdout, "regular empty file 0\n");
});

test("a full disk is silent", async (host) => {
  await using source = await onHost(host, "/tmp/simulated-host-test", "x".repeat(2 << 20));
  await withFault(host, "small-disk", 1, async () => assertEquals((await pct(host, ["start", "905"])).code, 0));
  assertEquals(await pct(host, ["push", "905", source.path, "/opt/small/file"]), { code: 0, stdout: "", stderr: "" });
  assertEquals((await pct(host, ["exec", "905", "--", "stat", "-c", "%s", "/opt/small/file"])).stdout, `${1 << 20}\n`);
  await pct(host, ["stop", "905"]);
});

test("push writes into the file that is there, through a link, and keeps its mode", async (host) => {
  await using source = await onHost(host, "/tmp/simulated-host-test", "new");
  const before = await inside(
    host,
    "echo a longer text >/root/there; chmod 600 /root/there; ln -s there /root/link; stat -c %i /root/there",
  );
  await pct(host, ["push", "901", source.path, "/root/link"]);
  assertEquals(await inside(host, "stat -c '%i %a' /root/there; cat /root/there"), `${before} 600\nnew`);
});

test("the file lock: a second one waits for it, 10 seconds at most", async (host) => {
  await using source = await onHost(host, "/tmp/simulated-host-test", "new");
  const lock = "/run/lock/lxc/pve-config-901.lock";
  const holder = host.command("flock", [lock, "sh", "-c", "echo held; read -r _"], { stdin: "piped", stdout: "piped" })
    .spawn();
  const reader = holder.stdout.getReader();
  await reader.read();
  const args = ["push", "901", source.path, "/root/locked"];
  await withFault(host, "lock-wait", 0.1, async () => {
    assertEquals(await pct(host, args), {
      code: 4,
      stdout: "",
      stderr: `trying to acquire lock...\ncan't lock file '${lock}' - got timeout\n`,
    });
  });
  assertEquals((await pct(host, ["exec", "901", "--", "true"])).code, 0);
  const waits = host.command("/usr/sbin/pct", args, { stderr: "piped" }).spawn();
  const messages = waits.stderr.pipeThrough(new TextDecoderStream()).getReader();
  assertEquals((await messages.read()).value, "trying to acquire lock...\n");
  await holder.stdin.close();
  assertEquals((await messages.read()).value, " OK\n");
  assertEquals((await waits.status).code, 0);
  await Promise.all([reader.cancel(), messages.cancel(), holder.status]);
});

test("the property `lock:` stops what takes it, and nothing else", async (host) => {
  const conf = await Deno.readTextFile(host.conf(901));
  await Deno.writeTextFile(host.conf(901), `lock: backup\n${conf}`);
  const locked = "CT is locked (backup)\n";
  for (
    const [args, stderr] of [
      [["stop"], locked],
      [["shutdown"], locked],
      [["snapshot", "s1"], locked],
      [["set", "--hostname", "other"], locked],
      // Looked at before the lock is.
      [["start"], "CT 901 already running\n"],
      [["rollback", "s1"], "snapshot 's1' does not exist\n"],
      [["delsnapshot", "s1"], "snapshot 's1' does not exist\n"],
    ] as const
  ) {
    assertEquals(
      await pct(host, [args[0], "901", ...args.slice(1)]),
      { code: 255, stdout: "", stderr },
      args[0],
    );
  }
  assertEquals(await inside(host, "echo answers"), "answers");
  // The column is empty for the others.
  assertEquals(
    (await pct(host, ["list"])).stdout.split("\n").slice(1, 3),
    [
      "901        running    backup       Portainer           ",
      "902        running                 GPUtemplate         ",
    ],
  );
  await Deno.writeTextFile(host.conf(901), conf);
});

test("a worker says on stdout that it waits, and ends with 255; who starts what runs is told before that", async (host) => {
  const lock = "/run/lock/lxc/pve-config-901.lock";
  await using _ = await holding(host, lock);
  await withFault(host, "lock-wait", 0.1, async () => {
    for (const args of [["stop", "901"], ["shutdown", "901"], ["reboot", "901"], ["snapshot", "901", "s1"]]) {
      assertEquals(await pct(host, args), {
        code: 255,
        stdout: "trying to acquire lock...\n",
        stderr: `can't lock file '${lock}' - got timeout\n`,
      });
    }
    for (const managed of ["", "901"]) {
      await withFault(host, "ha-managed", managed, async () =>
        assertEquals(await pct(host, ["start", "901"]), {
          code: 255,
          stdout: "",
          stderr: "CT 901 already running\n",
        }));
    }
  });
});

test("a container is started and stopped with `lock: mounted`; a reboot sees a lock when it has stopped it", async (host) => {
  const silent = { code: 0, stdout: "", stderr: "" };
  await withLock(host, 901, "mounted", async () => {
    assertEquals(await pct(host, ["stop", "901"]), silent);
    assertEquals(await pct(host, ["start", "901"]), silent);
    assertEquals(await pct(host, ["reboot", "901"]), silent);
    assertEquals((await pct(host, ["shutdown", "901"])).stderr, "CT is locked (mounted)\n");
  });
  await withLock(host, 901, "backup", async () => {
    const stderr = "startup for container '901' failed\n";
    assertEquals(await pct(host, ["reboot", "901"]), { code: 255, stdout: "", stderr });
    assertEquals((await pct(host, ["start", "901"])).stderr, "CT is locked (backup)\n");
  });
  assertEquals(await pct(host, ["start", "901"]), silent);
});

test("a snapshot that is cut off leaves its lock, which has to be taken away before it can be deleted", async (host) => {
  const silent = { code: 0, stdout: "", stderr: "" };
  await withFault(host, "snapshot-takes", 60, async () => {
    const child = host.command("/usr/sbin/pct", ["snapshot", "901", "cut"], { stdin: "null" }).spawn();
    await until("901 is frozen", async () => (await host.run("test", ["-e", "/run/lxc/901.frozen"])).code === 0);
    // Only pct: the worker goes on.
    child.kill("SIGKILL");
    await child.status;
    assertEquals((await pct(host, ["push", "901", "/etc/hostname", "/root/x"])).code, 0);
    assertEquals((await pct(host, ["delsnapshot", "901", "cut"])).stderr, "CT is locked (snapshot)\n");
    await host.run("pkill", ["-KILL", "-f", "pct snapshot 901 cut"]);
  });
  await pct(host, ["config", "901"]);
  assertMatch(await Deno.readTextFile(host.conf(901)), /^lock: snapshot$[^]*^\[cut\]$[^]*^snapstate: prepare$/m);
  const locked = { code: 255, stdout: "", stderr: "CT is locked (snapshot)\n" };
  assertEquals(await pct(host, ["delsnapshot", "901", "cut", "--force"]), locked);
  assertEquals(await pct(host, ["unlock", "901"]), silent);
  assertEquals(
    (await pct(host, ["rollback", "901", "cut"])).stderr,
    "unable to rollback to incomplete snapshot (snapstate = prepare)\n",
  );
  assertEquals(await pct(host, ["delsnapshot", "901", "cut", "--force"]), silent);
  assert(!/snap|lock/.test(await Deno.readTextFile(host.conf(901))));
  for (const verb of ["stop", "start"]) assertEquals(await pct(host, [verb, "901"]), silent);
});

test("a snapshot that is ended by a signal is undone", async (host) => {
  const conf = await Deno.readTextFile(host.conf(901));
  await withFault(host, "snapshot-takes", 60, async () => {
    const child = host.command("/usr/sbin/pct", ["snapshot", "901", "ended"], { stdout: "piped", stderr: "piped" })
      .spawn();
    await until("901 is frozen", async () => (await host.run("test", ["-e", "/run/lxc/901.frozen"])).code === 0);
    child.kill("SIGTERM");
    const { code, stdout, stderr } = await child.output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
    assertEquals([code, text(stdout), text(stderr)], [
      255,
      "snapshot create failed: starting cleanup",
      "received interrupt",
    ]);
  });
  assertEquals((await Deno.readTextFile(host.conf(901))).trim(), conf.trim());
  assertEquals(await inside(host, "echo answers"), "answers");
});

test("a new name is in Proxmox's file at once, and inside with the next start", async (host) => {
  const conf = await Deno.readTextFile(host.conf(901));
  const set = (...args: string[]) => pct(host, ["set", "901", ...args]);
  assertEquals(await set("--hostname", "Renamed", "--description", "50% of: ä\nsecond"), {
    code: 0,
    stdout: "",
    stderr: "",
  });
  assertMatch(await Deno.readTextFile(host.conf(901)), /^#50%25 of%3A %C3%A4\n#second\n[^]*^hostname: Renamed$/m);
  assertStringIncludes((await pct(host, ["config", "901"])).stdout, "description: 50%25 of%3A %C3%A4%0Asecond%0A\n");
  assertEquals(await inside(host, "uname -n"), "Portainer");
  await pct(host, ["reboot", "901"]);
  assertEquals(await inside(host, "uname -n; cat /etc/hostname"), "Renamed\nRenamed");
  // Of one with a domain, the first part.
  await set("--hostname", "model-2.5.example.org");
  await pct(host, ["reboot", "901"]);
  assertEquals(await inside(host, "uname -n; cat /etc/hostname"), "model-2\nmodel-2");
  await Deno.writeTextFile(host.conf(901), conf);
  await pct(host, ["reboot", "901"]);
});

test("snapshots: taken, listed, rolled back, deleted", async (host) => {
  const { conf, note } = {
    conf: await Deno.readTextFile(host.conf(902)),
    note: (text: string) => pct(host, ["exec", "902", "--", "sh", "-c", `echo ${text} >/root/note`]),
  };
  const run = async (...args: string[]) =>
    assertEquals(
      await pct(host, [args[0]!, "902", ...args.slice(1)]),
      { code: 0, stdout: "", stderr: "" },
      args.join(" "),
    );
  await note("one");
  await run("snapshot", "snap1");
  await note("two");
  await run("snapshot", "with-dash_1", "--description", "multi\nline");
  await note("three");
  const time = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`;
  assertMatch(
    (await pct(host, ["listsnapshot", "902"])).stdout,
    new RegExp(
      "^`-> snap1                       " + time + "     no-description\n" +
        " `-> with-dash_1                " + time + "     multi\n" +
        "  `-> current                                           You are here!\n$",
    ),
  );
  assertEquals((await pct(host, ["snapshot", "902", "snap1"])).stderr, "snapshot name 'snap1' already used\n");
  assertEquals((await pct(host, ["status", "902"])).stdout, "status: running\n");

  await run("rollback", "snap1");
  assertEquals((await pct(host, ["status", "902"])).stdout, "status: stopped\n");
  assertEquals(await Deno.readTextFile(`${host.rootfs(902)}/root/note`), "one\n");
  await run("rollback", "with-dash_1", "--start");
  assertEquals((await pct(host, ["exec", "902", "--", "cat", "/root/note"])).stdout, "two\n");

  // The children of a deleted one move to its parent.
  await run("delsnapshot", "snap1");
  assertMatch((await pct(host, ["listsnapshot", "902"])).stdout, /^`-> with-dash_1 .*\n `-> current /);
  await run("delsnapshot", "with-dash_1");
  assertEquals((await Deno.readTextFile(host.conf(902))).trim(), conf.trim());

  await Deno.writeTextFile(host.conf(902), conf.replace("rootfs: lxc-disks:", "rootfs: local:"));
  assertEquals((await pct(host, ["snapshot", "902", "snap1"])).stderr, "snapshot feature is not available\n");
  await Deno.writeTextFile(host.conf(902), conf);
});

test("a snapshot freezes the container, and exec stalls meanwhile", async (host) => {
  await inside(
    host,
    "mkdir /srv/many; cd /srv/many; seq 3000 | xargs touch; (while :; do echo >>/root/ticks; sleep 0.001; done) >/dev/null 2>&1 & echo $! >/root/ticker",
  );
  let snapshot: Promise<Result> | undefined;
  let listed = "";
  await withFault(host, "snapshot-takes", 1, async () => {
    snapshot = pct(host, ["snapshot", "901", "busy"]);
    const isFrozen = async () => (await host.run("test", ["-e", "/run/lxc/901.frozen"])).code === 0;
    await until("it is frozen", isFrozen);
    assertStringIncludes(await Deno.readTextFile(host.conf(901)), "lock: snapshot");
    listed = await inside(host, "ls /srv/many | wc -l");
    assertEquals(await isFrozen(), false);
  });
  assertEquals(listed, "3000");
  assertEquals((await snapshot!).code, 0);
  // The copy is of one moment: nothing in it is newer than the freeze, and the processes went on afterwards.
  const ticks = async (root: string) => (await Deno.readTextFile(`${root}/root/ticks`)).length;
  const then = await ticks(`${host.stateDirectory}/containers/901/snapshots/busy`);
  await until("it goes on", async () => await ticks(host.rootfs(901)) > then);
  await inside(host, "kill $(cat /root/ticker); rm -r /srv/many");
  assertEquals((await pct(host, ["delsnapshot", "901", "busy"])).code, 0);
});

test("start comes back before the services are there", async (host) => {
  await Deno.mkdir(`${host.rootfs(905)}/var/lib/docker`);
  const docker = `${host.rootfs(905)}/usr/local/bin/docker`;
  await Deno.writeTextFile(docker, "#!/bin/sh\ntouch /run/$1\n", { mode: 0o755 });
  const isReached = async () => (await pct(host, ["exec", "905", "--", "test", "-e", "/run/engine-start"])).code === 0;
  await withFault(host, "slow-services", 2, () => pct(host, ["start", "905"]));
  assertEquals(await isReached(), false);
  await until("it is reached", isReached);
  await pct(host, ["stop", "905"]);
});

test("docker inside is the stand-in, and starts again what ran before a reboot", async (host) => {
  const docker = (...args: string[]) => pct(host, ["exec", "902", "--", "docker", ...args]);
  assertEquals((await docker("pull", "--quiet", "portainer/portainer-ce:2.33.1")).code, 0);
  assertEquals(
    (await docker("run", "-d", "--name", "portainer", "--restart", "always", "portainer/portainer-ce:2.33.1")).code,
    0,
  );
  const isRunning = async () =>
    (await docker("inspect", "--format", "{{.State.Running}}", "portainer")).stdout === "true\n";
  await until("it runs", isRunning);
  await pct(host, ["reboot", "902"]);
  await until("it runs", isRunning);
});

test("shutdown asks, and stop does not", async (host) => {
  const catchTerm = "trap 'echo caught >/root/said; exit' TERM; echo ready; while :; do sleep 0.01; done";
  const ignoreTerm = "trap '' TERM; echo ready; exec sleep 1000";
  for (
    const [script, args, expected] of [
      [catchTerm, ["shutdown", "902"], { code: 0, stdout: "", stderr: "" }],
      [ignoreTerm, ["shutdown", "902", "--timeout", "0"], {
        code: 255,
        stdout: "",
        stderr: "container did not stop\n",
      }],
      [ignoreTerm, ["shutdown", "902", "--timeout", "0", "--forceStop"], { code: 0, stdout: "", stderr: "" }],
      [catchTerm, ["reboot", "902"], { code: 0, stdout: "", stderr: "" }],
      [ignoreTerm, ["stop", "902"], { code: 0, stdout: "", stderr: "" }],
    ] as const
  ) {
    const child = host.command("/usr/sbin/pct", ["exec", "902", "--", "sh", "-c", script], {
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    assertEquals(await pct(host, [...args]), expected, args.join(" "));
    if (expected.code !== 0) await pct(host, ["stop", "902"]);
    await child.status;
    await reader.cancel();
    if ((await pct(host, ["status", "902"])).stdout !== "status: running\n") await pct(host, ["start", "902"]);
  }
  assertEquals(await Deno.readTextFile(`${host.rootfs(902)}/root/said`), "caught\n");
});

test("what the HA manager owns is only asked for", async (host) => {
  await withFault(host, "ha-managed", "901 905", async () => {
    assertEquals(await pct(host, ["stop", "901"]), { code: 0, stdout: "Requesting HA stop for CT 901\n", stderr: "" });
    assertEquals(await pct(host, ["start", "905"]), {
      code: 0,
      stdout: "Requesting HA start for CT 905\n",
      stderr: "",
    });
    assertEquals((await pct(host, ["status", "901"])).stdout, "status: running\n");
  });
});

test("faults: start-fails, latency, hang, freeze, exec-dies", async (host) => {
  await withFault(
    host,
    "start-fails",
    true,
    async () =>
      assertEquals(await pct(host, ["start", "905"]), {
        code: 255,
        stdout: "",
        stderr: "startup for container '905' failed\n",
      }),
  );

  await withFault(host, "latency", 0.2, async () => {
    const start = performance.now();
    assertEquals((await pct(host, ["status", "901"])).code, 0);
    assert(performance.now() - start >= 200);
  });

  await withFault(host, "hang", "status", async () => {
    assertEquals(await inside(host, "echo answers"), "answers");
    const { code } = await host.run("timeout", ["0.1", "/usr/sbin/pct", "status", "901"]);
    assertEquals(code, 124);
  });

  await withFault(host, "freeze", true, async () => {
    const { code } = await host.run("timeout", ["0.1", "/usr/sbin/pct", "exec", "901", "--", "true"]);
    assertEquals(code, 124);
  });

  await withFault(host, "exec-dies", 0.3, async () => {
    assertEquals(await pct(host, ["exec", "901", "--", "sleep", "1000"]), { code: 137, stdout: "", stderr: "" });
    assertEquals((await pct(host, ["status", "901"])).stdout, "status: stopped\n");
  });
  assertEquals((await pct(host, ["start", "901"])).code, 0);
});

test("faults: pmxcfs-down", async (host) => {
  await withFault(host, "pmxcfs-down", 0.1, async () =>
    assertEquals(await pct(host, ["status", "901"]), {
      code: 111,
      stdout: "",
      stderr: [1, 2, 3].map((n) => `ipcc_send_rec[${n}] failed: Connection refused\n`).join("") +
        "Unable to load access control list: Connection refused\n",
    }));
});

test("faults: answers, for ever and a number of times", async (host) => {
  const status = () => pct(host, ["status", "901"]);
  await withFault(host, "answers", "status 0", async () => {
    assertEquals(await status(), { code: 0, stdout: "", stderr: "" });
    assertEquals(await inside(host, "echo others answer"), "others answer");
  });
  const refusal = "lxc-attach: 901: ../src/lxc/attach.c: lxc_attach: 841 Connection refused - Failed to get init pid";
  await withFault(host, "answers", `status 1 2\n${refusal}`, async () => {
    const refused = { code: 1, stdout: "", stderr: `${refusal}\n` };
    assertEquals([await status(), await status()], [refused, refused]);
    assertEquals(await status(), { code: 0, stdout: "status: running\n", stderr: "" });
  });
});

test("faults: exec-noise, exec-cuts-input, exec-forgets-signals", async (host) => {
  await withFault(host, "exec-noise", true, async () => {
    const { code, stdout, stderr } = await pct(host, [
      "exec",
      "901",
      "--",
      "sh",
      "-c",
      "echo out; echo err >&2; exit 3",
    ]);
    assertEquals(code, 3);
    assertMatch(stdout, /^perl: warning: [^]*garbage[^]*out\n$/);
    assertMatch(stderr, /^lxc-attach: [^]*warningerr\n$/);
  });
  await withFault(host, "exec-cuts-input", 70_000, async () => {
    assertEquals(await inside(host, "wc -c", { stdin: "x".repeat(200_000) }), "70000");
    assertEquals(await inside(host, "wc -c", { stdin: "short" }), "5");
  });
  await withFault(host, "exec-forgets-signals", true, async () => {
    assertEquals((await pct(host, ["exec", "901", "--", "sh", "-c", "kill -KILL $$"])).code, 0);
    assertEquals((await pct(host, ["exec", "901", "--", "sh", "-c", "exit 77"])).code, 77);
  });
});

test("faults: snapshot-takes, and what ran goes on afterwards and ends", async (host) => {
  const ticking = host.command("/usr/sbin/pct", ["exec", "901", "--", "sh", "-c", "echo up; read -r _; echo over"], {
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const output = ticking.stdout.pipeThrough(new TextDecoderStream()).getReader();
  assertEquals((await output.read()).value, "up\n");
  await withFault(host, "snapshot-takes", 0.3, async () => {
    const start = performance.now();
    assertEquals((await pct(host, ["snapshot", "901", "slow"])).code, 0);
    assert(performance.now() - start >= 300);
  });
  await ticking.stdin.close();
  assertEquals((await output.read()).value, "over\n");
  assertEquals((await ticking.status).code, 0);
  await output.cancel();
  assertEquals((await pct(host, ["delsnapshot", "901", "slow"])).code, 0);
});

test("faults: ha-acts", async (host) => {
  const is = async (status: string) => (await pct(host, ["status", "905"])).stdout === `status: ${status}\n`;
  await withFault(host, "ha-managed", 905, () =>
    withFault(host, "ha-acts", 0.2, async () => {
      assertEquals((await pct(host, ["start", "905"])).stdout, "Requesting HA start for CT 905\n");
      assert(await is("stopped"));
      await until("it runs", () => is("running"));
      assertEquals((await pct(host, ["stop", "905"])).stdout, "Requesting HA stop for CT 905\n");
      await until("it is stopped", () => is("stopped"));
    }));
});

test("every call is logged, with its arguments as they were", async (host) => {
  await host.forgetPctCalls();
  const odd = ["exec", "901", "--", "echo", "a b", "", "tab\tand\nnewline", "back\\slash\\n", "ü"];
  await Promise.all([pct(host, odd), pct(host, ["status"])]);
  const calls = await host.pctCalls();
  assertEquals(calls.toSorted((a, b) => b.length - a.length), [odd, ["status"]]);
});

test("inside, root is root", async (host) => {
  assertEquals(
    await inside(host, "id -u; uname -n; cat /etc/hostname; pwd; ls -d $HOME/ 2>&1"),
    "0\nPortainer\nPortainer\n/\n/",
  );
  assertEquals(
    await inside(
      host,
      "echo '#!/bin/sh\necho mine' >/usr/local/bin/tool; chmod +x /usr/local/bin/tool; /usr/local/bin/tool; echo x >/usr/bin/new; cat /usr/bin/new",
    ),
    "mine\nx",
  );
  assertMatch(await inside(host, "cat /etc/machine-id"), /^[0-9a-f]{32}$/);
  assertEquals(await inside(host, "echo | awk '{print \"alternatives\"}'"), "alternatives");
});

test("inside, there are other users as well", async (host) => {
  assertEquals(
    await inside(
      host,
      "touch /tmp/f; chown 1000:33 /tmp/f; stat -c %u:%G /tmp/f; setpriv --reuid=1000 --clear-groups id -u; su nobody -s /bin/sh -c 'id -un'",
    ),
    "1000:www-data\n1000\nnobody",
  );
}, true);

// Each is tried by the container's root, and fails.
const forbidden: Record<string, string> = {
  "make a device node": "mknod /tmp/disk b 254 0",
  "write a sysctl": "echo 1 >/proc/sys/vm/overcommit_memory",
  "press SysRq": "echo h >/proc/sysrq-trigger",
  "make /proc writable": "mount -o remount,rw /proc || mount -o remount,bind,rw /proc",
  "make the stand-ins writable": "mount -o remount,bind,rw /usr/lib/simulated",
  "uncover what is below a mount": "umount -l /proc || umount -l /usr/local || umount -l /usr",
  "write to the Deno binary": "true >>/usr/lib/simulated/deno",
  "write to the stand-ins": "true >>/usr/lib/simulated/pct",
  "write to the common /dev": "touch /dev/new",
  "set the clock": "date -s 2030-01-01",
  "reach the internet": "ip route get 192.0.2.1 && ping -c 1 -W 1 192.0.2.1",
  "take a device away": "ip link del eth0",
  "see the project": `ls ${import.meta.dirname}`,
  "see the host's files": "ls /etc/pve /run/simulated /usr/local/phoenix_hypervisor",
  "kill the host": "kill -KILL -1 && false",
};
test("inside, nothing of the machine can be harmed or seen", async (host) => {
  for (const [deed, script] of Object.entries(forbidden)) {
    const { code } = await pct(host, ["exec", "901", "--", "sh", "-c", script]);
    assertNotEquals(code, 0, `901 could ${deed}`);
  }
  // Of the processes, only its own: init, its sleep, and this shell with its children.
  const commands = await inside(host, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
  assert(!commands.includes("host-init") && !commands.includes(Deno.execPath().split("/").at(-1)! + " test"), commands);
  assertEquals((await pct(host, ["status", "901"])).stdout, "status: running\n");
});

test("a container has ports of its own, reachable from the host at its address", async (host) => {
  const serve = (name: string) =>
    `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 443, Listen => 5, ReuseAddr => 1) or die $!; print "up\\n"; ` +
    `close STDOUT; while ($c = $s->accept) { print $c "${name}\\n"; close $c }'`;
  const read = (address: string) =>
    `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new("${address}:443") or exit 1; print <$s>'`;
  const servers = await Promise.all([["901", "one"], ["902", "two"]].map(async ([ctid, name]) => {
    const child = host.command("/usr/sbin/pct", ["exec", ctid!, "--", "sh", "-c", serve(name!)], { stdout: "piped" })
      .spawn();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assertEquals((await reader.read()).value, "up\n");
    return { child, reader };
  }));
  assertEquals((await host.run("sh", ["-c", read("10.0.0.99")])).stdout, "one\n");
  assertEquals((await host.run("sh", ["-c", read("10.0.0.110")])).stdout, "two\n");
  assertEquals(await inside(host, read("localhost")), "one");
  assertEquals(await inside(host, read("10.0.0.110")), "two");
  // Not from the machine.
  await assertRejects(() => Deno.lstat("/run/simulated"), Deno.errors.NotFound);
  for (const ctid of ["901", "902"]) await pct(host, ["reboot", ctid]);
  for (const { child, reader } of servers) {
    await reader.cancel();
    await child.status;
  }
});

test("a container can be added to a host that runs", async (host) => {
  await host.addContainer({ ctid: 910, hostname: "late", ip: "10.0.0.120" });
  assertEquals((await pct(host, ["exec", "910", "--", "uname", "-n"])).stdout, "late\n");
  assertMatch((await host.run("cat", ["/etc/pve/.vmlist"])).stdout, /"910": \{ "node": "pve"/);
  await pct(host, ["stop", "910"]);
  await host.run("rm", ["/etc/pve/lxc/910.conf"]);
});

test("files last from one run of the host to the next, processes do not", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const one = [{ ctid: 901, hostname: "Portainer" }, { ctid: 902, hostname: "other", running: false }];
    // Who comes at the same time gets the same one.
    const [first, second] = await Promise.all([1, 2].map(() => SimulatedHost.open(directory, { containers: one })));
    await first!.run("sh", [
      "-c",
      "echo 1 >/etc/file; echo 2 >/run/file; echo 3 >/usr/local/phoenix_hypervisor/bin/file",
    ]);
    assertEquals((await second!.run("cat", ["/etc/file", "/run/file"])).stdout, "1\n2\n");
    const pid = await inside(
      first!,
      "echo 4 >/root/file; echo 5 >/usr/bin/of-901; echo 6 >/run/file; sleep 1000 >/dev/null 2>&1 & echo $!",
    );
    // What hangs on the host is ended as well.
    const hanging = first!.command("sh", ["-c", "echo there; exec sleep 1000"], { stdout: "piped" }).spawn();
    const output = hanging.stdout.getReader();
    await output.read();
    await first!.close();
    assertEquals((await hanging.status).signal, "SIGKILL");
    await output.cancel();
    assertEquals((await second!.run("true")).code, 1);

    await using again = await SimulatedHost.open(directory);
    assertEquals((await again.run("cat", ["/etc/file", "/usr/local/phoenix_hypervisor/bin/file"])).stdout, "1\n3\n");
    assertEquals((await again.run("test", ["-e", "/run/file"])).code, 1);
    assertEquals(await inside(again, "cat /root/file /usr/bin/of-901; test -e /run/file || echo none"), "4\n5\nnone");
    assertNotEquals(await inside(again, `cat /proc/${pid}/cmdline 2>/dev/null || true`), "sleep\x001000\x00");
    assertEquals((await pct(again, ["status", "902"])).stdout, "status: stopped\n");
  } finally {
    await SimulatedHost.reset(directory);
  }
  await assertRejects(() => Deno.lstat(directory), Deno.errors.NotFound);
});

test("a temporary host ends with the process that has it", async () => {
  const script = `
    import { SimulatedHost } from ${JSON.stringify(import.meta.resolve("./simulated_host.ts"))};
    const host = await SimulatedHost.temporary({ containers: [] });
    const { stdout } = await host.run("sh", ["-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]);
    console.log(host.stateDirectory + " " + stdout);
    Deno.kill(Deno.pid, "SIGKILL");`;
  const map = new URL("../../../lib/std/import_map.json", import.meta.url).pathname;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-lock", "--import-map", map, `data:application/typescript,${encodeURIComponent(script)}`],
  }).output();
  const [said, directory, pid] = /^(\/\S+) (\d+)\n/.exec(new TextDecoder().decode(stdout)) ?? [];
  assert(said !== undefined, new TextDecoder().decode(stderr));
  await until("what ran on it has ended", async () => {
    const { code } = await new Deno.Command("kill", { args: ["-0", pid!], stderr: "null" }).output();
    return code !== 0;
  });
  await SimulatedHost.reset(directory!);
});

testWith(["read", "write", "run", "env"], "where there can be no host, the reason is said", async () => {
  if (missing !== undefined) {
    const error = await assertRejects(() => SimulatedHost.temporary({ containers: [] }), Error);
    assertStringIncludes(error.message, missing.slice(0, 20));
  } else {
    assertStringIncludes(await whatIsMissing("/proc/none") ?? "", "/proc/none is not writable");
    await assertRejects(() => SimulatedHost.open("/proc/none"), Error);
  }
});

/** Holds a lock file of the host for as long as its scope. */
async function holding(host: SimulatedHost, lock: string): Promise<AsyncDisposable> {
  const holder = host.command("flock", [lock, "sh", "-c", "echo held; read -r _"], { stdin: "piped", stdout: "piped" })
    .spawn();
  const reader = holder.stdout.getReader();
  await reader.read();
  return {
    async [Symbol.asyncDispose]() {
      await holder.stdin.close();
      await Promise.all([reader.cancel(), holder.status]);
    },
  };
}

/** Has the configuration of a container locked meanwhile. */
async function withLock(host: SimulatedHost, ctid: number, lock: string, body: () => Promise<void>): Promise<void> {
  const conf = await Deno.readTextFile(host.conf(ctid));
  await Deno.writeTextFile(host.conf(ctid), `lock: ${lock}\n${conf}`);
  try {
    await body();
  } finally {
    await Deno.writeTextFile(host.conf(ctid), conf);
  }
}

/** A file on the host for as long as its scope. */
async function onHost(host: SimulatedHost, path: string, content: string): Promise<AsyncDisposable & { path: string }> {
  await host.run("sh", ["-c", 'cat >"$0"', path], { stdin: content });
  return { path, [Symbol.asyncDispose]: async () => void await host.run("rm", [path]) };
}
