"""Shelving: an instance's disk becomes an image, its host is freed, and later it comes back, perhaps elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, BinaryIO, ClassVar, cast

from django.conf import settings
from django.utils import timezone

from compute import zones
from compute.errors import ComputeError, Conflict, Invalid
from compute.hypervisor.interface import PowerState as Seen
from compute.images import copies, store
from compute.models import Action, Host, Image, ImageStatus, Instance, PowerState, TaskState, VmState
from compute.operations import disks, in_place, interrupt, saving
from compute.operations.boot import Boot
from compute.operations.engine import AnotherLane, Operation, Step, new_action
from compute.operations.engine import request as request_operation
from compute.operations.guest import ports_of
from compute.operations.layout import Layout
from compute.operations.snapshot import COPY_LIMIT
from portal.identity.actor import SYSTEM, Actor
from portal.identity.policy import enforce
from portal.requestid import new_request_id, working_on
from scheduler import claims
from scheduler.pick import Request

# An offload that failed is tried again by itself after this long.
OFFLOAD_AGAIN = timedelta(minutes=10)


class Shelve(Operation):
    """Keep the disk as an image and free the host; the addresses and the quota stay."""

    name = "shelve"
    wire = "shelve"
    label = "Shelve"
    policy = "os_compute_api:os-shelve:shelve"
    lane = "transfer"
    allowed = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED})
    during = TaskState.SHELVING
    leads_to = VmState.SHELVED
    cancellable = True
    limit: ClassVar[timedelta] = COPY_LIMIT

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """The image is there from the request on."""
        in_place.refuse_with_snapshots(cls, instance)
        name = f"{instance.name[:247]}-shelved"
        saving.new_image(instance, actor, params, name=name, kind="snapshot", metadata={})

    @classmethod
    def cancelled(cls, action: Action) -> None:
        """The image is of no use without the rest."""
        copies.discard(action.params.get("image"))

    def shut_down(self) -> None:
        """A running guest writes down what it has in memory. One that stands still is copied as it is."""
        if self.instance.vm_state == VmState.ACTIVE:
            interrupt.shut_down(self)

    def put_back(self) -> None:
        """No image, and running again."""
        saving.drop_image(self)
        interrupt.put_back(self)

    def cut_power(self) -> None:
        """Of a paused or suspended guest, once its disk is safe: what it had in memory is lost, as in Nova."""
        interrupt.switch_off(self)

    def look(self) -> None:
        """A paused guest that is off by now has nothing to wake up to: the instance is stopped."""
        seen = self.hypervisor.guest(self.instance.id)
        if self.instance.vm_state == VmState.PAUSED and seen is not None and seen.power_state == Seen.SHUTDOWN:
            self.note(was_cut=True)
            self.set_instance(power_state=PowerState.SHUTDOWN)

    steps = (
        Step("shut_down", shut_down, put_back, TaskState.SHELVING),
        Step("copy_disk", saving.copy_disk, saving.give_up),
        Step("begin_upload", saving.begin_upload, None, TaskState.SHELVING_IMAGE_PENDING_UPLOAD),
        Step("upload", saving.upload, None, TaskState.SHELVING_IMAGE_UPLOADING),
        Step("delete_copy", saving.delete_copy),
        Step("cut_power", cut_power, look, final=True),
    )

    def failed_as(self) -> VmState | None:
        """As it was, but for a paused guest that lost its memory."""
        return VmState.STOPPED if self.action.progress.get("was_cut") else None

    def outcome(self) -> dict[str, Any]:
        """Off, and its disk in an image."""
        return {
            "vm_state": VmState.SHELVED,
            "power_state": PowerState.SHUTDOWN,
            "shelved_image_id": self.action.params["image"],
            "shelved_at": timezone.now(),
        }

    def completed(self) -> None:
        """Where hosts are freed at once, the offload follows in the same transaction."""
        if settings.SHELVED_OFFLOAD_SECONDS == 0:
            self.set_instance(task_state=ShelveOffload.during)
            with working_on(new_request_id(), self.action.user_name, self.action.project_name):
                new_action(ShelveOffload, self.instance, _who(self.action), {})


def _who(action: Action) -> Actor:
    """In whose name an action was done."""
    return Actor(
        user_id=action.user_id,
        user_name=action.user_name,
        project_id=action.project_id,
        project_name=action.project_name,
    )


class ShelveOffload(Operation):
    """Remove a shelved instance from its host, whose room is free from then on."""

    name = "shelve_offload"
    wire = "shelveOffload"
    label = "Offload"
    policy = "os_compute_api:os-shelve:shelve_offload"
    allowed = frozenset({VmState.SHELVED})
    during = TaskState.SHELVING_OFFLOADING
    leads_to = VmState.SHELVED_OFFLOADED

    def check_image(self) -> None:
        """Without the image the disk on the host is the only one there is."""
        shelved_image(self.instance)

    @property
    def _is_off(self) -> bool:
        """Whether its host is off for sure: then nothing is removed there before it answers again."""
        host = self.instance.host
        assert host is not None
        host.refresh_from_db(fields=["state", "forced_down", "last_seen_at", "fenced_at"])
        return host.is_fenced

    def remove_guest(self) -> None:
        """Forget the definition."""
        if not self._is_off:
            self.hypervisor.remove(self.instance.id)

    def remove_disks(self) -> None:
        """Delete every volume whose name begins with the instance's id."""
        if not self._is_off:
            for volume in self.hypervisor.volumes(prefix=str(self.instance.id)):
                self.hypervisor.delete_volume(volume)

    def release_networks(self) -> None:
        """Take the DHCP reservations off the host; the ports keep their addresses."""
        if not self._is_off:
            for port in ports_of(self.instance):
                self.hypervisor.release(port.network_id, port.mac)

    steps = (
        Step("check_image", check_image, None, TaskState.SHELVING_OFFLOADING),
        Step("remove_guest", remove_guest),
        Step("remove_disks", remove_disks),
        Step("release_networks", release_networks),
    )

    def outcome(self) -> dict[str, Any]:
        """Nowhere."""
        return {"vm_state": VmState.SHELVED_OFFLOADED, "power_state": PowerState.SHUTDOWN, "volume_names": {}}

    def completed(self) -> None:
        """Give back the claim together with the state."""
        claims.release(self.instance)
        self.instance.host = None
        self.instance.ports.update(status="DOWN")


class Unshelve(Boot):
    """Bring it back: on its host if it is still there, else on the best one, from the image of its disk."""

    name = "unshelve"
    wire = "unshelve"
    label = "Unshelve"
    policy = "os_compute_api:os-shelve:unshelve"
    allowed = frozenset({VmState.SHELVED, VmState.SHELVED_OFFLOADED})
    launched = True
    during = TaskState.UNSHELVING
    on_failure = None
    in_menu = True
    limit: ClassVar[timedelta] = COPY_LIMIT

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``params``: ``zone`` (None: any) and ``host``, both optional and only for one that is offloaded."""
        if "host" in params:
            enforce(actor, "os_compute_api:os-shelve:unshelve_to_host")
        if params and instance.vm_state != VmState.SHELVED_OFFLOADED:
            raise Conflict(
                "Specifying an availability zone or a host when unshelving server "
                f"{instance.id} with status {instance.status} is not supported. "
                "The server status must be SHELVED_OFFLOADED."
            )
        _check_place(params)
        params["image"] = str(instance.shelved_image_id) if instance.shelved_image_id else None

    @property
    def is_here(self) -> bool:
        """Whether its guest and its disks stayed on the host."""
        return self.instance.vm_state == VmState.SHELVED

    def wanted(self) -> Request:
        """In its zone, or the one asked for now; a host that was asked for at its creation counts no more."""
        zone = self.action.params.get("zone", self.instance.zone) or ""
        return replace(super().wanted(), zone=zone, host=self.action.params.get("host", ""), forced=False)

    def unschedule(self) -> None:
        """Give the claim back, unless it had it before."""
        if not self.is_here:
            super().unschedule()

    def release_networks(self) -> None:
        """Take the reservations off the host, unless it had them before."""
        if not self.is_here:
            super().release_networks()

    def create_disks(self) -> None:
        """The root disk from the image, the others empty. Those that stayed with the guest are kept."""
        if not self.is_here:
            self._clear_host()
        layout = Layout.of(self.instance)
        there = self.hypervisor.volumes(prefix=str(self.instance.id))
        if layout.volume("root") not in there or self.action.progress.get("receiving"):
            self._receive_root(layout)
        disks.create_empty(self.hypervisor, layout, [role for role in layout.own if layout.volume(role) not in there])
        disks.create_config(self.hypervisor, self.instance)

    def _clear_host(self) -> None:
        """What the instance left on this host in an earlier life, if the host could not be cleaned then."""
        if self.action.progress.get("cleared") != self.instance.host_id:
            for volume in self.hypervisor.volumes(prefix=str(self.instance.id)):
                self.hypervisor.delete_volume(volume)
            self.note(cleared=self.instance.host_id)

    def _receive_root(self, layout: Layout) -> None:
        if self.lane_now != "transfer":
            raise AnotherLane("transfer")
        image = shelved_image(self.instance)
        size = image.size or 0
        content = saving.Stream(self, store.open_bytes(image), size, check=_still_held)
        self.note(receiving=True)
        self.hypervisor.upload(layout.volume("root"), cast(BinaryIO, content), size, "qcow2")
        self.note(receiving=False)

    def delete_disks(self) -> None:
        """Remove what was made here."""
        if not self.is_here:
            super().delete_disks()
        elif self.action.progress.get("receiving") is not None:
            self.hypervisor.delete_volume(self.instance.root_volume)

    def remove_guest(self) -> None:
        """Leave no guest behind, or off, as it was."""
        if self.is_here:
            interrupt.switch_off(self)
        else:
            super().remove_guest()

    steps = (
        Step("schedule", Boot.schedule, unschedule, TaskState.UNSHELVING),
        Step("allocate_networks", Boot.allocate_networks, release_networks),
        Step("create_disks", create_disks, delete_disks),
        Step("spawn", Boot.spawn, remove_guest, TaskState.SPAWNING),
    )

    def outcome(self) -> dict[str, Any]:
        """Running, and its disk in no image any more."""
        zone = {"zone": self.action.params["zone"] or ""} if "zone" in self.action.params else {}
        return {
            "vm_state": VmState.ACTIVE,
            "power_state": PowerState.RUNNING,
            "shelved_image_id": None,
            "shelved_at": None,
            **zone,
        }

    @staticmethod
    def completed_together(operations: Sequence[Boot]) -> None:
        """The ports are in use, the images go."""
        Boot.completed_together(operations)
        for unshelving in operations:
            copies.discard_unprotected(unshelving.action.params["image"])

    def try_again(self, error: Exception) -> bool:
        """On another host, unless it is here."""
        return not self.is_here and super().try_again(error)


def _check_place(params: dict[str, Any]) -> None:
    """Raise Invalid and Conflict for a zone or a host that cannot be."""
    zone, name = params.get("zone"), params.get("host")
    if zone:
        zones.check_available(zone)
    if not name:
        return
    host = Host.objects.filter(name=name).first()
    if host is None:
        raise Invalid(f"Compute host {name} could not be found.", about="host")
    if zone and host.zone != zone:
        raise Conflict(f'Host "{name}" is not in the availability zone "{zone}".')


def _still_held(operation: Operation) -> None:
    operation.lease.renew()


def shelved_image(instance: Instance) -> Image:
    """The image of a shelved instance's disk, whole. Raises ComputeError."""
    image = Image.objects.filter(pk=instance.shelved_image_id).first() if instance.shelved_image_id else None
    if image is None:
        raise ComputeError("The image of the shelved server's disk is not there: somebody has deleted it.")
    if image.status != ImageStatus.ACTIVE or image.disk_format != copies.DISK_FORMAT:
        raise ComputeError(f"The image {image.pk} of the shelved server's disk cannot be used: it is {image.status}.")
    return image


def offload_due() -> int:
    """Ask for the offload of each instance that has been shelved for long enough. Returns how many."""
    if settings.SHELVED_OFFLOAD_SECONDS < 0:
        return 0
    now = timezone.now()
    since = now - timedelta(seconds=settings.SHELVED_OFFLOAD_SECONDS)
    due = Instance.objects.alive().filter(vm_state=VmState.SHELVED, task_state=None, shelved_at__lte=since)
    tried = Action.objects.filter(operation=ShelveOffload.name, created_at__gt=now - OFFLOAD_AGAIN)
    asked = 0
    for instance in due.exclude(pk__in=tried.values("instance")):
        try:
            with working_on(new_request_id()):
                request_operation(ShelveOffload, instance, SYSTEM)
            asked += 1
        except ComputeError:  # somebody else was first
            continue
    return asked
