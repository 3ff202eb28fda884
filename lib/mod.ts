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
export { command, type CommandSpec } from "./steps/command.ts";
export * as docker from "./steps/docker.ts";
export { file, type FileSpec } from "./steps/file.ts";
export { http, type HttpSpec } from "./steps/http.ts";
