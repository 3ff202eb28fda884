import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { hostFileOf, imageFiles, tar } from "../../../tests/fixtures/image_archive.ts";
import { ensure, on, type Rule, StubContainer } from "../../../tests/support/stubs.ts";
import { Output } from "../../container/container.ts";
import { StepFailed } from "../../engine.ts";
import { SessionLost } from "../../errors.ts";
import type { HostFile } from "../../host/host.ts";
import type { ImageInfo } from "./image_info.ts";
import { loadedImage } from "./loaded_image.ts";

const space = on("df -Pk", "overlay 99 9 10000000 9% /var/lib/docker");

/** An engine that has images by their ids, and takes those of an archive. */
function engineWith(
  images: ImageInfo[],
  { loads = [], said = "Loaded image: app:1", ...failure }: {
    loads?: ImageInfo[];
    said?: string;
    code?: number;
    stderr?: string;
  } = {},
): { stub: StubContainer; sent: () => Uint8Array } {
  let sent = new Uint8Array();
  const rule: Rule = (script, verb, { stdin }) => {
    if (verb === "read") {
      const names = /^docker image inspect --format '\{\{json \.\}\}' (.*)$/.exec(script.display)?.[1]?.split(" ");
      if (names === undefined) return undefined;
      const found = names.map((name) => images.find(({ Id, RepoTags }) => Id === name || RepoTags?.includes(name)));
      const lacking = names.filter((_, i) => found[i] === undefined);
      return {
        code: lacking.length > 0 ? 1 : 0,
        stdout: found.filter(Boolean).map((info) => JSON.stringify(info)).join("\n"),
        stderr: lacking.map((name) => `Error response from daemon: No such image: ${name}`).join("\n"),
      };
    }
    if (script.display === "docker load") {
      const chunks = stdin as AsyncIterable<Uint8Array<ArrayBuffer>>;
      (async () => sent = await new Blob(await Array.fromAsync(chunks, (chunk) => chunk.slice())).bytes())();
      if (failure.code !== undefined) return failure;
      images.push(...loads);
      return said;
    }
    const [, source, name] = /^docker tag (\S+) (\S+)$/.exec(script.display) ?? [];
    const tagged = images.find(({ Id, RepoTags }) => Id === source || RepoTags?.includes(source!));
    if (!tagged) return undefined;
    images = images.map((info) => ({
      ...info,
      RepoTags: [...(info.RepoTags ?? []).filter((tag) => tag !== name), ...(info === tagged ? [name!] : [])],
    }));
    return "";
  };
  return { stub: new StubContainer(rule, space), sent: () => sent };
}

const SPEC = { archive: "/images/app.tar" };
const onHost = (file: HostFile | undefined) => ({ host: { file: () => Promise.resolve(file) } });

Deno.test("an image is loaded from its archive where it is missing, and the second time nothing is sent", async () => {
  const { files, id, manifest } = await imageFiles({ tags: ["app:1"] });
  const archive = tar(files);
  // Docker's classic store knows it by one id, the containerd image store by the other.
  for (const Id of [id, manifest]) {
    const { stub, sent } = engineWith([], { loads: [{ Id, RepoTags: ["app:1"] }] });
    const options = onHost(hostFileOf(archive));
    const difference = { what: "image", to: id.slice(7, 19) };
    const checked = await ensure(loadedImage("app:1", SPEC), stub, { ...options, check: true });
    assertEquals([checked.outcome, checked.differences, stub.writes], ["would change", [difference], []]);
    const { outcome, differences } = await ensure(loadedImage("app:1", SPEC), stub, options);
    assertEquals([outcome, differences, stub.writes], ["changed", [difference], ["docker load"]]);
    await new Promise((resolve) => setTimeout(resolve));
    assertEquals(sent(), archive);
    for (const check of [true, false]) {
      assertEquals((await ensure(loadedImage("app:1", SPEC), stub, { ...options, check })).outcome, "unchanged");
    }
    assertEquals([stub.writes.length, stub.reads.filter((read) => read.includes("inspect")).length], [1, 5]);
  }
});

Deno.test("an image takes its name back from another one; one that is there under its id alone is only tagged", async () => {
  const { files, id } = await imageFiles({ tags: ["app:1"] });
  const options = onHost(hostFileOf(tar(files)));
  const other = { Id: `sha256:${"0".repeat(64)}`, RepoTags: ["app:1"] };

  const wrong = engineWith([other], { loads: [{ Id: id, RepoTags: [] }] }).stub;
  // As an engine does that has taken the image, and lost the name to somebody else.
  await assertRejects(() => ensure(loadedImage("app:1", SPEC), wrong, options), StepFailed, "still different");

  const known = engineWith([other, { Id: id, RepoTags: [] }]).stub;
  const { outcome, differences } = await ensure(loadedImage("app:1", SPEC), known, options);
  assertEquals([outcome, differences, known.writes], [
    "changed",
    [{ what: "name", from: "000000000000", to: id.slice(7, 19) }],
    [`docker tag ${id} app:1`],
  ]);
});

Deno.test("the only image of an archive can have another name there, or none", async () => {
  for (const [tags, said] of [[["old/name:3"], "Loaded image: old/name:3"], [[], "Loaded image ID: "]] as const) {
    const { files, id } = await imageFiles({ tags });
    const { stub } = engineWith([], {
      loads: [{ Id: id, RepoTags: [...tags] }],
      said: said.endsWith(" ") && tags.length === 0 ? `${said}${id}` : said,
    });
    await ensure(loadedImage("app:1", SPEC), stub, onHost(hostFileOf(tar(files))));
    assertEquals(stub.writes, ["docker load", `docker tag ${tags[0] ?? id} app:1`]);
  }
});

// The containerd image store makes a manifest of its own for an image that comes without one.
Deno.test("an image of an old archive with another id is recognised by its layers and configuration", async () => {
  const { files, layers, config } = await imageFiles({ tags: ["app:1"], legacy: "config.json" });
  const options = onHost(hostFileOf(tar(files)));
  const same = {
    Id: "sha256:made",
    RepoTags: ["app:1"],
    RootFS: { Layers: layers },
    Config: { Env: config.Env, Cmd: config.Cmd, Volumes: null, Labels: {}, User: "", Hostname: "" },
  };
  assertEquals((await ensure(loadedImage("app:1", SPEC), engineWith([same]).stub, options)).outcome, "unchanged");
  const others = [
    { ...same, RootFS: { Layers: [...layers, "sha256:more"] } },
    { ...same, Config: { ...same.Config, Env: ["A=2"] } },
    { ...same, Config: { ...same.Config, Volumes: { "/data": {} } } },
  ];
  for (const other of others) {
    const check = await ensure(loadedImage("app:1", SPEC), engineWith([other]).stub, { ...options, check: true });
    assertEquals(check.outcome, "would change");
  }
});

Deno.test("an archive that is missing, wrong or too large is an error, and nothing is sent", async () => {
  const { files } = await imageFiles({ tags: ["app:1"] });
  const archive = tar(files);
  const two = JSON.parse(files.find(({ name }) => name === "manifest.json")!.content) as unknown[];
  const several = tar([
    ...files.filter(({ name }) => name !== "manifest.json"),
    { name: "manifest.json", content: JSON.stringify([two[0], two[0]]) },
  ]);
  const fails = async (file: HostFile | undefined, message: string, ...rules: Rule[]) => {
    const stub = new StubContainer(...rules);
    await assertRejects(() => ensure(loadedImage("other:1", SPEC), stub, onHost(file)), StepFailed, message);
    assertEquals(stub.writes, []);
  };
  await fails(undefined, 'There is no archive "/images/app.tar" on the host');
  await fails(hostFileOf(new Uint8Array(10)), "it is not a tar archive");
  await fails(hostFileOf(several), 'has no image "other:1" but 2 others: app:1; app:1');
  const nothing = on("image inspect", (script) => ({
    code: 1,
    stderr: script.display.split(" ").slice(5).map((name) => `Error: No such image: ${name}`).join("\n"),
  }));
  // Twice the size has to be free, since Docker unpacks what it is given.
  const large = { ...hostFileOf(archive), size: 3 * 1024 ** 3 };
  await fails(large, "expected at least 6144 MiB", nothing, on("df -Pk", "overlay 99 9 6000000 9% /"));
  const down = { code: 1, stderr: "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." };
  await fails(hostFileOf(archive), "exit code 1", on("image inspect", down));
});

Deno.test("a load that fails says why, and what cannot be used is removed again", async () => {
  const { files, manifest, id } = await imageFiles({ tags: ["app:1"] });
  const options = onHost(hostFileOf(tar(files)));
  const failing = engineWith([], { code: 1, stderr: "unexpected EOF" }).stub;
  await assertRejects(
    () => ensure(loadedImage("app:1", SPEC), failing, options),
    StepFailed,
    'Cannot load "/images/app.tar": unexpected EOF',
  );

  const oci = hostFileOf(tar((await imageFiles({ tags: ["app:1"], oci: true })).files));
  const stderr = "open /var/lib/docker/tmp/docker-import-12/repositories: no such file or directory";
  const error = await assertRejects(
    () => ensure(loadedImage("app:1", SPEC), engineWith([], { code: 1, stderr }).stub, onHost(oci)),
    StepFailed,
    "is in OCI layout only",
  );
  assertStringIncludes(error.hint!, "docker save");

  // The containerd image store then exits with 0, and has an image of which no container can be made.
  const said = "Loaded image: app:1\nError unpacking image app:1: no space left on device";
  const { stub: broken } = engineWith([]);
  broken.write = (script, { stdin } = {}) => {
    broken.writes.push(script.display);
    // The cause is told also where it cannot be removed.
    if (stdin === undefined) return Promise.reject(new SessionLost("gone"));
    return Promise.resolve(
      new Output(script.display, { code: 0, stdout: new TextEncoder().encode(said), stderr: new Uint8Array() }),
    );
  };
  await assertRejects(() => ensure(loadedImage("app:1", SPEC), broken, options), StepFailed, "Cannot load");
  assertEquals(broken.writes, ["docker load", `docker image rm -f ${id} ${manifest}`]);
});

Deno.test("names and paths that nothing can be loaded from are refused when the step is made", () => {
  assertThrows(() => loadedImage("app@sha256:00", { archive: "/a.tar" }), TypeError, "without a digest");
  assertThrows(() => loadedImage("app:1", { archive: "a.tar" }), TypeError, "absolute path");
});
