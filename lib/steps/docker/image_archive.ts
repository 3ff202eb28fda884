/**
 * What is in an archive of Docker images on the host, whose layers are passed over: it takes milliseconds where it is not compressed.
 *
 * @module
 */

import { ExitCode, Failure } from "../../errors.ts";
import type { HostFile } from "../../host/host.ts";
import { familiarName, type ImageConfig } from "./engine.ts";
import { InvalidTar, readTar } from "./tar.ts";

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

/** How much is kept in memory of the small files of an archive, in bytes. */
const MAX_METADATA_BYTES = 64 * 1024 * 1024;

/**
 * Reads what an archive has: of `docker save`, old or new, of builders, or in OCI layout; as it is or compressed by gzip. It is read
 * up to the point where all is known, which in most archives is near their end. Throws a {@linkcode Failure} that says what is wrong
 * with an archive that is damaged or none.
 */
export async function readImageArchive(file: HostFile): Promise<ImageArchive> {
  const metadata = new MetadataFiles();
  let size = file.size;
  try {
    for await (const { name, content, end } of readTar(file)) {
      size = Math.max(size, end);
      if (content !== undefined) metadata.add(name, content);
      if (LAST.has(name) && metadata.complete) break;
    }
    return { ...await metadata.images(), size };
  } catch (error) {
    if (!(error instanceof InvalidTar)) throw error;
    throw new Failure(ExitCode.Step, `Cannot load images from "${file.path}" as ${error.message}`, {
      hint: error.hint ?? "Save the image again: docker save -o FILE IMAGE",
    });
  }
}

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
class MetadataFiles {
  readonly #files = new Map<string, Uint8Array<ArrayBuffer>>();
  #sum = 0;

  add(name: string, content: Uint8Array<ArrayBuffer>): void {
    this.#sum += content.length;
    if (this.#sum > MAX_METADATA_BYTES) {
      throw new InvalidTar("it has too many small files for an archive of images");
    }
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
    throw new InvalidTar("it has no images: neither manifest.json nor index.json names one");
  }

  #items(): readonly ManifestItem[] {
    const items = this.#json<unknown>("manifest.json");
    if (!Array.isArray(items) || !items.every((item) => typeof item?.Config === "string")) {
      throw new InvalidTar("its manifest.json is not one of Docker's");
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
      throw new InvalidTar(`its ${name} is not JSON: ${error.message}`);
    }
  }

  #file(name: string): Uint8Array<ArrayBuffer> {
    const content = this.#files.get(name);
    if (content !== undefined) return content;
    throw new InvalidTar(`its manifest.json names "${name}", which is not in it: it may be cut off`);
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
