/**
 * The user and the environment with which a setup's own commands and scripts run.
 *
 * @module
 */

import type { Secret } from "../../secret.ts";
import { type Script, sh } from "../../shell.ts";

/** Throws a `TypeError` unless `user` is a possible name of a user. `what` completes "Cannot run …". */
export function requireUser(user: string, what: string): void {
  if (!/^[A-Za-z_][\w.-]*$/.test(user)) {
    throw new TypeError(`Cannot run ${what} as "${user}": expected the name of a user`);
  }
}

/**
 * The commands that export these variables. Throws a `TypeError` for an invalid name. `what` completes "Cannot give …".
 */
export function exportVariables(environment: Readonly<Record<string, string | Secret>>, what: string): Script[] {
  return Object.entries(environment).map(([name, value]) => {
    if (!/^[A-Za-z_]\w*$/.test(name)) {
      throw new TypeError(`Cannot give ${what} the variable "${name}": expected a name such as MODEL_PATH`);
    }
    return sh`export ${name}=${value}`;
  });
}
