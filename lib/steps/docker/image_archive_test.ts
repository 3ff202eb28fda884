import { assertEquals, assertRejects } from "@std/assert";
import { ExitCode, Failure } from "../../errors.ts";
import type { HostFile } from "../../host/host.ts";
import { digestOf, hostFileOf, imageFiles, tar, type TarFile } from "../../../tests/fixtures/image_archive.ts";
import { readImageArchive } from "./image_archive.ts";

const read = (files: TarFile[]) => readImageArchive(hostFileOf(tar(files)));
const gzip = (bytes: Uint8Array<ArrayBuffer>) =>
  new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).bytes();

// `docker save` since Docker 25 writes both descriptions: the classic store names an image by its configuration, the
// other by its manifest.
Deno.test("an archive of docker save tells names and ids, plain and compressed", async () => {
  const { files, id, manifest } = await imageFiles({ tags: ["docker.io/library/app:1", "registry:5000/team/app"] });
  const expected = {
    images: [{ names: ["app:1", "registry:5000/team/app:latest"], ids: [id, manifest] }],
    layout: "docker" as const,
  };
  const archive = tar(files);
  const { size, ...found } = await readImageArchive(hostFileOf(archive));
  assertEquals([found, size], [expected, archive.length]);
  const compressed = await readImageArchive(hostFileOf(await gzip(archive)));
  assertEquals([compressed.images, compressed.layout], [expected.images, "docker"]);
});

// Docker before 25, skopeo and builders: no manifest, and the configuration under a name of their own.
Deno.test("an archive without manifests tells what an image is recognised by instead", async () => {
  for (const path of ["0123.json", "sha256:0123", "./config"]) {
    const { files, id, layers, config } = await imageFiles({ tags: ["app:1"], legacy: path });
    const { images, layout } = await read(files);
    assertEquals([images, layout], [[{ names: ["app:1"], ids: [id], legacy: { layers, config } }], "docker"]);
  }
});

Deno.test("an archive in OCI layout tells the ids of all that its index leads to, as far as it is there", async () => {
  const { files, id, manifest } = await imageFiles({ tags: ["app:1"], oci: true });
  assertEquals(await read(files).then(({ images, layout }) => ({ images, layout })), {
    images: [{ names: ["app:1"], ids: [manifest, id] }],
    layout: "oci",
  });

  // What the containerd image store saves of an image for several platforms has the blobs of one of them.
  const missing = `sha256:${"9".repeat(64)}`;
  const index = JSON.stringify({ manifests: [{ digest: manifest }, { digest: missing }] });
  const nested: TarFile[] = [
    ...files.filter(({ name }) => name !== "index.json"),
    { name: `blobs/sha256/${(await digestOf(index)).slice(7)}`, content: index },
    {
      name: "index.json",
      content: JSON.stringify({
        manifests: [
          { digest: await digestOf(index), annotations: { "io.containerd.image.name": "docker.io/team/app:2" } },
          { digest: await digestOf(index), annotations: { "org.opencontainers.image.ref.name": "latest" } },
        ],
      }),
    },
  ];
  assertEquals((await read(nested)).images, [
    { names: ["team/app:2"], ids: [await digestOf(index), manifest, missing, id] },
  ]);
});

Deno.test("several images stay apart", async () => {
  const one = await imageFiles({ tags: ["one:1"] });
  const two = await imageFiles({ tags: [], environment: ["A=2"] });
  const json = (name: string, { files }: typeof one) =>
    JSON.parse(files.find((file) => file.name === name)!.content as string);
  const { images } = await read([
    ...[...one.files, ...two.files].filter(({ name }) => name.startsWith("blobs/")),
    {
      name: "index.json",
      content: JSON.stringify({
        manifests: [...json("index.json", one).manifests, ...json("index.json", two).manifests],
      }),
    },
    { name: "manifest.json", content: JSON.stringify([json("manifest.json", one)[0], json("manifest.json", two)[0]]) },
  ]);
  assertEquals(images, [
    { names: ["one:1"], ids: [one.id, one.manifest] },
    { names: [], ids: [two.id, two.manifest] },
  ]);
});

// Tar has three ways to say a long name and two to say a large size.
Deno.test("names and sizes are read in every format of tar; entries other than files are skipped", async () => {
  const { files, id } = await imageFiles({ tags: ["app:1"], legacy: `${"d".repeat(120)}/config.json` });
  for (const long of ["gnu", "pax", "prefix"] as const) {
    const archive = tar([
      { name: "folder/", content: "", kind: "5" },
      { name: "link", content: "", kind: "2" },
      { name: "everywhere", content: "19 comment=nothing\n", kind: "g" },
      ...files,
    ], { long, binarySizes: true });
    assertEquals((await readImageArchive(hostFileOf(archive))).images[0]!.ids, [id]);
  }
});

// A layer can have more than 8 GiB: nobody reads it. A compressed one has to be read, and is not held.
Deno.test("a layer of any size is skipped", async () => {
  const { files, id } = await imageFiles({ tags: ["app:1"], legacy: "config.json" });
  const size = 9 * 1024 ** 3;
  const header = tar([{ name: "layer.tar", content: "", size }], { binarySizes: true }).subarray(0, 512);
  const rest = tar(files);
  const opened: number[] = [];
  const chunks = (from = 0) => {
    opened.push(from);
    return new Blob([from === 0 ? header : rest.subarray(from - 512 - size)]).stream();
  };
  const file = { ...hostFileOf(rest), size: 512 + size + rest.length, chunks };
  const archive = await readImageArchive(file);
  assertEquals([archive.images[0]!.ids, archive.size, opened], [[id], file.size, [0, 0, 512 + size]]);
  const error = await assertRejects(() => readImageArchive({ ...file, size: size - 1 }), Failure);
  assertEquals(error.message.split(" as ")[1], `it is truncated after ${size - 1} bytes`);

  const layer = "x".repeat(8 * 1024 * 1024);
  const compressed = await gzip(tar([{ name: "layer.tar", content: layer }, ...files]));
  assertEquals((await readImageArchive(hostFileOf(compressed))).images[0]!.ids, [id]);
});

Deno.test("reading stops where all is known", async () => {
  const { files } = await imageFiles({ tags: ["app:1"] });
  let ended = 0;
  const start = tar(files).subarray(0, -1024);
  async function* chunks() {
    try {
      yield start;
      throw new Error("read too far");
    } finally {
      ended++;
    }
  }
  const { images } = await readImageArchive({ ...hostFileOf(start), chunks });
  assertEquals([images.length, ended], [1, 2]);
});

Deno.test("a file that is not an archive of images is refused, with the reason", async () => {
  const { files } = await imageFiles({ tags: ["app:1"] });
  const without = (name: string) => files.filter((file) => file.name !== name);
  const whole = tar(files);
  const { files: legacyFiles } = await imageFiles({ tags: ["app:1"], legacy: "config.json" });
  const legacy = tar(legacyFiles);
  const damaged = whole.slice();
  damaged[1024 + 5]! ^= 1;
  const changed = (name: string, content: unknown) =>
    hostFileOf(tar(files.map((file) => file.name === name ? { ...file, content: JSON.stringify(content) } : file)));
  const { id, manifest } = await imageFiles({ tags: ["app:1"] });
  const blob = (digest: string) => `blobs/${digest.replace(":", "/")}`;
  const refused: [archive: HostFile, why: string][] = [
    [hostFileOf(new Uint8Array(0)), "it is empty"],
    [hostFileOf(new TextEncoder().encode("#!/bin/sh\n")), "it is not a tar archive"],
    [hostFileOf(new Uint8Array(2048).fill(65)), "it is not a tar archive"],
    [hostFileOf(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0)), "it is compressed with zstd"],
    [hostFileOf(Uint8Array.of(0xfd, 0x37, 0x7a, 0x58)), "it is compressed with xz"],
    [hostFileOf((await gzip(legacy)).subarray(0, -30)), "it is damaged: "],
    [hostFileOf(legacy.subarray(0, 600)), "it is truncated after 600 bytes"],
    [hostFileOf(legacy.subarray(0, 512 * 3 + 100)), `it is truncated after ${512 * 3 + 100} bytes`],
    [hostFileOf(damaged), "it is damaged at byte "],
    [hostFileOf(tar([{ name: "etc/passwd", content: "root" }])), "it has no images"],
    [hostFileOf(tar([])), "it has no images"],
    [hostFileOf(tar([{ name: "manifest.json", content: "{" }])), "its manifest.json is not JSON"],
    [hostFileOf(tar([{ name: "manifest.json", content: '{"a":1}' }])), "its manifest.json is not one of Docker's"],
    [changed("manifest.json", [null]), "its manifest.json is not one of Docker's"],
    [changed("manifest.json", [{ Config: blob(id), RepoTags: "app:1" }]), "its manifest.json is not one of Docker's"],
    [changed("manifest.json", [{ Config: blob(id), RepoTags: [1] }]), "its manifest.json is not one of Docker's"],
    [changed("index.json", null), "its index.json is not an index or manifest of OCI"],
    [changed("index.json", { manifests: {} }), "its index.json is not an index or manifest of OCI"],
    [changed("index.json", { manifests: [{}] }), "its index.json is not an index or manifest of OCI"],
    [changed(blob(manifest), { config: { digest: 1 } }), `its ${blob(manifest)} is not an index or manifest of OCI`],
    [
      changed("index.json", { manifests: [{ digest: id, annotations: { "io.containerd.image.name": 1 } }] }),
      "its index",
    ],
    [
      hostFileOf(tar([...legacyFiles.slice(1), { name: "config.json", content: "null" }])),
      "its config.json is not the",
    ],
    [
      hostFileOf(tar(without(files.find(({ name }) => name.includes("blobs"))!.name))),
      "which it does not contain: it may be truncated",
    ],
  ];
  for (const [archive, why] of refused) {
    const error = await assertRejects(() => readImageArchive(archive), Failure, why);
    assertEquals([error.exitCode, error.message.split(" as it")[0]], [
      ExitCode.Step,
      'Cannot load images from "/images/app.tar"',
    ]);
  }
});
