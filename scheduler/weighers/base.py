"""What a weigher is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from scheduler.hoststate import HostView
from scheduler.options import Option, clean
from scheduler.request import Request
from scheduler.scene import Scene


class Weigher:
    """Gives each host a raw weight; the sum of multiplier times the normalised weights decides."""

    sentence: ClassVar[str] = ""
    options: ClassVar[tuple[Option, ...]] = ()
    multiplier_key: ClassVar[str] = ""  # the field's option; aggregates override it under this key
    multiplier: float = 1.0
    least_multiplier: ClassVar[float | None] = None
    default: ClassVar[bool] = True
    span: ClassVar[tuple[float, float] | None] = None  # normalise between these, instead of lowest and highest

    def __init__(self, given: Mapping[str, Any] | None = None, multiplier: float | None = None) -> None:
        """``given``: values of options. Raises BadOption."""
        self.chosen = clean(self.options, given or {})
        if multiplier is not None:
            self.multiplier = multiplier

    def matters(self, request: Request) -> bool:
        """Whether it can tell hosts apart for this request."""
        return True

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """The raw weights, in the hosts' order."""
        raise NotImplementedError


class HostWeigher(Weigher):
    """The simple way: one host at a time. Override ``weight``."""

    def weight(self, host: HostView, request: Request) -> float:
        """The raw weight of a host; higher is better."""
        raise NotImplementedError

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """One after another."""
        return [float(self.weight(host, request)) for host in hosts]


def normalised(raw: Sequence[float], span: tuple[float, float] | None = None) -> list[float]:
    """Stretch weights onto 0 … 1, as Nova does; equal ones all become 0."""
    low, high = span or (min(raw), max(raw))
    if high == low:
        return [0.0] * len(raw)
    scale = 1.0 / (high - low)
    return [(value - low) * scale for value in raw]
