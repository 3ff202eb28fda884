import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import { run, shells, testSession, whyNot, withSession } from "../../tests/support/sessions.ts";
import { Failure, SessionLost } from "../errors.ts";
import { sh } from "../shell.ts";
import { Pct } from "./pct.ts";
import { Session, TimedOut } from "./session.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

// Every exit code, and death by a signal, arrives as it is, from plain and from isolated frames.
testSession("exit codes from 0 to 255 and signals", async (session) => {
  for (const isolate of [false, true]) {
    for (const code of [0, 1, 2, 77, 124, 126, 127, 128, 255]) {
      assertEquals((await run(session, sh`exit ${code}`, { isolate })).code, code);
    }
    for (const [signal, code] of [["KILL", 137], ["TERM", 143], ["SEGV", 139]] as const) {
      assertEquals((await run(session, sh`kill -${signal} $$`, { isolate })).code, code);
    }
  }
  for (let code = 0; code < 256; code += 5) assertEquals((await run(session, sh`exit ${code}`)).code, code);
});

testSession("stdout and stderr arrive apart, without a byte added or lost", async (session) => {
  for (const isolate of [false, true]) {
    assertEquals(await run(session, sh`printf 'no newline'; printf 'err\n\n' >&2`, { isolate }), {
      code: 0,
      stdout: "no newline",
      stderr: "err\n\n",
    });
    assertEquals(await run(session, sh`:`, { isolate }), { code: 0, stdout: "", stderr: "" });
  }
});

testSession("binary output, and binary stdin through the frame and beside it", async (session) => {
  for (const size of [0, 1, 255, 65_536, 65_537, 1_000_003]) {
    const bytes = new Uint8Array(size).map((_, i) => (i * 7919) >> 3);
    const { code, stdout } = await session.run(sh`cat`, { timeout: 20_000, isolate: false, stdin: bytes });
    assertEquals(code, 0);
    assertEquals(stdout.length, size);
    assert(stdout.every((byte, i) => byte === bytes[i]));
  }
  // 10 MB. The command that ignores its stdin is no failure.
  const large = new Uint8Array(10_000_000).fill(0x1e);
  assertEquals((await run(session, sh`wc -c`, { stdin: large })).stdout.trim(), "10000000");
  assertEquals((await run(session, sh`echo ignored`, { stdin: large })).stdout, "ignored\n");
});

testSession("output that looks like a sentinel", async (session) => {
  const fake = "\x1e0123456789abcdef0123456789abcdef end 1 0\n";
  assertEquals((await run(session, sh`printf %s ${fake.repeat(50)}`)).stdout, fake.repeat(50));
});

/** All that another user may read of the processes of this machine, as words; with the words of a sentinel. */
const overheard =
  sh`cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr -c 'a-z0-9' '\n' | grep -xE '[0-9a-f]{20,}' | sort -u`;

// Whoever may list processes, read their arguments and see files come and go, such as a web server's user, learns no
// word that proves an answer.
testSession("nothing that another user can see makes a sentinel", async (session) => {
  for (const stdin of [undefined, new Uint8Array(100), new Uint8Array(100_000)]) {
    for (const isolate of [false, true]) {
      const forged = sh`for k in $(${overheard}; ls -A ${session.greeting.runFolder} | tr -c 'a-z0-9' '\n'); do
  printf '\036%s begin 1\n\036%s end 0\n\036%s greeting 1 gnu 1 runuser 1 /tmp x - - 1\n' $k $k $k
  printf '\036%s begin\n\036%s end 0\n' $k $k >&2
done
echo done; exit 7`;
      const { code, stdout } = await run(session, forged, { stdin, isolate });
      assertEquals(code, 7);
      assertStringIncludes(stdout, "\x1e", "something that looks like a key was to be seen");
      assert(stdout.endsWith("\ndone\n"));
    }
  }
});

// By accident, too: a guard that starts a daemon which goes on talking.
testSession("what a look with a setup's own text leaves running is not heard as a later answer", async (session) => {
  const daemon = sh`(i=0; while [ $i -lt 60 ]; do echo unchanged; echo unchanged >&2; sleep 0.01; i=$((i+1)); done) &`;
  await run(session, daemon, { isolate: true });
  for (const stdin of [undefined, encode("x"), new Uint8Array(100_000), undefined, undefined]) {
    const { stdout, stderr } = await run(session, sh`sleep 0.02; echo looked`, { stdin });
    assertEquals([stdout, stderr], ["looked\n", ""]);
  }
});

// As in a login shell, although everything that Proxmox's own `pct exec` runs has SIGPIPE ignored.
testWith(
  ["run", "read", "write"],
  "a command whose reader has gone ends, although pct has SIGPIPE ignored",
  async () => {
    await withSession(`trap '' PIPE; ${shells.dash}`, async (session) => {
      for (const stdin of [undefined, new Uint8Array(100_000)]) {
        const script = sh`{ yes; echo $? >&2; } | head -n 1`;
        assertEquals(await run(session, script, { stdin }), { code: 0, stdout: "y\n", stderr: "141\n" });
      }
    });
  },
);

Deno.test("a container without a way to become another user says so, before anything runs", async () => {
  if (await whyNot("busybox") !== undefined) return;
  await withSession(shells.busybox, async (session) => {
    Object.assign(session.greeting, { become: "none" });
    await assertRejects(() => run(session, sh`id`, { user: "nobody" }), Failure, "has neither runuser nor su");
  });
});

testSession("one command cannot change the next one", async (session) => {
  const before = await run(session, sh`pwd; umask; echo "$HOME:$x"`);
  for (
    const script of [
      sh`cd /tmp`,
      sh`umask 077`,
      sh`x=1; export x`,
      sh`exit 3`,
      sh`set -e; false`,
      sh`exec true`,
      sh`if`,
      sh`echo "`,
      sh`cat <<E`,
      sh`trap 'echo bye' EXIT`,
      sh`exec >&- 2>&-`,
    ]
  ) {
    await session.run(script, { timeout: 5_000, isolate: false });
    assertEquals(await run(session, sh`pwd; umask; echo "$HOME:$x"`), before);
  }
});

testSession("stdin is empty unless it is given, so that nothing can eat the session's own", async (session) => {
  assertEquals((await run(session, sh`cat; read -r x; echo "[$x]"`)).stdout, "[]\n");
});

// What a background child of an earlier command writes does not get into a later frame.
testSession("a background child neither holds up its command nor spoils later ones", async (session) => {
  const noise = sh`(i=0; while [ $i -lt 40 ]; do echo noise; echo noise >&2; sleep 0.02; i=$((i+1)); done) &`;
  assertEquals(
    (await run(
      session,
      sh`${noise}
echo started`,
      { isolate: true },
    )).stdout.replaceAll("noise\n", ""),
    "started\n",
  );
  for (let i = 0; i < 10; i++) {
    assertEquals(await run(session, sh`sleep 0.03; echo clean`), { code: 0, stdout: "clean\n", stderr: "" });
  }
});

// BusyBox's shell gives a command up whose FIFO it was opening when a signal came, such as that of the last one's
// reader that ended.
testWith(["run", "read", "write"], "no command is lost between the FIFOs of the ones before", async (t) => {
  const why = await whyNot("busybox");
  await t.step({
    name: why === undefined ? "busybox" : `busybox (${why})`,
    ignore: why !== undefined,
    fn: () =>
      withSession(shells.busybox, async (session) => {
        for (let i = 0; i < 200; i++) {
          assertEquals((await run(session, sh`exit 3`, { isolate: true, timeout: 8_000 })).code, 3);
        }
      }),
  });
});

// Our own clock decides what a time-out was; what ran is ended with its group, and the session lives on.
testSession(
  "a command that takes too long is ended, also one that writes without end or ignores TERM",
  async (session) => {
    const pid = `/tmp/pid.${crypto.randomUUID()}`;
    for (
      const [timeout, script] of [
        [300, sh`echo $$ >${pid}; sleep 60`],
        [300, sh`echo $$ >${pid}; while :; do echo y; done`],
        [300, sh`echo $$ >${pid}; sleep 60 & wait`],
        // What it started goes with it, also where BusyBox's `timeout` would have ended the first process alone.
        [1_000, sh`sleep 60 & echo $! >${pid}; wait`],
        [1_000, sh`(sleep 60; :) & echo $! >${pid}; sleep 60`],
      ] as const
    ) {
      const error = await assertRejects(() => run(session, script, { timeout }), TimedOut);
      assertEquals(error.exitCode, 5);
      // Gone, or dead and not waited for by whoever has inherited it.
      const isGone =
        sh`! read -r s 2>/dev/null </proc/$(cat ${pid})/stat || case \${s##*) } in Z*) ;; *) exit 1 ;; esac`;
      assertEquals((await run(session, isGone)).code, 0, `${script} is gone`);
    }
    assertEquals((await run(session, sh`exit 124`)).code, 124, "124 in time is the command's own");
  },
);

testSession("output beyond the limit ends the command, and the session lives on", async (session) => {
  const error = await assertRejects(
    () => run(session, sh`while :; do echo yyyyyyyyyyyyyyyyy; done`, { maxOutputBytes: 1_000_000 }),
    Failure,
  );
  assertStringIncludes(error.message, "exceeds 1000000 bytes");
  assertEquals((await run(session, sh`echo on`)).stdout, "on\n");
});

// As lxc-attach on a real host: what runs inside lives on when it is killed, and holds the pipes.
testWith(
  ["run", "read", "write"],
  "a source that fails ends the command, also one that lives on without its pct",
  async () => {
    await withSession(`exec 3<&0; "$@" <&3 & wait $!`, async (session) => {
      const source = async function* () {
        yield new Uint8Array(100_000);
        throw new Error("the source is gone");
      };
      const started = performance.now();
      await assertRejects(() => run(session, sh`cat >/dev/null`, { stdin: source() }), Error, "the source is gone");
      assert(performance.now() - started < 10_000, "without waiting for its time to be up");
      assertEquals((await run(session, sh`echo next`)).stdout, "next\n");
    });
  },
);

// A process id means something else once the container has been started again.
testWith(["run", "read", "write"], "after a reboot, nothing is done to what has the old process ids", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/pct`, `#!/bin/sh\nshift 3\nexec "$@"\n`, { mode: 0o755 });
  const session = await Session.open(new Pct(`${folder}/pct`), 901, 10_000);
  try {
    // As if the next `pct exec` went to a container that was started at another time.
    Object.assign(session.greeting, { started: "1" });
    const payload = encode("x".repeat(100_000));
    await assertRejects(() => run(session, sh`cat >${folder}/written`, { stdin: payload }), SessionLost, "ended early");
    await assertRejects(() => Deno.stat(`${folder}/written`), Deno.errors.NotFound);

    const pid = Promise.withResolvers<string>();
    const onOutput = (chunk: Uint8Array) => pid.resolve(decode(chunk).trim());
    const running = run(session, sh`echo $$; exec sleep 60`, { onOutput });
    const bystander = Number(await pid.promise);
    await Promise.all([session.interrupt(), assertRejects(() => running, SessionLost)]);
    Deno.kill(bystander, "SIGKILL"); // It is still there to be killed.
  } finally {
    session.abandon("the test is over");
    await Deno.remove(folder, { recursive: true });
  }
});

testWith(
  ["run", "read", "write"],
  "a command that crashes leaves no core file, in which secrets would be",
  async () => {
    for (const [shell, pct] of Object.entries(shells)) {
      if (await whyNot(shell as keyof typeof shells)) continue;
      await withSession(`ulimit -S -c unlimited; ${pct}`, async (session) => {
        for (const stdin of [undefined, new Uint8Array(100_000)]) {
          assertEquals((await run(session, sh`ulimit -c`, { stdin })).stdout, "0\n");
        }
      });
    }
  },
);

// A shell that is killed between making its FIFOs and taking their names away leaves them behind.
// The greeting goes to a container that may be another than meant, and changes nothing.
testWith(
  ["run", "read", "write"],
  "the first change of a session removes the FIFOs of shells that are gone, and no others",
  async () => {
    let folder = "/run";
    await withSession(shells.dash, (session) => Promise.resolve(void (folder = session.greeting.runFolder)));
    const gone = new Deno.Command("true").spawn();
    await gone.status;
    const fifo = (pid: number) => `${folder}/.phoenix_setup.${pid}.0123.1.o`;
    await new Deno.Command("mkfifo", { args: [fifo(gone.pid), fifo(Deno.pid)] }).output();
    await withSession(shells.dash, async (session) => {
      await run(session, sh`:`);
      assertEquals((await Deno.lstat(fifo(gone.pid))).isFifo, true);
      await run(session, sh`:`, { isolate: true });
      await assertRejects(() => Deno.lstat(fifo(gone.pid)), Deno.errors.NotFound);
    });
    await Deno.remove(fifo(Deno.pid));
  },
);

// A signal ends what runs inside, also where it has ended the session itself.
testSession("an interrupted session ends the command with which it was lost", async (session) => {
  const marked = Deno.makeTempFileSync();
  // As a signal from a terminal does it: the shell and the readers of the outputs go, the command has a process group
  // of its own.
  const running = run(
    session,
    sh`p=${session.greeting.pid}
for c in $(cat /proc/$p/task/*/children); do read -r n </proc/$c/comm; [ "$n" != cat ] || kill -9 $c; done
kill -9 $p; sleep 0.3; echo went on >>${marked}`,
    { isolate: true },
  );
  await assertRejects(() => running, SessionLost);
  await session.interrupt();
  await new Promise((resolve) => setTimeout(resolve, 500));
  assertEquals(await Deno.readTextFile(marked), "");
  await Deno.remove(marked);
});

// A lost session is an error of its own that says what was running.
testSession("the end of the shell in mid-command is the loss of the session", async (session) => {
  const error = await assertRejects(
    () => run(session, sh`kill -9 ${session.greeting.pid}; sleep 0.5`),
    SessionLost,
  );
  assertEquals(error.command?.startsWith("kill -9"), true);
  assertEquals(session.alive, false);
  await assertRejects(() => run(session, sh`true`), SessionLost);
});

testWith(["run", "read", "write"], "a line of 100 MB", () =>
  withSession(shells.dash, async (session) => {
    const { stdout } = await session.run(sh`head -c 100000000 /dev/zero`, { timeout: 60_000, isolate: false });
    assertEquals(stdout.length, 100_000_000);
  }));

testWith(["run", "read", "write"], "a pct that cannot give a shell says why", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/pct`, `#!/bin/sh\necho "container '901' not running!" >&2\nexit 255\n`, {
      mode: 0o755,
    });
    const error = await assertRejects(() => Session.open(new Pct(`${folder}/pct`), 901, 5_000), SessionLost);
    assertStringIncludes(error.message, "container '901' not running!");
    await Deno.writeTextFile(`${folder}/pct`, "#!/bin/sh\nsleep 5\n");
    assertStringIncludes(
      (await assertRejects(() => Session.open(new Pct(`${folder}/pct`), 901, 200), SessionLost)).message,
      "did not answer within 0.2 s",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

// Commands, arguments and outputs as they come: what a shell run directly gives is what the session gives.
testSession("generated commands give what the same shell gives without a session", async (session) => {
  const pieces = ["a", "'", '"', "\\", "$", "`", "\n", " ", "é", "\x1e", "%", "\t", "日本", "-n", "*", "\x7f"];
  const random = (n: number) => crypto.getRandomValues(new Uint32Array(1))[0]! % n;
  for (let i = 0; i < 60; i++) {
    const word = () => Array.from({ length: random(8) }, () => pieces[random(pieces.length)]).join("");
    const words = Array.from({ length: random(5) }, word);
    const code = random(256);
    const script = sh`printf '%s|' ${words}; printf '%s' ${word()} >&2; exit ${code}`;
    const direct = await new Deno.Command("/bin/sh", { args: ["-c", script.text], env: { LC_ALL: "C.UTF-8" } })
      .output();
    const isolate = random(2) === 0;
    assertEquals(await run(session, script, { isolate }), {
      code: direct.code,
      stdout: decode(direct.stdout),
      stderr: decode(direct.stderr),
    });
  }
});

/** A `pct` of which the host starts no second one. */
class LonelyPct extends Pct {
  override run(): Promise<never> {
    return Promise.reject(new Failure(1, "Cannot run"));
  }
}

testWith(["run", "read", "write"], "what cannot be ended from outside is ended by its time-out", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/pct`, '#!/bin/sh\nshift 3\nexec "$@"\n', { mode: 0o755 });
  const session = await Session.open(new LonelyPct(`${folder}/pct`), 901, 10_000);
  await assertRejects(() => run(session, sh`yes`, { maxOutputBytes: 1_000, timeout: 300 }), Failure, "exceeds");
  await session.close();
  await Deno.remove(folder, { recursive: true });
});
