/**
 * Where the files of the stand-in are, and how they are read and written.
 *
 * @module
 */

/** Where everything is. */
export const STATE_DIRECTORY = "/var/lib/docker";

/** The folder of a container. */
export function containerDirectory(id: string): string {
  return `${STATE_DIRECTORY}/containers/${id}`;
}

/** The log of a container, in the format of Docker's `json-file` driver. */
export function logFile(id: string): string {
  return `${containerDirectory(id)}/${id}-json.log`;
}

/** The folder with the files of a volume. */
export function volumeDirectory(name: string): string {
  return `${STATE_DIRECTORY}/volumes/${name}/_data`;
}

/** The content of a text file; `undefined` if there is none. */
export function textOf(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Whether a path is there. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return false;
    throw error;
  }
}

/** Replaces a file whole. */
export function replaceFile(path: string, content: string): void {
  const temporary = `${path}.${Deno.pid}`;
  Deno.writeTextFileSync(temporary, content);
  Deno.renameSync(temporary, path);
}

/** Removes a file or folder if it is there. */
export function removePath(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/**
 * Locks a file of a container until this process ends, by which others know that it lives: `process` is the
 * container's, `client` a `docker run` in the foreground. Unlike a process id, a lock is never somebody else's.
 */
export function holdLock(id: string, whose: "process" | "client"): void {
  Deno.mkdirSync(containerDirectory(id), { recursive: true });
  const file = Deno.openSync(`${containerDirectory(id)}/${whose}.lock`, { create: true, write: true });
  file.lockSync(true);
  held.push(file);
}

// Open for as long as this process lives.
const held: Deno.FsFile[] = [];

/** Whether the process lives that called {@linkcode holdLock}. */
export function isAlive(id: string, whose: "process" | "client" = "process"): boolean {
  try {
    using file = Deno.openSync(`${containerDirectory(id)}/${whose}.lock`);
    return !file.tryLockSync(false);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
