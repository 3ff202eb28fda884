// The setups of orchestrator_test.ts, but for the one in attempts.ts.
import { command, file, type HostNeeds, setup, sh } from "../../../lib/mod.ts";

/** Leaves a mark, once. */
export const marking = (ctid: number, name: string) =>
  setup(ctid, name, async ({ ensure }) => {
    await ensure(command("mark", sh`echo x >>/mark`, { creates: "/mark" }));
  });

/** A step that fails. */
export const failing = (ctid: number, name: string) =>
  setup(ctid, name, async ({ ensure }) => {
    await ensure(command("fail", sh`exit 7`));
  });

/** Uses paths that the host's configuration names. */
export const configured = (ctid: number, name: string, needs: HostNeeds = {}) =>
  setup(ctid, name, needs, async ({ ensure, hypervisor, secret }) => {
    const token = await secret("HF_TOKEN", { file: hypervisor.hfTokenFile });
    await ensure(file("/token", { content: token }));
    await ensure(file("/image", { from: `${hypervisor.dockerImagesPath}/image.tar` }));
  });
