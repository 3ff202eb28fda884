/**
 * What Docker says about a container.
 *
 * @module
 */

import type { Reading } from "../../step.ts";
import { sh } from "../../shell.ts";
import { inspect } from "./engine.ts";

/** The part of `docker container inspect` that is used. */
export interface ContainerInfo {
  /** Its id. */
  readonly Id: string;
  /** Its name, after a slash. */
  readonly Name: string;
  /** The id of its image. */
  readonly Image: string;
  /** How often its restart policy has restarted it. */
  readonly RestartCount: number;
  /** Whether it runs, and how it has ended. */
  readonly State: {
    readonly Status: string;
    readonly Running: boolean;
    readonly ExitCode: number;
    readonly Error?: string;
    readonly Health?: { readonly Status: string; readonly Log?: readonly { readonly Output?: string }[] | null } | null;
  };
  /** What does not depend on the machine. */
  readonly Config: {
    readonly Image: string;
    readonly Env?: readonly string[] | null;
    readonly Cmd?: readonly string[] | null;
    readonly Entrypoint?: readonly string[] | null;
    readonly Labels?: Readonly<Record<string, string>> | null;
    readonly Hostname?: string;
    readonly User?: string;
    readonly Healthcheck?: HealthCheckInfo | null;
  };
  /** What depends on the machine. */
  readonly HostConfig: {
    readonly RestartPolicy: { readonly Name: string; readonly MaximumRetryCount: number };
    readonly PortBindings?:
      | Readonly<Record<string, readonly { readonly HostIp?: string; readonly HostPort: string }[] | null>>
      | null;
    readonly DeviceRequests?: readonly DeviceRequest[] | null;
    readonly Runtime?: string;
    readonly IpcMode?: string;
    readonly ShmSize?: number;
    readonly Init?: boolean | null;
  };
  /** The networks that it is connected to, by their names. */
  readonly NetworkSettings?: { readonly Networks?: Readonly<Record<string, unknown>> | null };
  /** Its volumes, and what is mounted from the machine. */
  readonly Mounts: readonly {
    readonly Type: string;
    readonly Name?: string;
    readonly Source: string;
    readonly Destination: string;
    readonly RW: boolean;
  }[];
}

/** A health check as Docker shows it, with times in nanoseconds. */
export interface HealthCheckInfo {
  /** The command, after the word that says how it is run. */
  readonly Test?: readonly string[] | null;
  /** The time between two checks. */
  readonly Interval?: number;
  /** How long a check may take. */
  readonly Timeout?: number;
  /** The time after the start in which a check that fails does not count. */
  readonly StartPeriod?: number;
  /** How many checks in a row have to fail. */
  readonly Retries?: number;
}

/** What `--gpus` asked for. */
export interface DeviceRequest {
  /** How many; -1 for all. */
  readonly Count: number;
  /** Which ones, by their numbers or ids. */
  readonly DeviceIDs?: readonly string[] | null;
  /** What they have to be able to do, such as `gpu`. */
  readonly Capabilities?: readonly (readonly string[])[] | null;
}

/** The container with exactly this name; `undefined` where there is none. */
export async function inspectContainer(
  container: Reading["container"],
  name: string,
): Promise<ContainerInfo | undefined> {
  // `docker ps --filter name=` would also find parts of names; this command finds ids as well, but never a part of a
  // name.
  const info = await inspect<ContainerInfo>(container, sh`docker container inspect ${name}`);
  return info?.Name === `/${name}` ? info : undefined;
}

/** Whether a mount is an anonymous volume: nothing else uses it, and its data is lost with the container. */
export function isAnonymous({ Type, Name = "" }: ContainerInfo["Mounts"][number]): boolean {
  return Type === "volume" && /^[0-9a-f]{64}$/.test(Name);
}

/** The health of a container; `undefined` where nothing checks it, for which Docker has several words. */
export function healthStatus({ State }: ContainerInfo): string | undefined {
  const status = State.Health?.Status;
  return status === "" || status === "none" ? undefined : status;
}
