/**
 * Looking for a secret in what every process of the machine shows: its arguments and its environment.
 *
 * @module
 */

/** Where a secret was seen. */
interface Sight {
  /** What it was seen in. */
  readonly where: "cmdline" | "environ";
  /** Whether the process was one inside a container. */
  readonly inside: boolean;
  /** The process's arguments. */
  readonly command: string;
}

/** Looks for a secret at all processes, as often as it can, until it is stopped. */
export class ProcessWatch {
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<string>;
  readonly #folder: string;

  private constructor(child: Deno.ChildProcess, folder: string) {
    this.#child = child;
    this.#output = new Response(child.stdout).text();
    this.#folder = folder;
  }

  /** Begins to look for any of these forms of the secret, none of which has a line break. */
  static async start(forms: readonly string[]): Promise<ProcessWatch> {
    const folder = await Deno.makeTempDir();
    // In a file: an argument of the watch's own would be found.
    await Deno.writeTextFile(`${folder}/forms`, `${forms.join("\n")}\n`);
    // What has ended meanwhile is nowhere any more. By a shell, as Deno reads `/proc` only for who may do anything.
    const script = `end=; trap 'end=1' TERM
while [ -z "$end" ]; do
  for f in $(grep -laF -f "$0" /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null); do
    p=\${f%/*}; grep -q '^NSpid:.*[0-9][[:space:]]' $p/status && i=inside || i=outside
    c=$(tr '\\0\\n' '  ' <$p/cmdline) && [ -n "$c" ] && printf '%s %s %s\\n' \${f##*/} $i "$c"
  done
  echo; sleep 0.02
done 2>/dev/null`;
    const child = new Deno.Command("/bin/sh", {
      args: ["-c", script, `${folder}/forms`],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    return new ProcessWatch(child, folder);
  }

  /** Stops looking. Gives how often it looked, and what it saw, each sight once. */
  async stop(): Promise<{ looks: number; seen: Sight[] }> {
    this.#child.kill("SIGTERM");
    const lines = (await this.#output).split("\n").slice(0, -1);
    await this.#child.status;
    await Deno.remove(this.#folder, { recursive: true });
    const seen = [...new Set(lines)].flatMap((line): Sight[] => {
      const [, where, place, command] = /^(cmdline|environ) (inside|outside) (.*)$/.exec(line) ?? [];
      return where === undefined
        ? []
        : [{ where: where as Sight["where"], inside: place === "inside", command: command! }];
    });
    return { looks: lines.filter((line) => line === "").length, seen };
  }
}
