"""Figures: what was measured, what the goal is, and what a real OpenStack needed on such a machine."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import libvirt

LIBVIRT_URI = "qemu:///system"
WIDTHS = (58, 12, 12, 12)


@dataclass(frozen=True)
class Figure:
    """One line of the table. ``goal`` is an upper limit in the same unit, ``at_least`` a lower one; None: none."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    openstack: float | None = None
    at_least: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the goal is met; True without one."""
        return (self.goal is None or self.value <= self.goal) and (self.at_least is None or self.value >= self.at_least)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that ``share`` (0 to 1) of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(name: str, seconds: Sequence[float], *, goal: float | None, openstack: float | None) -> list[Figure]:
    """p50 and p95 of some durations, in milliseconds; goal and comparison are for the p50."""
    middle = statistics.median(seconds) * 1000
    return [
        Figure(f"{name}, p50 of {len(seconds)}", middle, "ms", goal, openstack),
        Figure(f"{name}, p95", percentile(seconds, 0.95) * 1000, "ms"),
    ]


def line(figure: Figure) -> str:
    """The figure as a line of the table."""
    goal = "" if figure.goal is None else f"≤ {number(figure.goal, figure.unit)}"
    goal = goal if figure.at_least is None else f"≥ {number(figure.at_least, figure.unit)}"
    openstack = "" if figure.openstack is None else number(figure.openstack, figure.unit)
    missed = "" if figure.reached else "  MISSED"
    cells = (figure.name, number(figure.value, figure.unit), goal, openstack)
    return cells[0].ljust(WIDTHS[0]) + "".join(cell.rjust(width) for cell, width in zip(cells[1:], WIDTHS[1:])) + missed


def heading() -> str:
    """The line above the table."""
    cells = ("measured", "goal", "OpenStack")
    return " " * WIDTHS[0] + "".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS[1:]))


def number(value: float, unit: str) -> str:
    """A value with its unit, with as many digits as mean something."""
    digits = 2 if unit == "x" else 0 if abs(value) >= 100 or value == int(value) else 1
    return f"{value:,.{digits}f} {unit}"


def write(path: Path, figures: Sequence[Figure], samples: dict[str, object]) -> None:
    """Write ``var/bench.json``: the machine, each figure, and the single measurements behind them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(figure), "reached": figure.reached} for figure in figures]
    content = {"at": datetime.now(UTC).isoformat(), "machine": machine(), "figures": rows, "samples": samples}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    models = [one for one in Path("/proc/cpuinfo").read_text().splitlines() if one.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cpus": os.cpu_count(),
        "cpu": models[0].partition(":")[2].strip() if models else "",
        "load": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "database": os.environ.get("DATABASE_URL", "sqlite").partition(":")[0],
        "commit": commit,
        **_versions(),
    }


def _versions() -> dict[str, int]:
    """Of libvirt and QEMU; none where no libvirtd runs: what is measured with fake hosts needs none."""
    try:
        host = libvirt.open(LIBVIRT_URI)
    except libvirt.libvirtError:
        return {}
    try:
        return {"libvirt": host.getLibVersion(), "qemu": host.getVersion()}
    finally:
        host.close()
