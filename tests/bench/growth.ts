/**
 * More steps, more output, more containers.
 *
 * @module
 */

import { importArguments } from "../../bin/toolchain.ts";
import { permissionsIn, writeSetup } from "../support/setup_file.ts";
import { beginHost } from "../support/test_host.ts";
import type { Bench } from "./bench.ts";
import { interleaved, timed } from "./measure.ts";
import { buildForms } from "./ours.ts";
import { growth, growthOf } from "./setups/growth.ts";

/** Measures runs of 4 to 1,000 steps, of 1 GB of output, and of up to 50 containers at once. */
export async function growing(bench: Bench): Promise<void> {
  await moreSteps(bench);
  await moreContainers(bench);
}

async function moreSteps({ report, runs, work, host, say }: Bench): Promise<void> {
  say("growth: steps");
  const forms = await buildForms(work, growth);
  const program = (steps: number, output: Record<string, string> = {}) => ({
    ...forms.script,
    env: { PHOENIX_BENCH_STEPS: `${steps}`, ...output },
  });
  const each = (steps: number) => async () => Number((await host.run(program(steps))).stderr) / steps;
  const values = await interleaved(runs, {
    "4, with the start": async () => (await host.run(program(4))).milliseconds,
    "each of 10": each(10),
    "each of 100": each(100),
    "each of 1,000": each(1000),
  });
  const medians = new Map(
    [...values].map(([name, each]) => [name, report.add("steps with nothing to do", name, each)]),
  );
  report.target(
    "four steps with nothing to do, `pct` at 0, with the start",
    medians.get("4, with the start")! / 1000,
    "<",
    0.2,
    "s",
  );
  report.target(
    "time for a step: of 1,000 ÷ of 10",
    medians.get("each of 1,000")! / medians.get("each of 10")!,
    "≤",
    1.2,
  );

  say("growth: output");
  const peak = await host.peak(program(1000, { PHOENIX_BENCH_OUTPUT: "1000000" }));
  report.target("peak memory of 1,000 steps with 1 MB of output each", peak, "<", 200, "MiB");
}

async function moreContainers({ report, few, work, say }: Bench): Promise<void> {
  say("growth: containers");
  const fleet = Array.from({ length: 50 }, (_, i) => ({ ctid: 910 + i, hostname: `member-${i}` }));
  const host = await beginHost(fleet);
  const imports = await importArguments();
  const commands = await Promise.all(fleet.map(async ({ ctid, hostname }) => {
    const setup = await writeSetup(work, growthOf, ctid, hostname);
    return ["run", "--quiet", ...imports, ...await permissionsIn(setup), setup, `${ctid}`];
  }));
  const setUp = async (args: readonly string[]) => {
    const { code, stderr } = await host.run(Deno.execPath(), args, { env: { PHOENIX_BENCH_STEPS: "10" } });
    if (code !== 0) throw new Error(`The setup of container ${args.at(-1)} ended with exit code ${code}: ${stderr}`);
  };
  for (const count of [1, 10, 50]) {
    const values = await interleaved(few, { all: () => timed(() => Promise.all(commands.slice(0, count).map(setUp))) });
    report.add("containers at once, 10 steps each", `${count}`, values.get("all")!);
  }
  await host.close();
}
