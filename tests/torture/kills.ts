/**
 * Runs that are killed: at the start of a step or at a moment inside it, by each signal, from the initial state and
 * from damaged ones. Whatever the moment, the next run ends where an undisturbed one does, and nothing of the killed
 * one is left.
 *
 * @module
 */

import { availableSetups } from "../../bin/setups.ts";
import type { RunEvent } from "../../lib/events.ts";
import { beginFleetHost, damage, leaksOf, stateOf } from "../support/fleet.ts";
import { type Random, randomFrom } from "../support/random.ts";
import { tracesOf } from "../support/secrets.ts";
import { eventsOf, type TestHost } from "../support/test_host.ts";
import { ProcessWatch } from "./processes.ts";
import type { Failed, Report, Result } from "./result.ts";

const SIGNALS = { SIGKILL: 137, SIGTERM: 143, SIGINT: 130, SIGHUP: 129 } as const;

/** A signal that ends a run. */
type Signal = keyof typeof SIGNALS;

/** One kill. */
interface Kill {
  /** The container whose setup runs. */
  readonly ctid: number;
  /** What it is killed by. */
  readonly signal: Signal;
  /**
   * Whether all processes of the run get the signal, as from a terminal or from systemd, or only the program itself.
   */
  readonly group: boolean;
  /** The step that has to have started, from 1 on; 0: the program itself. */
  readonly step: number;
  /** Milliseconds from there. */
  readonly after: number;
  /** The seed of the damage that was done before; the container is as it was created where it is missing. */
  readonly damage?: number;
}

/** A kill as an argument of `--case`. */
export function describeKill({ ctid, signal, group, step, after, damage }: Kill): string {
  return `${ctid} ${signal}${group ? " group" : ""} step ${step} after ${after}${
    damage === undefined ? "" : ` damage ${damage}`
  }`;
}

/** Reads what {@linkcode describeKill} wrote. */
export function parseKill(text: string): Kill | undefined {
  const [match, ctid, signal, group, step, after, damage] =
    /^(\d+) (SIG[A-Z]+)( group)? step (\d+) after (\d+)(?: damage (\d+))?$/.exec(text) ?? [];
  if (match === undefined || !Object.hasOwn(SIGNALS, signal!)) return undefined;
  return {
    ctid: Number(ctid),
    signal: signal as Signal,
    group: group !== undefined,
    step: Number(step),
    after: Number(after),
    ...(damage === undefined ? {} : { damage: Number(damage) }),
  };
}

/** How long a run may go on after SIGTERM, SIGINT or SIGHUP. */
const MAX_CLEAN_UP_MS = 5_000;

/** How long a run may take on a busy machine; an undisturbed one takes 4 seconds. */
const MAX_RUN_MS = 120_000;

/** What an undisturbed run of a setup does and leaves behind. */
interface Undisturbed {
  /** How long it takes until the first step starts, in milliseconds. */
  readonly starting: number;
  /** How long each step takes, in milliseconds. */
  readonly steps: readonly number[];
  readonly state: string;
  /** The processes inside. */
  readonly processes: readonly string[];
}

/** Kills runs of one setup. */
export class Killer implements AsyncDisposable {
  /** From the signals of TERM, INT and HUP to the end of the program, in milliseconds. */
  readonly cleanUps: number[] = [];
  #undisturbed: Undisturbed | undefined;
  /** A host on which the setup has come to its end, for damage. */
  #settled: TestHost | undefined;

  readonly #token: string | undefined;
  #lent: TestHost | undefined;

  /**
   * `token` takes the place of the secrets on its hosts, so that nobody else has it. `settled` is a host on which the
   * setup has come to its end; without one, it makes its own.
   */
  constructor(readonly ctid: number, options: { readonly token?: string; readonly settled?: TestHost } = {}) {
    this.#token = options.token;
    this.#lent = options.settled;
  }

  /** How long each step of an undisturbed run takes, in milliseconds. */
  async steps(): Promise<readonly number[]> {
    return [(await this.#reference()).starting, ...(await this.#reference()).steps];
  }

  /**
   * Kills one run and lets another one follow. Gives what is wrong then, and whether the run was killed at all: it may
   * have been faster.
   */
  async kill(kill: Kill): Promise<{ killed: boolean; wrong: string[] }> {
    const undisturbed = await this.#reference();
    if (kill.damage === undefined) {
      await using testHost = await this.#begin();
      return await this.#killOn(testHost, kill, undisturbed);
    }
    const testHost = this.#settled!;
    await damage(testHost, randomFrom(kill.damage));
    const result = await this.#killOn(testHost, kill, undisturbed);
    if (result.wrong.length > 0) await this.#renew();
    return result;
  }

  /** Ends its host, unless that was given to it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#settled !== this.#lent) await this.#settled?.[Symbol.asyncDispose]();
  }

  async #reference(): Promise<Undisturbed> {
    return this.#undisturbed ??= await this.#renew();
  }

  async #begin(): Promise<TestHost> {
    const testHost = await beginFleetHost(this.ctid);
    if (this.#token !== undefined) {
      await Deno.writeTextFile(`${testHost.host.etc}/phoenix_hf_token.conf`, `HF_TOKEN=${this.#token}\n`);
      await Deno.writeTextFile(`${testHost.host.etc}/phoenix_docker_token.conf`, `${this.#token}\n`);
    }
    return testHost;
  }

  /** Lets a run come to its end on the host that it was given, or on a new one. */
  async #renew(): Promise<Undisturbed> {
    const used = this.#settled;
    await this[Symbol.asyncDispose]();
    const testHost = this.#settled = used === undefined && this.#lent || await this.#begin();
    const started = performance.now();
    const { code, stdout, stderr } = await testHost.run(testHost.own, "--json");
    const whole = performance.now() - started;
    if (code !== 0) throw new Error(`An undisturbed run of ${this.ctid} ended with ${code}: ${stderr}`);
    const steps = eventsOf(stdout).filter((event): event is RunEvent & { event: "step finished" } =>
      event.event === "step finished"
    ).map(({ milliseconds }) => milliseconds);
    return {
      starting: whole - steps.reduce((sum, ms) => sum + ms, 0),
      steps,
      state: await stateOf(testHost),
      processes: await processesInside(testHost),
    };
  }

  async #killOn(
    testHost: TestHost,
    { signal, group, step, after }: Kill,
    undisturbed: Undisturbed,
  ): Promise<{ killed: boolean; wrong: string[] }> {
    const wrong: string[] = [];
    const child = testHost.host.command("/usr/bin/setsid", [
      Deno.execPath(),
      ...await testHost.denoArguments(testHost.own),
      "--json",
      String(this.ctid),
    ], { stdin: "null", stdout: "piped", stderr: "piped" }).spawn();
    const reached = Promise.withResolvers<void>();
    if (step === 0) reached.resolve();
    const stdout = gather(child.stdout, (text) => {
      if (eventsOf(text).some((event) => event.event === "step started" && event.number >= step)) reached.resolve();
    });
    const stderr = gather(child.stderr);
    const status = child.status.then((status) => ({ ...status, at: performance.now() }));
    await Promise.race([reached.promise, status]);
    await new Promise((resolve) => setTimeout(resolve, after));
    const signalled = performance.now();
    let sent = true;
    try {
      Deno.kill(group ? -child.pid : child.pid, signal);
    } catch {
      sent = false;
    }
    const guard = setTimeout(() => {
      wrong.push("hung");
      Deno.kill(-child.pid, "SIGKILL");
    }, MAX_RUN_MS);
    const { code, signal: diedOf, at } = await status;
    const emitted = [await stdout, await stderr];
    clearTimeout(guard);
    const killed = sent && (diedOf !== null || code > 128);
    if (killed) {
      if (code !== SIGNALS[signal]) wrong.push(`exit code ${code}`);
      if (signal !== "SIGKILL") {
        this.cleanUps.push(at - signalled);
        if (at - signalled > MAX_CLEAN_UP_MS) wrong.push(`took ${Math.round(at - signalled)} ms to end`);
        if (step > 0 && diedOf !== null) wrong.push(`died of ${diedOf} without cleaning up`);
        const ours = () => lookAt(testHost, (inside) => without(inside, undisturbed.processes, "all"));
        wrong.push(...(await soon(ours)).map((process) => `left running: ${process}`));
      }
    } else if (code !== 0) wrong.push(`not killed, and ended with exit code ${code}: ${emitted.join("")}`);

    emitted.push(...(await testHost.host.pctCalls()).flat());
    const again = await testHost.run(testHost.own, "--json", "--timeout", `${MAX_RUN_MS}ms`);
    emitted.push(again.stdout, again.stderr, ...again.pctCalls.flat());
    wrong.push(...(await leaksOf(testHost, emitted)).map((file) => `something of ${file} was emitted`));
    if (again.code !== 0) {
      wrong.push(`the next run ended with exit code ${again.code}: ${again.stderr || again.stdout}`);
      return { killed, wrong };
    }
    const [is, was] = [(await stateOf(testHost)).split("\n"), undisturbed.state.split("\n")];
    const tooMuch = without(is, was).map((line) => `+ ${line.trim()}`);
    const missing = without(was, is).map((line) => `- ${line.trim()}`);
    if (tooMuch.length + missing.length > 0) {
      wrong.push(["the next run led to another state", ...tooMuch, ...missing].slice(0, 40).join("\n    "));
    }
    const differing = () =>
      lookAt(testHost, (inside) => [
        ...without(inside, undisturbed.processes),
        ...without(undisturbed.processes, inside).map((process) => `(missing) ${process}`),
      ]);
    wrong.push(...(await soon(differing)).map((process) => `running after the next run: ${process}`));
    wrong.push(...(await temporaryFiles(testHost)).map((path) => `left behind after the next run: ${path}`));
    return { killed, wrong };
  }
}

/** All of a stream as text; `onText` sees what there is so far, up to the last whole line. */
async function gather(stream: ReadableStream<Uint8Array>, onText?: (text: string) => void): Promise<string> {
  let all = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    all += text;
    onText?.(all.slice(0, all.lastIndexOf("\n") + 1));
  }
  return all;
}

/** What is in `list` more often than in `other`; with `all`, only what is not in `other` at all. */
function without(list: readonly string[], other: readonly string[], all?: "all"): string[] {
  const rest = [...other];
  return list.filter((item) => {
    const at = rest.indexOf(item);
    if (at !== -1 && all === undefined) rest.splice(at, 1);
    return at === -1;
  });
}

/** Looks again for some seconds, until there is nothing: what was just ended needs a moment. */
async function soon(look: () => Promise<string[]>): Promise<string[]> {
  let found = await look();
  for (let i = 0; i < 30 && found.length > 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    found = await look();
  }
  return found;
}

/** The processes inside, without ids: those of services among them, but not the one that looks. */
async function processesInside(testHost: TestHost): Promise<string[]> {
  const { code, stdout, stderr } = await testHost.host.run("/usr/sbin/pct", [
    "exec",
    String(testHost.ctid),
    "--",
    "sh",
    "-c",
    `for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || { tr '\\0\\n' '  ' <$p/cmdline && echo; } 2>/dev/null; done; true`,
  ]);
  if (code !== 0) return [`none, as ${stderr.trim()}`];
  return stdout.split("\n").map((line) => line.trim().replace(/\b[0-9a-f]{64}\b/g, "ID"))
    // The simulated systemd sleeps before it starts a service again.
    .filter((line) => line !== "" && !line.startsWith("tr ") && !/^sleep \d/.test(line)).sort();
}

/** The processes of runs on the host, and those inside that `judge` gives back. */
async function lookAt(testHost: TestHost, judge: (inside: string[]) => string[]): Promise<string[]> {
  const { stdout } = await testHost.host.run("/bin/sh", [
    "-c",
    `for p in /proc/[0-9]*; do
      [ $p != /proc/$$ ] && [ $p/ns/mnt -ef /proc/self/ns/mnt ] && { tr '\\0\\n' '  ' <$p/cmdline && echo; }
    done 2>/dev/null; true`,
  ]);
  const onHost = stdout.split("\n").filter((line) => /\/usr\/sbin\/pct|\/setups\/\d+\.ts/.test(line));
  return [...onHost.map((line) => `on the host: ${line.trim()}`), ...judge(await processesInside(testHost))];
}

/** What a run needs only for a while, inside and on the host. */
async function temporaryFiles(testHost: TestHost): Promise<string[]> {
  const named = `find / /run /dev/shm -xdev -name '*phoenix_setup*' ! -path '/proc/*'`;
  const inside = await testHost.inside(`${named} ! -path /var/lib/phoenix_setup 2>/dev/null; true`);
  const { stdout: onHost } = await testHost.host.run("/bin/sh", [
    "-c",
    `find /usr/local/phoenix_hypervisor /var/log -name '*phoenix_setup*'; find /run/phoenix_setup -type f ! -name '*.lock'
    find /run/phoenix_setup -name '*.lock' -size +0`,
  ]);
  return [...inside.split("\n"), ...onHost.split("\n").filter(Boolean).map((path) => `on the host: ${path}`)]
    .filter(Boolean);
}

/** A kill that a seed chooses. */
export function randomKill(ctid: number, durations: readonly number[], random: Random): Kill {
  const signal = (Object.keys(SIGNALS) as Signal[])[random(4)]!;
  const step = random(durations.length);
  return {
    ctid,
    signal,
    // A whole group that is killed at once is a crash of the host's own tools, of which pct leaves locks behind.
    group: signal !== "SIGKILL" && random(2) === 1,
    step,
    // Rather early than late: in a damaged container much is as it should be already.
    after: random(1 + random(Math.max(20, Math.ceil(durations[step]!)))),
    ...(random(2) === 1 ? { damage: random(2 ** 31) } : {}),
  };
}

/** A kill by each signal at the start of the program and of each step. */
function boundaryKills(ctid: number, steps: number, random: Random): Kill[] {
  return (Object.keys(SIGNALS) as Signal[]).flatMap((signal) =>
    Array.from({ length: steps }, (_, step): Kill => ({
      ctid,
      signal,
      group: signal !== "SIGKILL" && random(2) === 1,
      step,
      after: 0,
      ...(random(2) === 1 ? { damage: random(2 ** 31) } : {}),
    }))
  );
}

/** Kills `count` runs in all, or just one, and reports them by setup. */
export async function kills(report: Report, seed: number, count: number, only?: Kill): Promise<void> {
  const token = `torture/+&${crypto.getRandomValues(new Uint8Array(12)).toHex()}`;
  const ctids = only === undefined ? availableSetups() : [only.ctid];
  const watch = await ProcessWatch.start(tracesOf(token));
  await Promise.all(ctids.map(async (ctid, i) => {
    const share = Math.floor(count / ctids.length) + (i < count % ctids.length ? 1 : 0);
    report(await killsOf(ctid, token, seed, share, only));
  }));
  const { looks, seen } = await watch.stop();
  const again = `deno task torture --only kills --seed ${seed} --kills ${count}`;
  report({
    part: "kills",
    kind: "secrets in the lists of processes",
    tried: looks,
    ended: "looks at all arguments and environments",
    failures: seen
      // Docker hands the secret to the service that is to have it: that is what it is for.
      .filter(({ where, command }) => where === "cmdline" || !command.includes("docker_app"))
      .map(({ where, command }) => ({ what: `seen in ${where} of ${command}`, again })),
  });
}

async function killsOf(
  ctid: number,
  token: string,
  seed: number,
  count: number,
  only?: Kill,
): Promise<Result> {
  const random = randomFrom(seed + ctid);
  await using killer = new Killer(ctid, { token });
  const durations = await killer.steps();
  const atBoundaries = boundaryKills(ctid, durations.length, random);
  const failures: Failed[] = [];
  const again = (kill: Kill) => `deno task torture --only kills --case ${JSON.stringify(describeKill(kill))}`;
  const killed: Kill[] = [];
  let tooLate = 0;
  while (killed.length < count && tooLate < count + 20) {
    // In a short run, some of the boundaries and some moments inside.
    const left = atBoundaries.length > 0 && (count >= 2 * atBoundaries.length || random(2) === 0);
    const kill = only ??
      (left ? atBoundaries.splice(random(atBoundaries.length), 1)[0]! : randomKill(ctid, durations, random));
    const result = await killer.kill(kill).catch((error) => ({ killed: true, wrong: [String(error)] }));
    if (result.killed) killed.push(kill);
    else tooLate++;
    for (const wrong of result.wrong) failures.push({ what: `${describeKill(kill)}: ${wrong}`, again: again(kill) });
    if (only !== undefined) break;
  }
  const number = (signal: Signal) => killed.filter((kill) => kill.signal === signal).length;
  return {
    part: "kills",
    kind: `setup ${ctid}`,
    tried: killed.length,
    ended: [
      ...(Object.keys(SIGNALS) as Signal[]).map((signal) => `${number(signal)} ${signal.slice(3)}`),
      `${killed.filter(({ damage }) => damage !== undefined).length} from damage`,
      `clean-up ${Math.round(Math.max(0, ...killer.cleanUps))} ms at most`,
    ].join(", "),
    failures,
  };
}
