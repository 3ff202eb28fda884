import { assertEquals, assertThrows } from "@std/assert";
import { testWith } from "../tests/support/permission.ts";
import { ShellReader } from "./shell_syntax.ts";
import { sh } from "./shell.ts";

/** What a word at the place of each `@` would be inside of. */
function enclosures(text: string): (string | undefined)[] {
  const reader = new ShellReader();
  const [first = "", ...rest] = text.split("@");
  reader.read(first);
  return rest.map((piece) => {
    const { enclosure } = reader;
    reader.readWord();
    reader.read(piece);
    return enclosure;
  });
}

const free = undefined;
const single = "single quotes";
const double = "double quotes";
const arithmetic = "an arithmetic expansion";
const document = "a here-document";

const CASES: [text: string, ...expected: (string | undefined)[]][] = [
  ["echo @ a@ @b 'x'@ \"y\"@ \\'@", free, free, free, free, free, free],
  ["echo '@' \"@\" 'it'\\''s @' @", single, double, single, free],
  ['echo "a \\" @" @ "\\\\" @', double, free, free],
  ["echo \"it's @\" @ 'a \" @' @", double, free, single, free],
  // A command within double quotes begins anew.
  ['x="$(cat @ "@" \'@\') @" @', free, double, single, double, free],
  ["x=\"`cat @` @\" @ `echo '@'`", "backticks", double, free, "backticks"],
  ['x="$(a "$(b @) @") @"', free, double, double],
  ['x="$((1 + @)) @" y=$(( (@) << 2 )) z=@', arithmetic, double, arithmetic, free],
  // So does a parameter's expansion, but for where it stands.
  ['echo ${x:-@} "${x:-@}" ${x%\'@\'} "${x#it\'s @}" @', free, double, single, double, free],
  ["echo ${#x} $# @ ${x# @}", free, free],
  // Comments end with their line; a "#" in a word begins none.
  ["a # it's @\nb @ c#d' @'", "a comment", free, single],
  ["# @", "a comment"],
  ["a;# '\nb @", free],
  ["a \\# ' @ '", single],
  // The pattern of a case command ends with a parenthesis that nothing has begun.
  ['x="$(case @ in a) echo @ ;; (b) echo "@" ;; esac) @" @', free, free, double, double, free],
  ['x="$(if case a in a) :; esac; then echo @; fi) @"', free, double],
  ['x="$(echo case) @"', double],
  ["case $x in a) b '@' ;; esac; c @", single, free],
  ["( cd @; (a @) ) @ && { b @; }", free, free, free, free],
  // Here-documents.
  ["cat <<END\nit's @\nEND\nb @", document, free],
  ["cat <<'END' @\n@\n END\n@\nEND\n@", free, document, document, free],
  ["cat <<-END\n\t@\n\tEND\n@", document, free],
  ['cat <<A <<"B"; c @\n@\nA\n@\nB\n@', free, document, document, free],
  ["cat << \\END\n@\nEND\n@", document, free],
  ["cat <<@\n", "the end of a here-document"],
  ["cat <<<@ @", free, free],
  ["x=$(cat <<END\n)@\nEND\n) @", document, free],
];

Deno.test("where a value may stand in a command, and what it would be inside of elsewhere", () => {
  for (const [text, ...expected] of CASES) assertEquals(enclosures(text), expected, text);
});

Deno.test("a value between quotes, in a comment or in a here-document is refused, with the way to write it", () => {
  const value = "a b; id -u";
  assertThrows(
    () => sh`echo '${value}'`,
    TypeError,
    "Cannot put \"'a b; id -u'\" into a shell command inside of single quotes: a value is quoted already. " +
      'Write it outside of them, such as: echo "Hello "${name}',
  );
  assertThrows(() => sh`echo "${value}"`, TypeError, "inside of double quotes");
  assertThrows(() => sh`echo "${sh`id`}"`, TypeError, "inside of double quotes");
  assertThrows(() => sh`echo # ${value}`, TypeError, "inside of a comment");
  assertThrows(
    () =>
      sh`cat <<END
${value}
END`,
    TypeError,
    "inside of a here-document",
  );
  // A script that is inserted is read, too.
  assertThrows(() => sh`${sh`echo "`} ${value}`, TypeError, "inside of double quotes");
  assertEquals(sh`x="$(cat ${value})"`.text, "x=\"$(cat 'a b; id -u')\"");
});

// The shell itself is the judge: where a value may stand, it arrives as it is, and nothing of it is run.
testWith(["run"], "a value that is let in arrives as it is, and nothing of it is run", async () => {
  const pieces = [
    "'",
    '"',
    "\\",
    "$(",
    ")",
    "`",
    "${x:-",
    "}",
    "(",
    "#",
    " ",
    "\n",
    ";",
    "a",
    "case x in x)",
    "esac",
    "<<E",
    "E",
  ];
  const value = "v;echo ESCAPED\n`echo ESCAPED`$(echo ESCAPED)'\"";
  let letIn = 0;
  for (let i = 0; i < 4_000; i++) {
    const length = 1 + crypto.getRandomValues(new Uint32Array(1))[0]! % 9;
    const before = Array.from(crypto.getRandomValues(new Uint32Array(length)), (n) => pieces[n % pieces.length]).join(
      "",
    );
    const reader = new ShellReader();
    reader.read(before);
    if (reader.enclosure !== undefined) continue;
    letIn++;
    // Closed by whatever it takes, most of these are no commands; none of them may run what is in the value.
    const word = `'${value.replaceAll("'", `'\\''`)}'`;
    const closings = ["", ")", "}", "`", '"', ')"', '}"', "\nesac", "\n;; esac)", "\nE\n"];
    const text = closings.map((closing) => `${before} ${word} ${closing}`);
    if (i % 20 !== 0) continue; // Each takes processes.
    for (const script of text) {
      const { stdout, stderr } = await new Deno.Command("/bin/sh", {
        args: ["-c", script],
        clearEnv: true,
        env: { PATH: "/nowhere", x: "" },
      }).output();
      const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      assertEquals(/^ESCAPED$/m.test(said), false, script);
    }
  }
  assertEquals(letIn > 100, true);
});
