/**
 * How a Docker container differs from its specification.
 *
 * @module
 */

import type { Difference } from "../../events.ts";
import { Secret } from "../../secret.ts";
import { formatDuration } from "../../time.ts";
import { type ContainerInfo, type DeviceRequest, type HealthCheckInfo, isAnonymous } from "./container_info.ts";
import {
  byNumber,
  type DesiredContainer,
  type DockerContainerSpec,
  gpuNames,
  portKey,
  reveal,
} from "./container_options.ts";
import type { ContainerState } from "./container_state.ts";

/** The differences between a container and its specification that only a new container can remove. */
export function driftOf(
  { current, image }: Pick<ContainerState, "current" | "image">,
  { spec, normalized: { ports, volumes, shmSize, health } }: DesiredContainer,
): Difference[] {
  if (current === undefined) return [];
  const { Config, HostConfig } = current;
  const differences: Difference[] = [];
  const compare = (what: string, from: string, to: string) => {
    if (from !== to) differences.push({ what, from: from || "none", to: to || "none" });
  };
  if (image === undefined || current.Image !== image.Id) {
    const same = Config.Image === spec.image;
    differences.push({
      what: "image",
      from: same ? `${Config.Image} (${current.Image.slice(7, 19)})` : Config.Image,
      to: same ? `${spec.image} (${image?.Id.slice(7, 19) ?? "to be pulled"})` : spec.image,
    });
  }
  if (ports) compare("ports", listed(publishedPorts(current)), listed(ports));
  if (volumes) compare("volumes", listed(mounts(current)), listed(volumes));
  if (spec.restart !== undefined) {
    compare("restart", restartPolicy(HostConfig.RestartPolicy), spec.restart.replace(/:0$/, ""));
  }
  if (spec.entrypoint !== undefined) compare("entrypoint", entrypointName(Config.Entrypoint ?? []), spec.entrypoint);
  if (spec.command) compare("command", JSON.stringify(Config.Cmd ?? []), JSON.stringify(spec.command));
  if (spec.gpus) compare("GPUs", requestedGpus(HostConfig.DeviceRequests ?? []), gpuNames(spec.gpus));
  if (spec.runtime !== undefined) compare("runtime", HostConfig.Runtime ?? "", spec.runtime);
  if (spec.ipc !== undefined) compare("ipc", HostConfig.IpcMode ?? "", spec.ipc);
  if (shmSize !== undefined) compare("shm size", sizeName(HostConfig.ShmSize ?? 0), sizeName(shmSize));
  if (spec.networks) {
    compare("networks", listed(Object.keys(current.NetworkSettings?.Networks ?? {})), listed(spec.networks));
  }
  if (spec.hostname !== undefined) compare("hostname", Config.Hostname ?? "", spec.hostname);
  if (spec.user !== undefined) compare("user", Config.User ?? "", spec.user);
  if (spec.init !== undefined) compare("init", String(HostConfig.Init ?? false), String(spec.init));
  if (health) differences.push(...healthDrift(Config.Healthcheck ?? {}, health));
  if (spec.environment) {
    // Which variables came with another image is unknown, so that none of them counts as superfluous.
    const ofImage = image !== undefined && current.Image === image.Id ? image.Config?.Env ?? [] : Config.Env ?? [];
    differences.push(...environmentDrift(Config.Env ?? [], ofImage, spec.environment));
  }
  for (const [label, value] of Object.entries(spec.labels ?? {})) {
    const from = Config.Labels?.[label];
    if (from !== value) {
      differences.push({ what: `label ${label}`, ...(from === undefined ? {} : { from }), to: value });
    }
  }
  return differences;
}

function sizeName(bytes: number): string {
  const power = [3, 2, 1].find((power) => bytes > 0 && bytes % 1024 ** power === 0) ?? 0;
  return `${bytes / 1024 ** power}${["", "k", "m", "g"][power]}`;
}

/**
 * An entrypoint as in {@linkcode DockerContainerSpec.entrypoint}; one of several words, which cannot stand there, as
 * JSON.
 */
function entrypointName(entrypoint: readonly string[]): string {
  return entrypoint.length > 1 ? JSON.stringify(entrypoint) : entrypoint[0] ?? "";
}

function requestedGpus(requests: readonly DeviceRequest[]): string {
  return requests.filter(({ Capabilities }) => Capabilities?.some((all) => all.includes("gpu")))
    .map(({ Count, DeviceIDs }) =>
      DeviceIDs?.length ? DeviceIDs.toSorted(byNumber).join(",") : Count === -1 ? "all" : `any ${Count}`
    ).join(" and ");
}

function healthDrift(actual: HealthCheckInfo, wanted: HealthCheckInfo): Difference[] {
  const differences: Difference[] = [];
  const compare = <T>(what: string, from: T | undefined, to: T | undefined, shown: (value: T) => string) => {
    if (to === undefined || JSON.stringify(from) === JSON.stringify(to)) return;
    differences.push({ what: `health check: ${what}`, from: from ? shown(from) : "none", to: shown(to) });
  };
  const time = (nanoseconds: number) => formatDuration(nanoseconds / 1e6);
  compare("command", actual.Test, wanted.Test, (test) => test?.slice(1).join(" ") || "none");
  compare("interval", actual.Interval, wanted.Interval, time);
  compare("time-out", actual.Timeout, wanted.Timeout, time);
  compare("start period", actual.StartPeriod, wanted.StartPeriod, time);
  compare("retries", actual.Retries, wanted.Retries, String);
  return differences;
}

function publishedPorts({ HostConfig }: ContainerInfo): string[] {
  return Object.entries(HostConfig.PortBindings ?? {}).flatMap(([containerPort, bindings]) =>
    (bindings ?? []).map(({ HostIp = "", HostPort }) => portKey(HostIp, HostPort, containerPort))
  );
}

function mounts({ Mounts }: ContainerInfo): string[] {
  // Anonymous volumes are declared by the image, not by the setup.
  return Mounts.filter((mount) => !isAnonymous(mount)).map((mount) =>
    `${mount.Type === "volume" ? mount.Name : mount.Source}:${mount.Destination}${mount.RW ? "" : ":ro"}`
  );
}

function restartPolicy({ Name, MaximumRetryCount }: ContainerInfo["HostConfig"]["RestartPolicy"]): string {
  return MaximumRetryCount > 0 ? `${Name}:${MaximumRetryCount}` : Name || "no";
}

/** Variables that Docker's client gives to every container that it creates, where its configuration has proxies. */
const PROXY_VARIABLE = /^(?:http|https|ftp|all|no)_proxy$/i;

function environmentDrift(
  actual: readonly string[],
  ofImage: readonly string[],
  wanted: NonNullable<DockerContainerSpec["environment"]>,
): Difference[] {
  const split = (entry: string): [string, string] => {
    const at = entry.indexOf("=");
    return [entry.slice(0, at), entry.slice(at + 1)];
  };
  const image = new Set(ofImage);
  const own = new Map(actual.filter((entry) => !image.has(entry)).map(split));
  const all = new Map(actual.map(split));
  const differences: Difference[] = [];
  for (const [name, value] of Object.entries(wanted)) {
    own.delete(name);
    if (all.get(name) === reveal(value)) continue;
    const secret = value instanceof Secret;
    const from = all.get(name);
    differences.push({
      what: `environment ${name}`,
      // The value that a secret replaces is a secret as well.
      ...(from === undefined ? {} : { from: secret ? "another value" : from }),
      to: `${value}`,
    });
  }
  for (const name of own.keys()) {
    if (!PROXY_VARIABLE.test(name)) differences.push({ what: `environment ${name}`, from: "set" });
  }
  return differences;
}

function listed(entries: readonly string[]): string {
  return [...new Set(entries)].sort().join(", ");
}
