"""The filters and weighers that are on, in their order, made ready once and used until the settings change."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from portal.compiled import Rows
from scheduler import parts
from scheduler.filters import Filter
from scheduler.models import PartKind, Revision
from scheduler.weighers import Weigher

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pipeline:
    """What a decision runs through. ``problems`` are parts that could not be used, each with its reason."""

    filters: tuple[Filter, ...]
    weighers: tuple[Weigher, ...]
    problems: tuple[str, ...] = ()


_REVISION = Rows(lambda: Revision.objects.order_by().values_list("token"))


class _Kept:
    """The pipeline that was built last, and the revision that it was built of."""

    pipeline: Pipeline | None = None
    token: object = None


def current() -> Pipeline:
    """The pipeline as the settings say now: one small query, and more only after a change."""
    token = _REVISION.rows()
    pipeline = _Kept.pipeline
    if pipeline is None or _Kept.token != token:
        pipeline = built()
        _Kept.pipeline, _Kept.token = pipeline, token
    return pipeline


def forget() -> None:
    """Build it anew at the next decision."""
    _Kept.pipeline = None


def built() -> Pipeline:
    """Read the settings and make what is on."""
    filters: list[Filter] = []
    weighers: list[Weigher] = []
    problems: list[str] = []
    for kind, made in ((PartKind.FILTER, filters), (PartKind.WEIGHER, weighers)):
        for one in parts.every(kind):
            if one.problem:
                log.warning("the %s %s is left out: %s", kind, one.name, one.problem)
                problems.append(f"{one.name} is left out: {one.problem}")
            elif one.enabled:
                made.append(one.make())  # type: ignore[arg-type]  # the kind says which it is
    return Pipeline(tuple(filters), tuple(weighers), tuple(problems))
