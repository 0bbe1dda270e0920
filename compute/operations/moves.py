"""Another host for an instance that is on one already: which, and what is to be seen to on both.

Whatever moves an instance has a row ``Migration``, and holds what it took at the destination by that row (see
``held``). A destination that fails goes onto the tried list, and the next one gets its turn.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.db import transaction

from compute.errors import Conflict, Invalid, NoValidHost
from compute.hypervisor.interface import Busy, Hypervisor, HypervisorError
from compute.models import Host, Instance, Migration, MigrationStatus, announce
from compute.models.flavor import disk_claim_gb
from compute.operations import held
from compute.operations.engine import Operation
from compute.operations.guest import ports_of
from scheduler import claims
from scheduler.pick import Request, place

log = logging.getLogger(__name__)

UNAVAILABLE = "Service is unavailable at this time."
PROBE_BYTES = 512
BUSY_SECONDS = 1.0


# choosing -------------------------------------------------------------------------------------------
def check_source(instance: Instance) -> Host:
    """The host that an instance is on. Raises Conflict when nothing can be asked of it now."""
    if instance.host is None or not instance.host.is_up:
        raise Conflict(UNAVAILABLE)
    return instance.host


def check_asked(instance: Instance, name: str) -> Host:
    """The host that an administrator asks for. Raises Invalid, with Nova's sentences."""
    host = Host.objects.filter(name=name).first()
    if host is None:
        raise Invalid(f"Compute host {name} could not be found.", about="host")
    if host.pk == instance.host_id:
        raise Invalid("Cannot migrate to the host where the server exists.", about="host")
    return host


def wanted(
    instance: Instance,
    *,
    leaves: Host | None,
    host: str = "",
    flavor: dict[str, Any] | None = None,
    tried: Iterable[int] = (),
) -> Request:
    """What an instance asks of a host to move to: what it asked of its first, in the zone that its user named.

    A host that was asked for when it was created counts no more. ``leaves``: the host that is left out; None
    where it may stay. ``host``: the one that an administrator asks for now; the filters have their say all the
    same. ``flavor`` (``Flavor.snapshot``): another than it has.
    """
    asked = replace(
        Request.of(instance, tried), host=host, forced=False, leaves=leaves.pk if leaves is not None else None
    )
    if flavor is None:
        return asked
    return replace(
        asked,
        vcpus=flavor["vcpus"],
        memory_mb=flavor["memory_mb"],
        disk_gb=disk_claim_gb(flavor),
        flavor_name=flavor["name"],
        extra_specs=flavor["extra_specs"],
    )


def claim(operation: Operation, migration: Migration, request: Request, status: MigrationStatus) -> None:
    """Choose the destination and claim its room, in one transaction with the migration's row; keep the explanation.

    Nothing to do for one that has a destination. Raises NoValidHost.
    """
    if migration.claimed:
        return
    with transaction.atomic():
        operation.lease.renew()  # whoever has taken over, or deleted the instance, would not know of this claim
        placement = place(request)
        operation.note(placement=placement.explanation.as_json())
        if placement.host is not None:
            if placement.host.pk == migration.source_host_id:  # it is there already
                claims.give_back(placement.host.pk, vcpus=0, memory_mb=0, disk_gb=0, instances=1)
            held.set_status(migration, status, claimed=True, dest_host=placement.host)
    if placement.host is None:
        raise NoValidHost(_why_nowhere(operation, placement.explanation.sentence()))


def _why_nowhere(operation: Operation, sentence: str) -> str:
    failures = operation.action.progress.get("failures", {})
    if not failures:
        return sentence
    said = "; ".join(f"{host}: {why}" for host, why in failures.items())
    return f"The server could not be moved to any host that has room for it. {said}"


def tried(operation: Operation) -> list[int]:
    """The hosts that have failed as its destination."""
    return list(operation.action.progress.get("tried", []))


def try_next(operation: Operation, migration: Migration, error: Exception) -> bool:
    """For ``try_again``: whether it was the destination that failed, and another one may be tried. It is noted."""
    host = migration.dest_host
    if host is None or not migration.moves or not isinstance(error, HypervisorError) or error.host_id != host.pk:
        return False
    failures = {**operation.action.progress.get("failures", {}), host.name: str(error)}
    operation.note(tried=[*tried(operation), host.pk], failures=failures)
    announce("server", operation.instance.pk, operation.instance.project_id)
    return len(tried(operation)) < settings.SCHEDULER_MAX_ATTEMPTS


def is_surely_off(host: Host) -> bool:
    """Whether it is confirmed that nothing runs on a host: it was fenced, or somebody has said so."""
    host.refresh_from_db()
    return host.is_fenced


# storage --------------------------------------------------------------------------------------------
def share_storage(operation: Operation, one: Host, other: Host) -> bool:
    """Whether two hosts see the same volumes: a file is made on the one, and looked for on the other.

    What is done with the answer cannot be undone, so it is never taken from what was written down earlier.
    Both storages are seen anew from then on. Raises what the hosts raise.
    """
    here, there = operation.hypervisor_of(one), operation.hypervisor_of(other)
    probe = f"{operation.instance.id}-probe-{secrets.token_hex(4)}"
    look_anew(operation, here)
    here.create_volume(probe, PROBE_BYTES, "raw")
    try:
        look_anew(operation, there)
        return probe in there.volumes(prefix=probe)
    finally:
        here.delete_volume(probe)


def look_anew(operation: Operation, hypervisor: Hypervisor) -> None:
    """See what others have done to the host's storage; a copy that is made there is waited for."""
    while True:
        try:
            hypervisor.storage_id()
            return
        except Busy:
            operation.lease.renew()
            time.sleep(BUSY_SECONDS)


def clear(operation: Operation, host: Host, *, volumes: bool) -> None:
    """Nothing of the instance stays on a host that it has left: guest, DHCP reservations, and volumes where told.

    What another host sees too is told so by the caller (``share_storage``). Raises what the host raises.
    """
    left, instance = operation.hypervisor_of(host), operation.instance
    left.remove(instance.id)
    for port in ports_of(instance):
        left.release(port.network_id, port.mac)
    if volumes:
        for volume in left.volumes(prefix=str(instance.id)):
            left.delete_volume(volume)
