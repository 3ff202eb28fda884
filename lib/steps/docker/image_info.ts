/**
 * What Docker says about images, and the names that they can have.
 *
 * @module
 */

import type { Reading } from "../../step.ts";
import { sh } from "../../shell.ts";
import { inspect } from "./engine.ts";

/** The part of `docker image inspect` that is used. */
export interface ImageInfo {
  readonly Id: string;
  readonly RepoTags?: readonly string[] | null;
  readonly RootFS?: { readonly Layers?: readonly string[] | null } | null;
  readonly Config?: ImageConfig | null;
}

/** The part of an image's configuration that is used. */
export interface ImageConfig {
  readonly Env?: readonly string[] | null;
  readonly [key: string]: unknown;
}

/** The image with this name, or `undefined` where Docker says that there is none. */
export async function inspectImage(
  container: Reading["container"],
  reference: string,
): Promise<ImageInfo | undefined> {
  return await inspect<ImageInfo>(container, sh`docker image inspect ${reference}`);
}

/**
 * Throws a `TypeError` unless this can be the name of an image (`name`, `name:tag`, `registry:5000/name@sha256:…`), or
 * its id.
 */
export function requireReference(reference: string): void {
  if (!/^[A-Za-z0-9][\w./:@-]*$/.test(reference)) {
    throw new TypeError(
      `Cannot use ${
        JSON.stringify(reference)
      } as an image: expected a name with a tag or a digest, such as "busybox:1.37"`,
    );
  }
}

/** The name of an image as Docker shows it: `busybox:latest` for `docker.io/library/busybox`. */
export function familiarName(reference: string): string {
  const name = reference.replace(/^(?:index\.)?docker\.io\//, "").replace(/^library\/(?=[^/]+$)/, "");
  return /[:@][^/]*$/.test(name) ? name : `${name}:latest`;
}
