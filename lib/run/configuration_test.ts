import { assertEquals, assertThrows } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import { ConfigurationError, ContainerConfig, HypervisorConfig, readJson } from "./configuration.ts";
import { ExitCode } from "../errors.ts";

const FILE = "/etc/fleet.json";

/** An object with `value` at a path of keys. */
function at(path: string, value: unknown): Record<string, unknown> {
  const [first, ...rest] = path.split(".");
  return { [first!]: rest.length === 0 ? value : at(rest.join("."), value) };
}

const containerOf = (block: unknown, beside: Record<string, unknown> = {}) =>
  new ContainerConfig(FILE, { ...beside, lxc_configs: { 901: block, 902: "not ours" } }, 901);

/** What every message has to name: the file, the JSON path, what was expected, and what was found. */
function assertRefused(read: () => unknown, message: string, blockMissing = false): void {
  const error = assertThrows(read, ConfigurationError);
  assertEquals([error.message, error.exitCode, error.blockMissing], [message, ExitCode.Configuration, blockMissing]);
}

interface Case<C> {
  readonly key: string;
  readonly get: (config: C) => unknown;
  /** Values of the file, and what is made of them. */
  readonly right: readonly [value: unknown, read: unknown][];
  readonly wrong: readonly unknown[];
  readonly expected: string;
  /** What a missing key counts as; an error where there is no such thing. */
  readonly missing?: unknown;
}

const aText = { wrong: ["", 5, null, ["x"], {}, true], expected: "a non-empty string" };
const anAddress = {
  wrong: ["", "10.0.0", "10.0.0.256", "10.0.0.1/24", "010.0.0.1", " 10.0.0.1", "10.0.0.1\n", 5, null],
  expected: "an IPv4 address",
};
const aPath = { wrong: ["", "etc/x", "./x", 5, null, "/a\0b"], expected: "an absolute path" };
const aPort = { wrong: [0, 65536, 1.5, "9443", null, -1], expected: "an integer from 1 to 65535" };
const aBoolean = { wrong: ["true", 1, null, []], expected: "true or false" };

const CONTAINER: Case<ContainerConfig>[] = [
  { key: "name", get: (c) => c.name, right: [["Portainer", "Portainer"]], ...aText },
  { key: "name", get: (c) => c.optionalName, right: [["Portainer", "Portainer"]], ...aText, missing: undefined },
  {
    key: "memory_mb",
    get: (c) => c.memoryMb,
    right: [[32768, 32768], [1, 1]],
    wrong: ["32768", 0, -1, 1.5, null, 2 ** 53],
    expected: "an integer from 1 to 2147483648",
  },
  {
    key: "cores",
    get: (c) => c.cores,
    right: [[6, 6]],
    wrong: ["6", 0, 1.5, null, 8193],
    expected: "an integer from 1 to 8192",
  },
  {
    key: "network_config.ip",
    get: (c) => c.ip,
    // A bash version kept the /24, and the URL built from it could never answer.
    right: [["10.0.0.99/24", "10.0.0.99"], ["255.1.0.9/0", "255.1.0.9"], ["1.2.3.4/32", "1.2.3.4"]],
    wrong: ["10.0.0.99", "10.0.0.99/33", "10.0.0.99/", "10.0.0.256/24", "10.0.0.99/24/24", "dhcp", 5, null],
    expected: "an IPv4 address with its prefix length, such as 10.0.0.99/24",
  },
  { key: "network_config.gw", get: (c) => c.gateway, right: [["10.0.0.1", "10.0.0.1"]], ...anAddress },
  {
    key: "gpu_assignment",
    get: (c) => c.gpus,
    right: [["none", []], ["0", [0]], ["0,1,10", [0, 1, 10]]],
    wrong: ["", "0,", "0, 1", "all", 0, null, [0]],
    expected: '"none" or indices such as "0,1"',
    missing: [],
  },
  {
    key: "portainer_role",
    get: (c) => c.portainerRole,
    right: [["server", "server"], ["agent", "agent"], ["none", "none"]],
    wrong: ["Server", "", null, 1],
    expected: '"server", "agent" or "none"',
  },
  { key: "unprivileged", get: (c) => c.unprivileged, right: [[true, true], [false, false]], ...aBoolean },
  {
    key: "vllm_model",
    get: (c) => c.vllmModel,
    right: [["Qwen/Qwen3-8B", "Qwen/Qwen3-8B"]],
    wrong: [5, ["x"], {}, false],
    expected: "a non-empty string",
  },
  {
    key: "vllm_tensor_parallel_size",
    get: (c) => c.tensorParallelSize,
    right: [[2, 2]],
    wrong: [0, "2", 1025, null],
    expected: "an integer from 1 to 1024",
    missing: 1,
  },
];

const HYPERVISOR: Case<HypervisorConfig>[] = [
  {
    key: "core_paths.lxc_config_file",
    get: (c) => c.lxcConfigFile,
    right: [["/x", "/x"]],
    ...aPath,
    missing: undefined,
  },
  { key: "core_paths.hf_token_file", get: (c) => c.hfTokenFile, right: [["/a b", "/a b"]], ...aPath },
  { key: "core_paths.docker_token_file", get: (c) => c.dockerTokenFile, right: [["/x", "/x"]], ...aPath },
  { key: "core_paths.docker_images_path", get: (c) => c.dockerImagesPath, right: [["/x/", "/x/"]], ...aPath },
  { key: "core_paths.hypervisor_marker_dir", get: (c) => c.markerDir, right: [["/x", "/x"]], ...aPath },
  {
    key: "network.external_registry_url",
    get: (c) => c.externalRegistryUrl,
    right: [["docker.io/x", "docker.io/x"]],
    ...aText,
  },
  {
    key: "network.portainer_server_ip",
    get: (c) => c.portainerServerIp,
    right: [["10.0.0.99", "10.0.0.99"]],
    ...anAddress,
  },
  {
    key: "network.portainer_server_port",
    get: (c) => c.portainerServerPort,
    right: [[9443, 9443], [65535, 65535]],
    ...aPort,
  },
  { key: "network.portainer_agent_port", get: (c) => c.portainerAgentPort, right: [[9001, 9001]], ...aPort },
  { key: "behavior.debug_mode", get: (c) => c.debugMode, right: [[true, true]], ...aBoolean, missing: false },
];

function testKeys<C>(cases: readonly Case<C>[], read: (keys: Record<string, unknown>) => C, prefix: string): void {
  for (const { key, get, right, wrong, expected, ...rest } of cases) {
    for (const [value, made] of right) assertEquals(get(read(at(key, value))), made, key);
    for (const value of wrong) {
      assertRefused(
        () => read(at(key, value)),
        `Cannot use "${FILE}": "${prefix}.${key}" has to be ${expected}, found ${
          Array.isArray(value) ? "the array " : typeof value === "object" && value !== null ? "the object " : ""
        }${JSON.stringify(value)}`,
      );
    }
    if ("missing" in rest) assertEquals(get(read({})), rest.missing, key);
    else {
      assertRefused(
        () => get(read({})),
        `Cannot use "${FILE}": "${prefix}.${key}" is missing, expected ${expected}`,
      );
    }
    // What stands around a key has to be an object.
    const [outer, inner] = key.split(".");
    if (inner !== undefined) {
      assertRefused(
        () => read({ [outer!]: [] }),
        `Cannot use "${FILE}": "${prefix}.${outer}" has to be an object, found the array []`,
      );
    }
  }
}

// Wrong types of known keys must break a setup, and missing ones only where they are used.
Deno.test("each key of a container's block is read by its type", () =>
  testKeys(CONTAINER, (keys) => containerOf(keys), '$.lxc_configs["901"]'));

Deno.test("each key of the host's configuration is read by its type", () =>
  testKeys(HYPERVISOR, (keys) => new HypervisorConfig(FILE, keys), "$"));

Deno.test("the known keys that no setup reads yet are held to their types as well", () => {
  for (const value of ["", 1, null]) {
    assertThrows(() => containerOf({ features: value }), ConfigurationError, '"$.lxc_configs["901"].features"');
  }
  assertThrows(
    () => new HypervisorConfig(FILE, { behavior: { rollback_on_failure: "no" } }),
    ConfigurationError,
    '"$.behavior.rollback_on_failure" has to be true or false, found "no"',
  );
});

// The schema allows null for the model, and an empty one.
Deno.test("a model that is null or empty counts as missing", () => {
  for (const vllm_model of [null, ""]) {
    assertRefused(
      () => containerOf({ vllm_model }).vllmModel,
      `Cannot use "${FILE}": "$.lxc_configs["901"].vllm_model" is missing, expected a non-empty string`,
    );
  }
});

Deno.test("the driver's version stands beside the containers", () => {
  assertEquals(containerOf({}, { nvidia_driver_version: "580.76.05" }).nvidiaDriverVersion, "580.76.05");
  assertRefused(
    () => containerOf({}, { nvidia_driver_version: 580 }),
    `Cannot use "${FILE}": "$.nvidia_driver_version" has to be a non-empty string, found 580`,
  );
  assertRefused(
    () => containerOf({}).nvidiaDriverVersion,
    `Cannot use "${FILE}": "$.nvidia_driver_version" is missing, expected a non-empty string`,
  );
});

// Later hosts add keys and other CTIDs, so unknown keys must not break a setup.
Deno.test("unknown keys, and the blocks of other containers, are ignored", () => {
  const config = containerOf({
    name: "Portainer",
    is_template: "yes",
    network_config: { ip: "10.0.0.99/24", bridge: 5 },
    clone_from_template_ctid: [],
  }, { $schema: 1, later: null });
  assertEquals([config.name, config.ip], ["Portainer", "10.0.0.99"]);
  new HypervisorConfig(FILE, { version: 1, proxmox_defaults: null, network: { later: {} } });
});

Deno.test("a file without this container's block, or of another shape, says what it has", () => {
  const read = (json: unknown) => () => new ContainerConfig(FILE, json, 901);
  const block = '$.lxc_configs["901"]';
  assertRefused(
    read({ lxc_configs: { 902: {}, 999: {} } }),
    `Cannot use "${FILE}": "${block}" is missing, the file has 902, 999`,
    true,
  );
  assertRefused(read({ lxc_configs: {} }), `Cannot use "${FILE}": "${block}" is missing, the file has none`, true);
  assertRefused(read({}), `Cannot use "${FILE}": "$.lxc_configs" is missing, expected an object of containers`);
  assertRefused(read([]), `Cannot use "${FILE}": "$" has to be an object, found the array []`);
  assertRefused(read(null), `Cannot use "${FILE}": "$" has to be an object, found null`);
  assertRefused(read({ lxc_configs: 1 }), `Cannot use "${FILE}": "$.lxc_configs" has to be an object, found 1`);
  assertRefused(
    read({ lxc_configs: { 901: null } }),
    `Cannot use "${FILE}": "${block}" has to be an object, found null`,
  );
  const long = "x".repeat(100);
  assertRefused(
    read({ lxc_configs: { 901: long } }),
    `Cannot use "${FILE}": "${block}" has to be an object, found "${"x".repeat(76)}…`,
  );
});

testWith(["read", "write", "run"], "a configuration file that cannot be used is refused with the reason", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/config.json`;
    const refused = (message: string) => assertRefused(() => readJson(path), message);
    const cases: [content: string | Uint8Array<ArrayBuffer>, problem: string][] = [
      ["", "Unexpected end of JSON input"],
      ['{"a": 1,\n "b": ', "Unexpected end of JSON input"],
      ['{"a": 1,\n "b": "x', "Unterminated string at line 2, column 9"],
      ['{"a": 1,\n "é" 2}', "Expected ':' after property name at line 2, column 6"],
      ['{"a": 1,}', "Expected double-quoted property name at line 1, column 9"],
      ["{'a': 1}", "Expected property name or '}' at line 1, column 2"],
      [new Uint8Array([0x7b, 0xff, 0x7d]), "it is not UTF-8"],
      [new Uint8Array([0xff, 0xfe, 0x7b, 0]), "it is not UTF-8"],
    ];
    for (const [content, problem] of cases) {
      await Deno.writeFile(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
      refused(`Cannot use "${path}" as it is not valid JSON: ${problem}`);
    }

    // As jq, which the orchestrator reads it with: the last of equal keys counts. A byte order mark is no content.
    await Deno.writeTextFile(path, '\ufeff{"a": 1, "a": 2}');
    assertEquals(readJson(path), { a: 2 });

    await Deno.truncate(path, 16 * 1024 * 1024 + 1);
    refused(`Cannot read "${path}": it has 16777217 bytes, more than 16777216`);

    await Deno.remove(path);
    assertEquals(readJson(path), undefined);

    await Deno.mkdir(path);
    refused(`Cannot read "${path}": it is a directory`);
    await Deno.remove(path);

    // Opened, it would block for ever.
    await new Deno.Command("mkfifo", { args: [path] }).output();
    refused(`Cannot read "${path}": it is not a regular file`);
    await Deno.remove(path);

    await Deno.symlink(path, path);
    const loop = assertThrows(() => readJson(path), ConfigurationError, `Cannot read "${path}": `);
    assertEquals(loop.exitCode, ExitCode.Configuration);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "a configuration file that this program may not read is said to be so, with the way out",
  permissions: "none",
  fn() {
    const error = assertThrows(() => readJson("/srv/x.json"), ConfigurationError);
    assertEquals(error.message, 'Cannot read "/srv/x.json" as this program is not permitted to');
    assertEquals(error.hint?.includes('reads: ["/srv/x.json"]'), true);
  },
});
