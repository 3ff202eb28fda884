import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Setup, setup } from "./setup.ts";
import { permissionsOf } from "./permission.ts";
import { HOST_PATHS } from "../host/paths.ts";

const perform = () => Promise.resolve();

/** The values of the options, by option. */
function granted(of: Setup): Record<string, string[]> {
  return Object.fromEntries(
    permissionsOf(of).map((option) => {
      const [name, values = ""] = option.split("=");
      return [name!, values.split(",")];
    }),
  );
}

// What a setup needs of the host it declares, and its executable is permitted that and no more.
Deno.test("a setup is permitted what every setup needs, and what it declares", () => {
  const none = granted(setup(910, "Empty", perform));
  assertEquals(Object.keys(none), ["--no-prompt", "--allow-run", "-R", "-W", "-E"]);
  assertEquals(none["--allow-run"], ["/usr/sbin/pct"]);
  assertEquals(none["-W"], ["/var/log", HOST_PATHS.locks]);
  for (const path of ["/usr/sbin/pct", "/etc/pve", "/usr/local/phoenix_hypervisor", HOST_PATHS.locks]) {
    assert(none["-R"]!.includes(path), path);
  }
  assertEquals(none["-E"]!.includes("PHOENIX_*"), true);

  const all = granted(setup(910, "Needy", {
    addresses: ["10.0.0.5:80", "10.1.0.0/16"],
    reads: ["/srv/models"],
    environment: ["HF_HOME"],
  }, perform));
  assertEquals(all["-N"], ["10.0.0.5:80", "10.1.0.0/16"]);
  assertEquals(all["-R"], [...none["-R"]!, "/srv/models"]);
  assertEquals(all["-E"], [...none["-E"]!, "HF_HOME"]);
  for (const option of ["--allow-run", "-W"]) assertEquals(all[option], none[option]);
  assertEquals(granted(setup(910, "Alone", { addresses: [] }, perform))["-N"], undefined);
});

Deno.test("a setup is for a container that Proxmox can have, with a name", () => {
  const { ctid, name, needs } = setup(100, "x", { reads: ["/a"] }, perform);
  assertEquals([ctid, name, needs], [100, "x", { reads: ["/a"] }]);
  assertEquals(setup(999_999_999, "x", perform).needs, {});
  for (const ctid of [99, 0, -901, 901.5, NaN, 1_000_000_000]) {
    assertThrows(() => setup(ctid, "x", perform), TypeError, `container ${ctid}: expected an integer from 100`);
  }
  for (const name of ["", "a b", "a\nb", "-a", ".", "ä", "a_b"]) {
    assertThrows(() => setup(901, name, perform), TypeError, `expected the container's host name, found "`);
  }
});

// What is declared becomes an option of Deno, which must not permit anything else than what stands there.
Deno.test("what cannot be declared is refused when the setup is described", () => {
  const path = "expected an absolute path";
  for (
    const [needs, expected] of [
      [{ reads: ["srv/models"] }, path],
      [{ reads: ["/srv/../etc"] }, path],
      [{ writes: ["/srv/.."] }, path],
      [{ writes: ["/srv/a,/etc"] }, path],
      [{ commands: ["/bin/id /bin/sh"] }, path],
      [{ addresses: ["10.0.0.5:80,10.0.0.6"] }, "expected a host"],
      [{ environment: ["A,B"] }, "expected the name of a variable"],
    ] as const
  ) {
    const [value] = Object.values(needs).flat();
    assertThrows(() => setup(910, "x", needs, perform), TypeError, `Cannot declare "${value}"`);
    assertThrows(() => setup(910, "x", needs, perform), TypeError, expected);
  }
  setup(910, "x", { reads: ["/srv/a..b"], environment: ["HF_*"], addresses: ["[::1]:80"] }, perform);
});
