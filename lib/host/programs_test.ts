import { assertEquals, assertRejects } from "@std/assert";
import { testInFolder } from "../../tests/support/local_shell.ts";
import { testWith } from "../../tests/support/permission.ts";
import { Pct } from "../container/pct.ts";
import { ExitCode, Failure } from "../errors.ts";
import { thisHost } from "./this_host.ts";

const host = thisHost(new Pct(), 901);

testInFolder("a program of the host is run without a shell", async ({ folder }) => {
  assertEquals((await host.read("/bin/echo", ["$HOME;", "`id`"])).text, "$HOME; `id`");
  // What the host does not have is no defect of this program.
  await assertRejects(() => host.read(`${folder}/none`, []), Failure, "there is no such program on the host");
});

testWith(["run"], "a program of the host that does not stop writing is ended", async () => {
  const error = await assertRejects(() => host.write("/bin/sh", ["-c", "yes"], 60_000), Failure, "exceeds");
  assertEquals(error.exitCode, ExitCode.Step);
});

testWith(["run"], "a program of the host that takes too long is ended, which is a failure", async () => {
  const error = await assertRejects(() => host.write("/bin/sleep", ["60"], 50), Failure);
  assertEquals([error.exitCode, error.message], [
    ExitCode.Timeout,
    '"/bin/sleep" did not end on the host within 0.05 s and was ended',
  ]);
});

// What a daemon that the program has started keeps open would keep the run, too.
testWith(["run"], "a program of the host has ended when it has, whatever it leaves behind", async () => {
  const output = await host.write("/bin/sh", ["-c", "sleep 4 & echo started; exit 3"], 3_000);
  assertEquals([output.code, output.text], [3, "started"]);
});

// A signal ends what runs on the host, too.
testWith(["run"], "a program of the host that is interrupted has ended", async () => {
  const running = host.write("/bin/sleep", ["60"], 60_000);
  host.interrupt();
  assertEquals((await running).code, 143);
  host.interrupt();
});
