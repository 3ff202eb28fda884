/**
 * Docker inside the container: the engine, images, networks, and containers as specified.
 *
 * @module
 */

export { absent, container } from "./docker/container.ts";
export type { DockerContainerSpec, HealthCheck } from "./docker/container_options.ts";
export { engine } from "./docker/engine.ts";
export { image, type ImageSpec, type Login } from "./docker/image.ts";
export { loadedImage, type LoadedImageSpec } from "./docker/loaded_image.ts";
export { network } from "./docker/network.ts";
export { running } from "./docker/running.ts";
