"""A host that answers again: what was evacuated from it goes before anything else.

Its guests may still be there, off or even running (a fence can lie), while the instances run on other hosts, perhaps
on the very same disks. So the guests go first, and only then does the host count as up. The disks go too, unless
the instance has them where it is now.
"""

from __future__ import annotations

import logging

from django.db import transaction
from django.db.models import QuerySet

from compute.hosts.history import note
from compute.hosts.storage import identify
from compute.hypervisor.interface import Busy, Hypervisor, HypervisorError, Unreachable
from compute.models import OPEN_MIGRATIONS, Host, Instance, Migration, MigrationStatus, announce
from compute.operations import leftovers
from compute.operations.guest import ports_of
from portal.compiled import Rows, given

log = logging.getLogger(__name__)


def left_behind(host: Host) -> QuerySet[Migration]:
    """The evacuations whose guests a host may still have."""
    return Migration.objects.filter(source_host=host, left_behind=True)


def _over() -> QuerySet[Migration]:
    theirs = Migration.objects.filter(**given(Migration, "source_host"), left_behind=True)
    return theirs.exclude(status__in=OPEN_MIGRATIONS).select_related("instance__host")


_OVER = Rows(_over)


def cut_off(host: Host, hypervisor: Hypervisor) -> set[int]:
    """Remove the guests, the first thing once the host is known to be the one. Returns whose: the evacuations' keys.

    Raises HypervisorError: then the host does not count as up.
    """
    done = set()
    for migration in left_behind(host).select_related("instance"):
        if not _is_back(host, migration.instance):
            hypervisor.remove(migration.instance_id)
        done.add(migration.pk)
    return done


def clear(host: Host, hypervisor: Hypervisor) -> None:
    """Remove guests, disks and addresses of evacuations that are over. Raises HypervisorError.

    While the host makes a copy nobody can tell which storage it sees: then the next look removes them.
    """
    over = _OVER.all(source_host=host)
    try:
        if over:
            identify(host, hypervisor)  # what another host sees too by now is not deleted
    except Busy:
        return
    for migration in over:
        if not _is_back(host, migration.instance):
            _remove(host, hypervisor, migration.instance)
        _write_off(host, migration)


def _is_back(host: Host, instance: Instance) -> bool:
    """Whether it is on this host again, or on its way there."""
    coming = Migration.objects.filter(instance=instance, dest_host=host, status__in=OPEN_MIGRATIONS)
    return (instance.host_id == host.pk and instance.deleted_at is None) or coming.exists()


def _remove(host: Host, hypervisor: Hypervisor, instance: Instance) -> None:
    hypervisor.remove(instance.pk)
    needed = leftovers.needed_on(host, instance)
    for volume in hypervisor.volumes(prefix=str(instance.pk)):
        if volume not in needed:
            _delete(host, hypervisor, volume)
    for port in ports_of(instance):
        hypervisor.release(port.network_id, port.mac)


def _delete(host: Host, hypervisor: Hypervisor, volume: str) -> None:
    """What cannot be deleted now is looked for again as any leftover is."""
    try:
        hypervisor.delete_volume(volume)
    except Unreachable:
        raise
    except HypervisorError as error:
        log.warning("host %s: volume %s stays behind: %s", host.name, volume, error)


def _write_off(host: Host, migration: Migration) -> None:
    with transaction.atomic():
        rows = Migration.objects.filter(pk=migration.pk, left_behind=True)
        if not rows.update(left_behind=False):
            return
        Migration.objects.filter(pk=migration.pk, status=MigrationStatus.DONE).update(status=MigrationStatus.COMPLETED)
        note(
            host.pk, "evacuation", f"What was left here of {migration.instance.name} ({migration.instance_id}) is gone."
        )
        announce("server", migration.instance_id, migration.project_id)
    log.warning("host %s: removed %s, which was evacuated from here", host.name, migration.instance_id)
