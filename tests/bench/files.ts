/**
 * What it costs to bring a file of the host into the container.
 *
 * @module
 */

import type { Bench } from "./bench.ts";
import { PCT, type Program } from "./bench_host.ts";
import { interleaved } from "./measure.ts";
import { buildForms } from "./ours.ts";
import { transfer } from "./setups/transfer.ts";

const SIZES = { "1 KiB": 1024, "1 MiB": 1024 ** 2, "1 GiB": 1024 ** 3 };

const REMOVE = "rm -f /opt/ours /opt/raw /opt/pushed";

/** Measures files of three sizes, sent by ours, through a bare `pct exec`, and by `pct push`. */
export async function files({ report, runs, work, host, say }: Bench): Promise<void> {
  const forms = await buildForms(work, transfer);
  const path = `${work}/file`;
  const ours: Program = { ...forms.script, env: { PHOENIX_BENCH_FILE: path } };
  const raw: Program = {
    argv: ["/bin/sh", "-c", `cat ${path} | ${PCT} exec 901 -- sh -c 'cat >/opt/raw && sha256sum /opt/raw'`],
  };
  const push: Program = { argv: [PCT, "push", "901", path, "/opt/pushed"] };
  const medians = new Map<string, number>();
  const measure = (program: Program) => async () => {
    await host.inside(REMOVE);
    return (await host.run(program)).milliseconds;
  };
  for (const [size, bytes] of Object.entries(SIZES)) {
    say(`files: ${size}`);
    await writeRandom(path, bytes);
    const values = await interleaved(runs, {
      ours: measure(ours),
      "`cat`, `sha256sum`": measure(raw),
      "`pct push`": measure(push),
    });
    for (const [name, each] of values) {
      const note = name === "ours"
        ? "with its start, and looks before and after"
        : name === "`pct push`"
        ? "nothing verified"
        : "";
      medians.set(`${name} ${size}`, report.add(`a file of ${size}`, name, each, { note }));
    }
    if (bytes === SIZES["1 GiB"]) {
      await host.inside(REMOVE);
      report.target("a file of 1 GiB: peak memory of ours", await host.peak(ours), "<", 150, "MiB");
    }
    await Deno.remove(path);
  }
  await host.inside(REMOVE);
  report.target(
    "a file of 1 GiB: ours ÷ (`cat` through `pct exec`, and `sha256sum` inside)",
    medians.get("ours 1 GiB")! / medians.get("`cat`, `sha256sum` 1 GiB")!,
    "≤",
    1.15,
  );
}

async function writeRandom(path: string, size: number): Promise<void> {
  using file = await Deno.create(path);
  const block = new Uint8Array(Math.min(size, 1024 ** 2));
  for (let at = 0; at < block.length; at += 65536) crypto.getRandomValues(block.subarray(at, at + 65536));
  for (let at = 0; at < size; at += block.length) await file.write(block);
}
