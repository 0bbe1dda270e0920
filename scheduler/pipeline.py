"""The filters and weighers that are on, in their order, made ready once and used until the settings change."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.filters import FILTERS, Filter
from scheduler.weighers import WEIGHERS, Weigher


@dataclass(frozen=True)
class Pipeline:
    """What a decision runs through. ``problems`` are parts that could not be used, each with its reason."""

    filters: tuple[Filter, ...]
    weighers: tuple[Weigher, ...]
    problems: tuple[str, ...] = ()


_default = Pipeline(
    filters=tuple(one() for one in FILTERS if one.default), weighers=tuple(one() for one in WEIGHERS if one.default)
)


def current() -> Pipeline:
    """The pipeline as the settings say now."""
    return _default
