/**
 * The worlds of the lab: what a container is made of. The same cases run in each.
 *
 * @module
 */

import { basename } from "@std/path";

/** One world. Its folder in the lab bears its name; what is in there `build` makes. */
export interface World {
  /** What it is, for people. */
  readonly title: string;
  /** Whether its containers have systemd, Docker and apt. */
  readonly isDebian: boolean;
}

/** All worlds, the first one being the default. */
export const WORLDS = {
  bookworm: { title: "Debian 12 with Docker 20.10", isDebian: true },
  trixie: { title: "Debian 13 with Docker 26.1", isDebian: true },
  "trixie-containerd": { title: "Debian 13 with Docker 26.1 and containerd's image store", isDebian: true },
  busybox: { title: "BusyBox, without systemd and Docker", isDebian: false },
} as const satisfies Readonly<Record<string, World>>;

/** The name of a world. */
export type WorldName = keyof typeof WORLDS;

/** Whether there is a world of this name. */
export function isWorldName(name: string): name is WorldName {
  return Object.hasOwn(WORLDS, name);
}

/**
 * The name of the world that is in the folder.
 *
 * @throws {Error} if it is none of a world
 */
export function worldOf(folder: string): WorldName {
  const name = basename(folder);
  if (!isWorldName(name)) {
    throw new Error(
      `Cannot take "${folder}" as a world of the lab: its name is none of ${Object.keys(WORLDS).join(", ")}`,
    );
  }
  return name;
}
