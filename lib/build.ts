/**
 * What is fixed when an executable is built: `deno task compile` puts a module with other values in the place of this
 * one. There is no variable and no option that changes them at run time.
 *
 * @module
 */

/** The version of this program. */
export const VERSION = "0.1.0";

/** The commit that an executable was built from, with `+modified` where the files were not those of the commit. */
export const REVISION = "development";

/** Where Proxmox installs `pct`. Not looked up in `PATH`: cron's has no `/usr/sbin`, another may hold anything. */
export const PCT_PATH = "/usr/sbin/pct";
