/**
 * What an administrator would have put on the host beside the configuration: token files, and the archive of an image
 * that no registry has.
 *
 * @module
 */

/** Puts the files into the host's `etc` folder, as far as they are not there. */
export async function seed(etc: string): Promise<void> {
  const files: Record<string, () => Promise<string | Uint8Array>> = {
    "phoenix_hf_token.conf": () => Promise.resolve("HF_TOKEN=simulated-hugging-face-token/+&\n"),
    "phoenix_docker_token.conf": () => Promise.resolve("simulated-docker-token\n"),
    "proxmox_docker_images/llama.cpp-server-cuda.tar": async () => {
      // Loaded where they are needed, which is once for each host.
      const { imageArchive } = await import("./docker/archive.ts");
      const { LLAMA_CPP } = await import("./docker/registry.ts");
      return (await imageArchive(LLAMA_CPP, ["phoenix/llama.cpp:server-cuda"])).archive;
    },
  };
  await Deno.mkdir(`${etc}/../lib`, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    const path = `${etc}/${name}`;
    if (await Deno.stat(path).then(() => true, () => false)) continue;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    const data = await content();
    await Deno.writeFile(path, typeof data === "string" ? new TextEncoder().encode(data) : data, { mode: 0o600 });
  }
}
