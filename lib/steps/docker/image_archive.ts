/**
 * The images in an archive on the host. Layers are skipped: unless it is compressed, an archive of any size takes
 * milliseconds.
 *
 * @module
 */

import { ExitCode, Failure } from "../../errors.ts";
import type { HostFile } from "../../host/host.ts";
import { familiarName, type ImageConfig } from "./image_info.ts";
import { InvalidArchive, readTar } from "./tar.ts";

/** An image in an archive. */
export interface ArchivedImage {
  /** Its names, as Docker shows them. */
  readonly names: readonly string[];
  /**
   * The ids that it can have inside: the digest of its configuration, which is its id in Docker's classic image store,
   * and those of its manifests, one of which is its id in the containerd image store. At least one.
   */
  readonly ids: readonly string[];
  /** What identifies it where the archive has no manifest, such as one that `docker save` wrote before Docker 25. */
  readonly legacy?: LegacyIdentity;
}

/** What an image without a manifest is compared by. */
export interface LegacyIdentity {
  /** The digests of its layers, uncompressed. */
  readonly layers: readonly string[];
  /** What it gives to its containers. */
  readonly config: ImageConfig;
}

/** What is in an archive. */
export interface ImageArchive {
  /** Its images; at least one. */
  readonly images: readonly ArchivedImage[];
  /** Whether it has the `manifest.json` that `docker load` needs, or is in OCI layout only. */
  readonly layout: "docker" | "oci";
  /** Its size in bytes, uncompressed as far as it was read. */
  readonly size: number;
}

/** How much of the small files of an archive is kept in memory, in bytes. */
const MAX_METADATA_BYTES = 64 * 1024 * 1024;
/** How deep indexes may be nested. */
const MAX_INDEX_DEPTH = 4;

/**
 * Reads which images are in an archive: from `docker save`, old or new, from a builder, or in OCI layout; plain or
 * compressed with gzip. Reading stops as soon as everything is known, which in most archives is near the end. Throws a
 * {@linkcode Failure} that says what is wrong with a file that is damaged or no such archive.
 */
export async function readImageArchive(file: HostFile): Promise<ImageArchive> {
  const metadata = new MetadataFiles();
  let size = file.size;
  try {
    for await (const { name, content, end } of readTar(file)) {
      size = Math.max(size, end);
      if (content !== undefined) metadata.add(name, content);
      if (COMPLETING_FILES.has(name) && metadata.complete) break;
    }
    return { ...await metadata.images(), size };
  } catch (error) {
    if (!(error instanceof InvalidArchive)) throw error;
    throw new Failure(ExitCode.Step, `Cannot load images from "${file.path}" as ${error.message}`, {
      hint: error.hint ?? "Save the image again: docker save -o FILE IMAGE",
    });
  }
}

/** The files that can complete the metadata of the images. */
const COMPLETING_FILES = new Set(["manifest.json", "index.json"]);

/** The small files of an archive, among them those that describe its images. */
class MetadataFiles {
  readonly #files = new Map<string, Uint8Array<ArrayBuffer>>();
  #sum = 0;

  add(name: string, content: Uint8Array<ArrayBuffer>): void {
    this.#sum += content.length;
    if (this.#sum > MAX_METADATA_BYTES) {
      throw new InvalidArchive("it has too many small files for an archive of images");
    }
    this.#files.set(name, content);
  }

  /** Whether the rest of the archive cannot add anything. */
  get complete(): boolean {
    if (!this.#files.has("manifest.json") || !this.#files.has("index.json")) return false;
    return this.#items().every(({ Config }) => this.#files.has(Config)) &&
      this.#manifests().every(({ digests }) => digests.every((digest) => this.#files.has(blobName(digest))));
  }

  /** The images that these files describe. */
  async images(): Promise<Pick<ImageArchive, "images" | "layout">> {
    const layout = this.#files.has("manifest.json") ? "docker" : "oci";
    const images = layout === "docker" ? await this.#dockerImages() : this.#ociImages();
    if (images.length > 0) return { images, layout };
    throw new InvalidArchive("it has no images: neither manifest.json nor index.json names one");
  }

  async #dockerImages(): Promise<ArchivedImage[]> {
    const manifests = this.#manifests();
    return await Promise.all(
      this.#items().map(async ({ Config, RepoTags }) => {
        const id = await this.#digestOf(Config);
        const own = manifests.filter(({ configs }) => configs.includes(id));
        return {
          names: (RepoTags ?? []).map(familiarName),
          ids: [...new Set([id, ...own.flatMap(({ digests }) => digests)])],
          ...(own.length > 0 ? {} : { legacy: this.#legacyIdentity(Config) }),
        };
      }),
    );
  }

  #legacyIdentity(configName: string): LegacyIdentity {
    const { config, rootfs } = this.#json(configName, isConfigFile, "the configuration of an image");
    return { layers: rootfs?.diff_ids ?? [], config: config ?? {} };
  }

  #ociImages(): ArchivedImage[] {
    return [...Map.groupBy(this.#manifests(), ({ top }) => top.digest)].map(([digest, same]) => {
      const { digests, configs } = same[0]!;
      return {
        names: same.flatMap(({ top }) => nameOf(top) ?? []),
        ids: [...new Set([digest, ...digests, ...configs])],
      };
    });
  }

  #items(): readonly ManifestItem[] {
    return this.#json("manifest.json", isListOf(isManifestItem), "one of Docker's");
  }

  /** What `index.json` refers to, with the digests below it. */
  #manifests(): readonly ({ readonly top: Descriptor } & Digests)[] {
    if (!this.#files.has("index.json")) return [];
    return (this.#manifest("index.json").manifests ?? []).map((top) => ({ top, ...this.#digestsBelow(top) }));
  }

  #digestsBelow({ digest }: Descriptor, depth = 0): Digests {
    const name = blobName(digest);
    // An archive for one platform lacks the manifests of the others.
    if (!this.#files.has(name) || depth > MAX_INDEX_DEPTH) return { digests: [digest], configs: [] };
    const { manifests, config } = this.#manifest(name);
    const below = (manifests ?? []).map((descriptor) => this.#digestsBelow(descriptor, depth + 1));
    return {
      digests: [digest, ...below.flatMap(({ digests }) => digests)],
      configs: [...config ? [config.digest] : [], ...below.flatMap(({ configs }) => configs)],
    };
  }

  #manifest(name: string): Manifest {
    return this.#json(name, isManifest, "an index or manifest of OCI");
  }

  async #digestOf(name: string): Promise<string> {
    const hash = await crypto.subtle.digest("SHA-256", this.#file(name));
    return `sha256:${new Uint8Array(hash).toHex()}`;
  }

  #json<T>(name: string, isRight: (value: unknown) => value is T, what: string): T {
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder().decode(this.#file(name)));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new InvalidArchive(`its ${name} is not JSON: ${error.message}`);
    }
    if (isRight(value)) return value;
    throw new InvalidArchive(`its ${name} is not ${what}`);
  }

  #file(name: string): Uint8Array<ArrayBuffer> {
    const content = this.#files.get(name);
    if (content !== undefined) return content;
    throw new InvalidArchive(`its manifest.json names "${name}", which it does not contain: it may be truncated`);
  }
}

/**
 * The digests of a manifest, or of an index and all manifests in it, and those of the configurations that they name.
 */
interface Digests {
  readonly digests: readonly string[];
  readonly configs: readonly string[];
}

// The format of the metadata

/** What `manifest.json` has for each image. */
interface ManifestItem {
  readonly Config: string;
  readonly RepoTags?: readonly string[] | null;
}

function isManifestItem(value: unknown): value is ManifestItem {
  return isObject(value) && isText(value.Config) && isListOf(isText)(value.RepoTags ?? []);
}

/** A manifest, or an index of several. */
interface Manifest {
  readonly manifests?: readonly Descriptor[] | null;
  readonly config?: Descriptor | null;
}

function isManifest(value: unknown): value is Manifest {
  if (!isObject(value)) return false;
  const { manifests, config } = value;
  return isListOf(isDescriptor)(manifests ?? []) && (config === undefined || config === null || isDescriptor(config));
}

/** How an index or a manifest refers to a file. */
interface Descriptor {
  readonly digest: string;
  readonly annotations?: Readonly<Record<string, string>> | null;
}

function isDescriptor(value: unknown): value is Descriptor {
  if (!isObject(value) || !isText(value.digest)) return false;
  const annotations = value.annotations ?? {};
  return isObject(annotations) && isListOf(isText)(Object.values(annotations));
}

/** The configuration file of an image. */
interface ConfigFile {
  readonly config?: ImageConfig | null;
  readonly rootfs?: { readonly diff_ids?: readonly string[] | null } | null;
}

function isConfigFile(value: unknown): value is ConfigFile {
  if (!isObject(value) || !isObject(value.config ?? {})) return false;
  const rootfs = value.rootfs ?? {};
  return isObject(rootfs) && isListOf(isText)(rootfs.diff_ids ?? []);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

function isListOf<T>(isRight: (value: unknown) => value is T): (value: unknown) => value is readonly T[] {
  return (value): value is readonly T[] => Array.isArray(value) && value.every(isRight);
}

function blobName(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

/** The name of an image in an index, where it has one. */
function nameOf({ annotations }: Descriptor): string | undefined {
  const short = annotations?.["org.opencontainers.image.ref.name"];
  const name = annotations?.["io.containerd.image.name"] ?? (short?.includes(":") ? short : undefined);
  return name === undefined ? undefined : familiarName(name);
}
