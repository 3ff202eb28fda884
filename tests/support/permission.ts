/**
 * Tests that need a permission: ignored, and saying which one is missing, where they are run without it.
 *
 * @module
 */

/** Registers a test that is ignored where one of `permissions` is not granted. */
export function testWith(
  permissions: readonly Deno.PermissionName[],
  name: string,
  fn: (t: Deno.TestContext) => void | Promise<void>,
): void {
  const missing = permissions.filter((permission) =>
    Deno.permissions.querySync({ name: permission }).state !== "granted"
  );
  const why = missing.map((permission) => `--allow-${permission}`).join(" ");
  Deno.test({ name: why === "" ? name : `${name} (needs ${why})`, ignore: why !== "", fn });
}
