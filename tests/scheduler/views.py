"""Hosts, requests and surroundings as plain values, and a decision over them without a database."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from scheduler.aggregates import Aggregates, AggregateView
from scheduler.decide import Deciding
from scheduler.explain import Explanation
from scheduler.filters import FILTERS, Filter
from scheduler.hoststate import HostView
from scheduler.pipeline import Pipeline
from scheduler.request import Group, Request
from scheduler.scene import Scene
from scheduler.weighers import WEIGHERS, Weigher

HOST = HostView(
    id=1,
    name="a",
    zone="nova",
    up=True,
    enabled=True,
    down_reason="",
    memory_capacity_mb=1536,
    memory_used_mb=1024,
    memory_ratio=1.5,
    disk_capacity_gb=100,
    disk_used_gb=99,
    disk_ratio=1.0,
    vcpu_capacity=16,
    vcpus_used=15,
    cpu_ratio=16.0,
    instances=3,
)
SMALL = Request(vcpus=1, memory_mb=512, disk_gb=1)
USUAL = Pipeline(
    filters=tuple(one() for one in FILTERS if one.default), weighers=tuple(one() for one in WEIGHERS if one.default)
)


def host(**changes: Any) -> HostView:
    """A host with room for ``SMALL`` and no more, but for these fields."""
    return dataclasses.replace(HOST, **changes)


def request(**changes: Any) -> Request:
    """``SMALL``, but for these fields."""
    return dataclasses.replace(SMALL, **changes)


def group(policy: str, most: int = 1) -> Group:
    """A server group."""
    return Group(uuid4(), policy, most)


def scene(
    *aggregates: tuple[dict[str, str], Iterable[int]],
    io: dict[int, int] | None = None,
    samples: dict[int, dict[str, float]] | None = None,
    images: list[tuple[int, dict[str, Any], int]] | None = None,
    members: tuple[Group, Iterable[int]] | None = None,
    hinted: tuple[tuple[str, ...], Iterable[int]] | None = None,
) -> Scene:
    """Surroundings in which nothing is read from a database."""
    every = [AggregateView(str(index), *one) for index, one in enumerate(_frozen(aggregates))]
    found = Scene(Aggregates(every))
    found.__dict__.update(io_operations=Counter(io or {}), samples=samples or {}, images_on_hosts=images or [])
    if members:
        found._members[members[0].id] = {UUID(int=index): host_id for index, host_id in enumerate(members[1])}
    if hinted:
        found._found["", hinted[0]] = frozenset(hinted[1])
    return found


def _frozen(
    aggregates: Iterable[tuple[dict[str, str], Iterable[int]]],
) -> Iterable[tuple[dict[str, str], frozenset[int]]]:
    return [(metadata, frozenset(hosts)) for metadata, hosts in aggregates]


def rank(
    hosts: list[HostView],
    wanted: Request,
    explanation: Explanation | None = None,
    *,
    around: Scene | None = None,
    filters: tuple[Filter, ...] = USUAL.filters,
    weighers: tuple[Weigher, ...] = USUAL.weighers,
) -> list[HostView]:
    """The hosts that can take the request, the best first."""
    deciding = Deciding(Pipeline(filters, weighers), wanted, around or scene(), explanation or Explanation())
    return deciding.rank(hosts)
