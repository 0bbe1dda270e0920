"""What instances hold of hosts and quotas, worked out from the instances alone.

Hosts' claims and projects' usages are derived data, kept up by conditional updates. Here is what they
must be: each living instance holds its flavor, and one amid a migration what its other flavor adds, or all of
it on the other host; one that grows while it runs, what it grows by.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, QuerySet, Sum

from compute.models import OPEN_MIGRATIONS, OPEN_STATES, Action, Host, Instance, Migration, VmState
from compute.models.flavor import disk_claim_gb
from compute.operations.held import Beside, beside
from compute.operations.live_resize import LiveResize

CLAIMED = ("vcpus_used", "memory_mb_used", "disk_gb_used", "instances_used")
COUNTED = ("instances", "cores", "memory_mb")


class Amounts(NamedTuple):
    """So much of a host: MiB of memory, GiB of disk."""

    vcpus: int
    memory_mb: int
    disk_gb: int

    @classmethod
    def of_flavor(cls, flavor: dict[str, Any]) -> Amounts:
        """What a flavor's copy (``Flavor.snapshot``) takes."""
        return cls(flavor["vcpus"], flavor["memory_mb"], disk_claim_gb(flavor))

    def plus(self, other: Amounts) -> Amounts:
        """Both together."""
        return Amounts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one instance holds of a host; one amid a migration holds something of two."""

    instance_id: UUID
    host_id: int
    project_id: str
    user_id: str
    updated_at: datetime
    amounts: Amounts


def allocations(**which: Any) -> list[Allocation]:
    """What instances hold; ``which`` are conditions on instances. Two queries."""
    rows = Instance.objects.alive().exclude(host=None).filter(**which).order_by("id")
    held = {one.instance_id: claim for one in _open_migrations(instance__in=rows) if (claim := beside(one))}
    found = []
    columns = ("id", "host_id", "project_id", "user_id", "updated_at", *Amounts._fields)
    for key, host_id, project, user, at, *own in rows.values_list(*columns):
        amounts, other = Amounts(*own), held.get(key)
        if other and other.host_id == host_id:
            amounts = amounts.plus(_of(other))
        found.append(Allocation(key, host_id, project, user or "", at, amounts))
        if other and other.host_id != host_id:
            found.append(Allocation(key, other.host_id, project, user or "", at, _of(other)))
    return found


def _of(claim: Beside) -> Amounts:
    return Amounts(claim.vcpus, claim.memory_mb, claim.disk_gb)


def _open_migrations(**which: Any) -> QuerySet[Migration]:
    rows = Migration.objects.filter(status__in=OPEN_MIGRATIONS, instance__deleted_at=None, **which)
    return rows.select_related("instance")


def _growing(**which: Any) -> QuerySet[Action]:
    """The growing of instances that run, under way; ``params["more"]`` is what it took besides."""
    growing = Action.objects.filter(operation=LiveResize.name, state__in=OPEN_STATES, instance__deleted_at=None)
    return growing.exclude(progress__has_key="given_back").filter(**which).select_related("instance")


def of_hosts(host_ids: Iterable[int] | None = None) -> dict[int, dict[str, int]]:
    """What each host's claims must be, by the host's key (None: all hosts). Four queries."""
    hosts, on_them = Host.objects.all(), Instance.objects.alive().exclude(host=None)
    if host_ids is not None:
        wanted = list(host_ids)
        hosts, on_them = hosts.filter(pk__in=wanted), on_them.filter(host__in=wanted)
    found = {key: dict.fromkeys(CLAIMED, 0) for key in hosts.values_list("pk", flat=True)}
    sums = on_them.order_by().values_list("host_id").annotate(*map(Sum, Amounts._fields), Count("id"))
    for key, *amounts in sums:
        found[key] = dict(zip(CLAIMED, amounts, strict=True))
    for claim in filter(None, map(beside, _open_migrations(claimed=True))):
        if claim.host_id in found:
            for name, amount in zip(CLAIMED, (*_of(claim), claim.instances), strict=True):
                found[claim.host_id][name] += amount
    for growing in _growing(instance__in=on_them, progress__claimed=True):
        assert growing.instance.host_id is not None  # likewise
        for name, amount in growing.params["more"].items():
            found[growing.instance.host_id][f"{name}_used"] += amount
    return found


def of_projects(project_ids: Iterable[str] | None = None) -> dict[str, dict[str, int]]:
    """What each project's usage must be, by its id; projects that use nothing are left out. Three queries."""
    rows, migrations = Instance.objects.alive(), _open_migrations()
    if project_ids is not None:
        wanted = list(project_ids)
        rows, migrations = rows.filter(project__in=wanted), migrations.filter(instance__project__in=wanted)
    counted = rows.exclude(vm_state=VmState.SOFT_DELETED)
    sums = counted.order_by().values_list("project_id").annotate(Count("id"), Sum("vcpus"), Sum("memory_mb"))
    found = {key: dict(zip(COUNTED, amounts, strict=True)) for key, *amounts in sums}
    for one in migrations:
        usage = found.setdefault(one.instance.project_id, dict.fromkeys(COUNTED, 0))
        old, new = (Amounts.of_flavor(flavor) for flavor in one.flavors)
        usage["cores"] += max(old.vcpus, new.vcpus) - one.instance.vcpus
        usage["memory_mb"] += max(old.memory_mb, new.memory_mb) - one.instance.memory_mb
    for growing in _growing(**({} if project_ids is None else {"instance__project__in": wanted})):
        found[growing.instance.project_id]["cores"] += growing.params["more"]["vcpus"]
        found[growing.instance.project_id]["memory_mb"] += growing.params["more"]["memory_mb"]
    return found
