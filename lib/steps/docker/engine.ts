/**
 * The Docker engine, and what the steps ask it.
 *
 * @module
 */

import { failureOf, type Output } from "../../container/container.ts";
import type { Reading, Step } from "../../step.ts";
import { ExitCode, Failure } from "../../errors.ts";
import { type Script, sh } from "../../shell.ts";
import { head } from "../../text.ts";
import { freeBytesIn } from "../support/disk_space.ts";

/** How long the engine may take to answer after its service was started, in milliseconds. */
const ENGINE_TIMEOUT_MS = 60_000;
/** How much must be free where Docker keeps its data before anything is pulled or replaced, in bytes. */
const MIN_FREE_BYTES = 512 * 1024 * 1024;
/** How much is shown of a line that Docker wrote, in characters. */
const MAX_LINE_LENGTH = 300;

/**
 * The Docker engine answers. If it does not, its service is started and waited for, for up to a minute.
 *
 * An engine that is not installed, or that fails for any other reason than that it is still starting, is an error at
 * once.
 *
 * @example
 * ```ts
 * const ready = engine();
 * ```
 */
export function engine(): Step {
  const look = ({ container }: Reading) =>
    container.read(sh`docker version --format '{{.Server.Version}}'`, { codes: "any", timeout: "30s" });
  return {
    title: "Docker engine answers",
    probe: look,
    diff: (output) => output.code === 0 ? [] : [{ what: "engine", from: output.errorText, to: "answers" }],
    async apply(at, output) {
      if (output.code === 127) {
        throw new Failure(ExitCode.Step, "Docker is not installed inside the container", {
          hint: "The orchestrator installs it where the container's features have nesting=1",
        });
      }
      await at.container.write(sh`command -v systemctl >/dev/null && systemctl start docker`, { codes: "any" });
      const started = performance.now();
      while ((output = await look(at)).code !== 0) {
        // Only an engine that is still starting is worth waiting for.
        if (!/cannot connect to the docker daemon/i.test(output.errorText)) throw failureOf(output);
        if (performance.now() - started > ENGINE_TIMEOUT_MS) {
          throw failureOf(output, "The Docker engine did not answer within 1 min", ExitCode.Timeout);
        }
        await at.pause(1_000);
      }
    },
  } satisfies Step<Output>;
}

/** Runs a `docker … inspect`: the object, or `undefined` where Docker says that there is none. */
export async function inspect<T>(container: Reading["container"], script: Script): Promise<T | undefined> {
  const output = await container.read(script, { codes: [0, 1] });
  if (output.code === 0) return (JSON.parse(output.text) as T[])[0];
  if (missing(output).length > 0) return undefined;
  throw failureOf(output);
}

/** The objects that a `docker … inspect --format '{{json .}}'` printed, one a line, among other lines. */
export function inspectedObjects<T>(output: Output): T[] {
  return output.text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as T);
}

/** The lines in which Docker, whatever its version, says that something is not there. */
export function missing(output: Output): string[] {
  return output.errorText.split("\n").filter((line) =>
    /no such (?:image|container|object|network)|network .+ not found/i.test(line)
  );
}

/** Throws a {@linkcode Failure} unless `needed` bytes, 512 MiB by default, are free where Docker keeps its data. */
export async function requireSpace({ container }: Reading, needed = MIN_FREE_BYTES): Promise<void> {
  const output = await container.read(
    sh`d=$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)
[ -d "$d" ] || d=/
df -Pk "$d" | tail -n 1`,
  );
  const free = freeBytesIn(output.text);
  if (free >= needed) return;
  if (Number.isNaN(free)) throw failureOf(output, "Cannot tell how much space is free for Docker inside the container");
  const mebibytes = (bytes: number, round: (n: number) => number) => `${round(bytes / 1024 / 1024)} MiB`;
  const lacking = Math.ceil((needed - free) / 1024 ** 3) + 1;
  throw new Failure(
    ExitCode.Step,
    `Only ${mebibytes(free, Math.floor)} are free for Docker inside the container, expected at least ` +
      mebibytes(needed, Math.ceil),
    {
      hint: "Free some space (docker system df), or enlarge the disk: " +
        `pct resize ${container.ctid} rootfs +${Math.max(lacking, 8)}G`,
    },
  );
}

/** The last line of the output of a command, in which Docker says what went wrong. */
export function lastLine(output: Output): string {
  return head((output.errorText || output.text).split("\n").at(-1)!, MAX_LINE_LENGTH) || `exit code ${output.code}`;
}
