import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import { Failure } from "../errors.ts";
import { Pct } from "./pct.ts";

testWith(["read", "run"], "pct is run with a small environment, and its output is kept up to a bound", async () => {
  const result = await new Pct("/bin/sh").run(
    ["-c", 'env | grep -vE "^(PWD|_|SHLVL|OLDPWD)="; echo x >&2; exit 3'],
    10_000,
  );
  assertEquals([result.code, result.stderr], [3, "x\n"]);
  assertEquals(result.stdout.trim().split("\n").sort(), ["LC_ALL=C.UTF-8", "PATH=/sbin:/bin:/usr/sbin:/usr/bin"]);
  const { code, stdout } = await new Pct("/bin/sh").run(["-c", "head -c 9000000 /dev/zero"], 10_000);
  assertEquals([code, stdout.length], [0, 64 * 1024]);
});

testWith(["read", "run"], "a pct that was killed has not succeeded", async () => {
  assertEquals((await new Pct("/bin/sh").run(["-c", "kill -9 $$"], 10_000)).code, 137);
});

testWith(["read", "run"], "a pct that is late or that nobody waits for is killed", async () => {
  const late = new Pct("/bin/sleep");
  assertEquals(await late.run(["60"], 1), { code: undefined, stdout: "", stderr: "" });
  const run = late.run(["60"], 60_000);
  late.abandon();
  assertEquals((await run).code, 137);
});

testWith(["read", "run"], "a pct that was given up before it was started is not started", async () => {
  const output: Uint8Array[] = [];
  const process = new Pct("/bin/echo").start(
    ["x"],
    new Blob([]).stream(),
    (chunk) => void output.push(chunk),
    () => {},
  );
  process.kill();
  assertEquals([await process.ended, output], [137, []]);
});

testWith(["read", "run"], "where there is no pct, or none that runs, the error names it", async () => {
  const error = await assertRejects(() => new Pct("/nonexistent/pct").run([], 10_000), Failure);
  assertStringIncludes(error.message, 'Cannot find "/nonexistent/pct", so this is not a Proxmox VE host');
  const other = await assertRejects(() => new Pct("/etc/passwd").run([], 10_000), Failure);
  assertStringIncludes(other.message, 'Cannot run "/etc/passwd": ');
});

// What `pct` has left running may hold its pipes for ever.
testWith(["read", "run"], "a pct that has ended is not waited for because of what it started", async () => {
  const { code, stdout } = await new Pct("/bin/sh").run(["-c", "sleep 60 & echo $!"], 5_000);
  Deno.kill(Number(stdout), "SIGKILL");
  assertEquals(code, 0);
});
