/**
 * NVIDIA GPUs that were given to the container: whether it sees them, and whether Docker containers in it do.
 *
 * @module
 */

import { head } from "../text.ts";
import { CommandFailed, ExitCode, Failure } from "../errors.ts";
import { describeDifference } from "../difference.ts";
import type { Step, Writing } from "../step.ts";
import type { Difference } from "../events.ts";
import { failureOf, type Output } from "../container/container.ts";
import { type Script, sh } from "../shell.ts";
import { requireReference } from "./docker/image_info.ts";
import { pull } from "./docker/image.ts";
import { MARKERS, writeMarker } from "./support/marker.ts";

/** The GPUs that the container has to see. */
export interface VisibleSpec {
  /** All of its GPUs, by the numbers of their devices on the host: `config.gpus`. */
  readonly indices: readonly number[];
  /** The version of the host's driver. Default: whichever is loaded there. */
  readonly driver?: string;
}

/** What the container sees of the host's driver and GPUs. */
interface GpuState {
  /** The version of the host's kernel module, if one is loaded. */
  readonly kernel: string | undefined;
  /** The version of the libraries inside, if there are any. */
  readonly library: string | undefined;
  /** The devices that cannot be used, and why. */
  readonly devices: readonly (readonly [path: string, problem: string])[];
  /** The UUIDs of the host's GPUs by the numbers of their devices, as far as the driver shows them. */
  readonly uuids: ReadonlyMap<number, string>;
  readonly nvidiaSmi: NvidiaSmi;
}

/** The answer of `nvidia-smi`. */
interface NvidiaSmi {
  readonly code: number;
  /** What is wrong; empty if nothing is. */
  readonly trouble: string;
  readonly gpus: readonly { readonly uuid: string; readonly name: string; readonly driver: string }[];
}

/**
 * The container sees exactly the GPUs that were given to it: their devices and those of the driver exist and may be
 * opened, the libraries inside have the version of the host's driver, and `nvidia-smi` lists the GPUs. Only the host
 * and the orchestrator's NVIDIA installation can change that. If something is wrong, the step therefore fails, in check
 * mode as well, and says what differs and what to do.
 *
 * The number of a GPU is that of its device, `/dev/nvidia<number>`; `nvidia-smi` inside always counts from 0.
 *
 * Throws a `TypeError` for invalid numbers or an invalid version, and a {@linkcode Failure} with exit code 2 if there
 * is no GPU at all.
 *
 * @example
 * ```ts
 * const gpus = visible({ indices: [0, 1], driver: "580.76.05" });
 * ```
 */
export function visible({ indices, driver }: VisibleSpec): Step {
  if (indices.length === 0) {
    throw new Failure(ExitCode.Configuration, "Cannot look for GPUs as the container is given none", {
      hint: 'State them in its "gpu_assignment", such as "0,1"',
    });
  }
  if (!indices.every((index) => Number.isInteger(index) && index >= 0) || new Set(indices).size < indices.length) {
    throw new TypeError(`Cannot look for the GPUs [${indices.join(", ")}]: expected different numbers from 0 on`);
  }
  if (driver !== undefined && !/^\d+(?:\.\d+)+$/.test(driver)) {
    throw new TypeError(`Cannot expect the NVIDIA driver "${driver}": expected a version such as "580.76.05"`);
  }
  return {
    title: `GPU ${indices.join(", ")} visible`,

    async probe({ container }) {
      const state = parseState(await container.read(lookScript(indices)));
      const differences = differencesOf(state, indices, driver);
      if (differences.length === 0) return;
      // No run can change it, so it is a failure in check mode as well.
      throw new Failure(
        ExitCode.Step,
        `The container does not see its GPUs as it should: ${differences.map(describeDifference).join("; ")}`,
        { hint: adviceFor(state, driver) },
      );
    },

    diff: () => [],
    apply: () => Promise.resolve(),
  } satisfies Step<void>;
}

/** A script that prints what {@linkcode parseState} reads. */
function lookScript(indices: readonly number[]): Script {
  const devices = [...indices.map((index) => `/dev/nvidia${index}`), "/dev/nvidiactl", "/dev/nvidia-uvm"];
  return sh`v=; [ -r /proc/driver/nvidia/version ] && IFS= read -r v </proc/driver/nvidia/version; echo "kernel $v"
for n in ${devices}; do [ -c "$n" ] || echo "missing $n"; done
# A number of this one changes with a reboot of the host, and the container may then not open it any more.
[ ! -c /dev/nvidia-uvm ] || (: </dev/nvidia-uvm) 2>/dev/null || echo 'refused /dev/nvidia-uvm'
l=$(ldconfig -p 2>/dev/null | sed -n 's/^[[:space:]]*libnvidia-ml\.so\.1 .*=> //p' | head -n 1)
for f in "$l" /usr/lib/*/libnvidia-ml.so.1 /usr/lib/libnvidia-ml.so.1 /usr/lib64/libnvidia-ml.so.1; do
  [ ! -e "$f" ] || { echo "library $(readlink -f "$f")"; break; }
done
grep -hE '^(GPU UUID|Device Minor):' /proc/driver/nvidia/gpus/*/information 2>/dev/null
echo smi; nvidia-smi --query-gpu=uuid,name,driver_version --format=csv,noheader 2>&1; echo "exit $?"`;
}

function differencesOf(state: GpuState, indices: readonly number[], driver: string | undefined): Difference[] {
  const { kernel, library, devices } = state;
  return [
    ...versionDifferences("NVIDIA driver of the host", kernel, driver, "not loaded"),
    ...devices.map(([path, problem]) => ({ what: path, from: problem, to: "usable" })),
    ...versionDifferences("NVIDIA libraries inside", library, kernel ?? driver, "missing"),
    ...seenDifferences(state, indices),
  ];
}

function versionDifferences(
  what: string,
  found: string | undefined,
  wanted: string | undefined,
  none: string,
): Difference[] {
  if (found !== undefined && (wanted === undefined || found === wanted)) return [];
  return [{ what, from: found ?? none, ...(wanted === undefined ? {} : { to: wanted }) }];
}

/** The differences in the GPUs that `nvidia-smi` lists. */
function seenDifferences({ nvidiaSmi, uuids }: GpuState, indices: readonly number[]): Difference[] {
  const what = "nvidia-smi";
  const lists = (gpus: readonly string[]) => `lists ${countOf(gpus.length)}: ${gpus.join(", ")}`;
  if (nvidiaSmi.trouble !== "") {
    return [{ what, from: nvidiaSmi.trouble, to: `lists ${countOf(indices.length)}` }];
  }
  const expected = indices.map((index) => uuids.get(index));
  const seen = nvidiaSmi.gpus.map(({ uuid }) => uuid);
  // If the driver does not show all UUIDs, the number of GPUs has to do.
  const isRight = expected.every((uuid) => uuid !== undefined)
    ? JSON.stringify(expected.toSorted()) === JSON.stringify(seen.toSorted())
    : expected.length === seen.length;
  if (isRight) return [];
  return [{
    what,
    from: lists(nvidiaSmi.gpus.map(({ name, uuid }) => `${name} (${uuid})`)),
    to: lists(indices.map((index) => `/dev/nvidia${index} (${uuids.get(index) ?? "?"})`)),
  }];
}

function parseState({ text }: Output): GpuState {
  const [facts = "", answer = ""] = text.split(/^smi\n/m);
  const fact = (pattern: RegExp) => pattern.exec(facts)?.[1];
  const all = (pattern: RegExp) => [...facts.matchAll(pattern)].map(([, value]) => value!);
  // The driver shows no UUID of a GPU that it has not initialized.
  const uuids = new Map(
    [...facts.matchAll(/^GPU UUID:\s+(\S+)\nDevice Minor:\s+(\d+)$/gm)]
      .filter(([, uuid]) => !uuid!.includes("?")).map(([, uuid, minor]) => [Number(minor), uuid!]),
  );
  return {
    // "NVRM version: NVIDIA UNIX x86_64 Kernel Module 580.76.05 Thu Aug 7 …", or "… Open Kernel Module for x86_64
    // 580.76.05 …".
    kernel: fact(/^kernel .*?\s(\d+\.\d+(?:\.\d+)*)\s/m),
    library: fact(/^library .*\/libnvidia-ml\.so\.(\d+\.[\d.]+)$/m),
    devices: [
      ...all(/^missing (.*)$/gm).map((path) => [path, "missing"] as const),
      ...all(/^refused (.*)$/gm).map((path) => [path, "not permitted"] as const),
    ],
    uuids,
    nvidiaSmi: parseNvidiaSmi(answer),
  };
}

function parseNvidiaSmi(answer: string): NvidiaSmi {
  const [, said = "", code = "1"] = /^(.*?)\n?exit (\d+)$/s.exec(answer) ?? [];
  const lines = said.split("\n");
  if (code === "127") return { code: 127, trouble: "not installed", gpus: [] };
  if (code !== "0") return { code: Number(code), trouble: lines[0] || `exit code ${code}`, gpus: [] };
  return {
    code: 0,
    trouble: "",
    gpus: lines.map((line) => line.split(", ")).filter((fields) => fields.length === 3)
      .map(([uuid = "", name = "", driver = ""]) => ({ uuid, name, driver })),
  };
}

/** What to do first about what is wrong. */
function adviceFor({ kernel, library, devices, nvidiaSmi }: GpuState, driver: string | undefined): string {
  if (kernel === undefined) {
    return "Load the NVIDIA driver on the host (modprobe nvidia), then restart the container";
  }
  if (driver !== undefined && kernel !== driver) {
    return `Install the driver ${driver} on the host, or state ${kernel} as "nvidia_driver_version" of the fleet`;
  }
  if (devices.some(([, problem]) => problem === "missing")) {
    return 'Pass the devices through to the container, as the orchestrator does for its "gpu_assignment", and restart it; ' +
      "the host itself has /dev/nvidia-uvm only after: nvidia-modprobe -u -c=0";
  }
  if (devices.length > 0) {
    return "Permit the device's present number to the container (ls -l /dev/nvidia-uvm on the host, lxc.cgroup2.devices.allow in " +
      "its configuration), and restart it";
  }
  if (library !== kernel || nvidiaSmi.trouble !== "") {
    return `Install the libraries of ${kernel} inside, as the orchestrator's NVIDIA set-up does, without the kernel module`;
  }
  return 'Compare the container\'s devices with its "gpu_assignment": each GPU belongs to one container';
}

/** The GPUs that a Docker container has to see. */
export interface InDockerSpec {
  /** An image with CUDA; it is pulled if it is missing. */
  readonly image: string;
  /** How many GPUs. */
  readonly count: number;
}

/** The name of the container that looks for GPUs. */
const TRIAL_CONTAINER = "phoenix_setup_gpu";
/** How long that container may run. */
const TRIAL_TIMEOUT = "5m";
/** How much of the container's last line is shown. */
const MAX_SHOWN_CHARACTERS = 300;

/**
 * A Docker container with `--gpus all` sees this number of GPUs, as `nvidia-smi -L` in it shows. The trial takes a
 * second or more, so its success is recorded below `/var/lib/phoenix_setup/gpu_in_docker`, with a hash of everything
 * that it depends on: the driver's version, the GPUs and the numbers of their devices, the image's id, the programs and
 * configuration of Docker and of the NVIDIA container toolkit, and the number of GPUs. It is not tried again as long as
 * all of this stays the same.
 *
 * A pull may take 1 hour, the trial 5 minutes. Throws a `TypeError` for an invalid image and for a count below 1.
 *
 * @example
 * ```ts
 * const cuda = inDocker({ image: "nvidia/cuda:12.9.1-base-ubuntu24.04", count: 1 });
 * ```
 */
export function inDocker({ image, count }: InDockerSpec): Step {
  requireReference(image);
  if (!Number.isInteger(count) || count < 1) {
    throw new TypeError(`Cannot look for ${count} GPUs in Docker: expected a whole number from 1 on`);
  }
  const marker = `${MARKERS}/gpu_in_docker/${image.replace(/[^\w.-]/g, "_")}`;
  const fingerprint = fingerprintScript(image, count);
  return {
    title: `${countOf(count)} visible in ${image}`,

    async probe({ container }) {
      const { text } = await container.read(sh`${fingerprint}; cat ${marker} 2>/dev/null || :`);
      const [now = "", noted = ""] = text.split("\n");
      return { now, noted };
    },

    diff: ({ now, noted }) =>
      now === noted ? [] : [{
        what: "GPUs in Docker",
        from: noted === "" ? "not tried yet" : "not tried with the present driver, image and Docker",
        to: `${count} seen`,
      }],

    async apply(at) {
      await requireSeen(at, image, count);
      await at.container.write(writeMarker(marker, fingerprint));
    },
  } satisfies Step<{ readonly now: string; readonly noted: string }>;
}

/** Has a container list its GPUs. Throws a {@linkcode Failure} unless there are as many as expected. */
async function requireSeen(at: Writing, image: string, count: number): Promise<void> {
  const there = await at.container.read(sh`docker image inspect --format '{{.Id}}' ${image}`, { codes: "any" });
  if (there.code !== 0) await pull(at, image);
  // A run that is interrupted may leave the container behind: it always has the same name, and is removed first.
  const output = await at.container.write(
    sh`docker rm --force ${TRIAL_CONTAINER} >/dev/null 2>&1
docker run --rm --name ${TRIAL_CONTAINER} --pull never --gpus all --network none --entrypoint nvidia-smi ${image} -L`,
    { codes: "any", timeout: TRIAL_TIMEOUT },
  );
  const seen = [...output.text.matchAll(/^GPU \d+: .*\(UUID: \S+\)$/gm)].length;
  if (output.code !== 0 || seen !== count) throw failureOfTrial(output, image, seen, count);
}

/** A script that prints a hash of everything on which the trial depends, which takes less time than the trial. */
function fingerprintScript(image: string, count: number): Script {
  return sh`{ echo ${count}; cat /proc/driver/nvidia/version
  grep -hE '^(Model|Bus Location|Device Minor):' /proc/driver/nvidia/gpus/*/information
  stat -c '%n %t:%T' /dev/nvidia[0-9]* /dev/nvidiactl /dev/nvidia-uvm
  docker image inspect --format '{{.Id}}' ${image}
  cat /etc/docker/daemon.json /etc/nvidia-container-runtime/config.toml
  for p in dockerd nvidia-container-runtime nvidia-container-runtime-hook nvidia-container-cli nvidia-ctk; do
    stat -L -c '%n %s' "$(command -v $p)"
  done
  cat /var/lib/dpkg/info/docker*.md5sums /var/lib/dpkg/info/*nvidia-container*.md5sums; } 2>/dev/null | sha256sum`;
}

function failureOfTrial(output: Output, image: string, seen: number, count: number): Failure {
  const last = head((output.errorText || output.text).split("\n").at(-1)!, MAX_SHOWN_CHARACTERS);
  const failure = failureOf(
    output,
    `A container of "${image}" sees ${seen === 0 ? "no GPU" : countOf(seen)}, expected ${count}${
      output.code === 0 ? "" : `: ${last}`
    }`,
  );
  // Docker in an unprivileged container may not set rules for devices.
  if (!/failed to add device rules|bpf_prog_query|cgroup/i.test(output.errorText)) return failure;
  return new CommandFailed(failure.message, failure.evidence, {
    hint: 'Set "no-cgroups = true" in /etc/nvidia-container-runtime/config.toml inside',
  });
}

function countOf(gpus: number): string {
  return gpus === 1 ? "1 GPU" : `${gpus} GPUs`;
}
