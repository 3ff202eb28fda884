/**
 * Waiting for a URL.
 *
 * @module
 */

import { head } from "../text.ts";
import type { Reading, Step } from "../step.ts";
import { CommandFailed, ExitCode, Failure } from "../errors.ts";
import type { HttpReply } from "../host/host.ts";
import { lines, Script, sh } from "../shell.ts";
import type { WaitOptions } from "./support/poll.ts";
import { waitStep } from "./support/wait_step.ts";

/** What the URL has to answer, and how long to wait for it. */
export interface HttpSpec extends WaitOptions {
  /**
   * Where the request is sent from: `inside` the container, or the `host`, which also tests the network between them.
   * Default: `inside`.
   */
  readonly from?: "inside" | "host";
  /** Whether to accept any certificate. Default: false. */
  readonly insecure?: boolean;
  /** The expected status. Default: 200. */
  readonly status?: number;
  /** Text that the body has to contain. Default: any body will do. */
  readonly body?: string;
}

/** How long one request may take. */
const REQUEST_TIMEOUT_MS = 10_000;
/** How much longer the command inside may take: it has to start, and to report a time-out. */
const COMMAND_ALLOWANCE_MS = 5_000;
/** How much of a body is read. */
const MAX_BODY_BYTES = 64 * 1024;
/** How much of a body is shown. */
const MAX_SHOWN_CHARACTERS = 200;

/**
 * A URL answers. It is waited for. From inside the container this takes `curl` or `wget` there.
 *
 * Redirects are not followed: a 302 is an answer like any other. A request may take 10 seconds. Of a body that is not
 * complete by then, or that is longer than 64 KiB, the part that has come counts.
 *
 * Throws a `TypeError` for anything but an HTTP or HTTPS URL.
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
  const awaited = {
    title: `${url} answers ${status}${from === "host" ? " to the host" : ""}`,
    what: body === undefined ? "answer" : `answer with "${body}"`,
    to: String(status),
    subject: `"${url}" to answer ${status}`,
  };
  return waitStep(awaited, spec, async ({ container, host }) => {
    const reply = from === "host"
      ? await host.request(url, { insecure, timeout: REQUEST_TIMEOUT_MS })
      : await requestInside(container, url, insecure);
    const holds = reply.status === status && (body === undefined || reply.body.includes(body));
    return { holds, seen: describeReply(reply) };
  });
}

function describeReply(reply: HttpReply): string {
  if (reply.status === undefined) return reply.error;
  if (reply.body === "") return String(reply.status);
  return `${reply.status} ${JSON.stringify(head(reply.body, MAX_SHOWN_CHARACTERS))}`;
}

async function requestInside(container: Reading["container"], url: string, insecure: boolean): Promise<HttpReply> {
  // `href` has no blanks, which a server would refuse as a bad request.
  const { code, text, errorText } = await replyInTime(container, requestScript(new URL(url).href, insecure));
  if (code === 127) {
    throw new Failure(ExitCode.Step, `Cannot ask for "${url}" as there is neither curl nor wget inside the container`, {
      hint: "Install curl before this step",
    });
  }
  const status = statusIn(errorText);
  return status === undefined ? { status, error: errorText.trim() } : { status, body: text };
}

/** A script that prints the beginning of the body to stdout, and the headers with the status to stderr. */
function requestScript(href: string, insecure: boolean): Script {
  const seconds = REQUEST_TIMEOUT_MS / 1000;
  // -q and -s keep everything but errors away from stderr, and with -q wget does not even print its errors. BusyBox's
  // wget has no --max-redirect and no -t, and Debian's build of it crashes on -T. Without -g curl takes brackets and
  // braces for patterns of several URLs.
  const request = sh`if command -v curl >/dev/null; then curl -g -sS -m ${seconds} -D /dev/stderr ${
    insecure ? ["-k"] : []
  } ${href}
elif command -v wget >/dev/null; then
  o='--max-redirect=0 -t 1 -T ${seconds}'; wget --help 2>&1 | grep -q max-redirect || o=
  wget -q -S -O - $o ${insecure ? ["--no-check-certificate"] : []} ${href} || echo "exit code $?" >&2
else exit 127; fi`;
  const whole = lines(
    sh`command -v curl >/dev/null || command -v wget >/dev/null || exit 127`,
    // In an unprivileged container /dev/stderr cannot be opened if it is a pipe of the host, and then curl crashes: it
    // gets a pipe of the container's own.
    sh`{ {
${request}
} 2>&1 >&3 | cat >&2; } 3>&1 | head -c ${MAX_BODY_BYTES}`,
  );
  return whole.shownAs(request.display);
}

/** What a request printed until it ended or timed out. Throws if it timed out without any answer. */
async function replyInTime(
  container: Reading["container"],
  request: Script,
): Promise<{ readonly code?: number; readonly text: string; readonly errorText: string }> {
  try {
    return await container.read(request, { codes: "any", timeout: REQUEST_TIMEOUT_MS + COMMAND_ALLOWANCE_MS });
  } catch (error) {
    if (!(error instanceof CommandFailed) || error.exitCode !== ExitCode.Timeout) throw error;
    // wget's time-out is one for each read, which a server that sends a byte a second never exceeds. Without any answer
    // it is the container that does not answer.
    const { stdout: text, stderr: errorText } = error.evidence;
    if (statusIn(errorText) === undefined) throw error;
    return { text, errorText };
  }
}

/**
 * The status of the first answer, as BusyBox's wget follows redirects. Interim answers (1xx) and the answer of a proxy
 * do not count.
 */
function statusIn(headers: string): number | undefined {
  for (const [, status, reason] of headers.matchAll(/^\s*HTTP\/[\d.]+ (\d{3})(.*)$/gm)) {
    if (!status!.startsWith("1") && !/^ connection established\s*$/i.test(reason!)) return Number(status);
  }
  return undefined;
}
