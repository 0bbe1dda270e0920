"""In-place snapshots: keep a moment of an instance inside its disks, go back to it, let it go.

The rows (``Snapshot``) are the truth: the host keeps each under its row's id and needs to remember
nothing else. What would lose them (a rebuild, a resize, shelving) is refused while there are any.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import transaction

from compute.errors import Conflict, Invalid, NotFound, QuotaExceeded
from compute.hypervisor.interface import HypervisorError
from compute.models import (
    Action,
    Instance,
    PowerState,
    Snapshot,
    SnapshotSchedule,
    SnapshotState,
    TaskState,
    VmState,
)
from compute.operations.engine import Operation, Step
from compute.operations.guest import guest_of, ports_of
from compute.operations.interrupt import switch_off
from compute.operations.layout import Layout
from compute.operations.power import bring_networks, start_afresh
from portal.identity.actor import Actor

log = logging.getLogger(__name__)

# Memory of 64 GiB at 100 MB/s, and as long again.
MEMORY_LIMIT = timedelta(minutes=30)
ON = frozenset({VmState.ACTIVE, VmState.PAUSED})
NAME_CAP = 255


def devices_of(instance: Instance) -> dict[str, Any]:
    """What a guest's memory knows of its machine; it can only go back to one that is the same."""
    layout = Layout.of(instance)
    return {
        "vcpus": instance.vcpus,
        "memory_mb": instance.memory_mb,
        "cards": sorted(port.mac for port in ports_of(instance)),
        "disks": [layout.volume(role) for role in layout.own],
    }


def refuse_with_snapshots(operation: type[Operation], instance: Instance) -> None:
    """Raise Conflict: the operation makes new disks, which would not hold the instance's snapshots."""
    if count := Snapshot.objects.filter(instance=instance).count():
        raise Conflict(
            f"Cannot '{operation.novas_name()}' instance {instance.id} while it has in-place snapshots ({count}): "
            "they would be lost. Delete them first."
        )


def find(instance: Instance, snapshot_id: UUID | str) -> Snapshot:
    """The snapshot of an instance. Raises NotFound."""
    try:
        found = Snapshot.objects.filter(instance=instance, pk=UUID(str(snapshot_id))).first()
    except ValueError:
        found = None
    if found is None:
        raise NotFound(f"Snapshot {snapshot_id} could not be found.")
    return found


def stand_on(snapshot: Snapshot) -> None:
    """From now on the disks stand on this snapshot."""
    with transaction.atomic():
        Snapshot.objects.filter(instance=snapshot.instance_id, current=True).update(current=False)
        Snapshot.objects.filter(pk=snapshot.pk).update(current=True)


def stand_nowhere(action: Action) -> None:
    """Of a revert that ended half-way: nobody knows any more what the disks stand on."""
    if action.progress.get("reverting") and not action.progress.get("reverted"):
        Snapshot.objects.filter(instance=action.instance_id, current=True).update(current=False)


def forget(snapshot: Snapshot) -> None:
    """The snapshot is gone from the host: its children take its place in the tree."""
    with transaction.atomic():
        row = Snapshot.objects.select_for_update().filter(pk=snapshot.pk).first()
        if row is None:
            return
        Snapshot.objects.filter(parent=row).update(parent=row.parent_id)
        row.delete()
        if row.current and row.parent_id:
            Snapshot.objects.filter(pk=row.parent_id).update(current=True)


def forget_snapshots(instance: Instance) -> None:
    """The disks are gone, and with them all that was kept in them."""
    Snapshot.objects.filter(instance=instance).delete()


def forget_all(instance: Instance) -> None:
    """The instance is gone with its disks. Nothing is due any more."""
    forget_snapshots(instance)
    SnapshotSchedule.objects.filter(instance=instance).delete()


class _OfSnapshot:
    """What the three operations share: the snapshot that the request named or made."""

    action: Action
    instance: Instance
    allowed: ClassVar[frozenset[VmState]] = frozenset({*ON, VmState.STOPPED, VmState.SUSPENDED, VmState.ERROR})
    in_menu: ClassVar[bool] = False  # the page of snapshots has their buttons
    limit: ClassVar[timedelta] = MEMORY_LIMIT

    @property
    def snapshot(self) -> Snapshot:
        """Its row."""
        return find(self.instance, self.action.params["snapshot"])

    def set_snapshot(self, **fields: Any) -> None:
        """Change fields of its row."""
        Snapshot.objects.filter(pk=self.action.params["snapshot"]).update(**fields)

    @classmethod
    def cancelled(cls, action: Action) -> None:
        """Nobody knows how far it came; it can only be deleted."""
        unsure = Snapshot.objects.filter(pk=action.params["snapshot"])
        unsure.exclude(state=SnapshotState.AVAILABLE).update(state=SnapshotState.ERROR)


class CreateSnapshot(_OfSnapshot, Operation):
    """Keep the disks as they are now, and the memory if asked; a running instance goes on running."""

    name = "create_snapshot"
    label = "Take snapshot"
    policy = "nacelle:snapshots:create"
    allowed: ClassVar[frozenset[VmState]] = frozenset({*ON, VmState.STOPPED, VmState.SUSPENDED})
    during = TaskState.SNAPSHOT_CREATING
    leads_to = None
    while_locked = True  # as createImage: it changes nothing about the instance
    cancellable = True

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """Its row is there from the request on; its id goes into ``params`` ("snapshot").

        ``params``: ``name``, ``description``, ``memory``; ``schedule``, the id of the schedule that asks.
        Raises Invalid, Conflict, and QuotaExceeded when the instance has as many as it may have.
        """
        name = str(params.get("name", "")).strip()
        if not name or len(name) > NAME_CAP:
            raise Invalid(f"A snapshot needs a name of 1 to {NAME_CAP} characters.", about="name")
        memory = bool(params.get("memory", False))
        if memory and instance.vm_state not in ON:
            raise Conflict("There is no memory to keep: the server is not on. Take the snapshot without it.")
        schedule = _schedule(instance, params)
        _check_room(instance, schedule)
        if Snapshot.objects.filter(instance=instance, name=name).exists():
            raise Conflict(f"The server has a snapshot named '{name}' already.")
        made = Snapshot.objects.create(
            instance=instance,
            schedule=schedule,
            name=name,
            description=str(params.get("description", ""))[:255],
            memory=memory,
            vm_state=instance.vm_state,
            devices=devices_of(instance),
            user_id=actor.user_id,
            user_name=actor.user_name,
        )
        params.update(snapshot=str(made.pk), name=name, memory=memory)

    def take(self) -> None:
        """Keep it. Once: a later one would be another moment."""
        if self.action.progress.get("taken"):
            return
        if "stored" not in self.action.progress:
            self.note(stored=self._stored())
        snapshot = self.snapshot
        definition = self.hypervisor.create_snapshot(self.instance.id, str(snapshot.pk), snapshot.memory)
        grown = self._stored() - int(self.action.progress["stored"])
        with transaction.atomic():
            self.set_snapshot(definition=definition, size_bytes=max(0, grown))
            self.note(taken=True)

    def _stored(self) -> int:
        layout = Layout.of(self.instance)
        return sum(self.hypervisor.stored_bytes(layout.volume(role)) for role in layout.own)

    def drop(self) -> None:
        """Nothing of it stays; if the host cannot let it go now, its row says so."""
        self.note(taken=False)
        self.set_snapshot(state=SnapshotState.ERROR)
        self.hypervisor.delete_snapshot(self.instance.id, self.action.params["snapshot"])
        Snapshot.objects.filter(pk=self.action.params["snapshot"]).delete()

    def rotate(self) -> None:
        """Of a schedule: the oldest that it made beyond those that it keeps go. One that stays goes next time."""
        schedule = _schedule(self.instance, self.action.params)
        if schedule is None:
            return
        for old in surplus(schedule, but=self.action.params["snapshot"]):
            try:
                Snapshot.objects.filter(pk=old.pk).update(state=SnapshotState.DELETING)
                self.hypervisor.delete_snapshot(self.instance.id, str(old.pk))
            except HypervisorError as error:
                Snapshot.objects.filter(pk=old.pk).update(state=SnapshotState.ERROR)
                log.warning("snapshot %s of %s stays: %s", old.pk, self.instance.pk, error)
                continue
            forget(old)

    steps = (
        Step("create_snapshot", take, drop, TaskState.SNAPSHOT_CREATING),
        Step("rotate", rotate, final=True),
    )

    def completed(self) -> None:
        """It is there, and what the disks stand on."""
        snapshot = self.snapshot
        below = Snapshot.objects.filter(instance=self.instance, current=True).first()
        self.set_snapshot(state=SnapshotState.AVAILABLE, parent=below)
        stand_on(snapshot)


def _schedule(instance: Instance, params: dict[str, Any]) -> SnapshotSchedule | None:
    """The schedule that asked, if it is still there."""
    if not (schedule_id := params.get("schedule")):
        return None
    return SnapshotSchedule.objects.filter(instance=instance, pk=schedule_id).first()


def surplus(schedule: SnapshotSchedule, but: str = "") -> Iterable[Snapshot]:
    """What a schedule made and does not keep, the newest first. ``but``: one that counts as the newest."""
    made = Snapshot.objects.filter(schedule=schedule).exclude(state=SnapshotState.CREATING)
    newest_first = (made.exclude(pk=but) if but else made).order_by("-created_at", "-id")
    return newest_first[schedule.keep - 1 :]


def _check_room(instance: Instance, schedule: SnapshotSchedule | None) -> None:
    """Raise QuotaExceeded; what a schedule lets go for the new one is not in the way."""
    leaving = {one.pk for one in surplus(schedule)} if schedule else set()
    count = Snapshot.objects.filter(instance=instance).exclude(pk__in=leaving).count()
    if count >= settings.SNAPSHOTS_PER_INSTANCE:
        raise QuotaExceeded(
            f"The server has {count} of the {settings.SNAPSHOTS_PER_INSTANCE} snapshots that it may have."
        )


class RevertSnapshot(_OfSnapshot, Operation):
    """Go back to a snapshot: all that happened on the disks since is lost."""

    name = "revert_snapshot"
    label = "Revert to snapshot"
    policy = "nacelle:snapshots:revert"
    during = TaskState.SNAPSHOT_REVERTING
    leads_to = VmState.ACTIVE

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``params``: ``snapshot``, its id; ``memory``, default: if it has one; ``start``, default: if it is on now.

        With its memory the guest goes on where it was; without, it boots afresh or stays off.
        Raises NotFound and Conflict.
        """
        snapshot = find(instance, params["snapshot"])
        if snapshot.state != SnapshotState.AVAILABLE:
            raise Conflict(f"The snapshot '{snapshot.name}' cannot be used: it is {snapshot.state}.")
        if instance.host_id is None:
            raise Conflict("The server is on no host.")
        memory = params.get("memory")
        memory = snapshot.memory if memory is None else bool(memory)
        if memory:
            _check_memory(instance, snapshot)
        start = params.get("start")
        params.update(memory=memory, start=instance.vm_state in ON if start is None else bool(start))

    def revert(self) -> None:
        """Bring the disks back, and the memory. From the first call to the host on, a failure leaves it off."""
        if self.action.progress.get("reverted"):
            return
        snapshot, memory = self.snapshot, self.action.params["memory"]
        if memory:
            _check_memory(self.instance, snapshot)  # a card that was on its way out at the request is gone by now
        self.note(reverting=True)
        if memory:
            bring_networks(self)
        else:
            switch_off(self)
        self.hypervisor.define(guest_of(self.instance))
        definition = snapshot.definition if memory else ""
        self.hypervisor.revert_snapshot(self.instance.id, str(snapshot.pk), definition)
        with transaction.atomic():
            self.lease.renew()
            self.note(reverted=True)
            stand_on(snapshot)

    def stay_off(self) -> None:
        """Nobody knows what is on the disks; it is for the user to go on from there."""
        if self.action.progress.get("reverting"):
            stand_nowhere(self.action)
            self.set_instance(power_state=PowerState.SHUTDOWN)
            switch_off(self)

    def spawn(self) -> None:
        """Boot afresh if that was asked for. What is defined is what the rows say, whatever the snapshot knew."""
        if self.action.params["start"] and not self.action.params["memory"]:
            start_afresh(self)
        else:
            self.hypervisor.define(guest_of(self.instance))

    steps = (
        Step("revert", revert, stay_off, TaskState.SNAPSHOT_REVERTING),
        Step("spawn", spawn),
    )

    def failed_as(self) -> VmState | None:
        """Off, once the host was asked."""
        return VmState.STOPPED if self.action.progress.get("reverting") else None

    def outcome(self) -> dict[str, Any]:
        """As it was then, or booting afresh, or off."""
        if self.action.params["memory"] and self.snapshot.vm_state == VmState.PAUSED:
            return {"vm_state": VmState.PAUSED, "power_state": PowerState.PAUSED}
        if self.action.params["memory"] or self.action.params["start"]:
            return {"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING}
        return {"vm_state": VmState.STOPPED, "power_state": PowerState.SHUTDOWN}

    @classmethod
    def cancelled(cls, action: Action) -> None:
        """The snapshot is what it was; where the instance stands may be unknown."""
        stand_nowhere(action)


def _check_memory(instance: Instance, snapshot: Snapshot) -> None:
    """Raise Conflict unless the guest can go back to the snapshot's memory."""
    if not snapshot.memory:
        raise Conflict(f"The snapshot '{snapshot.name}' was taken without memory.")
    now = devices_of(instance)
    words = {"vcpus": "vCPUs", "memory_mb": "memory", "cards": "network cards", "disks": "disks"}
    if changed := [words[key] for key in now if now[key] != snapshot.devices.get(key)]:
        raise Conflict(
            f"The server has other {' and '.join(changed)} than when the snapshot '{snapshot.name}' was taken, "
            "so its memory does not fit any more. Revert to it without its memory."
        )


class DeleteSnapshot(_OfSnapshot, Operation):
    """Let a snapshot go; the instance and all other snapshots stay as they are."""

    name = "delete_snapshot"
    label = "Delete snapshot"
    policy = "nacelle:snapshots:delete"
    during = TaskState.SNAPSHOT_DELETING
    leads_to = None
    over = frozenset({TaskState.SNAPSHOT_CREATING})  # its own creation: so that is cancelled

    @classmethod
    def ends(cls, action: Action) -> bool:
        """A creation and nothing else: a card that is being plugged in stays with the guest, which goes on."""
        return action.operation == CreateSnapshot.name

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``params``: ``snapshot``, its id. Raises NotFound, and Conflict while another one is being made."""
        snapshot = find(instance, params["snapshot"])
        if instance.task_state == TaskState.SNAPSHOT_CREATING:
            making = instance.actions.filter(operation=CreateSnapshot.name).first()
            if making is None or making.params["snapshot"] != str(snapshot.pk):
                raise Conflict(f"Cannot '{cls.name}' instance {instance.id} while another snapshot is being made")
        Snapshot.objects.filter(pk=snapshot.pk).update(state=SnapshotState.DELETING)

    def delete(self) -> None:
        """Out of every disk."""
        self.hypervisor.delete_snapshot(self.instance.id, self.action.params["snapshot"])

    def unsure(self) -> None:
        """Some disks may have lost it: it can only be deleted again."""
        self.set_snapshot(state=SnapshotState.ERROR)

    steps = (Step("delete_snapshot", delete, unsure, TaskState.SNAPSHOT_DELETING),)

    def completed(self) -> None:
        """Its children take its place."""
        forget(self.snapshot)
