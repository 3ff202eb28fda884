import { assertEquals, assertRejects } from "@std/assert";
import { testWith } from "../../tests/support/permission.ts";
import { Pct } from "../container/pct.ts";
import { refusalIn } from "../run/permission.ts";
import { thisHost } from "./this_host.ts";

const host = thisHost(new Pct(), 901);

// What the setup does not declare is its own fault, and not the server's.
const ignore = Deno.permissions.querySync({ name: "net" }).state !== "granted";
Deno.test({
  name: `the host does not ask whom it may not ask, by number or by name${ignore ? " (needs --allow-net)" : ""}`,
  ignore,
  permissions: { net: ["127.0.0.1:9"] },
  async fn() {
    for (const url of ["http://127.0.0.2:9/", "http://localhost:9/x", "https://localhost:9/"]) {
      const asking = () => host.request(url, { insecure: true, timeout: 1_000 });
      const error = await assertRejects(asking, Deno.errors.NotCapable);
      assertEquals([refusalIn(error)?.access, refusalIn(error)?.to], ["net", new URL(url).host]);
    }
  },
});

// A proxy of the orchestrator's environment knows nothing of the containers' network.
testWith(["net", "env"], "the host asks without a proxy", async () => {
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, () => new Response("there"));
  Deno.env.set("HTTP_PROXY", "http://127.0.0.1:1");
  try {
    const url = `http://127.0.0.1:${server.addr.port}/`;
    const reply = await host.request(url, { insecure: false, timeout: 5_000 });
    assertEquals(reply, { status: 200, body: "there" });
  } finally {
    Deno.env.delete("HTTP_PROXY");
  }
});
