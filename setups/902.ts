#!/usr/bin/env -S deno run --no-prompt --allow-run=/usr/sbin/pct -R=/usr/sbin/pct,/etc/pve,/usr/local/phoenix_hypervisor,/run/phoenix_setup -W=/var/log,/run/phoenix_setup -E=PHOENIX_*,NO_COLOR,TERM,PATH,NODE_V8_COVERAGE
// 902: the GPU base. Others are cloned from its snapshot, so what is here is in all of them.
import { docker, gpu, main, packages, setup, snapshot } from "../lib/mod.ts";

export const gpuTemplate = setup(902, "GPUtemplate", async ({ ensure, config }) => {
  await ensure(packages(["ca-certificates", "curl", "git", "jq", "python3-venv"]));

  await ensure(gpu.visible({ indices: config.gpus, driver: config.nvidiaDriverVersion }));
  await ensure(docker.engine());
  await ensure(gpu.inDocker({ image: "nvidia/cuda:12.8.1-base-ubuntu24.04", count: config.gpus.length }));

  await ensure(snapshot("gpu-base", { description: "GPU base, ready to be cloned" }));
});

if (import.meta.main) await main(gpuTemplate);
