/**
 * Help with a failure: what an exit code means, and what to do where a known pattern matches.
 *
 * @module
 */

import type { CommandEvidence } from "../errors.ts";

const SIGNALS: Readonly<Record<number, string>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  4: "SIGILL",
  6: "SIGABRT",
  8: "SIGFPE",
  9: "SIGKILL: the kernel does this when memory runs out",
  11: "SIGSEGV",
  13: "SIGPIPE",
  15: "SIGTERM",
};

/** What the exit code of a command inside the container means, as one phrase. */
export function meaningOf({ code, command }: Pick<CommandEvidence, "code" | "command">): string | undefined {
  if (code === undefined || code === 0) return undefined;
  if (command.startsWith("docker") && code === 125) return "the Docker engine refused the request";
  if (command.includes("apt-get") && code === 100) return "apt could not resolve, download or configure a package";
  if (command.startsWith("curl")) {
    const curl =
      { 6: "the host name could not be resolved", 7: "nothing listens there", 28: "no answer in time" }[code];
    if (curl) return curl;
  }
  if (code === 126) return "the program was found and cannot be executed";
  if (code === 127) return "the program was not found inside the container";
  if (code > 128 && code < 128 + 65) return `ended by signal ${SIGNALS[code - 128] ?? code - 128}`;
  return "the command's own code for failure";
}

/** A pattern in what a command wrote, and what to do about it. */
const HINTS: readonly (readonly [RegExp, string])[] = [
  [/no space left on device|ENOSPC/i, "The container's disk is full: free some space, or enlarge it with pct resize"],
  [
    /cannot connect to the docker daemon/i,
    'Docker is not running inside the container: look at "systemctl status docker" there; it needs the feature nesting=1',
  ],
  [/docker: (?:command )?not found/i, "Docker is not installed inside the container: its features need nesting=1"],
  [/port is already allocated|address already in use/i, "Another process listens on this port inside the container"],
  [
    /pull access denied|unauthorized|authentication required|no basic auth credentials/i,
    "The registry requires a login, or the image does not exist",
  ],
  [/manifest(?: for .*)? (?:unknown|not found)/i, "The registry has no image of this tag: check its spelling"],
  [/toomanyrequests|rate limit/i, "The registry limits the number of pulls: log in to it, or try again later"],
  [
    /no such host|temporary failure (?:in name )?resol|could not resolve/i,
    "Host names cannot be resolved inside the container: check its gateway and its name server",
  ],
  [/network is unreachable|no route to host/i, "The container has no network: check its bridge, address and gateway"],
  [/certificate (?:has expired|is not yet valid)/i, "Check the clock of the host, then the certificate"],
  [
    /could not get lock |lock was locked by /i,
    "Another apt or dpkg is running inside the container: run this again when it has ended",
  ],
  [
    /could not open lock file|unable to open\/create dpkg/i,
    "Look at the lock file inside the container and at the folder that it is in: apt cannot open it",
  ],
  [
    /needs to be reinstalled, but I can't find an archive for it/i,
    'Add a source that has the package, or remove it inside: "dpkg --remove --force-remove-reinstreq" and its name',
  ],
  [/held packages were changed/i, 'Somebody holds this package at its version: "apt-mark unhold" and its name'],
  [/dpkg was interrupted/i, 'Run "dpkg --configure -a" inside the container'],
  [/read-only file system/i, "The file system inside is read-only: look at the host's kernel log for disk errors"],
  [
    /operation not permitted|permission denied/i,
    "An unprivileged container may not do this, or a file does not belong to root",
  ],
  [
    /nvidia-container-cli|could not select device driver.*gpu/i,
    "The NVIDIA container toolkit is missing or sees no GPU",
  ],
  [/out of memory|cannot allocate memory/i, "Memory ran out: give the container more with pct set --memory"],
  [/container '?\d+'? not running/i, "The container was stopped: start it, and run this again"],
  [/please run as root/, "Run this as root"],
  [
    /CT is locked|can't lock file/,
    "Something else is working on the container, such as a backup: run this again when its tasks in Proxmox VE have ended",
  ],
  [
    /snapshot feature is not available/,
    "The container's storage cannot take snapshots: move it to one that can, such as ZFS or LVM-thin",
  ],
  [/startup for container '\d+' failed/, "The container does not start: pct start <CTID> --debug shows why"],
  [
    /session with container \d+ was lost/,
    "The container was stopped, or its shell was ended: look at its tasks in Proxmox VE, and run this again",
  ],
];

/** What to do about a failure, where a known pattern matches what was written. */
export function hintFor(output: string): string | undefined {
  return HINTS.find(([pattern]) => pattern.test(output))?.[1];
}
