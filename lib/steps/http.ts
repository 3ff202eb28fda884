/**
 * Waiting for HTTP.
 *
 * @module
 */

import { head } from "../text.ts";
import type { Reading, Step } from "../step.ts";
import { CommandFailed, ExitCode, Failure } from "../errors.ts";
import type { HttpReply } from "../host/host.ts";
import { lines, sh } from "../shell.ts";
import { firstLook, requireWaitOptions, type WaitOptions, waitUntil } from "./support/poll.ts";

/** What is waited for, and how long. */
export interface HttpSpec extends WaitOptions {
  /** Where the request is sent from: `inside` the container, or the `host`, which shows that the network lets it through. */
  readonly from?: "inside" | "host";
  /** Accept any certificate. Default: false. */
  readonly insecure?: boolean;
  /** The status that counts as an answer. Default: 200. */
  readonly status?: number;
  /** Text that the body has to contain. */
  readonly body?: string;
}

/** Milliseconds for one request. */
const REQUEST_TIMEOUT = 10_000;
/** How much of a body is looked at, in bytes. */
const BODY = 64 * 1024;

/**
 * A URL that answers, waited for. From inside the container it takes `curl` or `wget` there.
 *
 * A redirect is an answer of its own, such as 302, and is not followed. One request may take 10 seconds; of a body that has not come
 * to its end by then, or that is longer than 64 KiB, what has come is looked at.
 *
 * Throws a `TypeError` for what is no URL of HTTP. A wait in vain ends the run with exit code 5.
 *
 * Requirements, section 2: "Waiting for services".
 *
 * @example
 * ```ts
 * const ready = http("https://localhost:9443", { within: "2m", insecure: true });
 * ```
 */
export function http(url: string, spec: HttpSpec = {}): Step {
  const { from = "inside", insecure = false, status = 200, body } = spec;
  const protocol = URL.canParse(url) ? new URL(url).protocol : "";
  if (protocol !== "http:" && protocol !== "https:") {
    throw new TypeError(`Cannot wait for "${url}": expected a URL that starts with http:// or https://`);
  }
  requireWaitOptions(spec);
  const matches = (reply: HttpReply) => reply.status === status && (body === undefined || reply.body.includes(body));

  const request = ({ container, host }: Reading): Promise<HttpReply> =>
    from === "host"
      ? host.request(url, { insecure, timeout: REQUEST_TIMEOUT })
      : requestInside(container, url, insecure);

  const title = `${url} answers ${status}${from === "host" ? " to the host" : ""}`;
  return {
    title,
    waits: true,

    probe: (at) => firstLook(at, title, spec, () => request(at), (error) => ({ status: undefined, error })),

    diff(reply) {
      if (matches(reply)) return [];
      const what = body === undefined ? "answer" : `answer with "${body}"`;
      return [{ what, from: seen(reply), to: String(status) }];
    },

    apply: (at, first) =>
      waitUntil(at, `"${url}" to answer ${status}`, first, { look: () => request(at), done: matches, seen }, spec),
  } satisfies Step<HttpReply>;
}

function seen(reply: HttpReply): string {
  if (reply.status === undefined) return reply.error;
  return reply.body === "" ? String(reply.status) : `${reply.status} ${JSON.stringify(head(reply.body, 200))}`;
}

async function requestInside(container: Reading["container"], url: string, insecure: boolean): Promise<HttpReply> {
  const seconds = REQUEST_TIMEOUT / 1000;
  // Both programs tell the status in a header block on stderr; -q and -s keep everything else but errors away from it, and with -q
  // wget keeps its errors to itself. BusyBox's wget knows the first two options of GNU's not at all, and Debian's crashes on -T.
  // -g: to curl, brackets and braces are patterns of several URLs. A blank, of which a server makes a bad request, is none in `href`.
  const { href } = new URL(url);
  const request = sh`if command -v curl >/dev/null; then curl -g -sS -m ${seconds} -D /dev/stderr ${
    insecure ? ["-k"] : []
  } ${href}
elif command -v wget >/dev/null; then
  o='--max-redirect=0 -t 1 -T ${seconds}'; wget --help 2>&1 | grep -q max-redirect || o=
  wget -q -S -O - $o ${insecure ? ["--no-check-certificate"] : []} ${href} || echo "exit code $?" >&2
else exit 127; fi`;
  const whole = lines(
    sh`command -v curl >/dev/null || command -v wget >/dev/null || exit 127`,
    // In an unprivileged container, /dev/stderr cannot be opened where it is a pipe of the host's, on which curl crashes: it gets one
    // of the container's own.
    sh`{ {
${request}
} 2>&1 >&3 | cat >&2; } 3>&1 | head -c ${BODY}`,
  );
  let output: { readonly code?: number; readonly text: string; readonly errorText: string };
  try {
    const options = { codes: "any", timeout: REQUEST_TIMEOUT + 5_000 } as const;
    output = await container.read(whole.shownAs(request.display), options);
  } catch (error) {
    if (!(error instanceof CommandFailed) || error.exitCode !== ExitCode.Timeout) throw error;
    // wget's time-out is one of each read, which a server that sends a byte a second never exceeds. Without any answer it is the
    // container that does not.
    const { stdout: text, stderr: errorText } = error.evidence;
    if (statusIn(errorText) === undefined) throw error;
    output = { text, errorText };
  }
  if (output.code === 127) {
    throw new Failure(ExitCode.Step, `Cannot ask for "${url}" as there is neither curl nor wget inside the container`, {
      hint: "Install curl before this step",
    });
  }
  const status = statusIn(output.errorText);
  if (status !== undefined) return { status, body: output.text };
  return { status: undefined, error: output.errorText.trim() };
}

/**
 * The status of the first answer: BusyBox's wget goes on to where a redirect leads. An interim answer (1xx) and that of a proxy are
 * none.
 */
function statusIn(headers: string): number | undefined {
  for (const [, status, reason] of headers.matchAll(/^\s*HTTP\/[\d.]+ (\d{3})(.*)$/gm)) {
    if (!status!.startsWith("1") && !/^ connection established\s*$/i.test(reason!)) return Number(status);
  }
  return undefined;
}
