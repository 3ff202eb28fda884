/**
 * Ends the simulated host, and removes its files: the next `deno task setup` begins with a new one.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { SimulatedHost } from "../tests/hosts/simulated/simulated_host.ts";

if (import.meta.main) await SimulatedHost.reset(fileURLToPath(import.meta.resolve("../.simulated")));
