// The setups of install_test.ts.
import { setup } from "../../../lib/mod.ts";

/** A setup that does nothing. */
export const empty = (ctid: number, name: string) => setup(ctid, name, async () => {});
