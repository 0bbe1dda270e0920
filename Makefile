# make run     set up what is missing and start Nacelle in the foreground
# make test    the whole test suite: real guests, a real browser, the real openstack command
# make lint    linters, types, import contracts, system checks
# make bench   the benchmarks; writes var/bench.json
# make lab     several compute hosts on this machine, to try what needs many: make lab N=3 SHARED=1,2
# make lab-down    remove them and their instances without a trace
.PHONY: run test lint bench setup dev lab lab-down

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

lab: setup
	@.venv/bin/python manage.py lab up --hosts "$(or $(N),3)" --shared "$(SHARED)"

lab-down:
	@.venv/bin/python manage.py lab down
