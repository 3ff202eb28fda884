/**
 * Hosts for the benchmark, and what is run on them.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import type { ProxmoxHost, Result } from "../hosts/host.ts";
import { beginHost, PORTAINER } from "../support/test_host.ts";
import { timed } from "./measure.ts";

/** The folder of the benchmark, with a slash at its end. */
export const folder: string = fileURLToPath(import.meta.resolve("./"));
/** The `pct` of a host. */
export const PCT = "/usr/sbin/pct";

/**
 * The environment of an administrator's shell: `pct exec` takes it along into the container, which lacks the lab's
 * folder for files.
 */
const { TMPDIR: _, ...ENVIRONMENT } = Deno.env.toObject();

/** A program on the host. */
export interface Program {
  /** The program and its arguments. */
  readonly argv: readonly [string, ...string[]];
  /** What is added to its environment. */
  readonly env?: Record<string, string>;
}

/** A host, simulated or of the lab, whose container 901 can be put back into the state that it had at first. */
export class BenchHost implements AsyncDisposable {
  private constructor(readonly host: ProxmoxHost) {}

  /** Boots a host; its container is one in which the twenty steps have all something to change. */
  static async begin(): Promise<BenchHost> {
    const bench = new BenchHost(await beginHost([PORTAINER]));
    // Where an installed script looks for it.
    await bench.run({ argv: ["/bin/ln", "-sfn", Deno.execPath(), "/usr/local/bin/deno"] });
    await bench.inside(`apt-get -q update && apt-get -q -y install nano
mkdir -p /etc/inventory.old && echo old >/etc/inventory.old/inventory.conf
docker version`);
    for (const args of [["stop", "901"], ["snapshot", "901", "bare"], ["start", "901"]]) {
      await bench.run({ argv: [PCT, ...args] });
    }
    return bench;
  }

  /** Puts the container back. */
  async reset(): Promise<void> {
    await this.host.setFault("latency", undefined);
    await this.run({ argv: [PCT, "rollback", "901", "bare", "--start"] });
    // Its services start in the background.
    await this.inside("i=0; until docker version >/dev/null 2>&1 || [ $i = 100 ]; do sleep 0.05; i=$((i+1)); done");
  }

  /** Makes each call of `pct` cost so many seconds more, as Perl's start does on a real host. */
  async setLatency(seconds: number): Promise<void> {
    await this.host.setFault("latency", seconds === 0 ? undefined : seconds);
  }

  /** Runs a program to its end, which has to be a success. */
  async run({ argv: [program, ...args], env }: Program): Promise<Result & { readonly milliseconds: number }> {
    let result: Result | undefined;
    const milliseconds = await timed(async () => {
      result = await this.host.run(program, args, { clearEnv: true, env: { ...ENVIRONMENT, ...env } });
    });
    const { code, stdout, stderr } = result!;
    if (code === 0) return { ...result!, milliseconds };
    throw new Error(`${[program, ...args].join(" ")} ended with exit code ${code}:\n${stdout}${stderr}`);
  }

  /**
   * The peak memory of a program of one process, in MiB. The kernel keeps the peak, so that it is enough to look now
   * and then.
   */
  async peak({ argv: [program, ...args], env = {} }: Program): Promise<number> {
    const child = this.host.command(program, args, { env, stdin: "null", stdout: "null", stderr: "null" }).spawn();
    const watch = 'while line=$(grep VmHWM "/proc/$0/status"); do last=$line; sleep 0.05; done; echo "$last"';
    const watcher = new Deno.Command("/bin/sh", { args: ["-c", watch, `${child.pid}`], stderr: "null" }).output();
    const { code } = await child.status;
    if (code !== 0) throw new Error(`${[program, ...args].join(" ")} ended with exit code ${code}`);
    return Number(/(\d+) kB/.exec(new TextDecoder().decode((await watcher).stdout))![1]) / 1024;
  }

  /** Runs a script inside the container, and gives its stdout. */
  async inside(script: string): Promise<string> {
    return (await this.run({ argv: [PCT, "exec", "901", "--", "sh", "-euc", script] })).stdout;
  }

  /** Ends the host. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.host.close();
  }
}
