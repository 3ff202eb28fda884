/**
 * Twenty mixed steps, converged and for the first time: ours beside a bash script and Ansible.
 *
 * @module
 */

import type { Bench } from "./bench.ts";
import { BenchHost, folder, PCT, type Program } from "./bench_host.ts";
import { interleaved, pooled, timed } from "./measure.ts";
import { buildForms } from "./ours.ts";
import { inventory } from "./twenty_steps.ts";

/** How many of the twenty steps have something to change in a first run: the others wait for what these start. */
const CHANGES = 15;

/** How many of the runs that mostly wait for `pct` go on at once. They hinder each other a little, which is said with their times. */
const SIDE_BY_SIDE = 5;

/** A program that takes the twenty steps. */
interface Contender extends Program {
  readonly name: "ours" | "bash" | "Ansible";
  /** What it prints for each step that changed something. */
  readonly changed: RegExp;
}

const BASH: Contender = { name: "bash", argv: [`${folder}twenty_steps.sh`, "901"], changed: /: changed$/gm };

const ANSIBLE: Contender = {
  name: "Ansible",
  argv: ["/usr/bin/ansible-playbook", `${folder}twenty_steps.yml`],
  env: { ANSIBLE_CONFIG: `${folder}ansible/ansible.cfg` },
  changed: /^changed: /gm,
};

/** What the steps have made, without what is another each time and the notes that a program keeps for itself. */
const STATE = `
find /etc /srv /usr/local -xdev | LC_ALL=C sort | while read -r p; do
  [ -f "$p" ] && h=$(sha256sum <"$p") || h=
  echo "$(stat -c '%N %a %U %G' "$p") $h"
done
dpkg-query -W -f '\${Package} \${Version} \${db:Status-Status}\\n' | LC_ALL=C sort
for unit in inventory inventory-export; do systemctl show -p ActiveState,UnitFileState "$unit"; done
cat /run/inventory-*.ready /var/log/inventory.log
docker container inspect --format '{{.Config.Image}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}
{{json .HostConfig.PortBindings}} {{.HostConfig.NetworkMode}} {{json .Mounts}}' portainer
docker network inspect --format '{{.Name}} {{.Driver}}' inventory
docker volume ls`;

/** Measures the twenty steps, after making sure that all programs do the same with them. */
export async function twentySteps({ report, runs, few, work, say }: Bench): Promise<void> {
  say("twenty steps: building");
  const forms = await buildForms(work, "twenty_steps.ts", inventory);
  const ours: Contender = { name: "ours", ...(forms.script), changed: /: Step \d+: .*: changed \(/g };
  const ansible = await exists(ANSIBLE.argv[0]) ? ANSIBLE : undefined;
  if (!ansible) say("Ansible is left out, as it is not here: apt-get install ansible-core");
  await using bench = await BenchHost.begin();

  say("twenty steps: do all make the same, and nothing more in a second run?");
  const processes = await requireSame(bench, [ours, BASH, ...(ansible ? [ansible] : [])]);
  report.target("`pct` processes of a converged run of 20 steps", processes.get("ours")!, "=", 2);

  const medians = new Map<string, number>();
  const note = (name: string) =>
    name === "floor" ? "one `pct status`, one `pct exec … true`" : `${processes.get(name)} processes of \`pct\``;
  const add = (kind: "converged" | "first run", name: string, latency: number, values: readonly number[], how = "") => {
    const notes = [kind === "converged" ? note(name) : "", how].filter(Boolean);
    medians.set(
      `${kind} ${name} ${latency}`,
      report.add(`20 steps, ${kind}, \`pct\` at ${latency} s`, name, values, { note: notes.join("; ") }),
    );
  };
  const run = (contender: Contender | undefined) =>
    contender && (async () => (await bench.run(contender)).milliseconds);
  const floor = () =>
    timed(async () => {
      await bench.run({ argv: [PCT, "status", "901"] });
      await bench.run({ argv: [PCT, "exec", "901", "--", "true"] });
    });

  // Each keeps notes of its own of what it has started.
  for (const contender of [ours, BASH]) await bench.run(contender);
  for (const latency of [0, 0.1, 0.4]) {
    say(`twenty steps: converged, pct at ${latency} s`);
    await bench.setLatency(latency);
    const values = await interleaved(runs, { floor, ours: run(ours), bash: latency === 0 ? run(BASH) : undefined });
    for (const [name, each] of values) add("converged", name, latency, each);
  }
  await bench.setLatency(0);
  for (const [name, each] of await interleaved(few, { Ansible: run(ansible) })) add("converged", name, 0, each);

  // What takes many seconds and mostly waits for `pct` goes on side by side, each on a host of its own.
  say("twenty steps: bash and Ansible with pct at 0.1 and 0.4 s, and the first runs");
  const waits: { kind: "converged" | "first run"; contender: Contender | undefined; latency: number; times: number }[] =
    [
      { kind: "converged", contender: ansible, latency: 0.4, times: runs },
      { kind: "first run", contender: ansible, latency: 0.4, times: few },
      { kind: "first run", contender: BASH, latency: 0.4, times: few },
      { kind: "first run", contender: ours, latency: 0.4, times: few },
      { kind: "converged", contender: ansible, latency: 0.1, times: few },
      { kind: "converged", contender: BASH, latency: 0.4, times: runs },
      { kind: "converged", contender: BASH, latency: 0.1, times: runs },
    ];
  const measured = waits.flatMap(({ contender, ...one }) =>
    contender ? [{ ...one, contender, values: [] as number[] }] : []
  );
  await pooled(
    SIDE_BY_SIDE,
    BenchHost.begin,
    measured.flatMap(({ kind, contender, latency, times, values }) =>
      partsOf(times, 4).map((part) => async (own: BenchHost) => {
        await own.setLatency(0);
        if (kind === "converged") await own.run(contender);
        for (let run = 0; run < part; run++) {
          if (kind === "first run") await own.reset();
          await own.setLatency(latency);
          values.push((await own.run(contender)).milliseconds);
        }
      })
    ),
  );
  for (const { kind, contender, latency, values } of measured) {
    add(kind, contender.name, latency, values, `${SIDE_BY_SIDE} side by side`);
  }

  const times = (a: string, b: string) => medians.get(`converged ${a} 0.4`)! / medians.get(`converged ${b} 0.4`)!;
  report.target("converged 20 steps, `pct` at 0.4 s: ours ÷ floor", times("ours", "floor"), "≤", 1.25);
  report.target("the same: bash (side by side) ÷ ours (alone)", times("bash", "ours"), "≥", 8);
  if (ansible) report.target("the same: Ansible (side by side) ÷ ours (alone)", times("Ansible", "ours"), "≥", 20);
}

/** Makes sure that all contenders make the same of the same container. Gives the `pct` processes of each one's converged run. */
async function requireSame(bench: BenchHost, contenders: readonly Contender[]): Promise<Map<string, number>> {
  const processes = new Map<string, number>();
  let expected: string[] | undefined;
  for (const contender of contenders) {
    const { name } = contender;
    const changes = async () => (await bench.run(contender)).stdout.match(contender.changed)?.length ?? 0;
    await bench.reset();
    const first = await changes();
    if (first < CHANGES) throw new Error(`The first run of ${name} changed ${first} steps instead of ${CHANGES}`);
    await bench.host.forgetPctCalls();
    if (await changes() > 0) throw new Error(`The second run of ${name} changed something`);
    processes.set(name, (await bench.host.pctCalls()).length);
    const state = (await bench.inside(STATE)).split("\n");
    expected ??= state;
    const lacks = expected.filter((line) => !state.includes(line));
    const others = state.filter((line) => !expected!.includes(line));
    if (lacks.length + others.length > 0) {
      throw new Error(
        [`${name} makes something else:`, ...lacks.map((line) => `- ${line}`), ...others.map((line) => `+ ${line}`)]
          .join("\n"),
      );
    }
  }
  return processes;
}

/** A number as a sum of numbers that are not larger than `most`. */
function partsOf(number: number, most: number): number[] {
  return number <= most ? [number] : [most, ...partsOf(number - most, most)];
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
