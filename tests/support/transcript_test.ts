import { assertEquals, assertNotEquals } from "@std/assert";
import { testWith } from "./permission.ts";
import { project } from "./test_host.ts";
import { transcriptOf } from "./transcript.ts";

/** A run as it could be, with this among what it printed. */
function run(stdout: string, code = 0) {
  return { command: ["901.ts", "901"], code, stdout, stderr: "" };
}

Deno.test("a transcript is the same whenever, however fast and with whatever ids something ran", () => {
  const [one, other] = [
    ["2026-11-29T11:07:43.650Z", "369 ms", "3.8 s; slowest: container portainer (3.0 s)", "42", "0123456789ab"],
    ["2027-01-01T00:00:00.000Z", "1 min 3 s", "2 h 5 min", "4242", `sha256:${"f".repeat(64)}`],
  ].map(([time, step, run, pid, id]) =>
    `\
${time} INFO 901.ts: Step 2: image app:1: changed (${step})
${time} INFO 901.ts:     image: ${id}
${time} INFO 901.ts: 3 unchanged, 2 changed in ${run}
${time} INFO 901.ts: another run holds it: process ${pid}
`
  );
  assertEquals(transcriptOf(run(one!)), transcriptOf(run(other!)));
});

Deno.test("a transcript differs with what was said, where it was said, and how it ended", () => {
  const line = "Step 1: image app:1: changed (1.0 s)\n    within: 300 ms -> 400 ms\n";
  const transcript = transcriptOf(run(line));
  assertNotEquals(transcriptOf(run(line, 1)), transcript);
  assertNotEquals(transcriptOf({ ...run(""), stderr: line }), transcript);
  for (const [part, other] of [["changed", "unchanged"], ["app:1", "app:2"], ["300 ms", "200 ms"], ["1:", "2:"]]) {
    assertNotEquals(transcriptOf(run(line.replace(part!, other!))), transcript, part);
  }
});

testWith(["read"], "every transcript is one that a case compares", async () => {
  const cases = `${project}tests/cases`;
  let text = "";
  for await (const { name } of Deno.readDir(cases)) {
    if (name.endsWith("_test.ts")) text += await Deno.readTextFile(`${cases}/${name}`);
  }
  for await (const { name } of Deno.readDir(`${cases}/transcripts`)) {
    assertEquals(
      text.includes(`"${name.replace(/\.txt$/, "")}"`),
      true,
      `${name} is compared by no case`,
    );
  }
});
