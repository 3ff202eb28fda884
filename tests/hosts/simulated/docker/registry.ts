/**
 * The images that the stand-in for Docker knows, and how a container of each behaves.
 *
 * A test adds its own in `<state>/registry.json`, a {@link Registry} in JSON; an entry of the same name replaces the one
 * here, `null` takes it away.
 *
 * @module
 */

/** What a path of a {@link Listener} answers. `${--model}` in the body is the value of that argument of the container,
 * `${--served-model-name|--model}` that of the first of them that is given. */
export interface Reply {
  /** 200 if not given. */
  status?: number;
  /** `text/plain` if not given. */
  type?: string;
  body?: string;
  /** What it answers until `ms` after the start, for a server that listens before it is ready. */
  first?: { ms: number; status: number; body?: string; type?: string };
}

/** A server inside of a container, reachable at the published port, or at its own in the host's network. */
export interface Listener {
  port: number;
  /** The argument that says another port, such as `--port`. */
  portArgument?: string;
  tls?: boolean;
  /** Milliseconds from the start until it listens; until then connections are accepted and dropped, as Docker's proxy does. */
  after?: number;
  /** By path; what is not listed is answered by `"*"`, or with 404. */
  paths: Record<string, Reply>;
}

/** What a command does that is not executed for real. */
export interface Command {
  /** The first words of the command line. */
  command: string;
  stdout?: string;
  stderr?: string;
  code?: number;
}

/** How a container of an image behaves. */
export interface Behaviour {
  http?: Listener[];
  /** Lines of its log, by default at once and to stdout. */
  logs?: { line: string; after?: number; stream?: "stdout" | "stderr" }[];
  /** It ends by itself; with `times`, only so often, and keeps running from then on. */
  exits?: { after: number; code: number; times?: number };
  /** TERM does nothing, as for a first process that has no handler; `--init` changes that. */
  ignoresTerm?: boolean;
  /** The exit code after TERM; 0 if not given. */
  stopCode?: number;
  /** When its health check begins to succeed; by default as soon as all of `http` listen. `unhealthy`: never. */
  health?: { after?: number; unhealthy?: boolean; output?: string };
  /** Without a GPU it ends at once with this. */
  needsGpu?: { line: string; code: number };
  /** Commands with a fixed outcome. */
  commands?: Command[];
  /** Other commands are executed for real where the stand-in runs; otherwise they count as not found. */
  executes?: boolean;
  /** Commands that exist only with a GPU, since NVIDIA's runtime brings them into the container. */
  withGpu?: string[];
}

/** The part of an image's configuration that matters here, in Docker's own names. */
export interface ImageConfig {
  User?: string;
  ExposedPorts?: Record<string, Record<string, never>>;
  Env?: string[];
  Cmd?: string[] | null;
  Healthcheck?: Healthcheck;
  Volumes?: Record<string, Record<string, never>> | null;
  WorkingDir?: string;
  Entrypoint?: string[] | null;
  Labels?: Record<string, string> | null;
  StopSignal?: string;
}

/** A health check in Docker's own names; times in nanoseconds. */
export interface Healthcheck {
  Test: string[];
  Interval?: number;
  Timeout?: number;
  StartPeriod?: number;
  StartInterval?: number;
  Retries?: number;
}

/** An image of a registry. */
export interface KnownImage {
  config: ImageConfig;
  behaviour: Behaviour;
  /** In bytes. */
  size: number;
  /** RFC 3339. */
  created: string;
  /** Pulling it needs `docker login`. */
  private?: boolean;
}

/** Everything that can be pulled. */
export interface Registry {
  /** By repository and tag, such as `busybox:1.37` or `ghcr.io/owner/name:tag`. */
  images: Record<string, KnownImage | null>;
  /** Who may log in: by registry (`docker.io`), user names and passwords. */
  logins?: Record<string, Record<string, string>>;
}

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const html = "text/html; charset=utf-8";
const json = "application/json";

const portainer: KnownImage = {
  created: "2025-09-03T22:08:02Z",
  size: 186_400_000,
  config: {
    ExposedPorts: { "8000/tcp": {}, "9000/tcp": {}, "9443/tcp": {} },
    Env: [path],
    Entrypoint: ["/portainer"],
    Volumes: { "/data": {} },
    WorkingDir: "/",
    Labels: { "org.opencontainers.image.title": "Portainer", "org.opencontainers.image.vendor": "Portainer.io" },
  },
  behaviour: {
    http: [
      ...[{ port: 9443, tls: true }, { port: 9000 }].map((listener) => ({
        ...listener,
        after: 1000,
        paths: {
          "/": { type: html, body: "<!doctype html><title>Portainer</title>\n" },
          "/api/system/status": {
            type: json,
            body: '{"Version":"2.33.1","InstanceID":"00000000-0000-4000-8000-000000000000"}\n',
          },
        },
      })),
      { port: 8000, after: 1000, paths: {} },
    ],
    logs: [
      { line: "INF github.com/portainer/portainer/api/cmd/portainer/main.go > encryption key file not present |" },
      {
        line: "INF github.com/portainer/portainer/api/cmd/portainer/main.go > starting Portainer | version=2.33.1",
        after: 600,
      },
      {
        line: "INF github.com/portainer/portainer/api/http/server.go > starting HTTPS server | bind_address=:9443",
        after: 1000,
      },
    ],
    stopCode: 2,
  },
};

const portainerAgent: KnownImage = {
  created: "2025-09-03T22:05:40Z",
  size: 166_900_000,
  config: { ExposedPorts: { "9001/tcp": {} }, Env: [path], Entrypoint: ["./agent"], WorkingDir: "/app" },
  behaviour: {
    http: [{
      port: 9001,
      tls: true,
      after: 500,
      paths: { "/ping": { status: 204 }, "*": { status: 403, body: "Unauthorized\n" } },
    }],
    logs: [{
      line: "INF ./main.go > starting Agent API server | api_version=2.33.1 server_addr=0.0.0.0 server_port=9001",
      after: 500,
    }],
    stopCode: 2,
  },
};

const vllm: KnownImage = {
  created: "2025-08-19T03:11:26Z",
  size: 21_900_000_000,
  config: {
    Env: [path, "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility", "CUDA_VERSION=12.8.1"],
    Entrypoint: ["python3", "-m", "vllm.entrypoints.openai.api_server"],
    WorkingDir: "/vllm-workspace",
    Labels: { maintainer: "NVIDIA CORPORATION <cudatools@nvidia.com>" },
  },
  behaviour: {
    needsGpu: {
      line: "RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG`",
      code: 1,
    },
    http: [{
      port: 8000,
      portArgument: "--port",
      after: 2000,
      paths: {
        "/health": {},
        "/version": { type: json, body: '{"version":"0.10.1"}' },
        "/v1/models": {
          type: json,
          body:
            '{"object":"list","data":[{"id":"${--served-model-name|--model}","object":"model","owned_by":"vllm","root":"${--model}","parent":null}]}',
        },
        "*": { status: 404, type: json, body: '{"detail":"Not Found"}' },
      },
    }],
    logs: [
      { line: "INFO [api_server.py:1805] vLLM API server version 0.10.1", after: 200 },
      { line: "INFO [gpu_model_runner.py:1953] Starting to load model ${--model}...", after: 600 },
      { line: "INFO:     Application startup complete.", after: 2000, stream: "stderr" },
    ],
  },
};

const llamaCpp: KnownImage = {
  created: "2025-09-01T04:32:48Z",
  size: 2_610_000_000,
  config: {
    Env: [path, "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility", "LLAMA_ARG_HOST=0.0.0.0"],
    Entrypoint: ["/app/llama-server"],
    WorkingDir: "/app",
    Healthcheck: { Test: ["CMD", "curl", "-f", "http://localhost:8080/health"] },
  },
  behaviour: {
    http: [{
      port: 8080,
      portArgument: "--port",
      after: 200,
      paths: {
        "/health": {
          type: json,
          body: '{"status":"ok"}',
          first: {
            ms: 1500,
            status: 503,
            type: json,
            body: '{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}',
          },
        },
        "*": {
          status: 404,
          type: json,
          body: '{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}',
        },
      },
    }],
    logs: [
      { line: "main: loading model", after: 200, stream: "stderr" },
      {
        line: "main: server is listening on http://0.0.0.0:8080 - starting the main loop",
        after: 1500,
        stream: "stderr",
      },
    ],
  },
};

const cuda: KnownImage = {
  created: "2025-04-21T20:05:10Z",
  size: 249_000_000,
  config: {
    Env: [path, "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"],
    Cmd: ["/bin/bash"],
    Labels: { maintainer: "NVIDIA CORPORATION <cudatools@nvidia.com>" },
  },
  behaviour: { executes: true, withGpu: ["nvidia-smi"] },
};

const busybox: KnownImage = {
  created: "2024-09-26T21:31:42Z",
  size: 4_280_000,
  config: { Env: [path], Cmd: ["sh"] },
  behaviour: { executes: true },
};

const alpine: KnownImage = {
  created: "2025-07-15T11:31:35Z",
  size: 8_310_000,
  config: { Env: [path], Cmd: ["/bin/sh"], WorkingDir: "/" },
  behaviour: { executes: true },
};

/** What can be pulled without a test saying so. */
export const knownRegistry: Registry = {
  images: {
    "portainer/portainer-ce:2.33.1": portainer,
    "portainer/portainer-ce:lts": portainer,
    "portainer/agent:2.33.1": portainerAgent,
    "portainer/agent:lts": portainerAgent,
    "nvidia/cuda:12.2.0-base-ubuntu22.04": cuda,
    "nvidia/cuda:12.4.1-base-ubuntu22.04": cuda,
    "nvidia/cuda:12.8.1-base-ubuntu24.04": cuda,
    "nvidia/cuda:12.9.1-base-ubuntu24.04": cuda,
    "vllm/vllm-openai:v0.10.1": vllm,
    "vllm/vllm-openai:latest": vllm,
    "ghcr.io/ggml-org/llama.cpp:server": llamaCpp,
    "ghcr.io/ggml-org/llama.cpp:server-cuda": llamaCpp,
    "busybox:latest": busybox,
    "busybox:1.37": busybox,
    "alpine:latest": alpine,
    "alpine:3.22": alpine,
  },
};
