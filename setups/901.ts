#!/usr/bin/env -S deno run --no-prompt --allow-run=/usr/sbin/pct -R=/usr/sbin/pct,/etc/pve,/usr/local/phoenix_hypervisor,/run/phoenix_setup -W=/var/log,/run/phoenix_setup -E=PHOENIX_*,NO_COLOR,TERM,PATH,NODE_V8_COVERAGE -N=10.0.0.99:9443
// 901: the Portainer server that manages every Docker host of the fleet.
import { docker, http, main, setup } from "../lib/mod.ts";

export const portainer = setup(901, "Portainer", { addresses: ["10.0.0.99:9443"] }, async (context) => {
  const { ensure, config, hypervisor } = context;
  const { portainerServerPort, portainerAgentPort } = hypervisor;

  await ensure(docker.engine());
  await ensure(docker.image("portainer/portainer-ce:2.33.1"));
  await ensure(docker.container("portainer", {
    image: "portainer/portainer-ce:2.33.1",
    ports: [`${portainerServerPort}:9443`, `${portainerAgentPort}:9001`],
    volumes: ["/var/run/docker.sock:/var/run/docker.sock", "portainer_data:/data"],
    restart: "always",
  }));

  const alive = { insecure: true, while: docker.running("portainer") };
  await ensure(http(`https://localhost:${portainerServerPort}`, { within: "2m", ...alive }));
  await ensure(http(`https://${config.ip}:${portainerServerPort}`, { from: "host", within: "30s", ...alive }));
});

if (import.meta.main) await main(portainer);
