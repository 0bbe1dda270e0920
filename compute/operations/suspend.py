"""Suspend and resume: the memory goes to the host's disk, and comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from compute.hypervisor.interface import PowerState as Seen
from compute.models import PowerState, TaskState, VmState
from compute.operations.engine import Operation, Step
from compute.operations.interrupt import remember_power
from compute.operations.power import bring_networks


class Suspend(Operation):
    """Write the memory to the host's disk and switch off; it can go on from there later."""

    name = "suspend"
    wire = "suspend"
    label = "Suspend"
    policy = "os_compute_api:os-suspend-server:suspend"
    for_adopted = True
    allowed = frozenset({VmState.ACTIVE})
    during = TaskState.SUSPENDING
    leads_to = VmState.SUSPENDED
    limit: ClassVar[timedelta] = timedelta(minutes=15)

    def save(self) -> None:
        """Save the memory."""
        remember_power(self)
        self.hypervisor.suspend(self.instance.id)

    def go_on(self) -> None:
        """It runs on, if it ran."""
        if self.action.progress.get("was_on"):
            self.hypervisor.resume(self.instance.id)

    steps = (Step("compute_suspend_instance", save, go_on),)

    def outcome(self) -> dict[str, Any]:
        """Off, with its memory kept."""
        return {"vm_state": VmState.SUSPENDED, "power_state": PowerState.SHUTDOWN}


class Resume(Operation):
    """Let a suspended guest go on from its saved memory."""

    name = "resume"
    wire = "resume"
    label = "Resume"
    policy = "os_compute_api:os-suspend-server:resume"
    for_adopted = True
    allowed = frozenset({VmState.SUSPENDED})
    during = TaskState.RESUMING
    leads_to = VmState.ACTIVE
    limit: ClassVar[timedelta] = timedelta(minutes=15)

    def go_on(self) -> None:
        """Read the memory back; the networks first, as the host may have been started anew."""
        bring_networks(self)
        self.hypervisor.resume(self.instance.id)

    def save_again(self) -> None:
        """Suspended as before, if it runs after all: nothing that the guest did meanwhile is lost."""
        seen = self.hypervisor.guest(self.instance.id)
        if seen is not None and seen.power_state != Seen.SHUTDOWN:
            self.hypervisor.suspend(self.instance.id)

    steps = (Step("compute_resume_instance", go_on, save_again),)

    def outcome(self) -> dict[str, Any]:
        """Running."""
        return {"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING}
