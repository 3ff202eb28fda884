/**
 * The laws that every setup obeys. A setup falls under them by being in `setups/`; nobody has to write a test for it.
 *
 * The random parts print their seed; `PHOENIX_SEED` repeats them.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { RunEvent } from "../lib/events.ts";
import { eventsOf, obstacle, project, Trial } from "./trial.ts";

const seed = Number(
  (obstacle === undefined && Deno.env.get("PHOENIX_SEED")) || crypto.getRandomValues(new Uint32Array(1))[0]!,
);

/** Random numbers that a seed repeats. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    // Mulberry32.
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

interface Fleet {
  lxc_configs: Record<string, { name: string; network_config: { ip: string } }>;
}

async function setups(): Promise<number[]> {
  const names = await Array.fromAsync(Deno.readDir(`${project}setups`));
  return names.map(({ name }) => Number(/^(\d+)\.ts$/.exec(name)?.[1])).filter((ctid) => ctid > 0).sort((a, b) =>
    a - b
  );
}

async function begin(ctid: number): Promise<Trial> {
  const fleet: Fleet = JSON.parse(await Deno.readTextFile(`${project}lib/simulated/etc/phoenix_lxc_configs.json`));
  const { name, network_config } = fleet.lxc_configs[ctid]!;
  return await Trial.begin({ ctid, hostname: name, ip: network_config.ip.split("/")[0]! });
}

type StepFinished = RunEvent & { event: "step finished" };

/** Runs the setup with JSON lines; all that it emitted is kept for the law of secrets. */
async function run(
  trial: Trial,
  emitted: string[],
  ...options: string[]
): Promise<{ code: number; steps: StepFinished[] }> {
  const { code, stdout, stderr } = await trial.run(undefined, ["--json", ...options, String(trial.ctid)]);
  emitted.push(stdout, stderr);
  const steps = eventsOf(stdout).filter((event): event is StepFinished => event.event === "step finished");
  if (code !== 0 && code !== 10) console.error(stdout, stderr);
  return { code, steps };
}

/** What a setup can leave behind, without what differs from run to run: ids, times, process numbers. */
async function stateOf(trial: Trial): Promise<string> {
  const inside = await trial.inside(`
    find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /usr/lib/simulated -o -path /var/lib/docker -o -path /var/cache -o -path /var/log \\) -prune \\
      -o -newer /etc/machine-id \\( -type f -o -type l \\) -print0 | sort -z | xargs -0 -r stat -c '%n %a %u:%g'
    find /etc /opt /srv /root /usr/local /var/lib/phoenix_setup -xdev -type f -newer /etc/machine-id -print0 2>/dev/null | sort -z | xargs -0 -r sha256sum`);
  const containers: Record<string, unknown>[] = JSON.parse(
    await trial.inside(`ids=$(docker ps -aq); [ -z "$ids" ] && echo '[]' || docker container inspect $ids`),
  );
  const docker = containers.map((info) => {
    const { Name, Image, Config, HostConfig, State } = info as Record<string, Record<string, unknown>>;
    return [
      Name,
      Image,
      Config!.Env,
      Config!.Cmd,
      Config!.Labels,
      HostConfig!.Binds,
      HostConfig!.PortBindings,
      HostConfig!.RestartPolicy,
      State!.Running,
    ];
  }).sort((a, b) => String(a[0]) < String(b[0]) ? -1 : 1);
  const images = await trial.inside("docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort");
  const { stdout: snapshots } = await trial.host.run("/usr/sbin/pct", ["listsnapshot", String(trial.ctid)]);
  const names = [...snapshots.matchAll(/\`-> (\S+)/g)].map(([, name]) => name);
  const { stdout: host } = await trial.host.run("/bin/sh", [
    "-c",
    "cd /usr/local/phoenix_hypervisor && find . -type f -exec sha256sum {} + | sort; ls -A /run/phoenix_setup 2>/dev/null | grep -v lock",
  ]);
  return JSON.stringify({ inside: inside.split("\n"), docker, images, names, host: host.split("\n") }, null, 1);
}

/** Does up to four things that people and accidents do to what a setup made. */
async function damage(trial: Trial, random: (below: number) => number): Promise<string[]> {
  const files = (await trial.inside(
    "find /etc /opt /srv /usr/local -xdev -type f -newer /etc/machine-id ! -path '/etc/machine-id' 2>/dev/null | sort",
  )).split("\n").filter(Boolean);
  const containers = (await trial.inside("docker ps -a --format '{{.Names}}' | sort")).split("\n").filter(Boolean);
  const images = (await trial.inside("docker images --format '{{.Repository}}:{{.Tag}}' | sort")).split("\n").filter(
    Boolean,
  );
  const one = (of: string[]) => of[random(of.length)]!;
  const accidents = [
    ...(files.length === 0 ? [] : [
      () => `rm -f '${one(files)}'`,
      () => `echo damaged >>'${one(files)}'`,
      () => `chmod 777 '${one(files)}'`,
    ]),
    ...(containers.length === 0 ? [] : [
      () => `docker stop -t 1 ${one(containers)}`,
      () => `docker rm -f ${one(containers)}`,
      () => `docker kill ${one(containers)}`,
    ]),
    ...(images.length === 0 ? [] : [() => `docker rmi -f ${one(images)}`]),
  ];
  const done = Array.from({ length: 1 + random(4) }, () => accidents[random(accidents.length)]!());
  for (const command of done) await trial.inside(`${command} >/dev/null 2>&1; true`);
  return done;
}

const unchanged = (steps: StepFinished[]) =>
  steps.map(({ title, outcome }) => `${title}: ${outcome}`).filter((line) => !line.endsWith(": unchanged"));

Deno.test({
  name: obstacle === undefined ? "every setup obeys the laws" : `every setup obeys the laws (${obstacle})`,
  ignore: obstacle !== undefined,
  async fn(t) {
    console.log(`PHOENIX_SEED=${seed}`);
    // All at once, each on a host of its own: most of the time goes into waiting for what was started.
    const concurrent = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false };
    await Promise.all(
      (await setups()).map((ctid) => t.step({ name: String(ctid), fn: (t) => obeysTheLaws(ctid, t), ...concurrent })),
    );
  },
});

async function obeysTheLaws(ctid: number, t: Deno.TestContext): Promise<void> {
  const random = generator(seed + ctid);
  const emitted: string[] = [];
  await using trial = await begin(ctid);
  let reference = "";
  let titles: string[] = [];

  await t.step("check mode writes nothing, and predicts what the run then changes", async () => {
    const before = await stateOf(trial);
    const predicted = await run(trial, emitted, "--check");
    assertEquals(predicted.code, 10);
    assertEquals(await stateOf(trial), before);
    const { code, steps } = await run(trial, emitted);
    assertEquals(code, 0);
    titles = steps.map(({ title }) => title);
    assertEquals(predicted.steps.map(({ title }) => title), titles);
    // Of a wait for what is not started yet, check mode says that it cannot tell.
    const told = predicted.steps.filter(({ outcome }) => outcome !== "skipped").map(({ title }) => title);
    assertEquals(
      steps.filter(({ title, outcome }) => outcome === "changed" && told.includes(title)).map(({ title }) => title),
      predicted.steps.filter(({ outcome }) => outcome === "would change").map(({ title }) => title),
    );
    reference = await stateOf(trial);
  });

  await t.step(
    "run twice, the second run is all unchanged, in two processes of pct beside those of snapshots",
    async () => {
      const { code, steps } = await run(trial, emitted);
      assertEquals([code, unchanged(steps)], [0, []]);
      const calls = (await trial.host.pctCalls()).filter(([subcommand]) => subcommand !== "listsnapshot");
      assertEquals(calls.map(([subcommand]) => subcommand), ["status", "exec"]);
    },
  );

  await t.step("after random damage, one run mends it, and check mode predicts that", async () => {
    const done = (await damage(trial, random)).join("; ");
    const before = await stateOf(trial);
    const predicted = await run(trial, emitted, "--check");
    assertEquals(await stateOf(trial), before, `check mode after: ${done}`);
    assertEquals((await run(trial, emitted)).code, 0, done);
    assertEquals(await stateOf(trial), reference, done);
    assertEquals(predicted.code, before === reference ? 0 : 10, done);
    const { steps } = await run(trial, emitted);
    assertEquals(unchanged(steps), [], done);
  });

  await t.step("killed at each step, then run again, the end is that of an undisturbed run", async () => {
    await using fresh = await begin(ctid);
    for (const [index, title] of titles.entries()) {
      const child = fresh.host.command(
        Deno.execPath(),
        [...await fresh.deno(`${project}setups/${ctid}.ts`), "--json", String(ctid)],
        { stdout: "piped", stderr: "null" },
      ).spawn();
      let heard = "";
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
        heard += text;
        if (
          eventsOf(heard.slice(0, heard.lastIndexOf("\n") + 1)).some((event) =>
            event.event === "step started" && event.number > index
          )
        ) break;
      }
      await new Promise((resolve) => setTimeout(resolve, random(400)));
      try {
        child.kill("SIGKILL");
      } catch { /* it was faster */ }
      await child.status;
      emitted.push(heard);
      assert(heard.includes(title), `killed at "${title}"`);
    }
    assertEquals((await run(fresh, emitted)).code, 0);
    assertEquals(await stateOf(fresh), reference);
    assertEquals(unchanged((await run(fresh, emitted)).steps), []);
  });

  await t.step("no secret is anywhere in what was emitted", async () => {
    emitted.push(
      await Deno.readTextFile(trial.host.logFile),
      await Deno.readTextFile(`${trial.host.stateDirectory}/pct.log`),
    );
    const all = emitted.join("\n");
    for (const file of ["phoenix_hf_token.conf", "phoenix_docker_token.conf"]) {
      const secret = (await Deno.readTextFile(`${trial.host.etc}/${file}`).catch(() => "")).trim().replace(
        /^\w+=/,
        "",
      );
      if (secret === "") continue;
      const bytes = new TextEncoder().encode(secret);
      for (
        const form of [
          secret,
          bytes.toBase64().replace(/=+$/, ""),
          encodeURIComponent(secret),
          JSON.stringify(secret).slice(1, -1),
        ]
      ) {
        assert(!all.includes(form), `${file} was emitted`);
      }
    }
  });
}

// Requirements, section 1: each script is independent of every other one.
Deno.test({
  name: "no setup imports another one",
  ignore: Deno.permissions.querySync({ name: "read" }).state !== "granted",
  async fn() {
    for (const ctid of await setups()) {
      const text = await Deno.readTextFile(`${project}setups/${ctid}.ts`);
      assertEquals([...text.matchAll(/\bfrom "(.*)"|\bimport\("(.*)"\)/g)].map(([, path]) => path), ["../lib/mod.ts"]);
    }
  },
});
