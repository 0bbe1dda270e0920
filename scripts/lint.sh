#!/usr/bin/env bash
# Linters, types, import contracts, system checks. Prints what is wrong and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
export NACELLE_DATA_DIR="${NACELLE_DATA_DIR:-$(mktemp -d)}"
run() { printf '%s\n' "--- $*"; "$@"; }

run $bin/ruff check .
run $bin/ruff format --check .
run $bin/lint-imports --no-cache
run $bin/mypy portal compute scheduler consoleproxy manage.py
run $bin/python manage.py check --fail-level WARNING
run $bin/python manage.py makemigrations --check --dry-run
NACELLE_PUBLIC_URL=https://cloud.example.org run $bin/python manage.py check --deploy --fail-level WARNING
run $bin/djlint templates --lint --quiet
