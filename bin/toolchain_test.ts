import { assertEquals, assertMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { testWith } from "../tests/support/permission.ts";

const root = fromFileUrl(import.meta.resolve("../"));
const local = join(root, "lib/std/import_map.json");

// These start Deno, serve on loopback and write a cache.
const test = (name: string, fn: () => Promise<void>) => testWith(["run", "net", "read", "write"], name, fn);

// Whatever surrounds the tests, they start undecided and reach loopback directly.
const surroundings = { PHOENIX_IMPORTS: "", NO_PROXY: "127.0.0.1", NO_COLOR: "1" };

interface Invocation {
  project?: string;
  env?: Record<string, string>;
  net?: string;
}

function toolchain(args: string[], { project = root, env = {}, net = "--allow-net" }: Invocation): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--no-prompt", "--allow-run", net, "--allow-env=PHOENIX_IMPORTS,JSR_URL", "bin/toolchain.ts"],
      ...args,
    ],
    cwd: project,
    env: { ...surroundings, ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

async function run(args: string[], invocation: Invocation = {}) {
  const { code, stdout, stderr } = await toolchain(args, invocation).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

// Prints where a bare name leads.
const resolvePath = ["eval", 'console.log(import.meta.resolve("@std/path"))'];
const fromJsr = "jsr:@std/path@^1.1.5\n";
const fromHere = `${new URL("../lib/std/path.ts", import.meta.url)}\n`;

test("PHOENIX_IMPORTS decides where imports come from", async () => {
  assertEquals(await run(resolvePath, { env: { PHOENIX_IMPORTS: "jsr" } }), {
    code: 0,
    stdout: fromJsr,
    stderr: "Imports: JSR, as PHOENIX_IMPORTS says\n",
  });
  assertEquals(await run(resolvePath, { env: { PHOENIX_IMPORTS: "local" } }), {
    code: 0,
    stdout: fromHere,
    stderr: "Imports: local modules, as PHOENIX_IMPORTS says\n",
  });
});

test("any other value of PHOENIX_IMPORTS is an error that names the two", async () => {
  assertEquals(await run(resolvePath, { env: { PHOENIX_IMPORTS: "npm" } }), {
    code: 1,
    stdout: "",
    stderr: 'PHOENIX_IMPORTS is "npm": set it to "jsr" or "local", or leave it out to let the network decide\n',
  });
});

test("a JSR_URL that is no URL is an error that names it", async () => {
  assertEquals(await run(resolvePath, { env: { JSR_URL: "jsr.example" } }), {
    code: 1,
    stdout: "",
    stderr: 'JSR_URL is "jsr.example": set it to the URL of a JSR registry, or leave it out for https://jsr.io\n',
  });
});

test("a registry that serves packages is used", async () => {
  await using server = serve(() => Response.json({ versions: {} }));
  assertEquals(await run(resolvePath, { env: { JSR_URL: server.url } }), {
    code: 0,
    stdout: fromJsr,
    stderr: `Imports: JSR, as ${server.host} answers\n`,
  });
});

test("a registry that serves something else is not used", async () => {
  await using portal = serve(() => new Response("<html>Please log in</html>"));
  assertEquals(await run(resolvePath, { env: { JSR_URL: portal.url } }), {
    code: 0,
    stdout: fromHere,
    stderr: `Imports: local modules, as ${portal.host} answers with something else than a package\n`,
  });
  await using proxy = serve(() => new Response("{}", { status: 403 }));
  assertEquals(
    (await run(resolvePath, { env: { JSR_URL: proxy.url } })).stderr,
    `Imports: local modules, as ${proxy.host} answers with status 403\n`,
  );
});

test("a registry that refuses connections is not used", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const host = `127.0.0.1:${listener.addr.port}`;
  listener.close();
  assertEquals(await run(resolvePath, { env: { JSR_URL: `http://${host}` } }), {
    code: 0,
    stdout: fromHere,
    stderr: `Imports: local modules, as ${host} cannot be reached\n`,
  });
});

test("a registry that accepts and keeps silent is not waited for", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const host = `127.0.0.1:${listener.addr.port}`;
  assertEquals(await run(resolvePath, { env: { JSR_URL: `http://${host}/` } }), {
    code: 0,
    stdout: fromHere,
    stderr: `Imports: local modules, as ${host} does not answer within 800 ms\n`,
  });
});

test("a registry that may not be asked is not used", async () => {
  await using server = serve(() => Response.json({ versions: {} }));
  assertEquals(
    (await run(resolvePath, { env: { JSR_URL: server.url }, net: "--allow-net=jsr.io" })).stderr,
    `Imports: local modules, as ${server.host} is not among the permitted addresses\n`,
  );
});

test("packages in Deno's cache are used, whether the registry answers or not", async () => {
  const project = await Deno.makeTempDir();
  try {
    for (const file of ["bin/toolchain.ts", "lib/std/import_map.json", "deno.json"]) {
      await Deno.mkdir(join(project, file, ".."), { recursive: true });
      await Deno.copyFile(join(root, file), join(project, file));
    }
    const { imports } = JSON.parse(await Deno.readTextFile(join(root, "deno.json")));
    const names = Object.keys(imports).filter((name) => name.startsWith("@std/"));
    await Deno.writeTextFile(join(project, "all.js"), names.map((name) => `import "${name}";`).join("\n"));

    const server = await serveEmptyPackages(names, imports);
    const env = { JSR_URL: server.url, DENO_DIR: join(project, "cache") };
    const { code } = await toolchain(["cache", "all.js"], { project, env: { ...env, PHOENIX_IMPORTS: "jsr" } })
      .output();
    assertEquals(code, 0);
    await server[Symbol.asyncDispose]();

    assertEquals(await run(resolvePath, { project, env }), {
      code: 0,
      stdout: fromJsr,
      stderr: "Imports: JSR, from Deno's cache\n",
    });

    // The cache emptied, it is the registry's turn again.
    for await (const entry of Deno.readDir(join(env.DENO_DIR, "remote/http"))) {
      await Deno.remove(join(env.DENO_DIR, "remote/http", entry.name), { recursive: true });
    }
    assertEquals(
      (await run(resolvePath, { project, env })).stderr,
      `Imports: local modules, as ${server.host} cannot be reached\n`,
    );
  } finally {
    await Deno.remove(project, { recursive: true });
  }
});

test("Deno gets the arguments as they are, and its exit code is ours", async () => {
  const args = ["", "a b", "--check", "--", "$HOME"];
  const { code, stdout } = await run(["eval", "console.log(JSON.stringify(Deno.args)); Deno.exit(7)", ...args], {
    env: { PHOENIX_IMPORTS: "local" },
  });
  assertEquals({ code, args: JSON.parse(stdout) }, { code: 7, args });
});

test("without a subcommand there is nothing to run", async () => {
  for (const args of [[], ["--allow-read"]]) {
    const { code, stderr } = await run(args);
    assertEquals(code, 1);
    assertMatch(stderr, /^Usage: .*\n$/);
  }
});

for (const [signal, expected] of [["SIGHUP", 129], ["SIGINT", 130], ["SIGTERM", 143]] as const) {
  test(`${signal} reaches Deno, which ends in its own way`, async () => {
    const program = `
      const kept = setInterval(() => {}, 60_000);
      Deno.addSignalListener("${signal}", () => {
        console.log("cleaned up");
        Deno.exit(${expected});
      });
      console.log("ready");
    `;
    await using child = toolchain(["eval", program], { env: { PHOENIX_IMPORTS: "local" } }).spawn();
    const output: string[] = [];
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      output.push(text);
      if (text.includes("ready")) child.kill(signal);
    }
    await child.stderr.cancel();
    assertEquals({ output: output.join(""), code: (await child.status).code }, {
      output: "ready\ncleaned up\n",
      code: expected,
    });
  });
}

test("importArguments says on stderr what it found, unless PHOENIX_IMPORTS decided", async () => {
  const module = JSON.stringify(import.meta.resolve("./toolchain.ts"));
  const program = `
    const { importArguments } = await import(${module});
    console.log(JSON.stringify(await importArguments()));
  `;
  const call = async (env: Record<string, string>) => {
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", program],
      env: { ...surroundings, ...env },
    }).output();
    return [JSON.parse(new TextDecoder().decode(stdout)), new TextDecoder().decode(stderr)];
  };
  const config = `--config=${join(root, "deno.json")}`;
  assertEquals(await call({ PHOENIX_IMPORTS: "local" }), [[config, `--import-map=${local}`], ""]);
  assertEquals(await call({ PHOENIX_IMPORTS: "jsr" }), [[config], ""]);
  await using server = serve(() => Response.json({ versions: {} }));
  assertEquals(await call({ JSR_URL: server.url }), [[config], `Imports: JSR, as ${server.host} answers\n`]);
});

// On a machine that is new, Deno's cache has the packages that the lock file names, but not npm's lists of their
// versions.
test("a module elsewhere gets npm's packages as the lock file has them, without asking npm", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const info = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
    const { npmCache } = JSON.parse(new TextDecoder().decode(info.stdout));
    await new Deno.Command("cp", { args: ["-r", npmCache, join(folder, "npm")] }).output();
    await new Deno.Command("find", { args: [join(folder, "npm"), "-name", "registry.json", "-delete"] }).output();
    const module = join(folder, "module.ts");
    await Deno.writeTextFile(module, 'import { $ } from "dax";\nconsole.log(typeof $);\n');
    const program = `
    const { importArguments } = await import(${JSON.stringify(import.meta.resolve("./toolchain.ts"))});
    const args = ["run", "--cached-only", "--allow-env", "--allow-read", ...await importArguments(), ${
      JSON.stringify(module)
    }];
    const { code } = await new Deno.Command(Deno.execPath(), { args }).output();
    Deno.exit(code);
  `;
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", program],
      env: { ...surroundings, PHOENIX_IMPORTS: "local", DENO_DIR: folder },
    }).output();
    assertEquals({ code, stderr: new TextDecoder().decode(stderr) }, { code: 0, stderr: "" });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

test("what runs below decides the same", async () => {
  await using server = serve(() => new Response(null, { status: 503 }));
  const { stdout } = await run(["eval", 'console.log(Deno.env.get("PHOENIX_IMPORTS"))'], {
    env: { JSR_URL: server.url },
  });
  assertEquals(stdout, "local\n");
});

function serve(handler: (request: Request) => Response) {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
  const host = `127.0.0.1:${server.addr.port}`;
  return { host, url: `http://${host}/`, [Symbol.asyncDispose]: () => server.shutdown() };
}

/** A registry in which each package, in the version that `imports` asks for, is one empty module. */
async function serveEmptyPackages(names: string[], imports: Record<string, string>) {
  const text = "export {};\n";
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const manifest = { "/mod.ts": { size: text.length, checksum: `sha256-${new Uint8Array(digest).toHex()}` } };
  const documents = new Map(names.flatMap((name) => {
    const version = imports[name]?.split("^").at(-1) ?? "";
    return [
      [`/${name}/meta.json`, JSON.stringify({ versions: { [version]: {} } })],
      [`/${name}/${version}_meta.json`, JSON.stringify({ manifest, exports: { ".": "./mod.ts" } })],
      [`/${name}/${version}/mod.ts`, text],
    ];
  }));
  return serve((request) => {
    const document = documents.get(new URL(request.url).pathname);
    return new Response(document ?? null, { status: document === undefined ? 404 : 200 });
  });
}
