import { assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { withSteppingClock } from "../../tests/support/clock.ts";
import { LocalShell } from "../../tests/support/local_shell.ts";
import { testWith } from "../../tests/support/permission.ts";
import { ensure, on, StubContainer } from "../../tests/support/stubs.ts";
import { StepFailed } from "../engine.ts";
import { CommandFailed, ExitCode } from "../errors.ts";
import type { HttpReply, RequestOptions } from "../host/host.ts";
import { thisHost } from "../host/this_host.ts";
import { Pct } from "../container/pct.ts";
import { Script } from "../shell.ts";
import { certificate, privateKey } from "../../tests/hosts/simulated/docker/certificate.ts";
import { http, type HttpSpec } from "./http.ts";

const ok = { stdout: "fine", stderr: "HTTP/1.1 200 OK\r\nServer: x\r\n" };
const refused = { code: 7, stderr: "curl: (7) Failed to connect to localhost port 9443" };

/** A host that gives one reply after the other, of which the last one stays. */
function hostOf(...replies: HttpReply[]) {
  const asked: [string, RequestOptions][] = [];
  const request = (url: string, options: RequestOptions) => {
    asked.push([url, options]);
    return Promise.resolve(replies.length > 1 ? replies.shift()! : replies[0]!);
  };
  return { asked, request };
}

Deno.test("a URL that answers is left alone; one that does not is waited for", async () => {
  const answers = new StubContainer(on("curl", ok));
  const { outcome } = await ensure(http("http://localhost:80/"), answers);
  assertEquals([outcome, answers.reads.length, answers.writes], ["unchanged", 1, []]);

  const unavailable = { stdout: "starting", stderr: "HTTP/1.1 503 Service Unavailable\n" };
  const late = new StubContainer(on("curl", refused, refused, unavailable, ok));
  const waited = await ensure(http("http://localhost:80/"), late);
  assertEquals([waited.outcome, waited.differences], ["changed", [
    { what: "answer", from: refused.stderr, to: "200" },
  ]]);
  const progress = waited.events.flatMap((event) => event.event === "step progress" ? [event.text] : []);
  assertEquals(progress, [refused.stderr, refused.stderr, '503 "starting"']);
});

Deno.test("status and body are what is asked for, nothing else", async () => {
  const cases: [spec: HttpSpec, reply: HttpReply, holds: boolean][] = [
    [{}, { status: 200, body: "" }, true],
    [{}, { status: 204, body: "" }, false],
    [{}, { status: 302, body: "" }, false],
    [{}, { status: 404, body: "200" }, false],
    [{}, { status: undefined, error: "Connection refused" }, false],
    [{ status: 401 }, { status: 401, body: "" }, true],
    [{ status: 401 }, { status: 200, body: "" }, false],
    [{ body: "model-x" }, { status: 200, body: '{"id":"model-x"}' }, true],
    [{ body: "model-x" }, { status: 200, body: '{"id":"model-y"}' }, false],
    [{ body: "model-x" }, { status: 500, body: "no model-x" }, false],
  ];
  for (const [spec, reply, holds] of cases) {
    const { outcome } = await ensure(http("http://10.0.0.99/", { from: "host", ...spec }), new StubContainer(), {
      host: hostOf(reply),
      check: true,
    });
    assertEquals(outcome, holds ? "unchanged" : "would change", JSON.stringify([spec, reply]));
  }
  const { differences } = await ensure(
    http("http://10.0.0.99/", { from: "host", body: "model-x" }),
    new StubContainer(),
    { host: hostOf({ status: 200, body: "y".repeat(300) }), check: true },
  );
  assertEquals(differences, [{ what: 'answer with "model-x"', from: `200 "${"y".repeat(200)}…"`, to: "200" }]);
});

Deno.test("from the host nothing runs inside, and a certificate is verified unless it is said not to be", async () => {
  for (const insecure of [undefined, true]) {
    const host = hostOf({ status: undefined, error: "refused" }, { status: 200, body: "" });
    const container = new StubContainer();
    const step = http("https://10.0.0.99:9443", { from: "host", ...(insecure && { insecure }) });
    assertEquals(step.title, "https://10.0.0.99:9443 answers 200 to the host");
    assertEquals([(await ensure(step, container, { host })).outcome, container.reads], ["changed", []]);
    assertEquals(host.asked[0], ["https://10.0.0.99:9443", { insecure: insecure ?? false, timeout: 10_000 }]);
  }
});

// Nothing of ours may block the orchestrator for ever.
Deno.test("at the deadline the wait fails with what was answered last", async () => {
  const container = new StubContainer(on("curl", refused, { stderr: "HTTP/1.1 502 Bad Gateway\n" }));
  const step = http("http://localhost/", { within: "2s" });
  const error = await assertRejects(() => withSteppingClock(() => ensure(step, container)), StepFailed);
  assertEquals([error.exitCode, error.message.endsWith("last seen: 502")], [ExitCode.Timeout, true], error.message);
});

// A wait for something that has exited would only end at its deadline.
Deno.test("the wait fails at once when what it depends on is gone", async () => {
  const states = [undefined, undefined, 'the container "x" ended with exit code 1'];
  let looked = 0;
  const spec: HttpSpec = { within: "1h", while: { whyGone: () => Promise.resolve(states[looked++]) } };
  const container = new StubContainer(on("curl", refused));
  const error = await assertRejects(() => ensure(http("http://localhost/", spec), container), StepFailed);
  assertEquals([error.exitCode, looked, container.reads.length], [ExitCode.Step, 3, 3]);
  assertStringIncludes(error.message, 'the container "x" ended with exit code 1');
});

Deno.test("the status is read from the headers of curl and of wget, whatever stands beside them", async () => {
  const cases: [stderr: string, seen: string][] = [
    ["HTTP/2 404 \r\n", "404"],
    ["  HTTP/1.0 500 Internal Server Error\n  Server: x\n", "500"],
    ["HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 403 Forbidden\r\n", "403"],
    ["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n", "201"],
    [
      "curl: (60) SSL certificate problem: self-signed certificate",
      "curl: (60) SSL certificate problem: self-signed certificate",
    ],
    ["exit code 4", "exit code 4"],
    // BusyBox's wget goes on to where a redirect leads; curl and the other wget do not.
    ["  HTTP/1.1 302 Found\n  Location: /x\n  HTTP/1.1 200 OK\n", "302"],
  ];
  for (const [stderr, from] of cases) {
    const container = new StubContainer(on("curl", { code: 0, stderr }));
    const { differences } = await ensure(http("http://localhost/"), container, { check: true });
    assertEquals(differences, [{ what: "answer", from, to: "200" }]);
  }
});

Deno.test("without curl and wget inside, the step says what to do", async () => {
  const error = await assertRejects(
    () => ensure(http("http://localhost/"), new StubContainer(on("curl", { code: 127 }))),
    StepFailed,
    "neither curl nor wget",
  );
  assertEquals([error.exitCode, error.hint], [ExitCode.Step, "Install curl before this step"]);
});

Deno.test("what is no URL of HTTP, or no deadline, is refused when the step is made", () => {
  for (const url of ["localhost:9443", "ftp://x/", "", "//x", "javascript:1"]) {
    assertThrows(() => http(url), TypeError, `"${url}"`);
  }
  assertThrows(() => http("http://localhost/", { within: "soon" as "1s" }), TypeError, "duration");
});

// A server that answers and does not come to an end must not fail the step before its deadline.
Deno.test("a look whose time was up counts as far as there was an answer, and is followed by others", async () => {
  const late = (stderr: string, stdout = "") => () => {
    throw new CommandFailed("Command did not end within 15.0 s", { command: "wget", code: undefined, stdout, stderr }, {
      exitCode: ExitCode.Timeout,
    });
  };
  const step = (spec: HttpSpec = {}) => http("http://localhost/events", spec);
  const endless = late("  HTTP/1.1 200 OK\n", "data: 1\n");
  assertEquals((await ensure(step({ body: "data" }), new StubContainer(on("curl", endless)))).outcome, "unchanged");
  const slow = new StubContainer(on("curl", endless, endless, ok));
  assertEquals((await ensure(step({ body: "fine" }), slow)).outcome, "changed");

  // Without any answer it is the container that does not answer, also at the first look.
  const frozen = new StubContainer(on("curl", late(""), late(""), ok));
  const { outcome, differences, events } = await ensure(step(), frozen);
  const why =
    "the container does not answer, perhaps because a backup froze or stopped it: Command did not end within 15.0 s";
  assertEquals([outcome, differences], ["changed", [{ what: "answer", from: why, to: "200" }]]);
  assertEquals(events.some((event) => event.event === "message" && event.level === "warning"), true);
});

// What the real programs print, asked of a real server; the host's own answers are the same.
testWith(["run", "net"], "curl, wget and the host tell the same of a real server", async (t) => {
  const local = { port: 0, hostname: "127.0.0.1", onListen() {} };
  const answer = (request: Request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/moved") return new Response("", { status: 302, headers: { location: "/empty" } });
    if (pathname === "/endless") return new Response(endless());
    if (pathname === "/large") return new Response("x".repeat(1024 * 1024));
    return new Response(pathname === "/empty" ? "" : `you asked for ${pathname}`, {
      status: pathname === "/no" ? 503 : 200,
    });
  };
  await using server = Deno.serve(local, answer);
  await using secured = Deno.serve({ ...local, cert: certificate, key: privateKey }, answer);
  const url = `http://127.0.0.1:${server.addr.port}`;
  const closed = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const nobody = `http://127.0.0.1:${closed.addr.port}`;
  closed.close();
  /** A shell that has one program to ask with, and less patience. */
  class OneProgram extends LocalShell {
    constructor(readonly program: string) {
      super();
    }

    override read(...[script, options]: Parameters<LocalShell["read"]>) {
      const other = this.program === "curl" ? "wget" : "curl";
      const hidden = script.text.replaceAll(`command -v ${other}`, "false").replace("-m 10", "-m 1");
      const text = this.program === "busybox" ? `wget() { busybox wget "$@"; }\n${hidden}` : hidden;
      return super.read(new Script(text, script.display), options);
    }
  }
  for (const program of ["curl", "wget", "busybox", "host", "host, with TLS"]) {
    const there = program.startsWith("host") || (await new Deno.Command("/bin/sh", {
      args: ["-c", `command -v ${program}`],
      stdout: "null",
    }).output()).success;
    const from = program.startsWith("host") ? "host" : "inside";
    const base = program === "host, with TLS" ? `https://127.0.0.1:${secured.addr.port}` : url;
    const request = (url: string, options: RequestOptions) =>
      thisHost(new Pct(), 901).request(url, { ...options, timeout: 2_000 });
    const seen = async (path: string, spec: HttpSpec = {}) => {
      const step = http(path === "" ? nobody : base + path, { ...spec, from, insecure: true });
      const { outcome, differences } = await ensure(step, new OneProgram(program), { check: true, host: { request } });
      return outcome === "unchanged" ? outcome : differences[0]!.from;
    };
    await t.step({
      name: there ? program : `${program} (not on this machine)`,
      ignore: !there,
      async fn() {
        assertEquals(await seen("/a%20b?x='$(id)'", { body: "you asked for /a%20b" }), "unchanged");
        assertEquals(await seen("/empty?ids[]=1&only={a,b}&since=a b"), "unchanged");
        // wget does not show the body of an error.
        assertEquals((await seen("/no"))?.slice(0, 3), "503");
        assertEquals(await seen("/no", { status: 503 }), "unchanged");
        assertEquals((await seen("/moved"))?.slice(0, 3), "302");
        assertEquals(await seen("/moved", { status: 302 }), "unchanged");
        assertEquals(await seen("/large", { body: "x".repeat(64 * 1024) }), "unchanged");
        // wget has no time-out for the whole, but the frame that it runs in has.
        if (!["wget", "busybox"].includes(program)) {
          assertEquals(await seen("/endless", { body: "event 1" }), "unchanged");
        }
        assertMatch((await seen(""))!, /refused|Failed to connect|connect to server|exit code 4/i);
      },
    });
  }
});

/** A body that has no end: an event each 100 milliseconds. */
function endless(): ReadableStream<Uint8Array> {
  let timer: ReturnType<typeof setInterval>;
  let events = 0;
  return new ReadableStream({
    start(controller) {
      timer = setInterval(() => controller.enqueue(new TextEncoder().encode(`event ${++events}\n`)), 100);
    },
    cancel: () => clearInterval(timer),
  });
}
