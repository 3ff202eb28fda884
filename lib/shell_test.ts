import { assertEquals, assertThrows } from "@std/assert";
import { testWith } from "../tests/support/permission.ts";
import { Secret } from "./secret.ts";
import { lines, quote, Script, sh } from "./shell.ts";

Deno.test("every interpolated value is one word, an array one for each element, a script is inserted", () => {
  assertEquals(sh`echo ${"a b"} ${7} ${["x", "it's"]} ${""} ${sh`| cat`}`.text, `echo 'a b' 7 x 'it'\\''s' '' | cat`);
  assertEquals(sh`run ${[]}`.text, "run ");
});

Deno.test("backslashes belong to the shell, but for those that TypeScript's syntax needs", () => {
  assertEquals(sh`printf '%s\n' "\${x%% *}" \`id\``.text, "printf '%s\\n' \"${x%% *}\" `id`");
});

// Secrets are redacted in every line.
Deno.test("a secret is in the text that runs, and nowhere else", () => {
  const token = new Secret("token", "hunter2");
  const script = lines(sh`login ${token}`, sh`use ${["a", token]}`);
  assertEquals(script.text, "login hunter2\nuse a hunter2");
  assertEquals(`${script}`, "login '[secret: token]'\nuse a '[secret: token]'");
  assertEquals([`${token}`, JSON.stringify({ token }), Deno.inspect(token)].join().includes("hunter2"), false);
  assertThrows(() => new Secret("token", ""), TypeError);
});

// Shells drop a NUL without a word.
Deno.test("a NUL character is refused, and half a character", () => {
  assertThrows(() => quote("a\0b"), TypeError, '"a\\u0000b"');
  assertThrows(() => sh`echo ${"\0"}`, TypeError);
  // JavaScript's own: half of a pair of surrogates becomes U+FFFD on its way, and a file of another name.
  assertThrows(() => quote("a\ud83d"), TypeError, "half a character");
});

// Safety: no value can become syntax, whatever it is. The shell itself is the judge.
testWith(["run"], "any value arrives in the command as it is", async () => {
  const alphabet = [
    "'",
    '"',
    "\\",
    "$",
    "`",
    "\n",
    " ",
    "\t",
    ";",
    "&",
    "*",
    "!",
    "~",
    "#",
    "(",
    "é",
    "日",
    "🙂",
    "a",
    "-",
    "\x1b",
    "$(id)",
    "=",
    "%",
  ];
  const random = (n: number) => crypto.getRandomValues(new Uint32Array(1))[0]! % n;
  const values = Array.from(
    { length: 300 },
    () => Array.from({ length: random(12) }, () => alphabet[random(alphabet.length)]).join(""),
  );
  const script: Script = sh`printf '%s\0' ${values}`;
  const { stdout } = await new Deno.Command("/bin/sh", { args: ["-c", script.text], env: { LC_ALL: "C.UTF-8" } })
    .output();
  assertEquals(new TextDecoder().decode(stdout).split("\0").slice(0, -1), values);
});
