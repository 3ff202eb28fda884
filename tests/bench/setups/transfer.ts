// Copies one host file into the container.
import { file, main, setup } from "../../../lib/mod.ts";

const needs = { environment: ["PHOENIX_BENCH_FILE"], reads: ["/tmp"] };

export const transfer = setup(901, "Portainer", needs, async ({ ensure, environment }) => {
  await ensure(file("/opt/ours", { from: environment("PHOENIX_BENCH_FILE")! }));
});

if (import.meta.main) await main(transfer);
