/**
 * The protocol of a session: what is written to the shell inside the container for one command, which is called its
 * frame, and how the answer is found again among everything else that arrives on stdout and stderr.
 *
 * A sentinel is the byte 0x1e, the key of its frame, a kind and fields, and a newline. Each frame has a key of its own,
 * which comes on stdin and stays in the memory of root's own shell: it is in no argument list, no environment and no
 * file, and no command that is run holds it. So whatever prints a sentinel is that shell, and it prints one of the
 * frame that is under way.
 *
 * @module
 */

import { concat } from "../bytes.ts";
import { quote, type Script, sh } from "../shell.ts";
import { head } from "../text.ts";

/** How much later than the time of a command BusyBox's `timeout` ends it, in seconds. */
const BACKSTOP_SECONDS = 30;

/** What the shell said about the container when it was opened. */
export interface Greeting {
  /** Process id of the session's shell, inside. */
  readonly pid: number;
  /** Which `timeout` there is: GNU's (also uutils'), BusyBox's, or none. */
  readonly timeout: "gnu" | "busybox" | "none";
  /** Whether there is `setsid`. */
  readonly setsid: boolean;
  /** What root becomes another user with: `runuser`, or `su` with the same effect; neither is in every container. */
  readonly become: "runuser" | "su" | "none";
  /** Whether `env` can have a program start with SIGPIPE as it is by default: Proxmox's `pct` has it ignored. */
  readonly resetsSignals: boolean;
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

/** The random words of one frame. */
export interface FrameWords {
  /** Proves that a sentinel comes from the session's own shell. */
  readonly key: string;
  /** Ends what is sent, and names what is made for the frame. Whoever may list processes can read it. */
  readonly mark: string;
}

/** New words for a frame. */
export function frameWords(): FrameWords {
  return { key: randomWord(), mark: randomWord() };
}

/** How one command is to be run. */
export interface FrameOptions {
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

/**
 * By this the processes of a session are recognised inside, also those of a run that was killed: it is an argument of
 * each.
 */
const SESSION_NAME = "phoenix_setup_session";

/**
 * The arguments of the `pct exec` that holds the session's shell. Everything that `pct exec` runs has SIGPIPE ignored,
 * which no shell can take back: `yes | head` would complain, and a loop whose reader has gone would go on for ever.
 */
export const SHELL_COMMAND = [
  "sh",
  "-c",
  `env --default-signal=PIPE true 2>/dev/null && exec env --default-signal=PIPE sh -s "$0" 1; exec sh -s "$0" 0`,
  SESSION_NAME,
] as const;

/** The first lines of a session: the environment, then the sentinel `greeting`. */
export function greetingText(key: string): string {
  // Builtins wherever there is one: a session's start is part of every run.
  return `${PRELUDE}t=none
case $(timeout --version 2>&1 </dev/null) in *coreutils*) t=gnu ;; *[Bb]usy[Bb]ox*) t=busybox ;; esac
command -v setsid >/dev/null 2>&1 && s=1 || s=0
u=none; for c in su runuser; do command -v $c >/dev/null 2>&1 && u=$c; done
d=; for f in /run /dev/shm /tmp; do [ -w "$f" ] && d=$f && break; done
h=; read -r h </proc/sys/kernel/hostname; m=; read -r m </etc/machine-id
w=$(stat -c %W / 2>/dev/null)
${STARTED}
printf '\\036${key} greeting %s %s %s %s %s %s %s %s %s %s\\n' "$$" "$t" "$s" "$u" "$2" "\${d:-/tmp}" "\${h:--}" "\${m:--}" "\${w:--}" "$i"
unset f c u; a=; k=
`;
}

/** Reads the fields of `greeting`. Throws a `TypeError` when they are not what {@linkcode greetingText} prints. */
export function parseGreeting(fields: readonly string[]): Greeting {
  const [pid, timeout, setsid, become, resets, runFolder, hostname, machineId = "-", rootMade = "-", started = ""] =
    fields;
  const isTimeout = timeout === "gnu" || timeout === "busybox" || timeout === "none";
  const isBecome = become === "runuser" || become === "su" || become === "none";
  if (!/^\d{1,10}$/.test(pid ?? "") || !isTimeout || !isBecome || !hostname || !/^\d{1,20}$/.test(started)) {
    throw new TypeError(`Cannot understand the shell's greeting: ${JSON.stringify(head(fields.join(" "), 200))}`);
  }
  return {
    pid: Number(pid),
    timeout,
    setsid: setsid === "1",
    become,
    resetsSignals: resets === "1",
    runFolder: runFolder!,
    hostname,
    // A container that was never started has none, or the word "uninitialized".
    machineId: /^[0-9a-f]{32}$/.test(machineId) ? machineId : "-",
    rootMade: /^[1-9]\d{0,11}$/.test(rootMade) ? rootMade : "-",
    started,
  };
}

/** What is written to the shell to run `script` as one frame. */
export function frameText(words: FrameWords, greeting: Greeting, script: Script, options: FrameOptions): string {
  const { key } = words;
  const run = commandText(words, greeting, script, options);
  const end = `r=$?; printf '\\036${key} end %s\\n' "$r"; printf '\\036${key} end %s\\n' "$r" >&2\n`;
  // The readers of an isolated frame before this one are ended first: whatever still writes there is no longer heard.
  // Their end is waited for: news of it would interrupt BusyBox's shell while it opens the next FIFO, and the command
  // would be left out.
  const deafen = `[ -z "$a" ] || { kill $a $b; wait $a $b; a=; } 2>/dev/null\n`;
  return deafen + (options.isolate ? isolatedText(words, greeting, run, end) : run + end);
}

/** The command of a frame, with its stdin, its time-out and its user. */
function commandText({ key, mark }: FrameWords, greeting: Greeting, script: Script, options: FrameOptions): string {
  const { user, stdin } = options;
  // The script travels on fd 3: neither its text nor a secret in it is ever an argument that `ps` shows. Its last line
  // is the mark: where the session is cut off in the middle of a script, the shell takes what has come for the whole,
  // and half a script must never run.
  const program = `set -- "$(cat <&3)" "#$1"; case $1 in *"$2") eval "set --
\${1%$2}" 3<&- ;; *) exit 125 ;; esac`;
  const become = user === undefined
    ? "sh -c"
    : greeting.become === "runuser"
    ? `runuser -u ${quote(user)} -- sh -c`
    : `su -s /bin/sh -c`;
  const as = user !== undefined && greeting.become === "su" ? `${quote(user)} ` : "";
  const input = stdin === undefined ? " </dev/null" : "";
  // It is a fork of the shell itself that says that the command begins, and its number, before it becomes the command.
  // What the shell has to say of its end ("Killed", from Bash with all of its text) is no output of the command.
  const child = `( read -r p r </proc/self/stat; printf '\\036${key} begin %s\\n' "$p"
printf '\\036${key} begin\\n' >&4
exec ${
    limitText(greeting, options)
  }${become} '${program}' ${as}sh ${mark} ${SESSION_NAME} 2>&4 4>&-${input} 3<<'${mark}.s'
${script.text}
#${mark}
${mark}.s
)`;
  const payload = stdin === undefined || stdin === "inherit" ? undefined : `\n${base64(stdin)}\n${mark}.p`;
  return `${payload === undefined ? "{" : `base64 -d <<'${mark}.p' | {${payload}`}
${child}
} 4>&2 2>/dev/null
`;
}

/** What ends a command inside when its time is up. */
function limitText(greeting: Greeting, { seconds }: FrameOptions): string {
  if (greeting.timeout === "gnu") return `timeout -k 5 ${seconds} `;
  // BusyBox's ends the command's first process alone: it is for the case that nobody is left to end all of them from
  // outside, which is done at the time itself.
  const limit = greeting.timeout === "busybox" ? `timeout ${Math.ceil(seconds) + BACKSTOP_SECONDS} ` : "";
  return `${greeting.setsid ? "setsid " : ""}${limit}`;
}

/** A frame whose output goes through FIFOs of its own: see {@linkcode FrameOptions.isolate}. */
function isolatedText({ key, mark }: FrameWords, greeting: Greeting, run: string, end: string): string {
  const fifos = `${quote(greeting.runFolder)}/.phoenix_setup.`;
  const fifo = `${fifos}${greeting.pid}.${mark}`;
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
else printf '\\036${key} begin 0\\n'; printf '\\036${key} begin\\nCannot create a FIFO in ${greeting.runFolder}\\n' >&2
(exit 125)
${end}fi
`;
}

/**
 * The argument of `sh -c` that reads its script from stdin up to a line with the mark, without reading a byte further,
 * so that the rest of stdin is the payload of the script. `read` is the only reader that every shell has and that stops
 * at a newline. Without that line nothing is run.
 */
const BOOTSTRAP = `s=; l=; while [ "$l" != "$1" ]; do s="$s$l
"; IFS= read -r l || exit 125; done; eval "$s"`;

/**
 * The arguments of a `pct exec` of its own, for a command with a payload. It reads what {@linkcode bootstrapText} says.
 */
export function bootstrapCommand({ mark }: FrameWords, { resetsSignals }: Greeting): string[] {
  const reset = resetsSignals ? ["env", "--default-signal=PIPE"] : [];
  return [...reset, "sh", "-c", BOOTSTRAP, "sh", mark, SESSION_NAME];
}

/**
 * What is written to {@linkcode bootstrapCommand} before the payload. Nothing is run in a container that was started
 * again since the session said `greeting`.
 */
export function bootstrapText(words: FrameWords, greeting: Greeting, script: Script, options: FrameOptions): string {
  const frame = frameText(words, greeting, script, { ...options, stdin: "inherit", isolate: false });
  return `${PRELUDE}${STARTED}; [ "$i" = ${greeting.started} ] || exit 125\n${frame}${words.mark}\n`;
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

/**
 * Ends every command that other sessions than that of the shell `pid` have left running inside, and prints how many
 * they were. To be run as a frame of that shell, where it is known that the others are left over from a run that was
 * killed: the lock of the container tells.
 */
export function endLeftoversScript({ pid }: Greeting): Script {
  return sh`own=" "; p=$$
while [ "$p" -gt 1 ] && read -r s </proc/$p/stat; do own="$own$p "; [ "$p" != ${pid} ] || break; s=\${s##*) }; set -- $s; p=$2; done
tree() { for c in $(cat /proc/"$1"/task/*/children 2>/dev/null); do tree "$c"; done; t="$t $1"; }
n=0; t=
for f in $(grep -l phoenix_setup_sessio[n] /proc/[0-9]*/cmdline 2>/dev/null); do
  p=\${f#/proc/}; p=\${p%/cmdline}
  case $own in *" $p "*) continue ;; esac
  [ -O /proc/$p ] && read -r s 2>/dev/null </proc/$p/stat || continue
  s=\${s##*) }; set -- $s
  [ "$3" != "$p" ] || { t="$t -$p"; n=$((n+1)); }
  tree "$p"
done
if [ "$t" ]; then
  kill -TERM $t 2>/dev/null
  i=0; while [ $i -lt 50 ] && kill -0 $t 2>/dev/null; do sleep 0.1; i=$((i+1)); done
  kill -KILL $t 2>/dev/null
fi
echo $n`;
}

function base64(bytes: Uint8Array): string {
  return bytes.toBase64().replace(/.{76}/g, "$&\n");
}

function randomWord(): string {
  return crypto.getRandomValues(new Uint8Array(16)).toHex();
}

/** A sentinel that a {@linkcode Scanner} found. */
export interface Sentinel {
  /** `greeting`, `begin` or `end`; `endless` for one that has more than {@linkcode MAX_SENTINEL_BYTES}. */
  readonly kind: string;
  /** What follows the kind. */
  readonly fields: readonly string[];
}

/** How long a sentinel may be, in bytes. Only a container that is hostile as a whole sends a longer one. */
const MAX_SENTINEL_BYTES = 4096;

/** Takes a stream apart into sentinels and the bytes between them, whatever the chunks are. */
export class Scanner {
  readonly #onBytes: (bytes: Uint8Array) => void;
  readonly #onSentinel: (sentinel: Sentinel) => void;
  /** What a sentinel begins with; nothing does while none is expected. */
  #beginning: Uint8Array | undefined;
  #rest: Uint8Array = new Uint8Array(0);

  /** Creates a scanner, which looks for nothing before {@linkcode expect} was called. */
  constructor(onBytes: (bytes: Uint8Array) => void, onSentinel: (sentinel: Sentinel) => void) {
    this.#onBytes = onBytes;
    this.#onSentinel = onSentinel;
  }

  /** Looks for the sentinels of this key from now on, and for no others. */
  expect(key: string): void {
    const rest = this.#rest;
    this.#rest = new Uint8Array(0);
    this.#handOn(rest);
    this.#beginning = new TextEncoder().encode(`\x1e${key} `);
  }

  /** Takes the next chunk. */
  push(chunk: Uint8Array): void {
    const beginning = this.#beginning;
    if (beginning === undefined) return this.#handOn(chunk);
    const bytes = this.#rest.length === 0 ? chunk : concat([this.#rest, chunk]);
    this.#rest = new Uint8Array(0);
    let from = 0; // where what has not been handed on begins
    for (let at = bytes.indexOf(0x1e), next; at !== -1; at = bytes.indexOf(0x1e, next)) {
      const match = lengthOfMatch(bytes, at, beginning);
      const isCutOff = match === bytes.length - at;
      if (match < beginning.length && !isCutOff) {
        next = at + 1; // It only began like one.
        continue;
      }
      this.#handOn(bytes.subarray(from, at));
      const newline = isCutOff ? -1 : bytes.indexOf(0x0a, at);
      if (newline === -1) {
        if (bytes.length - at > MAX_SENTINEL_BYTES) return this.#onSentinel({ kind: "endless", fields: [] });
        this.#rest = bytes.slice(at); // Its end is still to come.
        return;
      }
      const [kind = "", ...fields] = new TextDecoder().decode(bytes.subarray(at + match, newline)).split(" ");
      this.#onSentinel({ kind, fields });
      from = next = newline + 1;
      // Who heard it may expect another key by now.
      if (this.#beginning !== beginning) return this.push(bytes.slice(from));
    }
    this.#handOn(bytes.subarray(from));
  }

  #handOn(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#onBytes(bytes);
  }
}

/** How many bytes of `beginning` stand in `bytes` from `at` on. */
function lengthOfMatch(bytes: Uint8Array, at: number, beginning: Uint8Array): number {
  let n = 0;
  while (n < beginning.length && at + n < bytes.length && bytes[at + n] === beginning[n]) n++;
  return n;
}
