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
# Those that need only this machine's processors run side by side, which needs one order of everything in each process;
# those on guests, in a browser or with the client share the machine and run one after the other. Of what those meet
# (emulated guests, a browser, a busy machine) not all is ours: one that failed, of at most five, is tried once more
# after a while, and told at the end with what it said, for somebody to look into.
ALONE="driver or real or browser or client"
AGAIN="--reruns 1 --reruns-delay 10 --max-suite-reruns 5 --rerun-show-tracebacks"
export PYTHONHASHSEED=0
passes() { "$@" || [ $? -eq 5 ]; } # 5: nothing of this half was asked for
printf '%s\n' "--- SQLite"
passes .venv/bin/python -m pytest -n "$(nproc)" --dist worksteal -m "not ($ALONE)" "$@"
passes .venv/bin/python -m pytest $AGAIN -m "($ALONE) and not thorough" "$@"
printf '%s\n' "--- PostgreSQL and Redis"
# What is about the browser, the client or the hypervisor alone does not come to another end with another database.
passes scripts/with-servers.sh .venv/bin/python -m pytest -n "$(nproc)" --dist worksteal -m "not ($ALONE)" "$@"
[ $# -gt 0 ] || scripts/with-servers.sh .venv/bin/python -m pytest $AGAIN tests/e2e/test_instances.py tests/e2e/test_kills.py
