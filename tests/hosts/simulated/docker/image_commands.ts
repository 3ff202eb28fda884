/**
 * The commands on images, and the logins that pulls need.
 *
 * @module
 */

import { change, complain, eachOrFail, encoder, filters, look, print, writeAll } from "./client.ts";
import { parseReference } from "./containers.ts";
import { Exit, type Given, Refusal } from "./flags.ts";
import { humanAge, humanSize, listTime, type Row, showRows } from "./format.ts";
import {
  clientConfigFile,
  credentialKey,
  digestsOf,
  isLogin,
  loadImages,
  pull,
  reference,
  removeImage,
  requireImage,
  saveImages,
  short,
  tagsOf,
  throwNetworkFault,
} from "./images.ts";
import { now, replaceFile, textOf } from "./state.ts";

/** `docker pull`. */
export async function pullImage(given: Given): Promise<void> {
  const [text = ""] = given.arguments;
  const name = parseReference(text);
  const quiet = given.is("quiet");
  if (!quiet && !name.complete) print("Using default tag: latest");
  await look();
  await pull(name, quiet ? () => {} : print);
  print(
    `${name.registry}/${name.path}${name.tag === "" ? "" : `:${name.tag}`}${
      name.digest === "" ? "" : `@${name.digest}`
    }`,
  );
}

/** `docker images`. */
export async function images(given: Given): Promise<void> {
  const state = await look();
  const full = given.is("no-trunc");
  const [only] = given.arguments;
  const wanted = filters(given, ["reference", "dangling"]);
  const rows: Row[] = [];
  for (const image of Object.values(state.images).sort((a, b) => a.Created < b.Created ? 1 : -1)) {
    const tags = tagsOf(state, image).map(reference);
    const digests = digestsOf(state, image).map(reference);
    const untagged = digests.filter(({ name }) => !tags.some((tag) => tag.name === name));
    const names = [...tags, ...untagged];
    const row = (Repository: string, Tag: string, Digest: string): Row => ({
      Containers: "N/A",
      CreatedAt: listTime(image.Created),
      CreatedSince: `${humanAge(image.Created)} ago`,
      Digest,
      ID: full ? image.Id : short(image.Id),
      Repository,
      SharedSize: "N/A",
      Size: humanSize(image.Size),
      Tag,
      UniqueSize: "N/A",
      VirtualSize: humanSize(image.Size, 4),
    });
    if (
      names.length === 0 && only === undefined &&
      !wanted.some(([name, value]) => name === "reference" || value === "false")
    ) {
      rows.push(row("<none>", "<none>", "<none>"));
    }
    for (const { name, tag, familiar } of names) {
      if (only !== undefined && !matchesReference(only, name, tag)) continue;
      if (
        !wanted.every(([filter, value]) =>
          filter === "reference" ? matchesReference(value, name, tag) : value === "false"
        )
      ) continue;
      const digest = given.is("digests") ? digests.find((digest) => digest.name === name)?.digest : undefined;
      rows.push(row(name, familiar.includes("@") ? "<none>" : tag, digest ?? "<none>"));
    }
  }
  if (given.is("quiet") && given.text("format") === undefined) {
    return [...new Set(rows.map(({ ID = "" }) => ID))].forEach(print);
  }
  const digest: [string, string][] = given.is("digests") ? [["Digest", "DIGEST"]] : [];
  writeAll(
    Deno.stdout,
    encoder.encode(showRows(rows, given.text("format"), [
      ["Repository", "REPOSITORY"],
      ["Tag", "TAG"],
      ...digest,
      ["ID", "IMAGE ID"],
      ["CreatedSince", "CREATED"],
      ["Size", "SIZE"],
    ])),
  );
}

/** Whether a pattern such as `busybox`, `busybox:1.*` or `ghcr.io/owner/*` means this image. */
function matchesReference(pattern: string, name: string, tag: string): boolean {
  const glob = new RegExp(
    `^${pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^/]*").replaceAll("?", "[^/]")}$`,
  );
  return glob.test(`${name}:${tag}`) || glob.test(name);
}

/** `docker rmi`. */
export async function removeImages(given: Given): Promise<void> {
  await eachOrFail(given.arguments, async (name) => {
    const lines = await change((state) => removeImage(state, name, given.is("force")));
    return lines.join("\n");
  });
}

/** `docker tag`. */
export async function tag(given: Given): Promise<void> {
  const [source = "", target = ""] = given.arguments;
  let name: string;
  try {
    name = reference(target).familiar;
  } catch (error) {
    throw new Exit(
      1,
      `Error parsing reference: ${JSON.stringify(target)} is not a valid repository/tag: ${
        error instanceof Error ? error.message : ""
      }`,
    );
  }
  await change((state) => {
    const image = requireImage(state, source);
    state.tags[name] = image.Id;
    image.LastTagTime = now();
  });
}

/** `docker load`. */
export async function load(given: Given): Promise<void> {
  const input = given.text("input");
  let data: Uint8Array<ArrayBuffer>;
  if (input === undefined) {
    if (Deno.stdin.isTerminal()) throw new Exit(1, "requested load from stdin, but stdin is empty");
    data = await new Response(Deno.stdin.readable).bytes();
  } else {
    try {
      data = await Deno.readFile(input);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new Exit(1, `open ${input}: no such file or directory`);
    }
  }
  await look();
  (await loadImages(data)).forEach(print);
}

/** `docker save`. */
export async function save(given: Given): Promise<void> {
  const output = given.text("output");
  const folder = output?.includes("/") ? output.slice(0, output.lastIndexOf("/")) || "/" : ".";
  if (output !== undefined && !isFolder(folder)) {
    throw new Exit(1, `failed to save image: invalid output path: directory ${JSON.stringify(folder)} does not exist`);
  }
  if (output === undefined && Deno.stdout.isTerminal()) {
    throw new Exit(1, "cowardly refusing to save to a terminal. Use the -o flag or redirect");
  }
  const archive = await saveImages(await look(), given.arguments);
  if (output === undefined) writeAll(Deno.stdout, archive);
  else Deno.writeFileSync(output, archive, { mode: 0o600 });
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

interface ClientConfig {
  auths?: Record<string, { auth?: string }>;
}

function changeClientConfig(work: (config: ClientConfig) => void): void {
  const file = clientConfigFile();
  const config = JSON.parse(textOf(file) ?? "{}") as ClientConfig;
  work(config);
  Deno.mkdirSync(file.slice(0, file.lastIndexOf("/")), { recursive: true, mode: 0o700 });
  replaceFile(file, JSON.stringify(config, null, "\t"));
  Deno.chmodSync(file, 0o600);
}

/** `docker login`. */
export async function login(given: Given): Promise<void> {
  const registry = given.arguments[0] ?? "docker.io";
  const user = given.text("username");
  let password = given.text("password");
  if (given.is("password-stdin")) {
    if (user === undefined) throw new Exit(1, "Must provide --username with --password-stdin");
    password = (await new Response(Deno.stdin.readable).text()).replace(/\r?\n$/, "");
  } else if (password !== undefined) {
    complain("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
  }
  if (user === undefined || password === undefined) {
    throw new Exit(1, "Error: Cannot perform an interactive login from a non TTY device");
  }
  await look();
  await throwNetworkFault(registry);
  if (!isLogin(registry, user, password)) {
    const host = registry === "docker.io" ? "registry-1.docker.io" : registry;
    throw new Refusal(`Get "https://${host}/v2/": unauthorized: incorrect username or password`);
  }
  changeClientConfig((config) => {
    config.auths = { ...config.auths, [credentialKey(registry)]: { auth: btoa(`${user}:${password}`) } };
  });
  complain(`WARNING! Your password will be stored unencrypted in ${clientConfigFile()}.`);
  complain("Configure a credential helper to remove this warning. See");
  complain("https://docs.docker.com/engine/reference/commandline/login/#credentials-store\n");
  print("Login Succeeded");
}

/** `docker logout`. */
export function logout(given: Given): Promise<void> {
  const key = credentialKey(given.arguments[0] ?? "docker.io");
  print(`Removing login credentials for ${key}`);
  changeClientConfig((config) => delete config.auths?.[key]);
  return Promise.resolve();
}
