"""What the watcher sees on a host, written into the rows: the only writer of states beside operations.

Level, not edge: an event only says which guest to look at; what counts is what the host says now.
Nothing is written while a task is under way, or when the instance belongs to another host.
"""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from compute.hypervisor.interface import PowerState as Seen
from compute.models import Action, ActionState, Host, Instance, PowerState, VmState, announce
from portal.requestid import current_request_id

log = logging.getLogger(__name__)

OFF = (PowerState.SHUTDOWN, PowerState.CRASHED)


def observe(host: Host, instance_id: UUID, seen: Seen | None) -> bool:
    """The host says that a guest is in this power state (None: it is not there). True: a row changed."""
    instance = Instance.objects.alive().filter(pk=instance_id, host=host, task_state=None).first()
    if instance is None or instance.vm_state == VmState.BUILDING:
        return False
    power = PowerState(int(seen)) if seen is not None else PowerState.NOSTATE
    if power == instance.power_state and not _must_stop(instance, power):
        return False
    fields: dict[str, Any] = {"power_state": power, "updated_at": timezone.now()}
    if _must_stop(instance, power):
        fields["vm_state"] = VmState.STOPPED
    with transaction.atomic():
        unchanged = Instance.objects.filter(
            pk=instance.pk, host=host, task_state=None, vm_state=instance.vm_state, deleted_at=None
        )
        if not unchanged.update(**fields):
            return False
        if "vm_state" in fields:
            _log_stop(instance, power)
        announce("server", instance.pk, instance.project_id)
    _say(instance, power)
    return True


def _must_stop(instance: Instance, power: PowerState) -> bool:
    return instance.vm_state == VmState.ACTIVE and power in OFF


def _log_stop(instance: Instance, power: PowerState) -> None:
    now = timezone.now()
    Action.objects.create(
        instance=instance,
        operation="stop",
        request_id=current_request_id(),
        project_id=instance.project_id,
        state=ActionState.DONE,
        message="The guest crashed." if power == PowerState.CRASHED else "The guest shut itself down.",
        created_at=now,
        finished_at=now,
    )


def _say(instance: Instance, power: PowerState) -> None:
    if instance.vm_state == VmState.ACTIVE and power == PowerState.NOSTATE:
        log.warning("instance %s should run, but its guest is not on host %s", instance.pk, instance.host)
    elif instance.vm_state == VmState.STOPPED and power == PowerState.RUNNING:
        log.warning("instance %s should be off, but its guest runs on host %s", instance.pk, instance.host)
    else:
        log.info("instance %s: power state is now %s", instance.pk, power.label)


def observe_all(host: Host, seen: dict[UUID, Seen]) -> int:
    """The periodic pass: compare every instance of a host with what runs there. Returns how many changed."""
    here = Instance.objects.alive().filter(host=host, task_state=None).exclude(vm_state=VmState.BUILDING)
    changed = 0
    for instance_id, power, vm_state in here.values_list("pk", "power_state", "vm_state"):
        now = seen.get(instance_id)
        if int(now or 0) != power or (vm_state == VmState.ACTIVE and power in OFF):
            changed += observe(host, instance_id, now)
    return changed
