/**
 * Docker inside the container: the engine, images, networks, and containers as specified.
 *
 * @module
 */

export { absent, container, type DockerContainerSpec, type HealthCheck, running } from "./docker/container.ts";
export { engine } from "./docker/engine.ts";
export { image, type ImageSpec, loadedImage, type LoadedImageSpec, type Login } from "./docker/image.ts";
export { network } from "./docker/network.ts";
