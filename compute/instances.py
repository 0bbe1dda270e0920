"""Simple writes of instances: names, metadata, tags. They need no hypervisor, so they are no operations."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from compute import quota
from compute.errors import Conflict, NotFound, QuotaExceeded
from compute.models import Instance, announce
from compute.models.quota import UNLIMITED
from compute.models.states import VmState
from portal.identity.actor import Actor
from portal.identity.policy import enforce

# Nova's states in which a server's metadata and tags may change.
SETTLED = frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED})
TAGS_CAP = 50
CHANGEABLE = frozenset({"name", "description", "hostname", "access_ipv4", "access_ipv6", "disk_config"})


def update_instance(actor: Actor, instance: Instance, *, fields: dict[str, Any]) -> None:
    """Change what a user calls an instance. ``fields`` are among ``CHANGEABLE``."""
    enforce(actor, "os_compute_api:servers:update", instance.project_id)
    assert set(fields) <= CHANGEABLE, fields
    _write(instance, fields)


def set_metadata(actor: Actor, instance: Instance, *, items: dict[str, str], replace: bool = False) -> dict[str, str]:
    """Add to an instance's metadata, or replace it. Returns all of it.

    Raises Conflict (locked, or not settled) and QuotaExceeded.
    """
    enforce(actor, "os_compute_api:server-metadata:create", instance.project_id)
    with transaction.atomic():
        fresh = _settled(actor, instance, "update_instance_metadata", heeds_lock=True)
        metadata = dict(items) if replace else {**fresh.metadata, **items}
        check_metadata_count(instance.project_id, metadata)
        _write(instance, {"metadata": metadata})
    return metadata


def delete_metadata(actor: Actor, instance: Instance, *, key: str) -> None:
    """Take one key out of an instance's metadata. Raises NotFound and Conflict."""
    enforce(actor, "os_compute_api:server-metadata:delete", instance.project_id)
    with transaction.atomic():
        fresh = _settled(actor, instance, "delete_instance_metadata", heeds_lock=True)
        if key not in fresh.metadata:
            raise NotFound("Metadata item was not found")
        _write(instance, {"metadata": {name: value for name, value in fresh.metadata.items() if name != key}})


def check_metadata_count(project_id: str, metadata: dict[str, str]) -> None:
    """Raise QuotaExceeded for more items than the project's limit."""
    allowed = quota.limits(project_id)["metadata_items"] if metadata else UNLIMITED
    if 0 <= allowed < len(metadata):
        raise QuotaExceeded(f"Maximum number of metadata items exceeds {allowed}")


def set_tags(actor: Actor, instance: Instance, *, tags: list[str]) -> list[str]:
    """Replace an instance's tags; returns them in order. Raises Conflict and QuotaExceeded."""
    enforce(actor, "os_compute_api:os-server-tags:update", instance.project_id)
    if len(tags) > TAGS_CAP:
        raise QuotaExceeded(f"The number of tags exceeded the per-server limit {TAGS_CAP}")
    with transaction.atomic():
        _settled(actor, instance, "update tags", heeds_lock=False)
        _write(instance, {"tags": sorted(set(tags))})
    return list(instance.tags)


def _settled(actor: Actor, instance: Instance, doing: str, *, heeds_lock: bool) -> Instance:
    """The instance as it is now, if it may be written. Call it in a transaction."""
    fresh = Instance.objects.select_for_update().filter(pk=instance.pk, deleted_at=None).first()
    if fresh is None:
        raise NotFound(f"Instance {instance.pk} could not be found.")
    if heeds_lock and fresh.locked and not actor.is_admin:
        raise Conflict(f"Instance {instance.pk} is locked")
    if fresh.vm_state not in SETTLED:
        raise Conflict(f"Cannot '{doing}' instance {instance.pk} while it is in vm_state {fresh.vm_state}")
    return fresh


def _write(instance: Instance, fields: dict[str, Any]) -> None:
    with transaction.atomic():
        if not Instance.objects.alive().filter(pk=instance.pk).update(updated_at=timezone.now(), **fields):
            raise NotFound(f"Instance {instance.pk} could not be found.")
        announce("server", instance.pk, instance.project_id)
    for name, value in fields.items():
        setattr(instance, name, value)
