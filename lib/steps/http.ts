/**
 * Waiting for HTTP.
 *
 * @module
 */

import type { Reading, Step } from "../engine.ts";
import { ExitCode, Failure } from "../errors.ts";
import type { HttpReply } from "../host.ts";
import { sh } from "../shell.ts";
import { type WaitOptions, waitUntil } from "./wait.ts";

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

/**
 * A URL that answers, waited for. From inside the container it takes `curl` or `wget` there.
 *
 * Requirements, section 2: "Waiting for services".
 *
 * @example
 * ```ts
 * const ready = http("https://localhost:9443", { within: "2m", insecure: true });
 * ```
 */
export function http(url: string, spec: HttpSpec = {}): Step<HttpReply> {
  const { from = "inside", insecure = false, status = 200, body } = spec;
  const protocol = URL.canParse(url) ? new URL(url).protocol : "";
  if (protocol !== "http:" && protocol !== "https:") {
    throw new TypeError(`Cannot wait for "${url}": expected a URL that starts with http:// or https://`);
  }
  const matches = (reply: HttpReply) => reply.status === status && (body === undefined || reply.body.includes(body));

  const request = ({ container, host }: Reading): Promise<HttpReply> =>
    from === "host"
      ? host.request(url, { insecure, timeout: REQUEST_TIMEOUT })
      : requestInside(container, url, insecure);

  return {
    title: `${url} answers ${status}${from === "host" ? " to the host" : ""}`,
    waits: true,

    probe: request,

    diff(reply) {
      if (matches(reply)) return [];
      const what = body === undefined ? "answer" : `answer with "${body}"`;
      return [{ what, from: seen(reply), to: String(status) }];
    },

    apply: (at, first) =>
      waitUntil(at, `"${url}" to answer ${status}`, first, { look: () => request(at), done: matches, seen }, spec),
  };
}

function seen(reply: HttpReply): string {
  if (reply.status === undefined) return reply.error;
  return reply.body === "" ? String(reply.status) : `${reply.status} ${JSON.stringify(reply.body.slice(0, 200))}`;
}

async function requestInside(container: Reading["container"], url: string, insecure: boolean): Promise<HttpReply> {
  // Both programs tell the status in a header block on stderr; -q and -s keep everything else but errors away from it.
  const output = await container.read(
    sh`if command -v curl >/dev/null; then curl -sS -m ${REQUEST_TIMEOUT / 1000} -D /dev/stderr ${
      insecure ? ["-k"] : []
    } ${url}
elif command -v wget >/dev/null; then wget -q -S -O - -t 1 -T ${REQUEST_TIMEOUT / 1000} ${
      insecure ? ["--no-check-certificate"] : []
    } ${url}
else exit 127; fi`,
    { codes: "any", timeout: REQUEST_TIMEOUT + 5_000, maximumOutput: 16 * 1024 * 1024 },
  );
  if (output.code === 127) {
    throw new Failure(ExitCode.Step, `Cannot ask for "${url}" as there is neither curl nor wget inside the container`, {
      hint: "Install curl before this step",
    });
  }
  const status = [...output.errorText.matchAll(/^\s*HTTP\/[\d.]+ (\d{3})/gm)].at(-1)?.[1];
  if (status !== undefined) return { status: Number(status), body: output.text.slice(0, 64 * 1024) };
  return { status: undefined, error: output.errorText.trim() || `exit code ${output.code}` };
}
