/**
 * Docker networks.
 *
 * @module
 */

import { failureOf } from "../../container/container.ts";
import type { Step } from "../../step.ts";
import { sh } from "../../shell.ts";
import { missing } from "./engine.ts";

/**
 * A Docker network with this name is there: a bridge of its own, in which containers reach each other by name. An
 * existing network is left as it is.
 *
 * Throws a `TypeError` for an invalid name, and for that of a predefined network of Docker.
 *
 * @example
 * ```ts
 * const models = network("models");
 * ```
 */
export function network(name: string): Step {
  requireNetworkName(name);
  if (PREDEFINED_NETWORKS.has(name)) {
    throw new TypeError(`Cannot create a Docker network "${name}": Docker has a predefined network of this name`);
  }
  return {
    title: `Docker network ${name}`,
    async probe({ container }) {
      const output = await container.read(sh`docker network inspect --format '{{.Name}}' ${name}`, { codes: [0, 1] });
      if (output.code !== 0 && missing(output).length === 0) throw failureOf(output);
      // Docker also finds a network by its id, or by the beginning of it.
      return output.text === name;
    },
    diff: (there) => there ? [] : [{ what: "network", to: name }],
    async apply({ container }) {
      await container.write(sh`docker network create ${name}`);
    },
  } satisfies Step<boolean>;
}

/** The networks that every Docker engine has. */
export const PREDEFINED_NETWORKS: ReadonlySet<string> = new Set(["bridge", "host", "none"]);

/** Throws a `TypeError` unless a network can have this name. */
export function requireNetworkName(name: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw new TypeError(
      `Cannot name a Docker network "${name}": expected a letter or digit, ` +
        `optionally followed by letters, digits, "_", "." and "-"`,
    );
  }
}
