#!/usr/bin/env bash
# Replaces all replicas of the service, one after the other, without a failed request: for another image, bundle or
# setting, after .env was changed.
#
#   docker/rolling-restart.sh        from the folder of docker-compose.yml; COMPOSE_FILE and so on are heeded
#
# A new replica comes first, so there is one more of them for a while. Then the gateway sends an old one nothing more,
# its requests end, and it is removed.
set -euo pipefail

WAIT_SECONDS=${WAIT_SECONDS:-180}

haproxy() { docker compose exec -T gateway socat -t 5 - UNIX-CONNECT:/tmp/haproxy.sock <<<"$1"; }

# Of the replicas that the gateway knows, in each of its backends: backend/name, address, and state (0 down, 2 up).
backends=3
known() { haproxy 'show servers state' | awk '$2 ~ /^(service|recommend|once)$/ {print $2 "/" $4, $5, $6}'; }
running() { known | awk '$3 == 2' | wc -l; }
state_of() { known | awk -v server="$1" '$1 == server {print $3}'; }
requests_of() { haproxy 'show stat' | awk -F, -v server="$1" '$1 "/" $2 == server {print $5}'; }

until_true() { # what is waited for, then the command
    local what=$1 end=$((SECONDS + WAIT_SECONDS))
    shift
    until "$@"; do
        ((SECONDS < end)) || { echo "waited $WAIT_SECONDS s in vain: $what" >&2; exit 1; }
        sleep 0.5
    done
}
as_many_run() { [ "$(running)" -ge "$1" ]; }
has_no_request() { [ "$(requests_of "$1")" = 0 ]; }
is_down() { [ "$(state_of "$1")" = 0 ]; }

mapfile -t old < <(docker compose ps --quiet service)
replicas=${#old[@]}
((replicas)) || { echo "no replica runs: docker compose up -d --wait" >&2; exit 1; }
for container in "${old[@]}"; do
    docker compose up --detach --no-deps --no-recreate --wait --scale "service=$((replicas + 1))" service
    until_true 'the gateway sees the new replica' as_many_run $((backends * (replicas + 1)))

    address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$container")
    mapfile -t servers < <(known | awk -v address="$address" '$2 == address {print $1}')
    for server in "${servers[@]}"; do haproxy "set server $server state drain"; done
    for server in "${servers[@]}"; do until_true 'the requests of the old replica end' has_no_request "$server"; done
    docker stop "$container"
    docker rm "$container"
    # Its places in the gateway are free for another one, once the gateway has seen that it is gone.
    for server in "${servers[@]}"; do
        until_true 'the gateway misses the old replica' is_down "$server"
        haproxy "set server $server state ready"
    done
done
echo "$replicas replaced"
