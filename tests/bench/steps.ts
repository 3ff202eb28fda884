/**
 * Twenty mixed steps, converged and for the first time: ours beside a bash script and Ansible.
 *
 * @module
 */

import type { Bench } from "./bench.ts";
import { BenchHost, folder, PCT, type Program } from "./bench_host.ts";
import { timed } from "./measure.ts";
import { buildForms } from "./ours.ts";
import { inventory } from "./setups/twenty_steps.ts";

/** How many of the twenty steps have something to change in a first run: the others wait for what these start. */
const CHANGES = 15;

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

/**
 * Prints what the steps have made, without what differs each time and without the notes that a program keeps for
 * itself.
 */
const STATE = `
find /etc /srv /usr/local -xdev ! -path /etc/machine-id ! -path /etc/docker/key.json | LC_ALL=C sort | while read -r p; do
  [ -f "$p" ] && [ ! -L "$p" ] && h=$(sha256sum <"$p") || h=
  echo "$(stat -c '%N %a %U %G' "$p") $h"
done
dpkg-query -W -f '\${Package} \${Version} \${db:Status-Status}\\n' | LC_ALL=C sort
for unit in inventory inventory-export; do systemctl show -p ActiveState,UnitFileState "$unit"; done
cat /run/inventory-*.ready /var/log/inventory.log
docker container inspect --format '{{.Config.Image}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}
{{json .HostConfig.PortBindings}} {{.HostConfig.NetworkMode}} {{json .Mounts}}' portainer
docker network inspect --format '{{.Name}} {{.Driver}}' inventory
docker volume ls --quiet`;

/** What is measured on one host by one job: each contender in turn, all at one latency of `pct`. */
interface Row {
  readonly kind: "converged" | "first run";
  /** In seconds. */
  readonly latency: number;
  readonly contenders: readonly Contender[];
  /** Whether the floor is measured, too. */
  readonly floor: boolean;
  readonly times: number;
  /**
   * How many of them go on at once, each on a host of its own: those of which most of the time is that of a `pct` that
   * sleeps.
   */
  readonly atOnce: number;
}

/** Measures the twenty steps, and makes sure with each run that all programs do the same with them. */
export async function twentySteps({ report, runs, few, work, say }: Bench): Promise<void> {
  say("twenty steps: building");
  const forms = await buildForms(work, inventory);
  const ours: Contender = { name: "ours", ...(forms.script), changed: /: Step \d+: .*: changed \(/g };
  const ansible = await exists(ANSIBLE.argv[0]) ? [ANSIBLE] : [];
  if (ansible.length === 0) say("Ansible is left out, as it is not here: apt-get install ansible-core");
  const alone = { contenders: [ours], floor: true, times: runs, atOnce: 1 };
  const bash = { contenders: [BASH], floor: false, times: runs };
  const slow = { contenders: ansible, floor: false, times: few, atOnce: 4 };
  const rows: Row[] = [
    { ...alone, kind: "converged", latency: 0, contenders: [ours, BASH] },
    { ...alone, kind: "converged", latency: 0.1 },
    { ...alone, kind: "converged", latency: 0.4 },
    { ...bash, kind: "converged", latency: 0.1, atOnce: 4 },
    { ...bash, kind: "converged", latency: 0.4, atOnce: 4 },
    { ...bash, kind: "first run", latency: 0, atOnce: 4, contenders: [ours, BASH] },
    { ...slow, kind: "converged", latency: 0.4, times: runs },
    { ...slow, kind: "converged", latency: 0 },
    { ...slow, kind: "first run", latency: 0 },
  ];

  const measured = new Measured();
  await using hosts = await TwentyStepsHosts.begin(Math.max(...rows.map(({ atOnce }) => atOnce)), measured, ours);
  for (const row of rows) {
    const names = row.contenders.map(({ name }) => name).join(" and ");
    if (names === "") continue;
    say(`twenty steps: ${names}, ${row.kind}, pct at ${row.latency} s`);
    await hosts.take(row);
  }
  measured.requireSame();

  const medians = new Map<string, number>();
  for (const { row: { kind, latency, atOnce }, name, values } of measured.times()) {
    const processes = kind === "converged" && measured.processes.get(name);
    const notes = [
      name === "floor"
        ? "one `pct status`, one `pct exec … true`"
        : processes
        ? `${processes} processes of \`pct\``
        : "",
      atOnce > 1 ? `${atOnce} side by side` : "",
    ];
    const note = notes.filter(Boolean).join("; ");
    const section = `20 steps, ${kind}, \`pct\` at ${latency} s`;
    medians.set(`${kind} ${name} ${latency}`, report.add(section, name, values, { note }));
  }
  const ratio = (a: string, b: string) => medians.get(`converged ${a} 0.4`)! / medians.get(`converged ${b} 0.4`)!;
  report.target("`pct` processes of a converged run of 20 steps", measured.processes.get("ours")!, "=", 2);
  report.target("converged 20 steps, `pct` at 0.4 s: ours ÷ floor", ratio("ours", "floor"), "≤", 1.25);
  report.target("the same: bash (4 side by side) ÷ ours (alone)", ratio("bash", "ours"), "≥", 8);
  if (ansible.length > 0) {
    report.target("the same: Ansible (4 side by side) ÷ ours (alone)", ratio("Ansible", "ours"), "≥", 20);
  }
}

/** What the runs of all hosts came to. */
class Measured {
  /** How many processes of `pct` a converged run takes. */
  readonly processes = new Map<string, number>();
  readonly #times = new Map<string, { row: Row; name: string; values: number[] }>();
  /** What each contender makes of a container, in lines. */
  readonly #states = new Map<string, string[]>();

  add(row: Row, name: string, milliseconds: number): void {
    const of = `${row.kind} ${row.latency} ${name}`;
    if (!this.#times.has(of)) this.#times.set(of, { row, name, values: [] });
    this.#times.get(of)!.values.push(milliseconds);
  }

  /** All times, in the order of the table. */
  times() {
    const kinds = ["converged", "first run"];
    const names = ["floor", "ours", "bash", "Ansible"];
    return [...this.#times.values()].toSorted((a, b) =>
      kinds.indexOf(a.row.kind) - kinds.indexOf(b.row.kind) || a.row.latency - b.row.latency ||
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

/** Hosts on which the twenty steps are taken. */
class TwentyStepsHosts implements AsyncDisposable {
  private constructor(readonly hosts: readonly TwentyStepsHost[]) {}

  static async begin(count: number, measured: Measured, ours: Contender): Promise<TwentyStepsHosts> {
    const hosts = await Promise.all(
      Array.from({ length: count }, async () => new TwentyStepsHost(await BenchHost.begin(), measured, ours)),
    );
    return new TwentyStepsHosts(hosts);
  }

  /** Measures one row as often as it says. */
  async take(row: Row): Promise<void> {
    let left = row.times;
    await Promise.all(
      this.hosts.slice(0, row.atOnce).map(async (host) => {
        while (left-- > 0) await host.take(row);
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { bench } of this.hosts) await bench[Symbol.asyncDispose]();
  }
}

/** One of these hosts. */
class TwentyStepsHost {
  /** Whether the programs find nothing to do. */
  #isConverged = false;

  constructor(readonly bench: BenchHost, readonly measured: Measured, readonly ours: Contender) {}

  /** Measures one row once. A first run has to change what there is to change, and a converged run nothing. */
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

  /**
   * Runs each program that keeps notes of what it has started, until it finds nothing to do. Ansible uses those of the
   * bash script.
   */
  async #converge(): Promise<void> {
    if (this.#isConverged) return;
    for (const contender of [this.ours, BASH]) await this.bench.run(contender);
    this.#isConverged = true;
  }
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
