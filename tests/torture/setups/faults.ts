// The setups that run while everything around them breaks.
import {
  command,
  type Duration,
  file,
  type Secret,
  setup,
  type SetupContext,
  sh,
  snapshot,
  type Step,
} from "../../../lib/mod.ts";

/** The content of `/srv/app/small`. */
export const SMALL = "läuft: 'quoted' \"$HOME\" `id`\n".repeat(40);

/** The file of the host that becomes `/srv/app/large`. */
export const LARGE_ON_HOST = "/usr/local/phoenix_hypervisor/lib/large.bin";

/** The file of the host with a secret. */
export const SECRET_ON_HOST = "/usr/local/phoenix_hypervisor/etc/trial_token.conf";

/** Looks, for as long as somebody holds it. */
const looked: Step<boolean> = {
  title: "somebody looks",
  async probe({ container }) {
    const waits = sh`while [ -e /srv/hold-probe ]; do : >/srv/held; sleep 0.05; done; test -e /srv/app/small`;
    return (await container.read(waits, { codes: [0, 1] })).code === 0;
  },
  diff: (there) => there ? [] : [{ what: "/srv/app/small", to: "there" }],
  apply: () => Promise.resolve(),
};

async function steps({ ensure, secret }: SetupContext, token?: Secret): Promise<void> {
  await ensure(file("/srv/app/small", { content: SMALL, mode: 0o640 }));
  await ensure(looked);
  await ensure(file("/srv/app/large", { from: LARGE_ON_HOST, mode: 0o600 }));
  token ??= await secret("token", { file: SECRET_ON_HOST });
  await ensure(file("/srv/app/token", { content: token, mode: 0o600 }));
  const applied = sh`while [ -e /srv/hold-apply ]; do : >/srv/held; sleep 0.05; done
echo done >/srv/app/.a && mv /srv/app/.a /srv/app/applied`;
  await ensure(command("applied", applied, { creates: "/srv/app/applied", environment: { TOKEN: token } }));
}

/**
 * A setup with one step of each way into the container: through the session, by a transfer of its own, with a secret.
 */
export const work = setup(901, "Portainer", (context) => steps(context));

/** The same, and a snapshot, each part of which has so much time. */
export const withSnapshot = (within: Duration) =>
  setup(901, "Portainer", async (context) => {
    await steps(context);
    await context.ensure(snapshot("base", { within }));
  });

/** Files on a disk of 1 MB, where something was before. */
export const onSmallDisk = (content: string) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(file("/opt/small/file", { content }));
  });

/** Writes down what surrounds a command, and has a secret printed. */
export const surroundings = setup(901, "Portainer", async ({ ensure, secret }) => {
  const token = await secret("token", { file: SECRET_ON_HOST });
  await ensure(file("/srv/größe", { content: "größe ✓" }));
  await ensure(file("/srv/token", { content: token, mode: 0o600 }));
  const where = sh`{ pwd; umask; echo "$LC_ALL$BASH_ENV$ENV$CDPATH"; } >/srv/where
for n in 0 1 2; do [ ! -t $n ] || echo "$n is a terminal"; done >>/srv/where
printf '%s\n' "$TOKEN" | grep -c . >>/srv/where; sleep 0.2; echo "said $TOKEN" >&2`;
  await ensure(command("where", where, { creates: "/srv/where", environment: { TOKEN: token } }));
});
