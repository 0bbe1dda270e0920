"""Start, stop and the two reboots."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.utils import timezone

from compute.hypervisor.interface import Gone
from compute.models import Host, Port, PowerState, TaskState, VmState
from compute.networks import removals
from compute.networks.specs import network_spec
from compute.operations.engine import Operation, Step
from compute.operations.guest import define_guest, ports_of, reservation_of

GRACE_AND_MARGIN = timedelta(seconds=settings.SHUTDOWN_GRACE_SECONDS + 240)


def bring_networks(operation: Operation, host: Host | None = None, *, ports: Iterable[Port] | None = None) -> None:
    """The instance's host, or another, has its networks, and its DHCP the addresses. ``ports``: its own, if at hand."""
    host = host or operation.instance.host
    assert host is not None
    hypervisor = operation.hypervisor_of(host)
    removals.clear(host, hypervisor)
    for port in ports_of(operation.instance) if ports is None else ports:
        hypervisor.ensure_network(network_spec(port.network))
        if reservation := reservation_of(port, operation.instance.hostname):
            hypervisor.reserve(port.network_id, reservation)


def start_afresh(operation: Operation) -> None:
    """Start from the rows, not from what the host remembers: networks, definition, power."""
    bring_networks(operation)
    define_guest(operation)
    operation.hypervisor.start(operation.instance.id)


class Start(Operation):
    """Power on a stopped instance."""

    name = "start"
    wire = "os-start"
    label = "Start"
    policy = "os_compute_api:servers:start"
    for_adopted = True
    allowed = frozenset({VmState.STOPPED})
    during = TaskState.POWERING_ON
    leads_to = VmState.ACTIVE
    steps = (Step("power_on", start_afresh),)

    def outcome(self) -> dict[str, Any]:
        """Running."""
        return {
            "vm_state": VmState.ACTIVE,
            "power_state": PowerState.RUNNING,
            "launched_at": self.instance.launched_at or timezone.now(),
        }


class Stop(Operation):
    """Shut down cleanly, and cut the power if the guest does not answer in time."""

    name = "stop"
    wire: ClassVar[str | None] = "os-stop"
    label = "Shut off"
    policy = "os_compute_api:servers:stop"
    for_adopted = True
    allowed = frozenset({VmState.ACTIVE, VmState.ERROR})
    during = TaskState.POWERING_OFF
    leads_to: ClassVar[VmState | None] = VmState.STOPPED
    limit: ClassVar[timedelta] = GRACE_AND_MARGIN

    def power_off(self) -> None:
        """Press the button, wait, cut."""
        self.hypervisor.stop(self.instance.id, settings.SHUTDOWN_GRACE_SECONDS, self.still_wanted)
        self.lease.renew()  # raises if the wait ended because nobody wants it any more

    steps = (Step("power_off", power_off),)

    def outcome(self) -> dict[str, Any]:
        """Off."""
        return {"vm_state": VmState.STOPPED, "power_state": PowerState.SHUTDOWN}


class KeepOff(Stop):
    """Power off a guest that runs although its instance is off. The watcher alone asks for it."""

    name = "keep_off"
    wire = None
    logged_as = "stop"
    label = "Power off"
    allowed = frozenset({VmState.STOPPED, VmState.SOFT_DELETED, VmState.SHELVED})
    leads_to = None
    launched = False
    in_menu = False

    def outcome(self) -> dict[str, Any]:
        """Off, as its state says."""
        return {"power_state": PowerState.SHUTDOWN}


class SoftReboot(Operation):
    """Restart cleanly; a guest that does not answer in time is restarted hard."""

    name = "reboot"
    wire = "reboot"
    label = "Soft reboot"
    policy = "os_compute_api:servers:reboot"
    for_adopted = True
    allowed = frozenset({VmState.ACTIVE})
    during = TaskState.REBOOTING
    leads_to = VmState.ACTIVE
    limit: ClassVar[timedelta] = GRACE_AND_MARGIN

    def restart(self) -> None:
        """Button, wait, start."""
        self.hypervisor.stop(self.instance.id, settings.SHUTDOWN_GRACE_SECONDS, self.still_wanted)
        self.lease.renew()
        start_afresh(self)

    steps = (Step("reboot", restart, None, TaskState.REBOOT_STARTED),)

    def outcome(self) -> dict[str, Any]:
        """Running again."""
        return {"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING}


class HardReboot(Operation):
    """Cut the power and start again from the instance's rows; mends most of what can be wrong."""

    name = "reboot_hard"
    wire = "reboot"
    label = "Hard reboot"
    policy = "os_compute_api:servers:reboot"
    for_adopted = True
    allowed = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED, VmState.ERROR})
    # Nova's too, but for a hard reboot that is under way: of two that come at once, one is refused.
    over = frozenset(
        {
            TaskState.REBOOTING,
            TaskState.REBOOT_PENDING,
            TaskState.REBOOT_STARTED,
            TaskState.PAUSING,
            TaskState.UNPAUSING,
            TaskState.SUSPENDING,
            TaskState.RESUMING,
        }
    )
    during = TaskState.REBOOTING_HARD
    leads_to = VmState.ACTIVE

    def cut_power(self) -> None:
        """Off at once. Remembered, so that a second worker does not cut what the first has started."""
        if not self.action.progress.get("was_cut"):
            with suppress(Gone):  # the host may have lost the definition; the next step makes it anew
                self.hypervisor.destroy(self.instance.id)
            self.note(was_cut=True)

    def power_on(self) -> None:
        """Start from the rows."""
        start_afresh(self)

    steps = (
        Step("cut_power", cut_power, None, TaskState.REBOOT_PENDING_HARD),
        Step("power_on", power_on, None, TaskState.REBOOT_STARTED_HARD),
    )

    def outcome(self) -> dict[str, Any]:
        """Running again."""
        return {"vm_state": VmState.ACTIVE, "power_state": PowerState.RUNNING}
