"""Idle memory: the proportional set size of every process of Nacelle, which counts a shared page once."""

from __future__ import annotations

import time

import psutil

from tests.bench.figures import Figure
from tests.e2e.nacelle import Nacelle, title

GOAL_MB = 500.0
OPENSTACK_MB = 3450.0
SETTLE_SECONDS = 10.0


def measure(nacelle: Nacelle) -> list[Figure]:
    """Let it come to rest, then add up. libvirt's daemons and the guests do not count."""
    time.sleep(SETTLE_SECONDS)
    sizes = [(name_of(process), pss_mb(process)) for process in nacelle.processes()]
    total = sum(size for _, size in sizes)
    return [
        Figure(f"idle memory (PSS) of {len(sizes)} processes", total, "MB", GOAL_MB, OPENSTACK_MB),
        *(Figure(f"    {name}", size, "MB") for name, size in sizes),
    ]


def pss_mb(process: psutil.Process) -> float:
    """Its share of the memory, in megabytes (smaps_rollup)."""
    return float(process.memory_full_info().pss) / 1e6


def name_of(process: psutil.Process) -> str:
    """The process as `ps` shows it, without paths and ids."""
    words = [word.rpartition("/")[2] for word in title(process).split() if not word.startswith("Process-")]
    parent = process.parent()
    lane = title(parent).removeprefix("nacelle ") if parent and words[0] == "qcluster" else ""
    return " ".join([lane, *words[1:]] if lane else words)
