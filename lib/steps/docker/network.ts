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
 * A Docker network of this name is there: a bridge of its own, in which containers reach each other by their names. One that is
 * there is left as it is.
 *
 * Throws a `TypeError` for what is no name of a network, and for one that Docker always has.
 *
 * @example
 * ```ts
 * const models = network("models");
 * ```
 */
export function network(name: string): Step {
  requireNetworkName(name);
  if (PREDEFINED.has(name)) {
    throw new TypeError(`Cannot make a Docker network "${name}": Docker always has one of this name`);
  }
  return {
    title: `Docker network ${name}`,
    async probe({ container }) {
      const output = await container.read(sh`docker network inspect --format '{{.Name}}' ${name}`, { codes: [0, 1] });
      if (output.code !== 0 && missing(output).length === 0) throw failureOf(output);
      // An id, or the beginning of one, is found as well.
      return output.text === name;
    },
    diff: (there) => there ? [] : [{ what: "network", to: name }],
    async apply({ container }) {
      await container.write(sh`docker network create ${name}`);
    },
  } satisfies Step<boolean>;
}

/** The networks that Docker always has. */
export const PREDEFINED: ReadonlySet<string> = new Set(["bridge", "host", "none"]);

/** Throws a `TypeError` unless a network can have this name. */
export function requireNetworkName(name: string): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) {
    throw new TypeError(`Cannot name a Docker network "${name}": expected letters, digits, "_", "." and "-"`);
  }
}
