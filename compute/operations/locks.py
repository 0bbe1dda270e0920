"""The lock of an instance: while it is there, only administrators change the instance.

Who locked what is their project's may unlock it; the lock of an administrator of another project is
an administrator's to take off (Nova's locked_by: owner or admin).
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.utils import timezone

from compute.errors import NotFound
from compute.models import Instance, announce
from compute.operations.record import record
from portal.identity.actor import Actor
from portal.identity.policy import allows, enforce

LOCK = "os_compute_api:os-lock-server:lock"
UNLOCK = "os_compute_api:os-lock-server:unlock"
OVERRIDE = "os_compute_api:os-lock-server:unlock:unlock_override"


def lock(actor: Actor, instance: Instance, *, reason: str | None = None) -> None:
    """Lock an instance. An owner's lock on what is locked already changes nothing; an administrator's replaces it."""
    enforce(actor, LOCK, instance.project_id)
    is_owner = instance.project_id == actor.project_id
    with transaction.atomic():
        fresh = _fresh(instance)
        if fresh.locked and is_owner:
            return
        _write(fresh, locked=True, locked_by_admin=not is_owner, locked_reason=reason or None)
        record(fresh, actor, "lock", event="api_lock", message=reason or "")


def unlock(actor: Actor, instance: Instance) -> None:
    """Take the lock off. Raises policy.Forbidden for an administrator's lock that the actor may not take off."""
    enforce(actor, UNLOCK, instance.project_id)
    with transaction.atomic():
        fresh = _fresh(instance)
        if not _own_lock(actor, fresh):
            enforce(actor, OVERRIDE, instance.project_id)
        _write(fresh, locked=False, locked_by_admin=False, locked_reason=None)
        record(fresh, actor, "unlock", event="api_unlock")


def may_unlock(actor: Actor, instance: Instance) -> bool:
    """Whether ``unlock`` would let this actor."""
    may = allows(actor, UNLOCK, instance.project_id)
    return may and (_own_lock(actor, instance) or allows(actor, OVERRIDE, instance.project_id))


def _own_lock(actor: Actor, instance: Instance) -> bool:
    is_owner = instance.project_id == actor.project_id
    return not instance.locked or instance.locked_by_admin != is_owner


def _fresh(instance: Instance) -> Instance:
    fresh = Instance.objects.select_for_update().alive().filter(pk=instance.pk).first()
    if fresh is None:
        raise NotFound(f"Instance {instance.pk} could not be found.")
    return fresh


def _write(instance: Instance, **fields: Any) -> None:
    Instance.objects.filter(pk=instance.pk).update(updated_at=timezone.now(), **fields)
    announce("server", instance.pk, instance.project_id)
