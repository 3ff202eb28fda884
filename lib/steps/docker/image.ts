/**
 * Docker images that are pulled from a registry.
 *
 * @module
 */

import { failureOf } from "../../container/container.ts";
import { head } from "../../text.ts";
import type { Step, Writing } from "../../step.ts";
import type { Secret } from "../../secret.ts";
import { type Script, sh } from "../../shell.ts";
import { formatDuration } from "../../time.ts";
import { lastLine, requireSpace } from "./engine.ts";
import { type ImageInfo, inspectImage, requireReference } from "./image_info.ts";

/** How long a pull may take, with all of its attempts, in milliseconds. */
const PULL_TIMEOUT_MS = 60 * 60_000;
/** How long to wait before the second attempt and before the third, in milliseconds. */
const RETRY_DELAYS_MS = [2_000, 10_000];
/** How much is shown of the line that Docker wrote last while it pulls, in characters. */
const MAX_PROGRESS_LENGTH = 80;
/**
 * What Docker and its registries say of failures that may pass. A rate limit lasts for hours, so it is none of them.
 */
const TRANSIENT_FAILURE = new RegExp(
  [
    "timeout|timed out|deadline exceeded|request canceled",
    "connection (?:refused|reset)|broken pipe|unexpected EOF|: EOF$|use of closed network connection",
    "no such host|temporary failure|server misbehaving|network is unreachable|no route to host",
    "received unexpected HTTP status: 5\\d\\d",
    "50[0234] (?:internal server error|bad gateway|service unavailable|gateway time)",
  ].join("|"),
  "im",
);

/** How to log in to a registry for a pull. */
export interface Login {
  /** The user name. */
  readonly username: string;
  /** The password or token. */
  readonly token: Secret;
  /** The registry. Default: that of the image's name, or Docker Hub where it has none. */
  readonly registry?: string;
}

/** How an image is pulled. */
export interface ImageSpec {
  /** The login for its registry. Default: none. */
  readonly login?: Login;
}

/**
 * An image is there; it is pulled where it is missing. One that is there is not pulled again: state a tag that does not
 * move, or a digest.
 *
 * At least 512 MiB have to be free. A failure of the network that may pass is retried after 2 and after 10 seconds; all
 * attempts together may take an hour. A login lasts for the pull: its token travels on stdin, and Docker keeps it in a
 * private folder in memory that is removed when the command ends.
 *
 * Throws a `TypeError` for an invalid name of an image or user.
 *
 * @example
 * ```ts
 * import { setup } from "../../mod.ts";
 *
 * const server = setup(910, "server", async ({ ensure, secret }) => {
 *   await ensure(image("portainer/portainer-ce:2.33.1"));
 *
 *   const file = "/usr/local/phoenix_hypervisor/etc/phoenix_docker_token.conf";
 *   const token = await secret("registry token", { file });
 *   await ensure(image("10.0.0.99:5000/models/server:3", { login: { username: "phoenix", token } }));
 * });
 * ```
 */
export function image(reference: string, spec: ImageSpec = {}): Step {
  requireReference(reference);
  if (spec.login && !/^[^\s:]+$/.test(spec.login.username)) {
    throw new TypeError(
      `Cannot log in to a registry as "${spec.login.username}": expected a name without ":" and spaces`,
    );
  }
  return {
    title: `image ${reference}`,
    probe: ({ container }) => inspectImage(container, reference),
    diff: (info) => info === undefined ? [{ what: "image", to: reference }] : [],
    apply: (at) => pull(at, reference, spec.login),
  } satisfies Step<ImageInfo | undefined>;
}

/** Pulls an image, after checking that there is room for it. */
export async function pull(at: Writing, reference: string, login?: Login): Promise<void> {
  await requireSpace(at);
  at.progress("pulling");
  const script = login === undefined ? sh`docker pull ${reference}` : pullWithLogin(reference, login);
  const started = performance.now();
  for (let attempt = 1;; attempt++) {
    const output = await at.container.write(script, {
      timeout: Math.max(PULL_TIMEOUT_MS - (performance.now() - started), 1_000),
      codes: "any",
      onOutput: (chunk) =>
        at.progress(head(new TextDecoder().decode(chunk).trim().split("\n").at(-1)!, MAX_PROGRESS_LENGTH)),
      ...(login === undefined ? {} : { stdin: login.token.reveal() }),
    });
    if (output.code === 0) return;
    const delay = TRANSIENT_FAILURE.test(output.errorText) ? RETRY_DELAYS_MS[attempt - 1] : undefined;
    if (delay === undefined) {
      const what = login !== undefined && output.code === LOGIN_FAILED_EXIT_CODE
        ? `log in to ${login.registry ?? registryOf(reference) ?? "Docker Hub"} as "${login.username}"`
        : `pull "${reference}"`;
      const attempts = attempt > 1 ? `tried ${attempt} times, last ` : "";
      throw failureOf(output, `Cannot ${what} (${attempts}exit code ${output.code}): ${lastLine(output)}`);
    }
    at.progress(`attempt ${attempt} failed (${lastLine(output)}), retrying in ${formatDuration(delay)}`);
    await at.pause(delay);
  }
}

/** The exit code with which {@linkcode pullWithLogin} says that the login has failed. */
const LOGIN_FAILED_EXIT_CODE = 3;

function pullWithLogin(reference: string, login: Login): Script {
  const registry = login.registry ?? registryOf(reference);
  const options = ["--username", login.username, "--password-stdin", ...(registry === undefined ? [] : [registry])];
  // The folder is in memory if possible, and is removed by the shell at its end, or by the next login after a kill -9.
  // Without an entry in its configuration, Docker would give the token to a credential store, where one is installed,
  // and it would stay there.
  return sh`rm -rf /dev/shm/phoenix_setup_docker.* /run/phoenix_setup_docker.* /tmp/phoenix_setup_docker.*
for f in /dev/shm /run /tmp; do d=$(mktemp -d "$f/phoenix_setup_docker.XXXXXX" 2>/dev/null) && break; done
[ -d "$d" ] || { echo 'Cannot create a private folder for the login' >&2; exit ${LOGIN_FAILED_EXIT_CODE}; }
trap 'rm -rf "$d"' EXIT
trap 'exit 129' HUP; trap 'exit 130' INT; trap 'exit 143' TERM
export DOCKER_CONFIG="$d"
echo '{"auths":{"localhost":{}}}' >"$d/config.json"
docker login ${options} >/dev/null || exit ${LOGIN_FAILED_EXIT_CODE}
docker pull ${reference} </dev/null`;
}

/** The registry in the name of an image; `undefined` for Docker Hub. */
function registryOf(reference: string): string | undefined {
  const [first = "", ...rest] = reference.split("/");
  const named = rest.length > 0 && (/[.:]/.test(first) || first === "localhost");
  return named && !/^(?:index\.)?docker\.io$/.test(first) ? first : undefined;
}
