"""A new password for the guest's administrator, set by the agent in the guest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from compute.errors import Conflict
from compute.models import Action, Image, Instance, TaskState, VmState
from compute.operations.engine import Operation, Step
from compute.operations.engine import request as request_operation
from portal.identity.actor import Actor

_TRUE = frozenset({"true", "t", "yes", "y", "on", "1"})


def change_password(actor: Actor, instance: Instance, *, password: str) -> Action:
    """Ask for a new password of the guest's administrator.

    Raises Conflict where the image does not say that it has the agent, and as ``engine.request``.
    """
    return request_operation(ChangePassword, instance, actor, secrets={"password": password})


class ChangePassword(Operation):
    """Set a new password for the guest's administrator, through the agent in the guest."""

    name = "change_password"
    wire = "changePassword"
    label = "Set password"
    policy = "os_compute_api:os-admin-password"
    for_adopted = True
    allowed = frozenset({VmState.ACTIVE})
    during = TaskState.UPDATING_PASSWORD
    leads_to = None
    in_menu = False  # it wants a password first
    limit: ClassVar[timedelta] = timedelta(minutes=2)

    @classmethod
    def prepare(cls, instance: Instance, actor: Actor, params: dict[str, Any]) -> None:
        """Only guests whose image says that it has the agent are asked (Nova's hw_qemu_guest_agent)."""
        if _property(instance, "hw_qemu_guest_agent").lower() not in _TRUE:
            raise Conflict("QEMU guest agent is not enabled")

    def set_password(self) -> None:
        """Tell the agent."""
        user = _property(self.instance, "os_admin_user") or self._usual_user()
        self.hypervisor.set_password(self.instance.id, user, self.secrets["password"])

    steps = (Step("set_admin_password", set_password),)

    def _usual_user(self) -> str:
        return "Administrator" if _property(self.instance, "os_type") == "windows" else "root"


def _property(instance: Instance, name: str) -> str:
    """A property of the instance's image; empty without one."""
    image = Image.objects.filter(instances=instance).first()
    return str(image.properties.get(name, "")) if image else ""
