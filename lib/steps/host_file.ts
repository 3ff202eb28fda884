/**
 * Files on the Proxmox host that belong to the container's setup, within what it declares.
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

/** A file on the host. */
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
 * A file on the Proxmox host with this content. It is written completely or not at all, and then belongs to root. Its
 * folder has to exist. The setup declares the folder, as the file is first written to a temporary one beside it:
 * `writes: ["/folder"]`.
 *
 * Throws a `TypeError` for a path that is not absolute and for an invalid mode.
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
 * A block of lines in a text file on the Proxmox host, between the lines `# BEGIN phoenix_setup name` and
 * `# END phoenix_setup name`: added at the end if it is missing. The rest of the file, its owner and its mode are kept.
 * A missing file is created. The step fails if one of the two markers is missing or occurs twice. The setup declares
 * the folder, as for {@linkcode hostFile}.
 *
 * Throws a `TypeError` for a path that is not absolute and for an invalid block.
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
