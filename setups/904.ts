#!/usr/bin/env -S deno run --no-prompt --allow-run=/usr/sbin/pct -R=/usr/sbin/pct,/etc/pve,/usr/local/phoenix_hypervisor,/run/phoenix_setup -W=/var/log,/run/phoenix_setup -E=PHOENIX_*,NO_COLOR,TERM,PATH,NODE_V8_COVERAGE
// 904: the llama.cpp server on two GPUs, from an image that no registry has, as a systemd service on port 8080.
import { docker, file, gpu, http, main, service, setup, unitActive } from "../lib/mod.ts";

const image = "phoenix/llama.cpp:server-cuda";

export const llamacpp = setup(904, "llamacppTemplate", async ({ ensure, config, hypervisor }) => {
  await ensure(docker.engine());
  await ensure(gpu.visible({ indices: config.gpus, driver: config.nvidiaDriverVersion }));
  await ensure(docker.loadedImage(image, { archive: `${hypervisor.dockerImagesPath}/llama.cpp-server-cuda.tar` }));

  await ensure(file("/etc/llamacpp.conf", {
    content: `MODEL=${config.vllmModel}
CONTEXT=16384
TENSOR_SPLIT=${Array(config.tensorParallelSize).fill(1).join(",")}
`,
  }));
  await ensure(file("/usr/local/sbin/llamacpp", {
    mode: 0o755,
    content: `#!/bin/sh
# Runs the server in the foreground, as systemd wants it.
. /etc/llamacpp.conf
docker rm --force llamacpp >/dev/null 2>&1
exec docker run --rm --name llamacpp --gpus all --publish 8080:8080 --volume /models:/models:ro ${image} \\
  --model "$MODEL" --ctx-size "$CONTEXT" --tensor-split "$TENSOR_SPLIT" --n-gpu-layers 999 --host 0.0.0.0 --port 8080
`,
  }));
  await ensure(service("llamacpp", {
    unit: `[Unit]
Description=llama.cpp server
Requires=docker.service
After=docker.service

[Service]
ExecStart=/usr/local/sbin/llamacpp
ExecStop=/usr/bin/docker stop llamacpp
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
`,
    restartWith: ["/etc/llamacpp.conf", "/usr/local/sbin/llamacpp"],
  }));
  await ensure(http("http://localhost:8080/health", { within: "15m", while: unitActive("llamacpp") }));
});

if (import.meta.main) await main(llamacpp);
