// Runs on the host: how many framed commands a session gets through in a second, and what the first answer takes.
import { PctContainer } from "../../lib/container/connection.ts";
import { Pct } from "../../lib/container/pct.ts";
import { sh } from "../../lib/shell.ts";

const COMMANDS = Number(Deno.args[0]);

const started = performance.now();
const container = new PctContainer(new Pct(), 901);
await container.open();
const opened = performance.now();
for (let i = 0; i < COMMANDS; i++) await container.read(sh`:`);
const read = performance.now();
for (let i = 0; i < COMMANDS; i++) await container.write(sh`:`);
const written = performance.now();
await container.close();
console.log(JSON.stringify({
  open: opened - started,
  read: (read - opened) / COMMANDS,
  write: (written - read) / COMMANDS,
}));
Deno.exit();
