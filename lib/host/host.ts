/**
 * The Proxmox host as steps see it: like the container, a small port with separate verbs for looking and for changing.
 *
 * @module
 */

import type { Output } from "../container/container.ts";
import type { PctResult } from "../container/pct.ts";
import { ExitCode, Failure } from "../errors.ts";

/** How an HTTP request is made. */
export interface RequestOptions {
  /** Accept any certificate: a service that was just set up has a self-signed one. */
  readonly insecure: boolean;
  /** Milliseconds for the whole request. */
  readonly timeout: number;
}

/** What an HTTP server answered, or why it did not. */
export type HttpReply =
  | { readonly status: number; readonly body: string }
  | { readonly status: undefined; readonly error: string };

/** A file on the host. */
export interface HostFile {
  /** Its absolute path. */
  readonly path: string;
  /** Its size, in bytes. */
  readonly size: number;
  /** Its permissions, such as `0o644`. */
  readonly mode: number;
  /**
   * Its content from this byte on, by default all of it, as it is read: memory stays flat whatever the size. A chunk is
   * good until the next one is asked for. The file is opened for the first one.
   */
  chunks(from?: number): AsyncIterable<Uint8Array>;
  /** Its content as text. Throws a {@linkcode Failure} for more than 16 MiB and for what is not UTF-8. */
  text(): Promise<string>;
  /**
   * The SHA-256 of its present content, in hexadecimal digits; it is read once, and again where something has written
   * to it.
   */
  sha256(): Promise<string>;
}

/** What a folder on the host holds. */
export interface FolderEntry {
  /** Its name, without the folder's. */
  readonly name: string;
  /** What it is; a symbolic link is `other`, wherever it leads. */
  readonly kind: "file" | "folder" | "other";
}

/** What `pct` can be told to do with this run's container: the subcommands that a step may use. */
export type ContainerChange = "snapshot" | "delsnapshot" | "shutdown" | "stop" | "start" | "reboot";

/** A host that can be looked at. What a setup does not declare is refused: the run ends with exit code 70. */
export interface HostReader {
  /**
   * Sends a GET request from the host. Redirects are not followed. Of the body, the first 65,536 characters are kept,
   * or what has come of it when the time is up.
   */
  request(url: string, options: RequestOptions): Promise<HttpReply>;
  /**
   * Why nothing accepts a TCP connection at an address within `timeout` milliseconds; `undefined` where something does.
   * The connection is closed at once.
   */
  connectError(hostname: string, port: number, timeout: number): Promise<string | undefined>;
  /** A regular file, or `undefined` where there is nothing. Throws a {@linkcode Failure} for anything else. */
  file(path: string): Promise<HostFile | undefined>;
  /** What is in a folder, by name; `undefined` where there is no folder. */
  folder(path: string): Promise<readonly FolderEntry[] | undefined>;
  /** Asks `pct` for the status of this run's container: `pct status <CTID>`. */
  containerStatus(): Promise<PctResult>;
  /**
   * Runs a program that changes nothing, for a minute at the most. Any exit code is an answer; more output than 64 MiB
   * is none.
   */
  read(program: string, args: readonly string[]): Promise<Output>;
}

/** A host that can be changed. */
export interface Host extends HostReader {
  /** Writes a file whole or not at all, beside it first, then moved into place. Its folder has to be there. */
  writeFile(path: string, content: string, mode: number): Promise<void>;
  /**
   * Writes what `edited` makes of a file's text (empty where there is none) like {@linkcode writeFile}, with the owner
   * and mode that it has. A symbolic link stays one. Runs that edit files of one folder at once do so one after the
   * other.
   */
  editFile(path: string, edited: (text: string) => string): Promise<void>;
  /** Removes a file, if it is there. */
  removeFile(path: string): Promise<void>;
  /**
   * Makes `pct` change this run's container: `pct <change> <CTID> <args…>`. After `timeout` milliseconds it is left
   * running. A `code` of 0 is no evidence: look afterwards.
   */
  changeContainer(change: ContainerChange, args: readonly string[], timeout: number): Promise<PctResult>;
  /**
   * Runs a program that may change something, for at most `timeout` milliseconds; otherwise like
   * {@linkcode HostReader.read}.
   */
  write(program: string, args: readonly string[], timeout: number): Promise<Output>;
  /** Asks the programs that are running to end, with SIGTERM. A `pct` that changes something is left running. */
  interrupt(): void;
}

/** A host that refuses to be changed: what check mode hands to steps. */
export function readOnlyHost(host: HostReader): Host {
  const refuse = (what: string) =>
    Promise.reject(new Failure(ExitCode.Defect, `Cannot ${what} as nothing may be changed in check mode`));
  return {
    request: (url, options) => host.request(url, options),
    connectError: (hostname, port, timeout) => host.connectError(hostname, port, timeout),
    file: (path) => host.file(path),
    folder: (path) => host.folder(path),
    containerStatus: () => host.containerStatus(),
    read: (program, args) => host.read(program, args),
    writeFile: (path) => refuse(`write "${path}"`),
    editFile: (path) => refuse(`edit "${path}"`),
    removeFile: (path) => refuse(`remove "${path}"`),
    changeContainer: (change) => refuse(`run "pct ${change}"`),
    write: (program) => refuse(`run "${program}"`),
    interrupt() {},
  };
}
