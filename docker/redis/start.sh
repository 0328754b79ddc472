#!/bin/sh
# Starts Redis so that what it has acknowledged is on disk, with the password of the secret; the password stands in no
# list of processes.
set -eu
umask 077
cat >/tmp/redis.conf <<EOF
dir /data
appendonly yes
appendfsync always
save ""
maxmemory ${REDIS_MAX_MEMORY}
maxmemory-policy noeviction
requirepass $(cat /run/redis-password/password)
EOF
exec redis-server /tmp/redis.conf
