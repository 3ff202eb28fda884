/**
 * The process that is a running container: `app.ts FOLDER` does what `FOLDER/order.json` says, writes its log, and
 * says in `FOLDER/ready` that it runs (or why it does not).
 *
 * @module
 */

import { certificate, privateKey } from "./certificate.ts";
import { type AppOrder, isExecutable, logFile, showLife } from "./state.ts";
import type { Listener, Reply } from "./registry.ts";

const directory = Deno.args[0] ?? "";
const order = JSON.parse(Deno.readTextFileSync(`${directory}/order.json`)) as AppOrder;
const { behaviour, command } = order;
showLife(order.id, "alive");

function log(text: string, stream: "stdout" | "stderr" = "stdout"): void {
  const entry = { log: text, stream, time: new Date().toISOString() };
  Deno.writeTextFileSync(logFile(order.id), `${JSON.stringify(entry)}\n`, { append: true });
}

/** A text of a behaviour, with the container's arguments in it. */
function filled(text: string): string {
  return text.replace(/\$\{([^}]+)\}/g, (_, names: string) => argument(names.split("|")) ?? "");
}

/** The value of the first of these arguments that the container's command line has, as `--name value` or `--name=value`. */
function argument(names: string[]): string | undefined {
  for (const name of names) {
    const at = command.findIndex((word) => word === name || word.startsWith(`${name}=`));
    if (at >= 0) return command[at] === name ? command[at + 1] : command[at]?.slice(name.length + 1);
  }
  return undefined;
}

function sayReady(problem = ""): void {
  Deno.writeTextFileSync(`${directory}/ready.new`, problem);
  Deno.renameSync(`${directory}/ready.new`, `${directory}/ready`);
}

/** Ends a container that could not be started. */
function refuse(problem: string): never {
  sayReady(problem);
  end(127);
}

/** Ends the container; where its keeper is gone, as in a shutdown, nobody else could tell the exit code. */
function end(code: number): never {
  Deno.writeTextFileSync(`${directory}/exit`, `${code}\n`);
  Deno.exit(code);
}

function after(ms: number | undefined, work: () => void): void {
  if (ms === undefined || ms <= 0) work();
  else setTimeout(work, ms);
}

function insidePort(listener: Listener): number {
  const said = listener.portArgument === undefined ? undefined : argument([listener.portArgument]);
  return said === undefined ? listener.port : Number(said);
}

interface Socket {
  hostname: string;
  port: number;
  listener: Listener | undefined;
  proxy: Proxy | undefined;
}

/** What holds a published port while nothing listens behind it: accepts and drops connections, as Docker's proxy does. */
interface Proxy {
  stop(): Promise<void>;
}

/** Binds the published ports, as Docker's proxy does at the start of a container. */
function bindPublished(): Socket[] {
  return order.listen.map(({ ip, port, inside }) => {
    const listener = behaviour.http?.find((listener) => insidePort(listener) === inside);
    try {
      return { hostname: ip, port, listener, proxy: startProxy(ip, port) };
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
      refuse(`ENDPOINT: Error starting userland proxy: listen tcp4 ${ip}:${port}: bind: address already in use`);
    }
  });
}

function startProxy(hostname: string, port: number): Proxy {
  const listener = Deno.listen({ hostname, port });
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

async function serve({ hostname, port, listener, proxy }: Socket, started: number): Promise<void> {
  if (listener === undefined) return;
  await proxy?.stop();
  const reply = (request: Request) => {
    const path = new URL(request.url).pathname;
    return answer(
      listener.paths[path] ?? listener.paths["*"] ?? { status: 404, body: "404 page not found\n" },
      started,
    );
  };
  const tls = listener.tls ? { cert: certificate, key: privateKey } : {};
  try {
    Deno.serve({ hostname, port, onListen() {}, ...tls }, reply);
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    log(`listen tcp :${port}: bind: address already in use\n`, "stderr");
    end(1);
  }
}

function answer(reply: Reply, started: number): Response {
  const { status = 200, type = "text/plain; charset=utf-8", body = "" } =
    reply.first !== undefined && Date.now() < started + reply.first.ms ? reply.first : reply;
  return new Response(status === 204 || status === 304 ? null : filled(body), {
    status,
    headers: { "content-type": type },
  });
}

/** Executes the command for real, with its output in the log; its exit code becomes the container's. */
async function execute(): Promise<void> {
  const [program = "", ...args] = command;
  const env: Record<string, string> = Object.fromEntries(order.env.map((entry) => {
    const at = entry.indexOf("=");
    return at < 0 ? [entry, ""] : [entry.slice(0, at), entry.slice(at + 1)];
  }));
  const found = program.includes("/")
    ? [program]
    : (env["PATH"] ?? "").split(":").map((folder) => `${folder}/${program}`);
  const file = found.find((path) => isExecutable(path));
  const reason = program.includes("/")
    ? `stat ${program}: no such file or directory`
    : "executable file not found in $PATH";
  if (file === undefined || (behaviour.withGpu?.includes(program) && !order.gpu)) refuse(notStarted(program, reason));
  const child = new Deno.Command(file, {
    args,
    clearEnv: true,
    env: { HOME: "/root", ...env },
    cwd: order.workdir,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  })
    .spawn();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const) {
    Deno.addSignalListener(signal, () => {
      // The kernel keeps signals without a handler from the first process of a container; docker-init is one that has them.
      if (order.init || handles(child.pid, signal)) child.kill(signal);
    });
  }
  sayReady();
  const [status] = await Promise.all([
    child.status,
    logLines(child.stdout, "stdout"),
    logLines(child.stderr, "stderr"),
  ]);
  end(status.code);
}

function notStarted(program: string, reason: string): string {
  return "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: " +
    `unable to start container process: exec: ${JSON.stringify(program)}: ${reason}: unknown`;
}

function handles(pid: number, signal: Deno.Signal): boolean {
  const numbers: Partial<Record<Deno.Signal, number>> = {
    SIGHUP: 1,
    SIGINT: 2,
    SIGQUIT: 3,
    SIGUSR1: 10,
    SIGUSR2: 12,
    SIGTERM: 15,
  };
  // A permission to read is not enough for Deno to open a file of /proc.
  const status = new TextDecoder().decode(
    new Deno.Command("/usr/bin/cat", { args: [`/proc/${pid}/status`] }).outputSync().stdout,
  );
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0";
  return (BigInt(`0x${caught}`) >> BigInt((numbers[signal] ?? 0) - 1) & 1n) === 1n;
}

async function logLines(output: ReadableStream<Uint8Array>, stream: "stdout" | "stderr"): Promise<void> {
  let partial = "";
  for await (const text of output.pipeThrough(new TextDecoderStream())) {
    const lines = (partial + text).split("\n");
    partial = lines.pop() ?? "";
    for (const line of lines) log(`${line}\n`, stream);
  }
  // No newline is added to a last line without one.
  if (partial !== "") log(partial, stream);
}

async function main(): Promise<void> {
  const sockets = bindPublished();
  const line = command.join(" ");
  const fixed = behaviour.commands?.find(({ command }) => line === command || line.startsWith(`${command} `));
  if (fixed !== undefined && !(behaviour.withGpu?.includes(command[0] ?? "") && !order.gpu)) {
    sayReady();
    if (fixed.stdout) log(fixed.stdout);
    if (fixed.stderr) log(fixed.stderr, "stderr");
    end(fixed.code ?? 0);
  }
  if (behaviour.executes || fixed !== undefined) {
    return await execute();
  }
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => {
      if (!behaviour.ignoresTerm || order.init) end(behaviour.stopCode ?? 0);
    });
  }
  if (behaviour.needsGpu !== undefined && !order.gpu) {
    sayReady();
    log(`${behaviour.needsGpu.line}\n`, "stderr");
    end(behaviour.needsGpu.code);
  }
  if (order.hostNetwork) {
    for (const listener of behaviour.http ?? []) {
      sockets.push({ hostname: "0.0.0.0", port: insidePort(listener), listener, proxy: undefined });
    }
  }
  const started = Date.now();
  const isSlow = ({ listener }: Socket) => (listener?.after ?? 0) > 0;
  for (const socket of sockets) if (!isSlow(socket)) await serve(socket, started);
  sayReady();
  for (const socket of sockets.filter(isSlow)) after(socket.listener?.after, () => void serve(socket, started));
  for (const { line, after: ms, stream } of behaviour.logs ?? []) after(ms, () => log(`${filled(line)}\n`, stream));
  const { exits } = behaviour;
  if (exits !== undefined && (exits.times === undefined || order.starts < exits.times)) {
    after(exits.after, () => end(exits.code));
  }
  // Keeps the process alive where it has nothing to serve.
  setInterval(() => {}, 1 << 30);
}

await main();
