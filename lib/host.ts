/**
 * The Proxmox host as steps see it.
 *
 * @module
 */

import { messageOf } from "./errors.ts";

/** How an HTTP request is made. */
export interface RequestOptions {
  /** Accept any certificate: a service that was just set up has a self-signed one. */
  readonly insecure: boolean;
  /** Milliseconds for the whole request. */
  readonly timeout: number;
}

/** What an HTTP server answered, or why it did not. */
export type HttpReply =
  | { readonly status: number; readonly body: string }
  | { readonly status: undefined; readonly error: string };

/** A host that can be looked at. */
export interface HostReader {
  /** Sends a GET request from the host. Redirects are not followed; of the body, the first 64 KiB are kept. */
  request(url: string, options: RequestOptions): Promise<HttpReply>;
}

/** The host that this program runs on. */
export const thisHost: HostReader = {
  async request(url, { insecure, timeout }) {
    try {
      return insecure && url.startsWith("https:")
        ? await requestWithoutVerifying(url, timeout)
        : await requestWithFetch(url, timeout);
    } catch (error) {
      // A refused permission is the setup's missing declaration, not the server's silence.
      if (error instanceof Deno.errors.NotCapable) throw error;
      return { status: undefined, error: rootCause(error) };
    }
  },
};

const BODY = 64 * 1024;

async function requestWithFetch(url: string, timeout: number): Promise<HttpReply> {
  const response = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(timeout) });
  let body = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    body += decoder.decode(chunk, { stream: true });
    if (body.length >= BODY) break;
  }
  return { status: response.status, body: body.slice(0, BODY) };
}

/** `fetch` can skip the verification of certificates only for the whole process; Node's client can for one request. */
async function requestWithoutVerifying(url: string, timeout: number): Promise<HttpReply> {
  const { request } = await import("node:https");
  const { promise, resolve, reject } = Promise.withResolvers<HttpReply>();
  // An empty list of authorities keeps the client from reading the system's, which would need a permission of its own.
  const outgoing = request(url, { rejectUnauthorized: false, ca: [], agent: false }, (response) => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (text: string) => {
      body = (body + text).slice(0, BODY);
    });
    response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
    response.on("error", reject);
  });
  outgoing.on("error", reject);
  const timer = setTimeout(() => outgoing.destroy(new Error(`no answer within ${timeout / 1000} s`)), timeout);
  try {
    outgoing.end();
    return await promise;
  } finally {
    clearTimeout(timer);
    outgoing.destroy();
  }
}

/** "error sending request" says nothing; its cause does. */
function rootCause(error: unknown): string {
  let deepest = error;
  while (deepest instanceof Error && deepest.cause instanceof Error) deepest = deepest.cause;
  return messageOf(deepest);
}
