"""The two ends of a resize or a cold migration: confirmed, or taken back."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone

from compute.errors import ComputeError, Conflict, Invalid
from compute.hypervisor.interface import HypervisorError
from compute.models import (
    Host,
    Instance,
    Migration,
    MigrationStatus,
    MigrationType,
    PowerState,
    TaskState,
    VmState,
)
from compute.operations import disks, held, interrupt, moves
from compute.operations.engine import Step
from compute.operations.engine import request as request_operation
from compute.operations.layout import Layout
from compute.operations.of_migration import OfMigration
from portal.identity.actor import SYSTEM, Actor

log = logging.getLogger(__name__)

NOT_RESIZED = "Instance has not been resized."
SOURCE_IS_DOWN = (
    "The host that the server came from is down; it can be taken back when the host is up again, or be confirmed now."
)
GONE = "The disk as it was before is gone; only confirming is left."


def _find_finished(instance: Instance, params: dict[str, Any]) -> Migration:
    """Note which one is meant, and what it is. Raises Invalid when there is none."""
    migration = held.open_migration(instance)
    if migration is None:
        raise Invalid(NOT_RESIZED)
    params |= {"migration_id": migration.pk, "migration_type": migration.migration_type}
    return migration


class _End(OfMigration):
    """What both ends share: on the host that is left, nothing stays."""

    of_a_migration: ClassVar[str]  # the label where no flavor is another

    @classmethod
    def label_for(cls, params: dict[str, Any]) -> str:
        """Of a cold migration it is the migration that is confirmed or taken back."""
        return cls.of_a_migration if params.get("migration_type") == MigrationType.MIGRATION else cls.label

    def leave(self, host: Host, dropped: Layout) -> None:
        """Nothing of the instance stays on a host that it is not on, and no disk of ``dropped`` that it does not need.

        It comes last. What cannot be removed now is left to the watcher.
        """
        now = Layout.of(self.instance).volumes()
        doomed = [volume for volume in dropped.volumes() if volume not in now]
        if not self.migration.moves:
            return disks.drop(self.hypervisor, doomed)
        try:
            host.refresh_from_db()
            if not host.is_up:
                return log.warning("%s: host %s is down; what is left there is removed later", self.instance.pk, host)
            assert self.instance.host is not None  # it is on the other one
            shared = moves.share_storage(self, self.instance.host, host)
            moves.clear(self, host, volumes=not shared)
            if shared:
                disks.drop(self.hypervisor, doomed)
        except HypervisorError as error:
            log.warning("%s: something stays behind on host %s: %s", self.instance.pk, host, error)


class ConfirmResize(_End):
    """Keep the new flavor and the new host; what was before is deleted."""

    name = "confirmResize"
    wire = "confirmResize"
    label = "Confirm resize"
    of_a_migration = "Confirm migration"
    policy = "os_compute_api:servers:confirm_resize"
    allowed = frozenset({VmState.RESIZED})
    during = TaskState.RESIZE_CONFIRMING
    leads_to = VmState.ACTIVE

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """Raises Invalid when nothing is to be confirmed."""
        _find_finished(instance, params)

    def drop_old_disks(self) -> None:
        """Nothing needs them any more."""
        seen = self.hypervisor.guest(self.instance.id)
        self.note(power=int(seen.power_state) if seen else int(PowerState.NOSTATE))
        held.set_status(self.migration, MigrationStatus.CONFIRMING)
        self.leave(self.source, self.old_layout())

    steps = (Step("drop_old_disks", drop_old_disks, None, TaskState.RESIZE_CONFIRMING),)

    def outcome(self) -> dict[str, Any]:
        """Active, or stopped where the guest is off, as Nova has it."""
        power = PowerState(self.action.progress["power"])
        off = power in (PowerState.SHUTDOWN, PowerState.CRASHED)
        return {"vm_state": VmState.STOPPED if off else VmState.ACTIVE, "power_state": power}

    def completed(self) -> None:
        """Give back what was held for the way back."""
        held.close(self.migration, MigrationStatus.CONFIRMED)


class RevertResize(_End):
    """Give the instance its old flavor, host and disk back, as they were before."""

    name = "revertResize"
    wire = "revertResize"
    label = "Revert resize"
    of_a_migration = "Revert migration"
    policy = "os_compute_api:servers:revert_resize"
    allowed = frozenset({VmState.RESIZED})
    during = TaskState.RESIZE_REVERTING
    leads_to = VmState.ACTIVE

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """Raises Invalid when nothing is to be taken back, and Conflict while the host that it came from is down."""
        migration = _find_finished(instance, params)
        if not migration.source_host.is_up:
            raise Conflict(SOURCE_IS_DOWN)
        if instance.host is None or not (instance.host.is_up or instance.host.is_fenced):
            raise Conflict(moves.UNAVAILABLE)
        params["new_volume_names"] = instance.volume_names

    def check_disks(self) -> None:
        """The old disks are there: a confirmation that was cut off may have deleted some. Raises ComputeError."""
        there = self.hypervisor_of(self.source).volumes(prefix=str(self.instance.id))
        if any(volume not in there for volume in self.old_layout().volumes()):
            raise ComputeError(GONE)
        held.set_status(self.migration, MigrationStatus.REVERTING)

    def still_resized(self) -> None:
        """To be confirmed or taken back, as before."""
        if not interrupt.is_done(self):
            held.set_status(self.migration, MigrationStatus.FINISHED)

    def power_off(self) -> None:
        """Off at once where it is; what is on a host that was fenced is off."""
        if not moves.is_surely_off(self.target):
            interrupt.cut_power(self)

    def spawn(self) -> None:
        """The old flavor, the old disks and the old host count again; start, unless it was off before."""
        off = self.migration.old_vm_state == VmState.STOPPED
        flavor, names = self.migration.old_flavor, self.old_layout().names
        interrupt.switch_to(self, flavor, names, off=off, host=self.source)

    def unspawn(self) -> None:
        """The new flavor, the new disks and the new host count again."""
        flavor, names = self.migration.new_flavor, self.action.params["new_volume_names"]
        if not self.migration.moves:
            interrupt.switch_back(self, flavor, names)
        elif self.action.progress.get("in_use") and not interrupt.is_done(self):
            interrupt.use_disks(self, names, **held.amounts(flavor), host=self.target)
            self.withdraw(self.source)
            self.note(in_use=False)

    def drop_new_disks(self) -> None:
        """Nothing needs the copies any more."""
        interrupt.mark_done(self)
        self.leave(
            self.target, Layout(self.instance.id, self.migration.new_flavor, self.action.params["new_volume_names"])
        )

    steps = (
        Step("check_disks", check_disks, still_resized, TaskState.RESIZE_REVERTING),
        Step("power_off", power_off, OfMigration.put_back),
        Step("spawn", spawn, unspawn),
        Step("drop_new_disks", drop_new_disks),
    )

    def outcome(self) -> dict[str, Any]:
        """As it was before."""
        if self.migration.old_vm_state == VmState.STOPPED:
            return {"vm_state": VmState.STOPPED, "power_state": PowerState.SHUTDOWN}
        return {"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING, "launched_at": timezone.now()}

    def completed(self) -> None:
        """Give back what was held for the new flavor and the new host."""
        held.close(self.migration, MigrationStatus.REVERTED)


def confirm_overdue() -> int:
    """Confirm what waits longer than ``RESIZE_CONFIRM_SECONDS`` (0: for ever). Returns how many."""
    if not settings.RESIZE_CONFIRM_SECONDS:
        return 0
    oldest = timezone.now() - timedelta(seconds=settings.RESIZE_CONFIRM_SECONDS)
    waiting = Migration.objects.filter(
        status__in=[MigrationStatus.FINISHED, MigrationStatus.CONFIRMING],
        updated_at__lt=oldest,
        instance__vm_state=VmState.RESIZED,
        instance__task_state=None,
        instance__deleted_at=None,
    )
    confirmed = 0
    for migration in waiting.select_related("instance")[:100]:
        try:
            request_operation(ConfirmResize, migration.instance, SYSTEM)
            confirmed += 1
        except ComputeError:  # somebody was faster
            continue
    return confirmed
