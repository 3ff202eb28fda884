import { assertEquals, assertMatch } from "@std/assert";
import { hintFor, meaningOf } from "./hints.ts";

Deno.test("exit codes have a meaning", () => {
  const meanings: [command: string, code: number | undefined, meaning: RegExp | undefined][] = [
    ["true", 0, undefined],
    ["sleep 60", undefined, undefined],
    ["make", 1, /own code for failure/],
    ["make", 2, /own code for failure/],
    ["make", 126, /cannot be executed/],
    ["mkae", 127, /not found inside the container/],
    ["make", 128, /own code for failure/],
    ["make", 130, /SIGINT/],
    ["make", 137, /SIGKILL.*memory/],
    ["make", 139, /SIGSEGV/],
    ["make", 143, /SIGTERM/],
    ["make", 192, /signal 64$/],
    ["make", 193, /own code for failure/],
    ["make", 255, /own code for failure/],
    ["docker create x", 125, /engine refused/],
    ["docker create x", 127, /not found/],
    ["make", 125, /own code for failure/],
    ["apt-get install -y curl", 100, /apt could not/],
    ["DEBIAN_FRONTEND=noninteractive apt-get update", 100, /apt could not/],
    ["curl http://x", 6, /resolved/],
    ["curl http://x", 7, /nothing listens/],
    ["curl http://x", 28, /no answer in time/],
    ["curl http://x", 22, /own code for failure/],
  ];
  for (const [command, code, meaning] of meanings) {
    const actual = meaningOf({ command, code });
    if (meaning === undefined) assertEquals(actual, undefined, `${command}: ${code}`);
    else assertMatch(actual ?? "", meaning, `${command}: ${code}`);
  }
});

// A hint where a known pattern matches. On the left what the programs really write.
Deno.test("known patterns in the output have a hint", () => {
  const hints: [output: string, hint: RegExp][] = [
    ["write /var/lib/docker/tmp/x: no space left on device", /disk is full/],
    ["Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", /nesting=1/],
    ["sh: 1: docker: not found", /not installed/],
    ["bash: line 1: docker: command not found", /not installed/],
    [
      "driver failed programming external connectivity: Bind for 0.0.0.0:9443 failed: port is already allocated",
      /port/,
    ],
    ["listen tcp4 0.0.0.0:9443: bind: address already in use", /port/],
    [
      "Error response from daemon: pull access denied for x, repository does not exist or may require 'docker login'",
      /login/,
    ],
    ["unauthorized: authentication required", /login/],
    ["Error response from daemon: manifest for portainer/portainer-ce:9 not found: manifest unknown", /tag/],
    ["manifest unknown: manifest unknown", /tag/],
    ["toomanyrequests: You have reached your pull rate limit.", /number of pulls/],
    ["dial tcp: lookup registry-1.docker.io: no such host", /name server/],
    ["Temporary failure resolving 'mirror.example'", /name server/],
    ["curl: (6) Could not resolve host: x", /name server/],
    ["connect: network is unreachable", /bridge/],
    ["x509: certificate has expired or is not yet valid: current time 1970-01-01", /clock/],
    ["E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 42 (apt)", /Another apt/],
    [
      "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.",
      /dpkg --configure/,
    ],
    ["touch: cannot touch '/x': Read-only file system", /kernel log/],
    ["mount: /mnt: permission denied.", /unprivileged/],
    ['could not select device driver "" with capabilities: [[gpu]].', /NVIDIA/],
    ["nvidia-container-cli: initialization error: nvml error: driver not loaded", /NVIDIA/],
    ["fork: Cannot allocate memory", /pct set --memory/],
    ["container '901' not running!", /start it/],
    ["please run as root", /as root/],
    ["CT is locked (backup)", /such as a backup/],
    ["trying to acquire lock...can't lock file '/run/lock/lxc/pve-config-901.lock' - got timeout", /such as a backup/],
    ["snapshot feature is not available", /storage/],
    ["startup for container '901' failed", /--debug/],
    ['The session with container 901 was lost: "/usr/sbin/pct exec 901" ended with exit code 137', /was stopped/],
  ];
  for (const [output, hint] of hints) assertMatch(hintFor(`first line\n${output}\nlast line`) ?? "", hint, output);
  for (const output of ["", "make: *** [all] Error 2", "spaceship", "the port is free"]) {
    assertEquals(hintFor(output), undefined, output);
  }
});
