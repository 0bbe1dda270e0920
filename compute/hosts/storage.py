"""Which hosts see the same volumes: their pools carry the same marker.

What the rows say was true when the host was last looked at; it decides what is shown, and what is left alone.
Whoever is about to leave a disk where it is, because the other host sees it too, looks at both hosts first
(``compute.operations.moves``).
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.utils import timezone

from compute.hypervisor.interface import Hypervisor
from compute.models import Host

log = logging.getLogger(__name__)


def shares_storage(one: Host, other: Host) -> bool:
    """Whether the two see the same volumes; a host does with itself."""
    return one.pk == other.pk or bool(one.storage_id and one.storage_id == other.storage_id)


def may_share_storage(one: Host, other: Host) -> bool:
    """The same, where of a host whose storage nobody has looked at nothing is known."""
    return shares_storage(one, other) or not one.storage_id or not other.storage_id


def are_surely_apart(one: Host, other: Host, since: datetime) -> bool:
    """For who deletes on ``one``, which was looked at just now: whether ``other`` cannot see what is deleted.

    What was seen of ``other`` counts only if it was seen after ``since``, and after the storage of ``one``
    became what it is: a marker that was lost, or a folder that was mounted, is news to the one before the other.
    """
    if one.pk == other.pk or not one.storage_id or one.storage_since is None or other.storage_seen_at is None:
        return False
    is_news = other.storage_seen_at >= max(since, one.storage_since)
    return is_news and other.storage_id != one.storage_id


def identify(host: Host, hypervisor: Hypervisor) -> None:
    """Look at a host's storage anew, and write down which it is. Raises HypervisorError, Busy while it copies there."""
    now = timezone.now()
    storage_id = hypervisor.storage_id()
    host.refresh_from_db(fields=["storage_id", "storage_since"])
    fields: dict[str, object] = {"storage_seen_at": now}
    if host.storage_id != storage_id or host.storage_since is None:
        log.warning("host %s: its storage is %s, it was %s", host.name, storage_id, host.storage_id or "not known")
        fields |= {"storage_id": storage_id, "storage_since": timezone.now(), "updated_at": timezone.now()}
    Host.objects.filter(pk=host.pk).update(**fields)
    for name, value in fields.items():
        setattr(host, name, value)
