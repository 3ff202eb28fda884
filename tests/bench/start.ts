/**
 * From the start of the program to the start of its first `pct`.
 *
 * @module
 */

import { importArguments } from "../../bin/toolchain.ts";
import type { Bench } from "./bench.ts";
import { PCT, type Program } from "./bench_host.ts";
import { interleaved } from "./measure.ts";
import { buildForms } from "./ours.ts";
import { inventory } from "./setups/twenty_steps.ts";

const NAMES: Readonly<Record<string, string>> = {
  empty: "an empty Deno program, to its end",
  dax: "a program that imports dax, to its end",
  source: "`deno run`",
  script: "the script",
  executable: "the executable",
};

/** Measures the start of each form, beside that of smaller programs. */
export async function start({ report, runs, work, host, say }: Bench): Promise<void> {
  say("start-up");
  const forms = await buildForms(work, inventory);
  const mark = `${work}/mark`;
  // Notes when it was started first, and ends the run: a container that is stopped cannot be set up.
  const pct = `#!/bin/bash -p\n[ -e ${mark} ] || echo "$EPOCHREALTIME" >${mark}\necho 'status: stopped'\n`;
  await Deno.writeTextFile(`${work}/pct`, pct, { mode: 0o755 });
  await Deno.writeTextFile(`${work}/empty.ts`, "");
  await Deno.writeTextFile(`${work}/dax.ts`, 'import "dax";\n');
  await host.run({ argv: ["/bin/mount", "--bind", `${work}/pct`, PCT] });

  const toItsEnd = (file: string, imports: readonly string[]) => async () =>
    (await host.run({ argv: [Deno.execPath(), "run", "--quiet", "--allow-env", "--allow-read", ...imports, file] }))
      .milliseconds;
  const toPct = (program: Program | undefined) =>
    program && (async () => {
      const [path, ...args] = program.argv;
      const started = performance.timeOrigin + performance.now();
      await host.host.run(path, args);
      const first = Number((await Deno.readTextFile(mark)).replace(",", ".")) * 1000;
      await Deno.remove(mark);
      return first - started;
    });
  const values = await interleaved(runs, {
    empty: toItsEnd(`${work}/empty.ts`, ["--no-config"]),
    dax: toItsEnd(`${work}/dax.ts`, await importArguments()),
    source: toPct(forms.source),
    script: toPct(forms.script),
    executable: toPct(forms.executable),
  });
  await host.run({ argv: ["/bin/umount", PCT] });
  const medians = new Map(
    [...values].map(([name, each]) => [name, report.add("start to the first `pct`", NAMES[name]!, each)]),
  );
  for (const name of ["executable", "script"]) {
    const median = medians.get(name);
    if (median === undefined) continue;
    report.target(
      `start to the first \`pct\`: ${NAMES[name]} ÷ an empty program`,
      median / medians.get("empty")!,
      "≤",
      4.5,
    );
  }
}
