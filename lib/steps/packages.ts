/**
 * Debian packages inside the container.
 *
 * @module
 */

import { type CommandOptions, type ContainerReader, failureOf, type Output } from "../container/container.ts";
import type { Step, Writing } from "../step.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import { type Script, sh } from "../shell.ts";
import { type Duration, formatDuration, milliseconds } from "../time.ts";

/** What packages should be. */
export interface PackagesSpec {
  /** Whether they should be installed. Default: `present`. */
  readonly state?: "present" | "absent";
  /** How long to wait for another apt or dpkg. Default: 10 minutes. */
  readonly within?: Duration;
}

/** One of the packages that a setup states. */
interface Wanted {
  readonly name: string;
  readonly architecture: string | undefined;
  readonly version: string | undefined;
}

/** A package as dpkg knows it. */
interface Known {
  readonly name: string;
  readonly architecture: string;
  readonly version: string;
  /** dpkg's status: `installed`, `half-configured`, `config-files`, … */
  readonly status: string;
  /** dpkg's error flag: `ok` or `reinstreq`. */
  readonly flag: string;
}

/** How long one apt or dpkg command may take. */
const APT_TIMEOUT = "1h";
/** Its time is when the lists of packages began to be refreshed successfully for the last time. */
const UPDATE_NOTE = "/var/lib/phoenix_setup/apt_update";
/** The time between two attempts while another apt or dpkg holds a lock. */
const LOCK_PAUSE_MS = 1_000;
/** Nobody is there to answer questions, and needrestart restarts services by itself. */
const UNATTENDED = sh`export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a`;

/**
 * Debian packages are installed (`curl`), in a stated version (`jq=1.6-2`, as `apt-cache madison` shows it) or
 * architecture (`libc6:i386`), or they are absent. A stated version may be a downgrade. Recommended packages are not
 * installed, configuration files that were changed are kept, and nothing is ever asked.
 *
 * Nothing else is removed: if other packages conflict with a stated one, or depend on one to be removed, that is an
 * error that names them. Removed packages leave their configuration files behind.
 *
 * The step waits for another apt or dpkg, and first finishes what an interrupted one has left. The package lists are
 * refreshed only if something is to be installed and they are missing, older than a day or than a change of what is in
 * `/etc/apt` or `/usr/share/keyrings`, do not contain it, or name a file that the mirror no longer has. When that was
 * done last is the time of `/var/lib/phoenix_setup/apt_update`. An unknown package is an error.
 *
 * Throws a `TypeError` for an invalid name of a package.
 *
 * @example
 * ```ts
 * const tools = packages(["ca-certificates", "curl", "jq=1.6-2.1"]);
 * const noMail = packages(["exim4-base"], { state: "absent" });
 * ```
 */
export function packages(names: readonly string[], spec: PackagesSpec = {}): Step {
  const { state = "present" } = spec;
  if (names.length === 0) throw new TypeError("Cannot manage packages: expected at least one name");
  if (state !== "present" && state !== "absent") {
    throw new TypeError(`Cannot make packages "${state}": expected "present" or "absent"`);
  }
  const wanted = names.map((name) => parse(name, state));
  const within = milliseconds(spec.within ?? "10m");
  const title = `${names.length === 1 ? "package" : "packages"} ${names.join(", ")}`;
  return {
    title: state === "absent" ? `${title} absent` : title,
    probe: ({ container }) => look(container, wanted, state),
    diff: (known) => wanted.flatMap((one) => difference(one, known, state)),
    apply(at, known) {
      const wrong = wanted.filter((one) => difference(one, known, state).length > 0);
      const queue = { at, deadline: performance.now() + within, within };
      return state === "present" ? makePresent(queue, wrong, known) : makeAbsent(queue, wrong, known);
    },
  } satisfies Step<readonly Known[]>;
}

/**
 * What dpkg knows of the packages. Where there is no dpkg there are none of its packages, but nobody can say that what
 * is to be absent is not there in another way.
 */
async function look(
  container: ContainerReader,
  wanted: readonly Wanted[],
  state: "present" | "absent",
): Promise<Known[]> {
  // Names without architecture: dpkg-query finds a package for "all" under no other one.
  const { code, text } = await container.read(
    sh`command -v dpkg-query >/dev/null || exit 127
dpkg-query -W -f '\${Package}\t\${Architecture}\t\${Version}\t\${db:Status-Status}\t\${db:Status-Eflag}\n' ${
      wanted.map(({ name }) => name)
    }`,
    { codes: [0, 1, 127] },
  );
  if (code === 127 && state === "absent") {
    throw new Failure(
      ExitCode.Step,
      `Cannot tell whether ${listed(wanted)} ${wanted.length === 1 ? "is" : "are"} absent as there is no dpkg inside`,
    );
  }
  if (code === 127) return [];
  return text.split("\n").filter((line) => line !== "").map((line) => {
    const [name = "", architecture = "", version = "", status = "", flag = ""] = line.split("\t");
    return { name, architecture, version, status, flag };
  });
}

async function makePresent(queue: Queue, missing: readonly Wanted[], known: readonly Known[]): Promise<void> {
  await requireApt(queue);
  await finishInterrupted(queue);
  // What was only waiting to be configured is there now, and need not be in any list: a package of one's own is in
  // none.
  const isBegun = missing.some((one) => instances(one, known).some(({ status }) => !isAway(status)));
  const now = isBegun ? await look(queue.at.container, missing, "present") : known;
  const left = missing.filter((one) => difference(one, now, "present").length > 0);
  if (left.length === 0) return;
  const wasRefreshed = await requireCandidates(queue, left.filter((one) => needsCandidate(one, now)));
  let output = await install(queue, left, now);
  // A mirror replaces a file by that of a newer version.
  if (output.code !== 0 && !wasRefreshed && /^E: Unable to fetch some archives/m.test(output.errorText)) {
    await refresh(queue);
    output = await install(queue, left, now);
  }
  if (output.code !== 0) throw failureOf(output, `apt could not install ${listed(left)}`);
}

/** Whether apt has to have a package that can be installed: not for one that is there and has only to be configured. */
function needsCandidate(wanted: Wanted, known: readonly Known[]): boolean {
  return !instances(wanted, known).some((one) =>
    !isAway(one.status) && !isTorn(one) && (wanted.version ?? one.version) === one.version
  );
}

async function makeAbsent(queue: Queue, present: readonly Wanted[], known: readonly Known[]): Promise<void> {
  await requireApt(queue);
  await finishInterrupted(queue);
  const output = await remove(queue, present, known);
  if (output.code !== 0) throw failureOf(output, `apt could not remove ${listed(present)}`);
}

async function requireApt({ at }: Queue): Promise<void> {
  if ((await at.container.read(sh`command -v apt-get`, { codes: [0, 1, 127] })).code !== 0) {
    throw new Failure(ExitCode.Step, "Cannot manage packages as there is no apt-get inside the container");
  }
}

/**
 * Configures what an interrupted dpkg has left. If that fails, apt reports it later, unless that very package is to be
 * removed.
 */
async function finishInterrupted(queue: Queue): Promise<void> {
  queue.at.progress("finishing what an interrupted dpkg may have left");
  await run(queue, sh`dpkg --force-confold --configure -a`);
}

function parse(text: string, state: "present" | "absent"): Wanted {
  const match = /^([a-z0-9][a-z0-9+.-]*[a-z0-9+.])(?::([a-z0-9-]+))?(?:=([0-9][A-Za-z0-9.+~:-]*))?$/.exec(text);
  // apt takes "name-" as a request to remove the package.
  if (!match) {
    throw new TypeError(
      `Cannot manage the package ${JSON.stringify(text)}: expected a name such as "curl", "jq=1.6-2.1" or "libc6:i386"`,
    );
  }
  const [, name, architecture, version] = match;
  if (state === "absent" && version !== undefined) {
    throw new TypeError(`Cannot make "${text}" absent: expected a name without a version`);
  }
  return { name: name!, architecture, version };
}

/** The instances of a stated package, of which there can be one for each architecture. */
function instances({ name, architecture }: Wanted, known: readonly Known[]): Known[] {
  return known.filter((one) =>
    one.name === name && (architecture === undefined || [architecture, "all"].includes(one.architecture))
  );
}

function difference(wanted: Wanted, known: readonly Known[], state: "present" | "absent"): Difference[] {
  const what = `package ${fullName(wanted)}`;
  const there = instances(wanted, known).filter(({ status }) => !isAway(status));
  const found = there[0];
  if (state === "absent") return found ? [{ what, from: describe(found) }] : [];
  const right = there.some((one) => isWhole(one) && (wanted.version ?? one.version) === one.version);
  if (right) return [];
  const to = wanted.version ?? "installed";
  return [{ what, ...(found ? { from: describe(found) } : {}), to }];
}

/** "config-files": removed except for these. "not-installed": only mentioned by others. */
function isAway(status: string): boolean {
  return status === "not-installed" || status === "config-files";
}

function isWhole({ status, flag }: Known): boolean {
  return status === "installed" && flag === "ok";
}

function describe(known: Known): string {
  return isWhole(known) ? known.version : known.flag === "ok" ? known.status : `${known.status}, ${known.flag}`;
}

function fullName({ name, architecture }: Wanted): string {
  return architecture === undefined ? name : `${name}:${architecture}`;
}

function listed(wanted: readonly Wanted[]): string {
  return wanted.map((one) => `"${fullName(one)}"`).join(", ");
}

/** What all commands of apt and dpkg share: how long they wait for those of others. */
interface Queue {
  readonly at: Writing;
  /** When they give up, as a time of `performance.now`. */
  readonly deadline: number;
  /** How long they wait in total, in milliseconds. */
  readonly within: number;
}

/**
 * Runs a command of apt or dpkg, and runs it again while another one holds a lock that it needs. apt's own
 * `DPkg::Lock::Timeout` does not apply to the locks of its lists and archives, and dpkg has no such option.
 */
async function run({ at, deadline, within }: Queue, script: Script): Promise<Output> {
  const options: CommandOptions = { codes: "any", timeout: APT_TIMEOUT };
  for (;;) {
    const output = await at.container.write(
      sh`${UNATTENDED}
${script}`,
      options,
    );
    const holder = output.code === 0 ? undefined : lockHolder(output.errorText);
    if (holder === undefined) return output;
    const left = deadline - performance.now();
    if (left <= 0) {
      throw failureOf(
        output,
        `Timed out after ${formatDuration(within)} waiting for another apt or dpkg: ${holder}`,
        ExitCode.Timeout,
      );
    }
    at.progress(`waiting for another apt or dpkg: ${holder}`);
    await at.pause(Math.min(LOCK_PAUSE_MS, left));
  }
}

/**
 * Who holds the lock because of which a command of apt or dpkg failed, if that is why it failed. "Unable to acquire"
 * and "Unable to lock" are also said of a lock file that cannot be opened, for which it is no use to wait.
 */
export function lockHolder(errorText: string): string | undefined {
  if (!/could not get lock |lock was locked by /i.test(errorText)) return undefined;
  const byApt = /held by process (\d{1,10}(?: \([^)\n]{0,100}\))?)/.exec(errorText);
  if (byApt) return `process ${byApt[1]}`;
  // The second form is that of dpkg 1.22.7 and later.
  const byDpkg = /locked by (?:another|(\S[^\n]{0,200}?)) process with pid (\d{1,10})/.exec(errorText);
  if (byDpkg) return `process ${byDpkg[2]}${byDpkg[1] === undefined ? "" : ` (${byDpkg[1]})`}`;
  return "a process that apt does not name";
}

/** What apt can install. */
interface Candidates {
  /** Whether apt has package lists that are no older than a day, and than its sources. */
  readonly isFresh: boolean;
  /** The available versions of each wanted package. */
  readonly versions: ReadonlyMap<Wanted, readonly string[]>;
  /** The wanted packages that are not available, or not in the stated version. */
  readonly unknown: readonly Wanted[];
}

/**
 * Makes sure that apt knows every package: it takes an unknown name for a regular expression, and installs whatever
 * matches. Gives true where the lists were refreshed.
 */
async function requireCandidates(queue: Queue, wanted: readonly Wanted[]): Promise<boolean> {
  if (wanted.length === 0) return false;
  const { at } = queue;
  const before = await lookForCandidates(at.container, wanted);
  if (before.isFresh && before.unknown.length === 0) return false;
  const refreshed = await refresh(queue);
  const candidates = await lookForCandidates(at.container, wanted);
  if (candidates.unknown.length === 0) return true;
  if (refreshed.code !== 0) {
    throw failureOf(refreshed, `apt could not refresh its lists, and does not know ${listed(candidates.unknown)}`);
  }
  throw failureOfUnknown(candidates);
}

async function refresh(queue: Queue): Promise<Output> {
  queue.at.progress("refreshing the lists of packages");
  // Without the option, apt exits with 0 even if it could not fetch a list. A source that fails need not be the one
  // that is needed. What changes while the lists are fetched is newer than they are.
  return await run(
    queue,
    sh`mkdir -p ${UPDATE_NOTE.replace(/\/[^/]*$/, "")} && touch ${`${UPDATE_NOTE}.new`} &&
apt-get -q -o APT::Update::Error-Mode=any update && mv -f ${`${UPDATE_NOTE}.new`} ${UPDATE_NOTE}`,
  );
}

async function lookForCandidates(container: ContainerReader, wanted: readonly Wanted[]): Promise<Candidates> {
  // No file of apt's says when the lists were refreshed: one that has not changed keeps its time. Of a source, the time
  // of its change counts (ctime), which a copy cannot set back; of one that was removed, that of its folder. A note
  // from the future says nothing.
  const output = await container.read(
    sh`n=${UPDATE_NOTE}; [ -e $n ] || n=/var/lib/apt/lists
[ -z "$(find $n -maxdepth 0 -mtime -1)" ] || [ $n -nt /proc/$$ ] ||
  [ -n "$(find -L /etc/apt /usr/share/keyrings -cnewer $n -print -quit 2>/dev/null)" ] ||
  ls /var/lib/apt/lists | grep _Packages
apt-cache madison ${wanted.map(fullName)}`,
    { codes: "any" },
  );
  const { text } = output;
  // It exits with 0 for what it does not know.
  if (output.code !== 0) throw failureOf(output, "apt cannot read its sources and lists");
  const lines = text.split("\n");
  const offers = lines.map((line) => line.split("|").map((field) => field.trim())).filter(({ length }) => length === 3);
  const versionsOf = ({ name, architecture }: Wanted) =>
    offers.filter(([of]) => of === name || of === `${name}:${architecture}`).map(([, version]) => version!);
  const versions = new Map(wanted.map((one) => [one, versionsOf(one)]));
  const unknown = wanted.filter((one) => {
    const known = versions.get(one)!;
    return one.version === undefined ? known.length === 0 : !known.includes(one.version);
  });
  return { isFresh: lines.some((line) => line.includes("_Packages")), versions, unknown };
}

function failureOfUnknown({ unknown, versions }: Candidates): Failure {
  const first = unknown[0]!;
  const known = versions.get(first)!;
  return new Failure(
    ExitCode.Step,
    known.length === 0
      ? `apt knows no package ${listed(unknown.filter((one) => versions.get(one)!.length === 0))}`
      : `apt knows no version "${first.version}" of "${fullName(first)}", but ${[...new Set(known)].join(", ")}`,
    {
      hint: 'Look at the sources in "/etc/apt" inside the container; a virtual package is stated by the name of one ' +
        "that provides it",
    },
  );
}

async function install(queue: Queue, wanted: readonly Wanted[], known: readonly Known[]): Promise<Output> {
  queue.at.progress(`installing ${wanted.length === 1 ? "a package" : `${wanted.length} packages`}`);
  const options = [
    // apt calls a package whose unpacking was interrupted "already the newest version".
    ...(wanted.flatMap((one) => instances(one, known)).some(isTorn) ? ["--reinstall"] : []),
    ...(wanted.some(({ version }) => version !== undefined) ? ["--allow-downgrades"] : []),
  ];
  return await run(
    queue,
    sh`apt-get -q -y --no-install-recommends --no-remove ${options} -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 install ${
      wanted.map((one) => one.version === undefined ? fullName(one) : `${fullName(one)}=${one.version}`)
    }`,
  );
}

function isTorn({ status, flag }: Known): boolean {
  return status === "half-installed" || flag !== "ok";
}

async function remove(queue: Queue, wanted: readonly Wanted[], known: readonly Known[]): Promise<Output> {
  const names = wanted.map(fullName);
  const { text } = await queue.at.container.read(sh`apt-get -q -s remove ${names}`);
  const ours = new Set([...names, ...wanted.flatMap((one) => instances(one, known)).map(({ name }) => name)]);
  const others = [...text.matchAll(/^(?:Remv|Purg) (\S+)/gm)].map(([, name]) => name!).filter((name) =>
    !ours.has(name) && !ours.has(name.split(":")[0]!)
  );
  if (others.length > 0) {
    const all = others.map((name) => `"${name}"`).join(", ");
    throw new Failure(ExitCode.Step, `Cannot remove ${listed(wanted)} as ${all} would have to be removed, too`, {
      hint: `State ${all} as absent if that is meant`,
    });
  }
  queue.at.progress(`removing ${wanted.length === 1 ? "a package" : `${wanted.length} packages`}`);
  return await run(queue, sh`apt-get -q -y -o Dpkg::Use-Pty=0 remove ${names}`);
}
