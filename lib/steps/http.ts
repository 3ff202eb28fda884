/**
 * Waiting for HTTP.
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

/** How long one request may take. */
const REQUEST_TIMEOUT_MS = 10_000;
/** How much longer the command inside may take that makes the request: it has to start, and to tell of a time-out. */
const COMMAND_ALLOWANCE_MS = 5_000;
/** How much of a body is looked at. */
const MAX_BODY_BYTES = 64 * 1024;
/** How much of a body is shown. */
const MAX_SHOWN_CHARACTERS = 200;

/**
 * A URL that answers, waited for. From inside the container it takes `curl` or `wget` there.
 *
 * A redirect is an answer of its own, such as 302, and is not followed. One request may take 10 seconds; of a body that has not come
 * to its end by then, or that is longer than 64 KiB, what has come is looked at.
 *
 * Throws a `TypeError` for what is no URL of HTTP.
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
  // A blank, of which a server makes a bad request, is none in `href`.
  const { code, text, errorText } = await replyInTime(container, requestScript(new URL(url).href, insecure));
  if (code === 127) {
    throw new Failure(ExitCode.Step, `Cannot ask for "${url}" as there is neither curl nor wget inside the container`, {
      hint: "Install curl before this step",
    });
  }
  const status = statusIn(errorText);
  return status === undefined ? { status, error: errorText.trim() } : { status, body: text };
}

/** A script that prints the body to stdout, as much of it as is looked at, and the status in a header block to stderr. */
function requestScript(href: string, insecure: boolean): Script {
  const seconds = REQUEST_TIMEOUT_MS / 1000;
  // -q and -s keep everything else but errors away from stderr, and with -q wget keeps its errors to itself. BusyBox's wget knows the
  // first two options of GNU's not at all, and Debian's crashes on -T. -g: to curl, brackets and braces are patterns of several URLs.
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
} 2>&1 >&3 | cat >&2; } 3>&1 | head -c ${MAX_BODY_BYTES}`,
  );
  return new Script(whole.text, request.display);
}

/** What a request gave until its time was up. Throws where that is nothing. */
async function replyInTime(
  container: Reading["container"],
  request: Script,
): Promise<{ readonly code?: number; readonly text: string; readonly errorText: string }> {
  try {
    return await container.read(request, { codes: "any", timeout: REQUEST_TIMEOUT_MS + COMMAND_ALLOWANCE_MS });
  } catch (error) {
    if (!(error instanceof CommandFailed) || error.exitCode !== ExitCode.Timeout) throw error;
    // wget's time-out is one of each read, which a server that sends a byte a second never exceeds. Without any answer it is the
    // container that does not.
    const { stdout: text, stderr: errorText } = error.evidence;
    if (statusIn(errorText) === undefined) throw error;
    return { text, errorText };
  }
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
