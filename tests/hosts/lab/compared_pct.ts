/**
 * The calls of `pct` that both hosts are asked, and what their answers may differ in.
 *
 * @module
 */

import type { ProxmoxHost, Result, RunOptions } from "../host.ts";

/** What a driver does: `pct` by its full path, in an environment of its own. */
const minimal: RunOptions = { clearEnv: true, env: { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8" }, cwd: "/" };

/** Runs `pct` as a driver does. */
export function pct(host: ProxmoxHost, args: readonly string[], options: RunOptions = {}): Promise<Result> {
  return host.run("/usr/sbin/pct", args, { ...minimal, ...options });
}

const sh = (host: ProxmoxHost, script: string, options?: RunOptions) =>
  pct(host, ["exec", "901", "--", "sh", "-c", script], options);

/** An answer without what differs from call to call and from host to host by its nature. */
export function comparable(result: Result): Result {
  const plain = (text: string) =>
    text.replace(/^pid: \d+$/m, "pid: N").replace(/\.c: (\w+): \d+ /g, ".c: $1: N ").replace(
      / line \d+\.$/m,
      " line N.",
    )
      .replace(/((?:missing command|running VM) at) \S+/, "$1 PROGRAM").replace(/(-T switch at) \S+/, "$1 PROGRAM")
      .replace(/\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/g, "TIME");
  return { code: result.code, stdout: plain(result.stdout), stderr: plain(result.stderr) };
}

/** Calls that stand for themselves. */
export const CALLS: readonly (readonly string[])[] = [
  [],
  ["frob"],
  ["list"],
  ["config", "901"],
  ...["901", "905", "999"].map((id) => ["status", id]),
  ["status", "901", "--verbose"],
  ["status", "905", "--verbose", "1"],
  ["status", "--verbose", "0", "901"],
  ["status", "--", "901"],
  ["status"],
  ["status", "901", "902"],
  ...["99", "abc", "0901", "1234567890", "-1", "+901", " 901", "٩٠١", "901\n", ""].map((id) => ["status", id]),
  ["status", "901", "--wrong"],
  ["status", "901", "-w", "--wrong=1"],
  ["--verbose", "status"],
  ["list", "901"],
  ...["stat", "st", "statuses"].map((verb) => [verb, "901"]),
  ...["config", "listsnapshot", "exec", "start", "stop", "shutdown", "reboot", "unlock"].map((verb) => [verb, "999"]),
  ...["snapshot", "delsnapshot", "rollback"].map((verb) => [verb, "999", "name"]),
  ["set", "999", "--hostname", "x"],
  ["set", "901"],
  ["set", "901", "--hostname", "a_b"],
  ["unlock", "901"],
  ["exec", "999", "--", "true"],
  ["exec", "905", "--", "true"],
  ["exec", "901"],
  ["exec", "901", "--"],
  ["exec", "901", "true", "x"],
  ["exec", "901", "ls", "-la"],
  ["exec", "901", "echo", "a", "--", "--", "-b"],
  ["exec", "901", "--keep-env", "maybe", "--", "true"],
  ["exec", "901", "--keep-env", "--", "true"],
  ["exec", "901", "--keep-env=0", "--", "sh", "-c", "echo $LC_ALL"],
  ["exec", "901", "--", "printf", "<%s>", "", "a b", "it's", '"', "$HOME", "*", "\\", "one\ntwo", "--", "-n", "ünï"],
  ...[0, 1, 2, 64, 125, 126, 127, 128, 137, 254, 255].map((code) => ["exec", "901", "--", "sh", "-c", `exit ${code}`]),
  ...["HUP", "INT", "QUIT", "PIPE", "SEGV", "TERM", "KILL", "USR1"].map((signal) => [
    ...["exec", "901", "--", "sh", "-c", `kill -${signal} $$`],
  ]),
  ["exec", "901", "--", "no-such"],
  ["exec", "901", "--", "/no/such"],
  ["exec", "901", "--", "/etc/passwd"],
  ["exec", "901", "--", "/etc"],
  ["exec", "901", "--", "etc"],
  ["exec", "901", "--", ""],
  ["exec", "901", "--", "sh", "-c", "echo out; echo err >&2; exit 3"],
  ["exec", "901", "--", "sh", "-c", "echo ${#1} $#", "sh", "x".repeat(100_000)],
  ["exec", "901", "--", "sh", "-c", "echo $#", "sh", ...Array.from({ length: 5_000 }, (_, n) => String(n))],
  ["push", "901", "/etc/passwd"],
  ["push", "905", "/etc/passwd", "/tmp/x"],
  ["push", "999", "/etc/passwd", "/tmp/x"],
  ["push", "901", "/no/such", "/tmp/x"],
  ["push", "901", "/etc", "/tmp/x"],
  ["push", "901", "/etc/passwd", "/no/such/x"],
  ["push", "901", "/etc/passwd", "/etc"],
  ["push", "901", "/etc/passwd", "/etc/passwd/x"],
  ["push", "901", "/etc/passwd", "/proc/version"],
  ["push", "901", "/etc/passwd", "relative"],
  ["push", "901", "/etc/passwd", "/tmp/x", "--perms", "rw"],
  ["push", "901", "/etc/passwd", "/tmp/x", "--perms", "99"],
  ["push", "901", "/etc/passwd", "/tmp/x", "--user", "nobody-knows"],
  ["push", "901", "/etc/passwd", "/tmp/x", "--group", "nobody-knows"],
  ["push", "901", "/etc/passwd", "/tmp/x", "--user"],
  ["pull", "901", "/no/such", "/tmp/pulled"],
  ["pull", "901", "/etc", "/tmp/pulled"],
  ["pull", "901", "/etc/passwd", "/no/such/x"],
  ["pull", "905", "/etc/passwd", "/tmp/pulled"],
  ["start", "901"],
  ["stop", "905"],
  ["shutdown", "905"],
  ["reboot", "905"],
  ["shutdown", "905", "--timeout", "x"],
  ["snapshot", "create", "901", "name"],
  ...["current", "vzdump", "1st", "x", "x".repeat(41), "ok-1", "ok-1"].map((name) => ["snapshot", "901", name]),
  ["snapshot", "901", "second_2", "--description", "of two\nlines"],
  ["listsnapshot", "901"],
  ["config", "901"],
  ["delsnapshot", "901", "ok-1"],
  ["listsnapshot", "901"],
  ["delsnapshot", "901", "second_2"],
  ["delsnapshot", "901", "none"],
  ["rollback", "901", "none"],
  ["listsnapshot", "901"],
];

/** What takes more than one call: each gives what is to be the same on both. */
export const CASES: Readonly<Record<string, (host: ProxmoxHost) => Promise<unknown>>> = {
  "the environment is kept": async (host) => {
    const env = { ...minimal.env!, TERM: "xterm", SECRET: "leaked", PWD: "/nowhere", HOME: "/home/x", container: "no" };
    const { stdout } = await pct(host, ["exec", "901", "--", "env"], { env });
    return stdout.split("\n").toSorted();
  },
  "the environment is not kept": async (host) => {
    const { stdout } = await pct(host, ["exec", "901", "--keep-env", "0", "--", "env"], {
      env: { ...minimal.env!, A: "b" },
    });
    return stdout.split("\n").toSorted();
  },
  "the environment of a shell": async (host) => (await sh(host, "env | sort")).stdout,
  "working directory": async (host) => {
    const all = [];
    for (const cwd of ["/", "/usr/bin", "/etc/pve", "/tmp", "/root", "/usr/local/phoenix_hypervisor"]) {
      all.push((await pct(host, ["exec", "901", "--", "pwd"], { cwd })).stdout);
    }
    return all;
  },
  "who one is": (host) => sh(host, "id; umask; uname -n; cat /proc/1/loginuid 2>/dev/null"),
  "signals that are ignored or blocked": (host) => sh(host, "grep -E 'Sig(Ign|Blk)' /proc/self/status"),
  "open files": (host) => pct(host, ["exec", "901", "--", "ls", "/proc/self/fd"]),
  "is it a terminal": (host) => sh(host, "for n in 0 1 2; do [ -t $n ] && echo $n is one; done; true"),
  "process group and session are those of nobody inside": (host) =>
    sh(host, "read -r stat </proc/$$/stat; set -- ${stat##*) }; echo parent $2 group $3 session $4"),
  "limits": (host) => sh(host, "ulimit -Sn; ulimit -c; ulimit -u >/dev/null && nice"),
  "stdin that is nothing": (host) => sh(host, "cat; echo end"),
  "stdin that is text": (host) => sh(host, "cat; echo end", { stdin: "a\nb" }),
  "stdin that nobody reads": (host) => sh(host, "echo end", { stdin: "x".repeat(1_000_000) }),
  "the pipes that one is given, opened anew": (host) =>
    sh(
      host,
      "(: </dev/stdin) && echo stdin; (: >>/dev/stdout) && echo stdout; (: >>/dev/stderr) && echo stderr; true",
      {
        stdin: "x",
      },
    ),
  "a pipe of one's own, opened anew": (host) =>
    sh(host, "echo text | cat /dev/stdin; (echo x >/dev/stderr) 2>&1 | cat"),
  "the locale of C": async (host) => {
    const all = [];
    for (const LC_ALL of ["C", "POSIX", "", "C.UTF-8"]) {
      all.push(await pct(host, ["exec", "901", "--", "echo", "é日"], { env: { PATH: "/bin", LC_ALL } }));
    }
    return all;
  },
  "bytes that are no text": async (host) => {
    const bytes = new Uint8Array(70_000).map((_, i) => i % 256);
    return await sh(host, "tee /tmp/bytes | sha256sum; stat -c %s /tmp/bytes", { stdin: bytes });
  },
  "taint mode": async (host) => {
    const all = [];
    for (const name of ["BASH_ENV", "ENV", "CDPATH", "IFS"]) {
      for (const args of [["exec", "901", "--", "true"], ["status", "901"]]) {
        all.push(comparable(await pct(host, args, { env: { ...minimal.env!, [name]: "/dev/null" } })));
      }
    }
    return all;
  },
  "a background child that holds the pipe, and one that does not": async (host) => {
    const ends = async (script: string) => {
      const child = host.command("/usr/sbin/pct", ["exec", "901", "--", "sh", "-c", script], {
        ...(({ stdin: _, ...others }) => others)(minimal),
        ...{ stdin: "null", stdout: "piped", stderr: "null" },
      }).spawn();
      const all = new Response(child.stdout).text();
      const { code } = await child.status;
      const pending = await Promise.race([
        all.then(() => false),
        new Promise((resolve) => setTimeout(resolve, 300, true)),
      ]);
      await sh(host, "kill $(cat /tmp/background)");
      return { code, pending, stdout: await all };
    };
    return [
      await ends("sleep 100 & echo $! >/tmp/background; echo leader ends; exit 4"),
      await ends("sleep 100 >/dev/null 2>&1 & echo $! >/tmp/background; echo leader ends; exit 4"),
    ];
  },
  "pct that is killed leaves the command running": async (host) => {
    const all = [];
    for (const signal of ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"] as const) {
      const child = host.command("/usr/sbin/pct", [
        "exec",
        "901",
        "--",
        "sh",
        "-c",
        "echo $$ >/tmp/pid; exec sleep 100",
      ], {
        ...(({ stdin: _, ...others }) => others)(minimal),
        ...{ stdin: "null", stdout: "null", stderr: "null" },
      }).spawn();
      await sh(host, "until [ -s /tmp/pid ]; do sleep 0.02; done");
      child.kill(signal);
      const status = child.status;
      const ended = await Promise.race([status, new Promise<null>((resolve) => setTimeout(resolve, 5_000, null))]);
      const { stdout } = await sh(host, "kill -0 $(cat /tmp/pid) && echo alive; kill -9 $(cat /tmp/pid); rm /tmp/pid");
      await status;
      all.push({ signal, ended, stdout });
    }
    return all;
  },
  "push: content, mode, owner": async (host) => {
    const all = [];
    await sh(host, "cd /root && echo old >kept && chmod 640 kept && chown 4:4 kept && ln -s kept link");
    for (
      const [target, ...options] of [
        ["/root/new"],
        ["/root/kept"],
        ["/root/link"],
        ["/root/modes", "--perms", "0640"],
        ["/root/special", "--perms", "4755"],
        ["/root/owned", "--user", "1", "--group", "33"],
        ["/root/named", "--user", "daemon", "--group", "daemon"],
        ["/root/a b;$(id)"],
        ["/root/späße"],
      ]
    ) {
      all.push(await pct(host, ["push", "901", "/usr/sbin/pct", target!, ...options]));
      all.push(await pct(host, ["exec", "901", "--", "stat", "-c", "%n %F %a %u %g", target!]));
    }
    const { stdout } = await sh(
      host,
      "cd /root; sha256sum new kept modes | cut -c -64 | uniq | wc -l; cat /tmp/x 2>/dev/null | wc -c",
    );
    return [...all, stdout];
  },
  "pull: content, mode, owner": async (host) => {
    await sh(host, "echo content >/root/pulled; chmod 600 /root/pulled; chown 33 /root/pulled");
    const all = [];
    for (const options of [[], ["--perms", "0600"], ["--user", "1", "--group", "2"]]) {
      all.push(await pct(host, ["pull", "901", "/root/pulled", "/tmp/pulled", ...options]));
      all.push(await host.run("sh", ["-c", "stat -c '%a %u %g %s' /tmp/pulled; rm /tmp/pulled"]));
    }
    all.push(await pct(host, ["pull", "901", "/no/such", "/tmp/pulled"]));
    all.push(await host.run("sh", ["-c", "stat -c '%a %u %g %s' /tmp/pulled; rm /tmp/pulled"]));
    return all;
  },
  "a lock of the file, and one of the configuration": async (host) => {
    await host.setFault("lock-wait", 0.2);
    const lock = host.command("flock", ["/run/lock/lxc/pve-config-901.lock", "sleep", "100"], { stdin: "null" })
      .spawn();
    const all = [];
    let busy: Result;
    do busy = await pct(host, ["push", "901", "/etc/passwd", "/tmp/x"]); while (busy.code === 0);
    all.push(busy, await pct(host, ["exec", "901", "--", "true"]));
    lock.kill("SIGKILL");
    await lock.status;
    await host.run("pkill", ["-f", "^sleep 100$"]);
    await host.setFault("lock-wait", undefined);
    const conf = await Deno.readTextFile(host.conf(901));
    await Deno.writeTextFile(host.conf(901), `lock: backup\n${conf}`);
    for (const verb of ["stop", "start", "shutdown", "reboot", "list", "status"]) {
      all.push(await pct(host, verb === "list" ? [verb] : [verb, "901"]));
    }
    all.push(await pct(host, ["snapshot", "901", "locked"]), await pct(host, ["exec", "901", "--", "true"]));
    await Deno.writeTextFile(host.conf(901), conf);
    all.push(await pct(host, ["start", "901"])); // the reboot has ended it
    return all;
  },
  "stop, start, shutdown, reboot": async (host) => {
    const all = [];
    for (const verb of ["stop", "start", "shutdown", "start", "reboot", "stop", "stop", "start", "start"]) {
      all.push([verb, await pct(host, [verb, "901"]), await pct(host, ["status", "901"])]);
    }
    return all;
  },
  "a pipe that nobody reads any more": (host) =>
    sh(host, "set -o pipefail 2>/dev/null; yes | head -n 1; echo $?; kill -PIPE $$; echo lives"),
  "who is not root, and a cluster whose file system is down": async (host) => {
    const nobody = ["--reuid=1000", "--clear-groups", "/usr/sbin/pct"];
    const all = [];
    for (const args of [[], ["status", "901"], ["frob"]]) {
      all.push(await host.run("setpriv", [...nobody, ...args], minimal));
    }
    await host.setFault("pmxcfs-down", 0.1);
    all.push(await pct(host, ["status", "901"]), await pct(host, ["exec", "901", "--", "true"]));
    await host.setFault("pmxcfs-down", undefined);
    return all;
  },
  "what runs, the HA manager, the file's lock and the configuration's are looked at in this order": async (host) => {
    const lock = "/run/lock/lxc/pve-config-901.lock";
    const conf = await Deno.readTextFile(host.conf(901));
    await Deno.writeTextFile(host.conf(901), `lock: backup\n${conf}`);
    await host.setFault("lock-wait", 0.2);
    await host.setFault("ha-managed", "901 905");
    const all = [];
    for (const verb of ["start", "stop", "shutdown"]) {
      for (const id of ["901", "905"]) all.push(await pct(host, [verb, id]));
    }
    await host.setFault("ha-managed", undefined);
    const holder = await holding(host, lock);
    for (const verb of ["start", "stop", "shutdown", "reboot", "unlock"]) all.push(await pct(host, [verb, "901"]));
    for (const verb of ["snapshot", "delsnapshot", "rollback"]) all.push(await pct(host, [verb, "901", "name"]));
    all.push(await pct(host, ["set", "901", "--hostname", "x"]));
    await holder();
    all.push(await pct(host, ["set", "901", "--hostname", "x"]), await pct(host, ["unlock", "901"]));
    await Deno.writeTextFile(host.conf(901), `lock: mounted\n${conf}`);
    for (const verb of ["stop", "start", "reboot", "shutdown"]) all.push(await pct(host, [verb, "901"]));
    await Deno.writeTextFile(host.conf(901), conf);
    await host.setFault("lock-wait", undefined);
    return all;
  },
  "pct that is killed leaves its worker at work": async (host) => {
    await sh(host, "(trap '' TERM; exec sleep 3) >/dev/null 2>&1 &"); // so that it takes a while
    const child = host.command("/usr/sbin/pct", ["shutdown", "901"], { stdin: "null" }).spawn();
    const isLocked = async () =>
      (await host.run("flock", ["-n", "/run/lock/lxc/pve-config-901.lock", "true"])).code === 1;
    while (!await isLocked());
    child.kill("SIGKILL");
    await child.status;
    const before = await pct(host, ["status", "901"]);
    while (await isLocked());
    return [before, await pct(host, ["status", "901"]), await pct(host, ["start", "901"])];
  },
  "a snapshot that was cut off": async (host) => {
    const conf = await Deno.readTextFile(host.conf(901));
    const keys = conf.split("\n[")[0]!.replaceAll(/^(#|parent:).*\n/gm, "").trim();
    await Deno.writeTextFile(
      host.conf(901),
      `lock: snapshot\n${keys}\n\n[cut]\n${keys}\nsnapstate: prepare\nsnaptime: 1\n`,
    );
    const all = [];
    for (
      const args of [
        ["listsnapshot", "901"],
        ["delsnapshot", "901", "cut", "--force"],
        ["rollback", "901", "cut"],
        ["snapshot", "901", "cut"],
        ["unlock", "901"],
        ["snapshot", "901", "cut"],
        ["rollback", "901", "cut"],
        ["delsnapshot", "901", "cut", "--force"],
        ["listsnapshot", "901"],
        ["config", "901"],
      ]
    ) all.push(comparable(await pct(host, args)));
    await Deno.writeTextFile(host.conf(901), conf);
    return all;
  },
  "a new name and a description": async (host) => {
    const conf = await Deno.readTextFile(host.conf(901));
    const all = [await pct(host, ["set", "901", "--hostname", "Renamed", "--description", "50% of: ä\nsecond"])];
    const written = await Deno.readTextFile(host.conf(901));
    all.push(await pct(host, ["config", "901"]), await sh(host, "uname -n"));
    all.push(await pct(host, ["reboot", "901"]), await sh(host, "uname -n"));
    await Deno.writeTextFile(host.conf(901), conf);
    await pct(host, ["reboot", "901"]);
    return [written.split("\n").filter((line) => /^(#|hostname)/.test(line)), ...all];
  },
  "the container ends while a command runs": async (host) => {
    const running = sh(host, "echo begun; touch /tmp/begun; exec sleep 100");
    await sh(host, "until [ -e /tmp/begun ]; do sleep 0.02; done; rm /tmp/begun");
    const stopped = await pct(host, ["stop", "901"]);
    const ended = await running;
    await pct(host, ["start", "901"]);
    return [stopped, ended];
  },
  "rollback": async (host) => {
    const all = [];
    await sh(host, "echo before >/root/state; touch /root/removed");
    all.push(await pct(host, ["snapshot", "901", "here", "--description", "before"]));
    await sh(host, "echo after >/root/state; touch /root/added; rm /root/removed");
    all.push(await pct(host, ["rollback", "901", "here"]), await pct(host, ["status", "901"]));
    all.push(await pct(host, ["start", "901"]));
    all.push(await sh(host, "cat /root/state; ls /root/added /root/removed 2>/dev/null"));
    all.push(comparable(await pct(host, ["listsnapshot", "901"])));
    return all;
  },
};

/** Holds a lock file of the host, until what it gives is called. */
async function holding(host: ProxmoxHost, lock: string): Promise<() => Promise<void>> {
  const holder = host.command("flock", [lock, "sh", "-c", "echo held; read -r _"], { stdin: "piped", stdout: "piped" })
    .spawn();
  const reader = holder.stdout.getReader();
  await reader.read();
  return async () => {
    await holder.stdin.close();
    await Promise.all([reader.cancel(), holder.status]);
  };
}
