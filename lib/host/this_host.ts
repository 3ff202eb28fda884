/**
 * The host that this program runs on.
 *
 * @module
 */

import type { Pct } from "../container/pct.ts";
import { editFile, listFolder, lookUpFile, removeFile, writeFile } from "./files.ts";
import type { Host } from "./host.ts";
import { connectError, request } from "./http.ts";
import { HostPrograms } from "./programs.ts";

/** How long a look may take, in milliseconds. */
const READ_TIMEOUT_MS = 60_000;

/** The host that this program runs on, for the run of one container. */
export function thisHost(pct: Pct, ctid: number): Host {
  const programs = new HostPrograms();
  return {
    request,
    connectError,
    file: lookUpFile,
    folder: listFolder,
    containerStatus: () => pct.run(["status", String(ctid)], READ_TIMEOUT_MS),
    read: (program, args) => programs.run(program, args, READ_TIMEOUT_MS),
    writeFile: (path, content, mode) => writeFile(path, content, mode, ctid),
    editFile: (path, edited) => editFile(path, edited, ctid),
    removeFile,
    changeContainer: (change, args, timeout) => pct.run([change, String(ctid), ...args], timeout, "leave running"),
    write: (program, args, timeout) => programs.run(program, args, timeout),
    interrupt: () => programs.interrupt(),
  };
}
