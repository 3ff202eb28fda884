// The setups of system_test.ts.
import {
  command,
  exists,
  file,
  logLine,
  packages,
  type PackagesSpec,
  port,
  service,
  type ServiceSpec,
  setup,
  sh,
  succeeds,
  unitActive,
} from "../../../lib/mod.ts";

/** These packages as they are to be. */
export const withPackages = (names: string[], spec: PackagesSpec = {}) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(packages(names, spec));
  });

/** The service `app` as it is to be. */
export const appService = (spec: ServiceSpec) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(service("app", spec));
  });

/** A unit file with these lines, for a service that starts with the container. */
export const unitOf = (...lines: string[]) => {
  return ["[Service]", ...lines, "[Install]", "WantedBy=multi-user.target", ""].join("\n");
};

/**
 * An application that logs what its configuration is when it starts and when it reloads it, and a line that is waited
 * for.
 */
export const application = ({ content = "one\n", reload = false, says = "started with one" } = {}) =>
  setup(901, "Portainer", async ({ ensure }) => {
    const unit = `[Unit]
Description=An application
[Service]
ExecStart=/opt/app/start
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=200ms
[Install]
WantedBy=multi-user.target
`;
    const start = `#!/bin/bash
trap 'echo "reloaded with $(cat /etc/app.conf)"' HUP
echo "started with $(cat /etc/app.conf)"
while :; do sleep 0.05 & wait $!; done
`;
    await ensure(file("/opt/app/start", { mode: 0o755, content: start }));
    await ensure(file("/etc/app.conf", { content }));
    await ensure(service("app", { unit, reload, restartWith: ["/opt/app/start", "/etc/app.conf", "/etc/app.d"] }));
    await ensure(logLine("app", says));
  });

/** Starts `late.service`, and waits for what it does, one thing after the other. */
export const whatComesLate = setup(901, "Portainer", async ({ ensure }) => {
  // Not by `service`, which watches it for so long that all of it has come by then.
  await ensure(command("start", sh`systemctl start late`, { unless: sh`systemctl -q is-active late` }));
  await ensure(unitActive("late"));
  await ensure(logLine("/var/log/late", "$ready*"));
  await ensure(exists("/opt/flag"));
  await ensure(succeeds("the flag is a file", sh`[ -f /opt/flag ]`));
});

/** Starts `listen.service`, and looks for its port from inside and from the host. */
export const openPort = setup(901, "Portainer", { addresses: ["10.0.0.99:9443"] }, async ({ ensure }) => {
  await ensure(command("start", sh`systemctl start listen`, { unless: sh`systemctl -q is-active listen` }));
  await ensure(port(9443));
  await ensure(port(9443, { from: "host", address: "10.0.0.99" }));
});

/** A port at which nothing listens. */
export const closedPort = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(port(9444, { within: "300ms" }));
});

/** A unit that has failed. */
export const failedUnit = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(unitActive("bad", { within: "1h" }));
});

/** A file that only a unit which has failed could make. */
export const fileOfFailedUnit = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(exists("/opt/never", { within: "1h", while: unitActive("bad") }));
});

/** A line in the journal of `once.service`. */
export const lineInJournal = (within: "1m" | "300ms") =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(logLine("once", "ready", { within }));
  });

/** A file that somebody makes later. */
export const fileThatComes = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(exists("/opt/afterwards"));
});

/** A source of packages, and a package of which it has a newer version. */
export const newerSource = setup(901, "Portainer", async ({ ensure }) => {
  const content = "deb [trusted=yes] file:/opt/repository ./\n";
  await ensure(file("/etc/apt/sources.list.d/newer.list", { content }));
  await ensure(packages(["jq"]));
});
