/**
 * Docker containers: as specified and running, or gone.
 *
 * @module
 */

import { failureOf, Output } from "../../container/container.ts";
import type { Reading, Step, Writing } from "../../step.ts";
import { ExitCode, Failure, messageOf } from "../../errors.ts";
import type { Difference } from "../../events.ts";
import { sh } from "../../shell.ts";
import { formatDuration, milliseconds } from "../../time.ts";
import { concerns } from "../support/path.ts";
import type { Alive } from "../support/poll.ts";
import { driftOf } from "./container_drift.ts";
import { type ContainerInfo, healthStatus, inspectContainer, isAnonymous } from "./container_info.ts";
import { createCommand, type DockerContainerSpec, readSpec, requireContainerName } from "./container_options.ts";
import { type ImageInfo, missing, requireSpace } from "./engine.ts";
import { pull } from "./image.ts";

export type { DockerContainerSpec, HealthCheck } from "./container_options.ts";

/** How long a container may take to stop before it is killed, in seconds. */
const STOP_SECONDS = 30;
/** A container without a health check counts as running once it has run for this long, in milliseconds. */
const SETTLED = 2_000;
/** Where it is noted what a container has read at its start. */
const MARKERS = "/var/lib/phoenix_setup/docker";

/** What there is of a container: itself, what an interrupted replacement left, and the image that it should have. */
interface ContainerState {
  readonly current: ContainerInfo | undefined;
  readonly previous: ContainerInfo | undefined;
  readonly image: ImageInfo | undefined;
  /** Of each path in `restartWith`, the hash of its content. */
  readonly content: readonly (readonly [path: string, hash: string])[];
  /** What it has read, as the marker says: `hash path`. */
  readonly read: readonly string[];
  /** The paths in `restartWith` whose content steps before this one would change, in check mode. */
  readonly predicted: readonly string[];
}

/**
 * A Docker container that runs as specified, and is healthy where it has a health check. One that differs is replaced without a
 * gap in safety: the image is there and space suffices before it is touched; it is renamed, stopped, and removed only when the new
 * one runs; otherwise it is put back and the step fails. One with an anonymous volume is never replaced, as its data would be lost.
 *
 * A replacement that was cut off is recognised by `<name>_previous` and finished, or undone, by the next run.
 *
 * What it has read of `restartWith` is noted below `/var/lib/phoenix_setup/docker`. A container without such a note, which somebody
 * else made for instance, is restarted once. Check mode predicts the restart also where it is a `file`, `tree`, `line`, `block` or
 * `absent` before this step that would make the change; what a command or a script would write, it cannot know.
 *
 * Throws a `TypeError` for what Docker would not take, or would take for something else.
 *
 * @example
 * ```ts
 * const registry = container("registry", {
 *   image: "registry:2.8.3",
 *   ports: ["5000:5000"],
 *   volumes: ["registry_data:/var/lib/registry"],
 *   restart: "always",
 * });
 * const vllm = container("vllm", {
 *   image: "vllm/vllm-openai:v0.10.1",
 *   runtime: "nvidia",
 *   gpus: "all",
 *   ipc: "host",
 *   volumes: ["/models:/models:ro"],
 *   command: ["--model", "/models/qwen"],
 *   health: { command: "curl -fsS http://localhost:8000/health", interval: "10s", startPeriod: "10m" },
 *   within: "15m",
 * });
 * ```
 */
export function container(name: string, spec: DockerContainerSpec): Step {
  const noted = readSpec(name, spec);
  const { restartWith = [] } = spec;
  const previousName = `${name}_previous`;
  const within = milliseconds(spec.within ?? "2m");
  const marker = `${MARKERS}/${name}`;

  async function probe({ container, predicted }: Reading): Promise<ContainerState> {
    const output = await container.read(
      sh`docker container inspect --format '{{json .}}' ${[name, previousName]}
docker image inspect --format '{{json .}}' ${spec.image}
${
        restartWith.length === 0 ? sh`:` : sh`sed 's/^/read /' ${marker} 2>/dev/null
for p in ${restartWith}; do
  h=$(find -H "$p" -type f -exec sha256sum {} + 2>/dev/null | sort | sha256sum) && echo "content \${h%% *} $p"
done`
      }`,
      { codes: "any" },
    );
    const lines = output.text.split("\n");
    const objects = lines.filter((line) => line.startsWith("{")).map((line) =>
      JSON.parse(line) as ContainerInfo | ImageInfo
    );
    // What Docker neither has nor says that it is not there, it was not asked, or could not tell.
    if (objects.length + missing(output).length < 3) {
      throw unclear(output, `Cannot tell what there is of the container "${name}": Docker does not say`);
    }
    const containers = objects.filter((object) => "State" in object);
    const after = (word: string) =>
      lines.filter((line) => line.startsWith(word)).map((line) => line.slice(word.length));
    return {
      current: containers.find(({ Name }) => Name === `/${name}`),
      previous: containers.find(({ Name }) => Name === `/${previousName}`),
      image: objects.find((object): object is ImageInfo => !("State" in object)),
      content: after("content ").map((line) => [line.slice(65), line.slice(0, 64)]),
      read: after("read "),
      predicted: restartWith.filter((input) => predicted.some((change) => change.content && concerns(input, change))),
    };
  }

  /** The paths whose content is another than the container has read. */
  const unread = ({ content, read }: ContainerState) =>
    content.filter(([path, hash]) => !read.includes(`${hash} ${path}`)).map(([path]) => path);

  /** What only a new container can mend. */
  const drift = ({ current, image }: ContainerState) =>
    current === undefined ? [] : driftOf(current, image, spec, noted);

  function diff(state: ContainerState): Difference[] {
    const { current, previous } = state;
    const differences: Difference[] = [];
    if (previous) differences.push({ what: previousName, from: "left by an interrupted replacement" });
    if (!current) return [...differences, { what: "container", to: `running ${spec.image}` }];
    differences.push(...drift(state));
    // One that is paused, or about to be restarted, counts as running for Docker.
    if (current.State.Status !== "running") {
      differences.push({ what: "state", from: current.State.Status, to: "running" });
    }
    const health = current.State.Running ? healthStatus(current) : undefined;
    if (health !== undefined && health !== "healthy") differences.push({ what: "health", from: health, to: "healthy" });
    const changed = unread(state);
    for (const path of changed) differences.push({ what: `restart: ${path} has changed since its last start` });
    for (const path of state.predicted) {
      if (!changed.includes(path)) differences.push({ what: `restart: ${path} would change before` });
    }
    return differences;
  }

  async function apply(at: Writing, found: ContainerState): Promise<void> {
    let state = found;
    if (state.previous) {
      await finishInterrupted(at, state);
      state = await probe(at);
    }
    if (!state.image) {
      await pull(at, spec.image);
      state = await probe(at);
    }
    if (!state.current) await createAndStart(at);
    else if (drift(state).length > 0) await replace(at, state.current);
    else {
      const { Status, Running } = state.current.State;
      if (Status === "paused") await at.container.write(sh`docker unpause ${name}`);
      if (!Running) await at.container.write(sh`docker start ${name}`);
      else if (unread(state).length > 0) await at.container.write(sh`docker restart -t ${STOP_SECONDS} ${name}`);
      await settle(at);
    }
    if (restartWith.length > 0) await noteRead(at, state);
  }

  /** Notes what the container has read: what was there before its start. It may have read something newer, and then reads it again. */
  async function noteRead(at: Writing, { content }: ContainerState): Promise<void> {
    const seen = content.map(([path, hash]) => `${hash} ${path}\n`).join("");
    await at.container.write(
      sh`mkdir -p ${MARKERS} && rm -f ${`${marker}.new`} && (umask 077; cat >${`${marker}.new`}) &&
mv -f ${`${marker}.new`} ${marker}`,
      { stdin: seen },
    );
  }

  /** A run that was cut off left the old container renamed. The new one stays if it is as specified and proves itself. */
  async function finishInterrupted(at: Writing, state: ContainerState): Promise<void> {
    if (state.current && drift(state).length === 0) {
      try {
        await at.container.write(sh`docker stop -t ${STOP_SECONDS} ${previousName}`);
        await at.container.write(sh`docker start ${name}`);
        await settle(at);
        await at.container.write(sh`docker rm -f ${previousName}`);
        return;
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        at.progress(`the interrupted replacement does not run (${error.message}): going back`);
      }
    }
    if (state.current) await at.container.write(sh`docker rm -f ${name}`);
    await at.container.write(sh`docker rename ${previousName} ${name}`);
    await at.container.write(sh`docker start ${name}`);
  }

  async function createAndStart(at: Writing): Promise<void> {
    await requireSpace(at);
    try {
      await create(at);
      await at.container.write(sh`docker start ${name}`);
      await settle(at);
    } catch (error) {
      // What does not run must not look like something to build on. Why it does not says more than why it could not be removed.
      await at.container.write(sh`docker rm -f ${name}`, { codes: "any" }).catch(() => {});
      throw error;
    }
  }

  async function replace(at: Writing, old: ContainerInfo): Promise<void> {
    const anonymous = old.Mounts.find(isAnonymous);
    // One that was never started has no data.
    if (anonymous && old.State.Status !== "created") {
      throw new Failure(
        ExitCode.Step,
        `Cannot replace the container "${name}" as the data at "${anonymous.Destination}" is in an anonymous volume, ` +
          "which the new container would not have",
        {
          hint: `Copy the data out (docker cp), state a named volume for "${anonymous.Destination}", remove it by hand`,
        },
      );
    }
    await requireSpace(at);
    await at.container.write(sh`docker rename ${name} ${previousName}`);
    try {
      await create(at);
      await at.container.write(sh`docker stop -t ${STOP_SECONDS} ${previousName}`);
      await at.container.write(sh`docker start ${name}`);
      await settle(at);
    } catch (error) {
      await putBack(at, old, error);
      throw error;
    }
    await removeContainer(at, previousName);
  }

  async function putBack(at: Writing, old: ContainerInfo, why: unknown): Promise<void> {
    let there = previousName;
    try {
      await at.container.write(sh`docker rm -f ${name}`, { codes: [0, 1] });
      await at.container.write(sh`docker rename ${previousName} ${name}`);
      there = name;
      if (old.State.Running) await at.container.write(sh`docker start ${name}`);
    } catch (error) {
      throw new Failure(
        ExitCode.Step,
        `The new container "${name}" does not run (${messageOf(why)}), and the old one could not be put back ` +
          `(${messageOf(error)}): it is there as "${there}"`,
        { hint: "Run this again: it finishes or undoes the replacement", cause: error },
      );
    }
  }

  async function create(at: Writing): Promise<void> {
    const { create, stdin, connect } = createCommand(name, spec);
    await at.container.write(create, stdin === undefined ? {} : { stdin });
    for (const script of connect) await at.container.write(script);
  }

  /** Waits until the container has proven that it runs. */
  async function settle(at: Writing): Promise<void> {
    const started = performance.now();
    let restarts: number | undefined;
    for (;;) {
      const info = await inspectContainer(at.container, name);
      if (!info) throw new Failure(ExitCode.Step, `The container "${name}" was removed while it was waited for`);
      restarts ??= info.RestartCount;
      const health = healthStatus(info);
      const dead = info.RestartCount > restarts || info.State.Status === "restarting"
        ? `restarts again and again, last with exit code ${info.State.ExitCode}`
        : !info.State.Running
        ? `ended with exit code ${info.State.ExitCode}${info.State.Error ? `: ${info.State.Error}` : ""}`
        : health === "unhealthy"
        ? `is unhealthy: ${info.State.Health?.Log?.at(-1)?.Output?.trim() ?? "its health check fails"}`
        : undefined;
      if (dead !== undefined) throw await failureWithLogs(at, `The container "${name}" ${dead}`);
      const age = performance.now() - started;
      if (health === "healthy" || (health === undefined && age >= SETTLED)) return;
      if (age > within) {
        throw await failureWithLogs(
          at,
          `The container "${name}" was not healthy within ${formatDuration(within)}: its health is "${health}"`,
          ExitCode.Timeout,
        );
      }
      at.progress(health === undefined ? "started" : `health: ${health}`);
      await at.pause(500);
    }
  }

  async function failureWithLogs({ container }: Reading, message: string, exitCode: ExitCode = ExitCode.Step) {
    const logs = await container.read(sh`docker logs --tail 20 ${name} 2>&1`, { codes: "any" });
    return failureOf(logs, message, exitCode);
  }

  return { title: `container ${name}`, probe, diff, apply };
}

/** Removes a container. One that was made with `--rm` goes by itself when it has ended, which takes it a moment. */
async function removeContainer({ container, pause }: Writing, name: string): Promise<void> {
  for (let tries = 1;; tries++) {
    // Its policy may have started it again meanwhile.
    const output = await container.write(sh`docker rm -f ${name}`, { codes: [0, 1] });
    if (output.code === 0 || missing(output).length > 0) return;
    if (!/already in progress/.test(output.errorText) || tries === 20) throw failureOf(output);
    await pause(500);
  }
}

/** A failure to look, without what was found: it has the values of variables, of which some may once have been secret. */
function unclear({ command, code, stderr }: Output, message?: string): Failure {
  return failureOf(new Output(command, { code, stdout: new Uint8Array(), stderr }), message);
}

/**
 * No Docker container has this name. One that has is stopped and removed; its image and its volumes are kept, also those without a
 * name. What an interrupted replacement left as `<name>_previous` goes with it.
 *
 * Throws a `TypeError` for what is no name of a container.
 *
 * @example
 * ```ts
 * const noPortainer = absent("portainer");
 * ```
 */
export function absent(name: string): Step {
  requireContainerName(name);
  const names = [name, `${name}_previous`];
  return {
    title: `no container ${name}`,
    async probe({ container }) {
      const output = await container.read(sh`docker container inspect --format '{{json .}}' ${names}`, {
        codes: [0, 1],
      });
      const found = output.text.split("\n").filter((line) => line.startsWith("{"))
        .map((line) => JSON.parse(line) as ContainerInfo);
      if (found.length + missing(output).length < names.length) throw unclear(output);
      return found.filter(({ Name }) => names.includes(Name.slice(1)));
    },
    diff: (found) =>
      found.map(({ Name, State, Config }) => ({
        what: `container ${Name.slice(1)}`,
        from: `${State.Status}, ${Config.Image}`,
      })),
    async apply(at, found) {
      const { container } = at;
      for (const { Name, State } of found) {
        const own = Name.slice(1);
        if (State.Running) await container.write(sh`docker stop -t ${STOP_SECONDS} ${own}`);
        await removeContainer(at, own);
      }
      await container.write(sh`rm -f ${names.map((one) => `${MARKERS}/${one}`)}`);
    },
  } satisfies Step<readonly ContainerInfo[]>;
}

/**
 * A Docker container that has to live on while something is waited for.
 *
 * Throws a `TypeError` for what is no name of a container.
 *
 * @example
 * ```ts
 * import { http } from "../http.ts";
 *
 * const ready = http("http://localhost:8000/health", { within: "20m", while: running("vllm") });
 * ```
 */
export function running(name: string): Alive {
  requireContainerName(name);
  return {
    async whyGone({ container }) {
      const info = await inspectContainer(container, name);
      if (!info) return `there is no container "${name}"`;
      const { Status, ExitCode, Running } = info.State;
      if (Running || Status === "restarting" || Status === "created") return undefined;
      const logs = await container.read(sh`docker logs --tail 5 ${name} 2>&1`, { codes: "any" });
      return `the container "${name}" ended with exit code ${ExitCode}${
        logs.text === "" ? "" : `, and said:\n${logs.text}`
      }`;
    },
  };
}
