/**
 * Archives of images for tests, made in memory.
 *
 * @module
 */

import type { HostFile } from "../../host.ts";

/** An entry of a tar archive. */
export interface TarFile {
  readonly name: string;
  readonly content: string;
  /** `0` is a file. */
  readonly kind?: string;
  /** What the header says, where that is not the content's. */
  readonly size?: number;
}

/** How {@linkcode tar} writes what does not fit into a header of the oldest kind. */
export interface TarOptions {
  readonly long?: "gnu" | "pax" | "prefix";
  readonly binarySizes?: boolean;
}

/** A tar archive. */
export function tar(
  files: readonly TarFile[],
  { long = "gnu", binarySizes = false }: TarOptions = {},
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const add = ({ name, content, kind = "0", size }: TarFile, prefix = "") => {
    const data = new TextEncoder().encode(content);
    parts.push(
      header(name, prefix, kind, size ?? data.length, binarySizes),
      data,
      new Uint8Array((512 - data.length % 512) % 512),
    );
  };
  for (const file of files) {
    const { name } = file;
    if (name.length <= 100) add(file);
    else if (long === "gnu") {
      add({ name: "././@LongLink", content: `${name}\0`, kind: "L" });
      add({ ...file, name: name.slice(0, 100) });
    } else if (long === "pax") {
      add({ name: "PaxHeaders/x", content: record("path", name) + record("mtime", "1.5"), kind: "x" });
      add({ ...file, name: name.slice(0, 100) });
    } else add({ ...file, name: name.slice(name.lastIndexOf("/") + 1) }, name.slice(0, name.lastIndexOf("/")));
  }
  return concatenated([...parts, new Uint8Array(1024)]);
}

function header(name: string, prefix: string, kind: string, size: number, binarySize: boolean): Uint8Array {
  const bytes = new Uint8Array(512);
  const write = (text: string, at: number) => bytes.set(new TextEncoder().encode(text), at);
  write(name, 0);
  write("0000644\0", 100);
  if (binarySize) {
    bytes[124] = 0x80;
    for (let at = 135, rest = size; rest > 0; at--, rest = Math.floor(rest / 256)) bytes[at] = rest % 256;
  } else write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  write("        ", 148);
  write(kind, 156);
  write("ustar\x0000", 257);
  write(prefix, 345);
  write(`${bytes.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0")}\0 `, 148);
  return bytes;
}

/** `length key=value`, where the length counts its own digits. */
function record(key: string, value: string): string {
  const text = ` ${key}=${value}\n`;
  const length = text.length + String(text.length + 3).length;
  return `${length}${text}`;
}

function concatenated(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** What an image in an archive is made of. */
export interface ImageParts {
  readonly tags: readonly string[];
  readonly environment?: readonly string[];
  /** Without manifests, and with the configuration under this name: as Docker before 25 and others write it. */
  readonly legacy?: string;
  /** Without `manifest.json`. */
  readonly oci?: boolean;
}

/** The files of an archive with one image, and by what Docker knows it. */
export async function imageFiles({ tags, environment = ["A=1"], legacy, oci = false }: ImageParts) {
  const layer = "the content of a layer";
  const layers = [await digestOf(layer)];
  const config = { Env: environment, Cmd: ["serve"] };
  const configFile = JSON.stringify({
    architecture: "amd64",
    os: "linux",
    config,
    rootfs: { type: "layers", diff_ids: layers },
  });
  const id = await digestOf(configFile);
  const blob = (digest: string) => `blobs/${digest.replace(":", "/")}`;
  const manifestFile = JSON.stringify({ schemaVersion: 2, config: { digest: id }, layers: [{ digest: layers[0] }] });
  const manifest = await digestOf(manifestFile);
  const configName = legacy ?? blob(id);
  const index = {
    manifests: (tags.length === 0 ? [undefined] : tags).map((tag) => ({
      digest: manifest,
      ...(tag === undefined ? {} : { annotations: { "io.containerd.image.name": tag } }),
    })),
  };
  const item = {
    Config: configName.replace("./", ""),
    RepoTags: tags.length > 0 ? tags : null,
    Layers: [blob(layers[0]!)],
  };
  const files: TarFile[] = [
    { name: configName, content: configFile },
    { name: blob(layers[0]!), content: layer },
    ...(legacy === undefined
      ? [{ name: blob(manifest), content: manifestFile }, { name: "index.json", content: JSON.stringify(index) }]
      : []),
    ...(oci ? [] : [{ name: "manifest.json", content: JSON.stringify([item]) }]),
    { name: "oci-layout", content: '{"imageLayoutVersion":"1.0.0"}' },
  ];
  return { files, id, manifest, layers, config };
}

/** A SHA-256, as Docker writes it. */
export async function digestOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return `sha256:${new Uint8Array(digest).toHex()}`;
}

/** A file on the host with this content. */
export function hostFileOf(bytes: Uint8Array<ArrayBuffer>, path = "/images/app.tar"): HostFile {
  return {
    path,
    size: bytes.length,
    mode: 0o644,
    async *chunks(from = 0) {
      yield bytes.subarray(from);
    },
    text: () => Promise.reject(new Error("unused")),
    sha256: () => Promise.reject(new Error("unused")),
  };
}
