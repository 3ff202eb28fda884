/**
 * Files inside the container.
 *
 * @module
 */

import { failureOf } from "../container.ts";
import type { Step } from "../engine.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import { Secret } from "../secret.ts";
import { type Script, sh } from "../shell.ts";

/** What a file has to be. */
export interface FileSpec {
  /** Its whole content. Text is written as UTF-8. */
  readonly content: string | Uint8Array | Secret;
  /** Its owner, by name or number. Default: `root`. */
  readonly owner?: string | number;
  /** Its group, by name or number. Default: `root`. */
  readonly group?: string | number;
  /** Its permissions. Default: `0o644`, and `0o600` for a secret. */
  readonly mode?: number;
}

/** What is at a path. */
interface FileState {
  readonly kind: "nothing" | "file" | "symbolic link" | "directory" | "other";
  readonly mode: string;
  /** Number and name of the owner, as `stat` gives them. */
  readonly owner: readonly [string, string];
  readonly group: readonly [string, string];
  readonly sha256: string;
  /** The content, where it is text, short and not the one that is wanted. */
  readonly text: string | undefined;
}

/** Up to this size, in bytes, the difference between two texts is shown. */
const SHOWN = 64 * 1024;

/**
 * A regular file with this content, owner and mode. It appears whole or not at all: the content goes to a temporary file beside it,
 * readable by root only, is verified by size and hash, gets its owner and mode, and is then moved into place. Missing parent folders
 * are made (0755). A symbolic link at the path is replaced; a folder is an error. Equal content is not sent.
 *
 * Requirements, section 2: "Copying files". `pct push` is not used, since it exits 0 when it failed and truncates in place.
 *
 * @example
 * ```ts
 * const motd = file("/etc/motd", { content: "Welcome\n", mode: 0o644 });
 * ```
 */
export function file(path: string, spec: FileSpec): Step<FileState> {
  if (!path.startsWith("/") || path.endsWith("/")) {
    throw new TypeError(`Cannot manage the file "${path}" as its path has to be absolute and to name a file`);
  }
  const { content } = spec;
  const bytes = content instanceof Uint8Array
    ? content
    : new TextEncoder().encode(content instanceof Secret ? content.reveal() : content);
  const wanted = {
    owner: String(spec.owner ?? "root"),
    group: String(spec.group ?? "root"),
    mode: (spec.mode ?? (content instanceof Secret ? 0o600 : 0o644)).toString(8),
  };
  let digest: string | undefined;
  const sha256 = async () => digest ??= new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice())).toHex();

  return {
    title: `file ${path}`,

    async probe({ container }) {
      const wantedHash = await sha256();
      const showContent = content instanceof Secret
        ? sh`:`
        : sh`[ "$h" = ${wantedHash} ] || head -c ${SHOWN + 1} "$p"`;
      const { stdout } = await container.read(sh`p=${path}
if [ -L "$p" ]; then echo link
elif [ -d "$p" ]; then echo directory
elif [ -f "$p" ]; then
  h=$(sha256sum <"$p") && h=\${h%% *} && m=$(stat -c '%a %u %U %g %G' "$p") && echo "file $m $h" || exit 1
  ${showContent}
elif [ -e "$p" ]; then echo other
else echo nothing; fi`);
      return parseState(stdout);
    },

    diff(state) {
      if (state.kind === "directory") {
        throw new Failure(ExitCode.Step, `Cannot write the file "${path}" as there is a folder`, {
          hint: "Remove the folder by hand if it may go",
        });
      }
      if (state.kind !== "file") {
        return [{
          what: "file",
          ...(state.kind === "nothing" ? {} : { from: state.kind }),
          to: `${bytes.length} bytes, mode ${wanted.mode}`,
        }];
      }
      const differences: Difference[] = [];
      if (state.sha256 !== digest) differences.push(contentDifference(state.text, content, bytes));
      if (state.mode !== wanted.mode) differences.push({ what: "mode", from: state.mode, to: wanted.mode });
      if (!state.owner.includes(wanted.owner)) {
        differences.push({ what: "owner", from: state.owner[1], to: wanted.owner });
      }
      if (!state.group.includes(wanted.group)) {
        differences.push({ what: "group", from: state.group[1], to: wanted.group });
      }
      return differences;
    },

    async apply({ container }, state) {
      const own = (target: Script) =>
        sh`chown ${`${wanted.owner}:${wanted.group}`} "${target}" && chmod ${wanted.mode} "${target}"`;
      if (state.kind === "file" && state.sha256 === digest) {
        await container.write(sh`p=${path}; ${own(sh`$p`)}`);
        return;
      }
      const folder = path.slice(0, path.lastIndexOf("/")) || "/";
      const temporary = `${folder === "/" ? "" : folder}/.${path.slice(path.lastIndexOf("/") + 1)}.phoenix_setup`;
      // Moved onto a symbolic link to a folder, the file would end up in that folder.
      const output = await container.write(
        sh`t=${temporary}
mkdir -p ${folder} && rm -f "$t" && (umask 077; cat >"$t") || { rm -f "$t"; exit 1; }
h=$(sha256sum <"$t"); s=$(wc -c <"$t")
[ "\${h%% *}" = ${await sha256()} ] && [ "$s" -eq ${bytes.length} ] || { rm -f "$t"; echo "only $s of ${bytes.length} bytes arrived whole" >&2; exit 3; }
${own(sh`$t`)} && { [ ! -d ${path} ] || rm -f ${path}; } && mv -f "$t" ${path} || { rm -f "$t"; exit 1; }`,
        { stdin: bytes, codes: "any" },
      );
      if (output.code !== 0) throw failureOf(output, `Cannot write "${path}", which is as it was`);
    },
  };
}

function parseState(stdout: Uint8Array): FileState {
  const newline = stdout.indexOf(0x0a);
  const [kind, mode = "", uid = "", user = "", gid = "", group = "", sha256 = ""] = new TextDecoder()
    .decode(stdout.subarray(0, newline)).split(" ");
  const content = stdout.subarray(newline + 1);
  let text: string | undefined;
  try {
    if (content.length <= SHOWN && !content.includes(0)) {
      text = new TextDecoder("utf-8", { fatal: true }).decode(content);
    }
  } catch { /* it is not text */ }
  const kinds = { file: "file", link: "symbolic link", directory: "directory", nothing: "nothing" } as const;
  return {
    kind: kinds[kind as keyof typeof kinds] ?? "other",
    mode,
    owner: [uid, user],
    group: [gid, group],
    sha256,
    text,
  };
}

function contentDifference(from: string | undefined, to: FileSpec["content"], bytes: Uint8Array): Difference {
  if (from === undefined || typeof to !== "string" || bytes.length > SHOWN) {
    return { what: "content", to: to instanceof Secret ? `${to}` : `${bytes.length} other bytes` };
  }
  return { what: `content:\n${lineDifference(from, to)}` };
}

/** The lines that two texts do not share at their ends, as `-` and `+`; at most 40 of each. */
function lineDifference(from: string, to: string): string {
  const before = from.split("\n");
  const after = to.split("\n");
  let start = 0;
  while (start < before.length && start < after.length && before[start] === after[start]) start++;
  let end = 0;
  const most = Math.min(before.length, after.length) - start;
  while (end < most && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const part = (lines: string[], sign: string) => {
    const own = lines.slice(start, lines.length - end);
    const more = own.length > 40 ? [`${sign} (${own.length - 40} more lines)`] : [];
    return [...own.slice(0, 40).map((line) => `${sign} ${line}`), ...more];
  };
  return [`@ line ${start + 1}`, ...part(before, "-"), ...part(after, "+")].join("\n");
}
