#!/bin/bash
# The benchmark's workload as an administrator's script: each of the twenty steps is one `pct exec` that looks, and
# changes only what differs. Says what it changed.
#
# Usage: twenty_steps.sh CTID
set -euo pipefail
ctid=${1:?Usage: twenty_steps.sh CTID}

step() { # TITLE SCRIPT [ARGUMENT...]: the script says "changed" where it changed something
  local title=$1 said
  shift
  if ! said=$(pct exec "$ctid" -- sh -euc "$1" sh "${@:2}"); then
    echo "$title: failed" >&2
    exit 1
  fi
  echo "$title: ${said:-unchanged}"
}

file() { # PATH MODE GROUP: with the content that is on stdin
  step "file $1" '
    new=$(mktemp)
    cat >"$new"
    if [ "$(stat -c "%a %U %G" "$1" 2>/dev/null)" != "$2 root $3" ] || ! cmp -s "$new" "$1"; then
      mkdir -p "${1%/*}"
      chmod "$2" "$new" && chgrp "$3" "$new" && mv -f "$new" "$1"
      echo changed
    else
      rm -f "$new"
    fi' "$@"
}

line() { # PATH PATTERN LINE: replaces the line that the pattern is all of, or is added
  step "line in $1" '
    grep -qxF -e "$3" "$1" && exit
    if grep -qx -e "$2" "$1"; then sed -i "s|^$2\$|$3|" "$1"; else printf "%s\n" "$3" >>"$1"; fi
    echo changed' "$@"
}

service() { # NAME DESCRIPTION DUTY [PATH...]: restarted when its unit, or something in a path, is newer than its start
  step "service $1" '
    name=$1 unit=/etc/systemd/system/$1.service new=$(mktemp)
    cat >"$new" && chmod 644 "$new"
    if cmp -s "$new" "$unit"; then rm -f "$new"; else mv -f "$new" "$unit" && systemctl daemon-reload && c=1; fi
    shift
    state=$(systemctl show -p ActiveState,UnitFileState "$name")
    case $state in *UnitFileState=enabled*) ;; *) systemctl enable "$name" 2>/dev/null; c=1 ;; esac
    started=/run/$name.started
    case $state in *ActiveState=active*) [ -z "${c-}" ] && [ -e "$started" ] || r=1 ;; *) r=1 ;; esac
    [ "${r-}" ] || [ -z "$(find "$unit" "$@" -newer "$started")" ] || r=1
    [ ! "${r-}" ] || { touch "$started" && systemctl restart "$name" && systemctl is-active -q "$name" && c=1; }
    [ ! "${c-}" ] || echo changed' "$1" "${@:4}" <<END
[Unit]
Description=$2

[Service]
ExecStart=/usr/local/sbin/inventory $3
Restart=on-failure

[Install]
WantedBy=multi-user.target
END
}

wait_for() { # TITLE SCRIPT: that succeeds within a minute
  step "$1" '
    i=0
    until eval "$1"; do
      i=$((i + 1))
      [ $i -lt 600 ] || exit 1
      sleep 0.1
    done' "$2" </dev/null
}

[[ $(pct status "$ctid") == 'status: running' ]] || { echo "Container $ctid does not run" >&2; exit 1; }

step 'packages curl, jq, rsync' '
  [ "$(dpkg-query -W -f "\${db:Status-Status} " "$@" 2>/dev/null)" != "installed installed installed " ] || exit 0
  export DEBIAN_FRONTEND=noninteractive
  { apt-get -q update && apt-get -q -y --no-install-recommends install "$@"; } >&2
  echo changed' curl jq rsync </dev/null
step 'package nano absent' '
  [ "$(dpkg-query -W -f "\${db:Status-Status}" "$1" 2>/dev/null)" = installed ] || exit 0
  DEBIAN_FRONTEND=noninteractive apt-get -q -y remove "$1" >&2
  echo changed' nano </dev/null

file /etc/motd 644 root <<<'Inventory of the fleet. Changes here are overwritten.'
file /etc/inventory.conf 640 www-data <<'END'
INTERVAL=60
ADDRESS=10.0.0.99
LOG=/var/log/inventory.log
END
file /etc/inventory.token 600 root <<<'3f1c6c9ae0d94d6b'
file /usr/local/sbin/inventory 755 root <<'END'
#!/bin/sh
# Keeps the inventory; says when it is ready.
. /etc/inventory.conf
echo "ready, every $INTERVAL s" >"$LOG"
touch "/run/inventory-$1.ready"
exec sleep infinity
END
line /etc/hosts '.*registry\.internal' '10.0.0.20 registry.internal' </dev/null
line /etc/login.defs 'UMASK\b.*' 'UMASK 027' </dev/null
step 'nothing at /etc/inventory.old' '[ ! -e "$1" ] || { rm -rf "$1" && echo changed; }' /etc/inventory.old </dev/null

step 'folder /srv/inventory' '[ -e "$1" ] || { install -d -m 750 -g www-data "$1" && echo changed; }' /srv/inventory </dev/null
step 'index of the inventory' '[ -e "$1" ] || { printf "{\"hosts\": []}\n" >"$1" && echo changed; }' \
  /srv/inventory/index.json </dev/null

service inventory 'Inventory' collect /etc/inventory.conf
service inventory-export 'Export of the inventory' export

step 'Docker network inventory' '
  docker network inspect inventory >/dev/null 2>&1 || { docker network create inventory >/dev/null && echo changed; }' </dev/null
# As most scripts do, it looks whether the container runs from this image, not at each of its settings.
step 'container portainer' '
  image=portainer/portainer-ce:2.33.1
  found=$(docker container inspect --format "{{.State.Running}} {{.Config.Image}}" portainer 2>/dev/null || :)
  [ "$found" != "true $image" ] || exit 0
  [ ! "$found" ] || docker rm -f portainer >/dev/null
  docker run -d --name portainer --network inventory -p 9443:9443 -v portainer_data:/data --restart always "$image" >/dev/null 2>&1
  echo changed' </dev/null

wait_for '/run/inventory-collect.ready exists' '[ -e /run/inventory-collect.ready ]'
wait_for 'a line with "ready"' 'grep -qs ready /var/log/inventory.log'
wait_for 'unit inventory-export is active' 'systemctl is-active -q inventory-export'
# A socket's state 0A is LISTEN.
wait_for 'port 9443 listens' "grep -qiE ':24E3 [0-9A-F]+:[0-9A-F]{4} 0A ' /proc/net/tcp /proc/net/tcp6"
wait_for 'https://localhost:9443 answers' 'curl -skf -o /dev/null --max-time 10 https://localhost:9443'
