import { assertEquals, assertRejects } from "@std/assert";
import { Failure } from "../errors.ts";
import { Frame } from "./frame.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test("a frame has ended when both outputs have, and takes nothing after that", async () => {
  const seen: string[] = [];
  const onOutput = (chunk: Uint8Array, stream: string) => void seen.push(`${stream} ${decode(chunk)}`);
  const frame = new Frame("c", { onOutput }, () => {});
  frame.take("stdout", encode("of an earlier command"));
  frame.begin("stdout", "42");
  frame.begin("stderr", undefined);
  // The reader of a pipe may use its buffer again.
  const buffer = encode("a");
  frame.take("stdout", buffer);
  buffer[0] = 0;
  frame.take("stderr", encode("e"));
  frame.take("stdout", encode("b"));
  assertEquals([frame.pid, decode(frame.stdout), decode(frame.stderr)], [42, "ab", "e"]);
  frame.end("stdout", 3);
  frame.take("stdout", encode("of a later command"));
  frame.end("stderr", 3);
  assertEquals(await frame.result, { code: 3, stdout: encode("ab"), stderr: encode("e") });
  assertEquals(seen, ["stdout a", "stderr e", "stdout b"]);
});

Deno.test("what a command says that cannot begin is kept, the last of it", () => {
  const frame = new Frame("c", {}, () => {});
  for (let i = 0; i < 100; i++) frame.take("stderr", encode("x".repeat(100)));
  frame.take("stderr", encode("no such user"));
  assertEquals([frame.stderr.length, decode(frame.stderr.slice(-12))], [4096, "no such user"]);
});

Deno.test("a frame with too much output is ended once, and fails when it has ended", async () => {
  let ended = 0;
  const frame = new Frame("c", { maxOutputBytes: 3 }, () => ended++);
  frame.begin("stdout", "42");
  frame.begin("stderr", undefined);
  frame.take("stdout", encode("abc"));
  assertEquals(ended, 0);
  frame.take("stdout", encode("d"));
  frame.take("stdout", encode("e"));
  assertEquals([ended, decode(frame.stdout)], [1, "abc"]);
  frame.end("stdout", 143);
  frame.end("stderr", 143);
  await assertRejects(() => frame.result, Failure, "its stdout exceeds 3 bytes");
});
