/**
 * The simulated host beside the lab: the same calls of `pct` and of `docker` on both, and every difference. What their
 * answers may differ in stands with the calls, with the reason.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { CannotRunHere, type ContainerToCreate, type ProxmoxHost } from "../host.ts";
import { imageArchive } from "../simulated/docker/archive.ts";
import { SimulatedHost } from "../simulated/simulated_host.ts";
import { COMPARISON, noteCase } from "./cases.ts";
import * as docker from "./compared_docker.ts";
import { CALLS, CASES, comparable, pct } from "./compared_pct.ts";
import { LabHost } from "./lab_host.ts";

const lab = Deno.env.get("PHOENIX_LAB");

const PORTAINER: ContainerToCreate = { ctid: 901, hostname: "Portainer", ip: "10.0.0.99" };

/** Registers a test that asks two hosts with these containers the same. */
function compare(
  what: string,
  containers: readonly ContainerToCreate[],
  ask: (t: Deno.TestContext, simulated: ProxmoxHost, real: ProxmoxHost) => Promise<void>,
): void {
  const name = `${COMPARISON}: ${what}`;
  Deno.test({
    name: lab ? name : `${name} (needs the lab: deno task lab)`,
    ignore: !lab,
    fn: (t) =>
      noteCase(lab!, t, name, async (t) => {
        await using simulated = await SimulatedHost.temporary({ containers });
        await using real = await LabHost.begin(lab!, containers);
        await ask(t, simulated, real);
      }),
  });
}

compare("pct", [PORTAINER, { ctid: 905, hostname: "stopped", running: false }], async (t, simulated, real) => {
  for (const args of CALLS) {
    await t.step(`pct ${JSON.stringify(args).slice(0, 200)}`, async () => {
      assertEquals(comparable(await pct(simulated, args)), comparable(await pct(real, args)));
    });
  }
  for (const [name, run] of Object.entries(CASES)) {
    await t.step(name, async () => assertEquals(await run(simulated), await run(real)));
  }
});

compare("docker", [PORTAINER], async (t, simulated, real) => {
  const { archive } = await imageArchive(docker.ARCHIVED.image, [docker.ARCHIVED.name]);
  const hosts = await Promise.all([simulated, real].map(async (host) => {
    const inside = (script: string, stdin?: string | Uint8Array<ArrayBuffer>) =>
      pct(host, ["exec", "901", "--", "sh", "-c", script], stdin === undefined ? {} : { stdin });
    const { stdout: version } = await inside("docker version --format '{{.Server.Version}}'");
    if (!version.startsWith(docker.VERSION)) {
      throw new CannotRunHere(`the stand-in is that of Docker ${docker.VERSION}, here is ${version.trim()}`);
    }
    await inside("mkdir -p /var/lib/docker && cat >/var/lib/docker/registry.json", JSON.stringify(docker.REGISTRY));
    await inside("cat >/tmp/server.tar", archive);
    return inside;
  }));
  for (const [subject, calls] of Object.entries(docker.DOCKER_CALLS)) {
    for (const call of calls.trim().split(/\n(?! )/)) {
      await t.step(`${subject}: ${call.replaceAll(/\s+/g, " ").slice(0, 200)}`, async () => {
        const [ofSimulated, ofReal] = await Promise.all(hosts.map((inside) => inside(docker.PREAMBLE + call)));
        assertEquals(...docker.comparable(ofSimulated!, ofReal!));
      });
    }
  }
});
