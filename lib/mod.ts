/**
 * The one import of a setup.
 *
 * What describes a step, such as `file(…)`, throws a `TypeError` at once for what cannot be meant, and touches nothing;
 * `ensure` makes it true. A step that cannot be made true ends the run with exit code 4, one whose time is up with 5.
 * Each says what it makes true, what else is an error, its bounds and its defaults.
 *
 * @example
 * ```ts
 * const web = setup(910, "web", async ({ ensure }) => {
 *   await ensure(packages(["nginx"]));
 *   await ensure(file("/var/www/html/index.html", { content: "<h1>Hello</h1>\n" }));
 *   await ensure(service("nginx", { restartWith: ["/etc/nginx"] }));
 *   await ensure(http("http://localhost", { body: "Hello", within: "30s" }));
 * });
 *
 * if (import.meta.main) await main(web);
 * ```
 *
 * @module
 */

export { main } from "./run/main.ts";
export { type HostNeeds, type Setup, setup, type SetupContext } from "./run/setup.ts";
export type { ContainerConfig, HypervisorConfig } from "./run/configuration.ts";
// Only a type: a secret that the run's own function has read is the only one that the log knows to conceal.
export type { Secret } from "./secret.ts";
export { type Script, type ShellValue, shOfSetup as sh } from "./shell.ts";
export type { Duration } from "./time.ts";

// What must be true.
export { absent } from "./steps/absent.ts";
export { block, type BlockSpec } from "./steps/block.ts";
export { command, type CommandSpec } from "./steps/command.ts";
export * as docker from "./steps/docker.ts";
export { file, type FileCopySpec, type FileSpec, type Ownership } from "./steps/file.ts";
export * as gpu from "./steps/gpu.ts";
export { hostCommand, type HostCommandSpec } from "./steps/host_command.ts";
export { hostBlock, hostFile, type HostFileSpec } from "./steps/host_file.ts";
export { http, type HttpSpec } from "./steps/http.ts";
export { line, type LineSpec } from "./steps/line.ts";
export { packages, type PackagesSpec } from "./steps/packages.ts";
export { script, type ScriptSpec } from "./steps/script.ts";
export { service, type ServiceSpec } from "./steps/service.ts";
export { snapshot, type SnapshotSpec } from "./steps/snapshot.ts";
export { tree, type TreeSpec } from "./steps/tree.ts";
export type { Alive, WaitOptions } from "./steps/support/poll.ts";
export { exists } from "./steps/exists.ts";
export { logLine } from "./steps/log_line.ts";
export { port, type PortSpec } from "./steps/port.ts";
export { succeeds } from "./steps/succeeds.ts";
export { unitActive } from "./steps/unit_active.ts";

// What a step of a setup's own is made of.
export type { CommandOptions, Container, ContainerReader, Output } from "./container/container.ts";
export type { PathChange, Reading, Step, Writing } from "./step.ts";
export type { Difference } from "./events.ts";
export type {
  ContainerChange,
  FolderEntry,
  Host,
  HostFile,
  HostReader,
  HttpReply,
  RequestOptions,
} from "./host/host.ts";
export type { PctResult } from "./container/pct.ts";
