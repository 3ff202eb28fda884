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
  /** The digest by which its image store knows it. */
  readonly Id: string;
  /** Its names, with tags. */
  readonly RepoTags?: readonly string[] | null;
  /** The digests of its layers, uncompressed. */
  readonly RootFS?: { readonly Layers?: readonly string[] | null } | null;
  /** What it gives to its containers. */
  readonly Config?: ImageConfig | null;
}

/** The part of an image's configuration that is used. */
export interface ImageConfig {
  /** Its variables: `NAME=value`. */
  readonly Env?: readonly string[] | null;
  /** Other fields, which are only compared. */
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
