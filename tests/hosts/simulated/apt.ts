/**
 * Stand-in for Debian's `apt-get`, `apt-cache` and `dpkg` in a container of the simulated host, with the texts, exit
 * codes and locks of apt 2.6 and dpkg 1.21. What is installed is noted in dpkg's own files, so that a kill leaves what
 * it leaves there. `dpkg-query`, which only reads them, is a script of its own, since it is asked so often.
 *
 * The archive is `debian_packages` and, for a test to add to it, `/var/lib/apt/archive` in the container. Its fields
 * are Debian's, `Depends` and `Conflicts` with plain names only, and:
 *
 * - `X-Files`: programs that the package brings, as stubs; one that is there already, since the machine has it, stays.
 * - `Conffiles`: configuration files that it brings, and leaves behind.
 * - `X-Seconds`: how long it takes to be configured.
 * - `X-Exit-Code`: with what its configuration fails.
 *
 * Faults are in `/var/lib/apt/knobs.json`, see {@linkcode Knobs}. A lock is held by who holds it with `flock`: `flock
 * /var/lib/dpkg/lock-frontend sleep 5`.
 *
 * Everything that is not known here is refused with exit code 64.
 *
 * @module
 */

/** The faults that a test sets. */
interface Knobs {
  /** No server can be reached. */
  networkDown?: boolean;
}

/** A paragraph of a list of packages, by field. */
type Paragraph = Map<string, string>;

const dpkg = "/var/lib/dpkg";
const statusFile = `${dpkg}/status`;
const lists = "/var/lib/apt/lists";
const listFile = `${lists}/mirror.example_debian_dists_bookworm_main_binary-amd64_Packages`;
const archives = "/var/cache/apt/archives";
const server = "http://mirror.example/debian";

/** Ends this process. */
class Exit extends Error {
  constructor(readonly code: number, ...lines: string[]) {
    super(lines.join("\n"));
  }
}

class Unsupported extends Exit {
  constructor(what: string) {
    super(64, `${program} stand-in: not supported: ${what}`);
  }
}

const [program = "", ...args] = Deno.args;

const print = (line: string) => console.log(line);
const complain = (line: string) => console.error(line);
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function textOf(path: string | URL): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function remove(path: string): void {
  if (exists(path)) Deno.removeSync(path);
}

function knobs(): Knobs {
  return JSON.parse(textOf("/var/lib/apt/knobs.json") ?? "{}");
}

// -- Paragraphs and versions
// ------------------------------------------------------------------------------------------------

function parse(text: string): Paragraph[] {
  return text.replaceAll(/^#.*\n/gm, "").split(/\n\s*\n/).map((paragraph) =>
    new Map(
      paragraph.split("\n").filter((line) => line !== "").map((line): [string, string] => {
        const [, field, value] = /^([\w-]+):\s*(.*)$/.exec(line) ?? [];
        if (field === undefined) throw new Unsupported(`the line "${line}" in a list of packages`);
        return [field, value!];
      }),
    )
  ).filter((paragraph) => paragraph.size > 0);
}

function format(paragraphs: Iterable<Paragraph>): string {
  return [...paragraphs].map((paragraph) =>
    [...paragraph].map(([field, value]) => `${field}: ${value}\n`).join("") + "\n"
  ).join("");
}

function field(paragraph: Paragraph, name: string): string {
  return paragraph.get(name) ?? "";
}

const nameOf = (paragraph: Paragraph) => field(paragraph, "Package");
const versionOf = (paragraph: Paragraph) => field(paragraph, "Version");

function namesIn(paragraph: Paragraph, name: string): string[] {
  const names = field(paragraph, name).split(",").map((one) => one.trim()).filter((one) => one !== "");
  const odd = names.find((one) => !/^[a-z0-9][a-z0-9+.-]+$/.test(one));
  if (odd !== undefined) throw new Unsupported(`"${odd}" in ${name} of ${nameOf(paragraph)}`);
  return names;
}

function words(paragraph: Paragraph, name: string): string[] {
  return field(paragraph, name).split(" ").filter((one) => one !== "");
}

/** Debian's order of versions: negative where `a` is the older one. */
function compareVersions(a: string, b: string): number {
  const split = (version: string) => {
    const [, epoch = "0", upstream = "", revision = "0"] = /^(?:(\d+):)?(.*?)(?:-([^-]*))?$/.exec(version)!;
    return { epoch: Number(epoch), upstream, revision };
  };
  const [left, right] = [split(a), split(b)];
  return left.epoch - right.epoch || compareParts(left.upstream, right.upstream) ||
    compareParts(left.revision, right.revision);
}

function compareParts(a: string, b: string): number {
  // Letters come before everything else, and "~" even before the end.
  const order = (c: string | undefined) =>
    c === "~" ? -1 : c === undefined || /\d/.test(c) ? 0 : /[a-z]/i.test(c) ? c.charCodeAt(0) : c.charCodeAt(0) + 256;
  let [left, right] = [a, b];
  while (left !== "" || right !== "") {
    const text = /^\D*/;
    const [l, r] = [text.exec(left)![0], text.exec(right)![0]];
    for (let i = 0; i < Math.max(l.length, r.length); i++) {
      const difference = order(l[i]) - order(r[i]);
      if (difference !== 0) return difference;
    }
    [left, right] = [left.slice(l.length), right.slice(r.length)];
    const digits = /^\d*/;
    const [m, n] = [digits.exec(left)![0], digits.exec(right)![0]];
    if (Number(m) !== Number(n)) return Number(m) - Number(n);
    [left, right] = [left.slice(m.length), right.slice(n.length)];
  }
  return 0;
}

// -- What there is
// ----------------------------------------------------------------------------------------------------------

/** What the servers have. */
function archive(): Paragraph[] {
  return parse(
    Deno.readTextFileSync(new URL("debian_packages", import.meta.url)) + "\n" +
      (textOf("/var/lib/apt/archive") ?? ""),
  );
}

/** What apt knows of the archive, newest versions first. */
function known(): Paragraph[] {
  return parse(textOf(listFile) ?? "").sort((a, b) => compareVersions(versionOf(b), versionOf(a)));
}

/** dpkg's notes, by name. */
function readStatus(): Map<string, Paragraph> {
  const text = textOf(statusFile);
  const paragraphs = text !== undefined ? parse(text) : archive()
    .filter((paragraph) => paragraph.get("Priority") === "required")
    .map((paragraph) => new Map([...paragraph, ["Status", "install ok installed"]]));
  return new Map(paragraphs.map((paragraph) => [nameOf(paragraph), paragraph]));
}

function writeStatus(status: Map<string, Paragraph>): void {
  Deno.mkdirSync(`${dpkg}/info`, { recursive: true });
  Deno.writeTextFileSync(`${statusFile}-new`, format(status.values()));
  Deno.renameSync(`${statusFile}-new`, statusFile);
}

/** The third word of a status: `installed`, `unpacked`, `half-configured`, `half-installed`, `config-files`. */
function stateOf(paragraph: Paragraph | undefined): string {
  return paragraph ? field(paragraph, "Status").split(" ")[2] ?? "" : "not-installed";
}

function isThere(paragraph: Paragraph | undefined): paragraph is Paragraph {
  return !["not-installed", "config-files"].includes(stateOf(paragraph));
}

function isUnfinished(paragraph: Paragraph): boolean {
  return !["installed", "config-files"].includes(stateOf(paragraph));
}

// -- Locks
// ------------------------------------------------------------------------------------------------------------------

/** Takes a lock for the rest of this process; `false` where another one holds it. */
function takeLock(path: string): boolean {
  Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
  // Left open: closing it would give up the lock.
  return Deno.openSync(path, { read: true, write: true, create: true, mode: 0o640 }).tryLockSync(true);
}

/** The process that has a file open. */
function holderOf(path: string): { pid: string; name: string } {
  for (const { name: pid } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === Deno.pid) continue;
    try {
      for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
        if (Deno.readLinkSync(`/proc/${pid}/fd/${name}`) === path) {
          return { pid, name: Deno.readTextFileSync(`/proc/${pid}/comm`).trim() };
        }
      }
    } catch { /* it has ended */ }
  }
  return { pid: "0", name: "nobody any more" };
}

function couldNotLock(path: string): string {
  const { pid, name } = holderOf(path);
  return `Could not get lock ${path}. It is held by process ${pid} (${name})`;
}

async function lockDpkg(patience: number): Promise<void> {
  const path = `${dpkg}/lock-frontend`;
  for (let second = 0; !takeLock(path); second++) {
    if (second < patience) {
      complain(`Waiting for cache lock: ${couldNotLock(path)}...`);
      await sleep(1000);
      continue;
    }
    const unable = `E: Unable to acquire the dpkg frontend lock (${path}), is another process using it?`;
    throw patience > 0 ? new Exit(100, unable) : new Exit(100, `E: ${couldNotLock(path)}`, unable);
  }
}

function lockDirectory(directory: string): void {
  const path = `${directory}/lock`;
  if (takeLock(path)) return;
  throw new Exit(100, `E: ${couldNotLock(path)}`, `E: Unable to lock directory ${directory}/`);
}

// -- What dpkg does
// -----------------------------------------------------------------------------------------------------------

/** Notes that dpkg is at work, for whoever comes after a kill. */
async function atWork(work: () => Promise<void>): Promise<void> {
  Deno.mkdirSync(`${dpkg}/updates`, { recursive: true });
  Deno.writeTextFileSync(`${dpkg}/updates/0000`, "");
  await work();
  Deno.removeSync(`${dpkg}/updates/0000`);
}

function unpack(paragraph: Paragraph): void {
  const status = readStatus();
  const name = nameOf(paragraph);
  const old = status.get(name);
  const note = (words: string) => {
    status.set(name, new Map([["Package", name], ["Status", words], ...[...paragraph].slice(1)]));
    writeStatus(status);
  };
  if (!isThere(old)) print(`Selecting previously unselected package ${name}.`);
  print(`Preparing to unpack .../${fileName(paragraph)} ...`);
  print(`Unpacking ${name} (${versionOf(paragraph)})${isThere(old) ? ` over (${versionOf(old)})` : ""} ...`);
  note("install reinstreq half-installed");
  const programs = words(paragraph, "X-Files");
  for (const path of [...programs, ...words(paragraph, "Conffiles")]) {
    const isProgram = programs.includes(path);
    if (exists(path)) continue;
    Deno.mkdirSync(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    Deno.writeTextFileSync(path, isProgram ? stub(paragraph) : "", { mode: isProgram ? 0o755 : 0o644 });
  }
  Deno.writeTextFileSync(`${dpkg}/info/${name}.list`, programs.map((path) => `${path}\n`).join(""));
  note("install ok unpacked");
}

function stub(paragraph: Paragraph): string {
  return `#!/bin/sh
[ "$*" != --version ] || { echo "\${0##*/} ${versionOf(paragraph)}"; exit; }
echo "\${0##*/} stand-in: not supported: $*" >&2
exit 64
`;
}

/** Configures what is only unpacked; gives the names of what failed. */
async function configureAll(): Promise<string[]> {
  const failed: string[] = [];
  for (const [name, paragraph] of readStatus()) {
    if (!["unpacked", "half-configured"].includes(stateOf(paragraph))) continue;
    const note = (state: string) => {
      const status = readStatus();
      status.get(name)!.set("Status", `install ok ${state}`);
      writeStatus(status);
    };
    print(`Setting up ${name} (${versionOf(paragraph)}) ...`);
    note("half-configured");
    await sleep(Number(paragraph.get("X-Seconds") ?? 0) * 1000);
    const code = paragraph.get("X-Exit-Code");
    if (code === undefined) {
      note("installed");
      continue;
    }
    complain(`dpkg: error processing package ${name} (--configure):`);
    complain(` installed ${name} package post-installation script subprocess returned error exit status ${code}`);
    failed.push(name);
  }
  if (failed.length > 0) {
    complain(`Errors were encountered while processing:\n${failed.map((n) => ` ${n}`).join("\n")}`);
  }
  return failed;
}

function removePackage(paragraph: Paragraph): void {
  const name = nameOf(paragraph);
  print(`Removing ${name} (${versionOf(paragraph)}) ...`);
  for (const path of words(paragraph, "X-Files")) remove(path);
  const status = readStatus();
  if (paragraph.has("Conffiles")) status.get(name)!.set("Status", "deinstall ok config-files");
  else status.delete(name);
  writeStatus(status);
  remove(`${dpkg}/info/${name}.list`);
}

async function runDpkg(): Promise<void> {
  const rest = args.filter((arg) => arg !== "--force-confold");
  switch (rest.join(" ")) {
    case "--print-architecture":
      return print("amd64");
    case "--audit":
    case "-C":
      for (const [name, paragraph] of readStatus()) if (isUnfinished(paragraph)) print(` ${name}`);
      return;
    case "--configure -a":
    case "-a --configure": {
      const path = `${dpkg}/lock-frontend`;
      if (!takeLock(path)) {
        throw new Exit(
          2,
          `dpkg: error: dpkg frontend lock was locked by another process with pid ${holderOf(path).pid}`,
          "Note: removing the lock file is always wrong, can damage the locked area",
          "and the entire system. See <https://wiki.debian.org/Teams/Dpkg/FAQ#db-lock>.",
        );
      }
      let failed: string[] = [];
      await atWork(async () => void (failed = await configureAll()));
      if (failed.length > 0) throw new Exit(1);
      return;
    }
    default:
      throw new Unsupported(args.join(" "));
  }
}

// -- What apt-get does
// ----------------------------------------------------------------------------------------------------------

interface Options {
  yes: boolean;
  simulate: boolean;
  mayRemove: boolean;
  mayDowngrade: boolean;
  reinstall: boolean;
  patience: number;
  failsOnAnyError: boolean;
}

function parseOptions(): { options: Options; command: string; names: string[] } {
  const options: Options = {
    yes: false,
    simulate: false,
    mayRemove: true,
    mayDowngrade: false,
    reinstall: false,
    patience: 0,
    failsOnAnyError: false,
  };
  const rest: string[] = [];
  const set = (setting = "") => {
    const [name = "", value] = setting.split("=");
    if (/^dpkg::lock::timeout$/i.test(name)) options.patience = Number(value);
    else if (/^apt::update::error-mode$/i.test(name) && value === "any") options.failsOnAnyError = true;
    else if (!/^(dpkg::options::=--force-conf(old|def)|dpkg::use-pty=0|acquire::retries=\d+)$/i.test(setting)) {
      throw new Unsupported(`-o ${setting}`);
    }
  };
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === "-o") set(args[++i]);
    else if (arg === "-y" || arg === "--yes" || arg === "--assume-yes") options.yes = true;
    else if (arg === "-s" || arg === "--simulate") options.simulate = true;
    else if (arg === "--no-remove") options.mayRemove = false;
    else if (arg === "--allow-downgrades") options.mayDowngrade = true;
    else if (arg === "--reinstall") options.reinstall = true;
    else if (["-q", "-qq", "--no-install-recommends"].includes(arg)) continue;
    else if (arg.startsWith("-")) throw new Unsupported(arg);
    else rest.push(arg);
  }
  const [command = "", ...names] = rest;
  return { options, command, names };
}

async function aptGet(): Promise<void> {
  const { options, command, names } = parseOptions();
  if (command === "update") return update(options);
  if (command !== "install" && command !== "remove") throw new Unsupported(command || "apt-get without a command");
  if (!options.simulate) {
    await lockDpkg(options.patience);
    if (exists(`${dpkg}/updates/0000`)) {
      throw new Exit(
        100,
        "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. ",
      );
    }
  }
  for (const line of ["Reading package lists...", "Building dependency tree...", "Reading state information..."]) {
    print(line);
  }
  await carryOut(command === "install" ? planToInstall(names, options) : planToRemove(names), options);
}

function update({ failsOnAnyError }: Options): void {
  const mark = failsOnAnyError ? "E" : "W";
  try {
    lockDirectory(lists);
  } catch (error) {
    print("Reading package lists...");
    throw error;
  }
  if (knobs().networkDown) {
    for (let i = 0; i < 3; i++) print(`Ign:1 ${server} bookworm InRelease`);
    print(
      `Err:1 ${server} bookworm InRelease\n  Temporary failure resolving 'mirror.example'\nReading package lists...`,
    );
    const lines = [
      `${mark}: Failed to fetch ${server}/dists/bookworm/InRelease  Temporary failure resolving 'mirror.example'`,
      `${mark}: Some index files failed to download. They have been ignored, or old ones used instead.`,
    ];
    throw new Exit(failsOnAnyError ? 100 : 0, ...lines);
  }
  const text = format(archive());
  // A list that has not changed keeps its time.
  const isNew = textOf(listFile) !== text;
  print(`${isNew ? "Get" : "Hit"}:1 ${server} bookworm InRelease${isNew ? " [151 kB]" : ""}`);
  if (isNew) {
    print(`Get:2 ${server} bookworm/main amd64 Packages [8,793 kB]\nFetched 8,944 kB in 0s (21.4 MB/s)`);
    Deno.writeTextFileSync(listFile, text);
  }
  print("Reading package lists...");
}

/** What a call will do. */
interface Plan {
  install: Paragraph[];
  remove: Paragraph[];
  /** What was asked for by name, and so needs no question. */
  named: Set<string>;
}

function planToInstall(texts: string[], options: Options): Plan {
  const candidates = known();
  const status = readStatus();
  const plan: Plan = { install: [], remove: [], named: new Set() };
  const problems: string[] = [];
  const add = (paragraph: Paragraph) => {
    if (plan.install.some((one) => nameOf(one) === nameOf(paragraph))) return;
    for (const dependency of namesIn(paragraph, "Depends")) {
      if (stateOf(status.get(dependency)) === "installed") continue;
      const candidate = candidates.find((one) => nameOf(one) === dependency);
      if (candidate) add(candidate);
      else problems.push(` ${nameOf(paragraph)} : Depends: ${dependency} but it is not installable`);
    }
    for (const [name, other] of status) {
      const clash = namesIn(paragraph, "Conflicts").includes(name) ||
        namesIn(other, "Conflicts").includes(nameOf(paragraph));
      if (clash && isThere(other)) {
        plan.remove.push(
          ...planToRemove([name], true).remove.filter((one) =>
            !plan.remove.some((removed) => nameOf(removed) === nameOf(one))
          ),
        );
      }
    }
    plan.install.push(paragraph);
  };
  for (const text of texts) {
    const [, asked = "", version] = /^(.*?)(?:=(.*))?$/.exec(text)!;
    const [name = "", architecture] = asked.split(":");
    if (![undefined, "amd64", "all"].includes(architecture)) throw new Unsupported(`the architecture ${architecture}`);
    let names = [name];
    if (!candidates.some((one) => nameOf(one) === name)) {
      if (/[-+]$/.test(name)) throw new Unsupported(`"${name}" as a wish to remove or to install`);
      // To apt-get, a name that it does not know is a regular expression if it looks like one.
      const matching = /[.?*]/.test(name) ? candidates.map(nameOf).filter((one) => new RegExp(name).test(one)) : [];
      names = [...new Set(matching)];
      if (names.length === 0) throw new Exit(100, `E: Unable to locate package ${asked}`);
      for (const one of names) print(`Note, selecting '${one}' for regex '${name}'`);
    }
    for (const one of names) {
      const candidate = candidates.find((paragraph) =>
        nameOf(paragraph) === one && (version === undefined || versionOf(paragraph) === version)
      );
      if (!candidate) throw new Exit(100, `E: Version '${version}' for '${one}' was not found`);
      plan.named.add(one);
      const old = status.get(one);
      // Also what was cut off while it was unpacked counts as there.
      const isSame = isThere(old) &&
        (version === undefined
          ? compareVersions(versionOf(old), versionOf(candidate)) >= 0
          : versionOf(old) === version);
      if (!isSame || options.reinstall) add(candidate);
      else print(`${one} is already the newest version (${versionOf(old!)}).`);
    }
  }
  if (problems.length > 0) {
    print(`The following packages have unmet dependencies:\n${problems.join("\n")}`);
    throw new Exit(100, "E: Unable to correct problems, you have held broken packages.");
  }
  return plan;
}

function planToRemove(names: string[], silent = false): Plan {
  const status = readStatus();
  const plan: Plan = { install: [], remove: [], named: new Set(names) };
  const add = (paragraph: Paragraph) => {
    if (plan.remove.includes(paragraph)) return;
    for (const other of status.values()) {
      if (isThere(other) && namesIn(other, "Depends").includes(nameOf(paragraph))) add(other);
    }
    plan.remove.push(paragraph);
  };
  for (const name of names) {
    const paragraph = status.get(name);
    if (isThere(paragraph)) add(paragraph);
    else if (paragraph || known().some((one) => nameOf(one) === name)) {
      if (!silent) print(`Package '${name}' is not installed, so not removed`);
    } else throw new Exit(100, `E: Unable to locate package ${name}`);
  }
  return plan;
}

async function carryOut(plan: Plan, options: Options): Promise<void> {
  const status = readStatus();
  const sort = (paragraph: Paragraph) => {
    const old = status.get(nameOf(paragraph));
    if (!isThere(old)) return "new";
    const order = compareVersions(versionOf(paragraph), versionOf(old));
    return order === 0 ? "reinstalled" : order < 0 ? "downgraded" : "upgraded";
  };
  const count = (kind: string) => plan.install.filter((one) => sort(one) === kind).length;
  const tell = (heading: string, paragraphs: Paragraph[]) => {
    if (paragraphs.length > 0) print(`${heading}:\n  ${paragraphs.map(nameOf).sort().join(" ")}`);
  };
  tell("The following packages will be REMOVED", plan.remove);
  tell("The following NEW packages will be installed", plan.install.filter((one) => sort(one) === "new"));
  tell("The following packages will be upgraded", plan.install.filter((one) => sort(one) === "upgraded"));
  tell("The following packages will be DOWNGRADED", plan.install.filter((one) => sort(one) === "downgraded"));
  const unfinished = [...status.values()].filter(isUnfinished).length;
  const extra = (kind: string) => count(kind) > 0 ? ` ${count(kind)} ${kind},` : "";
  print(
    `${count("upgraded")} upgraded, ${count("new")} newly installed,${extra("reinstalled")}${extra("downgraded")} ` +
      `${plan.remove.length} to remove and 0 not upgraded.`,
  );
  if (unfinished > 0) print(`${unfinished} not fully installed or removed.`);
  if (options.simulate) {
    for (const one of plan.remove) print(`Remv ${nameOf(one)} [${versionOf(one)}]`);
    for (const word of ["Inst", "Conf"]) {
      for (const one of plan.install) print(`${word} ${nameOf(one)} (${versionOf(one)} Debian:12/stable [amd64])`);
    }
    return;
  }
  if (plan.remove.length > 0 && !options.mayRemove) {
    throw new Exit(100, "E: Packages need to be removed but remove is disabled.");
  }
  if (options.yes && count("downgraded") > 0 && !options.mayDowngrade) {
    throw new Exit(100, "E: Packages were downgraded and -y was used without --allow-downgrades.");
  }
  if (plan.install.length + plan.remove.length + unfinished === 0) return;
  const surprises = plan.remove.length > 0 || plan.install.some((one) => !plan.named.has(nameOf(one)));
  // Nobody answers: the end of stdin is a no.
  if (!options.yes && surprises) throw new Exit(1, "Do you want to continue? [Y/n] Abort.");
  if (plan.install.length > 0) download(plan.install);
  let failed: string[] = [];
  await atWork(async () => {
    for (const one of plan.remove) removePackage(one);
    for (const one of plan.install) unpack(one);
    failed = await configureAll();
  });
  if (failed.length > 0) throw new Exit(100, "E: Sub-process /usr/bin/dpkg returned an error code (1)");
}

function fileName(paragraph: Paragraph): string {
  return `${nameOf(paragraph)}_${versionOf(paragraph).replace(/^\d+:/, "")}_${field(paragraph, "Architecture")}.deb`;
}

function download(paragraphs: Paragraph[]): void {
  lockDirectory(archives);
  const available = archive();
  const { networkDown } = knobs();
  const failures: string[] = [];
  for (const [index, paragraph] of paragraphs.entries()) {
    const what = `${server} bookworm/main amd64 ${nameOf(paragraph)} amd64 ${versionOf(paragraph)}`;
    const isThere = available.some((one) =>
      nameOf(one) === nameOf(paragraph) && versionOf(one) === versionOf(paragraph)
    );
    if (!networkDown && isThere) {
      print(`Get:${index + 1} ${what} [64.9 kB]`);
      continue;
    }
    const why = networkDown ? "Temporary failure resolving 'mirror.example'" : "404  Not Found [IP: 151.101.2.132 80]";
    print(`Err:${index + 1} ${what}\n  ${why}`);
    const name = nameOf(paragraph);
    failures.push(`E: Failed to fetch ${server}/pool/main/${name[0]}/${name}/${fileName(paragraph)}  ${why}`);
  }
  if (failures.length > 0) {
    throw new Exit(
      100,
      ...failures,
      "E: Unable to fetch some archives, maybe run apt-get update or try with --fix-missing?",
    );
  }
  if (Deno.env.get("DEBIAN_FRONTEND") !== "noninteractive") complain("dpkg-preconfigure: unable to re-open stdin: ");
}

// -- What apt-cache does
// --------------------------------------------------------------------------------------------------------

function aptCache(): void {
  const [command, ...names] = args;
  if (command !== "madison" || names.some((name) => name.startsWith("-"))) throw new Unsupported(args.join(" "));
  for (const text of names) {
    const [name, architecture] = text.split(":");
    for (const paragraph of known()) {
      if (nameOf(paragraph) !== name || ![undefined, "amd64", "all"].includes(architecture)) continue;
      const columns = [nameOf(paragraph).padStart(10), versionOf(paragraph).padStart(10)];
      print(`${columns.join(" | ")} | ${server} bookworm/main amd64 Packages`);
    }
  }
}

try {
  if (program === "apt-get") await aptGet();
  else if (program === "apt-cache") aptCache();
  else await runDpkg();
} catch (error) {
  if (!(error instanceof Exit)) throw error;
  if (error.message !== "") complain(error.message);
  Deno.exit(error.code);
}
