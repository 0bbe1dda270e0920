"""Evacuate: an instance whose host is gone for sure, started on another host.

Where the other host sees the same storage, the instance keeps its disks. Otherwise they are lost with the host,
and it is made anew of its image; which of the two is decided when it is asked for, and can be known beforehand
(``outlook``). Its id, ports, addresses and name stay. What is left on the old host goes when that answers again
(``returned``).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from compute.errors import ComputeError, Conflict, Invalid
from compute.hosts.asking import ask
from compute.hosts.storage import shares_storage
from compute.hypervisor.interface import Gone, Hypervisor, HypervisorError, Unreachable
from compute.models import (
    OPEN_MIGRATIONS,
    Host,
    HostState,
    Image,
    Instance,
    Migration,
    MigrationStatus,
    MigrationType,
    PowerState,
    TaskState,
    VmState,
)
from compute.operations import disks, held, in_place, moves
from compute.operations.calls import DidNotAnswer
from compute.operations.engine import Operation, Step
from compute.operations.guest import guest_of, ports_of
from compute.operations.layout import Layout
from compute.operations.power import bring_networks, start_afresh
from portal.identity.actor import Actor
from scheduler.request import Request

SAME_HOST = "The target host can't be the same one."


@dataclass(frozen=True)
class Outlook:
    """What an evacuation would do: keep the disks, or make them anew; ``refusal``: why it cannot be."""

    same_disk: bool = False
    refusal: str = ""

    @property
    def sentence(self) -> str:
        """For whoever decides."""
        if self.refusal:
            return self.refusal
        return "It keeps its disks." if self.same_disk else "It is made anew of its image; its disks are lost."


def host_refusal(host: Host | None) -> tuple[type[ComputeError], str] | None:
    """Why nothing may be evacuated from a host now: the error and its sentence; None when it may."""
    if host is None:
        return Conflict, "The server is on no host."
    if host.is_up:
        return Invalid, (
            f"Compute service of {host.name} is still in use. Only from a host that is down can be evacuated; "
            "from one that is up, migrate."
        )
    if not host.is_fenced:
        return Conflict, (
            f"{host.name} does not answer, but may still run its servers. Fence it first: switch it off and confirm it."
        )
    return None


@dataclass(frozen=True)
class Surroundings:
    """All hosts, and which images there are: for who asks about many instances."""

    hosts: list[Host]
    images: frozenset[UUID]

    @classmethod
    def now(cls) -> Surroundings:
        """As the rows are."""
        return cls(list(Host.objects.all()), frozenset(Image.objects.values_list("pk", flat=True)))


def outlook(instance: Instance, target: Host | None = None, around: Surroundings | None = None) -> Outlook:
    """What becomes of the disks: on the host that is asked for, or on any."""
    source = instance.host
    assert source is not None
    around = around or Surroundings.now()
    others = [target] if target else around.hosts
    if any(one.pk != source.pk and one.is_up and shares_storage(source, one) for one in others):
        return Outlook(same_disk=True)
    if instance.image_id not in around.images:
        return Outlook(refusal="Its disks are lost with the host, and the image that it was built from is gone.")
    return Outlook()


def _destroy(instance_id: UUID, hypervisor: Hypervisor) -> None:
    hypervisor.destroy(instance_id)


class Evacuate(Operation):
    """Start it on another host, since its own is off. Where no host shares its storage, its disks are made anew."""

    name = "evacuate"
    wire = "evacuate"
    label = "Evacuate"
    policy = "os_compute_api:os-evacuate"
    allowed = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR})
    # What waits for the host that is off and leaves nothing to be undone.
    over = frozenset(
        {
            TaskState.POWERING_OFF,
            TaskState.POWERING_ON,
            TaskState.REBOOTING,
            TaskState.REBOOT_PENDING,
            TaskState.REBOOT_STARTED,
            TaskState.REBOOTING_HARD,
            TaskState.REBOOT_PENDING_HARD,
            TaskState.REBOOT_STARTED_HARD,
            TaskState.PAUSING,
            TaskState.UNPAUSING,
            TaskState.SUSPENDING,
            TaskState.RESUMING,
            TaskState.UPDATING_PASSWORD,
        }
    )
    during = TaskState.REBUILDING
    leads_to = VmState.ACTIVE
    while_locked = True
    cancellable = True
    cancel_policy = policy
    limit: ClassVar[timedelta] = timedelta(minutes=30)

    @classmethod
    def shown(cls, instance: Instance) -> bool:
        """Only where the host is down."""
        return instance.host is not None and not instance.host.is_up

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``params``, all optional: ``host`` (a name), ``force`` (onto it whatever the filters say), ``stay_off``,
        ``shared`` (only where the disks are kept).

        Decides what becomes of the disks. Raises Invalid, and Conflict for a host that is not fenced.
        """
        if refused := host_refusal(instance.host):
            raise refused[0](refused[1])
        assert instance.host is not None
        target = cls._target(instance, str(params.get("host") or ""))
        found = outlook(instance, target)
        if found.refusal:
            raise Conflict(found.refusal)
        if params.get("shared") and not found.same_disk:
            raise Invalid("No host that could take it shares the storage of its host.", about="onSharedStorage")
        params["same_disk"] = found.same_disk
        held.close_open(instance)
        migration = Migration.objects.create(
            instance=instance,
            migration_type=MigrationType.EVACUATION,
            status=MigrationStatus.ACCEPTED,
            source_host=instance.host,
            old_flavor=instance.flavor,
            new_flavor=instance.flavor,
            old_vm_state=instance.vm_state,
            old_volume_names=instance.volume_names,
            user_id=actor.user_id,
            project_id=instance.project_id,
        )
        params["migration_id"] = migration.pk

    @classmethod
    def _target(cls, instance: Instance, name: str) -> Host | None:
        """The host that is asked for. Raises Invalid."""
        if not name:
            return None
        found = Host.objects.filter(name=name).first()
        if found is None:
            raise Invalid(f"Compute host {name} could not be found.", about="host")
        if found.pk == instance.host_id:
            raise Invalid(SAME_HOST, about="host")
        return found

    _again = False  # the undo under way makes room for another host

    # the steps ------------------------------------------------------------------------------------
    @cached_property
    def migration(self) -> Migration:
        """The row that the request made."""
        return Migration.objects.select_related("source_host", "dest_host").get(pk=self.action.params["migration_id"])

    @property
    def target(self) -> Host:
        """The host whose room was claimed."""
        assert self.migration.dest_host is not None
        return self.migration.dest_host

    @property
    def keeps_disks(self) -> bool:
        """Whether the other host sees the disks."""
        return bool(self.action.params["same_disk"])

    @property
    def has_moved(self) -> bool:
        """Whether the other host counts by now."""
        return self.migration.claimed and self.instance.host_id == self.migration.dest_host_id

    def schedule(self) -> None:
        """Choose another host and claim the room there."""
        if self.migration.status not in OPEN_MIGRATIONS:  # a worker died after it had given up
            raise ComputeError("The evacuation had failed.")
        if not self.migration.claimed:
            self._check_source(self.migration.source_host)
            moves.claim(self, self.migration, self._wanted(), MigrationStatus.PRE_MIGRATING)

    def _wanted(self) -> Request:
        source, params = self.migration.source_host, self.action.params
        wanted = moves.wanted(self.instance, leaves=source, host=params.get("host") or "", tried=moves.tried(self))
        seeing = (one.pk for one in Host.objects.all() if shares_storage(source, one))
        return replace(wanted, forced=bool(params.get("force")), seeing=frozenset(seeing) if self.keeps_disks else None)

    def unschedule(self) -> None:
        """Give back what is not in force: the claim on the other host, or on the one that is gone."""
        if self._again:
            self._again = False
            self.note(made=False)
            held.let_go(self.migration)
        else:
            held.close(self.migration, MigrationStatus.FAILED)

    def cut_off(self) -> None:
        """If the old host answers although it is said to be off, the guest is switched off there first."""
        source = self.migration.source_host
        source.refresh_from_db()
        if self.has_moved:
            return
        self._check_source(source)
        if source.state == HostState.UP:
            try:
                ask(source.uri, functools.partial(_destroy, self.instance.id))
            except (Gone, Unreachable):  # it is not there, or the host is off as was said
                return
            except HypervisorError as error:
                raise ComputeError(f"Its old host still runs it, and does not switch it off: {error}") from error

    def create_disks(self) -> None:
        """New disks on the other host, under new names, unless it sees those that there are."""
        if self.keeps_disks:
            return self._look_at_disks()
        if self.action.progress.get("made"):
            return None
        image = disks.image_named(self.instance.image_id)
        disks.bring_base(self, image, self.target)
        hypervisor, layout = self.hypervisor_of(self.target), self._new_layout()
        disks.create_root(hypervisor, layout, image)
        disks.create_empty(hypervisor, layout)
        return self.note(made=True)

    def _look_at_disks(self) -> None:
        """The other host sees the disks, as the rows say. Raises Gone when it does not: the next gets its turn."""
        hypervisor, volumes = self.hypervisor_of(self.target), self._new_layout()
        moves.look_anew(self, hypervisor)
        there = hypervisor.volumes(prefix=str(self.instance.id))
        if any(volumes.volume(role) not in there for role in volumes.own):
            error = Gone("The host does not see the disks of the server.")
            error.host_id = self.target.pk
            raise error

    def delete_disks(self) -> None:
        """Remove the new ones, unless they count by now."""
        if self.keeps_disks or not self.migration.claimed or self.has_moved:
            return
        self.note(made=False)
        layout = self._new_layout()
        for role in layout.own:
            self.hypervisor_of(self.target).delete_volume(layout.volume(role))

    def spawn(self) -> None:
        """From now on the other host counts; start there, unless it is to be off."""
        if not self.has_moved:
            self._move()
        disks.create_config(self.hypervisor, self.instance, self.secrets.get("admin_password"))
        if self._stays_off:
            bring_networks(self)
            self.hypervisor.define(guest_of(self.instance))
        else:
            start_afresh(self)

    def _move(self) -> None:
        """One transaction: the old host is off for sure, and the instance is on the other one."""
        with transaction.atomic():
            self.lease.renew()
            self._check_source(Host.objects.select_for_update().get(pk=self.migration.source_host_id))
            self.set_instance(host=self.target, volume_names=self._new_layout().names)
            held.set_status(self.migration, MigrationStatus.PRE_MIGRATING, left_behind=True)

    def _check_source(self, source: Host) -> None:
        """Raise ComputeError when the old host answers again, or is not taken to be off any more."""
        if refused := host_refusal(source):
            raise ComputeError(f"The evacuation was given up. {refused[1]}")

    def unspawn(self) -> None:
        """The old host counts again, once nothing runs on the other one for sure."""
        if not self.has_moved:
            return
        self.hypervisor.remove(self.instance.id)  # raises: then it stays there, where it may be running
        for port in ports_of(self.instance):
            self.hypervisor.release(port.network_id, port.mac)
        if not self.keeps_disks:
            self.hypervisor.delete_volume(self.instance.config_volume)
        old = dict(self.migration.old_volume_names)
        with transaction.atomic():
            self.set_instance(host=self.migration.source_host, volume_names=old)
            held.set_status(self.migration, MigrationStatus.PRE_MIGRATING, left_behind=False)

    steps = (
        Step("schedule", schedule, unschedule, TaskState.REBUILDING),
        Step("cut_off", cut_off),
        Step("create_disks", create_disks, delete_disks, TaskState.REBUILD_BLOCK_DEVICE_MAPPING),
        Step("spawn", spawn, unspawn, TaskState.REBUILD_SPAWNING, final=True),
    )

    def _new_layout(self) -> Layout:
        """The disks as they will be. Where others are made, all have names of their own, the config drive too.

        What a call makes that returns when everybody has given it up then has a name that nothing needs, and goes,
        whatever the storage of the old host is.
        """
        old = Layout(self.instance.id, self.instance.flavor, dict(self.migration.old_volume_names))
        if self.keeps_disks:
            return old
        return Layout(old.instance_id, old.flavor).renamed((*old.own, "config"), self.action.pk)

    @property
    def _stays_off(self) -> bool:
        return self.migration.old_vm_state == VmState.STOPPED or bool(self.action.params.get("stay_off"))

    def outcome(self) -> dict[str, Any]:
        """Running, or off where it was off or shall be."""
        if self._stays_off:
            return {"vm_state": VmState.STOPPED, "power_state": PowerState.SHUTDOWN}
        return {
            "vm_state": VmState.ACTIVE,
            "power_state": PowerState.RUNNING,
            "launched_at": timezone.now(),
            "progress": 100,
        }

    def completed(self) -> None:
        """Give back the claim on the host that is gone."""
        if not self.keeps_disks:
            in_place.forget_snapshots(self.instance)
        held.close(self.migration, MigrationStatus.DONE)

    def try_again(self, error: Exception) -> bool:
        """On the next host; but where the guest may be running, the host that has it is waited for."""
        if self.has_moved and isinstance(error, Unreachable | DidNotAnswer):
            return False
        self._again = moves.try_next(self, self.migration, error)
        return self._again
