/**
 * What a run touches outside itself, in one place, so that a test can put something else there.
 *
 * @module
 */

import { fromFileUrl } from "@std/path";
import { ConfigurationError, readJson } from "./configuration.ts";
import { type ContainerHooks, PctContainer } from "../container/connection.ts";
import type { Connection } from "../container/container.ts";
import type { ShutdownSignal } from "./shutdown.ts";
import type { Host } from "../host/host.ts";
import { thisHost } from "../host/this_host.ts";
import { RunLock } from "./lock.ts";
import { type LogFile, openLogFile } from "../log/file.ts";
import { StandardStreams, type TextWriter } from "../log/standard_streams.ts";
import { Pct } from "../container/pct.ts";
import { HOST_PATHS } from "../host/paths.ts";

/**
 * All that a run touches outside itself: the process, the files and the commands of the host. Tests hand in their own;
 * a setup has no need of it.
 *
 * @internal
 */
export interface System {
  /** The command line. */
  readonly args: readonly string[];
  /** The file that runs: a compiled executable, or a script. */
  readonly program: string;
  /** An environment variable. */
  readonly environment: (name: string) => string | undefined;
  /** Where standard output goes, and whether a person reads it. */
  readonly stdout: TextWriter & { readonly terminal: boolean };
  /** Where standard error goes. */
  readonly stderr: TextWriter;
  /** Waits for both to take everything, each for `patience` milliseconds; see {@linkcode StandardStreams.drain}. */
  readonly drain: (patience?: number) => Promise<void>;
  /** Proxmox's `pct`. */
  readonly pct: Pick<Pct, "run" | "abandon">;
  /** The host, as steps see it. */
  readonly host: (ctid: number) => Host;
  /** Connects to a container; see {@linkcode PctContainer}. */
  readonly connect: (ctid: number, hooks: ContainerHooks) => Connection;
  /** What has locked a container in Proxmox, such as `backup`; `undefined` when nothing has. */
  readonly lockedBy: (ctid: number) => string | undefined;
  /** Reads a JSON file; see {@linkcode readJson}. */
  readonly readJson: (path: string) => unknown;
  /** Opens the log file; see {@linkcode openLogFile}. */
  readonly openLogFile: (path: string) => LogFile;
  /** Takes the lock of a container; see {@linkcode RunLock}. */
  readonly lock: (ctid: number) => Pick<RunLock, "release">;
  /** Calls `handle` when the process is asked to end. */
  readonly onSignal: (handle: (signal: ShutdownSignal) => void) => void;
  /** Calls `handle` with an error that nobody waits for, such as that of a step without `await`, or of a timer. */
  readonly onUnhandled: (handle: (error: unknown) => void) => void;
  /** Ends the process. */
  readonly exit: (code: number) => void;
}

/** The system of a real run: this process on this host. */
export function thisSystem(): System {
  const pct = new Pct();
  const streams = new StandardStreams();
  return {
    args: Deno.args,
    program: Deno.build.standalone ? Deno.execPath() : fromFileUrl(Deno.mainModule),
    environment: readEnvironment,
    stdout: Object.assign(streams.writer(Deno.stdout), { terminal: Deno.stdout.isTerminal() }),
    stderr: streams.writer(Deno.stderr),
    drain: (patience) => streams.drain(patience),
    pct,
    host: (ctid) => thisHost(pct, ctid),
    connect: (ctid, hooks) => new PctContainer(pct, ctid, hooks),
    lockedBy: lockOf,
    readJson,
    openLogFile,
    lock: (ctid) => RunLock.take(HOST_PATHS.locks, ctid),
    onSignal(handle) {
      for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) {
        Deno.addSignalListener(signal, () => handle(signal));
      }
    },
    onUnhandled(handle) {
      globalThis.addEventListener("unhandledrejection", (event) => {
        event.preventDefault();
        handle(event.reason);
      });
      globalThis.addEventListener("error", (event) => {
        event.preventDefault();
        handle(event.error);
      });
    },
    exit: (code) => Deno.exit(code),
  };
}

/** An environment variable. Throws a {@linkcode ConfigurationError} for one that is not UTF-8. */
function readEnvironment(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.InvalidData)) throw error;
    throw new ConfigurationError(`Cannot use the environment variable ${name} as it is not UTF-8`);
  }
}

/** The `lock:` of Proxmox's own configuration of a container, which can be read without starting a process. */
function lockOf(ctid: number): string | undefined {
  try {
    return /^lock: (\S+)$/m.exec(Deno.readTextFileSync(`/etc/pve/lxc/${ctid}.conf`).split("\n[")[0]!)?.[1];
  } catch {
    return undefined; // Without the file there is nothing to wait for.
  }
}
