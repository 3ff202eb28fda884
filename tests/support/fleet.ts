/**
 * The fleet's setups on hosts of their own: the state that they leave, damage to it, and secrets that got out.
 *
 * @module
 */

import { project, TestHost } from "./test_host.ts";

/** Random numbers that a seed repeats: each call gives an integer from 0 to below `below`. */
export function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    // Mulberry32.
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** The containers that there is a setup for. */
export async function setups(): Promise<number[]> {
  const names = await Array.fromAsync(Deno.readDir(`${project}setups`));
  return names.map(({ name }) => Number(/^(\d+)\.ts$/.exec(name)?.[1])).filter((ctid) => ctid > 0)
    .sort((a, b) => a - b);
}

interface Fleet {
  lxc_configs: Record<string, { name: string; network_config: { ip: string } }>;
}

/** Boots a host with one container of the fleet, as the configuration has it. */
export async function beginWith(ctid: number): Promise<TestHost> {
  const fleet: Fleet = JSON.parse(
    await Deno.readTextFile(`${project}tests/hosts/simulated/etc/phoenix_lxc_configs.json`),
  );
  const { name, network_config } = fleet.lxc_configs[ctid]!;
  return await TestHost.begin({ ctid, hostname: name, ip: network_config.ip.split("/")[0]! });
}

/** What a setup can leave behind, without what differs from run to run: ids, times, process numbers. */
export async function stateOf(testHost: TestHost): Promise<string> {
  const inside = await testHost.inside(`
    find / /usr/local -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /usr/lib/simulated -o -path /var/lib/docker -o -path /var/cache -o -path /var/log \\) -prune \\
      -o -newer /etc/machine-id \\( -type f -o -type l \\) -print0 | sort -z | xargs -0 -r stat -c '%n %a %u:%g'
    find /etc /opt /srv /root /usr/local /var/lib/phoenix_setup -xdev -type f -newer /etc/machine-id -print0 2>/dev/null | sort -z | xargs -0 -r sha256sum`);
  const containers: Record<string, unknown>[] = JSON.parse(
    await testHost.inside(`ids=$(docker ps -aq); [ -z "$ids" ] && echo '[]' || docker container inspect $ids`),
  );
  const docker = containers.map((info) => {
    const { Name, Image, Config, HostConfig, State } = info as Record<string, Record<string, unknown>>;
    return [
      Name,
      Image,
      Config!.Env,
      Config!.Cmd,
      Config!.Labels,
      (HostConfig!.Binds as string[] | null)?.toSorted(), // Docker keeps them in no order
      HostConfig!.PortBindings,
      HostConfig!.RestartPolicy,
      State!.Running,
    ];
  }).sort((a, b) => String(a[0]) < String(b[0]) ? -1 : 1);
  const images = await testHost.inside("docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort");
  const { stdout: snapshots } = await testHost.host.run("/usr/sbin/pct", ["listsnapshot", String(testHost.ctid)]);
  const names = [...snapshots.matchAll(/\`-> (\S+)/g)].map(([, name]) => name);
  const { stdout: host } = await testHost.host.run("/bin/sh", [
    "-c",
    "cd /usr/local/phoenix_hypervisor && find . -type f -exec sha256sum {} + | sort; ls -A /run/phoenix_setup 2>/dev/null | grep -v lock",
  ]);
  return JSON.stringify({ inside: inside.split("\n"), docker, images, names, host: host.split("\n") }, null, 1);
}

/** Does up to four things that people and accidents do to what a setup made, and gives them as commands. */
export async function damage(testHost: TestHost, random: (below: number) => number): Promise<string[]> {
  const files = (await testHost.inside(
    "find /etc /opt /srv /usr/local -xdev -type f -newer /etc/machine-id ! -path '/etc/machine-id' 2>/dev/null | sort",
  )).split("\n").filter(Boolean);
  const containers = (await testHost.inside("docker ps -a --format '{{.Names}}' | sort")).split("\n").filter(Boolean);
  const images = (await testHost.inside("docker images --format '{{.Repository}}:{{.Tag}}' | sort")).split("\n").filter(
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
  if (accidents.length === 0) return [];
  const done = Array.from({ length: 1 + random(4) }, () => accidents[random(accidents.length)]!());
  for (const command of done) await testHost.inside(`{ ${command}; } >/dev/null 2>&1; true`);
  return done;
}

/** The forms in which a secret could show; Base64 at each of its three offsets, without the characters that its neighbours decide. */
export function formsOf(secret: string): string[] {
  return [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    ...[0, 1, 2].map((offset) =>
      new TextEncoder().encode(" ".repeat(offset) + secret).toBase64().replace(/=+$/, "").slice(4, -4)
    ),
  ];
}

/** The secrets of a host, each in every form in which it could get out, by the file that it is in. */
export async function secretsOf(testHost: TestHost): Promise<Map<string, string[]>> {
  const secrets = new Map<string, string[]>();
  for (const file of ["phoenix_hf_token.conf", "phoenix_docker_token.conf"]) {
    const secret = (await Deno.readTextFile(`${testHost.host.etc}/${file}`)).trim().replace(/^\w+=/, "");
    secrets.set(file, formsOf(secret));
  }
  return secrets;
}

/** The files with secrets of which something is in what was emitted, in the central log or in the log of `pct`. */
export async function leaksOf(testHost: TestHost, emitted: readonly string[]): Promise<string[]> {
  const { host } = testHost;
  const { stdout: locks } = await host.run("/bin/sh", ["-c", "cat /run/phoenix_setup/* 2>/dev/null"]);
  const all = [
    ...emitted,
    locks,
    await Deno.readTextFile(host.logFile).catch(() => ""), // a host on which nothing ran yet has none
    await Deno.readTextFile(`${host.stateDirectory}/pct.log`),
  ].join("\n");
  return [...await secretsOf(testHost)].filter(([, forms]) => forms.some((form) => all.includes(form)))
    .map(([file]) => file);
}
