/**
 * Docker's steps and those of GPUs: from nothing, from what is right, and from what is wrong.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { imageArchive } from "../hosts/simulated/docker/archive.ts";
import type { KnownImage } from "../hosts/simulated/docker/registry.ts";
import { emittedBy } from "../support/secrets.ts";
import { type TestHost, testOnHost, type TestRun, world } from "../support/test_host.ts";
import * as setups from "./setups/docker.ts";

const DOCKER = "/var/lib/docker";

function app(more: Partial<KnownImage> = {}): KnownImage {
  return {
    created: "2025-09-01T00:00:00Z",
    config: { Env: ["PATH=/bin"], Entrypoint: ["/app"] },
    behaviour: {},
    ...more,
  };
}

/** What a check and then a run said of each step; the check has to have changed nothing. */
async function checkAndRun(
  testHost: TestHost,
  setup: string,
  state: string,
): Promise<[checked: TestRun, done: TestRun]> {
  const before = await testHost.inside(state);
  const checked = await testHost.run(setup, "--check");
  assertEquals(await testHost.inside(state), before);
  return [checked, await testHost.run(setup)];
}

testOnHost("an image of a registry that wants a login", async (testHost, t) => {
  const token = "dckr_pat_Gp4!x";
  await Deno.writeTextFile(`${testHost.host.etc}/phoenix_docker_token.conf`, `DOCKER_TOKEN=${token}\n`);
  // Written from outside, as the arguments of every `pct` are looked through in the end.
  const knows = async (password: string, knobs = {}) => {
    const images = { "registry.lan:5000/team/app:1": app({ private: true }) };
    const logins = { "registry.lan:5000": { phoenix: password } };
    await Deno.mkdir(testHost.host.rootfs(901) + DOCKER, { recursive: true });
    for (const [name, value] of Object.entries({ registry: { images, logins }, knobs })) {
      await Deno.writeTextFile(`${testHost.host.rootfs(901)}${DOCKER}/${name}.json`, JSON.stringify(value));
    }
  };
  const title = "image registry.lan:5000/team/app:1";
  const setup = await testHost.setup(setups.withLogin);
  const emitted: string[] = [];
  const noted = (run: TestRun) => {
    emitted.push(run.stdout, run.stderr, ...run.pctCalls.flat());
    return run;
  };

  await t.step("a login that is refused fails the step, which is not tried again", async () => {
    await knows("another");
    const { code, stderr } = noted(await testHost.run(setup));
    assertEquals(code, 4);
    assertStringIncludes(stderr, 'Cannot log in to registry.lan:5000 as "phoenix"');
  });

  await t.step("it is pulled when the network is back, and left alone from then on", async () => {
    await knows(token, { pull: { error: "timeout", times: 1 } });
    const [checked, done] = await checkAndRun(testHost, setup, "docker images -q");
    assertEquals([checked.code, noted(checked).outcomes[title]], [10, "would change"]);
    assertEquals([done.code, noted(done).outcomes[title]], [0, "changed"], done.stdout + done.stderr);
    assertEquals(noted(await testHost.run(setup)).outcomes[title], "unchanged");
  });

  await t.step("a run that is ended during the pull leaves nothing of the login either", async () => {
    await testHost.inside("docker rmi -f registry.lan:5000/team/app:1");
    await knows(token, { pull: { delay: 20_000 } });
    const child = await testHost.start(setup);
    await testHost.until("ls /dev/shm/phoenix_setup_docker.*/config.json 2>/dev/null");
    child.kill("SIGTERM");
    assertEquals((await child.status).code, 143);
    assertEquals(await testHost.inside("ls -A /dev/shm; docker images -q"), "");
    await knows(token);
  });

  await t.step("the token is nowhere: not inside, not in what was emitted, not in an argument", async () => {
    const forms = [token, new TextEncoder().encode(`phoenix:${token}`).toBase64()];
    const places = ["/root", "/tmp", "/run", "/dev/shm", "/var", "/etc"];
    const { stdout } = await testHost.host.run(
      "/usr/sbin/pct",
      ["exec", "901", "--", "grep", "-rlsF", "-f", "-", "--", ...places],
      { stdin: forms.join("\n") },
    );
    assertEquals(stdout, `${DOCKER}/registry.json\n`);
    assertEquals(await testHost.inside("ls -dA /dev/shm/* /run/phoenix* /tmp/phoenix* 2>/dev/null || true"), "");
    emitted.push(await emittedBy(testHost.host));
    for (const form of forms) assert(!emitted.join("\n").includes(form));
  });
});

// A second run sends nothing: an image is recognised by its id, which the archive tells.
testOnHost("an image from an archive on the host", async (testHost, t) => {
  const folder = testHost.host.outside(setups.ARCHIVES);
  await Deno.mkdir(folder, { recursive: true });
  const { archive, id } = await imageArchive(app(), ["models/server:3"]);
  await Deno.writeFile(`${folder}/server.tar`, archive);
  const zipped = await new Response(new Blob([archive]).stream().pipeThrough(new CompressionStream("gzip"))).bytes();
  await Deno.writeFile(`${folder}/server.tar.gz`, zipped);
  const images = "docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort";
  /** The names of all images, the one of the archive having its id, by which every engine keeps it apart from others. */
  const namesInside = async () => {
    const all = (await testHost.inside(images)).split("\n").map((line) => line.split(" "));
    return await Promise.all(all.map(async ([name, its]) => {
      // To containerd's image store an image's id is that of its manifest, which is made as it is loaded.
      const [config] = world !== "trixie-containerd"
        ? [its]
        : (await testHost.inside(`docker save ${name} | tar -xO manifest.json`)).match(/[0-9a-f]{64}/) ?? [];
      return config?.replace("sha256:", "") === id.replace("sha256:", "") ? `${name} of the archive` : name;
    }));
  };
  const title = `image models/server:3 from ${setups.ARCHIVES}/server.tar`;
  const setup = await testHost.setup(setups.fromArchive, "server.tar");

  await t.step("is loaded where it is missing, and not sent again", async () => {
    const [checked, done] = await checkAndRun(testHost, setup, images);
    assertEquals([checked.code, checked.outcomes[title]], [10, "would change"]);
    assertStringIncludes(checked.stdout, `    image: ${id.slice(7, 19)}\n`);
    assertEquals([done.code, done.outcomes[title]], [0, "changed"], done.stdout + done.stderr);
    assertEquals(await namesInside(), ["models/server:3 of the archive"]);
    for (const again of await checkAndRun(testHost, setup, images)) {
      assertEquals([again.code, again.outcomes[title], again.pctCalls.length], [0, "unchanged", 2]);
    }
  });

  await t.step("takes its name back from another image, without being sent again", async () => {
    await testHost.inside(
      "docker tag models/server:3 keep:1; docker pull -q busybox:1.37; docker tag busybox:1.37 models/server:3",
    );
    const [checked, done] = await checkAndRun(testHost, setup, images);
    assertEquals([checked.code, done.code, done.pctCalls.length], [10, 0, 2]);
    assertEquals(done.outcomes[title], "changed");
    assertEquals(await namesInside(), ["busybox:1.37", "keep:1 of the archive", "models/server:3 of the archive"]);
  });

  await t.step("is loaded under another name from a compressed archive", async () => {
    await testHost.inside("docker rmi -f models/server:3 keep:1");
    const other = await testHost.setup(setups.fromArchive, "server.tar.gz", "local/server");
    assertEquals((await testHost.run(other)).code, 0);
    assert((await namesInside()).includes("local/server:latest of the archive"));
    assertEquals(Object.values((await testHost.run(other)).outcomes), ["unchanged"]);
  });

  // The first of two steps makes it possible to look at the second one.
  await t.step("is pulled by its digest, once, by an engine that has to be started", async () => {
    const [digest] = JSON.parse(
      await testHost.inside("docker image inspect --format '{{json .RepoDigests}}' busybox:1.37"),
    );
    // A real engine is started by its socket as soon as it is asked; the stand-in has none.
    await testHost.inside("docker rmi -f busybox:1.37; systemctl stop docker.socket docker || systemctl stop docker");
    const pulled = await testHost.setup(setups.engineAndImage, digest);
    const titles = ["Docker engine answers", `image ${digest}`];
    const outcomes = (run: TestRun) => [run.code, ...titles.map((title) => run.outcomes[title])];
    const [checked, done] = await checkAndRun(testHost, pulled, "systemctl is-active docker || true");
    assertEquals(outcomes(checked), [10, "would change", "would change"]);
    assertEquals(outcomes(done), [0, "changed", "changed"]);
    for (const again of await checkAndRun(testHost, pulled, "docker images -q")) {
      assertEquals(outcomes(again), [0, "unchanged", "unchanged"]);
    }
  });

  await t.step("is refused, with nothing sent, when the archive is cut off or missing", async () => {
    await Deno.writeFile(`${folder}/cut.tar`, archive.subarray(0, 2000));
    for (
      const [file, why] of [["cut.tar", "it is truncated after 2000 bytes"], [
        "none.tar",
        "There is no archive",
      ]] as const
    ) {
      const { code, stderr, pctCalls } = await testHost.run(testHost.setup(setups.fromArchive, file));
      assertEquals([code, pctCalls.length], [4, 2]);
      assertStringIncludes(stderr, why);
    }
  });

  await t.step("is refused, with nothing fetched, when there is no room for it", async () => {
    await testHost.host.setFault("small-disk", 4);
    await testHost.restart();
    await testHost.inside(`systemctl stop docker
      mv ${DOCKER} /opt/small/docker && ln -s /opt/small/docker ${DOCKER} && systemctl start docker
      docker rmi -f $(docker images -q)`);
    // Zeros after the end of a tar archive belong to nothing in it.
    const padded = new Uint8Array(4 * 1024 * 1024);
    padded.set(archive);
    await Deno.writeFile(`${folder}/padded.tar`, padded);
    for (
      const [setup, least] of [
        [await testHost.setup(setups.withImage, "busybox:1.37"), 512],
        [await testHost.setup(setups.withContainer), 512],
        [await testHost.setup(setups.fromArchive, "padded.tar"), 8],
      ] as const
    ) {
      const { code, stderr, pctCalls } = await testHost.run(setup);
      assertEquals([code, pctCalls.length], [4, 2]);
      assertMatch(stderr, RegExp(`Only [0-3] MiB are free for Docker .*, expected at least ${least} MiB`));
      assertStringIncludes(stderr, "pct resize 901 rootfs +8G");
    }
    assertEquals(await testHost.inside("docker images -q; docker ps -aq"), "");
  });
});

testOnHost("containers with networks, health and files that they read, and without", async (testHost, t) => {
  await testHost.inside(`mkdir -p ${DOCKER} && cat >${DOCKER}/registry.json <<'END'
${JSON.stringify({ images: { "app:1": app() } })}
END`);
  const state =
    "docker container inspect --format '{{.Id}} {{.State.StartedAt}}' app 2>/dev/null; docker network ls --format '{{.Name}}'; cat /var/lib/phoenix_setup/docker/app 2>/dev/null; true";
  const id = () => testHost.inside("docker container inspect --format '{{.Id}} {{.State.StartedAt}}' app");
  const titles = ["file /etc/app/app.conf", "Docker network models", "container app"];
  const outcomes = (run: TestRun) => titles.map((title) => run.outcomes[title]);

  await t.step("are made from nothing, once", async () => {
    const setup = await testHost.setup(setups.application, "one\n");
    const [checked, done] = await checkAndRun(testHost, setup, state);
    assertEquals([checked.code, outcomes(checked)], [10, Array(3).fill("would change")]);
    assertEquals([done.code, outcomes(done)], [0, Array(3).fill("changed")], done.stdout + done.stderr);
    for (const again of await checkAndRun(testHost, setup, state)) {
      assertEquals([again.code, outcomes(again)], [0, Array(3).fill("unchanged")]);
    }
    assertEquals(
      await testHost.inside(
        "docker container inspect --format '{{json .NetworkSettings.Networks}}' app | tr , '\\n' | grep -c IPAMConfig",
      ),
      "2",
    );
    // The hash of a short secret is as good as the secret.
    assertEquals(await testHost.inside("stat -c %a /var/lib/phoenix_setup/docker/app"), "600");
  });

  await t.step("are restarted, not replaced, when a file has changed", async () => {
    const [before] = (await id()).split(" ");
    const setup = await testHost.setup(setups.application, "two\n");
    const [checked, done] = await checkAndRun(testHost, setup, state);
    assertEquals([checked.code, outcomes(checked)], [10, ["would change", "unchanged", "would change"]]);
    assertStringIncludes(checked.stdout, "restart: /etc/app would be changed by a step before this one");
    assertEquals([done.code, outcomes(done)], [0, ["changed", "unchanged", "changed"]], done.stdout + done.stderr);
    assertStringIncludes(done.stdout, "restart: /etc/app has changed since its last start");
    assertEquals((await id()).split(" ")[0], before);
    assertEquals(outcomes(await testHost.run(setup)), Array(3).fill("unchanged"));
  });

  await t.step("are replaced when they are not as stated", async () => {
    const [before] = (await id()).split(" ");
    const wanted = await testHost.setup(setups.application, "two\n", "/app2");
    const [checked, done] = await checkAndRun(testHost, wanted, state);
    assertEquals([outcomes(checked)[2], outcomes(done)[2], done.code], ["would change", "changed", 0]);
    assertStringIncludes(done.stdout, "entrypoint: /app -> /app2");
    assert((await id()).split(" ")[0] !== before);
    assertEquals(outcomes(await testHost.run(wanted)), Array(3).fill("unchanged"));
  });

  await t.step("are removed, and the image is kept", async () => {
    const gone = await testHost.setup(setups.withoutApplication);
    const [checked, done] = await checkAndRun(testHost, gone, state);
    assertEquals([checked.code, done.code, done.outcomes["no container app"]], [10, 0, "changed"], done.stderr);
    assertEquals(
      await testHost.inside(
        "docker ps -aq; docker images --format '{{.Repository}}'; ls /var/lib/phoenix_setup/docker",
      ),
      "app",
    );
    assertEquals((await testHost.run(gone)).outcomes["no container app"], "unchanged");
  });
});

/** A container that the configuration of the fleet gives GPUs. */
const WITH_GPUS = { ctid: 904, hostname: "llamacppTemplate", ip: "10.0.0.112" };

testOnHost("GPUs that the container is given, and Docker's containers in it", async (testHost, t) => {
  const setup = await testHost.setup(setups.gpus);
  const titles = ["GPU 0, 1 visible", "2 GPUs visible in nvidia/cuda:12.9.1-base-ubuntu24.04"];
  const outcomes = (run: TestRun) => titles.map((title) => run.outcomes[title]);
  const state = "docker images -q; find /var/lib/phoenix_setup -type f 2>/dev/null; true";
  await t.step("are seen, which is tried in Docker once", async () => {
    const [checked, done] = await checkAndRun(testHost, setup, state);
    assertEquals([checked.code, outcomes(checked)], [10, ["unchanged", "would change"]], checked.stderr);
    assertEquals([done.code, outcomes(done)], [0, ["unchanged", "changed"]], done.stdout + done.stderr);
    for (const again of await checkAndRun(testHost, setup, state)) {
      assertEquals([again.code, outcomes(again)], [0, ["unchanged", "unchanged"]]);
    }
    assertEquals(await testHost.inside("docker ps -aq"), "");
  });

  await t.step("are tried again with another image, toolkit or driver", async () => {
    await testHost.inside("echo >>/etc/nvidia-container-runtime/config.toml");
    assertEquals(outcomes(await testHost.run(setup)), ["unchanged", "changed"]);
    await testHost.inside("docker rmi -f nvidia/cuda:12.9.1-base-ubuntu24.04");
    assertEquals(outcomes(await testHost.run(setup)), ["unchanged", "changed"]);
    assertEquals(outcomes(await testHost.run(setup)), ["unchanged", "unchanged"]);
  });

  // No run can change it: check mode does not say that one would.
  const fails = async (what: string, hint: string) => {
    for (const run of await checkAndRun(testHost, setup, state)) {
      assertEquals([run.code, run.outcomes[titles[0]!]], [4, "failed"]);
      assertStringIncludes(run.stderr, what);
      assertStringIncludes(run.stderr, hint);
    }
  };

  await t.step("fail the run when the libraries inside are others", async () => {
    const library = "/usr/lib/*/libnvidia-ml.so.1";
    await testHost.inside(
      `cd $(dirname ${library}) && touch libnvidia-ml.so.575.64.03 && ln -sf libnvidia-ml.so.575.64.03 libnvidia-ml.so.1`,
    );
    await fails("NVIDIA libraries inside: 575.64.03 -> 580.76.05", "Install the libraries of 580.76.05 inside");
    await testHost.inside(`ln -sf libnvidia-ml.so.580.76.05 ${library}`);
  });

  await t.step("fail the run when nvidia-smi is missing", async () => {
    await testHost.inside("mv /usr/bin/nvidia-smi /root/");
    await fails("nvidia-smi: not installed -> lists 2 GPUs", "Install the libraries");
    await testHost.inside("mv /root/nvidia-smi /usr/bin/");
    assertEquals((await testHost.run(setup)).code, 0);
  });

  await t.step("fail the run when the host has another driver", async () => {
    await testHost.host.setFault("nvidia-driver", "590.44.01");
    await testHost.restart();
    await fails("NVIDIA driver of the host: 590.44.01 -> 580.76.05", 'state 590.44.01 as "nvidia_driver_version"');
    await testHost.host.setFault("nvidia-driver", undefined);
  });

  await t.step("fail the run when a device is not passed through", async () => {
    const conf = await Deno.readTextFile(testHost.host.conf(904));
    await Deno.writeTextFile(testHost.host.conf(904), conf.replace(/^.*\/dev\/nvidia1 .*\n/m, ""));
    await testHost.restart();
    await fails("/dev/nvidia1: missing -> usable", "Pass the devices through to the container");
    await Deno.writeTextFile(testHost.host.conf(904), conf);
    await testHost.restart();
    assertEquals((await testHost.run(setup)).code, 0);
  });
}, WITH_GPUS);

testOnHost("a container without a GPU has none to show", async (testHost) => {
  const { code, stderr } = await testHost.run(testHost.setup(setups.gpuThatIsNotThere));
  assertEquals(code, 4);
  for (
    const what of [
      "NVIDIA driver of the host: not loaded",
      "/dev/nvidia0: missing",
      "NVIDIA libraries inside: missing",
      "nvidia-smi: not installed",
    ]
  ) {
    assertStringIncludes(stderr, what);
  }
});
