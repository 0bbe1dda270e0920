"""Rolling up: when an hour or a day is over, its measurements become averages, and the finer ones go later.

Each hour of a host, with all its instances, is one transaction, and so is each day. Whether one is done says
the block of the host's own series, so nothing is lost or done twice when the watcher dies. The watcher gives
this a moment at each of its turns: a hundred hosts are through within minutes of the hour.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Max, Min
from django.utils import timezone

from compute.models import Block, Level, Sample, Series
from compute.statistics.packing import Averages, Values, pack_slots, unpack_sample, unpack_slots

MINUTE, HALF_HOUR, HOUR, DAY = 60, 1800, 3600, 86_400
# How long measurements are kept after they have become averages: so that a chart of the last hour, and of the last
# day, is drawn from one level.
SAMPLES_KEPT = 2 * HOUR
MINUTES_KEPT = 30 * HOUR
# What was never rolled up, because something is wrong, goes at last, too.
MOST_KEPT = {Sample: 2 * DAY, Level.MINUTES: 7 * DAY}
SETTLE_SECONDS = 30  # a sample of the last seconds of an hour may come a little late
TURN_SECONDS = 0.1


class Roller:
    """Does what is due, a moment at a time. What it remembers it finds again in the rows."""

    def __init__(self) -> None:
        self._hours: dict[int, int] = {}  # up to when each host's samples have become averages
        self._days: dict[int, int] = {}

    def turn(self, host_ids: list[int], seconds: float = TURN_SECONDS) -> int:
        """Roll up for about so long. Returns how many hours and days it did."""
        until, done = time.monotonic() + seconds, 0
        for host_id in host_ids:
            for _ in self._due(host_id, int(time.time()) - SETTLE_SECONDS):
                done += 1
                if time.monotonic() >= until:
                    return done
        return done

    def _due(self, host_id: int, now: int) -> Iterator[None]:
        if host_id not in self._hours:
            self._hours[host_id] = _end_of_last(host_id, Level.MINUTES, HOUR)
            self._days[host_id] = _end_of_last(host_id, Level.HALF_HOURS, DAY)
        while self._hours[host_id] <= now - HOUR:
            start = _first_sample(host_id, self._hours[host_id])
            if start is None or start > now - HOUR:
                self._hours[host_id] = now - now % HOUR
                break
            roll_hour(host_id, start)
            self._hours[host_id] = start + HOUR
            self._forget(host_id)
            yield
        while self._days[host_id] <= min(now, self._hours[host_id]) - DAY:
            start = _first_block(host_id, self._days[host_id])
            if start is None or start > min(now, self._hours[host_id]) - DAY:
                self._days[host_id] = now - now % DAY
                break
            roll_day(host_id, start)
            self._days[host_id] = start + DAY
            self._forget(host_id)
            yield

    def _forget(self, host_id: int) -> None:
        """Averages by the minute go when they are old enough and those by the half-hour are there."""
        before = min(self._hours[host_id] - MINUTES_KEPT, self._days[host_id])
        Block.objects.filter(series__host=host_id, level=Level.MINUTES, start__lt=before).delete()


def _end_of_last(host_id: int, level: Level, span: int) -> int:
    """Up to when the host's own series has blocks of a level."""
    rows = Block.objects.filter(series__host=host_id, series__instance=None, level=level)
    last: int | None = rows.aggregate(last=Max("start"))["last"]
    return last + span if last is not None else 0


def _first_sample(host_id: int, since: int) -> int | None:
    """The beginning of the hour of the first sample from a moment on."""
    first: int | None = Sample.objects.filter(host=host_id, at__gte=since).aggregate(first=Min("at"))["first"]
    return None if first is None else first - first % HOUR


def _first_block(host_id: int, since: int) -> int | None:
    """The beginning of the day of the first averages by the minute from a moment on."""
    rows = Block.objects.filter(series__host=host_id, level=Level.MINUTES, start__gte=since)
    first: int | None = rows.aggregate(first=Min("start"))["first"]
    return None if first is None else first - first % DAY


def roll_hour(host_id: int, start: int) -> None:
    """The samples of an hour become averages by the minute; samples that are old enough go."""
    found: dict[int, Averages] = defaultdict(lambda: Averages(HOUR // MINUTE))
    own, _ = Series.objects.get_or_create(host_id=host_id, instance=None)
    rows = Sample.objects.filter(host=host_id, at__gte=start, at__lt=start + HOUR).order_by("at")
    for at, packed in rows.values_list("at", "values").iterator():
        slot = (at - start) // MINUTE
        values, instances = unpack_sample(packed)
        found[own.pk].add(slot, values)
        for series_id, one in instances.items():
            found[series_id].add(slot, one)
    known = set(Series.objects.filter(pk__in=found).values_list("pk", flat=True))  # instances may have gone for good
    with transaction.atomic():
        _write(Level.MINUTES, start, {pk: averages for pk, averages in found.items() if pk in known})
        Sample.objects.filter(host=host_id, at__lt=start + HOUR - SAMPLES_KEPT).delete()


def roll_day(host_id: int, start: int) -> None:
    """The averages by the minute of a day become averages by the half-hour."""
    found: dict[int, Averages] = defaultdict(lambda: Averages(DAY // HALF_HOUR))
    rows = Block.objects.filter(series__host=host_id, level=Level.MINUTES, start__gte=start, start__lt=start + DAY)
    for series_id, begin, packed in rows.values_list("series_id", "start", "values").iterator():
        for minute, values in enumerate(unpack_slots(packed)):
            found[series_id].add((begin + minute * MINUTE - start) // HALF_HOUR, values)
    with transaction.atomic():
        _write(Level.HALF_HOURS, start, found)


def _write(level: Level, start: int, found: dict[int, Averages]) -> None:
    rows: dict[int, list[Values | None]] = {pk: list(averages.rows()) for pk, averages in found.items()}
    made = [Block(series_id=pk, level=level, start=start, values=pack_slots(slots)) for pk, slots in rows.items()]
    Block.objects.bulk_create(made, ignore_conflicts=True)


def prune() -> None:
    """Forget what is older than it is kept, and the series of which nothing is left."""
    now = int(time.time())
    Sample.objects.filter(at__lt=now - MOST_KEPT[Sample]).delete()
    Block.objects.filter(level=Level.MINUTES, start__lt=now - MOST_KEPT[Level.MINUTES]).delete()
    Block.objects.filter(level=Level.HALF_HOURS, start__lt=now - (settings.STATISTICS_DAYS + 1) * DAY).delete()
    settled = timezone.now() - timedelta(days=1)
    Series.objects.filter(blocks=None, instance__deleted_at__lt=settled).delete()
    Series.objects.filter(blocks=None, host=None).delete()
