#!/usr/bin/env bash
# Brings a fresh Debian 12 machine to where `manage.py run` can start. Runs again in a second.
#   scripts/setup.sh          what Nacelle needs to run
#   scripts/setup.sh --dev    and what the tests, linters and benchmarks need
set -euo pipefail
cd "$(dirname "$0")/.."
export DEBIAN_FRONTEND=noninteractive

PACKAGES=(
    libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils dnsmasq-base iptables ebtables iproute2  # the host
    libvirt-dev pkg-config gcc python3-dev python3-venv                                                       # libvirt-python
    dosfstools e2fsprogs mtools syslinux syslinux-common zstd                                                  # the tiny guest
)
DEV_PACKAGES=(chromium openssh-client openssh-server genisoimage libxml2-utils postgresql redis-server procps)
[ "${1:-}" = --dev ] && PACKAGES+=("${DEV_PACKAGES[@]}")
command -v npm >/dev/null || PACKAGES+=(nodejs npm)

say() { printf '%s\n' "$*"; }
fail() { printf 'Nacelle: %s\n' "$*" >&2; exit 1; }

# Runs a step with its output in a log; a dot every two seconds shows that it lives.
step() {
    local title=$1; shift
    mkdir -p var/log
    local log="var/log/setup.log"
    printf '%s ' "$title"
    "$@" >>"$log" 2>&1 & local pid=$!
    while kill -0 "$pid" 2>/dev/null; do sleep 2; printf '.'; done
    if wait "$pid"; then printf ' done\n'; else printf ' failed\n'; tail -n 15 "$log" >&2; fail "$title did not work; all of it is in $log."; fi
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
for package in "${PACKAGES[@]}"; do
    dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || fail "this machine has no apt-get; install by hand what Debian calls: ${missing[*]}"
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        fail "system packages are missing; as root run: apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "Missing system packages: ${missing[*]}"
    if [ "$(id -u)" != 0 ]; then sudo -v || fail "system packages need root; run as root: apt-get install --no-install-recommends ${missing[*]}"; fi
    step "Reading package lists" as_root apt-get update
    step "Installing ${#missing[@]} system packages (some minutes on a new machine)" \
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
fi

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed; $python is older."
requirements=requirements.txt
[ "${1:-}" = --dev ] && requirements=requirements-dev.txt
# A virtual environment whose interpreter is gone, or that was moved here, is made anew.
if [ -d .venv ] && ! { .venv/bin/python -c '' 2>/dev/null && grep -q "^VIRTUAL_ENV=.*$PWD/.venv" .venv/bin/activate; }; then rm -rf .venv; fi
[ -x .venv/bin/python ] || step "Making the virtual environment" "$python" -m venv .venv
stamp=".venv/.installed-$requirements"
if [ "$(cat requirements.txt "$requirements" | sha256sum)" != "$(cat "$stamp" 2>/dev/null)" ]; then
    step "Installing Python packages" .venv/bin/pip install --disable-pip-version-check -q -r "$requirements"
    cat requirements.txt "$requirements" | sha256sum >"$stamp"
fi

stamp="node_modules/.installed"
if [ "$(sha256sum <package-lock.json)" != "$(cat "$stamp" 2>/dev/null)" ] || [ ! -d static/vendor ]; then
    step "Installing front-end packages" npm ci --no-audit --no-fund --ignore-scripts
    step "Copying front-end packages" npm run vendor
    sha256sum <package-lock.json >"$stamp"
fi
