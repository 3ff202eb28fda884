import { assert, assertEquals, assertMatch } from "@std/assert";
import { Secret } from "../secret.ts";
import { everyEvent, logOf, shown } from "../../tests/support/log.ts";
import { message } from "../events.ts";

// In every line, error, difference and event that leaves the program, also in encoded forms.
Deno.test("a secret is nowhere in the log, in no form of it and in no form of the log", () => {
  const value = 'hf_"ä b\\c+/?&=%\t1';
  const encoded = {
    plain: value,
    base64: new TextEncoder().encode(value).toBase64(),
    json: JSON.stringify(value).slice(1, -1),
    url: encodeURIComponent(value),
  };
  for (const form of ["terminal", "lines", "json"] as const) {
    for (const [name, text] of Object.entries(encoded)) {
      const { log, out, file } = logOf({ form, level: "DEBUG", color: form === "terminal" });
      log.openFile("/log", "DEBUG", () => file);
      log.conceal(new Secret("token", value));
      for (const event of everyEvent(`<${text}>`)) log.report(event);
      log.flush();
      for (const [where, written] of Object.entries(out)) {
        for (const form of [...Object.values(encoded), encoded.base64.replace(/=+$/, ""), "hf_"]) {
          assert(!written.includes(form), `${name} in ${where}`);
        }
        // Base64's padding tells nothing.
        if (written !== "") assertMatch(written, /<\[secret: token\]=*>/);
      }
    }
  }
});

// Output is logged line by line, so a secret of several lines, or one with a line break at its end, never appears as a
// whole.
Deno.test("each line of a secret is concealed, and a short one that tells nothing is not", () => {
  const { log, out } = logOf();
  log.conceal(new Secret("key", "-----BEGIN-----\nMIIEvQIBADAN\n}\n"));
  log.conceal(new Secret("token", "abcd\n"));
  log.conceal(new Secret("long", "abcdef"));
  for (const text of ["key: MIIEvQIBADAN", "{}", "token=abcd;", "abcdef"]) log.report(message("info", text));
  assertEquals(
    shown(out.stdout),
    "INFO key: [secret: key]\nINFO {}\nINFO token=[secret: token];\nINFO [secret: long]\n",
  );
});

// Also where a tool has put it into another form, or into something longer.
Deno.test("a secret is found in base64 at every place, wrapped, in JSON, in URLs and in shell quotes", () => {
  const value = `hf_"é 'b\\c+/?&=%<${"x".repeat(60)}`;
  const bytes = (text: string) => new TextEncoder().encode(text);
  const texts = [
    ...["", "u", "us", "use", "user:"].flatMap((before) =>
      ["", ";", ";;"].map((after) => bytes(before + value + after).toBase64())
    ),
    bytes(`u${value}`).toBase64({ alphabet: "base64url" }),
    ...bytes(value).toBase64().match(/.{1,76}/g)!.slice(0, -1),
    ...bytes(value).toBase64().match(/.{1,64}/g)!.slice(0, -1),
    JSON.stringify(JSON.parse(JSON.stringify(value))),
    JSON.stringify(value).replaceAll("/", "\\/"),
    JSON.stringify(value).replaceAll("é", "\\u00e9"),
    JSON.stringify(value).replaceAll("&", "\\u0026").replaceAll("<", "\\u003c"),
    `https://h/?token=${encodeURIComponent(value)}`,
    encodeURIComponent(value).replace(/%../g, (code) => code.toLowerCase()),
    String(new URLSearchParams({ token: value })),
    `+ login 'hf_"é '\\''b${value.slice(value.indexOf("b") + 1)}'`,
  ];
  for (const text of texts) {
    const { log, out } = logOf();
    log.conceal(new Secret("token", value));
    log.report(message("info", text));
    assertMatch(out.stdout, /\[secret: token\]/, text);
    // Of base64, what stands at the two ends of it is also its neighbours'.
    assert(!/eHh4|xxxx/.test(out.stdout), `${text} became ${out.stdout}`);
  }
});

// A whole file can be a secret.
Deno.test("a secret of hundreds of kilobytes is concealed, and so is each of several secrets", () => {
  const { log, out } = logOf();
  const long = "0123456789".repeat(30_000);
  log.conceal(new Secret("long", long));
  log.conceal(new Secret("short", "456$&78"));
  log.report(message("info", `a${long}b456$&78c`));
  assertEquals(shown(out.stdout), "INFO a[secret: long]b[secret: short]c\n");
});

// Redacted before it is cut, or told by the cut: only fewer than four characters of a secret are ever left beside one.
Deno.test("a secret that is cut is concealed on both sides of the cut", () => {
  const value = "hf_0123456789";
  for (let at = 0; at <= value.length; at++) {
    const { log, out } = logOf({ level: "DEBUG" });
    log.conceal(new Secret("token", value));
    log.report({ event: "output", stream: "stdout", text: `before ${value.slice(0, at)}…` });
    log.report({ event: "output", stream: "stdout", text: `…${value.slice(at)} after` });
    const lines = shown(out.stdout).split("\n");
    const part = (text: string) => text.length >= 4 ? "[secret: token]" : text;
    assertEquals(lines, [`DEBUG | before ${part(value.slice(0, at))}…`, `DEBUG | …${part(value.slice(at))} after`, ""]);
  }
  const { log, out } = logOf();
  log.conceal(new Secret("long", "x".repeat(100) + "0123456789"));
  log.report(message("info", `…${"x".repeat(50)}…`));
  log.report(message("info", "nothing… is …cut"));
  assertEquals(shown(out.stdout), "INFO …[secret: long]…\nINFO nothing… is …cut\n");
});
