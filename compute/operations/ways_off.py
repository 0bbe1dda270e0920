"""How an instance leaves its host: evacuated from one that is off, moved off one that is to be serviced.

One table for whoever decides (the pages say beforehand what would be done) and for whoever does it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from compute.models import Host, Instance, TaskState, VmState
from compute.operations.engine import Operation
from compute.operations.evacuate import Evacuate, Surroundings, outlook
from compute.operations.live_migration import LiveMigration
from compute.operations.resize import Migrate
from compute.operations.shelve import ShelveOffload
from portal.identity.actor import SYSTEM

OFFLOADED = "It is shelved: its disk is in an image, and it leaves the host for no other."
# Why an instance in this state cannot be evacuated, and what to do.
_LOST = "its memory was lost with the host. Reset its state to active; then it can be evacuated."
NOT_EVACUATED = {
    VmState.PAUSED: f"It is paused; {_LOST}",
    VmState.SUSPENDED: f"It is suspended; {_LOST}",
    VmState.RESCUED: "It is being rescued. Reset its state to active; then it can be evacuated.",
    VmState.RESIZED: "Its resize is neither confirmed nor taken back. Reset its state to active; then it can be "
    "evacuated, with its new size.",
    VmState.SOFT_DELETED: "It is deleted. Restore it when its host is back, or delete it for good.",
}
# Why one in this state cannot be moved off a host that is up.
NOT_MOVED = {
    VmState.SUSPENDED: "It is suspended, and its memory lies on the host. Resume it first.",
    VmState.RESCUED: "It is being rescued. Unrescue it first.",
    VmState.RESIZED: "Its resize is neither confirmed nor taken back. Do one of the two first.",
    VmState.SOFT_DELETED: "It is deleted. Restore it, or delete it for good.",
    VmState.ERROR: "It is in error. Set its state right, or delete it.",
}
ADOPTED = "It was adopted, and its definition and disks stay on its host."
ON = (VmState.ACTIVE, VmState.PAUSED)


@dataclass(frozen=True)
class Way:
    """What is to be done: an operation, or nothing yet (``waits``), or nothing at all (``refusal``)."""

    operation: type[Operation] | None = None
    params: dict[str, Any] = field(default_factory=dict)
    sentence: str = ""
    waits: str = ""
    refusal: str = ""

    @property
    def said(self) -> str:
        """What it comes to, for people."""
        return self.sentence or self.waits or self.refusal


def busy(task_state: str) -> Way:
    """Something is under way with it."""
    return Way(waits=f"Something is under way with it ({task_state.replace('_', ' ')}); it waits until that is over.")


def out_of(instance: Instance, around: Surroundings | None = None) -> Way:
    """How an instance leaves a host that is off."""
    state, task = VmState(instance.vm_state), instance.task_state
    if state == VmState.BUILDING or (task is not None and TaskState(task) not in Evacuate.over):
        return busy(task or state)
    if state == VmState.SHELVED:
        return Way(ShelveOffload, sentence=OFFLOADED)
    if why := NOT_EVACUATED.get(state) or Evacuate.refusal(instance, SYSTEM):
        return Way(refusal=why)
    found = outlook(instance, around=around)
    return Way(refusal=found.refusal) if found.refusal else Way(Evacuate, sentence=found.sentence)


def all_out_of(host: Host) -> list[tuple[Instance, Way]]:
    """Every instance of a host that is off, by name, and how it leaves."""
    around = Surroundings.now()
    here = Instance.objects.alive().filter(host=host).select_related("project", "host").order_by("name", "id")
    return [(one, out_of(one, around)) for one in here]


def off(instance: Instance, *, target: str = "", shut_down: bool = False) -> Way:
    """How an instance is moved off a host that is up, to the host named ``target`` or wherever there is room.

    ``shut_down``: one that runs is shut down to be moved.
    """
    state, task = VmState(instance.vm_state), instance.task_state
    if state == VmState.BUILDING or task is not None:
        return busy(task or state)
    if state == VmState.SHELVED:
        return Way(ShelveOffload, sentence=OFFLOADED)
    if instance.is_adopted:
        return Way(refusal=ADOPTED)
    params = {"host": target} if target else {}
    if state in ON and not (shut_down and state == VmState.ACTIVE):
        return Way(LiveMigration, params, "It is moved while it runs.")
    if state in (VmState.ACTIVE, VmState.STOPPED):
        what = "It is shut down, moved and started again." if state == VmState.ACTIVE else "It is moved as it is, off."
        return Way(Migrate, params, what)
    return Way(refusal=NOT_MOVED.get(state, f"It is {state}."))


def all_off(host: Host) -> list[tuple[Instance, Way]]:
    """Every instance of a host that is up, by name, and how it is moved off."""
    here = Instance.objects.alive().filter(host=host).select_related("project", "host").order_by("name", "id")
    return [(one, off(one)) for one in here]
