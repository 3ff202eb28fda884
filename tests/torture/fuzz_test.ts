/**
 * A sample of the hostile input that `deno task torture --only fuzz` tries by the ten thousand, and what only a process
 * of its own can be given.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { importArguments } from "../../bin/toolchain.ts";
import { testWith } from "../support/permission.ts";
import type { Result } from "./result.ts";
import { fuzz } from "./fuzz.ts";
import { project } from "../support/test_host.ts";

testWith(
  ["read", "write", "run", "env"],
  "hostile input of each kind ends in one message, and runs nowhere",
  async () => {
    const results: Result[] = [];
    await fuzz((result) => results.push(result), 20261122, 120, 30);
    assertEquals(results.flatMap(({ kind, failures }) => failures.map(({ what }) => `${kind}: ${what}`)), []);
    assertEquals(results.length, 7);
    // Both ends are among the cases: what is refused, and what is not.
    for (const kind of ["argument vectors", "configuration files", "environment values", "output of commands"]) {
      assertMatch(results.find((result) => result.kind === kind)?.ended ?? "", /exit 0: \d+, exit [124]: \d+/);
    }
  },
);

// JavaScript's texts cannot hold these bytes, so only another program can hand them over.
testWith(["read", "write", "run", "env"], "bytes that are no text are refused in one message", async (t) => {
  const folder = await Deno.makeTempDir();
  const run = async (assignment: string, argument: string) => {
    // $0 is the folder.
    const script = `${assignment} exec "$@" "$(printf '${argument}')" --log-file="$0/log"`;
    const args = ["run", "--quiet", "--no-check", ...await importArguments(), "-A", `${project}setups/901.ts`];
    const { code, stderr } = await new Deno.Command("/bin/sh", {
      args: ["-c", script, folder, Deno.execPath(), ...args],
    }).output();
    return {
      code,
      stderr: new TextDecoder().decode(stderr),
      log: await Deno.readTextFile(`${folder}/log`).catch(() => ""),
    };
  };
  const cases: [assignment: string, argument: string, code: number, message: RegExp][] = [
    ["", "9\\37701", 1, /CTID "9\ufffd01" is not a positive integer/],
    [
      `PHOENIX_LOG_LEVEL="$(printf 'IN\\377FO')"`,
      "901",
      2,
      /Cannot use the environment variable PHOENIX_LOG_LEVEL as it is not UTF-8/,
    ],
    [`NO_COLOR="$(printf '\\377')"`, "901", 2, /Cannot use the environment variable NO_COLOR as it is not UTF-8/],
  ];
  try {
    await Promise.all(cases.map(([assignment, argument, code, message]) =>
      t.step({
        name: assignment || argument,
        async fn() {
          const run_ = await run(assignment, argument);
          assertEquals(run_.code, code, run_.stderr);
          assertMatch(run_.stderr, message);
          assertMatch(run_.log, message);
          assert(!/^ *at /m.test(run_.stderr), run_.stderr);
        },
        sanitizeOps: false,
        sanitizeResources: false,
        sanitizeExit: false,
      })
    ));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
