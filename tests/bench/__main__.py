"""`python -m tests.bench`: every figure in one run, on a Nacelle and real guests of its own."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench import figures
from tests.e2e.nacelle import ROOT, Nacelle, wait_until
from tests.e2e.wire import Wire

SECTIONS = ("boot", "operations", "memory", "api", "scheduler", "storm", "watcher", "dead-host", "live")


def main() -> int:
    """Measure, print the table, write ``var/bench.json``."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is removed then, too
    found: list[figures.Figure] = []
    samples: dict[str, object] = {}
    try:
        with running() as nacelle:
            wire = nacelle.wire()
            settle(wire)
            print(figures.heading(), flush=True)
            for section in options.only or SECTIONS:
                for figure in _measure(section, nacelle, wire, options.runs, samples):
                    print(figures.line(figure), flush=True)
                    found.append(figure)
    except KeyboardInterrupt:
        print("Stopped; everything that the benchmark made is removed.", file=sys.stderr)
        return 130
    except AssertionError as error:
        print(f"The benchmark cannot go on, and has removed what it made: {error}", file=sys.stderr)
        return 1
    path = ROOT / "var" / "bench.json"
    figures.write(path, found, samples)
    print(f"Written to {path}.")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Nacelle's benchmarks.")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="measure only this (may be given again)")
    parser.add_argument(
        "--runs",
        type=int,
        default=10,
        help="how many boots, and lists of each size; a third as many whole lives (default: 10)",
    )
    return parser.parse_args()


@contextmanager
def running() -> Iterator[Nacelle]:
    """A Nacelle that runs, whose rows this process may read; nothing of it stays."""
    nacelle = Nacelle()
    try:
        print("Building the tiny guest and starting a Nacelle of its own …", flush=True)
        nacelle.build_image()
        nacelle.start()
        os.environ.update(nacelle.settings, DJANGO_SETTINGS_MODULE="portal.settings")
        import django

        django.setup()
        yield nacelle
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave things behind
        nacelle.remove()


def settle(wire: Wire) -> None:
    """Wait until the first instance runs, which brings the image to the host, and delete it."""
    from tests.bench.boot import delete

    def active() -> str:
        servers = wire.get("/compute/v2.1/servers/detail?name=hello").json["servers"]
        return next((str(one["id"]) for one in servers if one["status"] == "ACTIVE"), "")

    delete(wire, wait_until("hello is active", active))


def _measure(section: str, nacelle: Nacelle, wire: Wire, runs: int, samples: dict[str, object]) -> list[figures.Figure]:
    from tests.bench import api, boot, dead_host, live, memory, operations, scheduler, storm, watcher

    if section == "boot":
        found, times = boot.measure(wire, runs)
        samples["boot_seconds"], samples["floor_seconds"] = times.nacelle, times.floor
        return found
    if section == "operations":
        found, lives = operations.measure(wire, max(1, runs // 3))
        samples["operation_seconds"], samples["operation_floor_seconds"] = lives.nacelle, lives.floor
        return found
    if section == "memory":
        return memory.measure(nacelle)
    if section == "scheduler":
        found, samples["scheduler_seconds"] = scheduler.measure()
        return found
    if section == "watcher":
        found, samples["watcher"] = watcher.measure()
        return found
    if section == "dead-host":
        return dead_host.measure(nacelle, wire, runs * 3)
    if section == "storm":
        found, samples["storm"] = storm.measure()
        return found
    if section == "live":
        found, crossings = live.measure(runs)
        samples["live_seconds"], samples["live_floor_seconds"] = crossings.nacelle, crossings.floor
        return found
    return api.measure(wire, nacelle.credentials, runs)


if __name__ == "__main__":
    sys.exit(main())
