// The setups of host_test.ts.
import {
  command,
  docker,
  exists,
  file,
  hostBlock,
  hostCommand,
  hostFile,
  script,
  service,
  setup,
  type SetupContext,
  sh,
  snapshot,
  type Step,
  succeeds,
} from "../../../lib/mod.ts";
import type { CommandFailed } from "../../../lib/errors.ts";

/** The folder with the host's configuration. */
export const ETC = "/usr/local/phoenix_hypervisor/etc";

/** The folder in which the host's own files are written. */
export const LIB = "/usr/local/phoenix_hypervisor/lib";

/** Says on stdout how a step failed, and goes on. */
async function said<State>(step: Step<State>, ensure: SetupContext["ensure"]): Promise<void> {
  await ensure(step).catch((error: CommandFailed) => console.log("Caught:", error.exitCode, error.message));
}

/** Commands with each kind of guard, as another user, with a secret. */
export const commands = setup(901, "Portainer", async ({ ensure, secret }) => {
  const token = await secret("API token", { file: `${ETC}/token.conf` });
  await ensure(command("key", sh`echo key >/opt/key`, { creates: "/opt/key" }));
  await ensure(command("greeting", sh`echo hello >/opt/greeting`, { unless: sh`grep -q hello /opt/greeting` }));
  await ensure(
    command("migration", sh`rm /opt/pending; echo x >>/opt/migrations`, { onlyIf: sh`[ -e /opt/pending ]` }),
  );
  const report = sh`{ id -un; pwd; echo "$HOME"; echo "$GREETING"; } >report
cat /proc/[0-9]*/cmdline >argv 2>/dev/null
printf %s "$TOKEN" >token`;
  await ensure(command("report", report, {
    unless: sh`[ "$(cat token)" = "$TOKEN" ] && [ "$(id -un)" = daemon ] && [ -e report ]`,
    user: "daemon",
    directory: "/srv/a b",
    environment: { GREETING: "it's $HOME", TOKEN: token },
  }));
  await ensure(command("now", sh`date >>/opt/now`));
});

/** Commands that cannot be run as stated, or whose guard cannot. */
export const impossibleCommands = setup(901, "Portainer", async ({ ensure }) => {
  const guards = { none: {}, unless: { unless: sh`false` }, creates: { creates: "/opt/never" } };
  const failing = {
    "an unknown user": { user: "nosuch" },
    "no folder": { directory: "/srv/none" },
    "a folder that is closed to its user": { user: "daemon", directory: "/root/closed" },
  };
  const ran = sh`touch /opt/ran`;
  const steps = [
    ...Object.entries(guards).flatMap(([guard, one]) =>
      Object.entries(failing).map(([name, other]) => command(`${name}, guard ${guard}`, ran, { ...one, ...other }))
    ),
    command("a guard that is missing", ran, { unless: sh`nosuchprogram` }),
    command("a guard that is killed", ran, { onlyIf: sh`kill -9 $$` }),
    command("a guard that is no shell", ran, { unless: sh`/etc/passwd` }),
  ];
  for (const step of steps) {
    await ensure(step).catch((error: CommandFailed) => console.log(`Caught: ${step.title}: ${error.message}`));
  }
});

/** Commands that are tried again: one that succeeds at last, one that never does, one that takes too long. */
export const triedAgain = setup(901, "Portainer", async ({ ensure }) => {
  const second = sh`echo x >>/opt/second; [ "$(wc -l </opt/second)" = 2 ]`;
  const never = sh`echo x >>/opt/never; echo "try $(wc -l </opt/never)" >&2; exit 7`;
  const steps = [
    command("second time", second, { creates: "/opt/second", retries: 3 }),
    command("never", never, { retries: 1 }),
    command("too slow", sh`echo x >>/opt/slow; exec sleep 60`, { retries: 1, timeout: "300ms" }),
  ];
  for (const step of steps) {
    await ensure(step).catch((error: CommandFailed) => {
      const { evidence } = error.cause as CommandFailed;
      console.log("Caught:", error.exitCode, error.message, evidence.stderr);
    });
  }
});

/** A command that is tried ten times and never succeeds. */
export const triedForLong = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(command("never", sh`echo x >>/opt/tries; exit 1`, { retries: 9 }));
});

/** A file, a block and a command of the host. */
export const onTheHost = setup(901, "Portainer", {
  writes: [LIB],
  commands: ["/usr/bin/cp", "/usr/bin/cmp"],
}, async ({ ensure }) => {
  const [names, copy] = [`${LIB}/names`, `${LIB}/copy`];
  await ensure(hostFile(`${LIB}/901.json`, { content: "{}\n", mode: 0o640 }));
  await ensure(hostBlock(names, { name: "901", content: "10.0.0.99 portainer" }));
  await ensure(hostCommand("copy", ["/usr/bin/cp", names, copy], { unless: ["/usr/bin/cmp", "-s", names, copy] }));
});

/** What is unclear on the host, or cannot be run there. */
export const impossibleOnTheHost = setup(901, "Portainer", {
  writes: [LIB],
  commands: ["/usr/bin/cp", "/usr/bin/nosuch", "/bin/sh", "/bin/false", "/bin/true"],
}, async ({ ensure }) => {
  await said(hostBlock(`${LIB}/names`, { name: "901", content: "x" }), ensure);
  await said(hostFile(`${LIB}/none/x`, { content: "x" }), ensure);
  await said(hostFile(LIB, { content: "x" }), ensure);
  const killed = ["/bin/sh", "-c", "kill -9 $$"] as const;
  await said(hostCommand("x", ["/usr/bin/cp"], { unless: ["/usr/bin/nosuch"] }), ensure);
  await said(hostCommand("x", ["/usr/bin/cp"], { unless: killed }), ensure);
  await said(hostCommand("x", ["/usr/bin/cp"], { unless: ["/bin/false"] }), ensure);
  await said(hostCommand("x", ["/bin/true"], { unless: ["/bin/false"] }), ensure);
});

/** A file of the host outside of what is declared. */
export const undeclaredHostFile = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(hostFile("/etc/motd.phoenix", { content: "x" }));
});

/** A snapshot. */
export const withSnapshot = (name: string, description?: string) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(snapshot(name, description === undefined ? {} : { description }));
  });

/** A snapshot, and a step after it. */
export const snapshotAndMore = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(snapshot("base-3"));
  await ensure(command("after", sh`touch /opt/after`));
});

/** One command. */
export const mark = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(command("mark", sh`touch /opt/mark`, { creates: "/opt/mark" }));
});

/** Two waits, the first of which begins when the case wants it to. */
export const waitsBesideStops = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(exists("/opt"));
  console.log("reached stop");
  while (!await Deno.stat(`${ETC}/stop`).catch(() => undefined)) await new Promise((go) => setTimeout(go, 20));
  await ensure(exists("/opt/started", { within: "5m" }));
  const thawed = sh`touch /opt/looking; until [ -e /opt/thawed ]; do sleep 0.05; done`;
  await ensure(succeeds("thawed", thawed, { within: "5m" }));
});

/** A file, a service that reads it and a script that depends on it. */
export const dependents = (content: string, mode: number) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(file("/etc/app.conf", { content, mode }));
    await ensure(service("app", {
      unit: "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n",
      restartWith: ["/etc/app.conf"],
    }));
    await ensure(script("index", { content: "true", inputs: ["/etc/app.conf"] }));
  });

/** A secret in a file, in the environment of a container, and in what a failing command prints in each way there is. */
export const withSecret = setup(901, "Portainer", async ({ ensure, secret }) => {
  const token = await secret("API token", { file: `${ETC}/token.conf` });
  await ensure(file("/opt/token", { content: token }));
  await ensure(docker.container("web", {
    image: "alpine:3.22",
    command: ["sleep", "1000"],
    environment: { TOKEN: token },
  }));
  const leak = sh`echo ${token}; printf %s ${token} | base64; cat /opt/token >&2; ps ax >&2; exit 3`;
  await ensure(command("leak", leak));
});

/** A secret that is not there. */
export const missingSecret = setup(901, "Portainer", async ({ secret }) => {
  await secret("API token", { file: `${ETC}/none.conf` });
});
