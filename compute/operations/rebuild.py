"""Rebuild: the same instance, made anew of an image. Its id, addresses, flavor and host stay."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.models import Image, Instance, KeyPair, PowerState, TaskState, VmState
from compute.operations import disks, in_place, interrupt
from compute.operations.create import usable_image
from compute.operations.engine import Operation, Step
from compute.operations.engine import request as request_operation
from compute.operations.guest import guest_of
from compute.operations.layout import Layout
from compute.operations.power import start_afresh
from portal.identity.actor import Actor
from portal.identity.policy import enforce
from scheduler import recheck
from scheduler.request import Request

# What a rebuild may change besides the image: fields of the instance.
CHANGEABLE = frozenset(
    {
        "name",
        "description",
        "metadata",
        "user_data",
        "key_name",
        "hostname",
        "access_ipv4",
        "access_ipv6",
        "disk_config",
    }
)


@dataclass(frozen=True)
class RebuildRequest:
    """What a user wants: the image, and among ``fields`` what shall change with it (the rest stays)."""

    image_id: str
    fields: dict[str, Any] = field(default_factory=dict)
    preserve_ephemeral: bool = False
    admin_password: str | None = field(default=None, repr=False)


def rebuild(actor: Actor, instance: Instance, wanted: RebuildRequest) -> Instance:
    """Ask for a rebuild. Returns the instance as it is from now on: named, described and imaged anew.

    Raises Invalid for what the request names wrongly, and as ``engine.request``.
    """
    assert set(wanted.fields) <= CHANGEABLE, wanted.fields
    enforce(actor, Rebuild.policy, instance.project_id)
    if why := Rebuild.refusal(instance, actor):
        raise Conflict(why)
    image = usable_image(actor, wanted.image_id, instance.memory_mb, instance.flavor["disk_gb"])
    _check_host(instance, image)
    after = {
        **wanted.fields,
        "image_id": str(image.id),
        "image_name": image.name or "",
        "image_properties": image.properties,
    }
    if "key_name" in after:
        after["key_public"] = _public_key(actor, after["key_name"])
    params = {"after": after, "preserve_ephemeral": wanted.preserve_ephemeral}
    request_operation(Rebuild, instance, actor, **params, secrets={"admin_password": wanted.admin_password})
    return Instance.objects.select_related("host").get(pk=instance.pk)


def _check_host(instance: Instance, image: Image) -> None:
    """Another image must suit the host where the instance is. Raises Invalid."""
    if instance.host_id is None or instance.image_id == image.id:
        return
    wanted = replace(Request.of(instance), image_id=str(image.id), image_properties=image.properties)
    if why := recheck.refusal(wanted, instance.host_id):
        raise Invalid(f"Image {image.id} does not suit the host that the instance is on: it {why}.", about="image")


def _public_key(actor: Actor, name: str | None) -> str:
    """The key's text; empty for no key. Raises Invalid."""
    if name is None:
        return ""
    key = KeyPair.objects.filter(user_id=actor.user_id, name=name).first()
    if key is None:
        raise Invalid("Invalid key_name provided.", about="key_pair")
    return key.public_key


class Rebuild(Operation):
    """Replace the instance's disk by a new one from an image; its id, addresses and flavor stay."""

    name = "rebuild"
    wire = "rebuild"
    label = "Rebuild"
    policy = "os_compute_api:servers:rebuild"
    allowed = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.ERROR})
    during = TaskState.REBUILDING
    leads_to = VmState.ACTIVE
    cancellable = True
    limit: ClassVar[timedelta] = timedelta(minutes=30)

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """The instance is named and described anew at once, as in Nova; what it was is kept for a failure.

        Without ``after`` (nothing was chosen), it is made anew of its own image.
        """
        in_place.refuse_with_snapshots(cls, instance)
        if instance.image_id is None and "after" not in params:
            raise Invalid("The server was not built from an image; name one.", about="image")
        after: dict[str, Any] = params.get("after", {"image_id": str(instance.image_id)})
        before = {name: _as_json(getattr(instance, name)) for name in after}
        Instance.objects.filter(pk=instance.pk).update(**after)
        if "user_data" in after:  # it may hold secrets
            params["secrets"] = {**params.get("secrets", {}), "user_data": before["user_data"] or ""}
        params["after"], params["before"] = (
            {name: value for name, value in fields.items() if name != "user_data"} for fields in (after, before)
        )

    def fetch_image(self) -> None:
        """Bring the new image to the host. The guest runs on meanwhile."""
        disks.bring_base(self, disks.image_named(self.instance.image_id))

    def create_disks(self) -> None:
        """The new disks, beside the old ones. Once: later the guest may be running on them."""
        if self.action.progress.get("made"):
            return
        new = self._new_layout()
        disks.sweep(self.hypervisor, self.instance.id, {*interrupt.old_layout(self).volumes(), *new.volumes()})
        disks.create_root(self.hypervisor, new, disks.image_named(self.instance.image_id))
        disks.create_empty(self.hypervisor, new, self._roles())
        self.note(made=True)

    def delete_disks(self) -> None:
        """Remove the new ones, unless they count by now."""
        if not interrupt.is_done(self):
            self.note(made=False)
            kept = Layout.of(self.instance).volumes()
            for volume in set(self._new_layout().volumes()).difference(kept):
                self.hypervisor.delete_volume(volume)

    def spawn(self) -> None:
        """From now on the new disks count; start, unless it was off."""
        interrupt.remember_disks(self)
        interrupt.use_disks(self, self._new_layout().names)
        disks.create_config(self.hypervisor, self.instance, self.secrets.get("admin_password"))
        if self.instance.vm_state == VmState.STOPPED:
            self.hypervisor.define(guest_of(self.instance))
        else:
            start_afresh(self)

    def unspawn(self) -> None:
        """The old disks count again, and the instance is called what it was."""
        if interrupt.disks_were_changed(self):
            interrupt.use_disks(self, interrupt.old_layout(self).names, **self._fields_to_restore())
            interrupt.switch_off(self)
            disks.create_config(self.hypervisor, self.instance)
            self.hypervisor.define(guest_of(self.instance))

    def restore_fields(self) -> None:
        """The instance is called what it was."""
        if not interrupt.is_done(self):
            self.set_instance(**self._fields_to_restore())

    def drop_old_disks(self) -> None:
        """Nothing needs the old ones any more. From here on nothing is undone."""
        interrupt.mark_done(self)
        old = interrupt.old_layout(self)
        disks.drop(self.hypervisor, [old.volume(role) for role in self._roles()])

    steps = (
        Step("fetch_image", fetch_image, restore_fields, TaskState.REBUILDING),
        Step("create_disks", create_disks, delete_disks, TaskState.REBUILD_BLOCK_DEVICE_MAPPING),
        Step("power_off", interrupt.cut_power, interrupt.put_back),
        Step("spawn", spawn, unspawn, TaskState.REBUILD_SPAWNING),
        Step("drop_old_disks", drop_old_disks, final=True),
    )

    def _new_layout(self) -> Layout:
        return interrupt.old_layout(self).renamed(self._roles(), self.action.pk)

    def _roles(self) -> list[str]:
        """The disks that are replaced."""
        kept = {"ephemeral0"} if self.action.params.get("preserve_ephemeral") else set()
        return [role for role in Layout.of(self.instance).own if role not in kept]

    def _fields_to_restore(self) -> dict[str, Any]:
        """What the request changed and nobody has changed since, as it was before."""
        before, after = self.action.params.get("before", {}), self.action.params.get("after", {})
        now = Instance.objects.get(pk=self.instance.pk)
        sealed = {"user_data": self.secrets["user_data"] or None} if "user_data" in self.secrets else {}
        return sealed | {name: value for name, value in before.items() if _as_json(getattr(now, name)) == after[name]}

    def outcome(self) -> dict[str, Any]:
        """Running, or off as it was."""
        if self.instance.vm_state == VmState.STOPPED:
            return {"vm_state": VmState.STOPPED, "power_state": PowerState.SHUTDOWN}
        return {
            "vm_state": VmState.ACTIVE,
            "power_state": PowerState.RUNNING,
            "launched_at": timezone.now(),
            "progress": 100,
        }


def _as_json(value: Any) -> Any:
    """A field's value as an action's row can hold it."""
    return str(value) if isinstance(value, UUID) else value
