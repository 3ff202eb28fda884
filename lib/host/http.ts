/**
 * Asking over the network, from the host.
 *
 * @module
 */

import { messageOf } from "../errors.ts";
import { within } from "../time.ts";
import type { HttpReply, RequestOptions } from "./host.ts";

/** How much of an answer's body is kept, in characters. */
const MAX_BODY_LENGTH = 64 * 1024;

/** See `HostReader.request`. */
export async function request(url: string, { insecure, timeout }: RequestOptions): Promise<HttpReply> {
  try {
    return url.startsWith("https:") && !insecure
      ? await requestWithFetch(url, timeout)
      : await requestWithNode(url, timeout);
  } catch (error) {
    // A refused permission is the setup's missing declaration, not the server's silence.
    if (error instanceof Deno.errors.NotCapable) throw error;
    return { status: undefined, error: messageOf(rootCause(error)) };
  }
}

/** See `HostReader.connectError`. */
export async function connectError(hostname: string, port: number, timeout: number): Promise<string | undefined> {
  try {
    const connecting = Deno.connect({ hostname, port });
    const connection = await within(connecting, timeout);
    if (connection === undefined) connecting.then((late) => late.close(), () => {});
    connection?.close();
    return connection === undefined ? noAnswer(timeout) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return messageOf(error);
  }
}

async function requestWithFetch(url: string, timeout: number): Promise<HttpReply> {
  const signal = AbortSignal.timeout(timeout);
  const response = await fetch(url, { redirect: "manual", signal });
  let body = "";
  const decoder = new TextDecoder();
  try {
    for await (const chunk of response.body ?? []) {
      body += decoder.decode(chunk, { stream: true });
      if (body.length >= MAX_BODY_LENGTH) break;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  }
  return { status: response.status, body: body.slice(0, MAX_BODY_LENGTH) };
}

/**
 * `fetch` asks the proxy that the environment names, which knows nothing of the containers' network, and can skip the
 * verification of certificates only for the whole process. Node's client asks directly, and can skip it for one
 * request.
 */
async function requestWithNode(url: string, timeout: number): Promise<HttpReply> {
  const client = url.startsWith("https:") ? await import("node:https") : await import("node:http");
  const { promise, resolve, reject } = Promise.withResolvers<HttpReply>();
  let answer: (() => void) | undefined; // as far as there is one
  // An empty list of authorities keeps the client from reading the system's, which would need a permission of its own.
  const outgoing = client.request(url, { rejectUnauthorized: false, ca: [], agent: false }, (response) => {
    let body = "";
    const enough = answer = () => resolve({ status: response.statusCode ?? 0, body });
    response.setEncoding("utf8");
    response.on("data", (text: string) => {
      body = (body + text).slice(0, MAX_BODY_LENGTH);
      if (body.length === MAX_BODY_LENGTH) enough();
    });
    response.on("end", enough);
    response.on("error", reject);
  });
  outgoing.on("error", (error) => reject(isRefusedName(error) ? missingPermission(url) : error));
  const timer = setTimeout(
    () => answer ? answer() : outgoing.destroy(new Error(noAnswer(timeout))),
    timeout,
  );
  try {
    outgoing.end();
    return await promise;
  } finally {
    clearTimeout(timer);
    outgoing.destroy();
  }
}

/** This is how Node's client says of a name that the permission for it is missing. */
function isRefusedName(error: Error & { code?: string; syscall?: string }): boolean {
  return error.syscall === "getaddrinfo" && error.code === "EPERM";
}

/** In the words that Deno itself has for it. */
function missingPermission(url: string): Error {
  return new Deno.errors.NotCapable(`Requires net access to "${new URL(url).host}", run again with it`);
}

function noAnswer(timeout: number): string {
  return `no answer within ${timeout / 1000} s`;
}

/** "error sending request" says nothing; its cause does. */
function rootCause(error: unknown): unknown {
  let deepest = error;
  while (deepest instanceof Error && deepest.cause instanceof Error) deepest = deepest.cause;
  return deepest;
}
