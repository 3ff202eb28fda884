import { assertEquals } from "@std/assert";
import { testInFolder } from "../../tests/support/local_shell.ts";
import { testWith } from "../../tests/support/permission.ts";
import { type ProcessLimits, ProcessRunner } from "./process.ts";

const runner = new ProcessRunner({ PATH: "/usr/bin:/bin" }, (_program, error) => error);

function run(script: string, limits: Partial<ProcessLimits> = {}) {
  return runner.run("/bin/sh", ["-c", script], {
    timeout: 10_000,
    onTimeout: "kill",
    maxOutputBytes: 4,
    onExcess: "drop",
    ...limits,
  });
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

testWith(["run"], "output up to the bound is kept whole", async () => {
  const { code, stdout, stderr, hasExcess } = await run("printf abcd; printf 12 >&2; printf 34 >&2; exit 3");
  assertEquals([code, text(stdout), text(stderr), hasExcess], [3, "abcd", "1234", false]);
});

testWith(
  ["run"],
  "of output beyond the bound the beginning is kept, and the process goes on or is killed",
  async () => {
    const script = "printf abcdef; sleep 0.1; head -c 1000000 /dev/zero; printf 12 >&2; exit 3";
    const dropped = await run(script);
    assertEquals([dropped.code, text(dropped.stdout), text(dropped.stderr), dropped.hasExcess], [
      3,
      "abcd",
      "12",
      true,
    ]);
    const killed = await run("printf abcdef >&2; exec sleep 60", { onExcess: "kill" });
    assertEquals([killed.code, text(killed.stderr), killed.hasExcess], [137, "abcd", true]);
  },
);

testInFolder("a process that is late is killed, or left running and heard", async ({ folder }) => {
  const script = (marker: string) => `set -e; printf a; sleep 0.3; printf b; sleep 0.1; printf c; touch ${marker}`;
  const exists = (path: string) => Deno.stat(path).then(() => true, () => false);

  const killed = await run(script(`${folder}/killed`), { timeout: 100 });
  assertEquals([killed.code, text(killed.stdout)], [undefined, "a"]);

  const left = run(script(`${folder}/left`), { timeout: 100, onTimeout: "leave running" });
  runner.signalAll("SIGKILL"); // It is not among those.
  assertEquals((await left).code, undefined);

  // Where nobody heard it, it would end at its next word.
  for (let i = 0; i < 1_000 && !await exists(`${folder}/left`); i++) await new Promise((done) => setTimeout(done, 10));
  assertEquals([await exists(`${folder}/left`), await exists(`${folder}/killed`)], [true, false]);
});

testWith(["run"], "all that are waited for hear a signal", async () => {
  const running = [run("exec sleep 60"), run("exec sleep 60")];
  runner.signalAll("SIGTERM");
  assertEquals((await Promise.all(running)).map(({ code }) => code), [143, 143]);
});
