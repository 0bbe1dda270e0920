"""A crash dump: a non-maskable interrupt, upon which a guest that is set up for it writes one."""

from __future__ import annotations

from compute.models import VmState
from compute.operations.engine import Operation, Step


class CrashDump(Operation):
    """Send a non-maskable interrupt: a guest that is set up for it writes a crash dump."""

    name = "trigger_crash_dump"
    wire = "trigger_crash_dump"
    label = "Crash dump"
    policy = "os_compute_api:servers:trigger_crash_dump"
    for_adopted = True
    allowed = frozenset({VmState.ACTIVE, VmState.PAUSED, VmState.RESCUED, VmState.RESIZED, VmState.ERROR})
    during = None  # Nova shows none: what the guest does now is the guest's
    leads_to = None

    def inject(self) -> None:
        """Once, as far as can be known: a worker killed just after it is followed by a second interrupt."""
        if not self.action.progress.get("injected"):
            self.hypervisor.inject_nmi(self.instance.id)
            self.note(injected=True)

    steps = (Step("compute_trigger_crash_dump", inject),)
