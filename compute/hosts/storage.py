"""Which hosts see the same volumes: their pools carry the same marker.

What the rows say was true when the host was last looked at. It decides what is left alone. Whoever is about to
leave a disk where it is, because the other host sees it too, looks at both hosts first (``compute.operations.moves``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.utils import timezone

from compute.hypervisor.interface import Hypervisor
from compute.models import Host

log = logging.getLogger(__name__)


def shares_storage(one: Host, other: Host) -> bool:
    """Whether the two see the same volumes; a host does with itself."""
    return one.pk == other.pk or bool(one.storage_id and one.storage_id == other.storage_id)


def may_share_storage(one: Host, other: Host) -> bool:
    """The same for whoever is about to delete: of a host whose storage nobody has looked at, nothing is known."""
    return shares_storage(one, other) or not one.storage_id or not other.storage_id


def identify(host: Host, hypervisor: Hypervisor) -> None:
    """Look at a host's storage anew, and write down which it is. Raises HypervisorError, Busy while it copies there."""
    storage_id = hypervisor.storage_id()
    host.refresh_from_db(fields=["storage_id"])
    if host.storage_id == storage_id:
        return
    log.warning("host %s: its storage is %s, it was %s", host.name, storage_id, host.storage_id or "not known")
    Host.objects.filter(pk=host.pk).update(storage_id=storage_id, updated_at=timezone.now())
    host.storage_id = storage_id


def neighbours(host: Host) -> Iterable[int]:
    """The keys of the hosts whose volumes it may see besides its own."""
    others = Host.objects.exclude(pk=host.pk)
    return [other.pk for other in others if may_share_storage(host, other)]
