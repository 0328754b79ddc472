#!/bin/sh
# Makes the password of Redis once, in the volume that Redis and those who ask it mount; it is never shown.
set -eu
secret=/run/redis-password/password
[ ! -s "$secret" ] || exit 0
head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$secret.new"
chmod 444 "$secret.new"
mv "$secret.new" "$secret"
