// Check mode predicts what a run then changes, also where a step depends on files that steps before it would change.
import { assertEquals } from "@std/assert";
import { hostFiles } from "../../tests/support/host_files.ts";
import { LocalShell } from "../../tests/support/local_shell.ts";
import { testWith } from "../../tests/support/permission.ts";
import { on, StubContainer, stubHost } from "../../tests/support/stubs.ts";
import { Engine } from "../engine.ts";
import type { PathChange, Step } from "../step.ts";
import type { Difference, RunEvent } from "../events.ts";
import type { Host } from "../host/host.ts";
import { absent } from "./absent.ts";
import { file } from "./file.ts";
import { block } from "./block.ts";
import { line } from "./line.ts";
import { script } from "./script.ts";
import { service } from "./service.ts";
import { tree } from "./tree.ts";

/**
 * Takes these steps, one after the other. What `diff` says of the last one is given, and what was predicted or changed
 * in the end.
 */
async function take(
  container: StubContainer,
  steps: readonly Step[],
  { check = true, host = {} }: { check?: boolean; host?: Partial<Host> } = {},
): Promise<{ differences: readonly Difference[]; predicted: readonly PathChange[]; changed: readonly PathChange[] }> {
  const events: RunEvent[] = [];
  let predicted: readonly PathChange[] = [];
  let changed: readonly PathChange[] = [];
  const report = (event: RunEvent) => void events.push(event);
  const pause = () => Promise.resolve();
  const engine = new Engine({ container, host: stubHost(host), check, report, pause });
  for (const step of steps) await engine.ensure(step);
  const last = events.at(-1);
  await engine.ensure({
    title: "what is predicted or changed",
    probe: (at) => Promise.resolve(void ({ predicted, changed } = at)),
    diff: () => [],
    apply: () => Promise.resolve(),
  });
  return { differences: last?.event === "step finished" ? last.differences : [], predicted, changed };
}

testWith(["run", "read", "write"], "what each step on files predicts is what its run changes", async (t) => {
  const host = hostFiles({ "/src/new": "new", "/src/same": "same", "/src/other": "other", "/src/sub/deep": "deep" });
  const steps: Record<string, (at: string, mine: { owner: number; group: number }) => Step> = {
    "a file that is new": (at, mine) => file(`${at}/fresh`, { content: "x", ...mine }),
    "a file of other content": (at, mine) => file(`${at}/a`, { content: "x", ...mine }),
    "a file of the same content and another mode": (at, mine) =>
      file(`${at}/a`, { content: "a\n", mode: 0o600, ...mine }),
    "a file that is right": (at, mine) => file(`${at}/a`, { content: "a\n", ...mine }),
    "a line": (at) => line(`${at}/a`, { line: "x" }),
    "a line that is there": (at) => line(`${at}/a`, { line: "a" }),
    "a block": (at) => block(`${at}/a`, { name: "x", content: "x" }),
    "a file that goes": (at) => absent(`${at}/a`),
    "a folder that goes": (at) => absent(`${at}/tree`),
    "a tree": (at, mine) => tree(`${at}/tree`, { from: "/src", ...mine }),
    "a tree without the rest": (at, mine) => tree(`${at}/tree`, { from: "/src", remove: true, ...mine }),
  };
  for (const [name, step] of Object.entries(steps)) {
    await t.step(name, async () => {
      const folder = await Deno.makeTempDir();
      try {
        await Deno.mkdir(`${folder}/tree/old`, { recursive: true });
        for (const [path, text] of [["a", "a\n"], ["tree/same", "same"], ["tree/other", "OTHER"], ["tree/old/x", ""]]) {
          await Deno.writeTextFile(`${folder}/${path}`, text!);
          await Deno.chmod(`${folder}/${path}`, 0o644);
        }
        await Deno.chmod(`${folder}/tree/same`, 0o640);
        const { uid, gid } = await Deno.stat(folder);
        const steps = () => [step(folder, { owner: uid!, group: gid! })];
        const before = await filesIn(folder);
        const check = await take(new LocalShell(), steps(), { host });
        const { predicted } = check;
        assertEquals(check.changed, []);
        assertEquals(await filesIn(folder), before, "check mode changes nothing");
        const run = await take(new LocalShell(), steps(), { host, check: false });
        assertEquals([run.predicted, run.changed], [[], predicted], "what is told to the steps after it");
        const after = await filesIn(folder);
        const changed = [...new Set([...before.keys(), ...after.keys()])].filter((path) =>
          before.get(path)?.ctime !== after.get(path)?.ctime
        );
        const told = (path: string) =>
          predicted.find((one) => path === one.path) ?? predicted.find((one) => path.startsWith(`${one.path}/`));
        assertEquals(
          Object.fromEntries(changed.map((path) => [path, told(path)?.content])),
          Object.fromEntries(changed.map((path) => [path, before.get(path)?.text !== after.get(path)?.text])),
        );
        const isFile = ({ path }: PathChange) => before.has(path) || after.has(path);
        assertEquals(
          predicted.filter(isFile).map(({ path }) => path).sort(),
          changed.filter(told).filter(
            (path) => predicted.some((one) => one.path === path),
          ).sort(),
        );
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    });
  }
});

/** All regular files in a folder. */
async function filesIn(folder: string): Promise<Map<string, { ctime: string; text: string }>> {
  const { stdout } = await new Deno.Command("/usr/bin/find", {
    args: [folder, "-type", "f", "-printf", "%p\t%i %C@\n"],
  })
    .output();
  const rows = new TextDecoder().decode(stdout).split("\n").filter(Boolean).sort().map((row) => row.split("\t"));
  return new Map(
    await Promise.all(
      rows.map(async ([path, ctime]) => [path!, { ctime: ctime!, text: await Deno.readTextFile(path!) }] as const),
    ),
  );
}

const hash = "0".repeat(64);
const unit = `LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=no
NRestarts=0
Result=success
ActiveEnterTimestamp=Sun 2026-11-22 20:54:42 UTC
Now=1795384482
`;

/** A container with a service that runs and has read what is at these paths, and files that are not there. */
const running = (...paths: string[]) =>
  new StubContainer(
    on("systemctl show", unit + paths.map((path) => `read ${hash} ${path}\ncontent ${hash}\n`).join("")),
    on(/^p=/, "nothing\n"),
  );

Deno.test("a restart is predicted where a step before would change what the service reads", async () => {
  const restarts = async (path: string, ...restartWith: string[]) =>
    (await take(running(...restartWith), [file(path, { content: "x" }), service("app", { restartWith })])).differences;
  const before = (verb: string, path: string) => [{
    what: `${verb}: ${path} would be changed by a step before this one`,
  }];
  assertEquals(await restarts("/etc/app.conf", "/etc/app.conf"), before("restart", "/etc/app.conf"));
  assertEquals(await restarts("/etc/app/sub/conf", "/opt/app", "/etc/app"), before("restart", "/etc/app"));
  for (const other of ["/etc/app.confx", "/etc/app.conf/x", "/etc/ap", "/opt"]) {
    assertEquals(await restarts("/etc/app.conf", other), [], other);
  }
  const reloading = service("app", { restartWith: ["/etc/app.conf"], reload: true });
  const { differences } = await take(running("/etc/app.conf"), [file("/etc/app.conf", { content: "x" }), reloading]);
  assertEquals(differences, before("reload", "/etc/app.conf"));
});

Deno.test("what is in a folder that goes is predicted to change", async () => {
  const reads = async (path: string) => {
    const inputs = `read ${hash} ${path}\ncontent ${hash}\n`;
    const container = new StubContainer(on(/^p=/, "a folder\n"), on("systemctl show", unit + inputs));
    return (await take(container, [absent("/etc/app"), service("app", { restartWith: [path] })])).differences;
  };
  const restart = [{ what: "restart: /etc/app/conf would be changed by a step before this one" }];
  assertEquals(await reads("/etc/app/conf"), restart);
  assertEquals(await reads("/etc/app.conf"), []);
});

Deno.test("nothing is predicted of steps that would change nothing, or that come later", async () => {
  const app = () => service("app", { restartWith: ["/etc/app.conf"] });
  const gone = absent("/etc/app.conf");
  assertEquals((await take(running("/etc/app.conf"), [gone, app()])).differences, []);
  const later: Step[] = [app(), file("/etc/app.conf", { content: "x" })];
  const { predicted } = await take(running("/etc/app.conf"), later);
  assertEquals(predicted, [{ path: "/etc/app.conf", content: true }]);
  // Whose it is, and who may read it, is nothing that a service reads.
  const stat = "file 600 0 root 0 root 1 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881\n";
  const readable = new StubContainer(
    on(/^p=/, stat),
    on("systemctl show", `${unit}read ${hash} /etc/app.conf\ncontent ${hash}\n`),
  );
  const steps = [file("/etc/app.conf", { content: "x" }), app()];
  assertEquals(await take(readable, steps), {
    differences: [],
    predicted: [{ path: "/etc/app.conf", content: false }],
    changed: [],
  });
});

Deno.test("a script is predicted to run again where a step before would change the content of an input", async () => {
  const spec = { content: "index", inputs: ["/srv/documents"] };
  // What the marker has to say of the last run is not this test's to know: the step tells it.
  let digest = "-";
  const seen = () =>
    new StubContainer((given) => given.text.includes("phoenix_setup/scripts") ? `there\n${digest}\nx` : "nothing\n");
  const index = (when: "changed" | "once" = "changed") => script("index", { ...spec, when });
  await take(seen(), [{ ...index(), diff: (state: { digest: string }) => (digest = state.digest, []) } as Step]);
  assertEquals((await take(seen(), [index()])).differences, []);
  const document = (path: string): Step => file(path, { content: "x" });
  const rerun = [{ what: "has changed since its last run, or something that it works with has" }];
  assertEquals((await take(seen(), [document("/srv/documents/a"), index()])).differences, rerun);
  assertEquals((await take(seen(), [document("/srv/other"), index()])).differences, []);
  assertEquals((await take(seen(), [document("/srv/documents/a"), index("once")])).differences, []);
});
