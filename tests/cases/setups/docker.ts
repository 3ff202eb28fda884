// The setups of docker_test.ts.
import { docker, file, gpu, setup } from "../../../lib/mod.ts";

const ETC = "/usr/local/phoenix_hypervisor/etc";

/** The folder with the archives of images, on the host. */
export const ARCHIVES = `${ETC}/proxmox_docker_images`;

/** An image of a registry that wants a login. */
export const withLogin = setup(901, "Portainer", async ({ ensure, secret }) => {
  const token = await secret("Docker token", { file: `${ETC}/phoenix_docker_token.conf` });
  await ensure(docker.image("registry.lan:5000/team/app:1", { login: { username: "phoenix", token } }));
});

/** An image from an archive. */
export const fromArchive = (archive: string, name = "models/server:3") =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(docker.loadedImage(name, { archive: `${ARCHIVES}/${archive}` }));
  });

/** An image of a registry. */
export const withImage = (name: string) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(docker.image(name));
  });

/** An engine, and an image of a registry. */
export const engineAndImage = (name: string) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(docker.engine());
    await ensure(docker.image(name));
  });

/** A container of an image that may have to be pulled. */
export const withContainer = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(docker.container("app", { image: "busybox:1.37" }));
});

/** A container with a bit of everything that a container can have, which reads a file. */
export const application = (content: string, entrypoint?: string) =>
  setup(901, "Portainer", async ({ ensure }) => {
    await ensure(file("/etc/app/app.conf", { content }));
    await ensure(docker.network("models"));
    await ensure(docker.container("app", {
      image: "app:1",
      networks: ["models", "bridge"],
      ipc: "host",
      shmSize: "1g",
      user: "0:0",
      init: true,
      hostname: "app",
      volumes: ["/etc/app:/etc/app:ro"],
      health: { command: "true", interval: "500ms" },
      restartWith: ["/etc/app"],
      ...(entrypoint === undefined ? {} : { entrypoint }),
    }));
  });

/** No container of that name. */
export const withoutApplication = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(docker.absent("app"));
});

/** The GPUs that the configuration gives to the container. */
export const gpus = setup(904, "llamacppTemplate", async ({ ensure, config }) => {
  await ensure(gpu.visible({ indices: config.gpus, driver: config.nvidiaDriverVersion }));
  await ensure(gpu.inDocker({ image: "nvidia/cuda:12.9.1-base-ubuntu24.04", count: config.gpus.length }));
});

/** A GPU, in a container that has none. */
export const gpuThatIsNotThere = setup(901, "Portainer", async ({ ensure }) => {
  await ensure(gpu.visible({ indices: [0] }));
});
