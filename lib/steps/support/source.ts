/**
 * Content that is sent to the container, with its size and hash.
 *
 * @module
 */

import type { Reading } from "../../step.ts";
import { ExitCode, Failure } from "../../errors.ts";
import type { HostFile } from "../../host/host.ts";

/** Content that can be sent. */
export interface Source {
  /** In bytes. */
  readonly size: number;
  /** In hexadecimal digits. */
  readonly sha256: string;
  /** Whether the content is secret, and with it the hash, as that of a short secret can be reversed. */
  readonly isSecret?: boolean;
  /**
   * The content. A chunk is valid until the next one is requested. `onSent` is told how many bytes were taken so far.
   */
  chunks(onSent?: (bytes: number) => void): AsyncIterable<Uint8Array>;
}

/** A source for content in memory. */
export async function sourceOfBytes(bytes: Uint8Array, isSecret = false): Promise<Source> {
  return {
    size: bytes.length,
    sha256: await sha256Of(bytes),
    isSecret,
    async *chunks() {
      yield bytes;
    },
  };
}

/**
 * A source for a file on the host, which is read while it is sent. Throws a {@linkcode Failure} if the file has changed
 * since it was hashed.
 */
export async function sourceOfHostFile(file: HostFile): Promise<Source> {
  const { size } = file;
  const sha256 = await file.sha256();
  const changed = (how: string) =>
    new Failure(ExitCode.Step, `Cannot copy "${file.path}" from the host as it was changed meanwhile: ${how}`, {
      hint: "Run this again when nothing writes to the file any more",
    });
  return {
    size,
    sha256,
    async *chunks(onSent) {
      let sent = 0;
      for await (const chunk of file.chunks()) {
        sent += chunk.length;
        // A file that grows might never end.
        if (sent > size) throw changed(`it has more than the ${size} bytes that it had`);
        onSent?.(sent);
        yield chunk;
      }
      if (sent < size) throw changed(`it has ${sent} of the ${size} bytes that it had`);
      if (await file.sha256() !== sha256) throw changed("its content is another");
    },
  };
}

/** The file on the host that is to be copied. Throws a {@linkcode Failure} if there is none. */
export async function requireHostFile({ host }: Reading, path: string): Promise<HostFile> {
  const file = await host.file(path);
  if (file === undefined) {
    throw new Failure(ExitCode.Step, `Cannot copy "${path}" as there is no such file on the host`);
  }
  return file;
}

/** The SHA-256 of bytes, or of text as UTF-8, in hexadecimal digits. */
export async function sha256Of(content: Uint8Array | string): Promise<string> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content.slice();
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}
