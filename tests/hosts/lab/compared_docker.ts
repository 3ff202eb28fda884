/**
 * The calls of `docker` that both hosts are asked, one after the other in one container, and what their answers may
 * differ in.
 *
 * @module
 */

import type { Result } from "../host.ts";
import { APP } from "../simulated/docker/registry.ts";

/** The version of Docker that the stand-in is compared with. */
export const VERSION = "20.10.";

/** The registry that wants a login. */
const PRIVATE = "registry.lan:5000";

/**
 * What can be pulled from the private registry, and by whom; both hosts read it in the container's `/var/lib/docker`.
 */
export const REGISTRY = {
  images: { [`${PRIVATE}/team/app:1`]: { ...APP, created: "2025-09-01T00:00:01Z", private: true } },
  logins: { [PRIVATE]: { me: "pass:word" } },
};

/** The image in the archive that both are given as `/tmp/server.tar`, and its name there. */
export const ARCHIVED = { image: { ...APP, created: "2025-08-01T00:00:00Z" }, name: "models/server:3" };

/** What each call begins with: `wait_for NAME TEMPLATE VALUE` waits until a container shows this. */
export const PREAMBLE = `wait_for() {
  i=0
  until [ "$(docker container inspect --format "$2" "$1" 2>&1)" = "$3" ] || [ $i = 400 ]; do sleep 0.05; i=$((i + 1)); done
  docker container inspect --format "$2" "$1"
}
id_of() { docker image inspect --format '{{.Id}}' "$1"; }
`;

/**
 * The calls by subject, each a script for a shell, in a line of its own; a line that is indented continues the one
 * before.
 */
export const DOCKER_CALLS: Readonly<Record<string, string>> = {
  "pulling": `
docker pull busybox:1.37
docker pull busybox:1.37
docker pull -q alpine:3.22
docker pull --quiet app:1
docker pull --quiet=true portainer/portainer-ce:2.33.1
docker pull $(docker image inspect --format '{{json .RepoDigests}}' busybox:1.37 | tr -d '[]"')
docker pull busybox:0
docker pull nobody/nothing
docker pull registry.example/a:1
docker pull Busybox
docker pull 'a b'
docker pull
docker pull a b
`,
  "a private registry": `
docker pull ${PRIVATE}/team/app:1
echo wrong | docker login --username me --password-stdin ${PRIVATE}
echo x | docker login --password-stdin ${PRIVATE}
docker login --username me --password-stdin ${PRIVATE} </dev/null
docker login ${PRIVATE}
docker login --username me ${PRIVATE}
docker login a b
echo x | docker login --username me --password-stdin nowhere.example
echo x | docker login --username me --password-stdin
mkdir /tmp/client && echo '{"auths":{"localhost":{}}}' >/tmp/client/config.json
printf 'pass:word\\n' | DOCKER_CONFIG=/tmp/client docker login --username me --password-stdin ${PRIVATE}
cat /tmp/client/config.json
docker pull ${PRIVATE}/team/app:1
DOCKER_CONFIG=/tmp/client docker pull ${PRIVATE}/team/app:2
DOCKER_CONFIG=/tmp/client docker pull -q ${PRIVATE}/nobody/nothing:1
echo '{"pull":{"error":"timeout","times":1}}' >/var/lib/docker/knobs.json
DOCKER_CONFIG=/tmp/client docker pull ${PRIVATE}/team/app:1
DOCKER_CONFIG=/tmp/client docker pull ${PRIVATE}/team/app:1
DOCKER_CONFIG=/tmp/client docker create ${PRIVATE}/team/app:3
printf 'pass:word' | docker login -u me --password-stdin ${PRIVATE}
docker pull -q ${PRIVATE}/team/app:1
docker rmi ${PRIVATE}/team/app:1
docker run --name first ${PRIVATE}/team/app:3
docker create --name first ${PRIVATE}/team/app:1
docker rm first
docker image rm -f ${PRIVATE}/team/app:1
`,
  "images": `
docker images -q
docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'
docker images a b
docker image inspect busybox:1.37
docker image inspect --format '{{json .}}' busybox:1.37 nothing portainer/portainer-ce:2.33.1 sha256:${"1".repeat(64)}
docker image inspect --format '{{.Id}}' nothing
docker image inspect nothing
docker image inspect Nothing
docker image inspect ''
docker image inspect
docker image inspect --format '{{.Id}}' $(id_of app:1) $(id_of app:1 | cut -c 8-19) docker.io/library/app:1
docker tag busybox:1.37 local/one
docker tag docker.io/library/busybox:1.37 local/one:2
docker tag nothing x
docker tag sha256:${"1".repeat(64)} x
docker tag busybox:1.37 X
docker tag busybox:1.37 ''
docker tag busybox:1.37
docker image inspect --format '{{json .RepoTags}}' local/one
docker rmi $(id_of busybox:1.37)
docker rmi local/one
docker tag app:1 app:2; docker rmi $(id_of app:1)
docker rmi app:2
docker rmi -f local/one:2 nothing
docker rmi nothing
docker image rm --force nothing
docker rmi Nothing
docker rmi
docker rmi busybox:1.37
docker pull -q busybox:1.37
docker tag busybox:1.37 keep:1; docker tag app:1 busybox:1.37
docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort
docker rmi busybox:1.37 keep:1
docker rmi $(id_of $(docker images -q | tail -n 1))
docker pull -q busybox:1.37
`,
  "archives": `
docker load </tmp/server.tar
docker image inspect models/server:3
docker tag busybox:1.37 models/server:3
gzip </tmp/server.tar | docker load
docker load </dev/null
echo hello | docker load
head -c 700 /tmp/server.tar | docker load
gzip </tmp/server.tar | head -c 100 | docker load
mkdir -p /tmp/oci/blobs && touch /tmp/oci/index.json && tar -cf - -C /tmp/oci . | docker load
tar -cf - -C /tmp oci/index.json | docker load
mkdir /tmp/bad && echo '[{"Config":"x.json","RepoTags":["a:1"],"Layers":[]}]' >/tmp/bad/manifest.json && tar -cf - -C /tmp/bad manifest.json | docker load
docker load x
docker rmi models/server:3
`,
  "creating: what the client refuses": `
docker create
docker create --name
docker create -e
docker create -p abc:80 app:1
docker create -p 80:abc app:1
docker create -p 80:70000 app:1
docker create -p 70000:80 app:1
docker create -p 80:80/bogus app:1
docker create -p 256.1.1.1:80:80 app:1
docker create -p 80: app:1
docker create --env =x app:1
docker create --env '' app:1
docker create --env-file /no/such app:1
echo 'C D=1' | docker create --env-file /dev/stdin app:1
echo '=1' | docker create --env-file /dev/stdin app:1
docker create --label =x app:1
docker create --restart on-failure:x app:1
docker create --restart on-failure:1:2 app:1
docker create --gpus bogus=1 app:1
docker create --gpus x app:1
docker create --shm-size 1x app:1
docker create --shm-size=-1 app:1
docker create --init=maybe app:1
docker create --health-interval 1 app:1
docker create --health-timeout 1q app:1
docker create --health-start-period abc app:1
docker create --health-interval '' app:1
docker create --health-interval -1s --health-cmd true app:1
docker create --health-retries -1 --health-cmd true app:1
docker create --health-retries x app:1
docker create --network '' app:1
docker create Nothing:1
docker create ''
docker run
docker run --rm --restart always app:1
docker run -d -p abc:80 app:1
docker run --rm ''
`,
  "creating: what the engine refuses": `
docker create --restart bogus app:1
docker create --restart always:3 app:1
docker create --restart on-failure:-1 app:1
docker create --runtime bogus app:1
docker create --health-interval 1us --health-cmd true app:1
docker create --health-timeout 10us --health-cmd true app:1
docker create --health-start-period 10us --health-cmd true app:1
docker create -v rel:x app:1
docker create -v /a:x app:1
docker create -v /tmp:/x -v /opt:/x app:1
docker create -v /tmp:/ app:1
docker create -v /tmp:/x:bogus app:1
docker create -v /tmp:/x:ro:rw app:1
docker create -v /tmp: app:1
docker create -v a/b:/x app:1
docker create --name x app:1
docker create --name 'a b' app:1
docker create --name .hidden app:1
docker create --pull never nothing:1
docker create --pull never sha256:${"1".repeat(64)}
docker create nothing:1
docker create --entrypoint '' app:1
docker run --rm --name x app:1
docker run --rm --pull never nothing:1
docker ps -aq
`,
  "creating: what is noted": `
docker create --name made app:1
docker container inspect made
docker rm made
printf 'A=1\\n#c\\n  B=2 \\n\\nHOME\\nNOTSET\\nE=a=b\\r\\n' | docker create --name made --env-file /dev/stdin -e A=own -e NOTSET2 -e 'F=a b' -eG= busybox:1.37
docker container inspect made; docker rm made
HOME=/root A=x docker create --name made -e HOME -e A -e A=y -e PATH=/bin -l a -l b=c=d -l b=e --label x= busybox:1.37;
  docker container inspect made; docker rm made
docker create --name made -p 82:83 -p 127.0.0.1:84:85/udp -p '[::1]:86:87' -p 88:83 -p 9443:9443 portainer/portainer-ce:2.33.1;
  docker container inspect made; docker rm made
docker create --name made -v named:/data -v /opt/made/:/x/:ro -v named:/other:ro -v /opt/made/:/x/:ro portainer/portainer-ce:2.33.1;
  docker container inspect made; docker rm made
docker create --name made portainer/portainer-ce:2.33.1 --flag 'a b'; docker container inspect made; docker rm made
docker create --name made --entrypoint '' busybox:1.37 echo x; docker container inspect made; docker rm made
docker create --name made --entrypoint /bin/echo busybox:1.37; docker container inspect made; docker rm made
docker create --name made --restart on-failure:3 --ipc host --shm-size 1.5g --user 5:6 -h web --init app:1;
  docker container inspect made; docker rm made
docker create --name made --restart unless-stopped --ipc shareable --shm-size 64 --init=false app:1;
  docker container inspect made; docker rm made
docker create --name made --restart '' --init=1 --user 5 --pull missing app:1; docker container inspect made;
  docker rm made
docker create --name made --health-cmd 'echo a b' --health-interval 1m30s --health-timeout 5s --health-retries 2 --health-start-period 500ms app:1;
  docker container inspect made; docker rm made
docker create --name made --health-retries 2 app:1; docker container inspect made; docker rm made
docker create --name made --health-cmd '' app:1; docker container inspect made; docker rm made
docker create --name made --gpus all app:1; docker container inspect made; docker start made;
  docker container inspect made; docker rm made
docker create --name made --gpus '"device=0,1"' app:1; docker container inspect made; docker rm made
docker create --name made --gpus count=2 --name=made -- app:1 --name; docker container inspect made; docker rm made
docker create --name made $(id_of app:1); docker container inspect made; docker ps -a --format '{{.Image}}';
  docker rm made
docker volume inspect named
docker volume inspect -f '{{.Name}} {{.Mountpoint}}' named nothing
docker volume ls --format '{{.Name}}' | grep named
docker volume ls x
`,
  "names": `
docker create --name app app:1
docker create --name app app:1
docker run -d --name app app:1
docker create --name other app:1
docker rename other app
docker rename app app
docker rename app x
docker rename nothing new
docker rename app ''
docker rename app
docker rename app renamed
docker rename renamed /app
docker inspect --format '{{.Name}} {{.State.Running}}' app
docker container inspect --format '{{.Name}}' ap
docker container inspect --format '{{.Name}}' $(docker container inspect --format '{{.Id}}' app | cut -c 1-9)
docker container inspect app nothing
docker container inspect --format '{{json .}}' app nothing /app
docker container inspect --format "$(printf '{{.Name}}\\n{{json .Config.Image}}: {{.State.Status}}')" app
docker inspect --format '{{.Id}}' busybox:1.37 app nothing
docker inspect nothing
docker inspect
docker container inspect
docker rm app nothing other
docker rm nothing
docker rm -f nothing
docker rm
`,
  "starting and ending": `
docker run -d --name app app:1
docker container inspect app
docker start app
docker start nothing app nothing2
docker start
docker rm app
docker stop app
docker container inspect --format '{{json .State}}' app
docker stop app nothing
docker stop --time=x app
docker stop -t1 app
docker stop
docker restart app nothing
docker restart -t 1 app
docker container inspect --format '{{json .State}}' app
docker restart
docker kill app
docker container inspect --format '{{json .State}}' app
docker kill app nothing
docker kill
docker start app; docker run -d --name app2 app:1; docker stop app app2; docker start app2 app; docker kill app2
docker rm -f app2 nothing app
docker run -d --name stubborn busybox:1.37 sleep 100; docker stop -t 1 stubborn;
  docker container inspect --format '{{.State.ExitCode}}' stubborn; docker rm stubborn
docker run -d --name stubborn busybox:1.37 sleep 100; docker stop -t 0 stubborn;
  docker container inspect --format '{{.State.ExitCode}}' stubborn; docker rm stubborn
docker run -d --name polite --init=true busybox:1.37 sleep 100; docker stop -t 20 polite;
  docker container inspect --format '{{.State.ExitCode}}' polite; docker rm polite
docker run -d --name handler busybox:1.37 sh -c 'trap "exit 9" TERM; echo ready; while :; do sleep 0.02; done';
  until docker logs handler | grep -q ready; do sleep 0.05; done; docker stop handler;
  docker container inspect --format '{{.State.ExitCode}}' handler; docker rm handler
docker create --name bad busybox:1.37 no-such; docker start bad;
  docker container inspect --format '{{json .State}}' bad; docker rm bad
docker run -d --name bad busybox:1.37 /no/such; docker ps -a --format '{{.Names}} {{.State}}'; docker rm bad
docker run -d --name bound -v /tmp/made/deep:/x app:1; ls -d /tmp/made/deep; docker rm -f bound
docker run -d --rm --name gone app:1; docker stop gone; while docker container inspect gone >/dev/null 2>&1;
  do sleep 0.05; done; docker ps -aq; docker volume ls -q | grep -v named
`,
  "pausing": `
docker run -d --name app app:1
docker pause app
docker container inspect --format '{{json .State}}' app
docker ps --format '{{.Names}} {{.State}}'
docker pause app
docker start app
docker rm app
docker unpause app
docker container inspect --format '{{json .State}}' app
docker unpause app
docker pause nothing
docker unpause nothing
docker pause
docker unpause
docker pause app; docker stop -t 5 app; docker container inspect --format '{{json .State}}' app
docker pause app
docker start app; docker pause app; docker restart app; docker container inspect --format '{{.State.Status}}' app
docker pause app; docker kill app; docker container inspect --format '{{json .State}}' app
docker rm app
`,
  "running to the end": `
docker run --rm busybox:1.37 sh -c 'echo out; echo err >&2; exit 3'
docker run --rm busybox:1.37 sh -c 'sleep 0.3; echo late; exit 4'
docker run --rm busybox:1.37 no-such
docker run --rm busybox:1.37 /no/such
docker run --rm busybox:1.37 /etc
docker run --rm --entrypoint /bin/echo busybox:1.37 hello 'a b'
docker run --rm --entrypoint '' busybox:1.37 echo hello
docker run --rm -e A=1 -e A=2 -e B busybox:1.37 sh -c 'echo $A $B $HOME $PATH'
docker run --rm --user 5:6 busybox:1.37 id -u
docker run --name trial --rm --network none --gpus all --pull never --entrypoint nvidia-smi busybox:1.37 -L
docker ps -aq
`,
  "logs": `
docker create --name lines busybox:1.37 sh -c 'echo e >&2; sleep 0.2; for i in 1 2 3; do echo $i; done; printf end'
docker logs lines
docker start lines; wait_for lines '{{.State.Status}}' exited
docker logs lines
docker logs lines 2>&1 >/dev/null
docker logs --tail 2 lines
docker logs -n 1 lines
docker logs --tail 0 lines
docker logs --tail=x lines
docker logs nothing
docker logs
docker logs a b
docker rm lines
`,
  "restart policies": `
docker run -d --name fails busybox:1.37 false; wait_for fails '{{.State.Status}} {{.RestartCount}}' 'exited 0';
  docker container inspect --format '{{json .State}}' fails; docker rm fails
docker run -d --name fails --restart on-failure:2 busybox:1.37 false;
  wait_for fails '{{.State.Status}} {{.RestartCount}}' 'exited 2';
  docker container inspect --format '{{json .State}}' fails; docker rm fails
docker run -d --name fails --restart always busybox:1.37 sh -c 'exit 5';
  wait_for fails '{{.RestartCount}} {{.State.Status}}' '6 restarting';
  docker container inspect --format '{{json .State}}' fails
docker rm fails
docker pause fails
docker stop fails; docker container inspect --format '{{json .State}}' fails; docker rm fails
docker run -d --name lives --restart always app:1;
  kill -9 $(docker container inspect --format '{{.State.Pid}}' lives);
  wait_for lives '{{.RestartCount}} {{.State.Status}}' '1 running'
docker kill lives; docker container inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' lives;
  docker rm lives
`,
  "health": `
docker run -d --name ill --health-cmd 'echo bad; exit 2' --health-interval 200ms --health-retries 2 busybox:1.37 sleep 100;
  docker container inspect --format '{{json .State.Health}}' ill
wait_for ill '{{.State.Health.Status}}' unhealthy; docker container inspect --format '{{json .State.Health}}' ill
docker stop -t 0 ill; docker container inspect --format '{{json .State}}' ill
docker start ill; docker container inspect --format '{{json .State.Health}}' ill; docker rm -f ill
docker run -d --name well --health-cmd 'echo good' --health-interval 500ms busybox:1.37 sleep 100;
  wait_for well '{{.State.Health.Status}}' healthy; docker container inspect --format '{{json .State.Health}}' well
docker pause well; docker container inspect --format '{{.State.Health.Status}}' well; docker unpause well;
  docker container inspect --format '{{.State.Health.Status}}' well; wait_for well '{{.State.Health.Status}}' healthy;
  docker rm -f well
docker run -d --name slow --health-cmd 'sleep 5' --health-timeout 300ms --health-interval 100ms --health-retries 1 busybox:1.37 sleep 100;
  wait_for slow '{{.State.Health.Status}}' unhealthy; docker container inspect --format '{{json .State.Health}}' slow;
  docker rm -f slow
docker run -d --name early --health-cmd false --health-interval 100ms --health-retries 1 --health-start-period 1500ms busybox:1.37 sleep 100;
  sleep 0.7; docker container inspect --format '{{.State.Health.Status}} {{.State.Health.FailingStreak}}' early;
  wait_for early '{{.State.Health.Status}}' unhealthy; docker rm -f early
docker run -d --name short --health-cmd true busybox:1.37 true; wait_for short '{{.State.Status}}' exited;
  docker container inspect --format '{{json .State.Health}}' short; docker rm short
docker run -d --name none --health-retries 3 busybox:1.37 sleep 100;
  docker container inspect --format '{{json .State}}' none; docker rm -f none
`,
  "networks": `
docker network create net
docker network create net
docker network create bridge
docker network create
docker network create a b
docker network ls --format '{{.Name}} {{.Driver}}'
docker network ls -q | wc -l
docker network inspect net
docker network inspect --format '{{.Name}} {{.Driver}}' net nothing bridge
docker network inspect --format '{{.Name}}' nothing
docker network inspect --format '{{.Name}}' $(docker network inspect --format '{{.Id}}' net | cut -c 1-12)
docker network inspect
docker create --name app --network net app:1
docker network connect bridge app
docker network connect bridge app
docker network connect net nothing
docker network connect net
docker container inspect app
docker start app; docker container inspect --format '{{json .NetworkSettings.Networks}}' app
docker network connect nothing app
docker rm -f app
docker create --name app --network net app:1; docker network connect nothing app; docker start app;
  docker container inspect --format '{{json .State}}' app; docker rm app
docker create --name app --network nothing app:1; docker start app; docker rm app
docker create --name app --network host -p 80:80 app:1; docker container inspect app; docker network connect net app;
  docker start app; docker rm -f app
docker create --name app --network none app:1; docker network connect net app; docker start app;
  docker container inspect app; docker rm -f app
docker create --name app --network bridge app:1; docker container inspect app; docker rm app
`,
  "ports": `
docker run -d --name one -p 8080:80 app:1; docker container inspect --format '{{json .HostConfig.PortBindings}}' one
docker run -d --name two -p 8080:81 app:1
docker container inspect --format '{{json .State}}' two
docker start two
docker rm -f one; docker start two; docker rm -f two
docker run -d --name one -p 127.0.0.1:8080:81 app:1; docker run -d --name two -p 8080:81 app:1; docker rm -f one two
docker run -d --name one -p 10.9.9.9:8080:81 app:1; docker rm one
docker run -d --name one -p 8080:81/udp -p 8080:81 app:1; docker rm -f one
`,
  "lists": `
docker create --name app app:1
docker create --name app-old --label tier=old app:1
docker create --name other --label tier=new --label x app:1
docker start app-old
docker ps -q
docker ps --all -q
docker ps --no-trunc -aq
docker ps -a --format '{{.ID}} {{.Names}} {{.Image}} {{.State}}'
docker ps -aqf name=app
docker ps -a --filter name=app --format '{{.Names}}'
docker ps -a --filter 'name=^/?app$' --format '{{.Names}}'
docker ps -a --filter 'name=^app$' --filter name=other --format '{{.Names}}'
docker ps -a --filter label=tier=old --format '{{.Names}}'
docker ps -a --filter label=tier --filter label=x --format '{{.Names}}'
docker ps -a --filter label=tier --filter status=running --format '{{.Names}}'
docker ps --filter status=created --format '{{.Names}}'
docker ps --filter status=created --filter status=running --format '{{.Names}}'
docker ps -a --filter name=nothing -q
docker ps --filter status=bogus -q
docker ps --filter bogus
docker ps x
docker rmi app:1
docker rmi $(id_of app:1)
docker rmi -f $(id_of app:1)
docker rmi -f app:1
docker images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}'
docker ps -a --format '{{.Image}}' | uniq
docker pull app:1
docker stop app-old
docker rmi app:1
docker rmi $(id_of app:1)
docker rmi -f app:1
docker start app-old
docker rm -f app app-old other
docker pull -q app:1
`,
  "the engine": `
docker version --format '{{.Server.Version}}'
docker version >/dev/null
docker version x
docker info --format '{{.DockerRootDir}}'
docker info x
for n in always unless-stopped no on-failure; do docker run -d --name $n --restart $n app:1; done;
  docker run -d --name killed --restart always app:1; docker kill killed;
  docker run -d --name stopped --restart unless-stopped app:1; docker stop stopped;
  docker run -d --name stopped-always --restart always app:1; docker stop stopped-always;
  docker create --name never --restart always app:1;
  docker run -d --name fails --restart on-failure busybox:1.37 sleep 1000
systemctl restart docker; docker ps -a --format '{{.Names}} {{.State}}'
for n in always unless-stopped no on-failure killed stopped stopped-always never fails;
  do docker container inspect --format '{{.Name}} {{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' $n; done
docker rm -f $(docker ps -aq) | wc -l
`,
  "an engine that is down": `
systemctl stop docker.socket docker 2>/dev/null || systemctl stop docker
docker ps -q
docker images -q
docker version --format '{{.Server.Version}}'
docker version >/dev/null
docker info --format '{{.DockerRootDir}}'
docker container inspect app
docker container inspect --format '{{json .}}' app other
docker inspect app
docker image inspect --format '{{.Id}}' app:1
docker network inspect --format '{{.Name}}' net
docker volume inspect named
docker create app:1
docker run -d app:1
docker start a b
docker stop a b
docker restart a
docker kill a
docker pause a
docker unpause a
docker rename a b
docker rm a
docker rm -f a
docker rmi -f app:1
docker pull app
docker pull -q app:1
docker tag app:1 b
docker logs a
docker load </tmp/server.tar
docker network create a
docker network connect net a
docker network ls --format '{{.Name}}'
docker volume ls -q
systemctl start docker
docker ps -q
`,
};

/** What texts may differ in, each with the reason. */
const TEXT_DIFFERENCES: readonly { readonly why: string; readonly without: (text: string) => string }[] = [
  {
    why: "times are those of the call; one that has not come yet is year 1",
    without: (text) => text.replaceAll(/\b(?!0001)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, "TIME"),
  },
  {
    why: "the system chooses process ids, and the ports from which a name server is asked",
    without: (text) => text.replaceAll(/("Pid":) ?[1-9]\d*/g, "$1 N").replaceAll(/\[::1\]:\d+->/g, "[::1]:N->"),
  },
  {
    why: "the distribution builds Docker again and again",
    without: (text) => text.replaceAll(/\b20\.10\.\d+\+\S+/g, "VERSION"),
  },
  {
    why: "each archive is unpacked into a folder of its own",
    without: (text) => text.replaceAll(/docker-import-\d+/g, "docker-import-N"),
  },
  {
    why: "real images have layers, which Docker tells as it gets and removes them",
    without: (text) =>
      text.replaceAll(/^[0-9a-f]{12}: .*\n/gm, "").replaceAll(/(?<=^Deleted: .*\n)(Deleted: .*\n)+/gm, ""),
  },
  {
    why: "Docker says this of a container that cannot be started, or does not, as chance has it",
    without: (text) => text.replaceAll(/^time=".*level=error msg="error waiting for container: .*\n/gm, ""),
  },
];

/** Lists that Docker shows in no order, by the names of their fields, and what they are sorted by. */
const UNORDERED: Readonly<Record<string, (item: unknown) => string>> = {
  Binds: String,
  Env: String,
  Mounts: (mount) => (mount as { Destination: string }).Destination,
};

/** Whatever JSON is. */
type Json = unknown;

/** A line of an answer, or a document in it. */
type Part = { readonly text: string } | { readonly document: Json };

function isObject(value: Json): value is Record<string, Json> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function partsOf(text: string): Part[] {
  // A document fills the lines from one that begins it to one that ends it.
  const pieces = text.split(/(^\[\n(?:[ \]].*\n?)*?^\]\n|^[[{].*[\]}]\n)/m);
  return pieces.filter((piece) => piece !== "").flatMap((piece): Part[] => {
    if (!/^[[{]/.test(piece)) return [{ text: piece }];
    try {
      return [{ document: JSON.parse(piece) }];
    } catch {
      return [{ text: piece }];
    }
  });
}

/**
 * A document with its unordered lists in one order, and of the many checks of health each kind once: how many there
 * were is chance.
 */
function ordered(value: Json, name = ""): Json {
  if (name === "Layers") return [];
  if (Array.isArray(value)) {
    const sortKey = UNORDERED[name];
    const items = value.map((item) => ordered(item));
    if (sortKey !== undefined) return items.toSorted((a, b) => sortKey(a) < sortKey(b) ? -1 : 1);
    if (name !== "Log") return items;
    return [...new Set(items.map((check) => JSON.stringify({ ...check as object, Start: "", End: "" })))];
  }
  if (!isObject(value)) return value;
  const entries = Object.entries(value).map(([key, item]) => [key, ordered(item, key)]);
  const { FailingStreak, ...others } = Object.fromEntries(entries);
  return FailingStreak === undefined ? others : { ...others, FailingStreak: FailingStreak === 0 ? 0 : "N" };
}

/** Of a document of Docker's the fields that the stand-in has, too: it leaves out those that nobody reads. */
function restricted(value: Json, shape: Json): Json {
  if (Array.isArray(value) && Array.isArray(shape)) return value.map((item, at) => restricted(item, shape[at]));
  if (!isObject(value) || !isObject(shape)) return value;
  // Names that are keys, such as those of networks, are compared all.
  const keys = Object.keys(value).filter((key) => /^[A-Z]/.test(key) ? key in shape : true);
  return Object.fromEntries(keys.map((key) => [key, restricted(value[key], shape[key])]));
}

/**
 * The text with numbers in the place of ids, by their order, so that they can be compared with those of another host.
 */
function numbered(text: string): string {
  const numbers = new Map<string, number>();
  return text.replaceAll(/\b(?:[0-9a-f]{64}|[0-9a-f]{12})\b/g, (id) => {
    const short = id.slice(0, 12);
    if (/^(.)\1*$/.test(short)) return id;
    if (!numbers.has(short)) numbers.set(short, numbers.size + 1);
    return `${id.length === 12 ? "SHORT-ID" : "ID"}-${numbers.get(short)}`;
  });
}

/** The answer of the stand-in and that of Docker, without what they may differ in. */
export function comparable(simulated: Result, real: Result): [simulated: Result, real: Result] {
  const parts = partsOf(simulated.stdout).map((part) =>
    "document" in part ? { document: ordered(part.document) } : part
  );
  const realParts = partsOf(real.stdout).map((part, at): Part => {
    const other = parts[at];
    if (!("document" in part)) return part;
    const document = ordered(part.document);
    return { document: other !== undefined && "document" in other ? restricted(document, other.document) : document };
  });
  const result = ({ code, stderr }: Result, parts: readonly Part[]): Result => {
    const shown = parts.map((part) => "text" in part ? part.text : `${JSON.stringify(part.document, null, 1)}\n`);
    const separator = "\n--- stderr\n";
    const texts = TEXT_DIFFERENCES.reduce((text, { without }) => without(text), shown.join("") + separator + stderr);
    const [stdout = "", errors = ""] = numbered(texts).split(separator);
    return { code, stdout, stderr: errors };
  };
  return [result(simulated, parts), result(real, realParts)];
}
