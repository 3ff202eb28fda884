// Steps that find nothing to do, or only print, as many as the environment says; says on stderr what they took.
import { command, main, setup, sh } from "../../../lib/mod.ts";

const needs = { environment: ["PHOENIX_BENCH_STEPS", "PHOENIX_BENCH_OUTPUT"] };

export const growthOf = (ctid: number, name: string) =>
  setup(ctid, name, needs, async ({ ensure, environment }) => {
    const bytes = environment("PHOENIX_BENCH_OUTPUT");
    const started = performance.now();
    for (let step = 1; step <= Number(environment("PHOENIX_BENCH_STEPS")); step++) {
      await ensure(
        bytes === undefined ? command(`step ${step}`, sh`false`, { creates: "/etc" }) : command(
          `step ${step}`,
          sh`yes 'a line of output, about as long as most lines of a log are' | head -c ${bytes}`,
        ),
      );
    }
    console.error(performance.now() - started);
  });

export const growth = growthOf(901, "Portainer");

if (import.meta.main) await main(growth);
