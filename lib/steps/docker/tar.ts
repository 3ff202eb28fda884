/**
 * The files in a tar archive on the host, in every format of tar; plain or compressed with gzip.
 *
 * This is not left to a library, as the existing ones take an archive as a stream: they would read all of it in every
 * run. Here the file is opened again behind what is long, so that an archive of any size takes milliseconds.
 *
 * @module
 */

import type { HostFile } from "../../host/host.ts";

/** The size of the blocks of an archive, in bytes. */
const BLOCK_BYTES = 512;
/** The size of the largest file whose content is read, in bytes. */
const MAX_CONTENT_BYTES = 4 * 1024 * 1024;
/** From this length on, in bytes, opening the archive again behind something is quicker than reading it. */
const MIN_SEEK_BYTES = 4 * 1024 * 1024;

/** How much is decompressed at once, in bytes. */
const CHUNK_BYTES = 128 * 1024;

/** How files begin in the formats of compression that `docker load` knows. */
const MAGIC_BYTES = { gzip: [0x1f, 0x8b], zstd: [0x28, 0xb5, 0x2f, 0xfd], bzip2: [0x42, 0x5a, 0x68], xz: [0xfd, 0x37] };

/** What is wrong with an archive, as a phrase that can follow "as". */
export class InvalidArchive extends Error {
  /** What to do about it, where that is known. */
  readonly hint: string | undefined;

  /** Says what is wrong, and what to do about it. */
  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** A regular file of an archive. */
export interface TarFile {
  /** Its path, without a leading `./` or `/`. */
  readonly name: string;
  /** `undefined` where it is larger than 4 MiB. */
  readonly content: Uint8Array<ArrayBuffer> | undefined;
  /** Where it ends in the archive, uncompressed, in bytes. */
  readonly end: number;
}

/**
 * Reads the regular files in an archive, one after the other. Throws an {@linkcode InvalidArchive} that says what is
 * wrong with it.
 */
export async function* readTar(file: HostFile): AsyncGenerator<TarFile> {
  const bytes = await isGzip(file) ? new ByteReader(await decompressed(file)) : new ByteReader(file.chunks(), file);
  try {
    yield* filesOf(bytes);
  } catch (error) {
    if (isDecompressionError(error)) throw new InvalidArchive(`it is damaged: ${error.message}`);
    throw error;
  } finally {
    await bytes.cancel();
  }
}

async function isGzip(file: HostFile): Promise<boolean> {
  const start = await firstBytes(file);
  if (start.length === 0) throw new InvalidArchive("it is empty");
  const compression = Object.entries(MAGIC_BYTES).find(([, magic]) => magic.every((byte, i) => start[i] === byte))?.[0];
  if (compression !== undefined && compression !== "gzip") {
    throw new InvalidArchive(`it is compressed with ${compression}`, "Decompress it, or compress it with gzip instead");
  }
  return compression === "gzip";
}

async function firstBytes(file: HostFile): Promise<Uint8Array> {
  const bytes = new ByteReader(file.chunks());
  try {
    return await bytes.read(4);
  } finally {
    await bytes.cancel();
  }
}

/** The content of a file without its compression, which may be in several members: parallel compressors write such. */
async function decompressed(file: HostFile): Promise<AsyncIterable<Uint8Array>> {
  // The web's DecompressionStream takes a single member only.
  const [{ createGunzip }, { pipeline, Readable }] = await Promise.all([import("node:zlib"), import("node:stream")]);
  // A stream takes chunks ahead, which may be overwritten by the time that it reads them.
  const copies = async function* () {
    for await (const chunk of file.chunks()) yield chunk.slice();
  };
  const gunzip = createGunzip({ chunkSize: CHUNK_BYTES });
  // Whoever reads from the decompressor gets its errors, and those of the file.
  pipeline(Readable.from(copies()), gunzip, () => {});
  return gunzip;
}

/** Whether an error is one of the decompressor, and not of what it reads from. */
function isDecompressionError(error: unknown): error is Error {
  return error instanceof Error && "code" in error && String(error.code).startsWith("Z_");
}

/** Reads a number of bytes at a time, whatever the size of the chunks. */
class ByteReader {
  /** How many bytes were read or skipped. */
  position = 0;
  readonly #file: HostFile | undefined;
  #chunks: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);

  /** With the `file` that the chunks come from, what is long is skipped without being read. */
  constructor(chunks: AsyncIterable<Uint8Array>, file?: HostFile) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#file = file;
  }

  /** Reads so many bytes, or fewer where the stream ends before. */
  async read(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(count);
    let at = 0;
    await this.#take(count, (part) => {
      bytes.set(part, at);
      at += part.length;
    });
    return bytes.subarray(0, at);
  }

  /** Skips so many bytes, and returns how many there were. */
  async skip(count: number): Promise<number> {
    if (this.#file === undefined || count < MIN_SEEK_BYTES) return await this.#take(count, () => {});
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

/** What an extended header says about the entry after it. */
interface ExtendedHeader {
  readonly name?: string;
  readonly size?: number;
}

/** The types of entries that have no content, whatever their size says: links, devices, folders and pipes. */
const TYPES_WITHOUT_CONTENT = new Set(["1", "2", "3", "4", "5", "6"]);

async function* filesOf(bytes: ByteReader): AsyncGenerator<TarFile> {
  const content = async (size: number) => {
    const all = await bytes.read(size);
    if (all.length < size || await bytes.skip(padding(size)) < padding(size)) throw truncatedAt(bytes);
    return all;
  };
  let extended: ExtendedHeader = {};
  for (let header; (header = await nextHeader(bytes)) !== undefined;) {
    const type = String.fromCharCode(header[156]!);
    const size = TYPES_WITHOUT_CONTENT.has(type) ? 0 : extended.size ?? numberIn(header, 124, 12);
    if (!(Number.isSafeInteger(size) && size >= 0)) throw damagedAt(bytes.position - BLOCK_BYTES);
    const isSmall = size <= MAX_CONTENT_BYTES;
    if (type === "L" && isSmall) {
      extended = { ...extended, name: textIn(await content(size), 0, size) };
      continue;
    }
    if (type === "x" && isSmall) {
      extended = { ...extended, ...parseExtendedHeader(await content(size)) };
      continue;
    }
    if (type === "S") await skipSparseMap(bytes, header);
    const name = (extended.name ?? nameIn(header)).replace(/^\.?\/+/, "");
    extended = {};
    const isFile = type === "0" || type === "\0" || type === "7";
    const found = isFile && isSmall ? await content(size) : undefined;
    if (!found && await bytes.skip(size + padding(size)) < size + padding(size)) throw truncatedAt(bytes);
    if (isFile) yield { name, content: found, end: bytes.position };
  }
}

/** The next header; `undefined` at the end of the archive. */
async function nextHeader(bytes: ByteReader): Promise<Uint8Array | undefined> {
  const header = await bytes.read(BLOCK_BYTES);
  const start = bytes.position - header.length;
  // Docker does not insist on the two empty blocks at the end either.
  if (header.length === 0 && start > 0) return undefined;
  if (header.length === BLOCK_BYTES) {
    if (isHeader(header)) return header;
    if (header.every((byte) => byte === 0)) return undefined;
  }
  if (start === 0) throw new InvalidArchive("it is not a tar archive");
  throw header.length < BLOCK_BYTES ? truncatedAt(bytes) : damagedAt(start);
}

/** Skips the blocks that say where the parts of a sparse file belong, which are not counted as its content. */
async function skipSparseMap(bytes: ByteReader, header: Uint8Array): Promise<void> {
  for (let more = header[482] !== 0; more;) {
    const map = await bytes.read(BLOCK_BYTES);
    if (map.length < BLOCK_BYTES) throw truncatedAt(bytes);
    more = map[504] !== 0;
  }
}

function truncatedAt({ position }: ByteReader): InvalidArchive {
  return new InvalidArchive(`it is truncated after ${position} bytes`);
}

function damagedAt(position: number): InvalidArchive {
  return new InvalidArchive(`it is damaged at byte ${position}`);
}

function padding(size: number): number {
  return (BLOCK_BYTES - size % BLOCK_BYTES) % BLOCK_BYTES;
}

function isHeader(header: Uint8Array): boolean {
  const sum = header.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 0x20 : byte), 0);
  return sum === numberIn(header, 148, 8);
}

function nameIn(header: Uint8Array): string {
  const isUstar = textIn(header, 257, 5) === "ustar" && header[262] === 0;
  const prefix = isUstar ? textIn(header, 345, 155) : "";
  return `${prefix === "" ? "" : `${prefix}/`}${textIn(header, 0, 100)}`;
}

function textIn(bytes: Uint8Array, from: number, length: number): string {
  const field = bytes.subarray(from, from + length);
  const end = field.indexOf(0);
  return new TextDecoder().decode(end === -1 ? field : field.subarray(0, end));
}

/**
 * A number in octal digits or, where these do not suffice, as for a layer of 8 GiB, in binary with the first bit set.
 * `NaN` for anything else, such as a negative number, which has the second bit set as well.
 */
function numberIn(header: Uint8Array, from: number, length: number): number {
  const field = header.subarray(from, from + length);
  if ((field[0]! & 0x80) === 0) {
    const digits = textIn(field, 0, length).trim();
    return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || "0", 8) : NaN;
  }
  if ((field[0]! & 0x40) !== 0) return NaN;
  return field.reduce((number, byte, at) => number * 256 + (at === 0 ? byte & 0x7f : byte), 0);
}

/** The records `length key=value` of an extended header, as far as they matter here. */
function parseExtendedHeader(bytes: Uint8Array): ExtendedHeader {
  const found: { name?: string; size?: number } = {};
  for (let at = 0; at < bytes.length;) {
    const length = Number.parseInt(textIn(bytes, at, 20), 10);
    if (!(length > 0)) break;
    // A record without a value leaves that of the header.
    const [, key, value] = /^\d+ ([^=]*)=(.+)\n$/s.exec(textIn(bytes, at, length)) ?? [];
    if (key === "path") found.name = value!;
    if (key === "size") found.size = /^\d+$/.test(value!) ? Number(value) : NaN;
    at += length;
  }
  return found;
}
