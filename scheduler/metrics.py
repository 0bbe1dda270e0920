"""The option ``weight_setting``: which of a host's measurements count, and how much."""

from __future__ import annotations

import math

from scheduler.options import BadOption
from scheduler.scene import METRICS


def weights(entries: list[str]) -> dict[str, float]:
    """``["cpu.percent=-1", …]`` as numbers by name. Raises BadOption."""
    found = {}
    for entry in entries:
        name, sign, ratio = (part.strip() for part in entry.partition("="))
        if name not in METRICS:
            raise BadOption(f"weight_setting: there is no metric {name}; there are {', '.join(METRICS)}.")
        try:
            found[name] = float(ratio) if sign else 1.0
        except ValueError as error:
            raise BadOption(f"weight_setting: {ratio} is no number.") from error
        if not math.isfinite(found[name]):
            raise BadOption(f"weight_setting: {ratio} is no number.")
    return found
