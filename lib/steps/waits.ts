/**
 * Waiting for what a setup started: a port, a systemd unit, a line in a log, a path, a command. See `http` for URLs and
 * `docker.running` for containers.
 *
 * @module
 */

import { head } from "../text.ts";
import type { Reading, Step } from "../step.ts";
import { CommandFailed, ExitCode } from "../errors.ts";
import { type Script, sh } from "../shell.ts";
import { requirePath } from "./support/path.ts";
import { failureOfUnit, journalOf, readUnit, requireUnitName, type Unit } from "./service.ts";
import { type Alive, firstLook, requireWaitOptions, type WaitOptions, waitUntil } from "./support/poll.ts";

/** What a look came to. */
interface Look {
  /** Whether it is so. */
  readonly holds: boolean;
  /** What was seen, as a phrase. */
  readonly seen: string;
}

/** How long one look may take: a container that is frozen does not answer, and that is to be told before long. */
const LOOK_TIMEOUT = "15s";

/** A step that looks until it holds, and changes nothing. `what` has to be `to`. */
function wait(
  title: string,
  { what, to }: { readonly what: string; readonly to: string },
  options: WaitOptions,
  look: (at: Reading) => Promise<Look>,
): Step<Look> {
  requireWaitOptions(options);
  return {
    title,
    waits: true,
    probe: (at) => firstLook(at, title, options, () => look(at), notAnswering),
    diff: ({ holds, seen }) => holds ? [] : [{ what, from: seen, to }],
    apply: (at, first) =>
      waitUntil(at, `${what} to be ${to}`, first, {
        look: () => look(at),
        done: ({ holds }) => holds,
        seen: ({ seen }) => seen,
      }, options),
  };
}

function notAnswering(seen: string): Look {
  return { holds: false, seen };
}

/** Where a port is looked at, and how long. */
export type PortSpec =
  & WaitOptions
  & ({
    /** `inside`: something listens on the port, at whatever address. Default: `inside`. */
    readonly from?: "inside";
    readonly address?: never;
  } | {
    /** `host`: the host can connect, which shows that the network lets it through. The setup declares the address. */
    readonly from: "host";
    /** The container's address. */
    readonly address: string;
  });

/**
 * A TCP port that something listens on, waited for: inside, where it takes no tools, or as seen from the host.
 *
 * Throws a `TypeError` for what is no port, or has no address where it needs one.
 *
 * Requirements, section 2: "Waiting for services".
 *
 * @example
 * ```ts
 * const listening = port(8080, { within: "2m" });
 * const reachable = port(8080, { from: "host", address: "10.0.0.103" });
 * ```
 */
export function port(number: number, spec: PortSpec = {}): Step {
  if (!Number.isInteger(number) || number < 1 || number > 65535) {
    throw new TypeError(`Cannot wait for port ${number}: expected an integer from 1 to 65535`);
  }
  const { from = "inside", address } = spec;
  if ((from === "host") !== (address !== undefined && address !== "")) {
    throw new TypeError(
      `Cannot wait for port ${number}: expected an "address" with { from: "host" }, and none from inside`,
    );
  }
  if (address !== undefined) {
    const what = `port ${number} of ${address}`;
    return wait(`${what} accepts the host`, { what, to: "open" }, spec, async ({ host }) => {
      const why = await host.connectError(address, number, 5_000);
      return { holds: why === undefined, seen: why ?? "open" };
    });
  }
  // A socket's state 0A is LISTEN. tcp6 is missing where there is no IPv6.
  const listening = `:${number.toString(16).toUpperCase().padStart(4, "0")} [0-9A-F]+:[0-9A-F]{4} 0A `;
  return wait(`port ${number} listens`, { what: `port ${number}`, to: "open" }, spec, async ({ container }) => {
    const { code } = await container.read(
      sh`cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qiE ${listening}`,
      { codes: [0, 1], timeout: LOOK_TIMEOUT },
    );
    return { holds: code === 0, seen: code === 0 ? "open" : "nothing listens" };
  });
}

/**
 * A systemd unit that is active, waited for. A unit that has failed, is masked, or that systemd does not know, fails the step at
 * once, with the end of its journal. Also to be had as the `while` of another wait: `http(url, { while: unitActive("llama") })`.
 * A name without a suffix is that of a service.
 *
 * Throws a `TypeError` for what is no name of a unit.
 *
 * Requirements, section 2: "Waiting for services".
 *
 * @example
 * ```ts
 * const ready = unitActive("llama-server", { within: "5m" });
 * ```
 */
export function unitActive(name: string, options: WaitOptions = {}): Step & Alive {
  const unit = requireUnitName(name);
  const describe = (found: Unit | string | undefined): Look =>
    found === undefined
      ? notAnswering("there is no systemd")
      : typeof found === "string"
      ? notAnswering(found)
      : { holds: found.active === "active" || found.active === "reloading", seen: seenOf(found) };
  const find = async ({ container }: Reading): Promise<Unit | string | undefined> => {
    try {
      return await readUnit(container, unit);
    } catch (error) {
      // A container that has just been started has a shell before its systemd answers.
      if (!(error instanceof CommandFailed) || error.exitCode === ExitCode.Timeout) throw error;
      return `systemctl: ${error.evidence.stderr.trim().split("\n").at(-1) || error.message}`;
    }
  };
  const step = wait(
    `unit ${unit} is active`,
    { what: `unit ${unit}`, to: "active" },
    options,
    async (at) => describe(await find(at)),
  );
  const refuse = async (at: Reading): Promise<Look> => {
    const found = await find(at);
    const why = hopelessnessOf(found);
    if (why !== undefined) throw await failureOfUnit(at, unit, `Waiting for unit "${unit}" is pointless: it ${why}`);
    return describe(found);
  };
  return {
    ...step,
    apply: (at, first) =>
      waitUntil(at, `unit ${unit} to be active`, first, {
        look: () => refuse(at),
        done: ({ holds }) => holds,
        seen: ({ seen }) => seen,
      }, options),
    async whyGone(at) {
      const why = hopelessnessOf(await find(at));
      if (why === undefined) return undefined;
      const { text } = await journalOf(at, unit, 5);
      return `the unit "${unit}" ${why}${text === "" ? "" : `, and its journal ends with:\n${text}`}`;
    },
  } satisfies Step<Look> & Alive;
}

function seenOf({ active, sub, load }: Unit): string {
  return load === "loaded" ? `${active} (${sub})` : load;
}

/** Why a unit will not become active by itself, if it will not. One that is inactive may be about to be started. */
function hopelessnessOf(unit: Unit | string | undefined): string | undefined {
  if (typeof unit === "string") return undefined;
  if (unit === undefined) return "needs systemd, which is not there";
  if (unit.load === "not-found") return "is not known to systemd";
  if (unit.load !== "loaded") return `cannot be loaded: ${unit.load}`;
  return unit.active === "failed" ? `has failed: ${unit.why}` : undefined;
}

/**
 * A line that contains a text, waited for: in a file (an absolute path), from its first line on, or in what a systemd unit has
 * written to the journal since its last start. The text is taken as it is, not as a pattern.
 *
 * Throws a `TypeError` for a text with a line break, and for what is neither an absolute path nor a unit.
 *
 * Requirements, section 2: "Waiting for services".
 *
 * @example
 * ```ts
 * const loaded = logLine("llama-server", "model loaded", { within: "10m", while: unitActive("llama-server") });
 * const ready = logLine("/var/log/app.log", "ready to accept connections");
 * ```
 */
export function logLine(pathOrUnit: string, text: string, options: WaitOptions = {}): Step {
  if (text === "" || /[\n\0]/.test(text)) {
    throw new TypeError(`Cannot wait for the line ${JSON.stringify(text)}: expected a text without a line break`);
  }
  const isPath = pathOrUnit.startsWith("/");
  if (isPath) requirePath(pathOrUnit, "wait for a line in");
  const where = isPath ? pathOrUnit : requireUnitName(pathOrUnit);
  // The invocation is systemd's own id of one start of a unit: what an earlier one has written does not count.
  const log = isPath
    ? sh`[ -f ${where} ] || { echo 'no such file'; exit 1; }
log() { cat ${where}; }
last() { tail -n 1 ${where}; }`
    : sh`i=$(systemctl show -p InvocationID ${where}) && i=\${i#*=} || exit
[ -n "$i" ] || { echo 'a unit that was not started'; exit 1; }
log() { journalctl -q --no-pager -o cat "$@" _SYSTEMD_INVOCATION_ID="$i"; }
last() { log -n 1; }`;
  const what = `a line with ${JSON.stringify(text)} in ${isPath ? where : `the journal of ${where}`}`;
  return wait(what, { what, to: "there" }, options, async ({ container }) => {
    const output = await container.read(
      sh`${log}
log | grep -qF -e ${text} || { l=$(last | head -c 500) && echo "\${l:+as the last line: }\${l:-nothing}"; exit 1; }`,
      { codes: [0, 1], timeout: "1m" },
    );
    // systemd may not be there yet, and systemctl then says so.
    return { holds: output.code === 0, seen: output.code === 0 ? "there" : output.text || output.errorText };
  });
}

/**
 * A path inside at which something is, waited for.
 *
 * Throws a `TypeError` for a path that is not absolute.
 *
 * Requirements, section 2: "Waiting for services".
 *
 * @example
 * ```ts
 * const socket = exists("/run/docker.sock");
 * ```
 */
export function exists(path: string, options: WaitOptions = {}): Step {
  requirePath(path, "wait for");
  return wait(`${path} exists`, { what: path, to: "there" }, options, async ({ container }) => {
    const { code } = await container.read(sh`[ -e ${path} ]`, { codes: [0, 1], timeout: LOOK_TIMEOUT });
    return { holds: code === 0, seen: code === 0 ? "there" : "nothing" };
  });
}

/**
 * A command that succeeds, waited for: run again and again, so it must change nothing. Each try may take half a minute.
 *
 * Throws a `TypeError` for an empty title.
 *
 * Requirements, section 2: "Waiting for services".
 *
 * @example
 * ```ts
 * import { sh } from "../shell.ts";
 *
 * const ready = succeeds("the database answers", sh`pg_isready -q`, { within: "2m" });
 * ```
 */
export function succeeds(title: string, script: Script, options: WaitOptions = {}): Step {
  if (title === "") throw new TypeError("Cannot wait for a command without a title");
  return wait(title, { what: `"${script}"`, to: "successful" }, options, async ({ container }) => {
    try {
      const output = await container.read(script, { codes: "any", timeout: "30s" });
      const said = head((output.errorText || output.text).split("\n").at(-1)!, 200);
      return { holds: output.code === 0, seen: `exit code ${output.code}${said === "" ? "" : `: ${said}`}` };
    } catch (error) {
      if (!(error instanceof CommandFailed) || error.exitCode !== ExitCode.Timeout) throw error;
      return { holds: false, seen: "no end within 30 s" };
    }
  });
}
