/**
 * The images that can be pulled, and how a container of each behaves. The registry of the lab has images of the same
 * names and configurations, with real programs in them.
 *
 * A test adds its own in `/var/lib/docker/registry.json`, a {@linkcode Registry} in JSON.
 *
 * @module
 */

/** What a path of a {@linkcode Listener} answers. */
interface Reply {
  /** Default: 200. */
  readonly status?: number;
  /** Default: `text/plain`. */
  readonly type?: string;
  /** `${--model}` in it is the value of that option in the container's command line. */
  readonly body?: string;
}

/** A server in a container, reachable at the published port. */
export interface Listener {
  readonly port: number;
  readonly tls?: boolean;
  /**
   * How long after the start it listens, in milliseconds; until then connections are accepted and dropped, as Docker's
   * proxy does.
   */
  readonly afterMs?: number;
  /** By path; what is not listed is answered by `"*"`, or with 404. */
  readonly paths: Readonly<Record<string, Reply>>;
}

/** How a container of an image behaves. Without anything, it runs until it is told to end. */
export interface Behaviour {
  readonly http?: readonly Listener[];
  /** Its command is executed for real, where the stand-in runs; its health check as well. */
  readonly executes?: boolean;
}

/** The part of an image's configuration that matters here, in Docker's own names. */
export interface ImageConfig {
  readonly ExposedPorts?: Readonly<Record<string, Record<string, never>>>;
  readonly Env?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Healthcheck?: Healthcheck;
  readonly Volumes?: Readonly<Record<string, Record<string, never>>>;
  readonly Entrypoint?: readonly string[];
  readonly Labels?: Readonly<Record<string, string>>;
}

/** A health check in Docker's own names; times in nanoseconds. */
export interface Healthcheck {
  readonly Test?: readonly string[];
  readonly Interval?: number;
  readonly Timeout?: number;
  readonly StartPeriod?: number;
  readonly Retries?: number;
}

/** An image of a registry. */
export interface KnownImage {
  readonly config: ImageConfig;
  readonly behaviour: Behaviour;
  /** RFC 3339. */
  readonly created: string;
  /** Pulling it needs `docker login`. */
  readonly private?: boolean;
}

/** Everything that can be pulled. */
export interface Registry {
  /** By repository and tag, such as `busybox:1.37` or `registry.lan:5000/team/app:1`. */
  readonly images: Readonly<Record<string, KnownImage>>;
  /** Who may log in: by registry, passwords by user name. */
  readonly logins?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const NVIDIA = ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"];

const portainer: KnownImage = {
  created: "2025-09-03T22:08:02Z",
  config: {
    ExposedPorts: { "8000/tcp": {}, "9000/tcp": {}, "9443/tcp": {} },
    Env: [PATH],
    Entrypoint: ["/portainer"],
    Volumes: { "/data": {} },
    Labels: { "org.opencontainers.image.title": "Portainer", "org.opencontainers.image.vendor": "Portainer.io" },
  },
  behaviour: {
    http: [{
      port: 9443,
      tls: true,
      afterMs: 1000,
      paths: { "/": { type: "text/html; charset=utf-8", body: "<!doctype html><title>Portainer</title>\n" } },
    }],
  },
};

const vllm: KnownImage = {
  created: "2025-08-19T03:11:26Z",
  config: { Env: [PATH, ...NVIDIA], Entrypoint: ["python3", "-m", "vllm.entrypoints.openai.api_server"] },
  behaviour: {
    http: [{
      port: 8000,
      afterMs: 2000,
      paths: {
        "/v1/models": {
          type: "application/json",
          body: '{"object":"list","data":[{"id":"${--model}","object":"model","owned_by":"vllm","root":"${--model}"}]}',
        },
      },
    }],
  },
};

/** The llama.cpp server, of which the simulated host has an archive. */
export const LLAMA_CPP: KnownImage = {
  created: "2025-09-01T04:32:48Z",
  config: {
    Env: [PATH, ...NVIDIA, "LLAMA_ARG_HOST=0.0.0.0"],
    Entrypoint: ["/app/llama-server"],
    Healthcheck: { Test: ["CMD", "curl", "-f", "http://localhost:8080/health"] },
  },
  behaviour: {
    http: [{
      port: 8080,
      afterMs: 1500,
      paths: { "/health": { type: "application/json", body: '{"status":"ok"}' } },
    }],
  },
};

const cuda: KnownImage = {
  created: "2025-04-21T20:05:10Z",
  config: { Env: [PATH, ...NVIDIA], Cmd: ["/bin/bash"] },
  behaviour: { executes: true },
};

const busybox: KnownImage = {
  created: "2024-09-26T21:31:42Z",
  config: { Env: [PATH], Cmd: ["sh"] },
  behaviour: { executes: true },
};

const alpine: KnownImage = {
  created: "2025-07-15T11:31:35Z",
  config: { Env: [PATH], Cmd: ["/bin/sh"] },
  behaviour: { executes: true },
};

/** An image of the tests: a program that runs until it is told to end. */
export const APP: KnownImage = {
  created: "2025-09-01T00:00:00Z",
  config: { Env: [PATH], Entrypoint: ["/app"] },
  behaviour: {},
};

/** What can be pulled without a test saying so. */
export const KNOWN_IMAGES: Readonly<Record<string, KnownImage>> = {
  "portainer/portainer-ce:2.33.1": portainer,
  "nvidia/cuda:12.8.1-base-ubuntu24.04": cuda,
  "nvidia/cuda:12.9.1-base-ubuntu24.04": cuda,
  "vllm/vllm-openai:v0.10.1": vllm,
  "busybox:1.37": busybox,
  "alpine:3.22": alpine,
  "app:1": APP,
};
