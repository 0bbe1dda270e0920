"""Rescue: boot from another image, with the instance's own disk second; and back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from compute.errors import Invalid
from compute.images import store
from compute.models import Instance, PowerState, TaskState, VmState
from compute.operations import disks, interrupt
from compute.operations.create import usable_image
from compute.operations.engine import Operation, Step
from compute.operations.guest import guest_of
from compute.operations.layout import Layout
from compute.operations.power import GRACE_AND_MARGIN, start_afresh
from portal.identity.actor import Actor


class Rescue(Operation):
    """Boot from a rescue image; the instance's own disk is the second one until it is unrescued."""

    name = "rescue"
    wire = "rescue"
    label = "Rescue"
    policy = "os_compute_api:os-rescue"
    allowed = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR})
    during = TaskState.RESCUING
    leads_to = VmState.RESCUED
    cancellable = True
    limit: ClassVar[timedelta] = GRACE_AND_MARGIN + timedelta(minutes=30)

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """``image_id`` in the parameters is the rescue image; without it, it is the instance's own. Raises Invalid."""
        image_id = params.get("image_id") or instance.image_id
        if image_id is None:
            raise Invalid("The server was not built from an image; name one to rescue it with.", about="image")
        params["image_id"] = str(usable_image(actor, str(image_id), instance.memory_mb, 0).id)

    def fetch_image(self) -> None:
        """Bring the rescue image to the host. The guest runs on meanwhile."""
        disks.bring_base(self, disks.image_named(self.action.params["image_id"]))

    def create_disk(self) -> None:
        """The disk that it boots from meanwhile."""
        image = disks.image_named(self.action.params["image_id"])
        layout = self._rescue_layout()
        disks.sweep(self.hypervisor, self.instance.id, layout.volumes())
        self.hypervisor.create_overlay(layout.volume("rescue"), image.base_volume, store.raw_size(image))

    def delete_disk(self) -> None:
        """Remove it."""
        if "rescue" not in self.instance.volume_names:
            self.hypervisor.delete_volume(self._rescue_layout().volume("rescue"))

    def spawn(self) -> None:
        """Start from the rescue disk."""
        interrupt.remember_disks(self)
        interrupt.use_disks(self, self._rescue_layout().names)
        disks.create_config(self.hypervisor, self.instance, self.secrets.get("admin_password"))
        start_afresh(self)

    def unspawn(self) -> None:
        """Its own disk is the first again."""
        if interrupt.disks_were_changed(self):
            interrupt.use_disks(self, interrupt.old_layout(self).names)
            interrupt.switch_off(self)
            disks.create_config(self.hypervisor, self.instance)
            self.hypervisor.define(guest_of(self.instance))

    steps = (
        Step("fetch_image", fetch_image, None, TaskState.RESCUING),
        Step("create_disk", create_disk, delete_disk),
        Step("power_off", interrupt.shut_down, interrupt.put_back),
        Step("spawn", spawn, unspawn),
    )

    def _rescue_layout(self) -> Layout:
        return interrupt.old_layout(self).renamed(["rescue"], self.action.pk)

    def outcome(self) -> dict[str, Any]:
        """Running, from the rescue disk."""
        return {"vm_state": VmState.RESCUED, "power_state": PowerState.RUNNING}


class Unrescue(Operation):
    """Boot from the instance's own disk again."""

    name = "unrescue"
    wire = "unrescue"
    label = "Unrescue"
    policy = "os_compute_api:os-unrescue"
    allowed = frozenset({VmState.RESCUED})
    during = TaskState.UNRESCUING
    leads_to = VmState.ACTIVE

    def spawn(self) -> None:
        """Start from its own disk."""
        interrupt.remember_disks(self)
        interrupt.use_disks(self, interrupt.old_layout(self).without_rescue().names)
        disks.create_config(self.hypervisor, self.instance)  # the password was the rescue's
        start_afresh(self)

    def unspawn(self) -> None:
        """The rescue disk is the first again."""
        if interrupt.disks_were_changed(self):
            interrupt.use_disks(self, interrupt.old_layout(self).names)
            interrupt.switch_off(self)
            self.hypervisor.define(guest_of(self.instance))

    def drop_rescue_disk(self) -> None:
        """Nothing needs it any more."""
        interrupt.mark_done(self)
        disks.drop(self.hypervisor, self._no_longer_used())

    steps = (
        Step("power_off", interrupt.cut_power, interrupt.put_back, TaskState.UNRESCUING),
        Step("spawn", spawn, unspawn),
        Step("drop_rescue_disk", drop_rescue_disk),
    )

    def _no_longer_used(self) -> list[str]:
        now = Layout.of(self.instance).volumes()
        return [volume for volume in interrupt.old_layout(self).volumes() if volume not in now]

    def outcome(self) -> dict[str, Any]:
        """Running, whatever it was before the rescue (as Nova)."""
        return {"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING}
