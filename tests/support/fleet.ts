/**
 * The fleet's setups on hosts of their own: the state that they leave, and damage to it.
 *
 * @module
 */

import { fleet } from "../hosts/fleet.ts";
import type { Random } from "./random.ts";
import { emittedBy, tracesOf } from "./secrets.ts";
import { TestHost } from "./test_host.ts";

/** Boots a host with one container of the fleet. */
export async function beginFleetHost(ctid: number): Promise<TestHost> {
  return await TestHost.begin((await fleet()).find((container) => container.ctid === ctid)!);
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
  const snapshots = await testHost.snapshots();
  const { stdout: host } = await testHost.host.run("/bin/sh", [
    "-c",
    "cd /usr/local/phoenix_hypervisor && find . -type f -exec sha256sum {} + | sort; ls -A /run/phoenix_setup 2>/dev/null | grep -v lock",
  ]);
  return JSON.stringify({ inside: inside.split("\n"), docker, images, snapshots, host: host.split("\n") }, null, 1);
}

/** Does up to four things that people and accidents do to what a setup made, and gives them as commands. */
export async function damage(testHost: TestHost, random: Random): Promise<string[]> {
  const lines = async (script: string) => (await testHost.inside(script)).split("\n").filter(Boolean);
  const files = await lines(
    "find /etc /opt /srv /usr/local -xdev -type f -newer /etc/machine-id ! -path '/etc/machine-id' 2>/dev/null | sort",
  );
  const containers = await lines("docker ps -a --format '{{.Names}}' | sort");
  const images = await lines("docker images --format '{{.Repository}}:{{.Tag}}' | sort");
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

/** The secrets of a host, each with all that gives it away, by the file that it is in. */
async function secretsOf(testHost: TestHost): Promise<Map<string, string[]>> {
  const secrets = new Map<string, string[]>();
  for (const file of ["phoenix_hf_token.conf", "phoenix_docker_token.conf"]) {
    const secret = (await Deno.readTextFile(`${testHost.host.etc}/${file}`)).trim().replace(/^\w+=/, "");
    secrets.set(file, tracesOf(secret));
  }
  return secrets;
}

/** The files with secrets of which something is in what runs printed, or in what else they left behind. */
export async function leaksOf(testHost: TestHost, printed: readonly string[]): Promise<string[]> {
  const all = [...printed, await emittedBy(testHost.host)].join("\n");
  return [...await secretsOf(testHost)].filter(([, traces]) => traces.some((trace) => all.includes(trace)))
    .map(([file]) => file);
}
