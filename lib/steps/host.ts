/**
 * Host-level configuration that belongs to the container: all within what the setup declares.
 *
 * @module
 */

import type { Output } from "../container.ts";
import { failureOf } from "../container.ts";
import type { Reading, Step } from "../engine.ts";
import type { Difference } from "../events.ts";
import { type Duration, milliseconds } from "../time.ts";
import { contentDifference } from "../difference.ts";

/** What a file on the host has to be. */
export interface HostFileSpec {
  /** Its whole content. */
  readonly content: string;
  /** Its permissions. Default: `0o644`. */
  readonly mode?: number;
}

/** What is at a path on the host. */
interface HostFileState {
  readonly text: string;
  readonly mode: number;
}

/**
 * A file on the Proxmox host with this content, written whole or not at all, owned by root. Its folder has to be there. The setup
 * declares it: `writes: ["/folder"]`, the folder since the file is written beside its place first.
 *
 * Requirements, section 2: "Making host-level configurations specific to this container".
 *
 * @example
 * ```ts
 * const endpoint = hostFile("/usr/local/phoenix_hypervisor/lib/903.json", { content: '{ "port": 8000 }\n' });
 * ```
 */
export function hostFile(path: string, spec: HostFileSpec): Step<HostFileState | undefined> {
  requireAbsolute(path);
  const { content, mode = 0o644 } = spec;
  return {
    title: `host file ${path}`,
    probe: (at) => readState(at, path),
    diff(state) {
      if (state === undefined) return [{ what: "file", to: `${content.length} characters, mode ${mode.toString(8)}` }];
      const differences: Difference[] = [];
      if (state.text !== content) differences.push(contentDifference(state.text, content));
      if (state.mode !== mode) differences.push({ what: "mode", from: state.mode.toString(8), to: mode.toString(8) });
      return differences;
    },
    apply: ({ host }) => host.writeFile(path, content, mode),
  };
}

/**
 * A block of lines in a text file on the Proxmox host, between two marks that carry its name; the rest of the file, its mode
 * included, stays as it is. A file that is not there is made. To be declared like {@linkcode hostFile}.
 *
 * @example
 * ```ts
 * const name = hostBlock("/etc/hosts", { name: "901", content: "10.0.0.99 portainer\n" });
 * ```
 */
export function hostBlock(
  path: string,
  spec: { readonly name: string; readonly content: string },
): Step<HostFileState | undefined> {
  requireAbsolute(path);
  if (!/^[\w.-]+$/.test(spec.name)) {
    throw new TypeError(`Cannot name a block "${spec.name}": expected letters, digits, "_", "." and "-"`);
  }
  const begin = `# BEGIN phoenix_setup ${spec.name}`;
  const end = `# END phoenix_setup ${spec.name}`;
  const block = `${begin}\n${spec.content.replace(/\n*$/, "\n")}${end}\n`;
  const withBlock = (text: string): string => {
    const from = `\n${text}`.indexOf(`\n${begin}\n`);
    const to = text.indexOf(`${end}\n`, from);
    if (from !== -1 && to !== -1) return text.slice(0, from) + block + text.slice(to + end.length + 1);
    return text === "" || text.endsWith("\n") ? text + block : `${text}\n${block}`;
  };
  return {
    title: `block ${spec.name} in host file ${path}`,
    probe: (at) => readState(at, path),
    diff(state) {
      const before = state?.text ?? "";
      const after = withBlock(before);
      return before === after ? [] : [contentDifference(before, after)];
    },
    apply: ({ host }, state) => host.writeFile(path, withBlock(state?.text ?? ""), state?.mode ?? 0o644),
  };
}

/**
 * The effect of a program of the host, as its guard says: not needed when `unless` exits 0, and after it `unless` has to. Programs
 * are absolute paths that the setup declares (`commands: ["/usr/sbin/…"]`); no shell is involved.
 *
 * @example
 * ```ts
 * const forwarding = hostCommand("IP forwarding", ["/usr/sbin/sysctl", "-w", "net.ipv4.ip_forward=1"], {
 *   unless: ["/usr/bin/grep", "-qx", "1", "/proc/sys/net/ipv4/ip_forward"],
 * });
 * ```
 */
export function hostCommand(
  title: string,
  [program, ...args]: readonly [string, ...string[]],
  spec: { readonly unless: readonly [string, ...string[]]; readonly timeout?: Duration },
): Step<Output> {
  const [guard, ...guardArgs] = spec.unless;
  for (const path of [program, guard]) requireAbsolute(path);
  const timeout = milliseconds(spec.timeout ?? "10m");
  return {
    title,
    probe: ({ host }) => host.read(guard, guardArgs),
    diff: ({ code, command }) => code === 0 ? [] : [{ what: `not so yet: ${command}` }],
    async apply({ host }) {
      const output = await host.write(program, args, timeout);
      if (output.code !== 0) throw failureOf(output);
    },
  };
}

async function readState({ host }: Reading, path: string): Promise<HostFileState | undefined> {
  const file = await host.file(path);
  return file && { text: await file.text(), mode: file.mode };
}

function requireAbsolute(path: string): void {
  if (!path.startsWith("/") || path.endsWith("/")) {
    throw new TypeError(`Cannot use "${path}" on the host: expected an absolute path of a file`);
  }
}
