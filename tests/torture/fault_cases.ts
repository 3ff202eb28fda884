/**
 * What breaks, and how the run has to end.
 *
 * @module
 */

import { brisk, type FaultCase, type FaultHost, hasty, patient, pause } from "./fault_host.ts";
import { onSmallDisk } from "./setups/faults.ts";

const seconds = (n: number) => n * 1000;
const STOPPED = /The session with container 901 was lost/;

/** The faults, one after the other: each leaves the host as the next one wants it. */
export const FAULTS: readonly FaultCase[] = [
  // --- pct status ----------------------------------------------------------------------------------------------------
  { fault: "nothing", code: 0, sample: true },
  { fault: "pct status says nothing and exits with 0", set: { answers: "status 0" }, code: 1, says: /said nothing/ },
  {
    fault: "pct status says something else with exit code 0",
    set: { answers: "status 0\nstatus: unknown" },
    code: 1,
    says: /status: unknown/,
  },
  {
    fault: "pct status is killed before it says anything",
    set: { answers: "status 137" },
    code: 1,
    says: /exit code 137/,
  },
  {
    fault: "pct status says that this is not root",
    set: { answers: "status 255\nplease run as root" },
    code: 1,
    says: /please run as root/,
  },
  {
    fault: "pct status has noise around its answer",
    set: {
      answers: "status 0\nperl: warning: Setting locale failed.\nstatus: running\n\u0000\u001b[31m",
      "locale-noise": true,
    },
    code: 0,
  },
  {
    fault: "pct status never ends",
    set: { hang: "status" },
    args: ["--timeout", "500ms", "901"],
    code: 5,
    bound: 7,
    sample: true,
  },
  {
    fault: "the container is on another node",
    async before(at) {
      await at.pct("stop", "901");
      await Deno.remove(at.host.conf(901));
      await at.host.run("sh", ["-c", "rm -rf /var/lib/lxc/901"]);
      await Deno.writeTextFile(at.outside("/etc/pve/.vmlist"), '{"ids": {"901": {"node": "pve7", "type": "lxc"}}}');
    },
    code: 1,
    says: /it lives on node \\"pve7\\"/,
  },

  // --- pct exec ------------------------------------------------------------------------------------------------------
  { fault: "every pct takes half a second", set: { latency: 0.5 }, code: 0 },
  { fault: "an older pct has no --keep-env", set: { "keep-env-unknown": true }, code: 0 },
  {
    fault: "garbage comes before the shell's greeting",
    set: { "exec-noise": true, "locale-noise": true },
    code: 0,
    sample: true,
  },
  {
    fault: "pct exec never answers",
    set: { hang: "exec" },
    args: ["--timeout", "500ms", "901"],
    code: 5,
    bound: 7,
    sample: true,
  },
  {
    fault: "pct exec is refused twice, as by a container that is being rebooted",
    set: {
      answers:
        "exec 1 2\nlxc-attach: 901: ../src/lxc/attach.c: lxc_attach: 841 Connection refused - Failed to get init pid",
    },
    code: 0,
    says: /Waiting for container 901: .*Failed to get init pid/,
  },
  {
    fault: "pct exec is refused for ever",
    set: { answers: "exec 255\ncontainer '901' not running!" },
    code: 3,
    says: /container '901' not running!/,
    bound: 14,
  },
  {
    fault: "the container is destroyed between status and exec",
    set: { answers: "exec 2\nConfiguration file 'nodes/pve/lxc/901.conf' does not exist" },
    code: 3,
    says: /901.conf' does not exist/,
  },
  {
    fault: "pct dies of its environment",
    set: {
      answers: "exec 255\nInsecure $ENV{ENV} while running with -T switch at /usr/share/perl5/PVE/CLI/pct.pm line 209.",
    },
    code: 3,
    says: /Insecure/,
  },
  {
    fault: "the session's input ends after 3,000 bytes",
    set: { "exec-cuts-input": 3_000 },
    code: 3,
    says: STOPPED,
    sample: true,
  },
  {
    fault: "the input of the transfer ends after 300,000 bytes",
    set: { "exec-cuts-input": 300_000 },
    code: 4,
    says: /bytes arrived whole/,
  },
  {
    fault: "an exec does nothing and exits with 0",
    set: { answers: "exec 0" },
    code: 3,
    says: /ended with exit code 0/,
  },
  {
    fault: "an exec that says nothing comes once the session is open",
    hold: "probe",
    meanwhile: (at) => at.host.setFault("answers", "exec 0"),
    code: 3,
    says: /Cannot tell whether a command took effect/,
  },
  {
    fault: "an LXC that forgets about signals, and the shell inside is killed",
    set: { "exec-forgets-signals": true },
    hold: "apply",
    async meanwhile(at) {
      await at.inside(
        `for p in /proc/[0-9]*; do [ "$(tr '\\0' ' ' <$p/cmdline)" != 'sh -s phoenix_setup_session 1 ' ] || kill -KILL \${p#/proc/}; done 2>/dev/null; :`,
      );
    },
    code: 3,
    says: STOPPED,
  },

  // --- the run is held, and meanwhile --------------------------------------------------------------------------------
  ...(["SIGKILL", "SIGTERM"] as const).flatMap((signal): FaultCase[] => [
    {
      fault: `pct is killed by ${signal} while a step works`,
      hold: "apply",
      meanwhile: (at) => at.kill(signal, /exec\t901\t--\tsh\t-c\tenv /),
      code: 0,
      ...(signal === "SIGKILL" ? { sample: true } : {}),
    },
    {
      fault: `pct is killed by ${signal} in a transfer`,
      hold: "transfer",
      meanwhile: (at) => at.kill(signal, /exec\t901\t--\tenv\t--default-signal=PIPE\tsh\t-c\ts=;/),
      code: 0,
    },
  ]),
  ...(["apply", "transfer"] as const).flatMap((hold): FaultCase[] => [
    {
      fault: `the container is stopped (${hold})`,
      hold,
      meanwhile: async (at) => void await at.pct("stop", "901"),
      code: 3,
      says: hold === "apply"
        ? STOPPED
        : /Cannot tell whether a command took effect|session with container 901 was lost/,
      ...(hold === "transfer" ? { sample: true } : {}),
    },
    {
      fault: `the container is rebooted (${hold})`,
      hold,
      meanwhile: async (at) => void await at.pct("reboot", "901", "--timeout", "1").catch(() => at.pct("stop", "901")),
      code: 3,
    },
  ]),
  {
    fault: "the container is stopped while a step looks",
    hold: "probe",
    meanwhile: async (at) => void await at.pct("stop", "901"),
    code: 3,
    says: /container '901' not running!/,
    bound: 14,
  },
  {
    fault: "the container is restarted while a step looks",
    hold: "probe",
    async meanwhile(at) {
      await at.pct("stop", "901");
      at.later(seconds(1), () => at.pct("start", "901"));
    },
    code: 0,
    says: /Waiting for container 901: .*not running/,
    sample: true,
  },
  {
    fault: "the container has another name than the setup",
    async before(at) {
      await at.inside("hostname mailserver");
      await Deno.writeTextFile(at.outside("/run/phoenix_setup.before"), "");
    },
    code: 3,
    says: /its host name is \\"mailserver\\"/,
    async besides(at) {
      const touched = await at.host.run("find", [
        ...[at.host.rootfs(901), at.host.outside("/usr/local/phoenix_hypervisor"), at.host.outside("/etc/pve")],
        ...["-newer", at.outside("/run/phoenix_setup.before"), "!", "-name", "901.conf"],
      ]);
      await at.inside("hostname Portainer");
      return touched.stdout === "" ? undefined : `touched: ${touched.stdout}`;
    },
    sample: true,
  },
  {
    fault: "the container is replaced by another one while a step looks",
    hold: "probe",
    meanwhile: (at) => at.replace(),
    code: 3,
    says: /replaced by another one in the middle of the run/,
    besides: nothingWritten,
    sample: true,
  },
  {
    fault: "the container is replaced by one of another name while a step works",
    hold: "probe",
    meanwhile: (at) => at.replace("mailserver"),
    code: 3,
    says: /its host name is \\"mailserver\\"/,
    async besides(at) {
      const wrong = await nothingWritten(at);
      await at.replace();
      return wrong;
    },
  },
  ...([["while a step works", "apply"], ["in a transfer", "transfer"]] as const).map(([when, hold]): FaultCase => ({
    fault: `the container is frozen for a snapshot ${when}`,
    set: { "snapshot-takes": 1.5 },
    hold,
    async meanwhile(at) {
      at.later(0, () => at.pct("snapshot", "901", "nightly"));
      await pause(300);
    },
    code: 0,
    besides: async (at) => void await at.pct("delsnapshot", "901", "nightly"),
  })),
  {
    fault: "the container is frozen when the session is opened",
    set: { freeze: true },
    before: (at) => Promise.resolve(at.later(seconds(2), () => at.host.setFault("freeze", undefined))),
    code: 0,
  },

  // --- locks ---------------------------------------------------------------------------------------------------------
  {
    fault: "a backup has locked the container and lets it run",
    before: (at) => at.configure(locked("backup")),
    code: 0,
  },
  {
    fault: "a backup has stopped the container",
    async before(at) {
      await at.pct("stop", "901");
      await at.configure(locked("backup"));
      at.later(seconds(2), () => unlockAndStart(at));
    },
    code: 0,
    says: /which is stopped and locked \(backup\)/,
  },
  {
    fault: "a backup stops the container while a step looks",
    hold: "probe",
    async meanwhile(at) {
      await at.pct("stop", "901");
      await at.configure(locked("backup"));
      at.later(seconds(3), () => unlockAndStart(at));
    },
    code: 0,
    says: /Waiting for container 901, which is locked \(backup\)/,
  },
  {
    fault: "a stale lock is in the way of a snapshot",
    setup: hasty,
    before: (at) => at.configure(locked("snapshot-delete")),
    code: 5,
    says: /CT is locked \(snapshot-delete\)/,
    bound: 20,
  },
  {
    fault: "somebody has the file lock in the way of a snapshot",
    setup: hasty,
    set: { "lock-wait": 0.2 },
    before: (at) => at.holdFileLock(),
    code: 5,
    says: /can't lock file/,
    bound: 20,
  },

  // --- snapshots -----------------------------------------------------------------------------------------------------
  { fault: "services come late after a snapshot", setup: patient, set: { "slow-services": 1 }, code: 0 },
  ...[
    "snapshot feature is not available",
    "snapshot name 'base' already used",
    "snapshot create failed: starting cleanup",
  ]
    .map((said): FaultCase => ({
      fault: `pct snapshot says: ${said}`,
      setup: patient,
      set: { answers: `snapshot 255\n${said}` },
      code: 4,
      says: new RegExp(said),
      besides: stillRunning,
      bound: 20,
    })),
  {
    fault: "pct snapshot exits with 0 and takes none",
    setup: patient,
    set: { answers: "snapshot 0" },
    code: 4,
    says: /Nothing failed, yet it is still not so: snapshot: base/,
    besides: stillRunning,
  },
  {
    fault: "pct snapshot never ends",
    setup: hasty,
    set: { hang: "snapshot" },
    code: 5,
    says: /it was left to itself/,
    async besides(at) {
      await at.kill("SIGKILL", /snapshot\t901\tbase/);
      return await stillRunning(at);
    },
    bound: 20,
  },
  {
    fault: "a snapshot takes longer than the step has time",
    setup: hasty,
    set: { "snapshot-takes": 5, "lock-wait": 0.2 },
    code: 5,
    bound: 20,
  },
  {
    fault: "no container starts",
    setup: patient,
    set: { "start-fails": true },
    code: 4,
    says: /startup for container '901' failed/,
  },
  {
    fault: "the HA manager never does what it is asked for",
    setup: hasty,
    set: { "ha-managed": 901 },
    code: 5,
    says: /the container to stop/,
    besides: stillRunning,
    bound: 20,
  },
  {
    fault: "the HA manager does what it is asked for in its own time",
    setup: patient,
    set: { "ha-managed": 901, "ha-acts": 0.7 },
    code: 0,
    bound: 20,
  },
  {
    fault: "something inside does not let itself be shut down",
    setup: brisk,
    async before(at) {
      at.later(0, () => at.pct("exec", "901", "--", "sh", "-c", "trap '' TERM; sleep 20 & sleep 20").catch(() => ""));
      await pause(500);
    },
    code: 0,
    bound: 20,
  },

  // --- disks ---------------------------------------------------------------------------------------------------------
  {
    fault: "the disk has no room for a large file",
    setup: onSmallDisk("x".repeat(3 << 20)),
    before: (at) => smallDisk(at, ""),
    code: 4,
    says: /Only .* are free/,
    besides: oldOneIsThere,
  },
  {
    fault: "the disk is full to its last byte when a small file is sent",
    setup: onSmallDisk("y".repeat(40_000)),
    before: (at) => smallDisk(at, "cat /dev/zero >/opt/small/filler 2>/dev/null; :"),
    code: 4,
    says: /No space left on device/,
    besides: oldOneIsThere,
    sample: true,
  },
  {
    fault: "the disk fills up in the middle of a file",
    setup: onSmallDisk("y".repeat(40_000)),
    before: (at) => smallDisk(at, "head -c 1015808 /dev/zero >/opt/small/filler"),
    code: 4,
    says: /No space left on device|bytes arrived whole/,
    besides: oldOneIsThere,
  },
];

function locked(by: string): (conf: string) => string {
  return (conf) => `lock: ${by}\n${conf}`;
}

async function unlockAndStart(at: FaultHost): Promise<void> {
  await at.configure((conf) => conf.replace(/^lock: .*\n/m, ""));
  await pause(200);
  await at.pct("start", "901");
}

async function stillRunning(at: FaultHost): Promise<string | undefined> {
  const started = (await at.host.pctCalls()).findLastIndex(([subcommand]) => subcommand === "start");
  return started === -1 && !(await at.pct("status", "901")).includes("running")
    ? "the container was left stopped"
    : undefined;
}

async function nothingWritten(at: FaultHost): Promise<string | undefined> {
  return await at.inside("ls -A /srv") === "" ? undefined : "something was written into the other container";
}

/** Gives the container a small disk with a file on it, and runs `fill` inside. */
async function smallDisk(at: FaultHost, fill: string): Promise<void> {
  await at.host.setFault("small-disk", 1);
  await at.pct("stop", "901");
  await at.pct("start", "901");
  await at.inside(`echo old >/opt/small/file; ${fill}`);
}

async function oldOneIsThere(at: FaultHost): Promise<string | undefined> {
  const found = await at.inside("cat /opt/small/file; ls -A /opt/small | grep -v filler");
  return found === "old\nfile" ? undefined : `the file that was there is now: ${found}`;
}

/**
 * What happens at a random moment, from the first of a run to a little after its last, and the exit codes that it can
 * end with.
 */
export const AT_RANDOM:
  readonly (readonly [name: string, code: readonly number[], act: (at: FaultHost) => Promise<unknown>])[] = [
    ["the container is stopped", [0, 3], (at) => at.pct("stop", "901")],
    ["the container is rebooted", [0, 3], (at) => at.pct("reboot", "901", "--timeout", "1")],
    ["the container is replaced", [0, 1, 3], (at) => at.replace()],
    ["the container is frozen for a snapshot", [0], async (at) => {
      await at.pct("snapshot", "901", "nightly");
      at.afterwards(() => at.pct("delsnapshot", "901", "nightly"));
    }],
    // Before `pct status` has answered, nobody can tell whether there is a container.
    ["the newest pct is killed", [0, 1, 3], (at) => at.kill("SIGKILL", /./)],
  ];
