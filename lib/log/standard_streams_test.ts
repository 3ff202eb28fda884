import { assertEquals, assertMatch } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import { type ByteWriter, StandardStreams } from "./standard_streams.ts";
import { within } from "../time.ts";

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

// A reader that went away (`| head -1`) is no reason to stop a setup half-way.
Deno.test("a stream takes text in parts, and a closed one is survived", async () => {
  let written = "";
  let calls = 0;
  const streams = new StandardStreams();
  const writer = streams.writer({
    write(bytes) {
      if (++calls > 3) return Promise.reject(new Deno.errors.BrokenPipe("Broken pipe (os error 32)"));
      written += decode(bytes.subarray(0, 2));
      return Promise.resolve(Math.min(2, bytes.length));
    },
  });
  writer.write("abcde");
  await streams.drain();
  assertEquals(written, "abcde");
  writer.write("lost");
  await streams.drain();
  writer.write("lost, too, and not even tried");
  await streams.drain();
  assertEquals([written, calls, writer.waiting], ["abcde", 4, 0]);
});

// A part of a larger piece may be written when it is refused, and would be written again.
Deno.test("no piece is larger than what a pipe takes whole or not at all", async () => {
  const lengths: number[] = [];
  const streams = new StandardStreams();
  streams.writer({ write: ({ length }) => Promise.resolve((lengths.push(length), length)) }).write("x".repeat(10_000));
  await streams.drain();
  assertEquals(lengths, [4096, 4096, 1808]);
});

// A pipe that does not wait for its reader refuses what does not fit into it just now. Who reads stdout and stderr as
// one reads them as they were said.
Deno.test("streams get everything, in one order, also where a reader is slow", async () => {
  let written = "";
  let calls = 0;
  const stream = (): ByteWriter => ({
    write(bytes) {
      if (++calls % 3 === 0) return Promise.reject(new Deno.errors.WouldBlock("Resource temporarily unavailable"));
      written += decode(bytes.subarray(0, 4));
      return Promise.resolve(Math.min(4, bytes.length));
    },
  });
  const streams = new StandardStreams();
  const [stdout, stderr] = [streams.writer(stream()), streams.writer(stream())];
  stdout.write("one line\n");
  stderr.write("a warning\n");
  stdout.write("another\n");
  await streams.drain();
  assertEquals(written, "one line\na warning\nanother\n");
});

Deno.test("a stream that takes nothing is given up, the other one gets all that is its own", async () => {
  let written = "";
  const streams = new StandardStreams();
  const stalled = streams.writer({ write: () => new Promise(() => {}) });
  const stderr = streams.writer({ write: (bytes) => Promise.resolve((written += decode(bytes), bytes.length)) });
  for (let i = 0; i < 3; i++) {
    stalled.write(`${i}`);
    stderr.write(`${i}\n`);
  }
  await streams.drain(10);
  assertEquals(written, "0\n1\n2\n");
  await streams.drain();
});

/**
 * Starts a run in a process of its own that shows `lines` lines of output of a command, and then does `then`. It is its
 * `pct` that is not real.
 */
function startRun(lines: number, then: string, under: readonly string[] = ["env"], args: readonly string[] = []) {
  const source = `
    import { main } from "${import.meta.resolve("../run/main.ts")}";
    import { setup } from "${import.meta.resolve("../run/setup.ts")}";
    import { sh } from "${import.meta.resolve("../shell.ts")}";
    import { thisSystem } from "${import.meta.resolve("../run/system.ts")}";
    import { StubContainer, stubSystem } from "${import.meta.resolve("../../tests/support/stubs.ts")}";
    const container = new StubContainer((_script, _verb, { onOutput }) => {
      const lineOf = (i) => new TextEncoder().encode("line " + i + " " + "x".repeat(100) + "\\n");
      for (let i = 0; i < ${lines}; i++) onOutput(lineOf(i), "stdout");
      return "";
    });
    const environment = { TERM: "xterm" };
    const [stub] = stubSystem({ args: ["901", ...Deno.args], container, environment });
    // A real program is a file.
    Object.defineProperty(Deno, "mainModule", { value: "file:///901.ts" });
    const { stdout, stderr, drain, onSignal, onUnhandled, exit } = thisSystem();
    let done = false;
    const talk = {
      title: "talk",
      probe: () => Promise.resolve(done),
      diff: (done) => done ? [] : [{ what: "talk" }],
      apply: async ({ container }) => void (done = !!await container.write(sh\`talk\`)),
    };
    await main(
      setup(901, "Portainer", async ({ ensure }) => { await ensure(talk); ${then} }),
      { ...stub, stdout, stderr, drain, onSignal, onUnhandled, exit },
    );`;
  // The names resolve as they do here, whichever import map this test was given.
  const names = ["@std/cli", "@std/log", "@std/path", "dax"];
  const imports = Object.fromEntries(names.map((name) => [name, import.meta.resolve(name)]));
  const [program, ...before] = under;
  return new Deno.Command(program!, {
    args: [
      ...[...before, Deno.execPath(), "run", "--quiet", "--no-check", "--no-lock", "--no-prompt", "--allow-all"],
      `--import-map=data:application/json,${encodeURIComponent(JSON.stringify({ imports }))}`,
      `data:application/typescript,${encodeURIComponent(source)}`,
      ...args,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

// Signals and the deadline end the run after cleaning up, whoever reads what it says.
testWith(
  ["read", "write", "env", "run"],
  "a run whose output nobody reads ends by a signal and by its deadline",
  async () => {
    const cases: [then: string, args: string[], signal: Deno.Signal | undefined, code: number, why: string][] = [
      ["await new Promise(() => {});", ["--verbose"], "SIGTERM", 143, "Ended by SIGTERM"],
      ["", ["--verbose"], "SIGINT", 130, "Ended by SIGINT"],
      ["throw new TypeError('x');", ["--json", "--verbose"], "SIGHUP", 129, "Ended by SIGHUP"],
      ["", ["--verbose", "--timeout", "1s"], undefined, 5, "The run did not end within 1.0 s"],
    ];
    await Promise.all(cases.map(async ([then, args, signal, code, why]) => {
      const child = startRun(10_000, then, undefined, args);
      const reader = child.stdout.getReader();
      await reader.read(); // Signals are listened for by then.
      if (signal !== undefined) child.kill(signal);
      const stderr = new Response(child.stderr).text();
      const status = await within(child.status, 20_000);
      if (status === undefined) child.kill("SIGKILL");
      await reader.cancel();
      assertEquals([status?.code, (await stderr).includes(why)], [code, true], args.join(" "));
    }));
  },
);

// What is said is said, also to a reader who is late; beyond a bound, it is said what is missing.
testWith(
  ["read", "write", "env", "run"],
  "a late reader gets every line in order, up to a bound, and the last one",
  async () => {
    await Promise.all([10_000, 100_000].map(async (count) => {
      const child = startRun(count, "", undefined, ["--verbose"]);
      const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
      let text = (await reader.read()).value!;
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
      const { code } = await child.status;
      const stderr = await new Response(child.stderr).text();
      assertEquals([code, stderr], [0, ""]);
      const numbers = [...text.matchAll(/ \| line (\d+) x{100}$/gm)].map(([, number]) => Number(number));
      const leftOut = [...text.matchAll(/\(Left out on stdout, as it was not read in time: (\d+) lines of output\)/g)]
        .reduce(
          (sum, [, n]) => sum + Number(n),
          0,
        );
      assertEquals(numbers, [...numbers].sort((a, b) => a - b));
      assertEquals(numbers.length + leftOut, count);
      assertEquals(leftOut > 0, count === 100_000);
      assertMatch(text, /Specific setup for container 901 completed successfully\n$/);
    }));
  },
);

// A full disk and a reader that went away harm nothing.
testWith(["read", "write", "env", "run"], "a run goes on to its end where stdout takes nothing any more", async () => {
  const full = startRun(1_000, "", ["sh", "-c", 'exec "$@" >/dev/full', "sh"], ["--verbose"]);
  const closed = startRun(10_000, "", undefined, ["--verbose"]);
  await closed.stdout.cancel();
  for (const child of [full, closed]) {
    const [{ code }, stderr] = await Promise.all([child.status, new Response(child.stderr).text()]);
    assertEquals([code, stderr], [0, ""]);
  }
  await full.stdout.cancel();
});
