/**
 * The one import of a setup.
 *
 * @module
 */

export { main } from "./life.ts";
export { type HostNeeds, type Setup, setup, type SetupContext } from "./setup.ts";
export type { ContainerConfig, HypervisorConfig } from "./config.ts";
export type { Reading, Step, Writing } from "./engine.ts";
export { type Script, sh } from "./shell.ts";
export { Secret } from "./secret.ts";
export type { Duration } from "./time.ts";
export { absent } from "./steps/absent.ts";
export { command, type CommandSpec } from "./steps/command.ts";
export * as docker from "./steps/docker.ts";
export { file, type FileCopySpec, type FileSpec } from "./steps/file.ts";
export * as gpu from "./steps/gpu.ts";
export { hostBlock, hostCommand, hostFile, type HostFileSpec } from "./steps/host.ts";
export { http, type HttpSpec } from "./steps/http.ts";
export { block, type BlockSpec, line, type LineSpec } from "./steps/line.ts";
export { packages, type PackagesSpec } from "./steps/packages.ts";
export { script, type ScriptSpec } from "./steps/script.ts";
export { service, type ServiceSpec } from "./steps/service.ts";
export { snapshot, type SnapshotSpec } from "./steps/snapshot.ts";
export { tree, type TreeSpec } from "./steps/tree.ts";
export type { Alive, WaitOptions } from "./steps/wait.ts";
export { exists, logLine, port, type PortSpec, succeeds, unitActive } from "./steps/waits.ts";
