"""Reading for a chart: the load of a host or an instance over a range of time, in some hundred points.

Days that are over come from the averages by the half-hour, hours from those by the minute, and the rest from
the samples themselves; whatever a level does not have yet, the finer one has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db.models import F, QuerySet

from compute.models import Block, Host, Instance, Level, Sample, Series
from compute.statistics.packing import (
    OF_HOSTS,
    OF_INSTANCES,
    Averages,
    Values,
    host_of,
    instance_of,
    unpack_slots,
)
from compute.statistics.rolling import DAY, HALF_HOUR, HOUR, MINUTE

# A host, or an instance on one, is measured anew before it counts as not measured.
PERIODS = 3


@dataclass(frozen=True)
class Range:
    """How far back, and how long a point is; both seconds."""

    reach: int
    step: int


RANGES = {
    "1h": Range(HOUR, 10),
    "24h": Range(DAY, 300),
    "7d": Range(7 * DAY, HALF_HOUR),
    "30d": Range(30 * DAY, 4 * HALF_HOUR),
}


@dataclass(frozen=True)
class Load:
    """Columns of equal length. ``at`` is the beginning of each point, seconds of the epoch; None: not known."""

    since: int
    until: int
    step: int
    at: list[int]
    columns: dict[str, list[float | None]]


def load_of_host(host: Host, name: str) -> Load:
    """The load of a host over a range (a key of ``RANGES``)."""
    return _load(list(Series.objects.filter(host=host, instance=None)), OF_HOSTS, RANGES[name], [host.pk])


def load_of_instance(instance: Instance, name: str) -> Load:
    """The load of an instance, on whatever hosts it was."""
    return _load(list(Series.objects.filter(instance=instance)), OF_INSTANCES, RANGES[name], [])


def _load(series: list[Series], names: tuple[str, ...], wanted: Range, hosts: list[int]) -> Load:
    """``hosts``: those whose own samples count."""
    until = int(time.time())
    step = max(wanted.step, settings.HOST_SAMPLE_SECONDS)
    first = (until - wanted.reach) // step * step
    averages = Averages((until - first) // step + 1)
    for moment, values, weight in _points(series, hosts, first, step):
        if first <= moment <= until:
            averages.add((moment - first) // step, values, weight)
    at: list[int] = []
    columns: list[list[float | None]] = [[] for _ in names]
    for slot, row in enumerate(averages.rows()):
        if row is not None:
            at.append(first + slot * step)
            for column, figure in zip(columns, row, strict=True):
                column.append(None if math.isnan(figure) else round(figure, 2))
    return Load(until - wanted.reach, until, step, at, dict(zip(names, columns, strict=True)))


Point = tuple[int, Values, float]


def _points(series: list[Series], hosts: list[int], first: int, step: int) -> Iterator[Point]:
    """Each moment, its values, and how many seconds they stand for."""
    for one in series:
        end = yield from _blocks(one, first, step)
        yield from _samples(one, max(first, end))
    if not series:
        for host_id in hosts:  # measured for less than an hour
            yield from _samples(Series(host_id=host_id), first)


def _blocks(one: Series, first: int, step: int) -> Generator[Point, None, int]:
    """The averages since a moment; returns up to when there are any."""
    end = 0
    for level, span, slot in ((Level.HALF_HOURS, DAY, HALF_HOUR), (Level.MINUTES, HOUR, MINUTE)):
        if step < slot:
            continue
        rows = Block.objects.filter(series=one, level=level, start__gt=max(first - span, end - 1)).order_by("start")
        for start, packed in rows.values_list("start", "values").iterator():
            end = start + span
            for number, values in enumerate(unpack_slots(packed)):
                yield start + number * slot, values, slot
    return end


def _samples(one: Series, since: int) -> Iterator[Point]:
    rows = Sample.objects.filter(host=one.host_id, at__gte=since).order_by("at").values_list("at", "values")
    for at, packed in rows.iterator():
        values = host_of(packed) if one.instance_id is None else instance_of(packed, one.pk)
        if values is not None:
            yield at, values, float(settings.HOST_SAMPLE_SECONDS)


def newest_of_hosts() -> dict[int, dict[str, float]]:
    """The last values of every host that has been measured lately, by the columns' names; one query."""
    since = int(time.time()) - PERIODS * settings.HOST_SAMPLE_SECONDS
    rows = Sample.objects.filter(at__gte=since).order_by("at").values_list("host_id", "values")
    newest = dict(rows.iterator())
    return {pk: dict(zip(OF_HOSTS, host_of(packed), strict=True)) for pk, packed in newest.items()}


def busy_lately(host_ids: Iterable[int]) -> dict[int, list[float | None]]:
    """The share of each host's processors that was busy in the last hour, by the minute; one query.

    Of each minute one sample counts.
    """
    until = int(time.time())
    first = until - HOUR
    found: dict[int, list[float | None]] = {pk: [None] * (HOUR // MINUTE + 1) for pk in host_ids}
    rows = one_a_minute(Sample.objects.filter(at__gte=first))
    for host_id, at, packed in rows.values_list("host_id", "at", "values").iterator():
        if host_id in found:
            found[host_id][(at - first) // MINUTE] = round(host_of(packed)[0], 1)
    return found


def one_a_minute(rows: QuerySet[Sample]) -> QuerySet[Sample]:
    """Of each minute of a host's samples the first, where they come more often."""
    return rows.annotate(second=F("at") % MINUTE).filter(second__lt=max(settings.HOST_SAMPLE_SECONDS, 1)).order_by()
