/**
 * Files on the Proxmox host that belong to the container: all within what the setup declares.
 *
 * @module
 */

import { contentDifference } from "../difference.ts";
import type { Reading, Step } from "../step.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { Difference } from "../events.ts";
import { blockEditor, type BlockSpec } from "./block.ts";
import { isPrivate, requireMode } from "./support/attributes.ts";
import { requireHostPath } from "./support/path.ts";
import { CannotEdit } from "./support/text_edit.ts";

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
 * A file on the Proxmox host with this content, written whole or not at all; what is written is owned by root. Its folder has to be there. The setup
 * declares it: `writes: ["/folder"]`, the folder since the file is written beside its place first.
 *
 * Throws a `TypeError` for a path that is not absolute and for a mode that cannot be.
 *
 * @example
 * ```ts
 * const endpoint = hostFile("/usr/local/phoenix_hypervisor/lib/903.json", { content: '{ "port": 8000 }\n' });
 * ```
 */
export function hostFile(path: string, spec: HostFileSpec): Step {
  requireHostPath(path);
  const { content, mode = 0o644 } = spec;
  requireMode(mode, path);
  return {
    title: `host file ${path}`,
    probe: (at) => readState(at, path),
    diff(state) {
      if (state === undefined) return [{ what: "file", to: `${content.length} characters, mode ${mode.toString(8)}` }];
      const differences: Difference[] = [];
      if (state.text !== content) {
        differences.push(
          isPrivate(mode) || isPrivate(state.mode)
            ? { what: "content", to: `${content.length} other characters` }
            : contentDifference(state.text, content),
        );
      }
      if (state.mode !== mode) differences.push({ what: "mode", from: state.mode.toString(8), to: mode.toString(8) });
      return differences;
    },
    apply: ({ host }) => host.writeFile(path, content, mode),
  } satisfies Step<HostFileState | undefined>;
}

/**
 * A block of lines in a text file on the Proxmox host, between the lines `# BEGIN phoenix_setup name` and `# END phoenix_setup name`:
 * added at the end where it is missing. The rest of the file, its owner and its mode stay. A file that is not there is made. Fails where one of
 * the two marks is missing or there twice. To be declared like {@linkcode hostFile}.
 *
 * Throws a `TypeError` for a path that is not absolute and for a block that cannot be.
 *
 * @example
 * ```ts
 * const name = hostBlock("/etc/hosts", { name: "901", content: "10.0.0.99 portainer\n" });
 * ```
 */
export function hostBlock(path: string, spec: BlockSpec): Step {
  requireHostPath(path);
  const withBlock = blockEditor(path, spec);
  const edited = (text: string): string => {
    try {
      return withBlock(text);
    } catch (error) {
      if (!(error instanceof CannotEdit)) throw error;
      throw new Failure(ExitCode.Step, `Cannot edit "${path}" on the host as ${error.message}`);
    }
  };
  return {
    title: `block ${spec.name} in host file ${path}`,
    probe: (at) => readState(at, path),
    diff(state) {
      const before = state?.text ?? "";
      const after = edited(before);
      if (before === after) return [];
      return [
        state !== undefined && isPrivate(state.mode)
          ? { what: "block", to: "present" }
          : contentDifference(before, after),
      ];
    },
    apply: ({ host }) => host.editFile(path, edited),
  } satisfies Step<HostFileState | undefined>;
}

async function readState({ host }: Reading, path: string): Promise<HostFileState | undefined> {
  const file = await host.file(path);
  return file && { text: await file.text(), mode: file.mode };
}
