/**
 * What is in an archive of Docker images on the host, whose layers are passed over: it takes milliseconds where it is not compressed.
 *
 * @module
 */

import { ExitCode, Failure, messageOf } from "../../errors.ts";
import type { HostFile } from "../../host/host.ts";
import { familiarName, type ImageConfig } from "./engine.ts";

/** An image in an archive. */
export interface ArchivedImage {
  /** Its names, as Docker shows them. */
  readonly names: readonly string[];
  /**
   * What it can have for an id inside: the digest of its configuration, which is the id in Docker's classic store, and those of its
   * manifests, of which one is the id in the containerd image store. At least one.
   */
  readonly ids: readonly string[];
  /** What an image is recognised by where the archive has no manifest, as those of `docker save` before Docker 25. */
  readonly legacy?: { readonly layers: readonly string[]; readonly config: ImageConfig };
}

/** What an archive has. */
export interface ImageArchive {
  /** Its images; at least one. */
  readonly images: readonly ArchivedImage[];
  /** Whether it has a `manifest.json`, which `docker load` wants, or is in OCI layout only. */
  readonly layout: "docker" | "oci";
  /** Its size in bytes, uncompressed as far as it was read. */
  readonly size: number;
}

/** A file that is larger than this, in bytes, is no description of an image but a layer. */
const LARGEST_DESCRIPTION = 4 * 1024 * 1024;
/** How much is kept of all of them, in bytes. */
const LARGEST_SUM = 64 * 1024 * 1024;

/** What is longer than this, in bytes, is quicker passed over by opening the file again behind it than by reading it. */
const LONG = 4 * 1024 * 1024;

/** How the formats of compression that `docker load` knows begin. */
const COMPRESSED = { gzip: [0x1f, 0x8b], zstd: [0x28, 0xb5, 0x2f, 0xfd], bzip2: [0x42, 0x5a, 0x68], xz: [0xfd, 0x37] };

/**
 * Reads what an archive has: of `docker save`, old or new, of builders, or in OCI layout; as it is or compressed by gzip. It is read
 * up to the point where all is known, which in most archives is near their end. Throws a {@linkcode Failure} that says what is wrong
 * with an archive that is damaged or none.
 */
export async function readImageArchive(file: HostFile): Promise<ImageArchive> {
  const refuse = (why: string, hint?: string) =>
    new Failure(
      ExitCode.Step,
      `Cannot load images from "${file.path}" as ${why}`,
      { hint: hint ?? "Save the image again: docker save -o FILE IMAGE" },
    );
  const start = await firstBytes(file);
  if (start.length === 0) throw refuse("it is empty");
  const compression = Object.entries(COMPRESSED).find(([, magic]) => magic.every((byte, i) => start[i] === byte))?.[0];
  if (compression !== undefined && compression !== "gzip") {
    throw refuse(`it is compressed with ${compression}`, `Unpack it first, or compress it with gzip`);
  }
  const bytes = compression === undefined ? new ByteReader(file.chunks(), file) : new ByteReader(decompressed(file));
  try {
    const descriptions = new Descriptions();
    for await (const { name, content } of files(bytes)) {
      if (content !== undefined) descriptions.add(name, content);
      if (LAST.has(name) && descriptions.complete) break;
    }
    return { ...await descriptions.images(), size: Math.max(bytes.position, file.size) };
  } catch (error) {
    if (error instanceof BadArchive) throw refuse(error.message);
    // The decompressor throws this.
    if (error instanceof TypeError && compression !== undefined) throw refuse(`it is damaged: ${messageOf(error)}`);
    throw error;
  } finally {
    await bytes.cancel();
  }
}

/** What is wrong with an archive, to follow "as". */
class BadArchive extends Error {}

async function firstBytes(file: HostFile): Promise<Uint8Array> {
  const bytes = new ByteReader(file.chunks());
  try {
    return await bytes.read(4);
  } finally {
    await bytes.cancel();
  }
}

function decompressed(file: HostFile): AsyncIterable<Uint8Array> {
  // A stream takes chunks ahead of their turn, in which these may have another content already.
  const copies = async function* () {
    for await (const chunk of file.chunks()) yield chunk.slice();
  };
  return ReadableStream.from(copies()).pipeThrough(new DecompressionStream("gzip"));
}

/** Reads by numbers of bytes, whatever the chunks are. */
class ByteReader {
  /** How many bytes were read or skipped. */
  position = 0;
  readonly #file: HostFile | undefined;
  #chunks: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);

  /** With the `file` that the chunks are of, what is long is not read. */
  constructor(chunks: AsyncIterable<Uint8Array>, file?: HostFile) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#file = file;
  }

  /** So many bytes; fewer where the stream ends before. */
  async read(count: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count);
    let at = 0;
    await this.#take(count, (part) => {
      bytes.set(part, at);
      at += part.length;
    });
    return bytes.subarray(0, at);
  }

  /** Passes over so many bytes. The answer is how many there were. */
  async skip(count: number): Promise<number> {
    if (this.#file === undefined || count < LONG) return await this.#take(count, () => {});
    await this.cancel();
    const there = Math.min(count, this.#file.size - this.position);
    this.position += there;
    this.#chunk = new Uint8Array(0);
    this.#chunks = this.#file.chunks(this.position)[Symbol.asyncIterator]();
    return there;
  }

  async cancel(): Promise<void> {
    // What went wrong with the source was thrown already.
    await this.#chunks.return?.().catch(() => {});
  }

  async #take(count: number, onPart: (part: Uint8Array) => void): Promise<number> {
    let left = count;
    while (left > 0) {
      if (this.#chunk.length === 0) {
        const { value, done } = await this.#chunks.next();
        if (done) break;
        this.#chunk = value;
      }
      const part = this.#chunk.subarray(0, left);
      this.#chunk = this.#chunk.subarray(part.length);
      onPart(part);
      left -= part.length;
      this.position += part.length;
    }
    return count - left;
  }
}

/** A regular file of an archive. */
interface ArchivedFile {
  readonly name: string;
  /** Missing where it is large. */
  readonly content: Uint8Array<ArrayBuffer> | undefined;
}

/** The regular files of a tar archive, one after the other. */
async function* files(bytes: ByteReader): AsyncGenerator<ArchivedFile> {
  const truncated = () => new BadArchive(`it is cut off after ${bytes.position} bytes`);
  const content = async (size: number) => {
    const all = await bytes.read(size);
    if (all.length < size || await bytes.skip(padding(size)) < padding(size)) throw truncated();
    return all as Uint8Array<ArrayBuffer>;
  };
  /** What an extended header says of the entry after it. */
  let next: { name?: string; size?: number } = {};
  for (;;) {
    const header = await bytes.read(512);
    // Docker itself does not insist on the two empty blocks at the end.
    if (header.length === 0 && bytes.position > 0) return;
    if (header.length === 512 && header.every((byte) => byte === 0)) return;
    if (header.length < 512 || !isHeader(header)) {
      throw bytes.position > 512 && header.length < 512 ? truncated() : new BadArchive(
        bytes.position > 512 ? `it is damaged at byte ${bytes.position - 512}` : "it is no tar archive",
      );
    }
    const kind = String.fromCharCode(header[156]!);
    const size = next.size ?? numberIn(header, 124, 12);
    const isDescription = size <= LARGEST_DESCRIPTION;
    if (kind === "L" && isDescription) {
      next = { ...next, name: textIn(await content(size), 0, size) };
      continue;
    }
    if (kind === "x" && isDescription) {
      next = { ...next, ...extendedHeader(await content(size)) };
      continue;
    }
    const prefix = textIn(header, 257, 5) === "ustar" && header[262] === 0 ? textIn(header, 345, 155) : "";
    const name = (next.name ?? `${prefix === "" ? "" : `${prefix}/`}${textIn(header, 0, 100)}`).replace(/^\.?\/+/, "");
    next = {};
    // Of the other kinds, such as links and folders, none describes an image.
    const isFile = kind === "0" || kind === "\0" || kind === "7";
    const description = isFile && isDescription ? await content(size) : undefined;
    if (!description && await bytes.skip(size + padding(size)) < size + padding(size)) throw truncated();
    if (isFile) yield { name, content: description };
  }
}

function padding(size: number): number {
  return (512 - size % 512) % 512;
}

function isHeader(header: Uint8Array): boolean {
  const sum = header.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  return sum === numberIn(header, 148, 8);
}

function textIn(bytes: Uint8Array, from: number, length: number): string {
  const field = bytes.subarray(from, from + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end === -1 ? field : field.subarray(0, end));
}

/** A number in octal digits or, where these do not suffice, as for a layer of 8 GiB, in binary with its first bit set. */
function numberIn(header: Uint8Array, from: number, length: number): number {
  const field = header.subarray(from, from + length);
  if ((field[0]! & 0x80) === 0) return Number.parseInt(textIn(field, 0, length).trim() || "0", 8);
  return field.reduce((number, byte, at) => number * 256 + (at === 0 ? byte & 0x7f : byte), 0);
}

/** The records `length key=value` of an extended header, as far as they matter. */
function extendedHeader(bytes: Uint8Array): { name?: string; size?: number } {
  const said: { name?: string; size?: number } = {};
  for (let at = 0; at < bytes.length;) {
    const length = Number.parseInt(textIn(bytes, at, 20), 10);
    if (!(length > 0)) break;
    const [, key, value] = /^\d+ ([^=]*)=(.*)\n$/s.exec(textIn(bytes, at, length)) ?? [];
    if (key === "path") said.name = value!;
    if (key === "size") said.size = Number(value);
    at += length;
  }
  return said;
}

// -- Images -----------------------------------------------------------------------------------------------------------------

/** The files with which the description of the images can become complete. */
const LAST = new Set(["manifest.json", "index.json"]);

/** What `manifest.json` has for each image. */
interface ManifestItem {
  readonly Config: string;
  readonly RepoTags?: readonly string[] | null;
}

/** How an index or a manifest refers to a file. */
interface Descriptor {
  readonly digest: string;
  readonly annotations?: Readonly<Record<string, string>> | null;
}

/** A manifest, or an index of several. */
interface Manifest {
  readonly manifests?: readonly Descriptor[];
  readonly config?: Descriptor;
}

/** The configuration file of an image. */
interface ConfigFile {
  readonly config?: ImageConfig | null;
  readonly rootfs?: { readonly diff_ids?: readonly string[] | null };
}

/** The small files of an archive, among which those are that describe its images. */
class Descriptions {
  readonly #files = new Map<string, Uint8Array<ArrayBuffer>>();
  #sum = 0;

  add(name: string, content: Uint8Array<ArrayBuffer>): void {
    this.#sum += content.length;
    if (this.#sum > LARGEST_SUM) throw new BadArchive("it has too many small files for an archive of images");
    this.#files.set(name, content);
  }

  /** Whether nothing that is still to come can tell more. */
  get complete(): boolean {
    const items = this.#files.has("manifest.json") ? this.#items() : undefined;
    if (items === undefined || !this.#files.has("index.json")) return false;
    return items.every(({ Config }) => this.#files.has(Config)) &&
      this.#descriptors().every((top) =>
        this.#digestsBelow(top).digests.every((digest) => this.#files.has(blobName(digest)))
      );
  }

  /** The images that these files describe. */
  async images(): Promise<Pick<ImageArchive, "images" | "layout">> {
    const manifests = this.#descriptors().map((descriptor) => ({ descriptor, ...this.#digestsBelow(descriptor) }));
    const images: ArchivedImage[] = [];
    if (this.#files.has("manifest.json")) {
      for (const { Config, RepoTags } of this.#items()) {
        const id = await this.#digestOf(Config);
        const own = manifests.filter(({ configs }) => configs.includes(id));
        const config = own.length === 0 ? this.#json<ConfigFile>(Config) : undefined;
        images.push({
          names: (RepoTags ?? []).map(familiarName),
          ids: [...new Set([id, ...own.flatMap(({ digests }) => digests)])],
          ...(config === undefined
            ? {}
            : { legacy: { layers: config.rootfs?.diff_ids ?? [], config: config.config ?? {} } }),
        });
      }
    } else {
      for (const [digest, same] of Map.groupBy(manifests, ({ descriptor }) => descriptor.digest)) {
        const { digests, configs } = same[0]!;
        images.push({
          names: same.flatMap(({ descriptor }) => nameOf(descriptor) ?? []),
          ids: [...new Set([digest, ...digests, ...configs])],
        });
      }
    }
    if (images.length > 0) return { images, layout: this.#files.has("manifest.json") ? "docker" : "oci" };
    throw new BadArchive("it has no images: neither manifest.json nor index.json names one");
  }

  #items(): readonly ManifestItem[] {
    const items = this.#json<unknown>("manifest.json");
    if (!Array.isArray(items) || !items.every((item) => typeof item?.Config === "string")) {
      throw new BadArchive("its manifest.json is not one of Docker's");
    }
    return items as ManifestItem[];
  }

  #descriptors(): readonly Descriptor[] {
    return this.#files.has("index.json") ? this.#json<Manifest>("index.json").manifests ?? [] : [];
  }

  /** The digests of a manifest, or of an index and all manifests in it, and those of the configurations that they name. */
  #digestsBelow({ digest }: Descriptor, depth = 0): { digests: string[]; configs: string[] } {
    const name = blobName(digest);
    // An archive of one platform leaves the others out.
    if (!this.#files.has(name) || depth > 4) return { digests: [digest], configs: [] };
    const { manifests = [], config } = this.#json<Manifest>(name);
    const below = manifests.map((descriptor) => this.#digestsBelow(descriptor, depth + 1));
    return {
      digests: [digest, ...below.flatMap(({ digests }) => digests)],
      configs: [...config === undefined ? [] : [config.digest], ...below.flatMap(({ configs }) => configs)],
    };
  }

  async #digestOf(name: string): Promise<string> {
    const hash = await crypto.subtle.digest("SHA-256", this.#file(name));
    return `sha256:${new Uint8Array(hash).toHex()}`;
  }

  #json<T>(name: string): T {
    try {
      return JSON.parse(new TextDecoder().decode(this.#file(name))) as T;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new BadArchive(`its ${name} is not JSON: ${error.message}`);
    }
  }

  #file(name: string): Uint8Array<ArrayBuffer> {
    const content = this.#files.get(name);
    if (content !== undefined) return content;
    throw new BadArchive(`its manifest.json names "${name}", which is not in it: it may be cut off`);
  }
}

function blobName(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

/** The name that an index has for an image, where it has one. */
function nameOf({ annotations }: Descriptor): string | undefined {
  const short = annotations?.["org.opencontainers.image.ref.name"];
  const name = annotations?.["io.containerd.image.name"] ?? (short?.includes(":") ? short : undefined);
  return name === undefined ? undefined : familiarName(name);
}
