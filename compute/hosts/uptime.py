"""How long hosts have been running, as the command `uptime` says it, from what the watcher has read.

libvirt tells no uptime. The times of all processors together, idle time included, are so many times as long as
there are processors; and how many of them were busy on average stands for the load. Users are not counted.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from statistics import fmean

from compute.models import Host, Reading, Sample
from compute.statistics.packing import host_of
from compute.statistics.reading import one_a_minute

MINUTE, HOUR, DAY = 60, 3600, 86_400
SPANS = (MINUTE, 5 * MINUTE, 15 * MINUTE)


def uptimes(hosts: Iterable[Host]) -> dict[int, str]:
    """What `uptime` would say on those hosts that are up and have been measured, by their ids; two queries."""
    up = {host.pk: host for host in hosts if host.is_up}
    now = int(time.time())
    rows = Reading.objects.filter(host__in=up).values_list("host_id", "counters__host__cpu_total_seconds")
    busy = _busy_lately(up, now)
    return {pk: _said(now, total / up[pk].vcpus, busy[pk]) for pk, total in rows if total and up[pk].vcpus}


def _busy_lately(hosts: dict[int, Host], now: int) -> dict[int, list[float]]:
    """How many processors of each host were busy in the last 1, 5 and 15 minutes."""
    rows = one_a_minute(Sample.objects.filter(host__in=hosts, at__gte=now - SPANS[-1]))
    points: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for host_id, at, packed in rows.values_list("host_id", "at", "values"):
        points[host_id].append((at, host_of(packed)[0] / 100 * hosts[host_id].vcpus))
    return {pk: list(_means(points[pk], now)) for pk in hosts}


def _means(points: list[tuple[int, float]], now: int) -> Iterator[float]:
    for span in SPANS:
        recent = [busy for at, busy in points if at > now - span - MINUTE]
        yield fmean(recent) if recent else 0.0


def _said(now: int, seconds: float, busy: list[float]) -> str:
    clock = datetime.fromtimestamp(now, UTC).strftime("%H:%M:%S")
    loads = ", ".join(f"{one:.2f}" for one in busy)
    return f" {clock} up {_lasting(int(seconds))},  0 users,  load average: {loads}"


def _lasting(seconds: int) -> str:
    days, rest = divmod(seconds, DAY)
    hours, minutes = rest // HOUR, rest % HOUR // MINUTE
    of_day = f"{hours:2}:{minutes:02}" if hours else f"{minutes} min"
    return f"{days} day{'s' if days > 1 else ''}, {of_day}" if days else of_day
