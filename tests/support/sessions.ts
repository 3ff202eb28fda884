/**
 * Sessions with shells of this machine, for tests: everything is as with a container, but for the container.
 *
 * @module
 */

import { Pct } from "../../lib/container/pct.ts";
import { Session, type SessionRunOptions } from "../../lib/container/session.ts";
import type { Script } from "../../lib/shell.ts";
import { testWith } from "./permission.ts";

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/**
 * The shells that a container may have, and the `pct` that gives each: one that does nothing but `exec` its command.
 */
export const shells = {
  dash: `exec "$@"`,
  bash: `exec unshare --map-root-user --mount /bin/sh -c 'mount --bind /bin/bash /bin/sh && exec "$@"' pct "$@"`,
  // A root of its own, so that its tools are BusyBox's as well.
  busybox: `exec unshare --map-root-user --mount /bin/sh -c '
    r=$0/root; mkdir -p $r/bin $r/proc $r/dev $r/etc $r/run $r/tmp
    [ -e $r/bin/sh ] || { cp /bin/busybox $r/bin/ && chroot $r /bin/busybox --install -s /bin; }
    mount --rbind /proc $r/proc && mount --rbind /dev $r/dev && exec chroot $r "$@"' "\${0%/*}" "$@"`,
};

/** A session with a shell of this machine. */
export async function withSession(pct: string, use: (session: Session) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/pct`, `#!/bin/sh\nshift 3\n${pct}\n`, { mode: 0o755 });
    const session = await Session.open(new Pct(`${folder}/pct`), 901, 10_000);
    try {
      await use(session);
    } finally {
      await session.close();
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Why a shell cannot be had here, if so. */
export async function whyNot(shell: keyof typeof shells): Promise<string | undefined> {
  if (shell === "dash") return undefined;
  const path = `/bin/${shell}`;
  if (!await Deno.stat(path).then(() => true, () => false)) return `no ${path}`;
  const { success } = await new Deno.Command("unshare", {
    args: ["--map-root-user", "--mount", "true"],
    stderr: "null",
  })
    .output();
  return success ? undefined : "no namespaces";
}

/** Runs a command for 20 s at the most, and gives its output as text. */
export async function run(session: Session, script: Script, options: Partial<SessionRunOptions> = {}) {
  const { code, stdout, stderr } = await session.run(script, { timeout: 20_000, isolate: false, ...options });
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

/** Tests a session with each of the {@linkcode shells} that can be had here. */
export function testSession(name: string, test: (session: Session) => Promise<void>): void {
  testWith(["run", "read", "write"], name, async (t) => {
    for (const [shell, pct] of Object.entries(shells)) {
      const why = await whyNot(shell as keyof typeof shells);
      const name = why === undefined ? shell : `${shell} (${why})`;
      await t.step({ name, ignore: why !== undefined, fn: () => withSession(pct, test) });
    }
  });
}
