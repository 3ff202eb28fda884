/**
 * The archives of images that `docker load` reads, and making them.
 *
 * @module
 */

import { Exit, notSupported } from "./cli.ts";
import { STATE_DIRECTORY } from "./files.ts";
import type { Behaviour, ImageConfig, KnownImage } from "./registry.ts";
import { type Image, now } from "./state.ts";

/** The content of a file. */
type Bytes = Uint8Array<ArrayBuffer>;

/** The file in an image's only layer that says what no configuration of an image does: how its containers behave. */
const BEHAVIOUR_FILE = "docker-stand-in.json";
const BLOCK_BYTES = 512;

const encode = (text: string): Bytes => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

async function digestOf(data: Bytes): Promise<string> {
  return `sha256:${new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex()}`;
}

// --- making ----------------------------------------------------------------------------------------------------------

/** The parts of an image, as they are in archives and registries. */
interface Blobs {
  /** The digest of its configuration. */
  readonly id: string;
  readonly config: Bytes;
  readonly layer: Bytes;
  readonly layerDigest: string;
  /** The digest of its manifest. */
  readonly digest: string;
  readonly manifest: Bytes;
}

/** Makes the parts of an image. */
export async function blobsOf({ config, behaviour, created }: KnownImage): Promise<Blobs> {
  const layer = tar(new Map([[BEHAVIOUR_FILE, encode(JSON.stringify(behaviour))]]));
  const layerDigest = await digestOf(layer);
  const rootfs = { type: "layers", diff_ids: [layerDigest] };
  const configFile = encode(JSON.stringify({
    ...{ architecture: "amd64", os: "linux", created, config, rootfs },
    history: [{ created, created_by: "docker stand-in" }],
  }));
  const id = await digestOf(configFile);
  const part = (kind: string, digest: string, { length }: Bytes) => ({
    mediaType: `application/vnd.oci.image.${kind}`,
    digest,
    size: length,
  });
  const manifest = encode(JSON.stringify({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: part("config.v1+json", id, configFile),
    layers: [part("layer.v1.tar", layerDigest, layer)],
  }));
  return { id, config: configFile, layer, layerDigest, manifest, digest: await digestOf(manifest) };
}

/**
 * An archive as `docker save` writes it from version 25 on, with one image that is in no registry; and the image's id.
 */
export async function imageArchive(
  image: KnownImage,
  tags: readonly string[],
): Promise<{ readonly archive: Bytes; readonly id: string }> {
  const { id, config, layer, layerDigest, manifest, digest } = await blobsOf(image);
  const path = (digest: string) => `blobs/${digest.replace(":", "/")}`;
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: tags.map((tag) => ({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest,
      size: manifest.length,
      annotations: {
        "io.containerd.image.name": `docker.io/${tag}`,
        "org.opencontainers.image.ref.name": tag.replace(/.*:/, ""),
      },
    })),
  };
  const archive = tar(
    new Map([
      [path(id), config],
      [path(layerDigest), layer],
      [path(digest), manifest],
      ["index.json", encode(JSON.stringify(index))],
      ["manifest.json", encode(JSON.stringify([{ Config: path(id), RepoTags: tags, Layers: [path(layerDigest)] }]))],
      ["oci-layout", encode(JSON.stringify({ imageLayoutVersion: "1.0.0" }))],
    ]),
  );
  return { archive, id };
}

/** A tar archive of these files, which are nobody's and of no time, so that the same files make the same archive. */
function tar(files: ReadonlyMap<string, Bytes>): Bytes {
  const parts: Bytes[] = [];
  for (const [name, data] of files) {
    const header = new Uint8Array(BLOCK_BYTES);
    const write = (text: string, at: number) => header.set(encode(text), at);
    const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, "0")}\0`;
    write(name, 0);
    write(`${octal(0o644, 7)}${octal(0, 7)}${octal(0, 7)}${octal(data.length, 11)}${octal(0, 11)}        0`, 100);
    write("ustar\x0000", 257);
    write(`${octal(checksumOf(header), 6)} `, 148);
    parts.push(header, data, new Uint8Array(-data.length & (BLOCK_BYTES - 1)));
  }
  return new Uint8Array([...parts, new Uint8Array(2 * BLOCK_BYTES)].flatMap((part) => [...part]));
}

/** The sum of the bytes of a header, in which its own field counts as blanks. */
function checksumOf(header: Uint8Array): number {
  return header.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 0x20 : byte), 0);
}

// --- reading ---------------------------------------------------------------------------------------------------------

/** An image in an archive, and the names that it has there. */
interface ArchivedImage {
  readonly image: Image;
  readonly tags: readonly string[];
}

/** Reads the images of an archive, gzipped or not; throws what Docker says of one that is damaged. */
export async function readArchive(data: Bytes): Promise<ArchivedImage[]> {
  const files = untar(await unzipped(data));
  const fileOf = (name: string) => {
    const file = files.get(name);
    if (file !== undefined) return file;
    const folder = `${STATE_DIRECTORY}/tmp/docker-import-${Date.now()}`;
    throw new Exit(1, `open ${folder}/${name}: no such file or directory`);
  };
  if (!files.has("manifest.json")) {
    // Then Docker looks for what there was before there were manifests: a folder for each image, and their names.
    const [folder] = [...files.keys()].filter((name) => name.includes("/")).sort();
    fileOf(folder === undefined ? "repositories" : `${folder.replace(/\/.*/s, "")}/json`);
    throw notSupported("an archive without manifest.json");
  }
  const manifest = JSON.parse(decode(fileOf("manifest.json"))) as {
    readonly Config: string;
    readonly RepoTags: readonly string[] | null;
    readonly Layers: readonly string[];
  }[];
  const images: ArchivedImage[] = [];
  for (const { Config, RepoTags, Layers } of manifest) {
    const configFile = fileOf(Config);
    const { created = now(), config = {}, rootfs } = JSON.parse(decode(configFile)) as {
      readonly created?: string;
      readonly config?: ImageConfig;
      readonly rootfs: { readonly diff_ids: readonly string[] };
    };
    let behaviour: Behaviour = { executes: true };
    for (const [index, name] of Layers.entries()) {
      const layer = await unzipped(fileOf(name));
      const digest = await digestOf(layer);
      const expected = rootfs.diff_ids[index];
      if (digest !== expected) {
        throw new Exit(1, `invalid diffID for layer ${index}: expected "${expected}", got "${digest}"`);
      }
      const file = untar(layer).get(BEHAVIOUR_FILE);
      if (file !== undefined) behaviour = JSON.parse(decode(file)) as Behaviour;
    }
    const image = {
      Id: await digestOf(configFile),
      Created: created,
      Config: config,
      Layers: rootfs.diff_ids,
      behaviour,
    };
    images.push({ image, tags: RepoTags ?? [] });
  }
  return images;
}

/** The files of a tar archive by name. */
function untar(archive: Bytes): Map<string, Bytes> {
  const files = new Map<string, Bytes>();
  const damaged = (why: string) => new Exit(1, `Error processing tar file(exit status 1): ${why}`);
  const block = (at: number, length = BLOCK_BYTES) => {
    if (at + length > archive.length) throw damaged("unexpected EOF");
    return archive.subarray(at, at + length);
  };
  for (let at = 0; at < archive.length;) {
    const header = block(at);
    const field = (from: number, to: number) => decode(header.subarray(from, to)).replace(/\0.*$/s, "");
    at += BLOCK_BYTES;
    if (header.every((byte) => byte === 0)) {
      if (at < archive.length) block(at);
      break;
    }
    if (checksumOf(header) !== Number.parseInt(field(148, 156), 8)) throw damaged("archive/tar: invalid tar header");
    const size = Number.parseInt(field(124, 136) || "0", 8);
    if (Number.isNaN(size)) throw notSupported("an archive with a size that is not octal");
    const prefix = field(345, 500);
    const name = `${prefix === "" ? "" : `${prefix}/`}${field(0, 100)}`.replace(/^\.\//, "");
    files.set(name, block(at, size));
    at += size + (-size & (BLOCK_BYTES - 1));
  }
  return files;
}

async function unzipped(data: Bytes): Promise<Bytes> {
  if (data[0] !== 0x1f || data[1] !== 0x8b) return data;
  try {
    return await new Response(new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"))).bytes();
  } catch {
    throw new Exit(1, "Error processing tar file(exit status 1): unexpected EOF");
  }
}
