"""What a migration holds while it is open: besides the host and flavor in force, the claim and the quota of the others.

The instance's row counts for the host and the flavor in force. So the rest follows from the two hosts, the two
flavors and that row, whichever of them are in force now, and is given back once, when the migration's row is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from compute import quota
from compute.models import OPEN_MIGRATIONS, Instance, Migration, MigrationStatus, announce
from compute.models.flavor import disk_claim_gb
from scheduler import claims


def amounts(flavor: dict[str, Any]) -> dict[str, Any]:
    """The fields of an instance that follow from its flavor (``Flavor.snapshot``)."""
    return {
        "flavor": flavor,
        "vcpus": flavor["vcpus"],
        "memory_mb": flavor["memory_mb"],
        "disk_gb": disk_claim_gb(flavor),
    }


@dataclass(frozen=True)
class Beside:
    """So much of a host: MiB of memory, GiB of disk."""

    host_id: int
    vcpus: int
    memory_mb: int
    disk_gb: int
    instances: int


def beside(migration: Migration) -> Beside | None:
    """What an open migration holds besides its instance's own claim; None: nothing."""
    instance = migration.instance
    if not migration.claimed or instance.host_id is None:
        return None
    old, new = (amounts(flavor) for flavor in migration.flavors)
    if not migration.moves:
        now = {"vcpus": instance.vcpus, "memory_mb": instance.memory_mb, "disk_gb": instance.disk_gb}
        return Beside(instance.host_id, **{name: old[name] + new[name] - now[name] for name in now}, instances=0)
    there = instance.host_id == migration.dest_host_id
    host_id, flavor = (migration.source_host_id, old) if there else (migration.dest_host_id, new)
    assert host_id is not None  # it moves
    return Beside(host_id, flavor["vcpus"], flavor["memory_mb"], flavor["disk_gb"], instances=1)


def open_migration(instance: Instance) -> Migration | None:
    """The instance's migration that is not over: neither confirmed nor taken back, completed nor failed."""
    return Migration.objects.filter(instance=instance, status__in=OPEN_MIGRATIONS).first()


def take_quota(project_id: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Take what the new flavor has more than the old one. Raises QuotaExceeded."""
    cores, memory_mb = (max(0, new[name] - old[name]) for name in ("vcpus", "memory_mb"))
    quota.take(project_id, instances=0, cores=cores, memory_mb=memory_mb)


def set_status(migration: Migration, status: MigrationStatus, **fields: Any) -> None:
    """Write where an open migration is."""
    with transaction.atomic():
        row = Migration.objects.filter(pk=migration.pk, status__in=OPEN_MIGRATIONS)
        if row.update(status=status, updated_at=timezone.now(), **fields):
            announce("server", migration.instance_id, migration.project_id)
    migration.status = status
    for name, value in fields.items():
        setattr(migration, name, value)


def close(migration: Migration, status: MigrationStatus) -> None:
    """End a migration and give back what it held besides the instance's own; once, however often it is called."""
    with transaction.atomic():
        row = Migration.objects.filter(pk=migration.pk, status__in=OPEN_MIGRATIONS)
        found = row.select_related("instance").first()
        if found is None or not row.update(status=status, updated_at=timezone.now()):
            return
        _give_back(found)


def _give_claim_back(migration: Migration) -> None:
    if claim := beside(migration):
        amount = {name: getattr(claim, name) for name in ("vcpus", "memory_mb", "disk_gb", "instances")}
        claims.give_back(claim.host_id, **amount)


def _give_back(migration: Migration) -> None:
    _give_claim_back(migration)
    instance = migration.instance
    old, new = migration.flavors
    quota.release(
        instance.project_id,
        cores=max(old["vcpus"], new["vcpus"]) - instance.vcpus,
        memory_mb=max(old["memory_mb"], new["memory_mb"]) - instance.memory_mb,
    )


def let_go(migration: Migration) -> None:
    """Give the claim at the destination back, once; the migration stays open and may have another destination.

    Call it when the source is the instance's host again.
    """
    with transaction.atomic():
        row = Migration.objects.filter(pk=migration.pk, status__in=OPEN_MIGRATIONS, claimed=True)
        found = row.select_related("instance").first()
        if found is not None and row.update(claimed=False, dest_host=None, updated_at=timezone.now()):
            _give_claim_back(found)
    migration.claimed, migration.dest_host = False, None


def close_open(instance: Instance) -> None:
    """For an instance that goes, or that was set right by hand: whatever migration is open ends here."""
    if migration := open_migration(instance):
        finished = migration.status == MigrationStatus.FINISHED
        close(migration, MigrationStatus.CONFIRMED if finished else MigrationStatus.ERROR)
