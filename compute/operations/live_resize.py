"""Another flavor for a guest that goes on running: more processors and memory, within its headroom.

Its disks stay as they are. A running guest is only given more: to take something away needs the guest's
consent, which no guest gives for sure; that is what a resize is for. Nothing has to be confirmed.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import transaction

from compute import quota
from compute.errors import ComputeError, Conflict, Invalid, NoValidHost
from compute.headroom import MEMORY_STEP_MB, headroom_of, within
from compute.hypervisor.interface import Busy, Gone
from compute.models import Action, Flavor, Instance, TaskState, VmState
from compute.operations import held
from compute.operations.engine import Operation, Step
from compute.operations.guest import guest_of
from portal.identity.actor import Actor
from scheduler import claims
from scheduler.pick import Request, place

log = logging.getLogger(__name__)

NEEDED = "A resize is needed."
DISKS = ("disk_gb", "ephemeral_gb", "swap_mb")


def misfit_live(instance: Instance, flavor: Flavor) -> str:
    """Why an instance cannot get a flavor while it runs; empty when it can. Pure and cheap."""
    old, room = instance.flavor, headroom_of(instance.flavor)
    more_vcpus, more_mb = flavor.vcpus - instance.vcpus, flavor.memory_mb - instance.memory_mb
    reasons = (
        (flavor.id == old["id"], "It has this flavor already."),
        (any(getattr(flavor, name) != old[name] for name in DISKS), f"Its disks differ. {NEEDED}"),
        (
            more_vcpus < 0 or more_mb < 0 or more_vcpus == more_mb == 0,
            f"A running guest can only be given more. {NEEDED}",
        ),
        (flavor.vcpus > room.vcpus, f"The guest was started with room for {room.vcpus} vCPU. {NEEDED}"),
        (
            flavor.memory_mb > room.memory_mb,
            f"The guest was started with room for {room.memory_mb} MiB of memory. {NEEDED}",
        ),
        (more_mb % MEMORY_STEP_MB != 0, f"Memory is added in steps of {MEMORY_STEP_MB} MiB. {NEEDED}"),
    )
    return next((sentence for holds, sentence in reasons if holds), "")


class LiveResize(Operation):
    """Give the instance more processors and memory while it runs, within what its flavor leaves room for."""

    name = "live_resize"
    label = "Resize while it runs"
    policy = "os_compute_api:servers:resize"
    allowed = frozenset({VmState.ACTIVE})
    during = TaskState.RESIZE_PREP
    leads_to = None
    in_menu = False  # it is offered where the flavor is chosen

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``flavor_id`` in the parameters is the new flavor. Takes the quota.

        Raises Invalid, QuotaExceeded, and Conflict when the host is down.
        """
        flavor_id = str(params.get("flavor_id", ""))
        flavor = Flavor.objects.visible_to(actor).filter(pk=flavor_id, disabled=False).first()
        if flavor is None:
            raise Invalid(f"Flavor {flavor_id} could not be found.", about="flavor")
        if why := misfit_live(instance, flavor):
            raise Invalid(why, about="flavor")
        if instance.host is None or not instance.host.is_up:
            raise Conflict("Service is unavailable at this time.")
        new = within(flavor.snapshot(), instance.flavor)
        held.take_quota(instance.project_id, instance.flavor, new)
        more = {"vcpus": new["vcpus"] - instance.vcpus, "memory_mb": new["memory_mb"] - instance.memory_mb}
        params.update(old=instance.flavor, new=new, more=more)

    @classmethod
    def cancelled(cls, action: Action) -> None:
        """The quota, and the claim if it was taken."""
        _give_back(action)

    def claim(self) -> None:
        """Claim the difference on the host where the instance is."""
        if self.action.progress.get("given_back"):
            raise ComputeError("It failed before, and was taken back.")
        if self.action.progress.get("claimed"):
            return
        assert self.instance.host is not None
        wanted = Request(**self.action.params["more"], disk_gb=0, host=self.instance.host.name, instances=0)
        with transaction.atomic():
            self.lease.renew()  # as in Boot.schedule
            placement = place(wanted)
            self.note(placement=placement.explanation.as_json(), claimed=placement.host is not None)
        if placement.host is None:
            raise NoValidHost(placement.explanation.sentence())

    def unclaim(self) -> None:
        """Give back what was taken for more."""
        with transaction.atomic():
            self.action = Action.objects.select_for_update().get(pk=self.action.pk)
            _give_back(self.action)

    def define(self) -> None:
        """From its next start on it has the new size."""
        after = copy.copy(self.instance)
        for name, value in held.amounts(self.action.params["new"]).items():
            setattr(after, name, value)
        self.hypervisor.define(guest_of(after))

    def undefine(self) -> None:
        """From its next start on it has the old size."""
        self.hypervisor.define(guest_of(self.instance))

    def plug_memory(self) -> None:
        """More memory, now."""
        self.hypervisor.set_live_memory(self.instance.id, self.action.params["new"]["memory_mb"])

    def unplug_memory(self) -> None:
        """As much as before, if the guest lets go of it."""
        with _as_far_as_it_lets_go(self):
            self.hypervisor.set_live_memory(self.instance.id, self.instance.memory_mb)

    def plug_vcpus(self) -> None:
        """More processors, now."""
        self.hypervisor.set_live_vcpus(self.instance.id, self.action.params["new"]["vcpus"])

    def unplug_vcpus(self) -> None:
        """As many as before, if the guest lets go of them."""
        with _as_far_as_it_lets_go(self):
            self.hypervisor.set_live_vcpus(self.instance.id, self.instance.vcpus)

    steps = (
        Step("claim", claim, unclaim, TaskState.RESIZE_PREP),
        Step("define", define, undefine),
        Step("plug_memory", plug_memory, unplug_memory, TaskState.RESIZE_FINISH),
        Step("plug_vcpus", plug_vcpus, unplug_vcpus),
    )

    def outcome(self) -> dict[str, Any]:
        """The new flavor counts."""
        return held.amounts(self.action.params["new"])


@contextmanager
def _as_far_as_it_lets_go(operation: Operation) -> Iterator[None]:
    """Around taking something from a running guest: that it does not let go must not keep the rest from its undo."""
    try:
        yield
    except (Busy, Gone) as error:
        log.warning("guest %s keeps it until its next start: %s", operation.instance.pk, error)


def _give_back(action: Action) -> None:
    """The quota and the claim of an action that does not come to its end; once. Its row is locked."""
    progress, more = action.progress, action.params["more"]
    if progress.get("given_back"):
        return
    instance = Instance.objects.get(pk=action.instance_id)
    if progress.get("claimed") and instance.host_id is not None:
        claims.give_back(instance.host_id, **more, disk_gb=0)
    quota.release(instance.project_id, cores=more["vcpus"], memory_mb=more["memory_mb"])
    progress["given_back"] = True
    Action.objects.filter(pk=action.pk).update(progress=progress)
