/**
 * The documents of `docker inspect`, `docker version` and `docker info`, field by field as Docker 26.1.5 has them.
 *
 * @module
 */

import type { Json } from "./format.ts";
import { digestsOf, tagsOf } from "./images.ts";
import {
  type Container,
  containerDirectory,
  engineRuns,
  hasNvidia,
  healthOf,
  type Image,
  logFile,
  type Network,
  now,
  type State,
  stateDirectory,
  textOf,
  type Volume,
  volumeDirectory,
} from "./state.ts";

/** A document; TypeScript's types of the state are all JSON. */
function document(value: unknown): Json {
  return JSON.parse(JSON.stringify(value)) as Json;
}

/** A container, as `docker container inspect` shows it. */
export function containerDocument(state: State, container: Container): Json {
  const { State, Config, HostConfig } = container;
  const health = healthOf(container);
  const started = container.starts > 0;
  const file = (name: string) => started ? `${containerDirectory(container.Id)}/${name}` : "";
  const running = State.Status === "running";
  // The address of the default bridge is shown on its own as well.
  const own = endpoint(container, container.networks["bridge"] === undefined ? undefined : state.networks["bridge"]);
  return document({
    Id: container.Id,
    Created: container.Created,
    Path: container.Path,
    Args: container.Args,
    State: {
      Status: State.Status,
      Running: running || State.Status === "restarting",
      Paused: false,
      Restarting: State.Status === "restarting",
      OOMKilled: false,
      Dead: false,
      Pid: State.Pid,
      ExitCode: State.ExitCode,
      Error: State.Error,
      StartedAt: State.StartedAt,
      FinishedAt: State.FinishedAt,
      ...(health === undefined ? {} : { Health: health }),
    },
    Image: container.Image,
    ResolvConfPath: file("resolv.conf"),
    HostnamePath: file("hostname"),
    HostsPath: file("hosts"),
    LogPath: started ? logFile(container.Id) : "",
    Name: container.Name,
    RestartCount: container.RestartCount,
    Driver: "overlay2",
    Platform: "linux",
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: "",
    ExecIDs: null,
    HostConfig,
    GraphDriver: graphDriver(container.Id),
    Mounts: container.Mounts,
    Config: {
      Hostname: Config.Hostname,
      Domainname: "",
      User: Config.User,
      AttachStdin: false,
      AttachStdout: Config.attached,
      AttachStderr: Config.attached,
      ...(Object.keys(Config.ExposedPorts ?? {}).length > 0 ? { ExposedPorts: Config.ExposedPorts } : {}),
      Tty: false,
      OpenStdin: false,
      StdinOnce: false,
      Env: Config.Env,
      Cmd: Config.Cmd,
      ...(Config.Healthcheck === undefined ? {} : { Healthcheck: Config.Healthcheck }),
      Image: Config.Image,
      Volumes: Config.Volumes,
      WorkingDir: Config.WorkingDir,
      Entrypoint: Config.Entrypoint,
      OnBuild: null,
      Labels: Config.Labels,
      ...(Config.StopSignal === undefined ? {} : { StopSignal: Config.StopSignal }),
      ...(Config.StopTimeout === undefined ? {} : { StopTimeout: Config.StopTimeout }),
    },
    NetworkSettings: {
      Bridge: "",
      SandboxID: running ? container.Id : "",
      SandboxKey: running ? `/var/run/docker/netns/${container.Id.slice(0, 12)}` : "",
      Ports: running ? portsOf(container) : {},
      HairpinMode: false,
      LinkLocalIPv6Address: "",
      LinkLocalIPv6PrefixLen: 0,
      SecondaryIPAddresses: null,
      SecondaryIPv6Addresses: null,
      EndpointID: own.EndpointID,
      Gateway: own.Gateway,
      GlobalIPv6Address: "",
      GlobalIPv6PrefixLen: 0,
      IPAddress: own.IPAddress,
      IPPrefixLen: own.IPPrefixLen,
      IPv6Gateway: "",
      MacAddress: own.MacAddress,
      Networks: Object.fromEntries(
        Object.entries(container.networks).sort().map(([name, aliases]) => [name, {
          IPAMConfig: null,
          Links: null,
          Aliases: aliases,
          ...endpoint(container, state.networks[name]),
          DriverOpts: null,
          DNSNames: null,
        }]),
      ),
    },
  });
}

/** What a network gives a container; in the order of a network's entry. */
function endpoint(container: Container, network: Network | undefined) {
  const { address, Id } = container;
  const own = address === "" || network === undefined ? "" : address.replace(/^172\.17\./, `172.${network.subnet}.`);
  const mac = `02:42:${own.split(".").map((part) => Number(part).toString(16).padStart(2, "0")).join(":")}`;
  return {
    MacAddress: own === "" ? "" : mac,
    NetworkID: container.starts > 0 ? network?.Id ?? "" : "",
    EndpointID: own === "" ? "" : Id,
    Gateway: own === "" ? "" : `172.${network?.subnet}.0.1`,
    IPAddress: own,
    IPPrefixLen: own === "" ? 0 : 16,
    IPv6Gateway: "",
    GlobalIPv6Address: "",
    GlobalIPv6PrefixLen: 0,
  };
}

function portsOf(container: Container): Record<string, { HostIp: string; HostPort: string }[] | null> {
  const ports: Record<string, { HostIp: string; HostPort: string }[] | null> = {};
  if (container.address === "") return ports;
  for (const port of Object.keys(container.Config.ExposedPorts ?? {})) ports[port] = null;
  for (const { container: inside, ip, port } of container.ports) {
    const HostPort = String(port);
    // Without an address a port is published for IPv6 as well.
    const both = ip === "0.0.0.0" ? [{ HostIp: ip, HostPort }, { HostIp: "::", HostPort }] : [{ HostIp: ip, HostPort }];
    ports[inside] = [...ports[inside] ?? [], ...both];
  }
  return ports;
}

function graphDriver(id: string): Json {
  const folder = `${stateDirectory}/overlay2/${id.replace("sha256:", "")}`;
  return {
    Data: { MergedDir: `${folder}/merged`, UpperDir: `${folder}/diff`, WorkDir: `${folder}/work` },
    Name: "overlay2",
  };
}

/** An image, as `docker image inspect` shows it. */
export function imageDocument(state: State, image: Image): Json {
  const { Config } = image;
  return document({
    Id: image.Id,
    RepoTags: tagsOf(state, image),
    RepoDigests: digestsOf(state, image),
    Parent: "",
    Comment: "",
    Created: image.Created,
    DockerVersion: "",
    Author: "",
    Config: {
      Hostname: "",
      Domainname: "",
      User: Config.User ?? "",
      AttachStdin: false,
      AttachStdout: false,
      AttachStderr: false,
      ...(Config.ExposedPorts === undefined ? {} : { ExposedPorts: Config.ExposedPorts }),
      Tty: false,
      OpenStdin: false,
      StdinOnce: false,
      Env: Config.Env ?? null,
      Cmd: Config.Cmd ?? null,
      ...(Config.Healthcheck === undefined ? {} : { Healthcheck: Config.Healthcheck }),
      Image: "",
      Volumes: Config.Volumes ?? null,
      WorkingDir: Config.WorkingDir ?? "",
      Entrypoint: Config.Entrypoint ?? null,
      OnBuild: null,
      Labels: Config.Labels ?? null,
      ...(Config.StopSignal === undefined ? {} : { StopSignal: Config.StopSignal }),
    },
    Architecture: image.Architecture,
    Os: image.Os,
    Size: image.Size,
    GraphDriver: graphDriver(image.Id),
    RootFS: { Type: "layers", Layers: image.Layers },
    Metadata: { LastTagTime: image.LastTagTime },
  });
}

/** A volume, as `docker volume inspect` shows it. */
export function volumeDocument(name: string, { CreatedAt, Labels }: Volume): Json {
  const shown = {
    CreatedAt,
    Driver: "local",
    Labels,
    Mountpoint: volumeDirectory(name),
    Name: name,
    Options: null,
    Scope: "local",
  };
  return document(shown);
}

/** A network, as `docker network inspect` shows it. */
export function networkDocument(state: State, name: string, { Id, Created, Driver, Labels, subnet }: Network): Json {
  const inside = Object.values(state.containers).filter(({ networks, State }) =>
    State.Status === "running" && networks[name] !== undefined
  );
  return document({
    Name: name,
    Id,
    Created,
    Scope: "local",
    Driver,
    EnableIPv6: false,
    IPAM: {
      Driver: "default",
      Options: name === "bridge" || subnet === 0 ? null : {},
      Config: subnet === 0 ? null : [{ Subnet: `172.${subnet}.0.0/16`, Gateway: `172.${subnet}.0.1` }],
    },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: "" },
    ConfigOnly: false,
    Containers: Object.fromEntries(
      inside.map((container) => {
        const { EndpointID, MacAddress, IPAddress } = endpoint(container, state.networks[name]);
        const IPv4Address = IPAddress === "" ? "" : `${IPAddress}/16`;
        return [container.Id, { Name: container.Name.slice(1), EndpointID, MacAddress, IPv4Address, IPv6Address: "" }];
      }),
    ),
    Options: {},
    Labels,
  });
}

/** The version of Docker that the stand-in behaves like: the one of Debian 13, whose answers were compared. */
export const version = "26.1.5+dfsg1";

const build = { GoVersion: "go1.24.4", Os: "linux", Arch: "amd64", BuildTime: "Thu Aug 13 05:35:47 2026" };
const client = { Version: version, GitCommit: "a72d7cd", ...build, Context: "default" };

/** What `docker version --format '{{json .}}'` shows; `Server` is `null` while the engine is down. */
export function versionDocument(): Json {
  const { Version, GitCommit, GoVersion, Os, Arch, BuildTime, Context } = client;
  const engine = {
    ApiVersion: "1.45",
    MinAPIVersion: "1.24",
    GitCommit: "411e817",
    GoVersion,
    Os,
    Arch,
    KernelVersion: Deno.osRelease(),
  };
  return {
    Client: {
      Version,
      ApiVersion: "1.45",
      DefaultAPIVersion: "1.45",
      GitCommit,
      GoVersion,
      Os,
      Arch,
      BuildTime,
      Context,
    },
    Server: !engineRuns() ? null : {
      Platform: { Name: "" },
      Components: [
        { Name: "Engine", Version: version, Details: { ...engine, BuildTime, Experimental: "false" } },
        { Name: "containerd", Version: "1.7.24~ds1", Details: { GitCommit: "1.7.24~ds1-6+deb13u1" } },
        { Name: "runc", Version: "1.1.15+ds1", Details: { GitCommit: "1.1.15+ds1-2+b4" } },
      ],
      Version: version,
      ...engine,
      BuildTime: "2026-08-13T05:35:47.000000000+00:00",
    },
  };
}

/** What `docker version` shows to people. */
export function versionText(): string {
  const { Version, GitCommit, GoVersion, BuildTime } = client;
  const lines = (indent: string, api: string, commit: string) => [
    `${indent}Version:`.padEnd(20) + Version,
    `${indent}API version:`.padEnd(20) + api,
    `${indent}Go version:`.padEnd(20) + GoVersion,
    `${indent}Git commit:`.padEnd(20) + commit,
    `${indent}Built:`.padEnd(20) + BuildTime,
    `${indent}OS/Arch:`.padEnd(20) + "linux/amd64",
  ];
  const own = ["Client:", ...lines(" ", "1.45", GitCommit), " Context:".padEnd(20) + "default"];
  if (!engineRuns()) return `${own.join("\n")}\n`;
  const parts = [
    " containerd:",
    "  Version:".padEnd(20) + "1.7.24~ds1",
    "  GitCommit:".padEnd(20) + "1.7.24~ds1-6+deb13u1",
    " runc:",
    "  Version:".padEnd(20) + "1.1.15+ds1",
    "  GitCommit:".padEnd(20) + "1.1.15+ds1-2+b4",
  ];
  const server = [
    "",
    "Server:",
    " Engine:",
    ...lines("  ", "1.45 (minimum version 1.24)", "411e817"),
    "  Experimental:".padEnd(20) + "false",
  ];
  return `${[...own, ...server, ...parts].join("\n")}\n`;
}

const clientInfo = {
  Debug: false,
  Version: client.Version,
  GitCommit: client.GitCommit,
  ...build,
  Context: "default",
  Plugins: [],
  Warnings: null,
};

/** What `docker info --format '{{json .}}'` shows. */
export function infoDocument(state: State): Json {
  if (!engineRuns()) {
    const problem = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
    return {
      ID: "",
      Containers: 0,
      Images: 0,
      Driver: "",
      DockerRootDir: "",
      ServerVersion: "",
      Runtimes: null,
      ServerErrors: [problem],
      ClientInfo: clientInfo,
    };
  }
  const containers = Object.values(state.containers);
  const running = containers.filter(({ State }) => State.Status === "running" || State.Status === "restarting").length;
  const runtimes = {
    "io.containerd.runc.v2": { path: "runc" },
    ...(hasNvidia("runtime") ? { nvidia: { path: "nvidia-container-runtime" } } : {}),
    runc: { path: "runc" },
  };
  const os = /^PRETTY_NAME="?(.*?)"?$/m.exec(textOf("/etc/os-release") ?? "")?.[1] ?? "";
  return {
    ID: "15513ade-21e7-4df4-b865-c54fdda364d2",
    Containers: containers.length,
    ContainersRunning: running,
    ContainersPaused: 0,
    ContainersStopped: containers.length - running,
    Images: Object.keys(state.images).length,
    Driver: "overlay2",
    DriverStatus: [["Backing Filesystem", "extfs"], ["Supports d_type", "true"], ["Using metacopy", "false"], [
      "Native Overlay Diff",
      "true",
    ], ["userxattr", "false"]],
    Plugins: {
      Volume: ["local"],
      Network: ["bridge", "host", "ipvlan", "macvlan", "null", "overlay"],
      Authorization: null,
      Log: ["awslogs", "fluentd", "gcplogs", "gelf", "journald", "json-file", "local", "splunk", "syslog"],
    },
    MemoryLimit: true,
    SwapLimit: true,
    IPv4Forwarding: true,
    Debug: false,
    OomKillDisable: false,
    SystemTime: now(),
    LoggingDriver: "json-file",
    CgroupDriver: "systemd",
    CgroupVersion: "2",
    NEventsListener: 0,
    KernelVersion: Deno.osRelease(),
    OperatingSystem: os,
    OSType: "linux",
    Architecture: "x86_64",
    IndexServerAddress: "https://index.docker.io/v1/",
    NCPU: navigator.hardwareConcurrency,
    MemTotal: Deno.systemMemoryInfo().total,
    DockerRootDir: stateDirectory,
    HttpProxy: "",
    HttpsProxy: "",
    NoProxy: "",
    Name: Deno.hostname(),
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: version,
    Runtimes: runtimes,
    DefaultRuntime: "runc",
    Swarm: {
      NodeID: "",
      NodeAddr: "",
      LocalNodeState: "inactive",
      ControlAvailable: false,
      Error: "",
      RemoteManagers: null,
    },
    LiveRestoreEnabled: false,
    Isolation: "",
    InitBinary: "docker-init",
    SecurityOptions: ["name=seccomp,profile=builtin", "name=cgroupns"],
    Warnings: null,
    ClientInfo: clientInfo,
  };
}

/** What `docker info` shows to people, of which the stand-in has the lines that are looked at. */
export function infoText(state: State): string {
  const head = ["Client:", ` Version:    ${version}`, " Context:    default", " Debug Mode: false", "", "Server:"];
  if (!engineRuns()) return `${head.join("\n")}\n`;
  const info = infoDocument(state) as Record<string, Json>;
  const runtimes = Object.keys(info["Runtimes"] as Record<string, Json>).join(" ");
  return `${
    [
      ...head,
      ` Containers: ${info["Containers"]}`,
      `  Running: ${info["ContainersRunning"]}`,
      "  Paused: 0",
      `  Stopped: ${info["ContainersStopped"]}`,
      ` Images: ${info["Images"]}`,
      ` Server Version: ${version}`,
      " Storage Driver: overlay2",
      " Logging Driver: json-file",
      " Cgroup Driver: systemd",
      ` Runtimes: ${runtimes}`,
      " Default Runtime: runc",
      ` Kernel Version: ${info["KernelVersion"]}`,
      ` Operating System: ${info["OperatingSystem"]}`,
      ` Name: ${info["Name"]}`,
      ` Docker Root Dir: ${stateDirectory}`,
    ].join("\n")
  }\n`;
}

/** The labels of a volume, or of what else has some, in the way of Docker's lists. */
export function labelList(labels: Record<string, string> | null): string {
  return Object.entries(labels ?? {}).map(([name, value]) => `${name}=${value}`).join(",");
}
