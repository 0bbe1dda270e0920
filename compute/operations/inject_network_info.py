"""Telling the host of an instance's networks again: for administrators, when something there went missing."""

from __future__ import annotations

from compute.models import VmState
from compute.operations.engine import Operation, Step
from compute.operations.power import bring_networks


class InjectNetworkInfo(Operation):
    """Make the instance's networks and addresses known to its host again; the guest is not touched."""

    name = "inject_network_info"
    wire = "injectNetworkInfo"
    label = "Repair networks"
    policy = "os_compute_api:os-admin-actions:inject_network_info"
    for_adopted = True
    allowed = frozenset({VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED, VmState.RESCUED})
    during = None
    leads_to = None
    steps = (Step("compute_inject_network_info", bring_networks),)
