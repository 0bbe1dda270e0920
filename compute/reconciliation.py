"""Whether hosts' claims and projects' usages are what the instances say, and setting right what is not.

It may run while everything else does. Whatever looks wrong is looked at again with its row locked:
who changes a claim or a usage changes the row and the instance in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Model, QuerySet
from django.utils import timezone

from compute import allocations
from compute.allocations import CLAIMED, COUNTED
from compute.models import Host, QuotaUsage, announce

Values = dict[str, int]


@dataclass(frozen=True)
class Difference:
    """One number that is not what the instances add up to. ``kind`` is host or project."""

    kind: str
    id: str
    name: str
    resource: str
    recorded: int
    computed: int
    fixed: bool = False


@dataclass(frozen=True)
class _Ledger:
    """One kind of row that counts what instances take."""

    kind: str
    rows: Callable[[], QuerySet[Any]]
    columns: tuple[str, ...]
    computed: Callable[[list[Any] | None], dict[Any, Values]]
    name: Callable[[Any], str]
    changed: Callable[[Any], None]
    stamp: Callable[[], dict[str, Any]] = dict


LEDGERS = (
    _Ledger(
        kind="host",
        rows=Host.objects.all,
        columns=CLAIMED,
        computed=allocations.of_hosts,
        name=lambda row: row.name,
        changed=lambda row: announce("host", row.pk),
        stamp=lambda: {"updated_at": timezone.now()},
    ),
    _Ledger(
        kind="project",
        rows=lambda: QuotaUsage.objects.select_related("project"),
        columns=COUNTED,
        computed=allocations.of_projects,
        name=lambda row: row.project.name,
        changed=lambda row: announce("project", row.pk, row.pk),
    ),
)


def differences(*, fix: bool = False) -> list[Difference]:
    """Every number that differs; with ``fix`` it is set to what the instances say.

    Each row is set by one conditional UPDATE, while it is locked.
    """
    found: list[Difference] = []
    for ledger in LEDGERS:
        if ledger.kind == "project":
            _begin_usages()
        computed = ledger.computed(None)
        for row in ledger.rows().order_by("pk"):
            if _numbers(row, ledger) != computed.get(row.pk, _zero(ledger)):
                found += _look_again(ledger, row.pk, fix)
    return found


def _begin_usages() -> None:
    """A usage row for each project that has instances: one without is counted as nothing."""
    known = set(QuotaUsage.objects.values_list("pk", flat=True))
    for project_id in allocations.of_projects().keys() - known:
        QuotaUsage.objects.get_or_create(project_id=project_id)


def _numbers(row: Model, ledger: _Ledger) -> Values:
    return {name: getattr(row, name) for name in ledger.columns}


def _zero(ledger: _Ledger) -> Values:
    return dict.fromkeys(ledger.columns, 0)


def _look_again(ledger: _Ledger, key: Any, fix: bool) -> list[Difference]:
    """The differences of one row while nobody else can change it."""
    with transaction.atomic():
        row = ledger.rows().select_for_update(of=("self",)).filter(pk=key).first()
        if row is None:  # it went meanwhile
            return []
        recorded, computed = _numbers(row, ledger), ledger.computed([key]).get(key, _zero(ledger))
        fixed = False
        if fix and recorded != computed:
            fixed = bool(ledger.rows().filter(pk=key, **recorded).update(**computed, **ledger.stamp()))
            ledger.changed(row)
        return list(_compared(ledger, row, recorded, computed, fixed))


def _compared(ledger: _Ledger, row: Model, recorded: Values, computed: Values, fixed: bool) -> Iterator[Difference]:
    for name in ledger.columns:
        if (was := recorded[name]) != (should := computed[name]):
            resource = name.removesuffix("_used")
            yield Difference(ledger.kind, str(row.pk), ledger.name(row), resource, was, should, fixed)
