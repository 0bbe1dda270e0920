"""The hosts as a decision sees them, kept in the process and brought up to date by what has changed.

A small cloud is read whole for each decision. From ``CACHED_FROM`` hosts on, the views of the last
decision are kept, and only hosts whose ``updated_at`` is new are read again. What is kept may be a
moment old, which does no harm: a claim is a conditional UPDATE of the row itself, and before
anybody is told that no host was found, all hosts are read afresh.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, IntegerField, Max, Model, QuerySet, TextField, Value
from django.db.models.functions import Cast
from django.utils import timezone

from compute.models import Aggregate, Host, HostState
from compute.models.host import UNHEARD, heard_of_since
from portal.compiled import Rows, moment
from scheduler import aggregates, facts
from scheduler.aggregates import Aggregates
from scheduler.hoststate import HostView

CACHED_FROM = 10
# After so long all is read again, so that a change that left no mark is noticed, too.
READ_AGAIN_SECONDS = 60.0
# A change may become visible this long after its moment: a transaction's length, and the difference of two clocks.
LATE = timedelta(seconds=10)
COLUMNS = (
    "id", "name", "zone", "state", "forced_down", "enabled", "state_reason", "disabled_reason", "domain_type",
    "console_address", "vcpus", "memory_mb", "disk_gb", "reserved_memory_mb", "reserved_disk_gb",
    "cpu_ratio", "memory_ratio", "disk_ratio", "vcpus_used", "memory_mb_used", "disk_gb_used", "instances_used",
    "build_failures",
)  # fmt: skip
MARK = Cast("updated_at", TextField())  # as text it need not be read as a date to be compared
DOMAIN_TYPE = COLUMNS.index("domain_type")


class HostCache:
    """The views that were read last. Decisions of several threads take turns at bringing them up to date."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._views: dict[int, HostView] = {}
        self._marks: dict[int, str] = {}  # the updated_at that a view was read at
        self._facts: dict[int, tuple[int, facts.Facts]] = {}  # by the hash of the text, which need not be parsed again
        self._sorted: list[HostView] = []
        self._aggregates = Aggregates()
        self._signature: tuple[Any, ...] = ()
        self._read_at = float("-inf")
        self._changed_since: datetime | None = None

    def forget(self) -> None:
        """Read everything at the next decision."""
        with self._lock:
            self._read_at = float("-inf")

    def current(self, fresh: bool = False) -> tuple[list[HostView], Aggregates, bool]:
        """All hosts by name, the aggregates, and whether every host was read just now."""
        with self._lock:
            now = timezone.now()
            signature = _signature()
            stale = time.monotonic() - self._read_at > READ_AGAIN_SECONDS or signature != self._signature
            whole = fresh or stale or len(self._views) < CACHED_FROM
            if whole:
                self._aggregates = aggregates.read()
                self._read_all()
                self._signature, self._read_at = signature, time.monotonic()
            else:
                self._read_changed()
            self._changed_since = now - LATE
            return self._as_heard(), self._aggregates, whole

    def _as_heard(self) -> list[HostView]:
        """The views by name. Hosts that nobody has seen for too long are down, though no row of theirs has changed."""
        unheard = {number for (number,) in _UNHEARD.rows(since=heard_of_since())}
        if not unheard:
            return self._sorted
        return [replace(one, up=False, down_reason=UNHEARD) if one.id in unheard else one for one in self._sorted]

    def _read_all(self) -> None:
        self._views, self._marks = {}, {}
        self._take(Host.objects.all())
        self._facts = {number: self._facts[number] for number in self._views}

    def _read_changed(self) -> None:
        marks = self._marks
        changed = [number for number, mark in _CHANGED.rows(since=self._changed_since) if marks.get(number) != mark]
        if changed:
            self._take(Host.objects.filter(pk__in=changed))

    def _take(self, hosts: Any) -> None:
        for *row, mark, text in hosts.order_by("name").values_list(*COLUMNS, MARK, Cast("facts", TextField())):
            number = row[0]
            self._marks[number] = mark
            made = self._facts_of(number, text, row[DOMAIN_TYPE])
            self._views[number] = _view(row, made, self._aggregates.ratios(number))
        self._sorted = sorted(self._views.values(), key=lambda view: view.name)

    def _facts_of(self, number: int, text: str, domain_type: str) -> facts.Facts:
        known, mark = self._facts.get(number), hash((text, domain_type))
        if known is None or known[0] != mark:
            known = self._facts[number] = (mark, facts.parse(text, domain_type))
        return known[1]


def _extent(model: type[Model]) -> Rows[Any]:
    """How many rows a table has, and the newest id, which is never given twice."""
    one = Value(1, output_field=IntegerField())
    counted = {"count": Count("pk"), "newest": Max("pk")}
    return Rows(lambda: model._default_manager.order_by().values(one=one).annotate(**counted))


def _changed() -> QuerySet[Host, Any]:
    return Host.objects.filter(updated_at__gte=moment("since")).order_by().values_list("id", MARK)


def _unheard() -> QuerySet[Host, Any]:
    return Host.objects.unheard(moment("since")).order_by().values_list("id")


_CHANGED, _UNHEARD = Rows(_changed), Rows(_unheard)
_HOSTS = _extent(Host)
_MEMBERS = _extent(Aggregate.hosts.through)
_AGGREGATES = Rows(lambda: Aggregate.objects.order_by("id").values_list("id", "name", Cast("metadata", TextField())))


def _signature() -> tuple[Any, ...]:
    """What tells that hosts came or went, or that aggregates are not what they were: three small queries."""
    return (*_HOSTS.rows(), *_MEMBERS.rows(), *_AGGREGATES.rows())


def _view(row: list[Any], made: facts.Facts, ratios: dict[str, float]) -> HostView:
    said = dict(zip(COLUMNS, row, strict=True)) | ratios
    return HostView(
        id=said["id"],
        name=said["name"],
        zone=said["zone"],
        up=said["state"] == HostState.UP and not said["forced_down"],
        enabled=said["enabled"],
        down_reason=said["state_reason"] if said["enabled"] else said["disabled_reason"],
        memory_capacity_mb=max(0, said["memory_mb"] - said["reserved_memory_mb"]) * said["memory_ratio"],
        memory_used_mb=said["memory_mb_used"],
        memory_ratio=said["memory_ratio"],
        disk_capacity_gb=max(0, said["disk_gb"] - said["reserved_disk_gb"]) * said["disk_ratio"],
        disk_used_gb=said["disk_gb_used"],
        disk_ratio=said["disk_ratio"],
        vcpu_capacity=said["vcpus"] * said["cpu_ratio"],
        vcpus_used=said["vcpus_used"],
        cpu_ratio=said["cpu_ratio"],
        instances=said["instances_used"],
        build_failures=said["build_failures"],
        address=said["console_address"],
        memory_mb=said["memory_mb"],
        disk_gb=said["disk_gb"],
        vcpus=said["vcpus"],
        hypervisor_version=made.hypervisor_version,
        facts=made,
    )


hosts = HostCache()
