/**
 * The process that is a running container: `app.ts FOLDER` does what `FOLDER/order.json` says, writes its log, and says
 * in `FOLDER/ready` that it runs, or why it does not.
 *
 * @module
 */

import { certificate, privateKey } from "./certificate.ts";
import { holdLock, logFile, replaceFile, textOf } from "./files.ts";
import type { Listener } from "./registry.ts";
import type { Order } from "./runtime.ts";
import { now, sleep } from "./state.ts";

/**
 * Where Docker's own times are not stated: how often health is checked, how long that may take, how often it may fail.
 */
const HEALTH_INTERVAL_NS = 30e9;
const HEALTH_TIMEOUT_NS = 30e9;
const HEALTH_RETRIES = 3;
/** How many checks are remembered. */
const MAX_CHECKS = 5;

/** The health of a container, as Docker shows it. */
export interface Health {
  readonly Status: "starting" | "healthy" | "unhealthy";
  readonly FailingStreak: number;
  readonly Log: readonly HealthResult[];
}

/** What a check of health came to. */
interface HealthResult {
  readonly Start: string;
  readonly End: string;
  readonly ExitCode: number;
  readonly Output: string;
}

const directory = Deno.args[0] ?? "";
const order = JSON.parse(Deno.readTextFileSync(`${directory}/order.json`)) as Order;
const { behaviour, command } = order;

/** Says that it runs, or ends with the reason why it does not. */
function sayReady(problem = ""): void {
  replaceFile(`${directory}/ready`, problem);
  if (problem !== "") end(127);
}

/** Ends the container. Where its shim is gone, as in a shutdown, nobody else could tell the exit code. */
function end(code: number): never {
  Deno.writeTextFileSync(`${directory}/exit`, `${code}\n`);
  Deno.exit(code);
}

function onSignals(signals: readonly Deno.Signal[], work: (signal: Deno.Signal) => void): void {
  for (const signal of signals) Deno.addSignalListener(signal, () => work(signal));
}

// --- servers ---------------------------------------------------------------------------------------------------------

/** How many of the servers do not listen yet. */
let pending = behaviour.http?.length ?? 0;

/** Runs the servers of the image, which are reachable where their ports are published. */
async function serve(): Promise<void> {
  onSignals(["SIGTERM", "SIGINT"], () => end(0));
  const published = order.ports.map((port) => ({ ...port, proxy: bind(port.ip, port.port) }));
  for (const listener of behaviour.http ?? []) {
    const begin = async () => {
      for (const { ip, port, proxy } of published.filter(({ inside }) => inside === listener.port)) {
        await proxy.stop();
        listen(ip, port, listener);
      }
      pending--;
    };
    if (listener.afterMs === undefined) await begin();
    else setTimeout(begin, listener.afterMs);
  }
  sayReady();
  // Keeps the process alive where it has nothing to serve.
  setInterval(() => {}, 1 << 30);
}

/** Holds a published port while nothing listens behind it: accepts and drops connections, as Docker's proxy does. */
function bind(hostname: string, port: number): { stop(): Promise<void> } {
  let listener: Deno.Listener;
  try {
    listener = Deno.listen({ hostname, port });
  } catch (error) {
    const reason = error instanceof Deno.errors.AddrInUse
      ? "address already in use"
      : "cannot assign requested address";
    sayReady(`ENDPOINT: Error starting userland proxy: listen tcp4 ${hostname}:${port}: bind: ${reason}`);
    throw error;
  }
  const drop = async () => {
    try {
      for await (const connection of listener) connection.close();
    } catch {
      // Closed: the port is free from here on, not before.
    }
  };
  const dropping = drop();
  return {
    stop: () => {
      listener.close();
      return dropping;
    },
  };
}

function listen(hostname: string, port: number, { paths, tls }: Listener): void {
  const options = { hostname, port, onListen() {}, ...(tls ? { cert: certificate, key: privateKey } : {}) };
  Deno.serve(options, ({ url }) => {
    const reply = paths[new URL(url).pathname] ?? paths["*"] ?? { status: 404, body: "404 page not found\n" };
    const { status = 200, type = "text/plain; charset=utf-8", body = "" } = reply;
    const filled = body.replaceAll(
      /\$\{(--[\w-]+)\}/g,
      (_, option: string) => command[command.indexOf(option) + 1] ?? "",
    );
    return new Response(filled, { status, headers: { "content-type": type } });
  });
}

// --- programs --------------------------------------------------------------------------------------------------------

const NUMBERS: Partial<Record<Deno.Signal, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 };

/** Executes the command for real, with its output in the log; its exit code becomes the container's. */
async function execute(): Promise<void> {
  const env = environment();
  const [program = "", ...args] = command;
  const file = findProgram(program, env["PATH"] ?? "");
  const [uid, gid = uid] = order.user === "" ? [] : order.user.split(":").map(Number);
  const child = new Deno.Command(file, {
    args,
    clearEnv: true,
    env,
    cwd: "/",
    ...(uid === undefined ? {} : { uid, gid: gid! }),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  onSignals(["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"], (signal) => {
    // The kernel keeps signals without a handler from the first process of a container; an init is one that has
    // handlers.
    if (order.init || handles(child.pid, signal)) child.kill(signal);
  });
  sayReady();
  const outputs = [log(child.stdout, "stdout"), log(child.stderr, "stderr")];
  const { code } = await child.status;
  await Promise.all(outputs);
  end(code);
}

function environment(): Record<string, string> {
  const variables = order.env.filter((entry) => entry.includes("=")).map((entry) => {
    const at = entry.indexOf("=");
    return [entry.slice(0, at), entry.slice(at + 1)];
  });
  return { HOME: "/root", ...Object.fromEntries(variables) };
}

/** The file of a program; without one, the container cannot be started. */
function findProgram(program: string, path: string): string {
  const isPath = program.includes("/");
  const files = (isPath ? [program] : path.split(":").map((folder) => `${folder}/${program}`))
    .flatMap((file) => {
      try {
        return [{ file, ...Deno.statSync(file) }];
      } catch {
        return [];
      }
    });
  const file = files.find(({ isFile, mode }) => isFile && ((mode ?? 0) & 0o111) !== 0)?.file;
  if (file === undefined) {
    const reason = !isPath
      ? "executable file not found in $PATH"
      : files.length > 0
      ? "permission denied"
      : `stat ${program}: no such file or directory`;
    sayReady(
      "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: " +
        `exec: ${JSON.stringify(program)}: ${reason}: unknown`,
    );
  }
  return file!;
}

function handles(pid: number, signal: Deno.Signal): boolean {
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(textOf(`/proc/${pid}/status`) ?? "")?.[1] ?? "0";
  return (BigInt(`0x${caught}`) >> BigInt(NUMBERS[signal]! - 1) & 1n) === 1n;
}

/** Writes what a program says to the log, line by line; a last line without an end gets none. */
async function log(output: ReadableStream<Uint8Array<ArrayBuffer>>, stream: "stdout" | "stderr"): Promise<void> {
  const write = (text: string) =>
    Deno.writeTextFileSync(logFile(order.id), `${JSON.stringify({ log: text, stream, time: now() })}\n`, {
      append: true,
    });
  let partial = "";
  for await (const text of output.pipeThrough(new TextDecoderStream())) {
    const lines = (partial + text).split("\n");
    partial = lines.pop()!;
    for (const line of lines) write(`${line}\n`);
  }
  if (partial !== "") write(partial);
}

// --- health ----------------------------------------------------------------------------------------------------------

/** Checks the health of the container for as long as it runs. */
async function watchHealth({ Test = [], Interval, Timeout, StartPeriod = 0, Retries }: NonNullable<Order["health"]>) {
  const file = `${directory}/health.json`;
  const before = JSON.parse(textOf(file) ?? '{"Log":[]}') as Health;
  let health: Health = { Status: "starting", FailingStreak: 0, Log: before.Log };
  const note = (change: Partial<Health>) => {
    health = { ...health, ...change };
    replaceFile(file, JSON.stringify(health));
  };
  note({});
  const started = Date.now();
  for (let last = started;;) {
    // The time begins anew when the container was paused.
    const resumed = Number(textOf(`${directory}/resumed`) ?? 0);
    const dueMs = Math.max(last, resumed) + (Interval ?? HEALTH_INTERVAL_NS) / 1e6 - Date.now();
    if (dueMs > 0) {
      await sleep(dueMs);
      continue;
    }
    const result = await checkHealth(Test, (Timeout ?? HEALTH_TIMEOUT_NS) / 1e6);
    last = Date.now();
    const Log = [...health.Log, result].slice(-MAX_CHECKS);
    const isEarly = health.Status === "starting" && last < started + StartPeriod / 1e6;
    if (result.ExitCode === 0) note({ Status: "healthy", FailingStreak: 0, Log });
    else if (isEarly) note({ Log });
    else {
      const FailingStreak = health.FailingStreak + 1;
      const isTooOften = FailingStreak >= (Retries ?? HEALTH_RETRIES);
      note({ Log, FailingStreak, ...(isTooOften ? { Status: "unhealthy" } : {}) });
    }
  }
}

/** Checks health once: by the image's command where that is executed, otherwise by whether all servers listen. */
async function checkHealth([kind, ...test]: readonly string[], timeoutMs: number): Promise<HealthResult> {
  const Start = now();
  if (!behaviour.executes) return { Start, End: now(), ExitCode: pending === 0 ? 0 : 1, Output: "" };
  const [program = "", ...args] = kind === "CMD" ? test : ["/bin/sh", "-c", ...test];
  const signal = AbortSignal.timeout(timeoutMs);
  const { code, stdout } = await new Deno.Command(program, {
    args,
    clearEnv: true,
    env: environment(),
    signal,
    stderr: "null",
  })
    .output();
  if (!signal.aborted) return { Start, End: now(), ExitCode: code, Output: new TextDecoder().decode(stdout) };
  return { Start, End: now(), ExitCode: -1, Output: `Health check exceeded timeout (${timeoutMs}ms)` };
}

holdLock(order.id, "process");
if (order.health?.Test !== undefined) watchHealth(order.health);
await (behaviour.executes ? execute() : serve());
