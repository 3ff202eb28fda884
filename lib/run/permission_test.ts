import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { stubSystem } from "../../tests/support/stubs.ts";
import { ExitCode, Failure } from "../errors.ts";
import { main } from "./main.ts";
import { Pct } from "../container/pct.ts";
import { notPermitted, refusalIn } from "./permission.ts";
import { setup } from "./setup.ts";

const refused = (message: string) => new Deno.errors.NotCapable(message);

// What a setup needs of the host it declares, so a refusal names the declaration.
Deno.test("a refused permission names what has to be declared", () => {
  const cases: [string, string | undefined][] = [
    ['Requires net access to "10.0.0.5:80", run again with the --allow-net flag', '{ addresses: ["10.0.0.5:80"] }'],
    ['Requires read access to "/srv/a b", run again with the --allow-read flag', '{ reads: ["/srv/a b"] }'],
    ['Requires write access to "/srv/a\nb", run again with the --allow-write flag', '{ writes: ["/srv/a\\nb"] }'],
    ['Requires run access to "/bin/id", run again with the --allow-run flag', '{ commands: ["/bin/id"] }'],
    ['Requires env access to "HOME", run again with the --allow-env flag', '{ environment: ["HOME"] }'],
    ["Requires env access, run again with the --allow-env flag", "{ environment: […] }"],
    [
      "Requires --allow-run permissions to spawn subprocess with LD_PRELOAD environment variable. Alternatively, spawn with " +
      "the environment variable unset.",
      "{ commands: […] }",
    ],
    ['Requires sys access to "hostname", run again with the --allow-sys flag', undefined],
    ['Requires ffi access to "/lib/x.so", run again with the --allow-ffi flag', undefined],
    // An executable's own words.
    [
      'Requires read access to "/srv/x", specify the required permissions during compilation using `deno compile --allow-read`',
      '{ reads: ["/srv/x"] }',
    ],
    [
      "Requires env access, specify the required permissions during compilation using `deno compile --allow-env`",
      "{ environment: […] }",
    ],
    ["Something new in Deno", undefined],
  ];
  for (const [message, declaration] of cases) {
    assertEquals(refusalIn(refused(message))?.declaration, declaration, message);
  }
});

Deno.test("a refused permission is found behind what wraps it, and in nothing else", () => {
  const inner = refused('Requires read access to "/x", run again with the --allow-read flag');
  for (
    const error of [
      inner,
      new Error("a", { cause: new TypeError("b", { cause: inner }) }),
      new AggregateError([inner]),
      new Failure(ExitCode.Step, "a", { cause: inner }),
    ]
  ) {
    assertEquals(refusalIn(error)?.to, "/x");
  }
  for (const error of [new Error("Requires read access"), "text", undefined, new Deno.errors.PermissionDenied("x")]) {
    assertEquals(refusalIn(error), undefined);
  }
  const endless = new Error("a");
  endless.cause = endless;
  assertEquals(refusalIn(endless), undefined);
});

Deno.test("a run ends with exit code 70 also where a step wrapped the refusal in a failure of its own", async () => {
  const [system, run] = stubSystem();
  const cause = refused('Requires net access to "10.0.0.5:80", run again with the --allow-net flag');
  const step = {
    title: "wrapping",
    probe: () => Promise.reject(new Failure(ExitCode.Step, "no luck", { cause })),
    diff: () => [],
    apply: () => Promise.resolve(),
  };
  await main(setup(901, "Portainer", async ({ ensure }) => void await ensure(step)), system);
  assertEquals(run.exits, [70]);
  assertStringIncludes(run.stderr, 'Permission refused in step "wrapping": net access to "10.0.0.5:80"');
});

Deno.test("a path that a person chose ends the run with exit code 2 and says where it could be", () => {
  const { exitCode, message, hint } = notPermitted("write", "/srv/a.log");
  assertEquals([exitCode, message], [2, 'Cannot write "/srv/a.log" as this program is not permitted to']);
  assertStringIncludes(hint!, '{ writes: ["/srv/a.log"] }');
  assertStringIncludes(hint!, '"/var/log"');
});

// dax looks a program up before it starts it, and takes what it may not look at for missing.
const ignore = (["read", "run"] as const).some((name) => Deno.permissions.querySync({ name }).state !== "granted");
Deno.test({
  name: `a pct that may not be looked at or run is a refused permission${
    ignore ? " (needs --allow-read --allow-run)" : ""
  }`,
  ignore,
  permissions: { read: ["/nonexistent"], run: ["/bin/true"], env: "inherit" },
  async fn() {
    const nothing = () => {};
    const started = new Pct("/bin/true").start([], new Blob([]).stream(), nothing, nothing);
    assertEquals(refusalIn(await assertRejects(() => started.ended))?.to, "/bin/true");
    assertEquals(refusalIn(await assertRejects(() => new Pct("/bin/false").run([], 10_000)))?.to, "/bin/false");
    assertEquals((await new Pct("/bin/true").run([], 10_000)).code, 0);
  },
});
