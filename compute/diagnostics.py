"""A close look at a server's guest, for administrators. As for a console log, its host is asked, within a limit."""

from __future__ import annotations

import logging

from compute.errors import Conflict
from compute.hosts.asking import ask_host
from compute.hypervisor.diagnostics import GuestDiagnostics
from compute.hypervisor.interface import Busy, Gone, HypervisorError
from compute.models import Instance, PowerState

log = logging.getLogger(__name__)


def diagnostics(instance: Instance) -> GuestDiagnostics:
    """What the guest has done since it started. Who may look is the caller's to check.

    Raises Conflict for an instance that does not run, and when its host does not answer within 5 s.
    """
    if instance.host is None or instance.launched_at is None:
        raise Conflict(f"Instance {instance.pk} is not ready")
    if instance.power_state != PowerState.RUNNING:
        raise Conflict(_not_running(instance))
    try:
        found: GuestDiagnostics = ask_host(instance.host, "diagnostics", instance.pk)
    except (Gone, Busy) as error:
        raise Conflict(_not_running(instance)) from error
    except HypervisorError as error:
        log.warning("host %s tells nothing of %s: %s", instance.host.name, instance.pk, error)
        raise Conflict(f"The host of instance {instance.pk} does not answer.") from error
    return found


def _not_running(instance: Instance) -> str:
    """Nova's sentence."""
    power = PowerState(instance.power_state).label.lower()
    return f"Cannot 'get_diagnostics' instance {instance.pk} while it is in power state {power}"
