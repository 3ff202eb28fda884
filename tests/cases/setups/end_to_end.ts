// The setups of end_to_end_test.ts.
import { command, docker, file, http, setup, sh } from "../../../lib/mod.ts";

/** The content of `/opt/deep/er/app.conf`. */
export const APP_CONF = "läuft: 'quoted' \"$HOME\" `id`\nno newline at the end";

/** A file, and a command with each kind of guard and with none. */
export const fileAndCommands = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(file("/opt/deep/er/app.conf", { content: APP_CONF, mode: 0o640, group: "daemon" }));
  await ensure(command("mark", sh`touch /opt/mark`, { creates: "/opt/mark" }));
  await ensure(command("greeting", sh`echo hello >/opt/greeting`, { unless: sh`grep -q hello /opt/greeting` }));
  await ensure(command("date", sh`date`));
});

/** A command that succeeds, and does not make what its guard looks for. */
export const brokenPromise = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(command("lie", sh`echo done`, { creates: "/opt/never" }));
});

/** A command that fails, between others. */
export const failing = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(command("mark", sh`touch /opt/before`, { creates: "/opt/before" }));
  await ensure(
    command("migration", sh`echo "no such table: users" >&2; exit 3`, { creates: "/opt/migrated" }),
  );
  await ensure(command("never", sh`touch /opt/after`, { creates: "/opt/after" }));
});

/** A container of an image of Alpine Linux. */
export const web = (tag: string) =>
  setup(901, "Portainer", async ({ ensure }) => {
    // With an init, which hands on the signal to stop: `sleep` as a first process would be waited for, for 30 seconds.
    await ensure(docker.container("web", { image: `alpine:${tag}`, init: true, command: ["sleep", "1000"] }));
  });

/** The same container, whose command ends at once. */
export const webThatEnds = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(docker.container("web", { image: "alpine:3.22", command: ["false"] }));
});

/** A command that takes its time, and leaves its process number in `/tmp/pid`. */
export const slow = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(command("slow", sh`echo $$ >/tmp/pid; sleep 600`));
});

export const quick = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(command("quick", sh`true`));
});

/** Reaches an address that it does not declare. */
export const undeclaredAddress = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(http("http://10.0.0.98:80", { from: "host" }));
});

/** A failing step that is not awaited, in a setup that never ends by itself. */
export const notAwaited = setup(901, "Portainer", async ({ ensure }) => {
  ensure(command("fails", sh`exit 3`));
  await new Promise(() => {});
});
