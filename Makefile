# make run     set up what is missing and start Nacelle in the foreground
# make test    the whole test suite: real guests, a real browser, the real openstack command
# make lint    linters, types, import contracts, system checks
# make bench   the benchmarks; writes var/bench.json
.PHONY: run test lint bench setup dev

run: setup
	@exec .venv/bin/python manage.py run

setup:
	@scripts/setup.sh

dev:
	@scripts/setup.sh --dev

test: dev
	@scripts/test.sh

lint: dev
	@scripts/lint.sh

bench: dev
	@.venv/bin/python -m tests.bench
