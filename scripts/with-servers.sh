#!/usr/bin/env bash
# Runs a command with a PostgreSQL and a Redis of its own, on free loopback ports, and ends both after it.
#   scripts/with-servers.sh .venv/bin/python -m pytest
set -euo pipefail
folder=$(mktemp -d)
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
postgres_bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin | sort -V | tail -n 1)
[ -n "$postgres_bin" ] || { echo "PostgreSQL is not installed; scripts/setup.sh --dev installs it." >&2; exit 1; }
as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
[ "$(id -u)" = 0 ] && chown postgres "$folder"
chmod 755 "$folder"
pg_port=$(free_port)
redis_port=$(free_port)
finish() {
    as_postgres "$postgres_bin/pg_ctl" -D "$folder/pg" -m immediate stop >/dev/null 2>&1 || true
    [ -n "${redis_pid:-}" ] && kill "$redis_pid" 2>/dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
cd "$folder"
as_postgres "$postgres_bin/initdb" -D "$folder/pg" -U nacelle --auth=trust -E UTF8 >/dev/null
as_postgres "$postgres_bin/pg_ctl" -D "$folder/pg" -w -l "$folder/pg.log" \
    -o "-p $pg_port -k $folder -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200" start >/dev/null
redis-server --port "$redis_port" --bind 127.0.0.1 --save '' --daemonize no >"$folder/redis.log" 2>&1 &
redis_pid=$!
cd - >/dev/null
export DATABASE_URL="postgres://nacelle@127.0.0.1:$pg_port/postgres" REDIS_URL="redis://127.0.0.1:$redis_port/0"
"$@"
