"""Resize and cold migration: another flavor or another host for an instance, to be confirmed or taken back.

The guest is switched off and its disks are copied, or brought to the other host; the copies count from then
on. The old ones stay as they were at that moment, until the move is confirmed (then they go) or taken back
(then they count again, and the copies go). Both flavors and both hosts are held meanwhile: see ``held``.

A migration keeps its disks' names. Where both hosts have their storage in common nothing is brought then:
the guest is off on the one and on again on the other, with the disk that it had.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone

from compute.errors import ComputeError, Conflict, Invalid
from compute.hypervisor.interface import Unreachable
from compute.images import store
from compute.models import (
    Flavor,
    Image,
    Instance,
    Migration,
    MigrationStatus,
    MigrationType,
    PowerState,
    Snapshot,
    TaskState,
    VmState,
)
from compute.operations import disks, held, in_place, interrupt, moves, transfer
from compute.operations.engine import AnotherLane, Step
from compute.operations.layout import Layout
from compute.operations.of_migration import STRANDED, OfMigration
from compute.operations.power import GRACE_AND_MARGIN
from portal.identity.actor import Actor
from portal.identity.policy import enforce
from scheduler.pick import Request

GIB = 1 << 30
# Disks that hold more than this are copied in the transfer lane, where nobody waits for a boot.
COPIED_AT_ONCE_BYTES = GIB
SHRINKS = "Server disk was unable to be resized because: Unable to resize disk down."
TO_ZERO = "Server disk was unable to be resized because: Resize to zero disk flavor is not allowed."
TO_HOST = "os_compute_api:os-migrate-server:migrate:host"
MAYBE_TWICE = "The guest may run on a host that does not answer, so it was not started where it was."


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


def begin(
    instance: Instance, actor: Actor, params: dict[str, Any], *, kind: MigrationType, flavor: dict[str, Any]
) -> None:
    """The row of a move that is asked for, whose key goes into ``params``. Takes the quota.

    Raises QuotaExceeded, and Conflict when the host is down.
    """
    host = moves.check_source(instance)
    held.close_open(instance)
    held.take_quota(instance.project_id, instance.flavor, flavor)
    migration = Migration.objects.create(
        instance=instance,
        migration_type=kind,
        source_host=host,
        old_flavor=instance.flavor,
        new_flavor=flavor,
        old_vm_state=instance.vm_state,
        old_volume_names=instance.volume_names,
        user_id=actor.user_id,
        project_id=instance.project_id,
    )
    params["migration_id"] = migration.pk


class Resize(OfMigration):
    """Give the instance another flavor, on the best host for it; it can be taken back until it is confirmed."""

    name = "resize"
    wire: ClassVar[str | None] = "resize"
    label = "Resize"
    policy = "os_compute_api:servers:resize"
    allowed = frozenset({VmState.ACTIVE, VmState.STOPPED})
    during = TaskState.RESIZE_PREP
    leads_to = VmState.RESIZED
    cancellable = True
    limit: ClassVar[timedelta] = GRACE_AND_MARGIN + timedelta(hours=6)

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``flavor_id`` in the parameters is the new flavor; ``disk_config`` may be there. Takes the quota.

        Raises Invalid, QuotaExceeded, and Conflict when the host is down.
        """
        in_place.refuse_with_snapshots(cls, instance)
        flavor = check_flavor(actor, instance, str(params.get("flavor_id", "")))
        begin(instance, actor, params, kind=MigrationType.RESIZE, flavor=flavor.snapshot())
        if disk_config := params.get("disk_config"):
            Instance.objects.filter(pk=instance.pk).update(disk_config=disk_config)

    # the host -------------------------------------------------------------------------------------
    def schedule(self) -> None:
        """Claim room on the best host besides what is held where it is."""
        if self.action.progress.get(STRANDED):
            raise ComputeError(MAYBE_TWICE)
        moves.claim(self, self.migration, self.wanted(), MigrationStatus.MIGRATING)

    def wanted(self) -> Request:
        """What is asked of a host. Where a resize may stay on its host, that is one among all."""
        leaves = None if settings.RESIZE_TO_SAME_HOST else self.source
        tried = moves.tried(self)
        return moves.wanted(self.instance, leaves=leaves, flavor=self.migration.new_flavor, tried=tried)

    def unschedule(self) -> None:
        """Give the room back; what the request took goes with the migration's row (``failed``)."""
        held.let_go(self.migration)

    def is_apart(self) -> bool:
        """Whether the other host does not see the volumes of this one. Asked of both, once."""
        if not self.migration.moves:
            return False
        known: dict[str, bool] = self.action.progress.get("apart", {})
        key = str(self.target.pk)
        if key not in known:
            known = {**known, key: not moves.share_storage(self, self.source, self.target)}
            self.note(apart=known)
        return known[key]

    # the disks ------------------------------------------------------------------------------------
    def power_off(self) -> None:
        """Shut down cleanly. Large disks go in the transfer lane, and the guest is not off while they wait."""
        if not self.action.progress.get("is_off") and self._takes_long() and self.lane_now != "transfer":
            raise AnotherLane("transfer")
        interrupt.shut_down(self)

    def _takes_long(self) -> bool:
        if self.is_apart():
            return True
        old, new = self.old_layout(), self.new_layout()
        copied = [old.volume(role) for role in self.kept_roles() if old.volume(role) != new.volume(role)]
        return sum(map(self.hypervisor.stored_bytes, copied)) > COPIED_AT_ONCE_BYTES

    def copy_disks(self) -> None:
        """The disks that the new flavor has too, at the other host or copied, as large as it says; and the rest."""
        if self.action.progress.get("copied"):
            return
        old, new = self.old_layout(), self.new_layout()
        there = self.hypervisor_of(self.target)
        disks.sweep(self.hypervisor, self.instance.id, {*old.volumes(), *new.volumes()})
        self._check_sizes(old)
        if self.is_apart():
            disks.sweep(there, self.instance.id, new.volumes())
            config = transfer.Move(old.volume("config"), new.volume("config"), "raw")
            kept = [transfer.Move(old.volume(role), new.volume(role)) for role in self.kept_roles()]
            transfer.bring(self, self.source, self.target, [*kept, config])
        else:
            for role in self.kept_roles():
                if old.volume(role) != new.volume(role):
                    there.copy_volume(old.volume(role), new.volume(role))
        self._grow(new)
        disks.create_empty(there, new, [role for role in new.own if role not in self.kept_roles()])
        self.note(copied=True)

    def _grow(self, new: Layout) -> None:
        for role in self.kept_roles():
            size_gb = new.flavor["disk_gb" if role == "root" else "ephemeral_gb"]
            if size_gb and self.migration.old_flavor != new.flavor:
                self.hypervisor_of(self.target).resize_volume(new.volume(role), size_gb * GIB)

    def _check_sizes(self, old: Layout) -> None:
        """What the rows did not know: a root disk that is larger than its flavor said. Raises ComputeError."""
        size_gb = self.migration.new_flavor["disk_gb"]
        now = self.hypervisor.volumes(prefix=str(self.instance.id)).get(old.volume("root"), 0)
        if size_gb and size_gb * GIB < now:
            raise ComputeError(SHRINKS)

    def delete_disks(self) -> None:
        """Remove the copies, unless they count by now."""
        target = self.migration.dest_host
        if target is None:
            return
        self.note(copied=False, brought={})
        there = self.hypervisor_of(target)
        if not self.action.progress.get("apart", {}).get(str(target.pk)):
            kept = {*Layout.of(self.instance).volumes(), *self.old_layout().volumes()}
            doomed = set(self.new_layout().volumes()) - kept
        else:
            is_there = self.instance.host_id == target.pk
            doomed = set() if is_there else set(there.volumes(prefix=str(self.instance.id)))
        for volume in doomed:
            there.delete_volume(volume)

    # the guest ------------------------------------------------------------------------------------
    def finish(self) -> None:
        """From now on the new flavor, the copies and the new host count; start, unless it was off."""
        held.set_status(self.migration, MigrationStatus.POST_MIGRATING)
        off = self.instance.vm_state == VmState.STOPPED
        names, flavor = self.new_layout().names, self.migration.new_flavor
        interrupt.switch_to(self, flavor, names, off=off, host=self.target)

    def unfinish(self) -> None:
        """The old flavor, the old disks and the old host count again."""
        flavor, names = self.migration.old_flavor, self.old_layout().names
        if self.migration.dest_host is None or not self.migration.moves:
            interrupt.switch_back(self, flavor, names)
        elif self.action.progress.get("in_use") and not interrupt.is_done(self):
            interrupt.use_disks(self, names, **held.amounts(flavor), host=self.source)
            self.withdraw(self.target)
            self.note(in_use=False)

    steps = (
        Step("schedule", schedule, unschedule, TaskState.RESIZE_PREP),
        Step("power_off", power_off, OfMigration.put_back, TaskState.RESIZE_MIGRATING),
        Step("copy_disks", copy_disks, delete_disks, TaskState.RESIZE_MIGRATED),
        Step("finish", finish, unfinish, TaskState.RESIZE_FINISH, final=True),
    )

    def kept_roles(self) -> list[str]:
        """The disks that both flavors have; a swap disk is always made anew."""
        new = Layout(self.instance.id, self.migration.new_flavor)
        return [role for role in self.old_layout().own if role in new.own and role != "swap"]

    def new_layout(self) -> Layout:
        """The disks as they will be."""
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

    def failed(self) -> None:
        """Give everything back that was taken for it."""
        held.close(self.migration, MigrationStatus.ERROR)

    def failed_as(self) -> VmState | None:
        """As it was; in error where its guest may still run on a host that does not answer."""
        return VmState.ERROR if self.action.progress.get(STRANDED) else None

    def try_again(self, error: Exception) -> bool:
        """On another host, if it was the other host that failed. What may run there is waited for first."""
        begun = self.action.progress.get("in_use") and isinstance(error, Unreachable)
        if begun and not moves.is_surely_off(self.target):
            return False
        return moves.try_next(self, self.migration, error)


class Migrate(Resize):
    """Bring the instance to another host; it can be taken back until it is confirmed."""

    name = "migrate"
    wire = "migrate"
    label = "Migrate"
    policy = "os_compute_api:os-migrate-server:migrate"
    cancel_policy = policy  # it may be that its host is being emptied

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``host`` in the parameters names the one that an administrator asks for.

        Raises Forbidden, Invalid, and Conflict when its host is down or its snapshots cannot go along.
        """
        if name := params.get("host"):
            enforce(actor, TO_HOST, instance.project_id)
            moves.check_asked(instance, name)
        if count := Snapshot.objects.filter(instance=instance, memory=True).count():
            raise Conflict(
                f"Cannot 'migrate' instance {instance.id} while it has in-place snapshots with memory ({count}): "
                "what is in memory belongs to its host. Delete them first."
            )
        begin(instance, actor, params, kind=MigrationType.MIGRATION, flavor=instance.flavor)

    def wanted(self) -> Request:
        """Another host than its own; the one that was asked for, if one was."""
        host = self.action.params.get("host") or ""
        return moves.wanted(self.instance, leaves=self.source, host=host, tried=moves.tried(self))

    def kept_roles(self) -> list[str]:
        """Every disk goes along as it is."""
        return list(self.old_layout().own)

    def new_layout(self) -> Layout:
        """The disks keep their names."""
        return self.old_layout()
