/**
 * A Docker engine for unit tests: it answers the commands that the steps use, and no other, from what it holds in
 * memory.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { Step } from "../../lib/step.ts";
import type { ContainerInfo, DeviceRequest, HealthCheckInfo } from "../../lib/steps/docker/container_info.ts";
import type { ImageInfo } from "../../lib/steps/docker/image_info.ts";
import { withSteppingClock } from "./clock.ts";
import { type Answer, ensure as ensureStep, type Rule, StubContainer } from "./stubs.ts";

/** A container as `docker container inspect` shows it, as far as the steps use it. Tests change it at will. */
export interface FakeContainer {
  /** Its name, after a slash. */
  Name: string;
  /** Its id: `old`, or `new1` for the first one that was created. */
  readonly Id: string;
  /** The id of its image. */
  readonly Image: string;
  /** How often its restart policy has restarted it. */
  RestartCount: number;
  /** Whether it runs, and how it has ended. */
  State: {
    Status: string;
    Running: boolean;
    ExitCode: number;
    Error?: string;
    Health?: { Status: string; Log?: { Output: string }[] };
  };
  /** What does not depend on the machine. */
  Config: {
    Image: string;
    Env: string[];
    Cmd: string[] | null;
    Entrypoint: string[] | null;
    Labels: Record<string, string>;
    Hostname: string;
    User: string;
    Healthcheck: HealthCheckInfo | null;
  };
  /** What depends on the machine. */
  HostConfig: {
    RestartPolicy: { Name: string; MaximumRetryCount: number };
    PortBindings: Record<string, { HostIp: string; HostPort: string }[] | null> | null;
    DeviceRequests: readonly DeviceRequest[] | null;
    Runtime: string;
    IpcMode: string;
    ShmSize: number;
    Init: boolean | null;
  };
  /** Its volumes, and what is mounted from the machine. */
  Mounts: { Type: string; Name?: string; Source: string; Destination: string; RW: boolean }[];
  /** The networks that it is connected to. */
  NetworkSettings: { Networks: Record<string, unknown> };
}

/** What becomes of a running container, each time that it is looked at. */
export type Behaviour = (state: FakeContainer["State"], info: FakeContainer) => void;

const IMAGES: Readonly<Record<string, string>> = { "app:1": "sha256:1111aaaa", "app:2": "sha256:2222bbbb" };
const IMAGE_ENV = ["PATH=/bin", "LANG=C"];

/** A Docker engine with the images `app:1` and `app:2`, and with files inside the container that it runs in. */
export class FakeDocker {
  /** The containers that there are, by their names. */
  readonly containers = new Map<string, FakeContainer>();
  /** The names of the images that there are. */
  readonly images = new Set(Object.keys(IMAGES));
  /** What is free below its data, in KiB. */
  freeKib = 10_000_000;
  /** What becomes of running containers, by their image. */
  readonly behaviours: Record<string, Behaviour> = {};
  /** The containers that go as soon as they have ended, as `docker run --rm` makes them. */
  readonly autoRemoved = new Set<string>();
  /** What a new container has beside what this engine notes of its options. */
  afterCreate: (info: FakeContainer) => void = () => {};
  /** The files inside, by their paths; the hash of one is its content, repeated. */
  readonly files: Record<string, string> = {};
  /** What is noted of the files that a container has read at its start. */
  marker = "";
  #created = 0;

  /** Creates an engine with containers of these names, which run. */
  constructor(...names: string[]) {
    for (const name of names) this.add(name);
  }

  /** Answers a command; `undefined` for one that no step should run. */
  readonly rule: Rule = (script, verb, { stdin }) =>
    verb === "read" ? this.#read(script.display) : this.#write(script.display, stdin as string | undefined);

  /** The containers that there are: name, id and state. */
  get summary(): string[] {
    return [...this.containers].map(([name, { Id, State }]) => `${name} ${Id} ${State.Status}`).sort();
  }

  /** Adds a container, which no step has made. */
  add(name: string, options: { image?: string; id?: string; status?: string } = {}): FakeContainer {
    const info = infoOf(name, options);
    this.containers.set(name, info);
    return info;
  }

  #read(text: string): Answer | undefined {
    if (text.includes("df -Pk")) return `overlay 99 9 ${this.freeKib} 9% /var/lib/docker`;
    if (text.startsWith("docker logs ")) return "first line\nlast words\n";
    return /^docker (?:container|image) inspect /.test(text) ? this.#inspect(text.split("\n")) : undefined;
  }

  /**
   * One object a line with `--format`, else an array; what is missing goes to stderr. The exit code is that of the last
   * command.
   */
  #inspect(lines: readonly string[]): Answer {
    const found: (ContainerInfo | ImageInfo)[] = [];
    const missing: string[] = [];
    const notes: string[] = [];
    let code = 0;
    for (const line of lines) {
      const [, kind, options] = /^docker (container|image) inspect (.*)$/.exec(line) ?? [];
      const paths = /^for p in (.*); do$/.exec(line)?.[1]?.split(" ") ?? [];
      code = 0;
      for (const name of options?.replace("--format '{{json .}}' ", "").split(" ") ?? []) {
        const object = kind === "image" ? this.#image(name) : this.#observed(name);
        if (object !== undefined) found.push(object);
        else {
          missing.push(`Error response from daemon: No such ${kind}: ${name}`);
          code = 1;
        }
      }
      if (line.startsWith("sed ")) notes.push(...this.marker.split("\n").filter(Boolean).map((line) => `read ${line}`));
      notes.push(...paths.map((path) => `content ${(this.files[path] ?? "-").repeat(64).slice(0, 64)} ${path}`));
    }
    const asLines = lines[0]!.includes("--format");
    return {
      code,
      stdout: asLines
        ? [...found.map((object) => JSON.stringify(object)), ...notes].map((line) => `${line}\n`).join("")
        : JSON.stringify(found),
      stderr: missing.join("\n"),
    };
  }

  #image(name: string): ImageInfo | undefined {
    if (!this.images.has(name)) return undefined;
    return { Id: IMAGES[name]!, RepoTags: [name], Config: { Env: IMAGE_ENV } };
  }

  #observed(name: string): FakeContainer | undefined {
    const info = this.containers.get(name);
    if (info?.State.Status === "running") this.behaviours[info.Config.Image]?.(info.State, info);
    return info;
  }

  #write(text: string, stdin: string | undefined): Answer | undefined {
    if (text.startsWith("mkdir -p /var/lib/phoenix_setup/docker ")) {
      this.marker = stdin ?? "";
      return "";
    }
    if (text.startsWith("rm -f /var/lib/phoenix_setup/docker/")) {
      this.marker = "";
      return "";
    }
    const [program, ...words] = (text.match(/'[^']*'|\S+/g) ?? []).map((word) => word.replace(/^'|'$/g, ""));
    if (program !== "docker") return undefined;
    const name = words.at(-1)!;
    const known = this.containers.get(name);
    const missing = { code: 1, stderr: `Error response from daemon: No such container: ${name}` };
    switch (words[0]) {
      case "pull":
        this.images.add(name);
        return `Status: Downloaded newer image for ${name}`;
      case "create":
        return this.#create(words, stdin);
      case "network":
        return words[1] === "connect" ? "" : undefined;
      case "rename": {
        const old = this.containers.get(words[1]!);
        if (!old) return { ...missing, stderr: `No such container: ${words[1]}` };
        if (known) return { code: 1, stderr: `Conflict. The name "${name}" is in use` };
        this.containers.delete(words[1]!);
        this.containers.set(name, Object.assign(old, { Name: `/${name}` }));
        return "";
      }
      case "start":
      case "restart":
        if (!known) return missing;
        if (known.State.Status === "paused") return { code: 1, stderr: "cannot start a paused container" };
        known.State = { Status: "running", Running: true, ExitCode: 0 };
        return name;
      case "stop":
        if (!known) return missing;
        known.State = { Status: "exited", Running: false, ExitCode: 0 };
        if (this.autoRemoved.has(name)) this.containers.delete(name);
        return name;
      case "unpause":
        if (!known) return missing;
        known.State = { Status: "running", Running: true, ExitCode: 0 };
        return name;
      case "rm":
        if (!known) return missing;
        if (known.State.Running && words[1] !== "-f") return { code: 1, stderr: "container is running" };
        this.containers.delete(name);
        return name;
    }
    return undefined;
  }

  #create(words: readonly string[], stdin = ""): Answer {
    const options: Record<string, string[]> = {};
    let at = 1;
    while (words[at]!.startsWith("--")) {
      const [, name, value] = /^--([^=]*)(?:=(.*))?$/s.exec(words[at]!)!;
      (options[name!] ??= []).push(value ?? words[at + 1]!);
      at += value === undefined ? 2 : 1;
    }
    const [image, ...command] = words.slice(at);
    const name = options.name![0]!;
    if (this.containers.has(name)) return { code: 1, stderr: `Conflict. The name "${name}" is in use` };
    if (!this.images.has(image!)) return { code: 1, stderr: `No such image: ${image}` };
    assertEquals(options.pull, ["never"]);
    assertEquals(options["env-file"], stdin === "" ? undefined : ["/dev/stdin"]);
    const own = [...stdin.split("\n").filter(Boolean), ...options.env ?? []];
    const [policy, retries] = (options.restart?.[0] ?? "no").split(":");
    const info = this.add(name, { image: image!, id: `new${++this.#created}`, status: "created" });
    Object.assign(info.Config, {
      Env: [...own, ...IMAGE_ENV.filter((entry) => !own.some((mine) => mine.startsWith(/^.*?=/.exec(entry)![0])))],
      Cmd: command.length > 0 ? command : null,
      Labels: Object.fromEntries((options.label ?? []).map((label) => label.split("=") as [string, string])),
    });
    Object.assign(info.HostConfig, {
      RestartPolicy: { Name: policy!, MaximumRetryCount: Number(retries ?? 0) },
      PortBindings: Object.fromEntries((options.publish ?? []).map((port) => {
        const [HostPort, inside] = port.split(":");
        return [inside!.includes("/") ? inside! : `${inside}/tcp`, [{ HostIp: "", HostPort: HostPort! }]];
      })),
    });
    info.Mounts = (options.volume ?? []).map((volume) => {
      const [Source, Destination, access] = volume.split(":") as [string, string, string | undefined];
      const bind = Source.startsWith("/");
      return {
        Type: bind ? "bind" : "volume",
        ...(!bind && { Name: Source }),
        Source,
        Destination,
        RW: access !== "ro",
      };
    });
    this.afterCreate(info);
    return info.Id;
  }
}

/** A container of an image without options, as Docker notes it. */
function infoOf(name: string, { image = "app:1", id = "old", status = "running" } = {}): FakeContainer {
  return {
    Name: `/${name}`,
    Id: id,
    Image: IMAGES[image]!,
    RestartCount: 0,
    State: { Status: status, Running: ["running", "restarting", "paused"].includes(status), ExitCode: 0 },
    Config: {
      Image: image,
      Env: [...IMAGE_ENV],
      Cmd: ["serve"],
      Entrypoint: ["/bin/app"],
      Labels: { maintainer: "x" },
      Hostname: "0123456789ab",
      User: "",
      Healthcheck: null,
    },
    HostConfig: {
      RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
      PortBindings: {},
      DeviceRequests: null,
      Runtime: "runc",
      IpcMode: "private",
      ShmSize: 64 * 1024 * 1024,
      Init: null,
    },
    Mounts: [],
    NetworkSettings: { Networks: { bridge: {} } },
  };
}

/** A container that ends as soon as it runs. */
export const exits: Behaviour = (state): void =>
  void Object.assign(state, { Status: "exited", Running: false, ExitCode: 3, Error: "OOM" });

/** A container whose health check says this. */
export function reportsHealth(Health: NonNullable<FakeContainer["State"]["Health"]>): Behaviour {
  return (state) => void Object.assign(state, { Health });
}

/** A container that is healthy after so many looks. */
export function becomesHealthy(looks: number): Behaviour {
  return (state) => void Object.assign(state, { Health: { Status: looks-- > 0 ? "starting" : "healthy" } });
}

/** A rule that lets `before` commands pass that match, and fails the one after them without any effect. */
export function failOnce(part: RegExp, error?: Error, before = 0): Rule {
  return (script, verb) => {
    if (verb !== "write" || !part.test(script.display) || before-- !== 0) return undefined;
    if (error) throw error;
    return { code: 1, stderr: "refused by the test" };
  };
}

/** Takes a step through the engine, like the function of this name for other steps; no test waits. */
export function ensure<State>(
  step: Step<State>,
  stub: StubContainer,
  options?: { check?: boolean },
): ReturnType<typeof ensureStep> {
  return withSteppingClock(() => ensureStep(step, stub, options));
}

/** Like {@linkcode ensure}, in a container of its own that has this Docker engine. */
export async function take<State>(
  step: Step<State>,
  docker: FakeDocker,
  check = false,
): Promise<Awaited<ReturnType<typeof ensureStep>> & { stub: StubContainer }> {
  const stub = new StubContainer(docker.rule);
  return { ...await ensure(step, stub, { check }), stub };
}
