#!/usr/bin/env bash
# The whole test suite: on SQLite, then on PostgreSQL with Redis. Arguments go to pytest.
#   scripts/test.sh tests/engine -k boot
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x .venv-client/bin/openstack ] || ! cmp -s requirements-client.txt .venv-client/installed; then
    printf 'Installing the openstack command into an environment of its own ...\n'
    "${PYTHON:-python3}" -m venv .venv-client
    .venv-client/bin/pip install --disable-pip-version-check -q -r requirements-client.txt
    cp requirements-client.txt .venv-client/installed
fi
# One libvirt for all tests where nothing runs it; ended afterwards if it was started here.
libvirt() { .venv/bin/python -c "from pathlib import Path; from compute.hypervisor.libvirt import daemons; daemons.$1(Path('var/libvirt-tests').resolve())"; }
mkdir -p var
libvirt ensure_running
trap 'libvirt stop' EXIT
printf '%s\n' "--- SQLite"
.venv/bin/python -m pytest "$@"
printf '%s\n' "--- PostgreSQL and Redis"
# What is about the browser, the client or the hypervisor alone does not come to another end with another database.
scripts/with-servers.sh .venv/bin/python -m pytest -m "not (driver or real or browser or client)" "$@"
[ $# -gt 0 ] || scripts/with-servers.sh .venv/bin/python -m pytest tests/e2e/test_instances.py tests/e2e/test_kills.py
