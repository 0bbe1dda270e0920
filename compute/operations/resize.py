"""Resize: another flavor for an instance, to be confirmed or taken back.

The guest is switched off and its disks are copied; the copies grow and count from then on. The old
ones stay as they were at that moment, until the resize is confirmed (then they go) or taken back
(then they count again, and the copies go). Both flavors are held meanwhile: see ``held``.

The instance stays on its host: only that one is considered. (Moving disks is another story.)
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compute.errors import ComputeError, Conflict, Invalid, NoValidHost
from compute.images import store
from compute.models import (
    Action,
    Flavor,
    Image,
    Instance,
    Migration,
    MigrationStatus,
    PowerState,
    TaskState,
    VmState,
)
from compute.models.flavor import disk_claim_gb
from compute.operations import disks, held, in_place, interrupt
from compute.operations.engine import AnotherLane, Operation, Step
from compute.operations.engine import request as request_operation
from compute.operations.layout import Layout
from compute.operations.power import GRACE_AND_MARGIN
from portal.identity.actor import SYSTEM, Actor
from scheduler.pick import Request, place

GIB = 1 << 30
# Disks that hold more than this are copied in the transfer lane, where nobody waits for a boot.
COPIED_AT_ONCE_BYTES = GIB
SHRINKS = "Server disk was unable to be resized because: Unable to resize disk down."
TO_ZERO = "Server disk was unable to be resized because: Resize to zero disk flavor is not allowed."
NOT_RESIZED = "Instance has not been resized."


def check_flavor(actor: Actor, instance: Instance, flavor_id: str) -> Flavor:
    """The flavor, if the instance can be resized to it. Raises Invalid, with Nova's sentences."""
    flavor = Flavor.objects.visible_to(actor).filter(pk=flavor_id, disabled=False).first()
    if flavor is None:
        raise Invalid(f"Flavor {flavor_id} could not be found.", about="flavor")
    if refusal := misfit(instance, flavor):
        raise Invalid(refusal, about="flavor")
    return flavor


def misfit(instance: Instance, flavor: Flavor) -> str:
    """Why an instance cannot be resized to a flavor; empty when it can."""
    old = instance.flavor
    if flavor.id == old["id"]:
        return "When resizing, instances must change flavor!"
    if flavor.disk_gb == 0 and old["disk_gb"]:
        return TO_ZERO
    smaller_root = flavor.disk_gb and flavor.disk_gb * GIB < _root_bytes(instance)
    if smaller_root or flavor.ephemeral_gb < old["ephemeral_gb"]:
        return SHRINKS
    return ""


def _root_bytes(instance: Instance) -> int:
    """The size of the root disk as far as the rows know it: of a disk as large as its image, the image's."""
    if disk_gb := instance.flavor["disk_gb"]:
        return int(disk_gb) * GIB
    image = Image.objects.filter(instances=instance).first()
    return store.raw_size(image) if image else 0


class _OfMigration:
    """What the three operations share: the migration's row, and the disks as they were."""

    action: Action
    instance: Instance

    @cached_property
    def migration(self) -> Migration:
        """The row that the request made or found."""
        return Migration.objects.select_related("source_host").get(pk=self.action.params["migration_id"])

    def old_layout(self) -> Layout:
        """The disks as they were before the resize."""
        return Layout(self.instance.id, self.migration.old_flavor, dict(self.migration.old_volume_names))


class Resize(_OfMigration, Operation):
    """Give the instance another flavor; it can be taken back until it is confirmed."""

    name = "resize"
    wire = "resize"
    label = "Resize"
    policy = "os_compute_api:servers:resize"
    allowed = frozenset({VmState.ACTIVE, VmState.STOPPED})
    during = TaskState.RESIZE_PREP
    leads_to = VmState.RESIZED
    cancellable = True
    limit: ClassVar[timedelta] = GRACE_AND_MARGIN + timedelta(hours=2)

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``flavor_id`` in the parameters is the new flavor; ``disk_config`` may be there. Takes the quota.

        Raises Invalid, QuotaExceeded, and Conflict when the host is down.
        """
        in_place.refuse_with_snapshots(cls, instance)
        flavor = check_flavor(actor, instance, str(params.get("flavor_id", "")))
        host = instance.host
        if host is None or not host.is_up:
            raise Conflict("Service is unavailable at this time.")
        held.close_open(instance)
        new = flavor.snapshot()
        held.take_quota(instance.project_id, instance.flavor, new)
        migration = Migration.objects.create(
            instance=instance,
            source_host=host,
            old_flavor=instance.flavor,
            new_flavor=new,
            old_vm_state=instance.vm_state,
            old_volume_names=instance.volume_names,
            user_id=actor.user_id,
            project_id=instance.project_id,
        )
        if disk_config := params.get("disk_config"):
            Instance.objects.filter(pk=instance.pk).update(disk_config=disk_config)
        params["migration_id"] = migration.pk

    def schedule(self) -> None:
        """Claim room for the new flavor besides the old one, on the host where the instance is."""
        if self.migration.claimed:
            return
        with transaction.atomic():
            self.lease.renew()  # as in Boot.schedule
            placement = place(self._wanted())
            self.note(placement=placement.explanation.as_json())
            if placement.host is not None:
                held.set_status(self.migration, MigrationStatus.MIGRATING, claimed=True, dest_host=placement.host)
        if placement.host is None:
            raise NoValidHost(placement.explanation.sentence())

    def _wanted(self) -> Request:
        new, host = self.migration.new_flavor, self.migration.source_host
        return replace(
            Request.of(self.instance, tried=[] if settings.RESIZE_TO_SAME_HOST else [host.id]),
            vcpus=new["vcpus"],
            memory_mb=new["memory_mb"],
            disk_gb=disk_claim_gb(new),
            flavor_name=new["name"],
            extra_specs=new["extra_specs"],
            zone="",  # it stays in the zone of its host
            host=host.name,
            forced=False,
            instances=0,
        )

    def unschedule(self) -> None:
        """Give everything back that was taken for the new flavor."""
        held.close(self.migration, MigrationStatus.ERROR)

    def power_off(self) -> None:
        """Shut down cleanly. Large disks are copied in the transfer lane, and the guest is not off while they wait."""
        if self.lane_now != "transfer" and self._stored() > COPIED_AT_ONCE_BYTES:
            raise AnotherLane("transfer")
        interrupt.shut_down(self)

    def _stored(self) -> int:
        if self.action.progress.get("is_off"):
            return 0
        old = self.old_layout()
        return sum(self.hypervisor.stored_bytes(old.volume(role)) for role in self._kept_roles())

    def copy_disks(self) -> None:
        """Copies of the disks that the new flavor has too, as large as it says; new ones for the rest."""
        if self.action.progress.get("copied"):
            return
        old, new = self.old_layout(), self._new_layout()
        disks.sweep(self.hypervisor, self.instance.id, {*old.volumes(), *new.volumes()})
        self._check_sizes(old)
        for role in self._kept_roles():
            self._copy(role, old, new)
        fresh = [role for role in new.own if role not in self._kept_roles()]
        disks.create_empty(self.hypervisor, new, fresh)
        self.note(copied=True)

    def _copy(self, role: str, old: Layout, new: Layout) -> None:
        self.hypervisor.copy_volume(old.volume(role), new.volume(role))
        if size_gb := new.flavor["disk_gb" if role == "root" else "ephemeral_gb"]:
            self.hypervisor.resize_volume(new.volume(role), size_gb * GIB)

    def _check_sizes(self, old: Layout) -> None:
        """What the rows did not know: a root disk that is larger than its flavor said. Raises ComputeError."""
        size_gb = self.migration.new_flavor["disk_gb"]
        now = self.hypervisor.volumes(prefix=str(self.instance.id)).get(old.volume("root"), 0)
        if size_gb and size_gb * GIB < now:
            raise ComputeError(SHRINKS)

    def delete_disks(self) -> None:
        """Remove the copies, unless they count by now."""
        self.note(copied=False)
        kept = set(Layout.of(self.instance).volumes()) | set(self.old_layout().volumes())
        for volume in set(self._new_layout().volumes()) - kept:
            self.hypervisor.delete_volume(volume)

    def finish(self) -> None:
        """From now on the new flavor and the copies count; start, unless it was off."""
        held.set_status(self.migration, MigrationStatus.POST_MIGRATING)
        off = self.instance.vm_state == VmState.STOPPED
        interrupt.switch_to(self, self.migration.new_flavor, self._new_layout().names, off=off)

    def unfinish(self) -> None:
        """The old flavor and the old disks count again."""
        interrupt.switch_back(self, self.migration.old_flavor, self.old_layout().names)

    steps = (
        Step("schedule", schedule, unschedule, TaskState.RESIZE_PREP),
        Step("power_off", power_off, interrupt.put_back, TaskState.RESIZE_MIGRATING),
        Step("copy_disks", copy_disks, delete_disks, TaskState.RESIZE_MIGRATED),
        Step("finish", finish, unfinish, TaskState.RESIZE_FINISH, final=True),
    )

    def _kept_roles(self) -> list[str]:
        """The disks that both flavors have; a swap disk is always made anew."""
        new = Layout(self.instance.id, self.migration.new_flavor)
        return [role for role in self.old_layout().own if role in new.own and role != "swap"]

    def _new_layout(self) -> Layout:
        old = self.old_layout()
        return Layout(old.instance_id, self.migration.new_flavor, old.names).renamed(
            ("root", "ephemeral0", "swap"), self.action.pk
        )

    def outcome(self) -> dict[str, Any]:
        """To be confirmed or taken back; running, or off as it was."""
        on = self.instance.vm_state == VmState.ACTIVE
        return {
            "vm_state": VmState.RESIZED,
            "power_state": PowerState.RUNNING if on else PowerState.SHUTDOWN,
            "launched_at": timezone.now(),
            "progress": 100,
        }

    def completed(self) -> None:
        """The window for confirming begins."""
        held.set_status(self.migration, MigrationStatus.FINISHED)


def _find_finished(instance: Instance, params: dict[str, Any]) -> None:
    """Note which resize is meant. Raises Invalid when there is none."""
    migration = held.open_migration(instance)
    if migration is None:
        raise Invalid(NOT_RESIZED)
    params["migration_id"] = migration.pk


class ConfirmResize(_OfMigration, Operation):
    """Keep the new flavor; the disk as it was before the resize is deleted."""

    name = "confirmResize"
    wire = "confirmResize"
    label = "Confirm resize"
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
        now = Layout.of(self.instance).volumes()
        disks.drop(self.hypervisor, [volume for volume in self.old_layout().volumes() if volume not in now])

    steps = (Step("drop_old_disks", drop_old_disks, None, TaskState.RESIZE_CONFIRMING),)

    def outcome(self) -> dict[str, Any]:
        """Active, or stopped where the guest is off, as Nova has it."""
        power = PowerState(self.action.progress["power"])
        off = power in (PowerState.SHUTDOWN, PowerState.CRASHED)
        return {"vm_state": VmState.STOPPED if off else VmState.ACTIVE, "power_state": power}

    def completed(self) -> None:
        """Give back the old flavor's claim."""
        held.close(self.migration, MigrationStatus.CONFIRMED)


class RevertResize(_OfMigration, Operation):
    """Give the instance its old flavor back, and its disk as it was before the resize."""

    name = "revertResize"
    wire = "revertResize"
    label = "Revert resize"
    policy = "os_compute_api:servers:revert_resize"
    allowed = frozenset({VmState.RESIZED})
    during = TaskState.RESIZE_REVERTING
    leads_to = VmState.ACTIVE

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """Raises Invalid when nothing is to be taken back."""
        _find_finished(instance, params)
        params["new_volume_names"] = instance.volume_names

    def check_disks(self) -> None:
        """The old disks are there: a confirmation that was cut off may have deleted some. Raises ComputeError."""
        there = self.hypervisor.volumes(prefix=str(self.instance.id))
        if any(volume not in there for volume in self.old_layout().volumes()):
            raise ComputeError("The disk as it was before the resize is gone; only confirming is left.")
        held.set_status(self.migration, MigrationStatus.REVERTING)

    def still_resized(self) -> None:
        """To be confirmed or taken back, as before."""
        if not interrupt.is_done(self):
            held.set_status(self.migration, MigrationStatus.FINISHED)

    def spawn(self) -> None:
        """The old flavor and the old disks count again; start, unless it was off before the resize."""
        off = self.migration.old_vm_state == VmState.STOPPED
        interrupt.switch_to(self, self.migration.old_flavor, self.old_layout().names, off=off)

    def unspawn(self) -> None:
        """The new flavor and the new disks count again."""
        interrupt.switch_back(self, self.migration.new_flavor, self.action.params["new_volume_names"])

    def drop_new_disks(self) -> None:
        """Nothing needs the copies any more."""
        interrupt.mark_done(self)
        new = Layout(self.instance.id, self.migration.new_flavor, self.action.params["new_volume_names"])
        now = Layout.of(self.instance).volumes()
        disks.drop(self.hypervisor, [volume for volume in new.volumes() if volume not in now])

    steps = (
        Step("check_disks", check_disks, still_resized, TaskState.RESIZE_REVERTING),
        Step("power_off", interrupt.cut_power, interrupt.put_back),
        Step("spawn", spawn, unspawn),
        Step("drop_new_disks", drop_new_disks),
    )

    def outcome(self) -> dict[str, Any]:
        """As it was before the resize."""
        if self.migration.old_vm_state == VmState.STOPPED:
            return {"vm_state": VmState.STOPPED, "power_state": PowerState.SHUTDOWN}
        return {"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING, "launched_at": timezone.now()}

    def completed(self) -> None:
        """Give back the new flavor's claim."""
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
