"""What a weigher is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from scheduler.hoststate import HostView, Request


class Weigher(Protocol):
    """Gives each host a raw weight; the sum of ``multiplier`` times the normalised weights decides."""

    multiplier: float

    def weigh(self, host: HostView, request: Request) -> float: ...


def normalised(raw: Sequence[float]) -> list[float]:
    """Stretch weights onto 0 … 1, as Nova does; equal ones all become 0."""
    low, high = min(raw), max(raw)
    if high == low:
        return [0.0] * len(raw)
    return [(value - low) / (high - low) for value in raw]
