import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { type Answer, ensure, on, type Rule, StubContainer } from "../../tests/support/stubs.ts";
import { StepFailed } from "../engine.ts";
import { describeDifference } from "../difference.ts";
import { CommandFailed, ExitCode, Failure } from "../errors.ts";
import { inDocker, visible } from "./gpu.ts";

const UUIDS = ["GPU-0a", "GPU-1b"];

/** What the container answers where all is right, or something is not. */
interface Facts {
  kernel?: string;
  devices?: string[];
  library?: string;
  /** What the driver shows of the host's GPUs: UUIDs in the order of their devices. */
  uuids?: string[];
  smi?: string;
  code?: number;
}

const KERNEL =
  "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.76.05  Release Build  (dvs-builder@U22-I3)  Thu Jul 24";
const listed = (...uuids: string[]) => uuids.map((uuid) => `${uuid}, NVIDIA RTX 5060 Ti, 580.76.05`).join("\n");

function answer(
  { kernel = KERNEL, devices = [], library = "580.76.05", uuids = UUIDS, smi = listed("GPU-1b"), code = 0 }: Facts,
) {
  return [
    `kernel ${kernel}`,
    ...devices,
    ...(library === "" ? [] : [`library /usr/lib/x86_64-linux-gnu/libnvidia-ml.so.${library}`]),
    ...uuids.flatMap((uuid, minor) => [`GPU UUID: \t ${uuid}`, `Device Minor: \t ${minor}`]),
    "smi",
    ...(smi === "" ? [] : [smi]),
    `exit ${code}`,
    "",
  ].join("\n");
}

const step = (indices = [1], driver: string | undefined = "580.76.05") =>
  visible({ indices, ...(driver === undefined ? {} : { driver }) });

// Each part that can be wrong is told apart, with what to do about it.
Deno.test("GPUs that are seen as they should be are left alone, in one look", async () => {
  const right: [indices: number[], facts: Facts][] = [
    [[1], {}],
    [[0, 1], { smi: listed("GPU-0a", "GPU-1b") }],
    [[1, 0], { smi: listed("GPU-0a", "GPU-1b") }],
    // The driver does not show the UUID of a GPU that sleeps, and not every container shows the driver's files.
    [[1], { uuids: ["GPU-????????", "GPU-????????"] }],
    [[1], { uuids: [] }],
    [[1], { kernel: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.76.05  Thu Aug  7 11:20:02 UTC 2025" }],
  ];
  for (const [indices, facts] of right) {
    const stub = new StubContainer(on("nvidia-smi", answer(facts)));
    assertEquals([(await ensure(step(indices), stub)).outcome, stub.reads.length], ["unchanged", 1]);
  }
});

Deno.test("whatever is wrong with a GPU fails the step, and says what differs and what to do", async () => {
  const driver = (from: string) => ({ what: "NVIDIA driver of the host", from, to: "580.76.05" });
  const smi = (from: string) => ({ what: "nvidia-smi", from, to: "lists 1 GPU" });
  const mismatch = "Failed to initialize NVML: Driver/library version mismatch";
  const cases: [facts: Facts, differences: { what: string; from?: string; to?: string }[], hint: string][] = [
    [
      { kernel: "", smi: "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", code: 9 },
      [driver("not loaded"), smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")],
      "modprobe nvidia",
    ],
    [
      { kernel: KERNEL.replace("580.76.05", "575.64"), smi: `${mismatch}\nNVML library version: 580.76`, code: 18 },
      [driver("575.64"), { what: "NVIDIA libraries inside", from: "580.76.05", to: "575.64" }, smi(mismatch)],
      'state 575.64 as "nvidia_driver_version"',
    ],
    [
      { devices: ["missing /dev/nvidia1"], smi: "No devices were found", code: 6 },
      [{ what: "/dev/nvidia1", from: "missing", to: "usable" }, smi("No devices were found")],
      "Pass the devices through",
    ],
    [
      { devices: ["refused /dev/nvidia-uvm"] },
      [{ what: "/dev/nvidia-uvm", from: "not permitted", to: "usable" }],
      "lxc.cgroup2.devices.allow",
    ],
    [{ library: "", smi: "sh: 1: nvidia-smi: not found", code: 127 }, [
      { what: "NVIDIA libraries inside", from: "missing", to: "580.76.05" },
      smi("not installed"),
    ], "Install the libraries of 580.76.05 inside"],
    [{ library: "575.64.03", smi: mismatch, code: 18 }, [
      { what: "NVIDIA libraries inside", from: "575.64.03", to: "580.76.05" },
      smi(mismatch),
    ], "Install the libraries of 580.76.05 inside"],
    [{ smi: listed("GPU-0a", "GPU-1b") }, [{
      what: "nvidia-smi",
      from: "lists 2 GPUs: NVIDIA RTX 5060 Ti (GPU-0a), NVIDIA RTX 5060 Ti (GPU-1b)",
      to: "lists 1 GPU: /dev/nvidia1 (GPU-1b)",
    }], '"gpu_assignment"'],
    [{ smi: listed("GPU-0a") }, [{
      what: "nvidia-smi",
      from: "lists 1 GPU: NVIDIA RTX 5060 Ti (GPU-0a)",
      to: "lists 1 GPU: /dev/nvidia1 (GPU-1b)",
    }], '"gpu_assignment"'],
    [{ uuids: [], smi: "" }, [{ what: "nvidia-smi", from: "lists 0 GPUs: ", to: "lists 1 GPU: /dev/nvidia1 (?)" }], ""],
  ];
  for (const [facts, differences, hint] of cases) {
    // A run could not change it: check mode must not say that it would.
    for (const check of [false, true]) {
      const stub = new StubContainer(on("nvidia-smi", answer(facts)));
      const error = await assertRejects(() => ensure(step(), stub, { check }), StepFailed);
      assertEquals([error.exitCode, stub.writes], [ExitCode.Step, []]);
      assertEquals(
        error.message,
        `The container does not see its GPUs as it should: ${differences.map(describeDifference).join("; ")}`,
      );
      assertStringIncludes(error.hint!, hint);
    }
  }
  // Without a stated version the host's own counts.
  const other = { kernel: KERNEL.replace("580.76.05", "590.1"), library: "590.1" };
  const stub = new StubContainer(on("nvidia-smi", answer(other)));
  assertEquals((await ensure(visible({ indices: [1] }), stub)).outcome, "unchanged");
});

Deno.test("GPUs that nobody can mean are refused when the step is made", () => {
  const error = assertThrows(() => visible({ indices: [] }), Failure, "is given none");
  assertEquals(error.exitCode, ExitCode.Configuration);
  for (const indices of [[-1], [0.5], [0, 0]]) assertThrows(() => visible({ indices }), TypeError, "different numbers");
  assertThrows(() => visible({ indices: [0], driver: "latest" }), TypeError, '"latest"');
  assertThrows(() => inDocker({ image: "cuda", count: 0 }), TypeError, "0 GPUs");
  assertThrows(() => inDocker({ image: "a b", count: 1 }), TypeError, "as an image");
});

/** A container in which Docker shows GPUs as `run` says, with a hash that the test changes. */
function dockerWith(run: Answer, { image = true }: { image?: boolean } = {}) {
  const state = { digest: "aaaa  -", marker: "", runs: 0 };
  const rule: Rule = (script, verb) => {
    const text = script.display;
    if (verb === "read" && text.includes("sha256sum")) return `${state.digest}\n${state.marker}`;
    if (text.startsWith("docker image inspect")) return { code: image ? 0 : 1 };
    if (text.startsWith("docker rm")) {
      state.runs++;
      return run;
    }
    if (text.startsWith("mkdir -p /var/lib/phoenix_setup/gpu_in_docker && ")) {
      state.marker = `${state.digest}\n`;
      return "";
    }
    return undefined;
  };
  return { state, rule };
}

const CUDA = { image: "nvidia/cuda:12.9.1-base-ubuntu24.04", count: 2 };
const TWO = "GPU 0: NVIDIA RTX 5060 Ti (UUID: GPU-0a)\nGPU 1: NVIDIA RTX 5060 Ti (UUID: GPU-1b)\n";

// Trying takes a second; what it depends on is cheap to look at.
Deno.test("that Docker sees the GPUs is tried once, and again only when something that it depends on changes", async () => {
  const { state, rule } = dockerWith(TWO);
  const stub = new StubContainer(rule);
  const first = { what: "GPUs in Docker", from: "not tried yet", to: "2 seen" };
  const predicted = await ensure(inDocker(CUDA), stub, { check: true });
  assertEquals([predicted.outcome, predicted.differences, state.runs], ["would change", [first], 0]);
  for (const [outcome, runs] of [["changed", 1], ["unchanged", 1]] as const) {
    assertEquals([(await ensure(inDocker(CUDA), stub)).outcome, state.runs], [outcome, runs]);
  }
  assertEquals(
    stub.writes[0],
    // What a run that was killed between creating and starting it has left behind has its name.
    `docker rm --force phoenix_setup_gpu >/dev/null 2>&1
docker run --rm --name phoenix_setup_gpu --pull never --gpus all --network none --entrypoint nvidia-smi nvidia/cuda:12.9.1-base-ubuntu24.04 -L`,
  );
  state.digest = "bbbb  -";
  const { outcome, differences } = await ensure(inDocker(CUDA), stub);
  assertEquals([outcome, differences[0]!.from, state.runs], [
    "changed",
    "not tried with the present driver, image and Docker",
    2,
  ]);
  assertEquals((await ensure(inDocker(CUDA), stub)).outcome, "unchanged");
});

Deno.test("the image is pulled where it is missing", async () => {
  const { rule } = dockerWith(TWO, { image: false });
  const stub = new StubContainer(on("df -Pk", "overlay 99 9 10000000 9% /"), on("docker pull", "Done"), rule);
  await ensure(inDocker(CUDA), stub);
  assertEquals(stub.writes[0], `docker pull ${CUDA.image}`);
});

Deno.test("a container that sees other GPUs, or does not start, is an error, and is tried again", async () => {
  const toolkit = 'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].';
  const rules =
    "nvidia-container-cli: mount error: failed to add device rules: bpf_prog_query(BPF_CGROUP_DEVICE) failed";
  const cases: [Answer, message: string, hint: string | undefined][] = [
    ["GPU 0: NVIDIA RTX 5060 Ti (UUID: GPU-0a)\n", "sees 1 GPU, expected 2", undefined],
    [{ code: 6, stdout: "No devices were found\n" }, "sees no GPU, expected 2: No devices were found", undefined],
    [{ code: 125, stderr: toolkit }, `sees no GPU, expected 2: ${toolkit}`, undefined],
    [{ code: 127, stderr: rules }, "failed to add device rules", "no-cgroups = true"],
  ];
  for (const [run, message, hint] of cases) {
    const { state, rule } = dockerWith(run);
    const stub = new StubContainer(rule);
    for (let tries = 1; tries < 3; tries++) {
      const error = await assertRejects(() => ensure(inDocker(CUDA), stub), StepFailed, message);
      assertEquals([state.marker, state.runs, error.cause instanceof CommandFailed], ["", tries, true]);
      assertEquals(error.hint?.includes(hint ?? "") ?? hint === undefined, true);
    }
  }
});
