/**
 * Files inside the container.
 *
 * @module
 */

import { contentDifference } from "../difference.ts";
import type { Reading, Step } from "../step.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import { Secret } from "../secret.ts";
import { sh } from "../shell.ts";
import {
  attributeDifferences,
  type Attributes,
  type FoundAttributes,
  isPrivate,
  requireMode,
  requireOwner,
} from "./support/attributes.ts";
import { digestOf, type Verified } from "./support/digest.ts";
import { requirePath } from "./support/path.ts";
import { requireHostFile, type Source, sourceOfBytes, sourceOfHostFile } from "./support/source.ts";
import { formatBytes, send, setAttributes, sizeDifference, timeFor } from "./support/transfer.ts";

/** Owner, group and permissions of a file. */
export interface Ownership {
  /** Its owner, by name or number. Default: `root`. */
  readonly owner?: string | number;
  /** Its group, by name or number. Default: `root`. */
  readonly group?: string | number;
  /** Its permissions. Default: `0o644`, and `0o600` for a secret. */
  readonly mode?: number;
}

/** A file with a stated content. */
export interface FileSpec extends Ownership {
  /** The whole content. Text is written as UTF-8. */
  readonly content: string | Uint8Array | Secret;
  /** Not together with `content`. */
  readonly from?: never;
}

/** A file that is a copy of one on the host. */
export interface FileCopySpec extends Ownership {
  /** The file on the host, of any size. The setup declares it: `reads: ["/path"]`. */
  readonly from: string;
  /** Not together with `from`. */
  readonly content?: never;
}

/** A {@linkcode FileSpec} or {@linkcode FileCopySpec} that was checked, with its defaults. */
interface Wanted {
  readonly path: string;
  readonly attributes: Attributes;
  /** The stated content; `undefined` for a copy. */
  readonly content: FileSpec["content"] | undefined;
  /** The file on the host; `undefined` if the content is stated. */
  readonly from: string | undefined;
  /** Whether a difference in the content may be shown. */
  readonly isShown: boolean;
}

/** What is at the path, and the content that should be there. */
interface FileState {
  readonly found: Found;
  readonly source: Source;
}

/** What is at a path. */
type Found = "nothing" | "symbolic link" | "other" | FoundFile;

/** A regular file. */
interface FoundFile extends FoundAttributes {
  readonly size: number;
  /** `undefined` if the size already differs from the wanted one. */
  readonly sha256: string | undefined;
  /** The content, if it is short text that may be shown. */
  readonly text: string | undefined;
}

/** The largest text of which a difference is shown. */
const MAX_SHOWN_BYTES = 64 * 1024;
/** How long the comparison may take, in addition to the time for the size. */
const LOOK_TIMEOUT_MS = 60_000;

/**
 * A regular file with this content, owner and mode. It appears complete or not at all: the content is sent to a
 * temporary file in the same folder that only root can read, verified by size and hash, given its owner and mode, and
 * moved into place. Missing parent folders are created (0755). A symbolic link at the path is replaced; a folder or a
 * device is an error. Equal content is not sent, and a large file that was just verified is not read again unless
 * somebody has written to it.
 *
 * A file on the host is streamed in constant memory, after a check that there is enough space. Every run reads it for
 * the comparison, and if the sizes are equal also the one inside: some seconds for each GiB. The comparison may take 1
 * minute plus 1 second for each 4 MiB, sending 10 minutes plus the same. A file on the host that is missing, or that
 * changes while it is sent, is an error.
 *
 * The difference is shown for stated text, unless only the owner may read the file, either as it is or as it should be.
 *
 * `pct push` is not used: it exits with 0 when it fails, and truncates the file in place.
 *
 * Throws a `TypeError` for a path that is not absolute, and for an invalid owner or mode.
 *
 * @example
 * ```ts
 * const motd = file("/etc/motd", { content: "Welcome\n", mode: 0o644 });
 * const model = file("/models/model.gguf", { from: "/srv/models/model.gguf", owner: "www-data" });
 * ```
 */
export function file(path: string, spec: FileSpec | FileCopySpec): Step {
  const wanted = requireSpec(path, spec);
  let verified: Verified | undefined;
  return {
    title: `file ${path}`,
    probe: (at) => probe(at, wanted, verified),
    diff: (state) => differencesOf(state, wanted),
    async apply(at, { found, source }) {
      if (hasContent(found, source)) await setAttributes(at, path, wanted.attributes);
      else verified = await send(at, path, source, wanted.attributes);
    },
    changes: ({ found, source }) => [{ path, content: !hasContent(found, source) }],
  } satisfies Step<FileState>;
}

function requireSpec(path: string, spec: FileSpec | FileCopySpec): Wanted {
  requirePath(path, "manage the file");
  const { content, from, owner = "root", group = "root" } = spec;
  if ((content === undefined) === (from === undefined)) {
    throw new TypeError(`Cannot manage the file "${path}": expected either "content" or "from"`);
  }
  if (from !== undefined) requirePath(from, `copy to "${path}" from`);
  const mode = spec.mode ?? (content instanceof Secret ? 0o600 : 0o644);
  requireMode(mode, path);
  for (const one of [owner, group]) requireOwner(one, path);
  return {
    path,
    attributes: { owner: String(owner), group: String(group), mode: mode.toString(8) },
    content,
    from,
    isShown: typeof content === "string" && bytesOf(content).length <= MAX_SHOWN_BYTES && !isPrivate(mode),
  };
}

async function probe(at: Reading, wanted: Wanted, verified: Verified | undefined): Promise<FileState> {
  const { path, content, from, isShown } = wanted;
  if (content !== undefined) {
    const source = await sourceOfBytes(bytesOf(content), content instanceof Secret);
    return { source, found: await look(at, path, source.size, verified, isShown ? source.sha256 : undefined) };
  }
  const original = await requireHostFile(at, from!);
  if (original.size > MAX_SHOWN_BYTES) at.progress(`comparing ${formatBytes(original.size)}`);
  const [source, found] = await Promise.all([
    sourceOfHostFile(original),
    look(at, path, original.size, verified),
  ]);
  return { source, found };
}

function bytesOf(content: FileSpec["content"]): Uint8Array {
  if (content instanceof Uint8Array) return content;
  return new TextEncoder().encode(content instanceof Secret ? content.reveal() : content);
}

function hasContent(found: Found, source: Source): boolean {
  return typeof found !== "string" && found.sha256 === source.sha256;
}

function differencesOf({ found, source }: FileState, { attributes, content, isShown }: Wanted): Difference[] {
  if (typeof found === "string") {
    const to = `${formatBytes(source.size)}, mode ${attributes.mode}`;
    return [{ what: "file", ...(found === "nothing" ? {} : { from: found }), to }];
  }
  const differences = attributeDifferences(found, attributes);
  if (hasContent(found, source)) return differences;
  const isTextShown = isShown && found.text !== undefined && !isPrivate(parseInt(found.mode, 8));
  const difference = isTextShown
    ? contentDifference(found.text!, content as string)
    : briefDifference(found, source, content);
  return [difference, ...differences];
}

/**
 * Finds what is at a path. A file is hashed only if its size is the wanted one. With `unless`, the text of a file with
 * another hash is read.
 */
async function look(
  at: Reading,
  path: string,
  size: number,
  verified: Verified | undefined,
  unless?: string,
): Promise<Found> {
  const text = unless === undefined ? sh`:` : sh`[ "$h" = ${unless} ] || head -c ${MAX_SHOWN_BYTES + 1} "$p"`;
  const { stdout } = await at.container.read(
    sh`p=${path}
if [ -L "$p" ]; then echo link
elif [ -d "$p" ]; then echo folder
elif [ -f "$p" ]; then
  s=$(stat -c '%a %u %U %g %G %s' "$p") && h=- || exit
  [ "\${s##* }" != ${size} ] || { h=$(${digestOf(sh`"$p"`, size, verified)}) && h=\${h%% *}; } || exit
  echo "file $s $h"
  ${text}
elif [ -b "$p" ] || [ -c "$p" ]; then echo device
elif [ -e "$p" ]; then echo other
else echo nothing; fi`,
    { timeout: timeFor(LOOK_TIMEOUT_MS, size) },
  );
  const newline = stdout.indexOf(0x0a);
  const words = new TextDecoder().decode(stdout.subarray(0, newline)).split(" ");
  const [kind, mode = "", uid = "", user = "", gid = "", group = "", bytes, sha256 = ""] = words;
  if (kind === "nothing" || kind === "other") return kind;
  if (kind === "link") return "symbolic link";
  if (kind !== "file") {
    throw new Failure(ExitCode.Step, `Cannot write the file "${path}" as there is a ${kind}`, {
      hint: `Remove the ${kind} by hand if it may go`,
    });
  }
  return {
    size: Number(bytes),
    sha256: sha256 === "-" ? undefined : sha256,
    mode,
    owner: [uid, user],
    group: [gid, group],
    text: unless === undefined ? undefined : textOf(stdout.subarray(newline + 1)),
  };
}

/** Short content as text; `undefined` if it is neither. */
function textOf(content: Uint8Array): string | undefined {
  if (content.length > MAX_SHOWN_BYTES || content.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    return undefined;
  }
}

/** The difference in a content that is not shown. */
function briefDifference(found: FoundFile, source: Source, content: FileSpec["content"] | undefined): Difference {
  if (content instanceof Secret) return { what: "content", to: `${content}` };
  if (content !== undefined) return { what: "content", to: `${source.size} other bytes` };
  return sizeDifference("content", found.size, source.size);
}
