/**
 * What a step is: something that must be true, and how that is looked at, compared and made so.
 *
 * @module
 */

import type { Container, ContainerReader } from "./container/container.ts";
import type { Difference } from "./events.ts";
import type { Host, HostReader } from "./host/host.ts";

/** What a step may use to look. */
export interface Reading {
  /** The container. */
  readonly container: ContainerReader;
  /** The Proxmox host. */
  readonly host: HostReader;
  /** Says how far a long step is. */
  progress(text: string): void;
  /** Says what a person should know although nothing has failed. */
  warn(text: string): void;
  /**
   * What the steps before this one would change inside, in check mode; in a run they have done it, and there is nothing
   * here.
   */
  readonly predicted: readonly PathChange[];
  /** What the steps before this one have changed inside in this run; in check mode there is nothing here. */
  readonly changed: readonly PathChange[];
  /** Waits, in milliseconds. */
  pause(ms: number): Promise<void>;
}

/** A file or folder inside that a step changes. */
export interface PathChange {
  /** Its absolute path. */
  readonly path: string;
  /** Whether its content changes, and not only its owner or its permissions. */
  readonly content: boolean;
  /** Whether it goes, with all that is in it. */
  readonly goes?: true;
}

/** What a step may use to change something. */
export interface Writing extends Reading {
  /** The container. */
  readonly container: Container;
  /** The Proxmox host. */
  readonly host: Host;
}

/**
 * Something that must be true of a container. `State` is what `probe` found and `diff` and `apply` work from.
 *
 * @example
 * ```ts
 * import { sh } from "./shell.ts";
 *
 * const marker: Step<boolean> = {
 *   title: "marker /etc/marked",
 *   async probe({ container }) {
 *     return (await container.read(sh`test -e /etc/marked`, { codes: [0, 1] })).code === 0;
 *   },
 *   diff: (there) => there ? [] : [{ what: "/etc/marked", to: "present" }],
 *   async apply({ container }) {
 *     await container.write(sh`touch /etc/marked`);
 *   },
 * };
 * ```
 */
export interface Step<State = unknown> {
  /** What must be true, as a short phrase: `container portainer`. */
  readonly title: string;
  /**
   * `apply` only waits for what other steps started, and has seen it when it returns: there is no second probe. Where
   * other steps would have to start it first, check mode cannot tell.
   */
  readonly waits?: true;
  /** Looks, and changes nothing. */
  probe(at: Reading): Promise<State>;
  /** What differs between what was found and what must be true; nothing when there is nothing to do. */
  diff(state: State): readonly Difference[];
  /** Makes it true. What it returns does not count: the engine probes again. */
  apply(at: Writing, state: State): Promise<void>;
  /** The files that `apply` changes inside, for the steps after it that depend on them. Default: none. */
  changes?(state: State): readonly PathChange[];
}
