"""Host aggregates as the scheduler reads them: metadata, members, and what they override of their hosts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from compute.models import Aggregate, Host

# Keys of an aggregate's metadata that stand instead of its hosts' own ratios; the smallest wins.
RATIO_KEYS = {
    "cpu_ratio": "cpu_allocation_ratio",
    "memory_ratio": "ram_allocation_ratio",
    "disk_ratio": "disk_allocation_ratio",
}


@dataclass(frozen=True)
class AggregateView:
    """One aggregate."""

    name: str
    metadata: Mapping[str, str]
    hosts: frozenset[int]


class Aggregates:
    """All aggregates, and answers about their hosts that are worked out once."""

    def __init__(self, every: Iterable[AggregateView] = ()) -> None:
        self.every = tuple(every)
        self._smallest: dict[str, dict[int, float]] = {}

    def having(self, key: Callable[[str], bool], value: Callable[[str], bool] | None = None) -> frozenset[int]:
        """The hosts with an aggregate that has such a key (with such a value)."""
        found = (
            one.hosts
            for one in self.every
            if any(key(name) and (value is None or value(text)) for name, text in one.metadata.items())
        )
        return frozenset().union(*found)

    def values_on(self, host_id: int, key: Callable[[str], bool]) -> list[str]:
        """The values of such keys in a host's aggregates, sorted."""
        of_host = (one.metadata for one in self.every if host_id in one.hosts)
        return sorted({text for metadata in of_host for name, text in metadata.items() if key(name)})

    def smallest(self, key: str) -> dict[int, float]:
        """For each host whose aggregates have a number under this key: the smallest. Other texts are left out."""
        if key not in self._smallest:
            found: dict[int, float] = {}
            for one in self.every:
                number = _number(one.metadata.get(key, ""))
                if number is not None:
                    for host_id in one.hosts:
                        found[host_id] = min(number, found.get(host_id, number))
            self._smallest[key] = found
        return self._smallest[key]

    def ratios(self, host_id: int) -> dict[str, float]:
        """The ratios that stand instead of a host's own, by the model's field."""
        return self._ratios.get(host_id, {})

    @cached_property
    def _ratios(self) -> dict[int, dict[str, float]]:
        found: dict[int, dict[str, float]] = {}
        for field, key in RATIO_KEYS.items():
            for host_id, ratio in self.smallest(key).items():
                if ratio > 0:
                    found.setdefault(host_id, {})[field] = ratio
        return found


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def read() -> Aggregates:
    """The aggregates as they are now, in two queries."""
    members: dict[int, set[int]] = {}
    for aggregate_id, host_id in Aggregate.hosts.through.objects.values_list("aggregate_id", "host_id"):
        members.setdefault(aggregate_id, set()).add(host_id)
    rows = Aggregate.objects.values_list("id", "name", "metadata")
    return Aggregates(
        AggregateView(name, metadata, frozenset(members.get(number, ()))) for number, name, metadata in rows
    )


def ratios_of(host: Host) -> dict[str, float]:
    """A host's overcommit as it is claimed by, its aggregates' included: cpu_ratio, memory_ratio, disk_ratio.

    Reads ``host.aggregates``; prefetch them for a list.
    """
    over = Aggregates(AggregateView(one.name, one.metadata, frozenset({host.pk})) for one in host.aggregates.all())
    return {field: getattr(host, field) for field in RATIO_KEYS} | over.ratios(host.pk)


def show_overcommit(host: Host) -> None:
    """Let a host that is shown tell its capacity as it is claimed by. It must not be saved. Reads as ``ratios_of``."""
    for field, ratio in ratios_of(host).items():
        setattr(host, field, ratio)
