// A setup that does what no setup should: it tries to do what it does not declare.
import { file, hostCommand, http, setup, type SetupContext } from "../../../lib/mod.ts";

/** A path or an address that neither the type checker nor the bundler looks at. */
const hidden = (text: string): string => text;

/** What it tries, by the name of the attempt. */
export const ATTEMPTS = {
  "nothing": () => {},
  "net": () => fetch("http://10.9.9.9/"),
  "net, in a step": ({ ensure }) => ensure(http("https://10.9.9.9", { from: "host", insecure: true })),
  "net, through a Node module": async () => {
    const { connect } = await import("node:net");
    await new Promise((_, reject) => connect(80, "10.9.9.9").on("error", reject));
  },
  "read": () => Deno.readTextFile("/etc/shadow"),
  "read, in a step": ({ ensure }) => ensure(file("/x", { from: "/etc/shadow" })),
  "read, through a Node module, wrapped": async () => {
    const { readFile } = await import("node:fs/promises");
    await readFile("/etc/shadow").catch((cause) => {
      throw new Error("no luck", { cause });
    });
  },
  "write": () => Deno.writeTextFile("/etc/x", ""),
  "write, to the folder of the setups": () =>
    Deno.writeTextFile("/usr/local/phoenix_hypervisor/bin/phoenix_hypervisor_setup_901", ""),
  "read, by an import": () => import(hidden("file:///etc/x.js")),
  "an import from another machine": () => import(hidden("https://10.9.9.9/x.js")),
  "run": ({ ensure }) => ensure(hostCommand("x", ["/bin/id"], { unless: ["/bin/id"] })),
  "env": () => Deno.env.get("SECRET"),
  "env, all of it": () => Deno.env.toObject(),
  "ffi": () => Deno.dlopen("/lib/x.so", {}),
  "sys": () => Deno.hostname(),
  "an error that nobody waits for": () => {
    setTimeout(() => Deno.readTextFileSync("/etc/shadow"));
    return new Promise(() => {});
  },
} satisfies Record<string, (context: SetupContext) => unknown>;

/** Makes the attempt that the environment names. */
export const attempts = setup(907, "tries", { environment: ["ATTEMPT"] }, async (context) => {
  const attempt = context.environment("ATTEMPT");
  for (const [name, attempted] of Object.entries(ATTEMPTS)) if (name === attempt) await attempted(context);
});
