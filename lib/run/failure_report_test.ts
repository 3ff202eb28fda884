import { assertEquals } from "@std/assert";
import { ConfigurationError } from "./configuration.ts";
import { SessionLost } from "../errors.ts";
import type { RunEvent } from "../events.ts";
import { reportFailure } from "./failure_report.ts";

// A known pattern has a hint, also before the first step; what the host says of a file is none of the container's
// patterns.
Deno.test("a session that cannot be opened says what to do", () => {
  const said = (error: Error) => {
    const events: RunEvent[] = [];
    const code = reportFailure(
      { report: (event) => events.push(event), again: "901.ts 901", configuration: undefined },
      error,
    );
    return [code, ...events.map((event) => event.event === "message" ? event.text : "")];
  };
  assertEquals(said(new SessionLost("and said: container '901' not running!")), [
    3,
    "and said: container '901' not running!",
    "What to do: The container was stopped: start it, and run this again",
  ]);
  assertEquals(said(new ConfigurationError("Permission denied")), [2, "Permission denied"]);
});
