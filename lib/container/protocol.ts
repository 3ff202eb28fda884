/**
 * The protocol of a {@linkcode Session}: what is written to the shell inside the container for one command, and how its answer is
 * found again between everything else that arrives on stdout and stderr.
 *
 * A sentinel is the byte 0x1e, the session's nonce, a kind and fields, and a newline. The nonce stands in argv lists inside, so
 * that `ps` can print it; the byte before it does not, so that no output of `ps` is a sentinel.
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
   * Whether the output goes through FIFOs of its own. A background child of the command then cannot write into a later frame; it
   * costs a few milliseconds, so commands that only look go without.
   */
  readonly isolate: boolean;
}

/** The largest stdin payload that goes through a frame, in bytes. Shells keep heredocs in memory or in a file of their own. */
export const FRAME_PAYLOAD = 64 * 1024;

/** The environment that every command gets, whatever `pct exec` let through. No core files: secrets would be in them. */
const PRELUDE = `unset BASH_ENV ENV CDPATH IFS LANGUAGE LC_CTYPE PERL5LIB PYTHONPATH LD_PRELOAD LD_LIBRARY_PATH
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 LC_ALL=C.UTF-8 TERM=dumb
umask 022
ulimit -S -c 0 2>/dev/null
cd /root 2>/dev/null || cd /
`;

/** Sets `i` to the start of the container's init: the 22nd field of its `stat`, whose second can hold spaces and parentheses. */
export const STARTED = `started() { read -r i </proc/1/stat; set -- \${i##*) }; i=\${20}; }; started`;

/** The first lines of a session: the environment, then the sentinel `greeting`. */
export function greetingText(nonce: string): string {
  // Only builtins but for `timeout --version`: a session's start is part of every run.
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
  const { number, seconds, user, stdin, isolate } = options;
  const limit = greeting.timeout === "gnu"
    ? `timeout -k 5 ${seconds} `
    : `${greeting.setsid ? "setsid " : ""}${greeting.timeout === "busybox" ? `timeout ${Math.ceil(seconds)} ` : ""}`;
  const become = user === undefined ? "" : `runuser -u ${quote(user)} -- `;
  // The script travels on fd 3: neither its text nor a secret in it is ever an argument that `ps` shows. The child says its pid
  // itself, so that it can be ended from outside. Its last line is a mark: where the session is cut off in the middle of a script,
  // the shell takes what has come for the whole, and half a script must never run.
  const child = `${limit}${become}sh -c 'printf "\\036$1 begin $2 $$\\n"; printf "\\036$1 begin $2\\n" >&2
set -- "$(cat <&3)" "#$1"; case $1 in *"$2") eval "set --
\${1%$2}" 3<&- ;; *) exit 125 ;; esac' sh ${nonce} ${number} 3<<'${nonce}.s'`;
  const body = `\n${script.text}\n#${nonce}\n${nonce}.s\n`;
  const run = stdin === "inherit"
    ? child + body
    : stdin === undefined
    ? `${child} </dev/null${body}`
    : `base64 -d <<'${nonce}.p' | ${child}\n${base64(stdin)}\n${nonce}.p${body}`;
  const end =
    `r=$?; printf '\\036${nonce} end ${number} %s\\n' "$r"; printf '\\036${nonce} end ${number} %s\\n' "$r" >&2\n`;
  // The readers of an isolated frame before this one are ended first: whatever still writes there is no longer heard.
  // Their end is waited for: it would interrupt BusyBox's shell while it opens the next FIFO, and that one would do without the command.
  const deafen = `[ -z "$a" ] || { kill $a $b; wait $a $b; a=; } 2>/dev/null\n`;
  if (!isolate) return deafen + run + end;
  const fifos = `${quote(greeting.runFolder)}/.phoenix_setup.`;
  const fifo = `${fifos}${greeting.pid}.${nonce}.${number}`;
  // Those of shells that were killed go before the first of this one: not with the greeting, which also a container gets that is
  // another than meant, or in which nothing may be changed.
  const sweep = `[ "$k" ] || for f in ${fifos}*; do
  k=\${f##*/.phoenix_setup.}; [ ! -p "$f" ] || [ -d /proc/"\${k%%.*}" ] || rm -f "$f"
done; k=1
`;
  // The FIFOs lose their names as soon as both ends are open, so that nothing is left behind even by a kill.
  return `${deafen}${sweep}if mkfifo -m 600 ${fifo}.o ${fifo}.e; then
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
 * The argument of `sh -c` that reads its script from stdin up to a line with the nonce, without reading a byte further, so that
 * the rest of stdin is the payload of the script. `read` is the only reader that every shell has and that stops at a newline.
 * Without that line nothing is run, nor in a container that was started again since the session said `greeting`.
 */
export const BOOTSTRAP = `s=; l=; while [ "$l" != "$1" ]; do s="$s$l
"; IFS= read -r l || exit 125; done; eval "$s"`;

/** What is written to {@linkcode BOOTSTRAP} before the payload. */
export function bootstrapText(nonce: string, greeting: Greeting, script: Script, options: FrameOptions): string {
  const frame = frameText(nonce, greeting, script, { ...options, stdin: "inherit", isolate: false });
  return `${PRELUDE}${STARTED}; [ "$i" = ${greeting.started} ] || exit 125\n${frame}${nonce}\n`;
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
    let from = 0; // start of what has not been handed on
    let at = bytes.indexOf(0x1e);
    while (at !== -1) {
      const match = this.#matches(bytes, at);
      const newline = match === this.#mark.length ? bytes.indexOf(0x0a, at) : -1;
      if (match === bytes.length - at || (match === this.#mark.length && newline === -1)) {
        if (at > from) this.#onBytes(bytes.subarray(from, at));
        this.#rest = bytes.slice(at);
        return;
      }
      if (match === this.#mark.length) {
        if (at > from) this.#onBytes(bytes.subarray(from, at));
        const [kind = "", ...fields] = new TextDecoder().decode(bytes.subarray(at + match, newline)).split(" ");
        this.#onSentinel({ kind, fields });
        from = newline + 1;
        at = bytes.indexOf(0x1e, from);
      } else {
        at = bytes.indexOf(0x1e, at + 1);
      }
    }
    if (from < bytes.length) this.#onBytes(bytes.subarray(from));
  }

  /** How many bytes from `at` on equal the mark. */
  #matches(bytes: Uint8Array, at: number): number {
    let n = 0;
    while (n < this.#mark.length && at + n < bytes.length && bytes[at + n] === this.#mark[n]) n++;
    return n;
  }
}
