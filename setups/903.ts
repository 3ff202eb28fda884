#!/usr/bin/env -S deno run --no-prompt --allow-run=/usr/sbin/pct -R=/usr/sbin/pct,/etc/pve,/usr/local/phoenix_hypervisor,/run/phoenix_setup -W=/var/log,/run/phoenix_setup,/usr/local/phoenix_hypervisor/lib -E=PHOENIX_*,NO_COLOR,TERM,PATH,NODE_V8_COVERAGE
// 903: vLLM serves one model over an OpenAI-compatible API on port 8000.
import { docker, gpu, hostFile, http, main, setup } from "../lib/mod.ts";

const needs = { writes: ["/usr/local/phoenix_hypervisor/lib"] };

export const vllm = setup(903, "vllmTemplate", needs, async ({ ensure, config, hypervisor, secret }) => {
  const model = config.vllmModel;

  await ensure(docker.engine());
  await ensure(gpu.visible({ indices: config.gpus, driver: config.nvidiaDriverVersion }));
  await ensure(docker.container("vllm", {
    image: "vllm/vllm-openai:v0.10.1",
    runtime: "nvidia",
    gpus: "all",
    ipc: "host",
    ports: ["8000:8000"],
    volumes: ["/models:/models", "huggingface:/root/.cache/huggingface"],
    environment: { HF_TOKEN: await secret("Hugging Face token", { file: hypervisor.hfTokenFile }) },
    command: ["--model", model, "--tensor-parallel-size", String(config.tensorParallelSize)],
    restart: "unless-stopped",
  }));

  // A large model takes many minutes to load; a container that has died is not waited for.
  await ensure(http("http://localhost:8000/v1/models", {
    body: JSON.stringify(model),
    within: "30m",
    while: docker.running("vllm"),
  }));

  // Where the host's own tools find the API.
  await ensure(hostFile(`${hypervisor.markerDir}/endpoint_903.json`, {
    content: `${JSON.stringify({ url: `http://${config.ip}:8000/v1`, model })}\n`,
  }));
});

if (import.meta.main) await main(vllm);
