/**
 * Twenty mixed steps, converged and for the first time: ours beside a bash script and Ansible.
 *
 * @module
 */

import type { Bench } from "./bench.ts";
import { BenchHost, folder, PCT, type Program } from "./bench_host.ts";
import { pooled, timed } from "./measure.ts";
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

/** What is measured on one host by one job: each contender in turn, all at one latency of `pct`. */
interface Row {
  readonly kind: "converged" | "first run";
  /** In seconds. */
  readonly latency: number;
  readonly contenders: readonly Contender[];
  /** Whether the floor is measured, too. */
  readonly floor: boolean;
  readonly times: number;
}

/** Measures the twenty steps, and makes sure with each run that all programs do the same with them. */
export async function twentySteps({ report, runs, few, work, say }: Bench): Promise<void> {
  say("twenty steps: building");
  const forms = await buildForms(work, "twenty_steps.ts", inventory);
  const ours: Contender = { name: "ours", ...(forms.script), changed: /: Step \d+: .*: changed \(/g };
  const ansible = await exists(ANSIBLE.argv[0]) ? [ANSIBLE] : [];
  if (ansible.length === 0) say("Ansible is left out, as it is not here: apt-get install ansible-core");
  const converged = { kind: "converged", contenders: [ours, BASH], floor: true, times: runs } as const;
  const measured = new Measured();

  say("twenty steps: with pct at 0 s");
  {
    await using bench = await TwentyStepsHost.begin(measured, ours);
    for (let run = 0; run < runs; run++) await bench.take({ ...converged, latency: 0 });
  }

  // What takes many seconds and mostly waits for `pct` goes on side by side, each on a host of its own; the longest come first.
  say("twenty steps: side by side, with pct at 0.4 and 0.1 s, first runs, and Ansible");
  const rows: Row[] = [
    { ...converged, latency: 0.4, contenders: [ours, BASH, ...ansible] },
    { kind: "first run", latency: 0.4, contenders: ansible, floor: false, times: few },
    { kind: "first run", latency: 0.4, contenders: [ours, BASH], floor: false, times: runs },
    { kind: "converged", latency: 0.1, contenders: ansible, floor: false, times: few },
    { kind: "converged", latency: 0, contenders: ansible, floor: false, times: few },
    { ...converged, latency: 0.1 },
  ];
  await pooled(
    SIDE_BY_SIDE,
    () => TwentyStepsHost.begin(measured, ours),
    rows.flatMap((row) => Array.from({ length: row.times }, () => (bench: TwentyStepsHost) => bench.take(row))),
  );
  measured.requireSame();

  const medians = new Map<string, number>();
  for (const { kind, latency, name, values } of measured.times()) {
    const processes = kind === "converged" && measured.processes.get(name);
    const notes = [
      name === "floor"
        ? "one `pct status`, one `pct exec … true`"
        : processes
        ? `${processes} processes of \`pct\``
        : "",
      latency > 0 || name === "Ansible" ? `${SIDE_BY_SIDE} side by side` : "",
    ];
    const note = notes.filter(Boolean).join("; ");
    const section = `20 steps, ${kind}, \`pct\` at ${latency} s`;
    medians.set(`${kind} ${name} ${latency}`, report.add(section, name, values, { note }));
  }
  const ratio = (a: string, b: string) => medians.get(`converged ${a} 0.4`)! / medians.get(`converged ${b} 0.4`)!;
  report.target("`pct` processes of a converged run of 20 steps", measured.processes.get("ours")!, "=", 2);
  report.target("converged 20 steps, `pct` at 0.4 s: ours ÷ floor", ratio("ours", "floor"), "≤", 1.25);
  report.target("the same: bash ÷ ours", ratio("bash", "ours"), "≥", 8);
  if (ansible.length > 0) report.target("the same: Ansible ÷ ours", ratio("Ansible", "ours"), "≥", 20);
}

/** What the runs of all hosts came to. */
class Measured {
  /** How many processes of `pct` a converged run takes. */
  readonly processes = new Map<string, number>();
  readonly #times = new Map<string, { kind: Row["kind"]; latency: number; name: string; values: number[] }>();
  /** What each contender makes of a container, in lines. */
  readonly #states = new Map<string, string[]>();

  add({ kind, latency }: Row, name: string, milliseconds: number): void {
    const of = `${kind} ${latency} ${name}`;
    if (!this.#times.has(of)) this.#times.set(of, { kind, latency, name, values: [] });
    this.#times.get(of)!.values.push(milliseconds);
  }

  /** All times, in the order of the table. */
  times() {
    const kinds = ["converged", "first run"];
    const names = ["floor", "ours", "bash", "Ansible"];
    return [...this.#times.values()].toSorted((a, b) =>
      kinds.indexOf(a.kind) - kinds.indexOf(b.kind) || a.latency - b.latency ||
      names.indexOf(a.name) - names.indexOf(b.name)
    );
  }

  addState(name: string, state: string): void {
    this.#states.set(name, state.split("\n"));
  }

  /** Makes sure that all contenders have made the same. */
  requireSame(): void {
    const expected = this.#states.get("ours")!;
    for (const [name, state] of this.#states) {
      const lacks = expected.filter((line) => !state.includes(line));
      const others = state.filter((line) => !expected.includes(line));
      if (lacks.length + others.length === 0) continue;
      throw new Error(
        [`${name} makes something else:`, ...lacks.map((line) => `- ${line}`), ...others.map((line) => `+ ${line}`)]
          .join("\n"),
      );
    }
  }
}

/** A host on which the twenty steps are taken. */
class TwentyStepsHost implements AsyncDisposable {
  /** Whether the programs find nothing to do. */
  #isConverged = false;

  private constructor(readonly bench: BenchHost, readonly measured: Measured, readonly ours: Contender) {}

  static async begin(measured: Measured, ours: Contender): Promise<TwentyStepsHost> {
    return new TwentyStepsHost(await BenchHost.begin(), measured, ours);
  }

  /** Measures one row once. A first run has to change what there is to change, and a run that finds nothing to do, nothing. */
  async take(row: Row): Promise<void> {
    const { bench, measured } = this;
    if (row.kind === "converged") await this.#converge();
    await bench.setLatency(row.latency);
    if (row.floor) {
      const milliseconds = await timed(async () => {
        await bench.run({ argv: [PCT, "status", "901"] });
        await bench.run({ argv: [PCT, "exec", "901", "--", "true"] });
      });
      measured.add(row, "floor", milliseconds);
    }
    for (const contender of row.contenders) {
      const { name } = contender;
      if (row.kind === "first run") {
        this.#isConverged = false;
        await bench.reset();
        await bench.setLatency(row.latency);
      }
      await bench.host.forgetPctCalls();
      const { milliseconds, stdout } = await bench.run(contender);
      measured.add(row, name, milliseconds);
      const changes = stdout.match(contender.changed)?.length ?? 0;
      if (row.kind === "converged") {
        if (changes > 0) throw new Error(`A run of ${name} changed ${changes} steps, of which none should differ`);
        measured.processes.set(name, (await bench.host.pctCalls()).length);
      } else {
        if (changes < CHANGES) throw new Error(`A first run of ${name} changed ${changes} steps instead of ${CHANGES}`);
        await bench.setLatency(0);
        measured.addState(name, await bench.inside(STATE));
      }
    }
    await bench.setLatency(0);
  }

  /** Lets each program run that keeps notes of its own of what it has started; Ansible's are those of the bash script. */
  async #converge(): Promise<void> {
    if (this.#isConverged) return;
    for (const contender of [this.ours, BASH]) await this.bench.run(contender);
    this.#isConverged = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.bench[Symbol.asyncDispose]();
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
