/**
 * Waiting for a TCP port.
 *
 * @module
 */

import type { Step } from "../step.ts";
import { sh } from "../shell.ts";
import type { WaitOptions } from "./support/poll.ts";
import { LOOK_TIMEOUT, waitStep } from "./support/wait_step.ts";

/** From where a port has to be reachable, and how long to wait for it. */
export type PortSpec =
  & WaitOptions
  & ({
    /** `inside`: something inside the container listens on the port, at any address. Default: `inside`. */
    readonly from?: "inside";
    readonly address?: never;
  } | {
    /**
     * `host`: the host can connect to the port, which also tests the network between them. The setup declares the
     * address.
     */
    readonly from: "host";
    /** The container's address. */
    readonly address: string;
  });

/** How long the host tries to connect. */
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * Something listens on a TCP port. It is waited for: inside the container, which takes no tools there, or as seen from
 * the host.
 *
 * Throws a `TypeError` for an invalid port, and if `address` does not match `from`.
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
  return address === undefined ? listeningInside(number, spec) : reachableFromHost(number, address, spec);
}

function listeningInside(number: number, options: WaitOptions): Step {
  // The socket state 0A is LISTEN. There is no tcp6 without IPv6.
  const listening = `:${number.toString(16).toUpperCase().padStart(4, "0")} [0-9A-F]+:[0-9A-F]{4} 0A `;
  const awaited = { title: `port ${number} listens`, what: `port ${number}`, to: "open" };
  return waitStep(awaited, options, async ({ container }) => {
    const { code } = await container.read(
      sh`cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -qiE ${listening}`,
      { codes: [0, 1], timeout: LOOK_TIMEOUT },
    );
    return { holds: code === 0, seen: code === 0 ? "open" : "nothing listens" };
  });
}

function reachableFromHost(number: number, address: string, options: WaitOptions): Step {
  const what = `port ${number} of ${address}`;
  return waitStep({ title: `${what} accepts the host`, what, to: "open" }, options, async ({ host }) => {
    const why = await host.connectError(address, number, CONNECT_TIMEOUT_MS);
    return { holds: why === undefined, seen: why ?? "open" };
  });
}
