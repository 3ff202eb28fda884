/**
 * A host on which everything around a run can break: `pct`, the container, its disk, its locks.
 *
 * The program runs within this process, on the `pct` of the host.
 *
 * @module
 */

import { PctContainer } from "../../lib/container/connection.ts";
import { Pct } from "../../lib/container/pct.ts";
import type { Host } from "../../lib/host/host.ts";
import { thisHost } from "../../lib/host/this_host.ts";
import { openLogFile } from "../../lib/log/file.ts";
import { readJson } from "../../lib/run/configuration.ts";
import { RunLock } from "../../lib/run/lock.ts";
import { main } from "../../lib/run/main.ts";
import type { Setup } from "../../lib/run/setup.ts";
import { thisSystem } from "../../lib/run/system.ts";
import type { Fault } from "../hosts/host.ts";
import { SimulatedHost } from "../hosts/simulated/simulated_host.ts";
import { type Random, randomFrom } from "../support/random.ts";
import { tracesOf } from "../support/secrets.ts";
import { eventsOf, PORTAINER } from "../support/test_host.ts";
import { LARGE_ON_HOST, SECRET_ON_HOST, SMALL, withSnapshot, work } from "./setups/faults.ts";

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
  readonly before?: (at: FaultHost) => Promise<void>;
  /** Where the run is held for `meanwhile`. */
  readonly hold?: "probe" | "apply" | "transfer";
  /** What is done while the run is held; it goes on afterwards. */
  readonly meanwhile?: (at: FaultHost) => Promise<void>;
  /** The setup that is run. Default: `work`. */
  readonly setup?: Setup;
  /** The command line. Default: the CTID. */
  readonly args?: readonly string[];
  /** How long the run may take, in seconds. Default: 15. */
  readonly bound?: number;
  /** What else has to hold once everything is mended, before the next run. Gives what is wrong, or `undefined`. */
  readonly besides?: (at: FaultHost) => Promise<string | undefined>;
  /** Whether it is tried in every run of the tests. */
  readonly sample?: true;
}

const LARGE = new Uint8Array(2_000_000).map((_, i) => (i * 7919) >> 5);

/**
 * A secret of this process alone, since other tests on this machine have theirs. Each of its encoded forms differs from
 * it.
 */
export const SECRET = `${crypto.randomUUID()}/+&"é`;

/** What gives the secret away. */
export const SECRET_TRACES: readonly string[] = tracesOf(SECRET);

/** Whether something of the secret is in a text. */
export function tells(text: string): boolean {
  return SECRET_TRACES.some((trace) => text.includes(trace));
}

/** What the setup leaves behind. Anything else at these paths is a file that was not written whole. */
const FILES: Readonly<Record<string, Uint8Array>> = {
  "/srv/app/small": new TextEncoder().encode(SMALL),
  "/srv/app/large": LARGE,
  "/srv/app/token": new TextEncoder().encode(SECRET),
  "/srv/app/applied": new TextEncoder().encode("done\n"),
};

/** The setup with a snapshot for which there is enough time. */
export const patient: Setup = withSnapshot("1m");
/** The setup with a snapshot for which there is just enough time. */
export const brisk: Setup = withSnapshot("8s");
/** The setup with a snapshot for which there is too little time. */
export const hasty: Setup = withSnapshot("3s");
const SNAPSHOTS: readonly Setup[] = [patient, brisk, hasty];

/** How long a run may go on before it counts as one that never ends. */
const MAX_RUN_MS = 30_000;

/** Waits for so many milliseconds. */
export const pause = (ms: number): Promise<void> => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** What a run came to. */
interface Run {
  /** The exit code. */
  readonly code: number;
  /** All that it said, with `--json` on stdout. */
  readonly said: string;
  /** How long it took. */
  readonly milliseconds: number;
}

/** A host to break things on. It is a simulated one, as only the simulated `pct` can be told to lie. */
export class FaultHost implements AsyncDisposable {
  /** Chooses the random moments, so that a seed repeats them. */
  readonly random: Random;
  #stalled: { readonly reached: PromiseWithResolvers<void>; readonly go: PromiseWithResolvers<void> } | undefined;
  #later: Promise<unknown>[] = [];
  #afterwards: (() => Promise<unknown>)[] = [];
  #unlock: (() => Promise<void>) | undefined;

  private constructor(readonly host: SimulatedHost, seed: number) {
    this.random = randomFrom(seed);
  }

  /** Boots a host with what the setups need. */
  static async begin(seed: number): Promise<FaultHost> {
    const at = new FaultHost(await SimulatedHost.temporary({ containers: [PORTAINER] }), seed);
    await Deno.writeFile(at.outside(LARGE_ON_HOST), LARGE);
    await Deno.writeTextFile(at.outside(SECRET_ON_HOST), SECRET, { mode: 0o600 });
    return at;
  }

  /** Runs a setup to its end. */
  async run(setup: Setup, args: readonly string[], hold?: FaultCase["hold"]): Promise<Run> {
    const pct = new Pct(this.host.pct);
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

  /**
   * The host with its files where they are found from outside, and with a transfer that waits in the middle when it is
   * to be held.
   */
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

  /**
   * Where a file of the host is to be found from outside of it. The locks of runs within this process have a folder of
   * their own.
   */
  outside(path: string): string {
    return path.startsWith("/run/phoenix_setup")
      ? path.replace("/run/phoenix_setup", `${this.host.stateDirectory}/locks`)
      : this.host.outside(path);
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

  /** Prepares the place at which the coming run is held. */
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
    const timer = setTimeout(() => late.resolve(undefined), Math.max(MAX_RUN_MS, bound * 1000 + 5_000));
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

  /** Where the secret was found and must not be: in what runs said, in the central log, in a lock file. */
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

  /** Ends the host. */
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
