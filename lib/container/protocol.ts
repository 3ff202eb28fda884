/**
 * The protocol of a session: what is written to the shell inside the container for one command, which is called its
 * frame, and how the answer is found again among everything else that arrives on stdout and stderr.
 *
 * A sentinel is the byte 0x1e, the session's nonce, a kind and fields, and a newline. The nonce stands in argument
 * lists inside, so `ps` can print it; the byte before it does not, so no output of `ps` is a sentinel.
 *
 * @module
 */

import { concat } from "../bytes.ts";
import { quote, type Script } from "../shell.ts";

/** What the shell said about the container when it was opened. */
export interface Greeting {
  /** Process id of the session's shell, inside. */
  readonly pid: number;
  /** Which `timeout` there is: GNU's (also uutils'), BusyBox's, or none. */
  readonly timeout: "gnu" | "busybox" | "none";
  /** Whether there is `setsid`. */
  readonly setsid: boolean;
  /** A folder for FIFOs. */
  readonly runFolder: string;
  /** The container's host name. */
  readonly hostname: string;
  /** `/etc/machine-id`, or `-` where it has none yet. */
  readonly machineId: string;
  /** When the root file system was made, in seconds since 1970, or `-` where that cannot be told. */
  readonly rootMade: string;
  /** When the container was started, in clock ticks of the host: two starts never have the same. */
  readonly started: string;
}

/** How one command is to be run. */
export interface FrameOptions {
  /** Number of the frame within its session. */
  readonly number: number;
  /** Time-out inside, in seconds. */
  readonly seconds: number;
  /** The user to run as; root where it is missing. */
  readonly user?: string | undefined;
  /** Bytes for the command's stdin; `inherit` leaves it the shell's own. */
  readonly stdin?: Uint8Array | "inherit" | undefined;
  /**
   * Whether the output goes through FIFOs of its own. A background child of the command then cannot write into a later
   * frame; it costs a few milliseconds, so commands that only look go without.
   */
  readonly isolate: boolean;
}

/**
 * The largest payload for stdin that goes through a frame, in bytes. Shells keep here-documents in memory or in a file
 * of their own.
 */
export const MAX_FRAME_PAYLOAD_BYTES = 64 * 1024;

/**
 * The environment that every command gets, whatever `pct exec` let through. No core files: secrets would be in them.
 */
const PRELUDE = `unset BASH_ENV ENV CDPATH IFS LANGUAGE LC_CTYPE PERL5LIB PYTHONPATH LD_PRELOAD LD_LIBRARY_PATH
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 LC_ALL=C.UTF-8 TERM=dumb
umask 022
ulimit -S -c 0 2>/dev/null
cd /root 2>/dev/null || cd /
`;

/**
 * Sets `i` to the start of the container's init: the 22nd field of its `stat`, whose second can hold spaces and
 * parentheses.
 */
const STARTED = `started() { read -r i </proc/1/stat; set -- \${i##*) }; i=\${20}; }; started`;

/** The first lines of a session: the environment, then the sentinel `greeting`. */
export function greetingText(nonce: string): string {
  // Builtins wherever there is one: a session's start is part of every run.
  return `${PRELUDE}t=none
case $(timeout --version 2>&1 </dev/null) in *coreutils*) t=gnu ;; *[Bb]usy[Bb]ox*) t=busybox ;; esac
command -v setsid >/dev/null 2>&1 && s=1 || s=0
d=; for f in /run /dev/shm /tmp; do [ -w "$f" ] && d=$f && break; done
h=; read -r h </proc/sys/kernel/hostname; m=; read -r m </etc/machine-id
w=$(stat -c %W / 2>/dev/null)
${STARTED}
printf '\\036${nonce} greeting %s %s %s %s %s %s %s %s\\n' "$$" "$t" "$s" "\${d:-/tmp}" "\${h:--}" "\${m:--}" "\${w:--}" "$i"
unset f; a=; k=
`;
}

/** Reads the fields of `greeting`. Throws a `TypeError` when they are not what {@linkcode greetingText} prints. */
export function parseGreeting(fields: readonly string[]): Greeting {
  const [pid, timeout, setsid, runFolder, hostname, machineId = "-", rootMade = "-", started = ""] = fields;
  const isTimeout = timeout === "gnu" || timeout === "busybox" || timeout === "none";
  if (!/^\d+$/.test(pid ?? "") || !isTimeout || !hostname || !/^\d+$/.test(started)) {
    throw new TypeError(`Cannot understand the shell's greeting: "${fields.join(" ")}"`);
  }
  return {
    pid: Number(pid),
    timeout,
    setsid: setsid === "1",
    runFolder: runFolder!,
    hostname,
    // A container that was never started has none, or the word "uninitialized".
    machineId: /^[0-9a-f]{32}$/.test(machineId) ? machineId : "-",
    rootMade: /^[1-9]\d*$/.test(rootMade) ? rootMade : "-",
    started,
  };
}

/** What is written to the shell to run `script` as one frame. */
export function frameText(nonce: string, greeting: Greeting, script: Script, options: FrameOptions): string {
  const { number, isolate } = options;
  const run = commandText(nonce, greeting, script, options);
  const end =
    `r=$?; printf '\\036${nonce} end ${number} %s\\n' "$r"; printf '\\036${nonce} end ${number} %s\\n' "$r" >&2\n`;
  // The readers of an isolated frame before this one are ended first: whatever still writes there is no longer heard.
  // Their end is waited for: news of it would interrupt BusyBox's shell while it opens the next FIFO, and the command
  // would be left out.
  const deafen = `[ -z "$a" ] || { kill $a $b; wait $a $b; a=; } 2>/dev/null\n`;
  return deafen + (isolate ? isolatedText(nonce, greeting, number, run, end) : run + end);
}

/** The command of a frame, with its stdin, its time-out and its user. */
function commandText(nonce: string, greeting: Greeting, script: Script, options: FrameOptions): string {
  const { number, seconds, user, stdin } = options;
  const limit = greeting.timeout === "gnu"
    ? `timeout -k 5 ${seconds} `
    : `${greeting.setsid ? "setsid " : ""}${greeting.timeout === "busybox" ? `timeout ${Math.ceil(seconds)} ` : ""}`;
  const become = user === undefined ? "" : `runuser -u ${quote(user)} -- `;
  // The script travels on fd 3: neither its text nor a secret in it is ever an argument that `ps` shows. The child says
  // its pid itself, so that it can be ended from outside. Its last line is a mark: where the session is cut off in the
  // middle of a script, the shell takes what has come for the whole, and half a script must never run.
  const child = `${limit}${become}sh -c 'printf "\\036$1 begin $2 $$\\n"; printf "\\036$1 begin $2\\n" >&2
set -- "$(cat <&3)" "#$1"; case $1 in *"$2") eval "set --
\${1%$2}" 3<&- ;; *) exit 125 ;; esac' sh ${nonce} ${number} 3<<'${nonce}.s'`;
  const body = `\n${script.text}\n#${nonce}\n${nonce}.s\n`;
  if (stdin === "inherit") return child + body;
  if (stdin === undefined) return `${child} </dev/null${body}`;
  return `base64 -d <<'${nonce}.p' | ${child}\n${base64(stdin)}\n${nonce}.p${body}`;
}

/** A frame whose output goes through FIFOs of its own: see {@linkcode FrameOptions.isolate}. */
function isolatedText(nonce: string, greeting: Greeting, number: number, run: string, end: string): string {
  const fifos = `${quote(greeting.runFolder)}/.phoenix_setup.`;
  const fifo = `${fifos}${greeting.pid}.${nonce}.${number}`;
  // What killed shells left behind is removed before the first FIFO of this shell is made. The greeting is no place for
  // that: it also goes to a container that is not the one meant, or in which nothing may be changed.
  const sweep = `[ "$k" ] || for f in ${fifos}*; do
  k=\${f##*/.phoenix_setup.}; [ ! -p "$f" ] || [ -d /proc/"\${k%%.*}" ] || rm -f "$f"
done; k=1
`;
  // The FIFOs lose their names as soon as both ends are open: not even a kill leaves anything behind after that.
  return `${sweep}if mkfifo -m 600 ${fifo}.o ${fifo}.e; then
cat <${fifo}.o & a=$!
cat <${fifo}.e >&2 & b=$!
{ rm -f ${fifo}.o ${fifo}.e
${run}${end}} >${fifo}.o 2>${fifo}.e
else printf '\\036${nonce} begin ${number} 0\\n'; printf '\\036${nonce} begin ${number}\\nCannot create a FIFO in ${greeting.runFolder}\\n' >&2
(exit 125)
${end}fi
`;
}

/**
 * The argument of `sh -c` that reads its script from stdin up to a line with the nonce, without reading a byte further,
 * so that the rest of stdin is the payload of the script. `read` is the only reader that every shell has and that stops
 * at a newline. Without that line nothing is run.
 */
const BOOTSTRAP = `s=; l=; while [ "$l" != "$1" ]; do s="$s$l
"; IFS= read -r l || exit 125; done; eval "$s"`;

/**
 * The arguments of a `pct exec` of its own, for a command with a payload. It reads what {@linkcode bootstrapText} says.
 */
export function bootstrapCommand(nonce: string): string[] {
  return ["sh", "-c", BOOTSTRAP, "sh", nonce];
}

/**
 * What is written to {@linkcode bootstrapCommand} before the payload. Nothing is run in a container that was started
 * again since the session said `greeting`.
 */
export function bootstrapText(nonce: string, greeting: Greeting, script: Script, options: FrameOptions): string {
  const frame = frameText(nonce, greeting, script, { ...options, stdin: "inherit", isolate: false });
  return `${PRELUDE}${STARTED}; [ "$i" = ${greeting.started} ] || exit 125\n${frame}${nonce}\n`;
}

/**
 * Ends the process group of `$1`, or its tree where it shares the group of the session's shell `$2`: TERM, 2 s, KILL.
 * Does nothing where the container was not started at `$3`: the number is then that of another process.
 */
const END_PROCESS = `${STARTED}; [ "$i" = "$3" ] || exit 0
group() { read -r s </proc/"$1"/stat && s=\${s##*) } && set -- $s && g=$3; } 2>/dev/null
tree() { for c in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree "$c"; done; t="$t $1"; }
group "$2"; own=$g; group "$1" || exit 0
if [ "$g" != "$own" ]; then t="-$g"; else t=; tree "$1"; fi
kill -TERM $t 2>/dev/null
i=0; while [ $i -lt 20 ] && kill -0 $t 2>/dev/null; do sleep 0.1; i=$((i+1)); done
kill -KILL $t 2>/dev/null; exit 0`;

/** The arguments of a `pct exec` of its own that ends the process `pid`, with all that belongs to it. */
export function endProcessCommand({ pid: shell, started }: Greeting, pid: number): string[] {
  return ["sh", "-c", END_PROCESS, "sh", String(pid), String(shell), started];
}

function base64(bytes: Uint8Array): string {
  return bytes.toBase64().replace(/.{76}/g, "$&\n");
}

/** A sentinel that a {@linkcode Scanner} found. */
export interface Sentinel {
  /** `greeting`, `begin` or `end`. */
  readonly kind: string;
  /** What follows the kind. */
  readonly fields: readonly string[];
}

/** Takes a stream apart into sentinels and the bytes between them, whatever the chunks are. */
export class Scanner {
  readonly #mark: Uint8Array;
  readonly #onBytes: (bytes: Uint8Array) => void;
  readonly #onSentinel: (sentinel: Sentinel) => void;
  #rest: Uint8Array = new Uint8Array(0);

  /** Creates a scanner for the sentinels of one session. */
  constructor(nonce: string, onBytes: (bytes: Uint8Array) => void, onSentinel: (sentinel: Sentinel) => void) {
    this.#mark = new TextEncoder().encode(`\x1e${nonce} `);
    this.#onBytes = onBytes;
    this.#onSentinel = onSentinel;
  }

  /** Takes the next chunk. */
  push(chunk: Uint8Array): void {
    const bytes = this.#rest.length === 0 ? chunk : concat([this.#rest, chunk]);
    this.#rest = new Uint8Array(0);
    let from = 0; // where what has not been handed on begins
    for (let at = bytes.indexOf(0x1e), next; at !== -1; at = bytes.indexOf(0x1e, next)) {
      const match = this.#matches(bytes, at);
      const isCutOff = match === bytes.length - at;
      if (match < this.#mark.length && !isCutOff) {
        next = at + 1; // It only began like one.
        continue;
      }
      this.#handOn(bytes.subarray(from, at));
      const newline = isCutOff ? -1 : bytes.indexOf(0x0a, at);
      if (newline === -1) {
        this.#rest = bytes.slice(at); // Its end is still to come.
        return;
      }
      const [kind = "", ...fields] = new TextDecoder().decode(bytes.subarray(at + match, newline)).split(" ");
      this.#onSentinel({ kind, fields });
      from = next = newline + 1;
    }
    this.#handOn(bytes.subarray(from));
  }

  #handOn(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#onBytes(bytes);
  }

  /** How many bytes from `at` on equal the mark. */
  #matches(bytes: Uint8Array, at: number): number {
    let n = 0;
    while (n < this.#mark.length && at + n < bytes.length && bytes[at + n] === this.#mark[n]) n++;
    return n;
  }
}
