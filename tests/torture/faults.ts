/**
 * Everything around a run that can break: `pct`, the container, its disk, its locks. Whatever it is, a run ends in the state that
 * it should, or with one clear error and the exit code for it; never with a success that is none, never with half a file, never not
 * at all. The next run, with all mended, converges.
 *
 * The program runs within this process, on the `pct` of a simulated host.
 *
 * @module
 */

import { readJson } from "../../lib/run/configuration.ts";
import { PctContainer } from "../../lib/container/connection.ts";
import type { Step } from "../../lib/step.ts";
import { messageOf } from "../../lib/errors.ts";
import type { Host } from "../../lib/host/host.ts";
import { thisHost } from "../../lib/host/this_host.ts";
import { main } from "../../lib/run/main.ts";
import { RunLock } from "../../lib/run/lock.ts";
import { openLogFile } from "../../lib/log/file.ts";
import { file, type Secret, type Setup, setup, sh, snapshot } from "../../lib/mod.ts";
import { Pct } from "../../lib/container/pct.ts";
import type { Fault } from "../hosts/host.ts";
import { SimulatedHost } from "../hosts/simulated/simulated_host.ts";
import { thisSystem } from "../../lib/run/system.ts";
import { command } from "../../lib/steps/command.ts";
import { formsOf, generator } from "../support/fleet.ts";
import { eventsOf, PORTAINER } from "../support/test_host.ts";
import type { Duration } from "../../lib/time.ts";
import { ProcessWatch } from "./processes.ts";
import type { Failed, Report } from "./result.ts";

/** One thing that breaks, and how the run has to end. */
export interface FaultCase {
  /** What is broken. */
  readonly fault: string;
  /** The exit code of the run; one of several where it depends on the moment. */
  readonly code: number | readonly number[];
  /** What its log has to say. */
  readonly says?: RegExp;
  /** Faults of `pct`, from before the run until it has ended. */
  readonly set?: Partial<Record<Fault, string | number | true>>;
  /** What else is done before the run. */
  readonly before?: (at: Bench) => Promise<void>;
  /** Where the run is held for `meanwhile`. */
  readonly hold?: "probe" | "apply" | "transfer";
  /** What is done while the run is held; it goes on afterwards. */
  readonly meanwhile?: (at: Bench) => Promise<void>;
  /** The setup that is run. Default: {@linkcode work}. */
  readonly setup?: Setup;
  /** The command line. Default: the CTID. */
  readonly args?: readonly string[];
  /** How long the run may take, in seconds. Default: 15. */
  readonly bound?: number;
  /** What has to be so besides, with all mended and before the next run; the end of a sentence where it is not. */
  readonly besides?: (at: Bench) => Promise<string | undefined>;
  /** Whether it is tried in every run of the tests. */
  readonly sample?: true;
}

const SMALL = "läuft: 'quoted' \"$HOME\" `id`\n".repeat(40);
const LARGE = new Uint8Array(2_000_000).map((_, i) => (i * 7919) >> 5);
const LARGE_ON_HOST = "/usr/local/phoenix_hypervisor/lib/large.bin";
/** A secret of this process alone, as others on this machine may have one in play as well; each of its forms is another. */
export const SECRET = `${crypto.randomUUID()}/+&"é`;
export const SECRET_ON_HOST = "/usr/local/phoenix_hypervisor/etc/trial_token.conf";

/** What {@linkcode tells} looks for. */
export const SECRET_FORMS = formsOf(SECRET);

/** Whether the secret is in a text, in any of its forms. */
export function tells(text: string): boolean {
  return SECRET_FORMS.some((form) => text.includes(form));
}

/** What the setup leaves behind. Anything else at these paths is a file that was not written whole. */
const FILES: Readonly<Record<string, Uint8Array>> = {
  "/srv/app/small": new TextEncoder().encode(SMALL),
  "/srv/app/large": LARGE,
  "/srv/app/token": new TextEncoder().encode(SECRET),
  "/srv/app/applied": new TextEncoder().encode("done\n"),
};

/** Looks, for as long as somebody holds it. */
const looked: Step<boolean> = {
  title: "somebody looks",
  async probe({ container }) {
    const waits = sh`while [ -e /srv/hold-probe ]; do : >/srv/held; sleep 0.05; done; test -e /srv/app/small`;
    return (await container.read(waits, { codes: [0, 1] })).code === 0;
  },
  diff: (there) => there ? [] : [{ what: "/srv/app/small", to: "there" }],
  apply: () => Promise.resolve(),
};

async function steps({ ensure, secret }: Parameters<Setup["perform"]>[0], token?: Secret): Promise<void> {
  await ensure(file("/srv/app/small", { content: SMALL, mode: 0o640 }));
  await ensure(looked);
  await ensure(file("/srv/app/large", { from: LARGE_ON_HOST, mode: 0o600 }));
  token ??= await secret("token", { file: SECRET_ON_HOST });
  await ensure(file("/srv/app/token", { content: token, mode: 0o600 }));
  await ensure(command(
    "applied",
    sh`while [ -e /srv/hold-apply ]; do : >/srv/held; sleep 0.05; done; echo done >/srv/app/.a && mv /srv/app/.a /srv/app/applied`,
    { creates: "/srv/app/applied", environment: { TOKEN: token } },
  ));
}

/** A setup with one step of each way into the container: through the session, by a transfer of its own, with a secret. */
const work = setup(901, "Portainer", steps);

/** The same, and a snapshot, each part of which has so much time. */
const withSnapshot = (within: Duration) =>
  setup(901, "Portainer", async (context) => {
    await steps(context);
    await context.ensure(snapshot("base", { within }));
  });
const patient = withSnapshot("1m");
const hasty = withSnapshot("3s");
const brisk = withSnapshot("8s");
const SNAPSHOTS = [patient, brisk, hasty];

/** Files on a disk of 1 MB, where something was before. */
const onSmallDisk = (content: string) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(file("/opt/small/file", { content }));
  });

/** Beyond which nothing waits, in milliseconds. */
const PATIENCE = 30_000;
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** What a run came to. */
interface Run {
  readonly code: number;
  /** All that it said, with `--json` on stdout. */
  readonly said: string;
  readonly milliseconds: number;
}

/** A host to break things on. */
export class Bench implements AsyncDisposable {
  /** How far a case whose moment is a random one has got; from 0 to below `below`. */
  readonly random: (below: number) => number;
  #stalled: { readonly reached: PromiseWithResolvers<void>; readonly go: PromiseWithResolvers<void> } | undefined;
  #later: Promise<unknown>[] = [];
  #afterwards: (() => Promise<unknown>)[] = [];
  #unlock: (() => Promise<void>) | undefined;

  private constructor(readonly host: SimulatedHost, seed: number) {
    this.random = generator(seed);
  }

  static async begin(seed: number): Promise<Bench> {
    const bench = new Bench(await SimulatedHost.temporary({ containers: [PORTAINER] }), seed);
    await Deno.writeFile(bench.outside(LARGE_ON_HOST), LARGE);
    await Deno.writeTextFile(bench.outside(SECRET_ON_HOST), SECRET, { mode: 0o600 });
    return bench;
  }

  /** Runs a setup to its end. */
  async run(setup: Setup, args: readonly string[], hold?: FaultCase["hold"]): Promise<Run> {
    const pct = new Pct(`${this.host.stateDirectory}/pct`);
    const ended = Promise.withResolvers<number>();
    const started = performance.now();
    let said = "";
    const sink = { write: (text: string) => void (said += text), terminal: false };
    await main(setup, {
      ...thisSystem(),
      args: ["--json", "--verbose", ...args],
      program: "/usr/local/phoenix_hypervisor/bin/phoenix_hypervisor_setup_901",
      environment: () => undefined,
      stdout: sink,
      stderr: sink,
      pct,
      host: (ctid) => this.#hostOf(pct, ctid, hold),
      connect: (ctid, hooks) => new PctContainer(pct, ctid, hooks),
      lockedBy: () => this.#lock(),
      readJson: (path) => readJson(this.outside(path)),
      openLogFile: () => openLogFile(this.host.logFile),
      lock: (ctid) => RunLock.take(this.outside("/run/phoenix_setup"), ctid),
      onSignal() {},
      onUnhandled() {},
      exit: (code) => ended.resolve(code),
    });
    return { code: await ended.promise, said, milliseconds: performance.now() - started };
  }

  #lock(): string | undefined {
    try {
      return /^lock: (\S+)$/m.exec(Deno.readTextFileSync(this.host.conf(901)))?.[1];
    } catch {
      return undefined;
    }
  }

  /** The host's files, where they are for who is not on it; and a transfer that waits in the middle when it is to be held. */
  #hostOf(pct: Pct, ctid: number, hold: FaultCase["hold"]): Host {
    const host = thisHost(pct, ctid);
    return {
      ...host,
      folder: (path) => host.folder(this.outside(path)),
      writeFile: (path, content, mode) => host.writeFile(this.outside(path), content, mode),
      editFile: (path, edited) => host.editFile(this.outside(path), edited),
      removeFile: (path) => host.removeFile(this.outside(path)),
      file: async (path) => {
        const found = await host.file(this.outside(path));
        if (found === undefined || hold !== "transfer" || path !== LARGE_ON_HOST) return found;
        const stalled = this.#stalled!;
        return {
          ...found,
          async *chunks() {
            let count = 0;
            for await (const chunk of found.chunks()) {
              if (count++ === 5) {
                stalled.reached.resolve();
                await stalled.go.promise;
              }
              yield chunk;
            }
          },
        };
      },
    };
  }

  /** A path of the host, for who is not on it. */
  outside(path: string): string {
    const { stateDirectory } = this.host;
    return path.replace(/^\/etc\/pve\//, `${stateDirectory}/pve/`)
      .replace(/^\/usr\/local\/phoenix_hypervisor\//, `${stateDirectory}/phoenix_hypervisor/`)
      .replace(/^\/run\/phoenix_setup/, `${stateDirectory}/locks`);
  }

  /** Runs `pct` on the host, as an administrator would. */
  async pct(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.host.run("/usr/sbin/pct", args);
    if (code !== 0) throw new Error(`pct ${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  /** Runs a command inside, and gives its stdout. */
  async inside(script: string): Promise<string> {
    return (await this.pct("exec", "901", "--", "sh", "-c", script)).trim();
  }

  /** A file inside, as it lies on the host; `undefined` where there is none. */
  async content(path: string): Promise<Uint8Array | undefined> {
    return await Deno.readFile(`${this.host.rootfs(901)}${path}`).catch(() => undefined);
  }

  /** Does something a random moment of up to `ms` milliseconds later, while the run goes on. */
  later(ms: number, act: () => Promise<unknown>): void {
    this.at(ms / 2 + this.random(ms / 2 + 1), act);
  }

  /** Does something `ms` milliseconds later, while the run goes on. */
  at(ms: number, act: () => Promise<unknown>): void {
    this.#later.push(pause(ms).then(act));
  }

  /** Does something once the host is mended. */
  afterwards(act: () => Promise<unknown>): void {
    this.#afterwards.push(act);
  }

  /** Changes the container's Proxmox configuration. */
  async configure(change: (conf: string) => string): Promise<void> {
    const path = this.host.conf(901);
    await Deno.writeTextFile(path, change(await Deno.readTextFile(path)));
  }

  /** Sends a signal to the newest `pct` with these arguments, with tabs between. */
  async kill(signal: Deno.Signal, call: RegExp): Promise<void> {
    const log = await Deno.readTextFile(`${this.host.stateDirectory}/pct.log`);
    const line = log.trim().split("\n").findLast((line) => call.test(line));
    Deno.kill(Number(line!.split("\t")[1]), signal);
  }

  /** Holds the lock that `pct` takes for what it changes, until the host is mended. */
  async holdFileLock(): Promise<void> {
    const holder = this.host.command(
      "flock",
      ["/run/lock/lxc/pve-config-901.lock", "sh", "-c", "echo held; read -r _"],
      {
        stdin: "piped",
        stdout: "piped",
      },
    ).spawn();
    const reader = holder.stdout.getReader();
    await reader.read();
    this.#unlock = async () => {
      await Promise.all([reader.cancel(), holder.stdin.close(), holder.status]);
      this.#unlock = undefined;
    };
  }

  /** Destroys the container and makes another one of the same id, which answers once it is complete. */
  async replace(hostname = "Portainer"): Promise<void> {
    await this.pct("stop", "901");
    await this.host.setFault("answers", "exec 255\ncontainer '901' not running!");
    await this.host.run("sh", ["-c", "rm -rf /var/lib/lxc/901 /etc/pve/lxc/901.conf"]);
    await this.host.addContainer({ ...PORTAINER, hostname });
    await this.host.setFault("answers", undefined);
  }

  /** Holds the coming run at a place; the promise says that it has arrived there. */
  async #hold(where: NonNullable<FaultCase["hold"]>): Promise<void> {
    if (where === "transfer") {
      this.#stalled = { reached: Promise.withResolvers(), go: Promise.withResolvers() };
      return;
    }
    await Deno.mkdir(`${this.host.rootfs(901)}/srv`, { recursive: true });
    await Deno.writeTextFile(`${this.host.rootfs(901)}/srv/hold-${where}`, "");
  }

  async #held(where: NonNullable<FaultCase["hold"]>, running: Promise<unknown>): Promise<void> {
    let over = false;
    running.finally(() => over = true).catch(() => {});
    if (where === "transfer") return void await Promise.race([this.#stalled!.reached.promise, running]);
    while (!over && await this.content("/srv/held") === undefined) await pause(20);
  }

  async #release(): Promise<void> {
    this.#stalled?.go.resolve();
    for (const name of ["hold-probe", "hold-apply", "held"]) {
      await Deno.remove(`${this.host.rootfs(901)}/srv/${name}`).catch(() => {});
    }
  }

  /** Runs one case; gives its exit code, and what is wrong with how it went. */
  async try(one: FaultCase): Promise<{ readonly code: number | undefined; readonly wrong: readonly string[] }> {
    const wrong: string[] = [];
    const { setup = work, args = ["901"], hold, bound = 15 } = one;
    await this.inside("rm -rf /srv/app");
    const snapshots = SNAPSHOTS.includes(setup);
    if (snapshots && (await this.pct("listsnapshot", "901")).includes("base")) {
      await this.pct("delsnapshot", "901", "base");
    }
    await this.host.forgetPctCalls();
    await one.before?.(this);
    for (const [fault, value] of Object.entries(one.set ?? {})) await this.host.setFault(fault as Fault, value);
    if (hold) await this.#hold(hold);
    const running = this.run(setup, args, hold);
    if (hold) {
      await this.#held(hold, running);
      await one.meanwhile?.(this);
      await this.#release();
    }
    const late = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => late.resolve(undefined), Math.max(PATIENCE, bound * 1000 + 5_000));
    const run = await Promise.race([running, late.promise]);
    clearTimeout(timer);
    wrong.push(...run === undefined ? ["it does not end"] : endOf(run, one, bound * 1000));
    wrong.push(...await this.#filesThat(run?.code === 0 ? "have to be there" : "may be there", one.setup ?? work));
    await Promise.all(this.#later.splice(0));
    wrong.push(...this.#careless(await this.host.pctCalls()));

    await this.#mend();
    for (const act of this.#afterwards.splice(0)) await act();
    const also = await one.besides?.(this);
    if (also !== undefined) wrong.push(also);
    const again = await this.run(snapshots ? patient : work, ["901"]);
    if (again.code !== 0) wrong.push(`the next run ends with ${again.code}: ${again.said}`);
    wrong.push(...await this.#filesThat("have to be there", work));
    wrong.push(...await this.#leftovers());
    wrong.push(...await this.#telling([run?.said ?? "", again.said]));
    return { code: run?.code, wrong };
  }

  /** Where the secret is and must not be: in what runs said, in the central log, in a lock file. */
  async #telling(said: readonly string[]): Promise<string[]> {
    const wrong = said.some(tells) ? ["it says the secret"] : [];
    const files = [this.host.logFile, this.outside("/run/phoenix_setup/setup_901.lock")];
    for (const file of files) {
      if (tells(await Deno.readTextFile(file).catch(() => ""))) wrong.push(`the secret is in ${file}`);
    }
    return wrong;
  }

  /** Takes every fault away, and leaves a container that runs. */
  async #mend(): Promise<void> {
    for await (const { name } of Deno.readDir(`${this.host.stateDirectory}/faults`)) {
      await Deno.remove(`${this.host.stateDirectory}/faults/${name}`);
    }
    await this.#release();
    await this.#unlock?.();
    this.#stalled = undefined;
    if (await Deno.stat(this.host.conf(901)).catch(() => undefined) === undefined) {
      await this.host.addContainer(PORTAINER);
    }
    // What still takes a snapshot is left to it, as an administrator would do.
    for (let i = 0; /^lock: snapshot$/m.test(await Deno.readTextFile(this.host.conf(901))) && i < 200; i++) {
      await pause(50);
    }
    await this.configure((conf) => conf.replace(/^lock: .*\n/m, ""));
    if (!(await this.pct("status", "901")).includes("running")) await this.pct("start", "901");
  }

  async #filesThat(state: "have to be there" | "may be there", setup: Setup): Promise<string[]> {
    if (![work, ...SNAPSHOTS].includes(setup)) return [];
    const wrong: string[] = [];
    for (const [path, expected] of Object.entries(FILES)) {
      const found = await this.content(path);
      if (found === undefined && state === "may be there") continue;
      if (found === undefined) wrong.push(`${path} is not there`);
      else if (found.length !== expected.length || found.some((byte, i) => byte !== expected[i])) {
        wrong.push(`${path} has ${found.length} bytes that are not the ${expected.length} it should have`);
      }
    }
    return wrong;
  }

  /** What must not be in any call of `pct`. */
  #careless(calls: readonly string[][]): string[] {
    const wrong: string[] = [];
    for (const call of calls) {
      const [subcommand = "", , separator] = call;
      if (/^(push|pull|unlock|set|destroy|rollback|delsnapshot)$/.test(subcommand)) {
        wrong.push(`it calls pct ${subcommand}`);
      }
      if (subcommand === "exec" && separator !== "--") wrong.push(`it calls ${call.join(" ")}`);
      if (call.some(tells)) {
        wrong.push(`the secret is an argument of pct ${subcommand}`);
      }
    }
    return wrong;
  }

  /** What a run that converged must not leave behind: temporary files, processes, locks. */
  async #leftovers(): Promise<string[]> {
    const find = () =>
      this.inside(`find /srv /run /tmp -name '.*phoenix_setup*' -o -name sh-thd.\\*
for p in /proc/[0-9]*; do
  [ "$p" = "/proc/$$" ] || [ "$p" = /proc/1 ] || ! read -r c <$p/stat || case $(tr '\\0' ' ' <$p/cmdline) in
    ''|'sleep infinity '|*' sh -c find '*) ;; *) tr '\\0' ' ' <$p/cmdline; echo ;;
  esac
done 2>/dev/null`);
    let left = "";
    // What was killed needs a moment to go.
    for (let i = 0; i < 60; i++) {
      left = [await find(), ...await this.#calls()].filter(Boolean).join("\n");
      if (left === "") return [];
      await pause(50);
    }
    return [`left behind: ${left}`];
  }

  /** The calls of `pct` that still run. */
  async #calls(): Promise<string[]> {
    const log = await Deno.readTextFile(`${this.host.stateDirectory}/pct.log`);
    const calls = new Map(
      log.trim().split("\n").map((line) => line.split("\t")).map(([, pid = "", ...call]) => [pid, call]),
    );
    const script = `for p do c=$(tr '\\0' ' ' </proc/$p/cmdline) && echo "$p $c"; done 2>/dev/null; :`;
    const { stdout } = await new Deno.Command("sh", { args: ["-c", script, "sh", ...calls.keys()] }).output();
    return new TextDecoder().decode(stdout).split("\n").flatMap((line) => {
      const [pid = "", ...command] = line.split(" ");
      return /pct|sleep infinity/.test(command.join(" "))
        ? [`pct ${calls.get(pid)!.join(" ").slice(0, 80)} (process ${pid})`]
        : [];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host.close();
  }
}

/** What is wrong with the end of a run. */
function endOf({ code, said, milliseconds }: Run, one: FaultCase, bound: number): string[] {
  const wrong: string[] = [];
  if (![one.code].flat().includes(code)) wrong.push(`it ends with ${code} instead of ${one.code}`);
  if (one.says && !one.says.test(said)) wrong.push(`it does not say ${one.says}`);
  if (milliseconds > bound) wrong.push(`it takes ${Math.round(milliseconds)} ms`);
  const events = eventsOf(said);
  const errors = events.filter((event) =>
    event.event === "failure" || (event as { level?: string }).level === "FATAL" && event.event === "message"
  );
  if (errors.length !== (code === 0 ? 0 : 1)) wrong.push(`it has ${errors.length} errors`);
  const last = events.at(-1);
  if (last?.event !== "run finished" || last.code !== code) wrong.push("its last line does not say how it ended");
  if (/\n\s+at /.test(said)) wrong.push("it shows a stack trace");
  return wrong.length === 0 ? [] : [...wrong, said];
}

const seconds = (n: number) => n * 1000;
const STOPPED = /The session with container 901 was lost/;

/** The faults, one after the other: each leaves the host as the next one wants it. */
export const FAULTS: readonly FaultCase[] = [
  // --- pct status -----------------------------------------------------------------------------------------------------
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

  // --- pct exec -------------------------------------------------------------------------------------------------------
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

  // --- the run is held, and meanwhile ----------------------------------------------------------------------------------
  ...(["SIGKILL", "SIGTERM"] as const).flatMap((signal): FaultCase[] => [
    {
      fault: `pct is killed by ${signal} while a step works`,
      hold: "apply",
      meanwhile: (at) => at.kill(signal, /exec\t901\t--\tsh\t.*\tphoenix_setup_session$/),
      code: 0,
      ...(signal === "SIGKILL" ? { sample: true } : {}),
    },
    {
      fault: `pct is killed by ${signal} in a transfer`,
      hold: "transfer",
      meanwhile: (at) => at.kill(signal, /exec\t901\t--\t.*\tphoenix_setup_session\t/),
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
      const { stateDirectory } = at.host;
      const touched = await at.host.run("find", [
        ...["containers/901/rootfs", "phoenix_hypervisor", "pve"].map((folder) => `${stateDirectory}/${folder}`),
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

  // --- locks ----------------------------------------------------------------------------------------------------------
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

  // --- snapshots ------------------------------------------------------------------------------------------------------
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
    says: /Applied without an error, but still different: snapshot: base/,
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

  // --- disks ----------------------------------------------------------------------------------------------------------
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

async function unlockAndStart(at: Bench): Promise<void> {
  await at.configure((conf) => conf.replace(/^lock: .*\n/m, ""));
  await pause(200);
  await at.pct("start", "901");
}

async function stillRunning(at: Bench): Promise<string | undefined> {
  const started = (await at.host.pctCalls()).findLastIndex(([subcommand]) => subcommand === "start");
  return started === -1 && !(await at.pct("status", "901")).includes("running")
    ? "the container was left stopped"
    : undefined;
}

async function nothingWritten(at: Bench): Promise<string | undefined> {
  return await at.inside("ls -A /srv") === "" ? undefined : "something was written into the other container";
}

/** A small disk with a file on it, and what else is to be there. */
async function smallDisk(at: Bench, fill: string): Promise<void> {
  await at.host.setFault("small-disk", 1);
  await at.pct("stop", "901");
  await at.pct("start", "901");
  await at.inside(`echo old >/opt/small/file; ${fill}`);
}

async function oldOneIsThere(at: Bench): Promise<string | undefined> {
  const found = await at.inside("cat /opt/small/file; ls -A /opt/small | grep -v filler");
  return found === "old\nfile" ? undefined : `the file that was there is now: ${found}`;
}

/** What happens at a random moment, from the first of a run to a little after its last, and the exit codes that it can end with. */
const AT_RANDOM: readonly (readonly [name: string, code: readonly number[], act: (at: Bench) => Promise<unknown>])[] = [
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
const MOMENTS = 12;

/** Tries every fault, in a random order, and then others at random moments. */
export async function faults(report: Report, seed: number): Promise<void> {
  await using bench = await Bench.begin(seed);
  const watch = await ProcessWatch.start(SECRET_FORMS);
  const random = generator(seed);
  const again = `deno task torture --only faults --seed ${seed}`;
  // What cannot even be tried must not keep the others from it.
  const attempt = (one: FaultCase) =>
    bench.try(one).catch((error) => ({ code: undefined, wrong: [`cannot be tried: ${messageOf(error)}`] }));
  const order = FAULTS.map((one) => [random(1 << 30), one] as const).sort(([a], [b]) => a - b);
  for (const [, one] of order) {
    const { code, wrong } = await attempt(one);
    const failures: Failed[] = wrong.map((what) => ({ what, again }));
    report({ part: "faults", kind: one.fault, tried: 1, ended: `exit ${code}`, failures });
  }
  for (const [name, code, act] of AT_RANDOM) {
    const ended = new Map<number | undefined, number>();
    const failures: Failed[] = [];
    for (let i = 0; i < MOMENTS; i++) {
      const moment = random(700);
      const result = await attempt({
        fault: name,
        code,
        // What comes too late, or finds the container as it wants it, changes nothing.
        before: (at) => Promise.resolve(at.at(moment, () => act(at).catch(() => {}))),
        bound: 20,
      });
      ended.set(result.code, (ended.get(result.code) ?? 0) + 1);
      failures.push(...result.wrong.map((what) => ({ what: `after ${moment} ms: ${what}`, again })));
    }
    const codes = [...ended].sort(([a = -1], [b = -1]) => a - b).map(([code, times]) => `${times} × exit ${code}`);
    report({ part: "faults", kind: `${name} at a random moment`, tried: MOMENTS, ended: codes.join(", "), failures });
  }
  const { looks, seen } = await watch.stop();
  report({
    part: "faults",
    kind: "secrets in arguments and environments of processes",
    tried: looks,
    ended: "looks at all processes",
    // A setup may hand a secret to a command inside by its environment.
    failures: seen.filter(({ where, inside }) => where === "cmdline" || !inside)
      .map(({ where, command }) => ({ what: `seen in ${where} of ${command}`, again })),
  });
}
