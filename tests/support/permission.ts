/**
 * Tests that need a permission: ignored, and saying which one is missing, where they are run without it.
 *
 * @module
 */

/**
 * Which of these permissions are not granted, as the end of a sentence: `needs --allow-run`; `undefined` where all of
 * them are.
 */
export function missingPermissions(permissions: readonly Deno.PermissionName[]): string | undefined {
  const missing = permissions.filter((name) => Deno.permissions.querySync({ name }).state !== "granted");
  return missing.length === 0 ? undefined : `needs ${missing.map((name) => `--allow-${name}`).join(" ")}`;
}

/** Registers a test that is ignored, with the reason in its name, unless `reason` is `undefined`. */
export function testUnless(
  reason: string | undefined,
  name: string,
  fn: (t: Deno.TestContext) => void | Promise<void>,
): void {
  Deno.test({ name: reason === undefined ? name : `${name} (${reason})`, ignore: reason !== undefined, fn });
}

/** Registers a test that is ignored where one of `permissions` is not granted. */
export function testWith(
  permissions: readonly Deno.PermissionName[],
  name: string,
  fn: (t: Deno.TestContext) => void | Promise<void>,
): void {
  testUnless(missingPermissions(permissions), name, fn);
}
