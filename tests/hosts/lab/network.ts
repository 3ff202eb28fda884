/**
 * What the containers of the lab find in their network: a registry of images that are made on the spot, and an archive
 * of packages that are. Nothing is fetched from anywhere.
 *
 *     deno run … network.ts make STATE      makes the images below STATE/images
 *     deno run … network.ts serve STATE     serves them as a registry and as Docker Hub's mirror, and STATE/packages,
 *                                           on port 5000
 *
 * @module
 */

import { APP, KNOWN_IMAGES } from "../simulated/docker/registry.ts";

const BUSYBOX = `mkdir -p bin etc tmp root && cp "$base"/bin/busybox bin/ && for applet in $(bin/busybox --list); do
  [ "$applet" = busybox ] || ln -s busybox bin/"$applet"
done
echo root:x:0:0:root:/root:/bin/sh >etc/passwd && echo root:x:0: >etc/group`;

/** Answers every request over TLS with 200, as far as that goes a Portainer. */
const PORTAINER = `mkdir -p usr/bin usr/lib/ssl && cp "$base"/usr/bin/openssl usr/bin/
printf '[req]\\ndistinguished_name = name\\n[name]\\n' >usr/lib/ssl/openssl.cnf
loader=$(cd "$base" && echo lib*/ld-linux*.so.*)
for library in "/$loader" $(chroot "$base" "/$loader" --list /usr/bin/openssl | sed -nE 's/.* => (\\/[^ ]*) \\(.*/\\1/p'); do
  mkdir -p ".$(dirname "$library")" && cp -L "$base$library" ".$library"
done
cat >portainer <<'END' && chmod 755 portainer
#!/bin/sh
[ -e /data/key ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=portainer -keyout /data/key -out /data/cert 2>/dev/null
trap 'kill $!; exit 0' TERM
openssl s_server -accept 9443 -key /data/key -cert /data/cert -www -quiet >/dev/null 2>&1 &
wait $!
END
mkdir -p data`;

const APPS =
  `printf '#!/bin/sh\\ntrap "exit 0" TERM\\nwhile :; do sleep 1000 & wait $!; done\\n' >app && chmod 755 app && cp app app2`;

/**
 * The images: of the configurations that the simulated host's have, and with layers, each a script that lays the files
 * into its working directory, an empty one; `$base` is the containers' base.
 */
const IMAGES = [
  { name: "alpine:3.22", ...KNOWN_IMAGES["alpine:3.22"]!, layers: [BUSYBOX] },
  { name: "busybox:1.37", ...KNOWN_IMAGES["busybox:1.37"]!, layers: [BUSYBOX] },
  { name: "team/app:1", ...APP, layers: [BUSYBOX, APPS] },
  { name: "app:1", ...APP, layers: [BUSYBOX, APPS] },
  {
    name: "portainer/portainer-ce:2.33.1",
    ...KNOWN_IMAGES["portainer/portainer-ce:2.33.1"]!,
    layers: [BUSYBOX, PORTAINER],
  },
];

/** How the registry is called by those who have to log in. */
const PRIVATE = "registry.lan:5000";
const MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";

async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return `sha256:${new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex()}`;
}

/** Makes all images, unless they are there and are newer than what says how. */
async function make(state: string): Promise<void> {
  const folder = `${state}/images`;
  const made = await Deno.stat(`${folder}/index.json`).catch(() => undefined);
  const sources = [import.meta.url, import.meta.resolve("../simulated/docker/registry.ts")].map((url) => new URL(url));
  const changed = await Promise.all([...sources, `${state}/base.key`].map((source) => Deno.stat(source)));
  if (made !== undefined && changed.every(({ mtime }) => mtime! < made.mtime!)) return;
  await Deno.mkdir(folder, { recursive: true });
  const store = async (bytes: Uint8Array<ArrayBuffer>) => {
    const digest = await digestOf(bytes);
    await Deno.writeFile(`${folder}/${digest}`, bytes);
    return { digest, size: bytes.length };
  };
  const index: Record<string, string> = {};
  const layers = new Map<string, { diffId: string; digest: string; size: number }>();
  for (const image of IMAGES) {
    for (const script of image.layers.filter((layer) => !layers.has(layer))) {
      const tar = await layerOf(script, `${state}/base`);
      const zipped = await new Response(new Blob([tar]).stream().pipeThrough(new CompressionStream("gzip"))).bytes();
      layers.set(script, { diffId: await digestOf(tar), ...await store(zipped) });
    }
    const of = image.layers.map((layer) => layers.get(layer)!);
    const config = await store(new TextEncoder().encode(JSON.stringify({
      architecture: Deno.build.arch === "aarch64" ? "arm64" : "amd64",
      os: "linux",
      // Of images of one time, Docker lists now this one first and now that one.
      created: image.name.startsWith("team/") ? image.created.replace("00:00Z", "00:01Z") : image.created,
      config: image.config,
      rootfs: { type: "layers", diff_ids: of.map(({ diffId }) => diffId) },
      history: of.map(() => ({ created: "2025-09-01T00:00:00Z" })),
    })));
    const manifest = await store(new TextEncoder().encode(JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: { mediaType: "application/vnd.docker.container.image.v1+json", ...config },
      layers: of.map(({ digest, size }) => ({
        mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip",
        digest,
        size,
      })),
    })));
    index[image.name.includes("/") ? image.name : `library/${image.name}`] = manifest.digest;
  }
  await Deno.writeTextFile(`${folder}/index.json`, JSON.stringify(index));
}

async function layerOf(script: string, base: string): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await Deno.makeTempDir();
  try {
    const line =
      `set -e; cd "$0"; base=$1; ${script}\ntar --owner=0 --group=0 --numeric-owner --mtime=@0 --sort=name -cf - *`;
    const { code, stdout, stderr } = await new Deno.Command("/bin/sh", { args: ["-c", line, folder, base] }).output();
    if (code !== 0) throw new Error(`A layer cannot be made: ${new TextDecoder().decode(stderr)}`);
    return stdout;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/**
 * What a case has told the simulated Docker of a container, here 901: the private registry goes by it, too.
 */
async function told<T>(name: string): Promise<Partial<T>> {
  return JSON.parse(await Deno.readTextFile(`/var/lib/lxc/901/tree/var/lib/docker/${name}.json`).catch(() => "{}"));
}

async function knowsLogin(authorization: string | null): Promise<boolean> {
  const { logins } = await told<{ logins: Record<string, Record<string, string>> }>("registry");
  return Object.entries(logins?.[PRIVATE] ?? {}).some(([user, password]) =>
    authorization === `Basic ${new TextEncoder().encode(`${user}:${password}`).toBase64()}`
  );
}

let failures = 0;
let fails = false;
let previous = "";
/**
 * Whether the network holds out for a request; it may be slow. A pull by a tag begins with a HEAD; where that fails, Docker
 * asks again with a GET, and with containerd's image store it does not.
 */
async function networkLasts(method: string): Promise<boolean> {
  const { pull } = await told<{ pull: { error?: string; times?: number; delay?: number } }>("knobs");
  if (pull?.delay !== undefined) await new Promise((resolve) => setTimeout(resolve, pull.delay));
  if (pull?.error === undefined) failures = 0;
  if (previous !== "HEAD" || method !== "GET") {
    fails = pull?.error !== undefined && failures < (pull.times ?? Infinity);
    if (fails) failures++;
  }
  previous = method;
  return !fails;
}

/** Of the registry's API, what a login and a pull use. */
async function serve(state: string): Promise<void> {
  const folder = `${state}/images`;
  const index: Record<string, string> = JSON.parse(await Deno.readTextFile(`${folder}/index.json`));
  // With a detail, as registries have it: without one, Docker shows the message alone.
  const error = (status: number, code: string, headers: HeadersInit = {}) => {
    const message = code.toLowerCase().replaceAll("_", " ");
    return Response.json({ errors: [{ code, message, detail: {} }] }, { status, headers });
  };
  await Deno.serve({ hostname: "0.0.0.0", port: 5000, onListen() {} }, async ({ method, url, headers }) => {
    const { pathname } = new URL(url);
    // By this name it is one that wants a login.
    if (headers.get("host") === PRIVATE && pathname.startsWith("/v2/")) {
      if (!await knowsLogin(headers.get("authorization"))) {
        return error(401, "UNAUTHORIZED", { "www-authenticate": `Basic realm="${PRIVATE}"` });
      }
      if (pathname !== "/v2/" && !await networkLasts(method)) return error(503, "GATEWAY_TIMEOUT");
    }
    if (pathname === "/v2/") return Response.json({});
    const [, file] = /^\/packages\/(?:\.\/)?([^/]+)$/.exec(decodeURIComponent(pathname)) ?? [];
    if (file !== undefined) {
      const content = await Deno.readFile(`${state}/packages/${file}`).catch(() => undefined);
      return content === undefined ? new Response(null, { status: 404 }) : new Response(content);
    }
    const [, name, kind, reference = ""] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(pathname) ?? [];
    const digest = reference.startsWith("sha256:") ? reference : index[`${name}:${reference}`];
    const bytes = digest && await Deno.readFile(`${folder}/${digest}`).catch(() => undefined);
    if (!digest || !bytes) return error(404, kind === "manifests" ? "MANIFEST_UNKNOWN" : "BLOB_UNKNOWN");
    return new Response(method === "HEAD" ? null : bytes, {
      headers: {
        "content-type": kind === "manifests" ? MANIFEST : "application/octet-stream",
        "content-length": String(bytes.length),
        "docker-content-digest": digest,
      },
    });
  }).finished;
}

const [verb, state = ""] = Deno.args;
await (verb === "serve" ? serve : make)(state);
