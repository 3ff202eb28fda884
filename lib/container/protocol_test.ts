import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { run, testSession } from "../../tests/support/sessions.ts";
import { sh } from "../shell.ts";
import {
  bootstrapCommand,
  bootstrapText,
  frameText,
  frameWords,
  greetingText,
  parseGreeting,
  Scanner,
} from "./protocol.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

// A shell whose input ends in the middle of a here-document takes what has come for the whole: "rm -rf /srv/app" would
// be "rm -rf /srv".
testSession("half a script is never run, wherever its session is cut off", async (session) => {
  const folder = (await run(session, sh`mktemp -d`)).stdout.trim();
  const words = frameWords();
  const script = sh`cd ${folder} && touch one
touch two`;
  const options = { seconds: 20, user: undefined };
  const texts: [text: string, ...command: string[]][] = [
    [frameText(words, session.greeting, script, { ...options, isolate: false }), "sh"],
    [frameText(words, session.greeting, script, { ...options, isolate: true }), "sh"],
    [frameText(words, session.greeting, script, { ...options, isolate: false, stdin: encode("payload") }), "sh"],
    [
      bootstrapText(words, session.greeting, script, { ...options, isolate: false }),
      ...bootstrapCommand(words, session.greeting),
    ],
  ];
  for (const [text, ...command] of texts) {
    // The greeting sets what a frame relies on.
    const before = command.length === 1 ? greetingText(words.key) : "";
    /** The files that are there when the shell has read so much of the text. */
    const made = async (length: number) => {
      const stdin = encode(before + text.slice(0, length));
      return (await run(session, sh`${command} >/dev/null 2>&1; ls ${folder}; rm -f ${folder}/*`, { stdin })).stdout;
    };
    const begin = text.indexOf(script.text);
    const end = begin + script.text.length;
    for (const cut of [begin, end - 14, end - 10, end - 6, end - 1, end]) {
      assertEquals(await made(cut), "", text.slice(begin, cut));
    }
    // Once the whole script is there, it may be run or not.
    for (const cut of [end + 40, text.length - 1]) assertMatch(await made(cut), /^(one\ntwo\n)?$/);
    assertEquals(await made(text.length), "one\ntwo\n", "uncut, it is run");
  }
  await run(session, sh`rmdir ${folder}`);
});

// The scanner must not depend on how a stream is cut into chunks.
Deno.test("sentinels are found however the stream is cut", () => {
  const nonce = "ab".repeat(16);
  const mark = `\x1e${nonce} `;
  const stream = encode(`x\x1e\x1ey${mark}begin 1 5\nout\x1e${nonce.slice(0, 20)}put\n${mark}end 1 0\ntail\x1e`);
  const parse = (cuts: number[]) => {
    let bytes = "";
    const found: string[] = [];
    const scanner = new Scanner(
      (chunk) => bytes += decode(chunk),
      ({ kind, fields }) => found.push([kind, ...fields].join(" ")),
    );
    scanner.expect(nonce);
    let at = 0;
    for (const cut of [...cuts, stream.length]) scanner.push(stream.subarray(at, at = cut));
    return { bytes, found };
  };
  const whole = parse([]);
  assertEquals(whole.found, ["begin 1 5", "end 1 0"]);
  for (let a = 0; a < stream.length; a++) {
    for (let b = a; b < stream.length; b += 3) assertEquals(parse([a, b]), whole);
  }
});

Deno.test("a greeting is believed only where all of it can be understood", () => {
  const id = "0123456789abcdef".repeat(2);
  const fields = ["42", "gnu", "1", "runuser", "1", "/run", "portainer", id, "1700000000", "7"];
  assertEquals(parseGreeting(fields), {
    pid: 42,
    timeout: "gnu",
    setsid: true,
    become: "runuser",
    resetsSignals: true,
    runFolder: "/run",
    hostname: "portainer",
    machineId: id,
    rootMade: "1700000000",
    started: "7",
  });
  // What a container does not have yet, or cannot tell.
  const { machineId, rootMade } = parseGreeting(fields.with(7, "uninitialized").with(8, "?"));
  assertEquals([machineId, rootMade], ["-", "-"]);
  for (
    const wrong of [
      fields.with(0, "x"),
      fields.with(1, "other"),
      fields.with(3, "x"),
      fields.with(6, ""),
      fields.slice(0, 9),
      [],
    ]
  ) {
    assertThrows(() => parseGreeting(wrong), TypeError, "Cannot understand the shell's greeting");
  }
});
