#!/bin/sh
# Takes a changed haproxy.cfg without a break:
#
#   docker compose exec gateway /etc/haproxy/reload.sh
#
# The new process begins with the replicas that the old one knows; by itself it would answer 503 until it has found them.
set -eu
haproxy -c -q -f /etc/haproxy/haproxy.cfg
echo 'show servers state' | socat -t 5 - UNIX-CONNECT:/tmp/haproxy.sock >/tmp/haproxy.servers.new
mv /tmp/haproxy.servers.new /tmp/haproxy.servers
kill -USR2 1
