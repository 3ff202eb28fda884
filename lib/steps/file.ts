/**
 * Files inside the container.
 *
 * @module
 */

import { contentDifference } from "../difference.ts";
import type { Reading, Step } from "../step.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import type { HostFile } from "../host/host.ts";
import { Secret } from "../secret.ts";
import { sh } from "../shell.ts";
import { isPrivate, requireMode, requireOwner, requirePath } from "./support/path.ts";
import {
  type Attributes,
  digestOf,
  formatBytes,
  send,
  setAttributes,
  type Source,
  sourceOfBytes,
  sourceOfHostFile,
  timeFor,
  type Verified,
} from "./support/transfer.ts";

/** Whose a file has to be. */
export interface Ownership {
  /** Its owner, by name or number. Default: `root`. */
  readonly owner?: string | number;
  /** Its group, by name or number. Default: `root`. */
  readonly group?: string | number;
  /** Its permissions. Default: `0o644`, and `0o600` for a secret. */
  readonly mode?: number;
}

/** What a file has to be whose content is stated. */
export interface FileSpec extends Ownership {
  /** Its whole content. Text is written as UTF-8. */
  readonly content: string | Uint8Array | Secret;
  /** Not together with `content`. */
  readonly from?: never;
}

/** What a file has to be that is a copy. */
export interface FileCopySpec extends Ownership {
  /** The file on the host that it is a copy of, of any size. The setup declares it: `reads: ["/path"]`. */
  readonly from: string;
  /** Not together with `from`. */
  readonly content?: never;
}

/** What is at a path, and what should be. */
interface FileState {
  readonly found: "nothing" | "symbolic link" | "other" | FoundFile;
  readonly source: Source;
}

/** A regular file. */
interface FoundFile {
  readonly size: number;
  /** Missing where the size tells already that the content is another. */
  readonly sha256: string | undefined;
  readonly mode: string;
  /** Number and name of the owner, as `stat` gives them. */
  readonly owner: readonly [string, string];
  readonly group: readonly [string, string];
  /** The content, where it is text, short, and may be shown. */
  readonly text: string | undefined;
}

/** Up to this size, in bytes, the difference between two texts is shown. */
const SHOWN = 64 * 1024;

/**
 * A regular file with this content, owner and mode. It appears whole or not at all: the content goes to a temporary file beside it,
 * readable by root only, is verified by size and hash, gets its owner and mode, and is then moved into place. Missing parent folders
 * are made (0755). A symbolic link at the path is replaced; a folder or a device there is an error. Equal content is not sent, and a
 * large file that was just verified is not read once more while nobody has written to it.
 *
 * A host file is streamed, with flat memory, after a look whether there is room for it. Every run reads it to compare it, and where
 * the sizes are equal also the one inside: some seconds for each GiB. Comparing may take 1 minute and 1 second more for each 4 MiB,
 * sending 10 minutes and as much more. A host file that is missing, or changes while it is sent, is an error.
 *
 * The difference is shown for text that is stated, unless only its owner may read the file, as it is or as it is to be.
 *
 * Throws a `TypeError` for a path that is not absolute, and for an owner or a mode that cannot be.
 *
 * Requirements, section 2: "Copying files". `pct push` is not used, since it exits 0 when it failed and truncates in place.
 *
 * @example
 * ```ts
 * const motd = file("/etc/motd", { content: "Welcome\n", mode: 0o644 });
 * const model = file("/models/model.gguf", { from: "/srv/models/model.gguf", owner: "www-data" });
 * ```
 */
export function file(path: string, spec: FileSpec | FileCopySpec): Step {
  requirePath(path, "manage the file");
  const { content, from } = spec;
  if ((content === undefined) === (from === undefined)) {
    throw new TypeError(`Cannot manage the file "${path}": expected either "content" or "from"`);
  }
  if (from !== undefined) requirePath(from, `copy to "${path}" from`);
  const mode = spec.mode ?? (content instanceof Secret ? 0o600 : 0o644);
  const { owner = "root", group = "root" } = spec;
  requireMode(mode, path);
  for (const one of [owner, group]) requireOwner(one, path);
  const wanted: Attributes = { owner: String(owner), group: String(group), mode: mode.toString(8) };
  const bytes = content instanceof Uint8Array
    ? content
    : new TextEncoder().encode(content instanceof Secret ? content.reveal() : content);
  const shown = typeof content === "string" && bytes.length <= SHOWN && !isPrivate(mode);
  let sent: Verified | undefined;

  return {
    title: `file ${path}`,

    async probe(at) {
      if (from === undefined) {
        const source = await sourceOfBytes(bytes, content instanceof Secret);
        return { source, found: await look(at, path, source.size, sent, shown ? source.sha256 : undefined) };
      }
      const original = await requireHostFile(at, from);
      if (original.size > SHOWN) at.progress(`comparing ${formatBytes(original.size)}`);
      const [source, found] = await Promise.all([sourceOfHostFile(original), look(at, path, original.size, sent)]);
      return { source, found };
    },

    diff({ found, source }) {
      if (typeof found === "string") {
        const to = `${formatBytes(source.size)}, mode ${wanted.mode}`;
        return [{ what: "file", ...(found === "nothing" ? {} : { from: found }), to }];
      }
      const differences: Difference[] = [];
      if (found.sha256 !== source.sha256) {
        differences.push(
          shown && found.text !== undefined && !isPrivate(parseInt(found.mode, 8))
            ? contentDifference(found.text, content)
            : otherContent(found, source, content),
        );
      }
      return [...differences, ...attributeDifferences(found, wanted)];
    },

    async apply(at, { found, source }) {
      if (typeof found !== "string" && found.sha256 === source.sha256) {
        await setAttributes(at, path, wanted);
      } else {
        sent = await send(at, path, source, wanted);
      }
    },

    changes: ({ found, source }) => [{ path, content: typeof found === "string" || found.sha256 !== source.sha256 }],
  } satisfies Step<FileState>;
}

/** The file on the host; a {@linkcode Failure} where there is none. */
export async function requireHostFile({ host }: Reading, path: string): Promise<HostFile> {
  const original = await host.file(path);
  if (original === undefined) {
    throw new Failure(ExitCode.Step, `Cannot copy "${path}" as there is no such file on the host`);
  }
  return original;
}

/** What differs in owner, group and mode. `of` tells which file of several it is. */
export function attributeDifferences(
  found: Pick<FoundFile, "mode" | "owner" | "group">,
  wanted: Attributes,
  of = "",
): Difference[] {
  const differences: Difference[] = [];
  if (found.mode !== wanted.mode) differences.push({ what: `mode${of}`, from: found.mode, to: wanted.mode });
  for (const what of ["owner", "group"] as const) {
    if (!found[what].includes(wanted[what])) {
      differences.push({ what: `${what}${of}`, from: found[what][1], to: wanted[what] });
    }
  }
  return differences;
}

/** Looks at a path. The hash is worth its time only where the size is the wanted one. With `unless`, text of another hash is read. */
async function look(
  at: Reading,
  path: string,
  size: number,
  sent: Verified | undefined,
  unless?: string,
): Promise<FileState["found"]> {
  const text = unless === undefined ? sh`:` : sh`[ "$h" = ${unless} ] || head -c ${SHOWN + 1} "$p"`;
  const { stdout } = await at.container.read(
    sh`p=${path}
if [ -L "$p" ]; then echo link
elif [ -d "$p" ]; then echo folder
elif [ -f "$p" ]; then
  s=$(stat -c '%a %u %U %g %G %s' "$p") && h=- || exit
  [ "\${s##* }" != ${size} ] || { h=$(${digestOf(sh`"$p"`, size, sent)}) && h=\${h%% *}; } || exit
  echo "file $s $h"
  ${text}
elif [ -b "$p" ] || [ -c "$p" ]; then echo device
elif [ -e "$p" ]; then echo other
else echo nothing; fi`,
    { timeout: timeFor(60_000, size) },
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

/** Short content as text; `undefined` where it is not. */
function textOf(content: Uint8Array): string | undefined {
  if (content.length > SHOWN || content.includes(0)) return undefined;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    return undefined;
  }
}

function otherContent(found: FoundFile, source: Source, content: FileSpec["content"] | undefined): Difference {
  if (content instanceof Secret) return { what: "content", to: `${content}` };
  if (content !== undefined) return { what: "content", to: `${source.size} other bytes` };
  // Two sizes can read the same.
  const [from, to] = [formatBytes(found.size), formatBytes(source.size)];
  return from === to ? { what: "content", to: `other ${to}` } : { what: "content", from, to };
}
