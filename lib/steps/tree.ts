/**
 * Folders inside the container that are copies of folders on the host.
 *
 * @module
 */

import type { ContainerReader } from "../container/container.ts";
import type { Reading, Step, Writing } from "../step.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import { type Script, sh } from "../shell.ts";
import {
  attributeDifferences,
  type Attributes,
  type FoundAttributes,
  requireMode,
  requireOwner,
} from "./support/attributes.ts";
import { requirePath, requireRemovable } from "./support/path.ts";
import { remove } from "./support/remove.ts";
import { requireHostFile, type Source, sourceOfHostFile } from "./support/source.ts";
import { type FileToSend, formatBytes, sendAll, sizeDifference, timeFor } from "./support/transfer.ts";

/** A folder that is a copy of one on the host. */
export interface TreeSpec {
  /** The folder on the host. The setup declares it: `reads: ["/path"]`. */
  readonly from: string;
  /** The owner of all that is copied, by name or number. Default: `root`. */
  readonly owner?: string | number;
  /** The group of all that is copied, by name or number. Default: `root`. */
  readonly group?: string | number;
  /** The permissions of each file. Default: `0o755` if its owner may execute it on the host, else `0o644`. */
  readonly fileMode?: number;
  /** The permissions of each folder. Default: `0o755`. */
  readonly directoryMode?: number;
  /** Whether to remove what is not on the host. Default: false. */
  readonly remove?: boolean;
}

/** A file or folder that should be there. */
interface Entry {
  /** Relative to the folder: `.`, `a`, `a/b`. */
  readonly path: string;
  readonly attributes: Attributes;
  /** The content; `undefined` for a folder. */
  readonly source: Source | undefined;
}

/** A file or folder that is there. */
interface Found extends FoundAttributes {
  readonly size: number;
  /** `undefined` for a folder. */
  readonly sha256: string | undefined;
}

/** What should be there, and what is. */
interface TreeState {
  readonly entries: readonly Entry[];
  readonly found: ReadonlyMap<string, Found>;
  /** What is there and not on the host, if it is to be removed; of a folder, only the folder itself. */
  readonly extra: readonly string[];
}

/** How many differences are reported one by one. */
const MAX_DIFFERENCES = 40;
/** How long the comparison may take, in addition to the time for the size of the files. */
const LOOK_TIMEOUT_MS = 60_000;

/**
 * All files and folders of a folder on the host are there, with the same content and with these owners and modes. Each
 * file appears complete or not at all, as with {@linkcode file}; equal content is not sent. Anything else in the folder
 * is kept, or removed with `remove: true`.
 *
 * It is an error if the folder on the host contains a symbolic link or anything else that is neither a file nor a
 * folder, or a name with a control character or that ends with `.phoenix_setup`. It is also an error if something else
 * is in the place of a folder or file inside; only a symbolic link in place of a file is replaced.
 *
 * Throws a `TypeError` as {@linkcode file} does, and with `remove` for a folder of the system such as `/usr/lib`.
 *
 * @example
 * ```ts
 * const site = tree("/var/www/status", { from: "/usr/local/phoenix_hypervisor/lib/status", owner: "www-data" });
 * ```
 */
export function tree(path: string, spec: TreeSpec): Step {
  const { from, owner = "root", group = "root", fileMode, directoryMode = 0o755 } = spec;
  requirePath(path, "manage the folder");
  if (spec.remove) requireRemovable(path, "remove what is not on the host from");
  requirePath(from, `copy to "${path}" from`);
  for (const mode of [fileMode ?? 0, directoryMode]) requireMode(mode, path);
  for (const one of [owner, group]) requireOwner(one, path);
  const attributesFor = (mode: number | undefined): Attributes => ({
    owner: String(owner),
    group: String(group),
    mode: (mode === undefined ? directoryMode : fileMode ?? ((mode & 0o100) === 0 ? 0o644 : 0o755)).toString(8),
  });
  return {
    title: `folder ${path}`,

    async probe(at) {
      const entries = await list(at, from, attributesFor);
      return { entries, ...await look(at.container, path, entries, spec.remove ?? false) };
    },

    diff(state) {
      const differences = state.entries.flatMap((entry) => differencesOf(entry, state));
      differences.push(...state.extra.map((name) => ({ what: name, from: "not on the host" })));
      const more = differences.length - MAX_DIFFERENCES;
      return more <= 1
        ? differences
        : [...differences.slice(0, MAX_DIFFERENCES), { what: `and ${more} more differences` }];
    },

    apply: (at, state) => apply(at, path, state),

    changes: (state) => [
      ...differing(state).map((entry) => ({
        path: entry.path === "." ? path : `${path}/${entry.path}`,
        content: isToBeSent(entry, state),
      })),
      ...state.extra.map((name) => ({ path: `${path}/${name}`, content: true, goes: true as const })),
    ],
  } satisfies Step<TreeState>;
}

async function apply(at: Writing, path: string, state: TreeState): Promise<void> {
  const entries = differing(state);
  const folders = entries.filter(({ source }) => source === undefined);
  const files = entries.filter((entry) => isToBeSent(entry, state));
  const others = entries.filter((entry) => entry.source !== undefined && !isToBeSent(entry, state));
  // Each folder is listed, and so created, after the one that contains it.
  await setEach(at, path, folders, sh`mkdir -p`);
  await sendAll(at, path, files);
  await setEach(at, path, others);
  if (state.extra.length > 0) await remove(at.container, path, state.extra);
}

/** The entries that are not as they should be. */
function differing(state: TreeState): Entry[] {
  return state.entries.filter((entry) => differencesOf(entry, state).length > 0);
}

/** Whether an entry is a file whose content has to be sent. */
function isToBeSent(entry: Entry, { found }: Pick<TreeState, "found">): entry is Entry & FileToSend {
  return entry.source !== undefined && found.get(entry.path)?.sha256 !== entry.source.sha256;
}

/** All that is in a folder on the host, by name, each folder before its content. */
async function list(
  at: Reading,
  from: string,
  attributesFor: (mode: number | undefined) => Attributes,
  path = ".",
): Promise<Entry[]> {
  const children = await at.host.folder(from);
  if (children === undefined) {
    throw new Failure(ExitCode.Step, `Cannot copy the folder "${from}" as there is no such folder on the host`);
  }
  const entries: Entry[] = [{ path, attributes: attributesFor(undefined), source: undefined }];
  for (const { name, kind } of children) {
    const original = `${from}/${name}`;
    const inside = path === "." ? name : `${path}/${name}`;
    requireCopyable(name, original);
    if (kind === "folder") {
      entries.push(...await list(at, original, attributesFor, inside));
    } else if (kind === "file") {
      const file = await requireHostFile(at, original);
      entries.push({ path: inside, attributes: attributesFor(file.mode), source: await sourceOfHostFile(file) });
    } else {
      throw new Failure(
        ExitCode.Step,
        `Cannot copy "${original}" from the host as it is neither a file nor a folder: symbolic links are not followed`,
      );
    }
  }
  return entries;
}

function requireCopyable(name: string, path: string): void {
  // deno-lint-ignore no-control-regex -- these are what is looked for
  if (/[\0-\x1f\x7f]/.test(name)) {
    throw new Failure(ExitCode.Step, `Cannot copy ${JSON.stringify(path)} as its name has a control character`);
  }
  if (name.endsWith(".phoenix_setup")) {
    throw new Failure(ExitCode.Step, `Cannot copy "${path}" as files on their way have names like that`);
  }
}

/** Compares all entries with what is inside, in one command; with `all`, also finds what else is there. */
async function look(
  container: ContainerReader,
  path: string,
  entries: readonly Entry[],
  all: boolean,
): Promise<Pick<TreeState, "found" | "extra">> {
  const size = entries.reduce((sum, { source }) => sum + (source?.size ?? 0), 0);
  const { stdout } = await container.read(lookScript(path, all), {
    stdin: listOf(entries),
    timeout: timeFor(LOOK_TIMEOUT_MS, size),
  });
  const [kind = "", stats = "", hashes = "", ...names] = new TextDecoder().decode(stdout).split("\0");
  if (kind === "nothing\n") return { found: new Map(), extra: [] };
  if (kind !== "folder") throw inTheWay(path, kind.trim());
  const wanted = new Map(entries.map((entry) => [entry.path, entry]));
  return { found: foundIn(path, stats, hashes, wanted), extra: extraIn(names.slice(0, -1), wanted) };
}

/**
 * A script that prints four parts, each ended by a NUL character: whether there is such a folder, what `stat` prints
 * for each path on stdin that exists, the hash of each regular file among them, and with `all` the paths of everything
 * that is there.
 */
function lookScript(path: string, all: boolean): Script {
  // Only regular files are hashed: a pipe or a device would never end.
  return sh`p=${path}
if [ -L "$p" ]; then echo a symbolic link; exit
elif [ ! -e "$p" ]; then echo nothing; exit
elif [ ! -d "$p" ]; then echo no folder; exit; fi
cd "$p" && l=$(cat) && printf 'folder\0' || exit
printf '%s\n' "$l" | tr '\n' '\0' | xargs -0 stat -c '%f %s %u %U %g %G %n' 2>/dev/null
printf '\0'
printf '%s\n' "$l" | while IFS= read -r f; do
  [ -L "$f" ] || [ ! -f "$f" ] || printf '%s\0' "$f"
done | xargs -0 -r sha256sum || exit
printf '\0'
${all ? sh`find . -mindepth 1 -print0` : sh`:`}`;
}

/** The wanted entries that are there. Throws a {@linkcode Failure} if something else is in the place of one. */
function foundIn(
  path: string,
  stats: string,
  hashes: string,
  wanted: ReadonlyMap<string, Entry>,
): ReadonlyMap<string, Found> {
  const found = new Map<string, Found>();
  // One line for each regular file, in the same order; names are ignored since `sha256sum` escapes some of them.
  const hash = hashes.matchAll(/^\\?([0-9a-f]{64}) /gm);
  for (const line of stats.split("\n").slice(0, -1)) {
    const [mode = "", bytes, uid = "", user = "", gid = "", group = "", ...rest] = line.split(" ");
    const name = rest.join(" ").replace(/^\.\//, "");
    const type = parseInt(mode, 16) & 0o170000;
    const isFile = type === 0o100000;
    const sha256 = isFile ? hash.next().value?.[1] : undefined;
    const isFolderWanted = wanted.get(name)?.source === undefined;
    if (type === 0o120000 && !isFolderWanted) continue; // It is replaced, as if nothing were there.
    if (isFolderWanted ? type !== 0o040000 : !isFile) {
      throw inTheWay(`${path}/${name}`, isFolderWanted ? "no folder" : "no file");
    }
    found.set(name, {
      size: Number(bytes),
      mode: (parseInt(mode, 16) & 0o7777).toString(8),
      owner: [uid, user],
      group: [gid, group],
      sha256,
    });
  }
  return found;
}

/** What is there and not wanted; of a folder, only the folder itself. */
function extraIn(paths: readonly string[], wanted: ReadonlyMap<string, Entry>): string[] {
  const extra = paths.map((path) => path.replace(/^\.\//, "")).filter((path) => !wanted.has(path));
  const all = new Set(extra);
  return extra.filter((path) => !all.has(path.slice(0, path.lastIndexOf("/")))).sort();
}

/** Gives these entries their owner and mode, after `make` has made them, if it is stated. */
async function setEach(at: Writing, path: string, entries: readonly Entry[], make?: Script): Promise<void> {
  for (const [mode, group] of Map.groupBy(entries, ({ attributes }) => attributes.mode)) {
    const { owner, group: ownersGroup } = group[0]!.attributes;
    await at.container.write(
      sh`mkdir -p ${path} && cd ${path} && l=$(cat) || exit
each() { printf '%s\n' "$l" | tr '\n' '\0' | xargs -0 "$@"; }
${make === undefined ? sh`:` : sh`each ${make}`} && each chown -h ${`${owner}:${ownersGroup}`} && each chmod ${mode}`,
      { stdin: listOf(group) },
    );
  }
}

/** The paths of entries for a command inside, one per line. None begins with a hyphen. */
function listOf(entries: readonly Entry[]): string {
  return entries.map(({ path }) => path === "." ? ".\n" : `./${path}\n`).join("");
}

function differencesOf({ path, attributes, source }: Entry, state: Pick<TreeState, "found">): Difference[] {
  const what = path === "." ? "folder" : path;
  const found = state.found.get(path);
  if (found === undefined) {
    return [{ what, to: `${source === undefined ? "folder" : formatBytes(source.size)}, mode ${attributes.mode}` }];
  }
  const differences = attributeDifferences(found, attributes, ` of ${what}`);
  if (source === undefined || found.sha256 === source.sha256) return differences;
  return [sizeDifference(`content of ${what}`, found.size, source.size), ...differences];
}

function inTheWay(path: string, found: string): Failure {
  return new Failure(ExitCode.Step, `Cannot copy to "${path}" as it is ${found}`, {
    hint: "Remove it by hand if it may go",
  });
}
