// The benchmark's workload as a setup: twenty mixed steps. `../twenty_steps.sh` and `../twenty_steps.yml` make the same
// things true.
import {
  absent,
  command,
  docker,
  exists,
  file,
  http,
  line,
  logLine,
  main,
  packages,
  port,
  service,
  setup,
  sh,
  unitActive,
} from "../../../lib/mod.ts";

export const inventory = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(packages(["curl", "jq", "rsync"]));
  await ensure(packages(["nano"], { state: "absent" }));

  await ensure(file("/etc/motd", { content: "Inventory of the fleet. Changes here are overwritten.\n" }));
  await ensure(file("/etc/inventory.conf", {
    group: "www-data",
    mode: 0o640,
    content: `INTERVAL=60
ADDRESS=10.0.0.99
LOG=/var/log/inventory.log
`,
  }));
  await ensure(file("/etc/inventory.token", { mode: 0o600, content: "3f1c6c9ae0d94d6b\n" }));
  await ensure(file("/usr/local/sbin/inventory", {
    mode: 0o755,
    content: `#!/bin/sh
# Keeps the inventory; says when it is ready.
. /etc/inventory.conf
echo "ready, every $INTERVAL s" >"$LOG"
touch "/run/inventory-$1.ready"
exec sleep infinity
`,
  }));
  await ensure(line("/etc/hosts", { line: "10.0.0.20 registry.internal", match: /registry\.internal$/ }));
  await ensure(line("/etc/login.defs", { line: "UMASK 027", match: /^UMASK\b/ }));
  await ensure(absent("/etc/inventory.old"));

  await ensure(command("folder /srv/inventory", sh`install -d -m 750 -g www-data /srv/inventory`, {
    creates: "/srv/inventory",
  }));
  await ensure(command("index of the inventory", sh`printf '{"hosts": []}\n' >/srv/inventory/index.json`, {
    creates: "/srv/inventory/index.json",
  }));

  await ensure(service("inventory", { unit: unit("Inventory", "collect"), restartWith: ["/etc/inventory.conf"] }));
  await ensure(service("inventory-export", { unit: unit("Export of the inventory", "export") }));

  await ensure(docker.network("inventory"));
  await ensure(docker.container("portainer", {
    image: "portainer/portainer-ce:2.33.1",
    networks: ["inventory"],
    ports: ["9443:9443"],
    volumes: ["portainer_data:/data"],
    restart: "always",
  }));

  await ensure(exists("/run/inventory-collect.ready"));
  await ensure(logLine("/var/log/inventory.log", "ready"));
  await ensure(unitActive("inventory-export"));
  await ensure(port(9443));
  await ensure(http("https://localhost:9443", { insecure: true, while: docker.running("portainer") }));
});

function unit(description: string, duty: string): string {
  return `[Unit]
Description=${description}

[Service]
ExecStart=/usr/local/sbin/inventory ${duty}
Restart=on-failure

[Install]
WantedBy=multi-user.target
`;
}

if (import.meta.main) await main(inventory);
