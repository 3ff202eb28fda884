/**
 * Typed reading of the host's two configuration files. Unknown keys are ignored, since later hosts add some; a known
 * key of a wrong type is refused when the file is read; a missing one when a setup asks for it. Every message names the
 * file, the JSON path, what was expected and what was found.
 *
 * @module
 */

import { ExitCode, Failure, messageOf } from "../errors.ts";
import { HOST_PATHS } from "../host/paths.ts";
import { head } from "../text.ts";

/** The configuration is missing, unreadable or wrong: exit code 2. */
export class ConfigurationError extends Failure {
  /** Whether all that is wrong is that the container has no block, which does not concern a setup that needs none. */
  readonly blockMissing: boolean;

  /** Creates a configuration error. */
  constructor(message: string, options: { hint?: string; cause?: unknown; blockMissing?: boolean } = {}) {
    super(ExitCode.Configuration, message, options);
    this.name = "ConfigurationError";
    this.blockMissing = options.blockMissing ?? false;
  }
}

/** One type of value: what it is called in a message, and how it is recognised. */
interface Kind<T> {
  readonly expected: string;
  /** The value, or `undefined` where it is not of this type. */
  read(value: unknown): T | undefined;
  /** Values that count as missing. */
  readonly absent?: readonly unknown[];
}

const kind = <T>(expected: string, read: (value: unknown) => T | undefined): Kind<T> => ({ expected, read });
const text = kind("a non-empty string", (v) => typeof v === "string" && v !== "" ? v : undefined);
const boolean = kind("true or false", (v) => typeof v === "boolean" ? v : undefined);
const integer = (low: number, high: number) =>
  kind(
    `an integer from ${low} to ${high}`,
    (v) => Number.isSafeInteger(v) && v as number >= low && v as number <= high ? v as number : undefined,
  );
const port = integer(1, 65535);
const OCTET = "(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
const IPV4 = new RegExp(`^${OCTET}(?:\\.${OCTET}){3}$`);
const address = kind("an IPv4 address", (v) => typeof v === "string" && IPV4.test(v) ? v : undefined);
const NETWORK = new RegExp(`${IPV4.source.slice(0, -1)}/(?:[12]?\\d|3[0-2])$`);
const network = kind(
  "an IPv4 address with its prefix length, such as 10.0.0.99/24",
  (v) => typeof v === "string" && NETWORK.test(v) ? v : undefined,
);
const gpus = kind(
  '"none" or indices such as "0,1"',
  (v) =>
    v === "none" ? [] : typeof v === "string" && /^\d{1,3}(,\d{1,3})*$/.test(v) ? v.split(",").map(Number) : undefined,
);
const role = kind(
  '"server", "agent" or "none"',
  (v) => v === "server" || v === "agent" || v === "none" ? v : undefined,
);
const path = kind("an absolute path", (v) => typeof v === "string" && /^\/[^\0]*$/.test(v) ? v : undefined);
/** The schema allows `null`. */
const nullableText = { ...text, absent: [null, ""] };

/** The known keys of a container's block. Dots separate the levels. */
const CONTAINER = {
  "name": text,
  "memory_mb": integer(1, 2 ** 31),
  "cores": integer(1, 8192),
  "network_config.ip": network,
  "network_config.gw": address,
  "features": text,
  "gpu_assignment": gpus,
  "portainer_role": role,
  "unprivileged": boolean,
  "vllm_model": nullableText,
  "vllm_tensor_parallel_size": integer(1, 1024),
};

/** The known keys beside `lxc_configs`. */
const FLEET = { "nvidia_driver_version": text };

/** The known keys of the host-wide configuration. */
const HYPERVISOR = {
  "core_paths.lxc_config_file": path,
  "core_paths.hf_token_file": path,
  "core_paths.docker_token_file": path,
  "core_paths.docker_images_path": path,
  "core_paths.hypervisor_marker_dir": path,
  "network.external_registry_url": text,
  "network.portainer_server_ip": address,
  "network.portainer_server_port": port,
  "network.portainer_agent_port": port,
  "behavior.rollback_on_failure": boolean,
  "behavior.debug_mode": boolean,
};

type Keys = Readonly<Record<string, Kind<unknown>>>;
type ValueOf<K> = K extends Kind<infer T> ? T : never;

/** The checked values of one object of a file. */
class Section<K extends Keys> {
  readonly #file: string;
  readonly #at: string;
  readonly #keys: K;
  readonly #values = new Map<string, unknown>();

  /** Checks all known keys that are there. `at` is the JSON path of `json` within `file`. */
  constructor(file: string, at: string, json: unknown, keys: K) {
    this.#file = file;
    this.#at = at;
    this.#keys = keys;
    for (const [key, { expected, read, absent }] of Object.entries(keys)) {
      let value = json;
      let here = at;
      for (const name of key.split(".")) {
        value = object(file, here, value)[name];
        here = `${here}.${name}`;
        if (value === undefined) break;
      }
      if (value === undefined || absent?.includes(value)) continue;
      const accepted = read(value);
      if (accepted === undefined) {
        throw new ConfigurationError(
          `Cannot use "${file}": "${at}.${key}" has to be ${expected}, found ${found(value)}`,
        );
      }
      this.#values.set(key, accepted);
    }
  }

  /** The value of a key. Throws {@linkcode ConfigurationError} where the file does not have it. */
  get<N extends keyof K & string>(key: N): ValueOf<K[N]> {
    const value = this.optional(key);
    if (value === undefined) {
      throw new ConfigurationError(
        `Cannot use "${this.#file}": "${this.#at}.${key}" is missing, expected ${this.#keys[key]!.expected}`,
      );
    }
    return value;
  }

  /** The value of a key, or `undefined` where the file does not have it. */
  optional<N extends keyof K & string>(key: N): ValueOf<K[N]> | undefined {
    return this.#values.get(key) as ValueOf<K[N]> | undefined;
  }
}

/**
 * The block of one container in `phoenix_lxc_configs.json`. A property throws {@linkcode ConfigurationError} when it is
 * missing.
 */
export class ContainerConfig {
  /** The file that it was read from. */
  readonly file: string;
  readonly #block: Section<typeof CONTAINER>;
  readonly #fleet: Section<typeof FLEET>;

  /** Checks the block `lxc_configs["<ctid>"]` of `json`, which was read from `file`. */
  constructor(file: string, json: unknown, ctid: number) {
    this.file = file;
    const all = object(file, "$", json);
    this.#fleet = new Section(file, "$", all, FLEET);
    if (all.lxc_configs === undefined) {
      throw new ConfigurationError(
        `Cannot use "${file}": "$.lxc_configs" is missing, expected an object of containers`,
      );
    }
    const blocks = object(file, "$.lxc_configs", all.lxc_configs);
    const at = `$.lxc_configs["${ctid}"]`;
    if (!Object.hasOwn(blocks, String(ctid))) {
      const known = head(Object.keys(blocks).join(", "), 200) || "none";
      throw new ConfigurationError(`Cannot use "${file}": "${at}" is missing, the file has ${known}`, {
        blockMissing: true,
      });
    }
    this.#block = new Section(file, at, object(file, at, blocks[String(ctid)]), CONTAINER);
  }

  /** The container's name, or `undefined` where the block has none. */
  get optionalName(): string | undefined {
    return this.#block.optional("name");
  }
  /** The container's name, which is its host name. */
  get name(): string {
    return this.#block.get("name");
  }
  /** The container's IPv4 address, without the prefix length that `network_config.ip` has. */
  get ip(): string {
    return this.#block.get("network_config.ip").split("/")[0]!;
  }
  /** The gateway's IPv4 address. */
  get gateway(): string {
    return this.#block.get("network_config.gw");
  }
  /** Memory, in MiB. */
  get memoryMb(): number {
    return this.#block.get("memory_mb");
  }
  /** Number of processor cores. */
  get cores(): number {
    return this.#block.get("cores");
  }
  /** Indices of the host's GPUs that the container has; none where `gpu_assignment` is `none` or missing. */
  get gpus(): readonly number[] {
    return this.#block.optional("gpu_assignment") ?? [];
  }
  /** What the container is to Portainer. */
  get portainerRole(): "server" | "agent" | "none" {
    return this.#block.get("portainer_role");
  }
  /** Whether root inside is an ordinary user of the host. */
  get unprivileged(): boolean {
    return this.#block.get("unprivileged");
  }
  /** The model to serve. */
  get vllmModel(): string {
    return this.#block.get("vllm_model");
  }
  /** Over how many GPUs a model is split; 1 where `vllm_tensor_parallel_size` is missing. */
  get tensorParallelSize(): number {
    return this.#block.optional("vllm_tensor_parallel_size") ?? 1;
  }
  /** The version of the host's NVIDIA driver. */
  get nvidiaDriverVersion(): string {
    return this.#fleet.get("nvidia_driver_version");
  }
}

/** `phoenix_hypervisor_config.json`. A property throws {@linkcode ConfigurationError} when it is missing. */
export class HypervisorConfig {
  readonly #values: Section<typeof HYPERVISOR>;
  /** All of them, also those that no setup knows. */
  readonly #corePaths: Readonly<Record<string, unknown>>;

  /** Checks `json`, which was read from `file`. */
  constructor(file: string, json: unknown) {
    this.#values = new Section(file, "$", json, HYPERVISOR);
    const { core_paths = {} } = object(file, "$", json);
    this.#corePaths = object(file, "$.core_paths", core_paths);
  }

  /** The entry of `core_paths` that leads to `path`, by being it or a folder above it; `undefined` where none does. */
  corePathOf(path: string): { readonly key: string; readonly value: string } | undefined {
    for (const [key, value] of Object.entries(this.#corePaths)) {
      if (typeof value === "string" && (path === value || path.startsWith(`${value}/`))) return { key, value };
    }
    return undefined;
  }

  /** Where the containers' configuration is, or `undefined`. */
  get lxcConfigFile(): string | undefined {
    return this.#values.optional("core_paths.lxc_config_file");
  }
  /** The file with the Hugging Face token. */
  get hfTokenFile(): string {
    return this.#values.get("core_paths.hf_token_file");
  }
  /** The file with the Docker registry's token. */
  get dockerTokenFile(): string {
    return this.#values.get("core_paths.docker_token_file");
  }
  /** The folder with archives of Docker images. */
  get dockerImagesPath(): string {
    return this.#values.get("core_paths.docker_images_path");
  }
  /** The folder in which the host keeps what it knows of the fleet. */
  get markerDir(): string {
    return this.#values.get("core_paths.hypervisor_marker_dir");
  }
  /** The registry of the fleet's own images. */
  get externalRegistryUrl(): string {
    return this.#values.get("network.external_registry_url");
  }
  /** The address of the Portainer server. */
  get portainerServerIp(): string {
    return this.#values.get("network.portainer_server_ip");
  }
  /** The HTTPS port of the Portainer server. */
  get portainerServerPort(): number {
    return this.#values.get("network.portainer_server_port");
  }
  /** The port that Portainer's agents listen on. */
  get portainerAgentPort(): number {
    return this.#values.get("network.portainer_agent_port");
  }
  /** Whether the host asks for detailed logs; false where it is missing. */
  get debugMode(): boolean {
    return this.#values.optional("behavior.debug_mode") ?? false;
  }
}

/** The configuration of the host as a run found it. What is missing matters only to a setup that asks for it. */
export interface Configuration {
  /** The container's block, or why there is none. */
  readonly container: ContainerConfig | ConfigurationError;
  /** The host-wide configuration, or why there is none. */
  readonly hypervisor: HypervisorConfig | ConfigurationError;
}

/** Where the configuration is read from. */
export interface ConfigurationSource {
  /** An environment variable. */
  readonly environment: (name: string) => string | undefined;
  /** Reads a JSON file; see {@linkcode readJson}. */
  readonly readJson: (path: string) => unknown;
}

/** Reads the host-wide configuration. Throws a {@linkcode ConfigurationError} for what is wrong with it. */
export function readHypervisorConfig(source: ConfigurationSource): HypervisorConfig | ConfigurationError {
  const variable = "PHOENIX_HYPERVISOR_CONFIG_FILE";
  const chosen = source.environment(variable) || undefined;
  const file = chosen ?? HOST_PATHS.hypervisorConfig;
  const json = readChosen(source, file, chosen && variable);
  return json === undefined
    ? new ConfigurationError(`Cannot read the host's configuration: there is no "${file}"`)
    : new HypervisorConfig(file, json);
}

/**
 * Reads the block of container `ctid` from the file that the environment names, else the host-wide configuration, else
 * the default one. Throws a {@linkcode ConfigurationError} for what is wrong with it.
 */
export function readContainerConfig(
  source: ConfigurationSource,
  ctid: number,
  hypervisor: HypervisorConfig | ConfigurationError,
): ContainerConfig | ConfigurationError {
  const variable = "PHOENIX_LXC_CONFIG_FILE";
  const chosen = source.environment(variable) || undefined;
  const configured = hypervisor instanceof HypervisorConfig ? hypervisor.lxcConfigFile : undefined;
  const file = chosen ?? configured ?? HOST_PATHS.lxcConfig;
  const json = readChosen(source, file, chosen ? variable : configured && `"core_paths.lxc_config_file"`);
  if (json === undefined) {
    return new ConfigurationError(`Cannot read the configuration of container ${ctid}: there is no "${file}"`);
  }
  try {
    return new ContainerConfig(file, json, ctid);
  } catch (error) {
    if (error instanceof ConfigurationError && error.blockMissing) return error;
    throw error;
  }
}

/** Reads a JSON file, which has to be there where somebody has chosen it. */
function readChosen(source: ConfigurationSource, file: string, chosenBy: string | undefined): unknown {
  const json = source.readJson(file);
  if (json === undefined && chosenBy !== undefined) {
    throw new ConfigurationError(`Cannot read "${file}", which ${chosenBy} names: there is no such file`);
  }
  return json;
}

/** The largest configuration file that is read. Anything larger is not one. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

/**
 * Reads a JSON file of at most 16 MiB. Gives `undefined` when there is none; throws {@linkcode ConfigurationError} when
 * it cannot be read or is not JSON.
 */
export function readJson(file: string): unknown {
  let bytes: Uint8Array;
  try {
    const info = Deno.statSync(file);
    // A FIFO would block for ever.
    if (!info.isFile) throw new Error(info.isDirectory ? "it is a directory" : "it is not a regular file");
    if (info.size > MAX_FILE_BYTES) throw new Error(`it has ${info.size} bytes, more than ${MAX_FILE_BYTES}`);
    bytes = Deno.readFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof Deno.errors.NotCapable) {
      throw new ConfigurationError(`Cannot read "${file}" as this program is not permitted to`, {
        hint: `Declare it in the setup (reads: ["${file}"]), or keep it below "/usr/local/phoenix_hypervisor"`,
      });
    }
    throw new ConfigurationError(`Cannot read "${file}": ${messageOf(error)}`, { cause: error });
  }
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    const why = error instanceof SyntaxError
      ? positioned(error.message, bytes)
      : error instanceof TypeError
      ? "it is not UTF-8"
      : messageOf(error);
    throw new ConfigurationError(`Cannot use "${file}" as it is not valid JSON: ${why}`, { cause: error });
  }
}

/** Turns V8's character offset into a line and column. */
function positioned(message: string, bytes: Uint8Array): string {
  const offset = /at position (\d+)/.exec(message);
  if (!offset) return message;
  const before = new TextDecoder().decode(bytes).slice(0, Number(offset[1])).split("\n");
  return `${message.replace(/ in JSON at position .*$/, "")} at line ${before.length}, column ${
    before.at(-1)!.length + 1
  }`;
}

function object(file: string, at: string, value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ConfigurationError(`Cannot use "${file}": "${at}" has to be an object, found ${found(value)}`);
  }
  return value as Record<string, unknown>;
}

/** A value for a message: short, and told apart from others that look alike. */
function found(value: unknown): string {
  if (value === undefined) return "nothing";
  const json = JSON.stringify(value);
  const type = Array.isArray(value) ? "the array " : typeof value === "object" && value !== null ? "the object " : "";
  return type + head(json, 77);
}
