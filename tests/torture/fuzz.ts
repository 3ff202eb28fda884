/**
 * Hostile input by the thousand: whatever comes in, a run ends with an exit code that says whose fault it is and one
 * message that names it, no shell runs any of it, nothing of it drives a terminal or forges a line of the log.
 *
 * @module
 */

import { concat } from "../../lib/bytes.ts";
import { PctContainer } from "../../lib/container/connection.ts";
import { failureOf, Output } from "../../lib/container/container.ts";
import { readJson } from "../../lib/run/configuration.ts";
import { Engine } from "../../lib/engine.ts";
import { messageOf } from "../../lib/errors.ts";
import { thisHost } from "../../lib/host/this_host.ts";
import { main } from "../../lib/run/main.ts";
import { openLogFile } from "../../lib/log/file.ts";
import { Pct } from "../../lib/container/pct.ts";
import { type Setup, setup } from "../../lib/run/setup.ts";
import { sh } from "../../lib/shell.ts";
import { file } from "../../lib/steps/file.ts";
import { line } from "../../lib/steps/line.ts";
import { type Random, randomFrom } from "../support/random.ts";
import { on, StubContainer, type StubOptions, type StubRun, stubSystem } from "../support/stubs.ts";
import { skipReason, TestHost } from "../support/test_host.ts";
import type { Failed, Report } from "./result.ts";

/** What a kind of case works with. */
interface Given {
  /** How many cases there are to be. */
  readonly cases: number;
  readonly random: Random;
  /** An empty folder of its own. */
  readonly folder: string;
  /** A file that appears when a shell runs any of the input. */
  readonly canary: string;
  /** Notes a case that did not end as it should. */
  readonly fail: (input: unknown, what: string) => void;
}

/** Each kind of case, and what it tries. Gives how the cases ended. */
const KINDS: Readonly<Record<string, (given: Given) => Promise<string>>> = {
  "argument vectors": argumentVectors,
  "CTIDs": ctids,
  "configuration files": configurations,
  "environment values": environments,
  "output of commands": outputs,
  "words for a shell": words,
  "files and lines in a container": files,
};

/**
 * Tries `cases` cases of each kind, and `onHost` of the one that takes a simulated host, where each takes a hundred
 * times longer.
 */
export async function fuzz(report: Report, seed: number, cases: number, onHost = cases): Promise<void> {
  for (const [kind, attempt] of Object.entries(KINDS)) {
    if (attempt === files && skipReason !== undefined) {
      report({ part: "fuzz", kind, tried: 0, ended: `NOT TRIED: ${skipReason}`, failures: [] });
      continue;
    }
    const folder = await Deno.makeTempDir({ prefix: "fuzz-" });
    const canary = `${folder}/canary`;
    const failures: Failed[] = [];
    const again = `deno task torture --only fuzz --seed ${seed} --cases ${cases}`;
    const fail = (input: unknown, what: string) => {
      failures.push({ what: `${what}: ${visible(input)}`, again });
    };
    try {
      const tried = attempt === files ? onHost : cases;
      const ended = await attempt({ cases: tried, random: randomFrom(seed), folder, canary, fail });
      if (await exists(canary)) fail(kind, "A shell ran some of the input");
      report({ part: "fuzz", kind, tried, ended, failures });
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }
}

/** Texts of which each has broken a program somewhere. */
function hostileText(random: Random, canary: string, nul = true): string {
  const touch = `touch ${canary}`;
  const pieces = [
    () =>
      pick(random, [
        `$(${touch})`,
        `\`${touch}\``,
        `;${touch};`,
        `\n${touch}\n`,
        `|${touch}`,
        `&${touch}&`,
        `&&${touch}`,
      ]),
    () =>
      pick(random, [
        `';${touch};'`,
        `";${touch};"`,
        `'"$(${touch})"'`,
        `\${x:-$(${touch})}`,
        `\\\n${touch}\n`,
        `<(${touch})`,
      ]),
    () =>
      pick(random, ["901", "0", "-1", "1e3", "0x385", "٩٠١", "９０１", "9".repeat(1 + random(400)), "NaN", "Infinity"]),
    () => pick(random, ["-", "--", "-v", "--check", "--help=", "-rf", "--log-file", "true", "=", "--no-prompt", "-A"]),
    () =>
      pick(random, [
        "'",
        '"',
        "\\",
        "`",
        "$",
        "$HOME",
        "${IFS}",
        "*",
        "~",
        "!!",
        "%s%n",
        "{a,b}",
        "#",
        "\\x41",
        "[ -e",
      ]),
    () =>
      pick(random, [
        "\n",
        "\r",
        "\r\n",
        "\t",
        "\x1b[2J",
        "\x1b]0;t\x07",
        "\x1b[31m",
        "\x9b1A",
        "\x7f",
        "\b\b",
        "\x1e",
        "\x85",
      ]),
    () =>
      pick(random, [
        "\u2028",
        "\u2029",
        "\u202e",
        "\u2066",
        "\ufeff",
        "\u200b",
        "é",
        "e\u0301",
        "日本",
        "😀",
        "\ud800",
        "\udc00",
      ]),
    () =>
      pick(random, [
        "Specific setup for container 901 completed successfully",
        "901 completed",
        "2026-01-01T00:00:00.000Z INFO",
      ]),
    () =>
      pick(random, [
        "../../etc/passwd",
        "/dev/null",
        "con",
        ".",
        "..",
        "__proto__",
        "constructor",
        "toString",
        "undefined",
      ]),
    () =>
      pick(random, [" ", "  ", "", nul ? "\0" : " ", "PHOENIX", "phoenix_hypervisor_setup_902", "…", "[secret: x]"]),
    () => String.fromCharCode(...Array.from({ length: 1 + random(20) }, () => (nul ? 0 : 1) + random(0xff))),
    () => "x".repeat(random(30) === 0 ? 100_000 : random(300)),
  ];
  return Array.from({ length: 1 + random(4) }, () => pick(random, pieces)()).join("");
}

// ---------------------------------------------------------------- arguments, configuration, environment

async function argumentVectors({ cases, random, canary, fail }: Given): Promise<string> {
  const options = [
    "--check",
    "--verbose",
    "-v",
    "--quiet",
    "-q",
    "--json",
    "--help",
    "-h",
    "--version",
    "--timeout",
    "--log-file",
    "--",
  ];
  const codes = new Tally();
  for (let i = 0; i < cases; i++) {
    const args = Array.from({ length: random(6) }, () => {
      const text = hostileText(random, canary);
      return pick(random, [
        "901",
        pick(random, options),
        text,
        `${pick(random, options)}=${text}`,
        `--${text}`,
        `-${text}`,
        "10s",
      ]);
    });
    const run = await runOf({ args }, EMPTY);
    const code = codes.add(run);
    // "1ms" is among what can be a time-out.
    const wrong = wrongWith(run, args.some((a) => a.startsWith("--timeout")) ? [0, 1, 5] : [0, 1]);
    if (wrong !== undefined) fail(args, wrong);
    else if (run.pctCalls.length > 0 && !args.includes("901")) {
      fail(args, "A container was looked for that nobody named");
    } else if (code === 1 && args.length === 1 && !args[0]!.startsWith("-") && !names(run, args[0]!)) {
      fail(args, "The message does not name the argument");
    }
  }
  return `${codes}`;
}

async function ctids({ cases, random, canary, fail }: Given): Promise<string> {
  const digits = [
    "901",
    "٩٠١",
    "９０１",
    "९०१",
    "𝟗𝟎𝟏",
    "9٠1",
    "0901",
    "+901",
    "-901",
    "901.0",
    "9.01e2",
    "0x385",
    "0b1",
    "9_01",
    "901n",
    "902",
  ];
  const around = ["", " ", "\n", "\t", "\0", "\r", "\u00a0", "\u2003", "\ufeff", "\u200b", "0", "-", "+", "."];
  const codes = new Tally();
  for (let i = 0; i < cases; i++) {
    const ctid = random(3) === 0
      ? hostileText(random, canary)
      : pick(random, around) + (random(20) === 0 ? "9".repeat(random(100_000)) : pick(random, digits)) +
        pick(random, around);
    const run = await runOf({ args: ["--", ctid] }, EMPTY);
    const code = codes.add(run);
    const wrong = wrongWith(run, [ctid === "901" ? 0 : 1]);
    if (wrong !== undefined) fail(ctid, wrong);
    else if (code === 1 && run.pctCalls.length > 0) fail(ctid, "A container was looked for");
    else if (code === 1 && !names(run, ctid)) fail(ctid, "The message does not name the CTID");
  }
  return `${codes}`;
}

/** A setup that uses all of the configuration there is. */
const CURIOUS = setup(901, "Portainer", async ({ config, hypervisor, ensure }) => {
  const seen: unknown[] = [];
  for (const section of [config, hypervisor]) {
    for (const key of Object.keys(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(section)))) {
      try {
        seen.push((section as unknown as Record<string, unknown>)[key]);
      } catch (error) {
        // What a setup does not need may be missing.
        if (!/ is missing, expected /.test(messageOf(error))) throw error;
      }
    }
  }
  const title = JSON.stringify(seen).slice(0, 1_000);
  await ensure({ title, probe: () => Promise.resolve(), diff: () => [], apply: () => Promise.resolve() });
});

async function configurations({ cases, random, canary, folder, fail }: Given): Promise<string> {
  const etc = new URL("../hosts/simulated/etc/", import.meta.url);
  const right = {
    PHOENIX_LXC_CONFIG_FILE: await Deno.readFile(new URL("phoenix_lxc_configs.json", etc)),
    PHOENIX_HYPERVISOR_CONFIG_FILE: await Deno.readFile(new URL("phoenix_hypervisor_config.json", etc)),
  };
  const names_ = ["PHOENIX_LXC_CONFIG_FILE", "PHOENIX_HYPERVISOR_CONFIG_FILE"] as const;
  const environment = Object.fromEntries(names_.map((name) => [name, `${folder}/${name}.json`]));
  for (const name of names_) await Deno.writeFile(environment[name]!, right[name]);
  const strange = await strangeFiles(folder);
  const codes = new Tally();
  const attempt = async (input: unknown, path: string, environment: Record<string, string>, expected: number[]) => {
    const run = await runOf({ environment, readJson: true }, CURIOUS);
    const code = codes.add(run);
    const wrong = wrongWith(run, expected);
    if (wrong !== undefined) fail(input, wrong);
    else if (code === 2 && !names(run, path.slice(folder.length))) {
      fail(input, "The message does not name the file");
    }
  };
  const around = strange.flatMap((path) => names_.map((name) => ({ path, name })));
  await inBatches(around.length, async (i) => {
    const { path, name } = around[i]!;
    await attempt(path, path, { ...environment, [name]: path }, [2]);
  });
  await inBatches(cases - around.length, async (i) => {
    const name = pick(random, names_);
    const path = `${folder}/${i % 100}.json`;
    const bytes = mutate(right[name], random, canary);
    await Deno.writeFile(path, bytes);
    const input = new TextDecoder().decode(bytes.subarray(0, 10_000));
    await attempt(input, path, { ...environment, [name]: path }, [0, 2, 3]);
  });
  return `${codes}`;
}

/** Makes files that are no configuration files, and gives their paths. */
async function strangeFiles(folder: string): Promise<string[]> {
  const at = (name: string) => `${folder}/${name}`;
  await Deno.mkdir(at("folder"));
  await new Deno.Command("mkfifo", { args: [at("fifo")] }).output();
  await Deno.symlink(at("loop"), at("loop"));
  await Deno.symlink("/dev/zero", at("zeros"));
  await Deno.symlink(at("nothing"), at("dangling"));
  await Deno.writeTextFile(at("empty"), "");
  await Deno.writeTextFile(at("spaces"), " \n\t ");
  await Deno.writeTextFile(at("deep"), "[".repeat(1_000_000));
  await Deno.writeTextFile(
    at("nested"),
    `{"lxc_configs":${"[".repeat(200_000)}${"]".repeat(200_000)},"core_paths":[]}`,
  );
  await Deno.writeTextFile(
    at("deep value"),
    `{"lxc_configs":{"901":{"name":${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}}},"network":1}`,
  );
  await Deno.writeTextFile(at("UTF-16"), "\ufeff{}");
  await Deno.writeFile(at("UTF-16"), new Uint8Array([0xff, 0xfe, 0x7b, 0, 0x7d, 0]));
  await Deno.writeFile(at("latin-1"), new Uint8Array([0x7b, 0x22, 0xe4, 0x22, 0x3a, 0x31, 0x7d]));
  await Deno.writeTextFile(at("large"), `{"lxc_configs":{"901":${"0".repeat(15_000_000)}}}`);
  // As large as it is said to be without taking the room.
  const file = await Deno.create(at("50 MB"));
  await file.truncate(50 * 1024 * 1024);
  file.close();
  await Deno.writeTextFile(at("unreadable"), "{}", { mode: 0o000 });
  const { code } = await new Deno.Command("test", { args: ["-r", at("unreadable")] }).output();
  const names = [
    "folder",
    "fifo",
    "loop",
    "zeros",
    "dangling",
    "missing",
    "empty",
    "spaces",
    "deep",
    "nested",
    "deep value",
  ];
  const more = ["UTF-16", "latin-1", "large", "50 MB", "x".repeat(300), "a\0b", ...(code === 0 ? [] : ["unreadable"])];
  return [...names, ...more].map(at);
}

/** A configuration file after an accident. */
function mutate(right: Uint8Array, random: Random, canary: string): Uint8Array<ArrayBuffer> {
  const encode = (text: string) => new TextEncoder().encode(text);
  const bytes = right.slice();
  switch (random(8)) {
    case 0:
      return bytes.slice(0, random(bytes.length));
    case 1:
      for (let n = 1 + random(4); n > 0; n--) bytes[random(bytes.length)] = random(256);
      return bytes;
    case 2: {
      const at = random(bytes.length);
      const noise = encode(hostileText(random, canary));
      return new Uint8Array([...bytes.subarray(0, at), ...noise, ...bytes.subarray(at)]);
    }
    case 3:
      return new Uint8Array([...pick(random, [[0xef, 0xbb, 0xbf], [0xff, 0xfe], [0], [0x0a, 0x0a]]), ...bytes]);
    default: {
      const json = JSON.parse(new TextDecoder().decode(bytes));
      for (let n = 1 + random(3); n > 0; n--) {
        let at = json;
        for (;;) {
          const keys = Object.keys(at);
          const key = random(10) > 0 && keys.length > 0
            ? keys.includes("901") ? "901" : pick(random, keys)
            : hostileText(random, canary);
          const next = at[key];
          if (typeof next === "object" && next !== null && random(4) > 0) {
            at = next;
            continue;
          }
          const value = hostileValue(random, canary);
          if (value === undefined) delete at[key];
          else Object.defineProperty(at, key, { value, enumerable: true, configurable: true, writable: true });
          break;
        }
      }
      const text = JSON.stringify(json);
      // The last of two keys of the same name counts, as it does for jq.
      return encode(random(4) > 0 ? text : text.replace(/\{"/, `{"lxc_configs":{},"core_paths":7,"`));
    }
  }
}

function hostileValue(random: Random, canary: string): unknown {
  return pick<() => unknown>(random, [
    () => hostileText(random, canary),
    () =>
      pick(random, [0, -1, 1.5, 1e308, 2 ** 53, 65536, true, false, null, undefined, [], {}, [[]], "", "none", "0,1"]),
    () => Array.from({ length: random(1_000) }, (_, i) => i),
    () => JSON.parse("[".repeat(500) + "]".repeat(500)),
    () => ({ [hostileText(random, canary)]: hostileText(random, canary), __proto__: null }),
    () =>
      pick(random, ["10.0.0.1", "10.0.0.1/33", "010.0.0.1/24", "1.2.3.4/24\n", "::1/64", "10.0.0.99/24", "256.1.1.1"]),
  ])();
}

async function environments({ cases, random, canary, folder, fail }: Given): Promise<string> {
  const names_ = [
    "PHOENIX_LOG_LEVEL",
    "PHOENIX_LOG_FILE",
    "PHOENIX_LXC_CONFIG_FILE",
    "PHOENIX_HYPERVISOR_CONFIG_FILE",
    "NO_COLOR",
    "TERM",
    "TOKEN",
  ];
  const reader = setup(901, "Portainer", { environment: ["TOKEN"] }, async ({ secret, environment, ensure }) => {
    const token = environment("TOKEN") === undefined ? undefined : await secret("token", { environment: "TOKEN" });
    const title = `with ${token} of ${token?.reveal().slice(0, 500)}`;
    await ensure({ title, probe: () => Promise.resolve(), diff: () => [], apply: () => Promise.resolve() });
  });
  const codes = new Tally();
  await inBatches(cases, async (i) => {
    const environment: Record<string, string> = {};
    for (let n = 1 + random(3); n > 0; n--) {
      const name = pick(random, names_);
      // A log file of a hostile name is made in a folder of this test.
      const text = hostileText(random, canary, false);
      environment[name] = name === "PHOENIX_LOG_FILE"
        ? `${folder}/${i}${text.replaceAll("/", "_")}`
        : name === "TOKEN"
        ? `${text}QZ${i}` // as none of our own words
        : text;
    }
    const args = random(4) === 0 ? ["--json", "901"] : random(4) === 0 ? ["-v", "901"] : ["901"];
    const run = await runOf({ args, environment, readJson: true, logFile: true, terminal: random(2) === 0 }, reader);
    const code = codes.add(run);
    const chosen = ["PHOENIX_LXC_CONFIG_FILE", "PHOENIX_HYPERVISOR_CONFIG_FILE", "TOKEN"].some((name) =>
      environment[name] !== undefined
    );
    const wrong = wrongWith(run, chosen ? [0, 2] : [0]);
    const token = environment.TOKEN?.trim();
    if (wrong !== undefined) fail(environment, wrong);
    else if (code === 0 && token && token.length > 10 && (run.stdout + run.stderr).includes(token)) {
      fail(environment, "The token is shown");
    }
    const logFile = environment.PHOENIX_LOG_FILE;
    if (logFile !== undefined) await Deno.remove(logFile).catch(() => {});
  });
  return `${codes}`;
}

// ---------------------------------------------------------------- output

async function outputs({ cases, random, canary, fail }: Given): Promise<string> {
  const codes = new Tally();
  await inBatches(cases, async () => {
    // Capital letters and digits that nothing else here is made of.
    const token = Array.from(
      { length: 8 + random(random(20) === 0 ? 6_000 : 60) },
      () => pick(random, [..."QWZXJKVY2468"]),
    ).join("");
    const parts = Array.from({ length: random(8) }, () => pieceOfOutput(random, canary, token));
    const said = concat(parts);
    const chunk = pick(random, [1, 7, 100, 4096, 65536]);
    const failing = random(2) === 0;
    const stream = pick(random, ["stdout", "stderr"] as const);
    const places = Array.from({ length: 40 }, () => random(1_000_000));
    const container = new StubContainer(on("say", (_, { onOutput }) => {
      for (let at = 0; at < said.length; at += chunk) onOutput?.(said.subarray(at, at + chunk), stream);
      if (failing) throw failureOf(new Output("say", { code: 1, stdout: said, stderr: said }));
      return { stdout: "" };
    }));
    const loud = setup(901, "Portainer", { environment: ["TOKEN"] }, async ({ secret, ensure }) => {
      await secret("token", { environment: "TOKEN" });
      let done = false;
      await ensure<boolean>({
        title: "loud",
        probe: () => Promise.resolve(done),
        diff: (done) => done ? [] : [{ what: "loud", from: new TextDecoder().decode(said), to: "quiet" }],
        async apply({ container }) {
          await container.write(sh`say`);
          done = true;
        },
      });
    });
    const args = pick(random, [["901"], ["-v", "901"], ["-v", "--json", "901"], ["--json", "901"]]);
    const run = await runOf({ args, container, environment: { TOKEN: token }, terminal: random(2) === 0 }, loud);
    codes.add(run);
    const input = { args, chunk, token: token.slice(0, 100), said: new TextDecoder().decode(said.subarray(0, 5_000)) };
    const wrong = wrongWith(run, [failing ? 4 : 0]);
    if (wrong !== undefined) fail(input, wrong);
    const written = run.stdout + run.stderr + run.log;
    // Four characters beside a cut are let through, and base64's own at its two ends.
    for (
      const form of [
        token,
        new TextEncoder().encode(token).toBase64(),
        new TextEncoder().encode(`:${token}`).toBase64().slice(4),
      ]
    ) {
      const at = places.map((at) => form.slice(at % (form.length - 7)).slice(0, 8)).find((window) =>
        written.includes(window)
      );
      if (at !== undefined) {
        fail(input, `The log has "${at}" of the secret`);
        break;
      }
    }
  });
  return `${codes}`;
}

function pieceOfOutput(random: Random, canary: string, token: string): Uint8Array {
  const encode = (text: string) => new TextEncoder().encode(text);
  return pick(random, [
    () => encode(hostileText(random, canary)),
    () => new Uint8Array(Array.from({ length: random(2_000) }, () => random(256))),
    () => encode("-".repeat(random(random(10) === 0 ? 200_000 : 9_000))),
    () => encode(token),
    () => encode(`token=${token}\n`),
    () => encode(`${encode(`:;,`.slice(0, random(4)) + token).toBase64()}\n`),
    () => encode(`\x1b[1m${token}\x1b[0m\r`),
    () => encode("\n"),
  ])();
}

// ---------------------------------------------------------------- shells

async function words({ cases, random, canary, fail }: Given): Promise<string> {
  const shells = (await Promise.all(
    [["/bin/dash"], ["/bin/busybox", "sh"], ["/bin/bash"]].map(async (shell) => await exists(shell[0]!) ? [shell] : []),
  )).flat();
  for (let i = 0; i < cases; i += 250) {
    const texts = Array.from({ length: Math.min(250, cases - i) }, () => hostileText(random, canary, false));
    // A lone half of a surrogate pair has no bytes, and is refused.
    const refused = texts.filter((text) => !text.isWellFormed());
    for (const text of refused) {
      try {
        sh`echo ${text}`;
        fail(text, "Half a character was taken for a word");
      } catch (error) {
        if (!(error instanceof TypeError)) throw error;
      }
    }
    const whole = texts.filter((text) => text.isWellFormed());
    const script = sh`printf '%s\0' ${whole}; for word in ${whole}; do printf '%s\0' "$word"; done`;
    for (const [program, ...args] of shells) {
      const child = new Deno.Command(program!, { args, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
      const writer = child.stdin.getWriter();
      writer.write(new TextEncoder().encode(`${script.text}\n`)).then(() => writer.close()).catch(() => {});
      const { stdout, stderr } = await child.output();
      const got = new TextDecoder("utf-8", { ignoreBOM: true }).decode(stdout).split("\0");
      [...whole, ...whole].forEach((text, n) => {
        if (got[n] !== text) fail({ text, got: got[n] }, `${program} got another word`);
      });
      if (stderr.length > 0) fail(new TextDecoder().decode(stderr), `${program} complained`);
    }
  }
  return `whole in ${shells.map((shell) => shell.join(" ")).join(", ")}`;
}

// ---------------------------------------------------------------- files

/** How many sessions write side by side. */
const LANES = 4;

/** How many files there are before they are removed. */
const BATCH = 240;

async function files({ cases, random, fail }: Given): Promise<string> {
  await using testHost = await TestHost.begin();
  const pct = new Pct(testHost.host.pct);
  const lanes = Array.from({ length: Math.min(LANES, cases) }, () => {
    const container = new PctContainer(pct, testHost.ctid);
    return { container, engine: engineOf(container, pct) };
  });
  let refused = 0;
  try {
    for (let i = 0; i < cases; i += BATCH) {
      const inputs = Array.from({ length: Math.min(BATCH, cases - i) }, (_, n) => {
        const name = hostileName(random);
        const text = hostileText(random, "/canary", false).replaceAll("\n", "_").toWellFormed();
        return { name, path: `/srv/fuzz/${n}/${name}`, content: hostileContent(random), text };
      });
      await Promise.all(lanes.map(async ({ engine }, lane) => {
        for (const { name, path, content, text } of inputs.filter((_, n) => n % LANES === lane)) {
          let step;
          try {
            step = file(path, { content });
          } catch (error) {
            const why = messageOf(error);
            if (["", ".", ".."].includes(name) || name.includes("\0") || !name.isWellFormed()) refused++;
            else fail(name, `The name is refused (${why})`);
            continue;
          }
          const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
          const check = async (expected: Uint8Array) => {
            const found = await Deno.readFile(`${testHost.host.rootfs(testHost.ctid)}${path}`).catch(messageOf);
            if (typeof found === "string") fail(name, `The file is not there (${found})`);
            else if (!same(found, expected)) {
              fail({ name, content, text }, `Of ${expected.length} bytes, ${found.length} came out or others`);
            }
          };
          await engine.ensure(step).catch((error) => fail({ name, length: content.length }, messageOf(error)));
          await check(bytes);
          if (text === "") continue;
          const error = await engine.ensure(line(path, { line: text })).then(() => undefined, messageOf);
          const after = withLine(bytes, text);
          const asItShould = after === undefined ? error?.endsWith("is not UTF-8") : error === undefined;
          if (!asItShould) fail({ name, content, text }, `A line in it: ${error}`);
          await check(after ?? bytes);
        }
      }));
      const crowded = await testHost.inside(
        `for d in /srv/fuzz/*; do [ ! -d "$d" ] || [ "$(ls -A "$d" -q | wc -l)" = 1 ] || echo "$d"; done`,
      );
      for (const folder of crowded.split("\n").filter(Boolean)) {
        fail(inputs[Number(folder.slice("/srv/fuzz/".length))], "Something else was left in the folder");
      }
      await testHost.inside("rm -rf /srv/fuzz");
    }
    const left = await testHost.inside("ls -d /canary /root/canary /srv/canary 2>/dev/null; true");
    if (left !== "") fail(left, "A shell in the container ran some of the input");
  } finally {
    for (const { container } of lanes) await container.close();
  }
  return `${cases - refused} equal to the byte, ${refused} refused by name`;
}

/** The file with a line, as the step's documentation has it; `undefined` where it is no text. */
function withLine(bytes: Uint8Array, line: string): Uint8Array | undefined {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
  if (text.split("\n").includes(line)) return bytes;
  return new TextEncoder().encode(`${text}${text === "" || text.endsWith("\n") ? "" : "\n"}${line}\n`);
}

function engineOf(container: PctContainer, pct: Pct): Engine {
  return new Engine({
    container,
    host: thisHost(pct, container.ctid),
    check: false,
    report() {},
    pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  });
}

function hostileName(random: Random): string {
  const canary = pick(random, ["canary", "$PWD$IFS/canary"]);
  const text = pick(random, [
    () => hostileText(random, canary).replaceAll("/", "_"),
    () =>
      pick(random, [
        "a b",
        " a",
        "a ",
        "\n",
        "a\n",
        "\na",
        "-n",
        "--",
        "-rf *",
        "*",
        "?",
        "[a]",
        "~",
        "'",
        '"',
        "\\",
        "a\\nb",
        "é",
        "😀",
      ]),
    () => "n".repeat(250 + random(6)),
    () => "é".repeat(127),
    () => `.${"x".repeat(random(10))}.phoenix_setup`,
    () => String.fromCharCode(1 + random(46)).repeat(1 + random(3)),
  ])();
  // The longest name that a file system takes.
  let name = "";
  let length = 0;
  for (const character of text) {
    length += new TextEncoder().encode(character).length;
    if (length > 255) break;
    name += character;
  }
  return name;
}

/** Content with the marks that a transfer into the container uses itself. */
function hostileContent(random: Random): string | Uint8Array {
  return pick<() => string | Uint8Array>(random, [
    () => hostileText(random, "/canary"),
    () => "",
    () => "\n".repeat(random(5)),
    () => "no newline at the end",
    () => "a\r\nb\rc\0d\r\n",
    () => `\x1e${"0123456789abcdef".repeat(2)} end 1 0\n`,
    () => `x\n${"0123456789abcdef".repeat(2)}.s\n${"f".repeat(32)}.p\nEOF\n$(touch /canary)\n`,
    () => new Uint8Array(Array.from({ length: random(300) }, () => random(256))),
    () => new Uint8Array(256).map((_, i) => i),
    // Where the way through the frame ends and another begins.
    () => random(10) > 0 ? "" : new Uint8Array(64 * 1024 - 1 + random(3)).map((_, i) => i * 7 + (i >> 8)),
    () => random(10) > 0 ? " " : new Uint8Array(random(300_000)).map((_, i) => i * 31),
  ])();
}

// ---------------------------------------------------------------- the rest

const ESCAPE = String.fromCharCode(0x1b);
const COLOR = new RegExp(`${ESCAPE}\\[[\\d;]*m`, "g");
/** What we send to a terminal ourselves: the live line, and colours. */
const LIVE = new RegExp(`\\r${ESCAPE}\\[K|${COLOR.source}`, "g");

const EMPTY = setup(901, "Portainer", async () => {});

/** Runs a setup on stubs, but for what `options` asks to be real. */
async function runOf(
  options: StubOptions & { readJson?: boolean; logFile?: boolean },
  of: Setup,
): Promise<StubRun & { terminal: boolean }> {
  const [system, run] = stubSystem(options);
  await main(of, {
    ...system,
    ...(options.readJson
      ? { readJson: (path: string) => path.startsWith("/usr/local/") ? undefined : readJson(path) }
      : {}),
    ...(options.logFile
      ? {
        openLogFile: (path: string) =>
          path.startsWith("/var/") ? system.openLogFile(path) : { ...openLogFile(path), sync() {} },
      }
      : {}),
  });
  return Object.assign(run, { terminal: options.terminal ?? false });
}

/** What is wrong with how a run ended, whatever it was given; `undefined` where nothing is. */
function wrongWith(run: StubRun & { terminal: boolean }, codes: readonly number[]): string | undefined {
  const { exits: [code, ...more], stdout, stderr, log, terminal } = run;
  if (code === undefined || more.length > 0) return `The run ended ${1 + more.length} times`;
  if (!codes.includes(code)) {
    return `Exit code ${code}, expected ${codes.join(" or ")}, saying ${(stderr || stdout).slice(-500)}`;
  }
  if (run.locked) return "The lock is still held";
  const own = terminal ? LIVE : /(?!)/g;
  for (const [where, text] of Object.entries({ stdout, stderr, log })) {
    const raw = /[^\P{Cc}\n\t]|[\p{Bidi_Control}\u2028\u2029]/u.exec(text.replace(where === "log" ? /(?!)/g : own, ""));
    if (raw) return `A raw ${JSON.stringify(raw[0])} (U+${raw[0].codePointAt(0)!.toString(16)}) is in ${where}`;
    if (/^ *at .*:\d+:\d+\)?$/m.test(text)) return `A stack trace is in ${where}`;
  }
  const stamped =
    /^\d{4}-\d\d-\d\dT[\d:.]+Z (?:DEBUG|INFO|WARN|ERROR|FATAL) phoenix_hypervisor_setup_901(?:\[\d+\])?: /;
  const bare = log.split("\n").slice(0, -1).find((line) => !stamped.test(line));
  if (bare !== undefined) return `A line of the log has no stamp: ${bare.slice(0, 200)}`;
  const success = log.match(/^\S+Z INFO \S+: Specific setup for container 901 completed successfully$/gm) ?? [];
  if (success.length > (code === 0 ? 1 : 0)) return "The success of the run is forged";
  if (code === 1 || code === 2) {
    const fatal = log.match(/^\S+Z FATAL \S+: \S.*$/gm) ?? [];
    if (fatal.length !== 1 && log !== "") return `There are ${fatal.length} messages instead of one`;
    if ((fatal[0]?.length ?? 0) > 70_000) return `The message has ${fatal[0]!.length} characters`;
  }
  return undefined;
}

/** Whether the output has the longest plain part of a value. */
function names(run: StubRun, value: string): boolean {
  const plain = value.slice(0, 60).replace(COLOR, "\n").match(/[A-Za-z0-9]+/g) ?? [];
  const longest = plain.sort((a, b) => b.length - a.length)[0] ?? "";
  return (run.stdout + run.stderr).includes(longest);
}

/** How often each exit code came. */
class Tally {
  readonly #counts = new Map<number, number>();

  /** Counts a run, and gives its code. */
  add({ exits: [code = -1] }: StubRun): number {
    this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1);
    return code;
  }

  toString(): string {
    return [...this.#counts].sort(([a], [b]) => a - b).map(([code, count]) => `exit ${code}: ${count}`).join(", ");
  }
}

function pick<T>(random: Random, of: readonly T[]): T {
  return of[random(of.length)]!;
}

/** Runs cases side by side, as one that fails takes a while. Each makes its random choices before its first wait. */
async function inBatches(cases: number, attempt: (i: number) => Promise<void>): Promise<void> {
  for (let i = 0; i < cases; i += 100) {
    await Promise.all(Array.from({ length: Math.min(100, cases - i) }, (_, n) => attempt(i + n)));
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function exists(path: string): Promise<boolean> {
  return Deno.lstat(path).then(() => true, () => false);
}

/** An input that can be copied into a test. */
function visible(input: unknown): string {
  const text = input instanceof Uint8Array ? new TextDecoder().decode(input) : input;
  return JSON.stringify(text).slice(0, 2_000).replace(
    /[^\x20-\x7e]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
