"""Claims: a host's resources taken by one conditional UPDATE, and given back once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest
from django.utils import timezone

from compute.models import Host, Instance, ServerGroup, announce, announce_all
from compute.models.host import heard_of_since
from portal.compiled import Rows, given, moment


def take(
    host_id: int,
    *,
    vcpus: int,
    memory_mb: int,
    disk_gb: int,
    instances: int = 1,
    ratios: Mapping[str, float] | None = None,
) -> bool:
    """Claim room on a host; False when it has none left, or went down or was disabled meanwhile.

    ``instances`` 0: for one that is there already, and holds two flavors for a while. ``ratios``: those of
    the host's aggregates, which stand instead of its own (``cpu_ratio``, ``memory_ratio``, ``disk_ratio``).
    """
    amounts = {"vcpus": vcpus, "memory_mb": memory_mb, "disk_gb": disk_gb, "instances": instances}
    return _take(_rows(taking=True, ratios=_names(ratios)), host_id, amounts, ratios)


def take_in_place(
    host_id: int, *, vcpus: int, memory_mb: int, disk_gb: int, ratios: Mapping[str, float] | None = None
) -> bool:
    """Claim room for one that is on the host already, whether that takes new ones or not; False when it has none."""
    amounts = {"vcpus": vcpus, "memory_mb": memory_mb, "disk_gb": disk_gb, "instances": 1}
    return _take(_rows(taking=False, ratios=_names(ratios)), host_id, amounts, ratios)


def take_beyond(host_id: int, *, vcpus: int, memory_mb: int, disk_gb: int) -> bool:
    """Claim for one that is on the host already, also more than the host may give; False when the host is gone."""
    amounts = {"vcpus": vcpus, "memory_mb": memory_mb, "disk_gb": disk_gb, "instances": 1}
    return _take(_rows(taking=False, ratios=None), host_id, amounts)


def _names(ratios: Mapping[str, float] | None) -> tuple[str, ...]:
    return tuple(sorted(ratios or ()))


def _take(
    rows: Rows[Host], host_id: int, amounts: Mapping[str, int], ratios: Mapping[str, float] | None = None
) -> bool:
    values = {"host_id": host_id, "since": heard_of_since(), **amounts, **(ratios or {})}
    taken = rows.update({"updated_at": timezone.now()}, **values)
    if taken:
        announce("host", host_id)
    return bool(taken)


@cache
def _rows(*, taking: bool, ratios: tuple[str, ...] | None) -> Rows[Host]:
    """A host, as what is claimed from it: ``taking``: if it is up and takes new ones; with room for these amounts.

    ``ratios`` names those that are not its own; None: room or not.
    """
    amounts = given(Host, vcpus_used="vcpus", memory_mb_used="memory_mb", disk_gb_used="disk_gb")
    amounts |= given(Host, instances_used="instances")

    def chosen() -> QuerySet[Host]:
        rows = Host.objects.up(moment("since")).filter(enabled=True) if taking else Host.objects.all()
        room = {} if ratios is None else _room(amounts, given(Host, *ratios))
        return rows.filter(**given(Host, pk="host_id"), **room)

    return Rows(chosen, **_more(amounts))


def _room(amounts: Mapping[str, Any], ratios: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions for room on a host; ``amounts`` by the columns of what is used."""
    ratio = {name: F(name) for name in ("cpu_ratio", "memory_ratio", "disk_ratio")} | dict(ratios)
    return {
        "vcpus_used__lte": F("vcpus") * ratio["cpu_ratio"] - amounts["vcpus_used"],
        "memory_mb_used__lte": (F("memory_mb") - F("reserved_memory_mb")) * ratio["memory_ratio"]
        - amounts["memory_mb_used"],
        "disk_gb_used__lte": (F("disk_gb") - F("reserved_disk_gb")) * ratio["disk_ratio"] - amounts["disk_gb_used"],
    }


def _more(amounts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: F(name) + amount for name, amount in amounts.items()}


@dataclass(frozen=True)
class Claim:
    """What one request takes of a host. ``ratios`` as in ``take``."""

    host_id: int
    vcpus: int
    memory_mb: int
    disk_gb: int
    instances: int
    ratios: tuple[tuple[str, float], ...] = ()

    @property
    def amounts(self) -> Counter[str]:
        """By the columns of what is used."""
        return Counter({f"{name}_used": getattr(self, name) for name in ("vcpus", "memory_mb", "disk_gb", "instances")})


def take_together(wanted: Sequence[Claim]) -> dict[int, Host] | None:
    """Claim for several requests at once: one UPDATE for all hosts that give the same. Returns the hosts by id.

    All or none: None where one of the hosts has no room for what it shall give, went down or was disabled. The
    hosts are locked in the order of their ids, as two passes lock them that claim one by one.
    """
    sums: dict[int, Counter[str]] = {}
    for one in wanted:
        sums[one.host_id] = sums.get(one.host_id, Counter()) + one.amounts
    ratios = {one.host_id: one.ratios for one in wanted}
    alike: dict[Any, list[int]] = {}
    for host_id, amounts in sums.items():
        alike.setdefault((tuple(sorted(amounts.items())), ratios[host_id]), []).append(host_id)
    try:
        with transaction.atomic():
            rows = Host.objects.defer("facts").select_for_update(no_key=True).filter(pk__in=sums).order_by("pk")
            hosts = {host.pk: host for host in rows}
            for (amounts, own), host_ids in alike.items():
                _take_alike(host_ids, Counter(dict(amounts)), dict(own))
            announce_all("host", [(host_id, "") for host_id in hosts])
    except _NoRoom:
        return None
    return hosts


class _NoRoom(Exception):
    """One of several hosts cannot give what it shall."""


def _take_alike(host_ids: Sequence[int], amounts: Counter[str], ratios: Mapping[str, float]) -> None:
    taking = Host.objects.up().filter(pk__in=host_ids, enabled=True)
    taken = taking.filter(**_room(amounts, ratios)).update(**_more(amounts), updated_at=timezone.now())
    if taken < len(host_ids):
        raise _NoRoom


def lock_groups(group_ids: Iterable[UUID]) -> None:
    """Until this transaction ends, nobody else places members of these groups.

    Under the lock the members' hosts are as they will be when it is given up, so that what a policy
    allows now holds for the claim. In the order of the ids, so that two passes wait in no circle.
    """
    wanted = sorted(set(group_ids))
    list(ServerGroup.objects.select_for_update(no_key=True).filter(pk__in=wanted).order_by("pk").values_list("pk"))


def release(instance: Instance, keep_host: bool = False) -> None:
    """Give back an instance's claim, if it holds one; call it inside a transaction.

    The instance's own row says whether it holds one (a host, and not deleted), and the conditional
    update of that row makes sure that it is given back once. ``keep_host``: the row is being marked
    as deleted in the same transaction and keeps its host for the record.
    """
    host_id = instance.host_id
    if host_id is None:
        return
    if not keep_host and not Instance.objects.filter(pk=instance.pk, host_id=host_id, deleted_at=None).update(
        host=None
    ):
        return
    give_back(host_id, vcpus=instance.vcpus, memory_mb=instance.memory_mb, disk_gb=instance.disk_gb, instances=1)


def give_back(host_id: int, *, vcpus: int, memory_mb: int, disk_gb: int, instances: int = 0) -> None:
    """Give back so much of a host. Call it once, in the transaction that ends what it was taken for."""
    Host.objects.filter(pk=host_id).update(
        vcpus_used=Greatest(F("vcpus_used") - vcpus, 0),
        memory_mb_used=Greatest(F("memory_mb_used") - memory_mb, 0),
        disk_gb_used=Greatest(F("disk_gb_used") - disk_gb, 0),
        instances_used=Greatest(F("instances_used") - instances, 0),
        updated_at=timezone.now(),
    )
    announce("host", host_id)


def build_failed(host_id: int) -> None:
    """A host has failed to build an instance: BuildFailureWeigher puts it last until a build goes well."""
    Host.objects.filter(pk=host_id).update(build_failures=F("build_failures") + 1, updated_at=timezone.now())


def build_succeeded(host_id: int) -> None:
    """A build went well; what failed before counts no more."""
    Host.objects.filter(pk=host_id, build_failures__gt=0).update(build_failures=0, updated_at=timezone.now())
