/**
 * What commands in a session cost.
 *
 * @module
 */

import { importArguments } from "../../bin/toolchain.ts";
import type { Bench } from "./bench.ts";
import { folder, PCT } from "./bench_host.ts";
import { interleaved, timed } from "./measure.ts";

const COMMANDS = 100;

/** Measures what a command costs in a session, beside what a shell alone takes for one. */
export async function session({ report, runs, host: bench, say }: Bench): Promise<void> {
  say("session");
  const { host } = bench;
  const program = ["run", "--quiet", "--allow-all", ...await importArguments(), `${folder}session_program.ts`];
  const [open, read, write] = [[], [], []] as [number[], number[], number[]];
  const values = await interleaved(runs, {
    async framed() {
      const { stdout } = await bench.run({ argv: [Deno.execPath(), ...program, `${COMMANDS}`] });
      const said = JSON.parse(stdout) as { open: number; read: number; write: number };
      open.push(said.open);
      read.push(said.read);
      write.push(said.write);
      return 1000 / said.read;
    },
    async bare() {
      const stdin = "sh -c : </dev/null\n".repeat(COMMANDS);
      const empty = await timed(() => host.run(PCT, ["exec", "901", "--", "sh"], { stdin: "" }));
      return (await timed(() => host.run(PCT, ["exec", "901", "--", "sh"], { stdin })) - empty) / COMMANDS;
    },
  });
  report.add("session", "to open it", open);
  report.add("session", "commands that look", values.get("framed")!, { unit: "per second" });
  report.add("session", "one that looks", read);
  report.add("session", "one that may change something", write);
  report.add("session", "`sh -c :`, sent to a plain shell", values.get("bare")!);
}
