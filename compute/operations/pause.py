"""Pause and unpause: the processors stand still, the memory stays on the host."""

from __future__ import annotations

from typing import Any

from compute.models import PowerState, TaskState, VmState
from compute.operations.engine import Operation, Step


def hold(operation: Operation) -> None:
    """Its processors stand still."""
    operation.hypervisor.pause(operation.instance.id)


def let_go(operation: Operation) -> None:
    """Its processors run again."""
    operation.hypervisor.unpause(operation.instance.id)


class Pause(Operation):
    """Hold the processors; the memory stays where it is, and no time passes in the guest."""

    name = "pause"
    wire = "pause"
    label = "Pause"
    policy = "os_compute_api:os-pause-server:pause"
    for_adopted = True
    allowed = frozenset({VmState.ACTIVE})
    during = TaskState.PAUSING
    leads_to = VmState.PAUSED
    steps = (Step("compute_pause_instance", hold, let_go),)

    def outcome(self) -> dict[str, Any]:
        """Paused."""
        return {"vm_state": VmState.PAUSED, "power_state": PowerState.PAUSED}


class Unpause(Operation):
    """Let a paused guest go on."""

    name = "unpause"
    wire = "unpause"
    label = "Unpause"
    policy = "os_compute_api:os-pause-server:unpause"
    for_adopted = True
    allowed = frozenset({VmState.PAUSED})
    during = TaskState.UNPAUSING
    leads_to = VmState.ACTIVE
    steps = (Step("compute_unpause_instance", let_go, hold),)

    def outcome(self) -> dict[str, Any]:
        """Running."""
        return {"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING}
