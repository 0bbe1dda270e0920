"""Deletion that can be taken back: off and out of sight for a while, then reclaimed.

With ``RECLAIM_SECONDS`` (Nova's reclaim_instance_interval) a deletion only marks the instance; its
host resources stay claimed, its quota is given back, and after that time it is deleted for good.
Quota is held exactly by instances that are neither deleted nor soft-deleted, so each change across
that line takes it or gives it back in its own transaction.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone

from compute import quota
from compute.errors import ComputeError
from compute.models import Instance, PowerState, TaskState, VmState
from compute.operations.delete import Delete, ForceDelete, host_is_there
from compute.operations.engine import Operation, Step
from compute.operations.engine import request as request_operation
from compute.operations.interrupt import put_back, shut_down, switch_off
from compute.operations.layout import Layout
from compute.operations.power import GRACE_AND_MARGIN, start_afresh
from portal.identity.actor import SYSTEM, Actor
from portal.requestid import new_request_id, working_on

log = logging.getLogger(__name__)

# What cannot be put back whole: it is deleted at once.
_UNFINISHED = frozenset({VmState.BUILDING, VmState.RESIZED, VmState.SHELVED_OFFLOADED, VmState.DELETED})
_MOVING = frozenset(
    {
        TaskState.DELETING,
        TaskState.RESIZE_PREP,
        TaskState.RESIZE_MIGRATING,
        TaskState.RESIZE_MIGRATED,
        TaskState.RESIZE_FINISH,
        TaskState.RESIZE_CONFIRMING,
        TaskState.RESIZE_REVERTING,
        TaskState.SHELVING_OFFLOADING,
    }
)


class SoftDelete(Operation):
    """Switch the instance off and hide it; until it is reclaimed it can be restored."""

    name = "soft_delete"
    logged_as = "delete"
    label = "Delete"
    policy = "os_compute_api:servers:delete"
    for_adopted = True
    allowed = frozenset(VmState) - _UNFINISHED
    over = frozenset(TaskState) - _MOVING
    during = TaskState.SOFT_DELETING
    leads_to = VmState.SOFT_DELETED
    in_menu = False  # a deletion that is asked for is this one where it is set up and can be
    limit: ClassVar[timedelta] = GRACE_AND_MARGIN

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """Remember what it was: only the first deletion gives quota back."""
        params["was"] = instance.vm_state

    def power_off(self) -> None:
        """Off, cleanly; a host that is down is left to the watcher."""
        if host_is_there(self.instance):
            shut_down(self)

    steps = (Step("compute_soft_delete_instance", power_off, put_back),)

    def outcome(self) -> dict[str, Any]:
        """Off and hidden; it is restored to its own disk, also when it was being rescued."""
        return {
            "vm_state": VmState.SOFT_DELETED,
            "power_state": PowerState.SHUTDOWN,
            "volume_names": Layout.of(self.instance).without_rescue().names,
        }

    def completed(self) -> None:
        """The project may use the quota for something else."""
        if self.action.params["was"] != VmState.SOFT_DELETED:
            quota.give_back(self.instance)


class Restore(Operation):
    """Take a deletion back: the instance is started again."""

    name = "restore"
    wire = "restore"
    label = "Restore"
    policy = "os_compute_api:os-deferred-delete:restore"
    for_adopted = True
    allowed = frozenset({VmState.SOFT_DELETED})
    during = TaskState.RESTORING
    leads_to = VmState.ACTIVE

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """Raise QuotaExceeded where the project has no room for it any more."""
        quota.check(instance)

    def power_on(self) -> None:
        """Start it."""
        start_afresh(self)

    def power_off(self) -> None:
        """Off as it was."""
        switch_off(self)

    steps = (Step("compute_restore_instance", power_on, power_off),)

    def outcome(self) -> dict[str, Any]:
        """Running."""
        return {"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING}

    def completed(self) -> None:
        """It counts again; what the project took since the request may bring it over its limit by this one."""
        quota.take_again(self.instance)


def stand_in(instance: Instance) -> type[Operation]:
    """What a plain deletion of this instance is."""
    if not settings.RECLAIM_SECONDS or instance.vm_state not in SoftDelete.allowed or instance.launched_at is None:
        return Delete
    return SoftDelete if instance.task_state in (None, *SoftDelete.over) else Delete


def reclaim() -> int:
    """Ask for the deletion of every instance that was soft-deleted long enough ago. Returns of how many."""
    if not settings.RECLAIM_SECONDS:
        return 0
    since = timezone.now() - timedelta(seconds=settings.RECLAIM_SECONDS)
    waiting = Instance.objects.alive().filter(vm_state=VmState.SOFT_DELETED, task_state=None)
    lately = {"actions__operation__in": [SoftDelete.name, ForceDelete.name], "actions__created_at__gt": since}
    recent = Instance.objects.filter(vm_state=VmState.SOFT_DELETED, **lately).values("pk")
    asked = 0
    for instance in waiting.exclude(pk__in=recent).order_by("created_at")[:100]:
        with working_on(new_request_id(), SYSTEM.user_name):
            try:
                request_operation(ForceDelete, instance, SYSTEM)
            except ComputeError as error:
                log.info("not reclaiming %s: %s", instance.pk, error)
            else:
                log.info("reclaiming instance %s", instance.pk)
                asked += 1
    return asked
