import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { withSteppingClock } from "../../tests/clock.ts";
import { LocalShell } from "../../tests/local_shell.ts";
import { testWith } from "../../tests/permissions.ts";
import { ensure, on, StubContainer } from "../../tests/stubs.ts";
import { StepFailed } from "../engine.ts";
import { ExitCode } from "../errors.ts";
import type { HttpReply, RequestOptions } from "../host.ts";
import { Script } from "../shell.ts";
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

// Requirements, section 2: "Waiting for services". From inside the container.
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
  assertEquals(differences, [{ what: 'answer with "model-x"', from: `200 "${"y".repeat(200)}"`, to: "200" }]);
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

// DESIGN 2: exit code 5, and what was seen last. Nothing of ours may block the orchestrator for ever.
Deno.test("at the deadline the wait fails with what was answered last", async () => {
  const container = new StubContainer(on("curl", refused, { stderr: "HTTP/1.1 502 Bad Gateway\n" }));
  const step = http("http://localhost/", { within: "2s" });
  const error = await assertRejects(() => withSteppingClock(() => ensure(step, container)), StepFailed);
  assertEquals([error.exitCode, error.message.endsWith("seen last: 502")], [ExitCode.Timeout, true], error.message);
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
    ["", "exit code 4"],
  ];
  for (const [stderr, from] of cases) {
    const container = new StubContainer(on("curl", { code: 4, stderr }));
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

Deno.test("what is no URL of HTTP is refused when the step is made", () => {
  for (const url of ["localhost:9443", "ftp://x/", "", "//x", "javascript:1"]) {
    assertThrows(() => http(url), TypeError, `"${url}"`);
  }
});

// What the real programs print, asked of a real server.
testWith(["run", "net"], "curl and wget tell status and body of a real server", async (t) => {
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, (request) => {
    const { pathname } = new URL(request.url);
    return new Response(pathname === "/empty" ? "" : `you asked for ${pathname}`, {
      status: pathname === "/no" ? 503 : 200,
    });
  });
  const url = `http://127.0.0.1:${server.addr.port}`;
  for (const program of ["curl", "wget"]) {
    const { success } = await new Deno.Command("/bin/sh", { args: ["-c", `command -v ${program}`], stdout: "null" })
      .output();
    /** A shell that has no other program to ask with. */
    class OneProgram extends LocalShell {
      override read(...[script, options]: Parameters<LocalShell["read"]>) {
        const other = program === "curl" ? "wget" : "curl";
        const hidden = script.text.replaceAll(`command -v ${other}`, "false");
        return super.read(new Script(hidden, script.display), options);
      }
    }
    const seen = async (path: string, spec: HttpSpec = {}) => {
      const { outcome, differences } = await ensure(http(url + path, spec), new OneProgram(), { check: true });
      return outcome === "unchanged" ? outcome : differences[0]!.from;
    };
    await t.step({
      name: success ? program : `${program} (not on this machine)`,
      ignore: !success,
      async fn() {
        assertEquals(await seen("/a%20b?x='$(id)'", { body: "you asked for /a%20b" }), "unchanged");
        assertEquals(await seen("/empty"), "unchanged");
        // wget does not show the body of an error.
        assertEquals((await seen("/no"))?.slice(0, 3), "503");
        assertEquals(await seen("/no", { status: 503 }), "unchanged");
      },
    });
  }
});
