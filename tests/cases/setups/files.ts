// The setups of files_test.ts.
import { absent, block, file, line, script, setup, tree } from "../../../lib/mod.ts";

/** Where the host keeps what is copied: every setup may read there. */
export const HOST_FOLDER = "/usr/local/phoenix_hypervisor/lib";

/** Content of this length, in bytes. */
export const bytesOf = (length: number) => new Uint8Array(length).map((_, i) => i % 256);

/** A step of each kind that writes files or runs scripts. */
export const oneOfEach = setup(901, "Portainer", async ({ ensure, secret }) => {
  await ensure(file("/opt/models/a model.gguf", {
    from: `${HOST_FOLDER}/model.gguf`,
    owner: "www-data",
    mode: 0o440,
  }));
  await ensure(tree("/srv/site", { from: `${HOST_FOLDER}/site`, group: "www-data", remove: true }));
  await ensure(line("/etc/app/app.conf", { line: "mode safe", match: /^#?mode / }));
  await ensure(block("/etc/app/app.conf", { name: "fleet", content: "peer=10.0.0.99" }));
  await ensure(absent("/opt/old"));
  await ensure(script("build", {
    from: `${HOST_FOLDER}/build.sh`,
    arguments: ["/etc/app/app.conf"],
    inputs: ["/etc/app/app.conf"],
    environment: { TOKEN: await secret("token", { file: `${HOST_FOLDER}/token` }) },
    timeout: "1m",
  }));
  await ensure(script("as user", { content: "{ id -un; echo $HOME; } >/tmp/who", user: "www-data", when: "once" }));
});

/** Files of these lengths, stated by content and as copies of the host's. */
export const ofLengths = (...lengths: number[]) =>
  setup(901, "Portainer", async ({ ensure }) => {
    for (const length of lengths) {
      await ensure(file(`/opt/content/${length}`, { content: bytesOf(length) }));
      await ensure(file(`/opt/copy/${length}`, { from: `${HOST_FOLDER}/${length}` }));
    }
  });

/** Files of these names, each with its name as its content. */
export const named = (...names: string[]) =>
  setup(901, "Portainer", async ({ ensure }) => {
    for (const name of names) await ensure(file(`/opt/names/${name}`, { content: name }));
  });

/** No files of these names. */
export const namedAbsent = (...names: string[]) =>
  setup(901, "Portainer", async ({ ensure }) => {
    for (const name of names) await ensure(absent(`/opt/names/${name}`));
  });

/** A copy of one of the host's files. */
export const copy = (path: string, from: string) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(file(path, { from }));
  });

/** Nothing at a path. */
export const nothingAt = (path: string) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(absent(path));
  });

/** A script that takes its time unless there is `/opt/quick`, and leaves its process number in `/tmp/pid`. */
export const slowScript = (timeout: "2s" | "1m") =>
  setup(901, "Portainer", async ({ ensure }) => {
    const content = "echo $$ >/tmp/pid; [ -e /opt/quick ] || sleep 600; echo ran >>/opt/ran";
    await ensure(script("slow", { content, timeout }));
  });
