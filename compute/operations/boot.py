"""Boot: from a request to a running guest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any, ClassVar

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from compute.errors import NoValidHost
from compute.hosts.liveness import Silent
from compute.hypervisor.interface import HypervisorError, Unsupported
from compute.models import Action, Image, Instance, Port, PowerState, TaskState, VmState, announce
from compute.networks import addresses
from compute.operations import disks, leases, siblings
from compute.operations.calls import Calls
from compute.operations.engine import Operation, Step
from compute.operations.guest import guest_of, ports_of, ports_of_all
from compute.operations.layout import Layout
from compute.operations.power import bring_networks
from portal.compiled import Rows, among, update_each
from scheduler import claims
from scheduler.pick import Placement, Request, evaluate, place, place_many

_PORTS = Rows(lambda: Port.objects.filter(**among(Port, instance="instance_ids")))
_IMAGES = Rows(lambda: Image.objects.filter(**among(Image, pk="ids")))


def _told(placement: Placement) -> dict[str, Any]:
    """What the action's progress says of where it was placed, and why."""
    return {"placement": placement.explanation.as_json()}


class Boot(Operation):
    """Create the instance on the best host that has room for it."""

    name = "create"
    label = "Launch"
    policy = "os_compute_api:servers:create"
    allowed = frozenset({VmState.BUILDING})
    launched = False
    during = TaskState.SCHEDULING
    leads_to = VmState.ACTIVE
    on_failure: ClassVar[VmState | None] = VmState.ERROR
    in_menu = False
    cancellable = True
    most_together = 16
    tried_ahead = False
    limit: ClassVar[timedelta] = timedelta(minutes=30)

    def schedule(self) -> None:
        """Choose a host and take the claim, in one transaction; keep the explanation."""
        if self.instance.host_id is not None:
            return
        together, wanted = siblings.is_first_try(self.action), self.wanted()
        with transaction.atomic():
            why_nowhere = siblings.place_all(self, wanted) if together else self._place(wanted)
        if why_nowhere:
            raise NoValidHost(self._why_nowhere(why_nowhere))

    def _place(self, wanted: Request) -> str:
        """Place this instance alone. Returns why nowhere; empty when it has a host."""
        self.lease.renew()  # whoever has taken over, or deleted the instance, would not know of this claim
        if self.tried_ahead and self._has_host():
            return ""
        placement = place(wanted)
        self.note(**_told(placement))
        if placement.host is None:
            return placement.explanation.sentence()
        self.set_instance(host=placement.host)
        return ""

    def _has_host(self) -> bool:
        """Whether the row has one: ``place_ahead`` was committed, and the connection broke before it heard so."""
        self.instance.refresh_from_db(fields=["host"])
        self.action.refresh_from_db(fields=["progress"])
        return self.instance.host_id is not None

    @staticmethod
    def place_ahead(boots: Sequence[Boot]) -> None:
        """Place several at once. Those that fit nowhere are left to ``schedule``, which says why."""
        alone = [one for one in boots if one.instance.host_id is None and not siblings.is_first_try(one.action)]
        if not alone:
            return
        for boot in alone:
            boot.tried_ahead = True
        with transaction.atomic():
            leases.renew_all([boot.lease for boot in alone])  # as in ``_place``
            placements = place_many([boot.wanted() for boot in alone])
            placed = [(boot, found, found.host) for boot, found in zip(alone, placements, strict=True) if found.host]
            if placed:
                told = {boot.action.pk: [{**boot.action.progress, **_told(found)}] for boot, found, _ in placed}
                update_each(Action, ["progress"], told)
                now = timezone.now()
                update_each(
                    Instance, ["host", "updated_at"], {boot.instance.pk: (host, now) for boot, _, host in placed}
                )
        for boot, found, host in placed:
            boot.action.progress.update(_told(found))
            boot.instance.host = host

    def wanted(self) -> Request:
        """What is asked of a host: not one of those that were tried."""
        return Request.of(self.instance, tried=self.action.progress.get("tried", []))

    def _fits_elsewhere(self) -> bool:
        """Whether another host would take it now; if not, it waits until its own answers."""
        tried = [*self.action.progress.get("tried", []), self.instance.host_id]
        return bool(evaluate(replace(self.wanted(), tried=frozenset(tried))).hosts)

    def _why_nowhere(self, sentence: str) -> str:
        """The scheduler's sentence, or what the hosts said that were tried: that is what went wrong then."""
        failures = self.action.progress.get("failures", {})
        if not failures:
            return sentence
        said = "; ".join(f"{host}: {why}" for host, why in failures.items())
        return f"The server could not be built on any host that has room for it. {said}"

    def unschedule(self) -> None:
        """Give the claim back, once."""
        with transaction.atomic():
            claims.release(self.instance)
        self.instance.host = None

    def allocate_networks(self) -> None:
        """Give each port its address, and tell the host's DHCP."""
        for port in self._ports:
            addresses.allocate(port)
            addresses.bind(port)
        bring_networks(self, ports=self._ports)

    def release_networks(self) -> None:
        """Take the reservations off the host; the ports keep their addresses for the next host."""
        if self.instance.host is not None:
            for port in self._ports:
                self.hypervisor.release(port.network_id, port.mac)

    @staticmethod
    def allocate_ahead(boots: Sequence[Boot]) -> None:
        """Read the cards of several at once, and give them their addresses as far as those are the next ones."""
        found = ports_of_all([boot.instance for boot in boots])
        for boot in boots:
            boot.lease.check()
        addresses.allocate_next([port for ports in found.values() for port in ports])
        for boot in boots:  # if that failed, each reads anew what its cards have
            boot._ports = found[boot.instance.pk]
        Calls.ask_ahead((boot.calls, boot.instance.host) for boot in boots if boot.instance.host)

    @staticmethod
    def read_images_ahead(boots: Sequence[Boot]) -> None:
        """What several boot from at once; one that is gone is told of by ``_image``."""
        found = {image.pk: image for image in _IMAGES.all(ids={boot.instance.image_id for boot in boots} - {None})}
        for boot in boots:
            if boot.instance.image_id and (image := found.get(boot.instance.image_id)):
                boot._image = image

    @cached_property
    def _ports(self) -> list[Port]:
        """The instance's cards."""
        return ports_of(self.instance)

    @cached_property
    def _image(self) -> Image:
        """What it boots from. Raises ComputeError when that is gone."""
        return disks.image_named(self.instance.image_id)

    def fetch_image(self) -> None:
        """Bring the image to the host."""
        disks.bring_base(self, self._image)

    def create_disks(self) -> None:
        """The flavor's disks and the config drive."""
        layout = Layout.of(self.instance)
        disks.create_root(self.hypervisor, layout, self._image)
        disks.create_empty(self.hypervisor, layout)
        disks.create_config(self.hypervisor, self.instance, self.secrets.get("admin_password"), self._ports)

    def delete_disks(self) -> None:
        """Remove them all."""
        if self.instance.host is not None:
            for volume in Layout.of(self.instance).volumes():
                self.hypervisor.delete_volume(volume)

    def spawn(self) -> None:
        """Define the guest and start it."""
        self.hypervisor.define(guest_of(self.instance, ports=self._ports))
        self.hypervisor.start(self.instance.id)

    def remove_guest(self) -> None:
        """Leave no guest behind."""
        if self.instance.host is not None:
            self.hypervisor.remove(self.instance.id)

    steps: ClassVar[tuple[Step, ...]] = (
        Step("schedule", schedule, unschedule, TaskState.SCHEDULING, ahead=place_ahead),
        Step("allocate_networks", allocate_networks, release_networks, TaskState.NETWORKING, ahead=allocate_ahead),
        Step("fetch_image", fetch_image, None, TaskState.BLOCK_DEVICE_MAPPING, ahead=read_images_ahead),
        Step("create_disks", create_disks, delete_disks, TaskState.BLOCK_DEVICE_MAPPING),
        Step("spawn", spawn, remove_guest, TaskState.SPAWNING),
    )

    def outcome(self) -> dict[str, Any]:
        """Running, from now on."""
        return {
            "vm_state": VmState.ACTIVE,
            "power_state": PowerState.RUNNING,
            "launched_at": timezone.now(),
            "progress": 100,
        }

    @staticmethod
    def completed_together(operations: Sequence[Boot]) -> None:
        """The ports are in use, and the hosts have shown that they build."""
        hosts = {
            boot.instance.host.pk for boot in operations if boot.instance.host and boot.instance.host.build_failures
        }
        for host_id in sorted(hosts):
            claims.build_succeeded(host_id)
        _PORTS.update({"status": "ACTIVE"}, instance_ids=[boot.instance.pk for boot in operations])

    def try_again(self, error: Exception) -> bool:
        """A host that failed goes onto the tried list; the next one gets its turn."""
        if self.instance.host is None or not isinstance(error, HypervisorError) or isinstance(error, Unsupported):
            return False
        if isinstance(error, Silent) and not self._fits_elsewhere():
            return False
        tried = [*self.action.progress.get("tried", []), self.instance.host_id]
        failures = {**self.action.progress.get("failures", {}), self.instance.host.name: str(error)}
        self.note(tried=tried, failures=failures)
        claims.build_failed(self.instance.host.pk)
        announce("server", self.instance.pk, self.instance.project_id)
        return len(tried) < settings.SCHEDULER_MAX_ATTEMPTS
