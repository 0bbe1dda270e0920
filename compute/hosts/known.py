"""What a host's row says of what the host is, and which machine it is."""

from __future__ import annotations

import dataclasses
from typing import Any
from uuid import UUID

from compute.hypervisor.interface import Failed, HostFacts
from compute.models import Host


def as_fields(facts: HostFacts) -> dict[str, Any]:
    """What a row says of what the host is."""
    return {"facts": as_json(facts), "vcpus": facts.vcpus, "memory_mb": facts.memory_mb, "disk_gb": facts.disk_gb}


def as_json(facts: HostFacts) -> dict[str, object]:
    """Facts as they are stored."""
    plain = dataclasses.asdict(facts)
    plain["capabilities"] = sorted(facts.capabilities)
    plain["cpu_features"] = list(facts.cpu_features)
    return plain


def machine_of(facts: HostFacts) -> UUID | None:
    """The id of the machine, if it has one."""
    try:
        return UUID(facts.uuid)
    except ValueError:
        return None


def check_same(host: Host, facts: HostFacts) -> UUID | None:
    """The machine's id. Another machine than the one that was registered is not taken for it: Failed."""
    machine = machine_of(facts)
    if host.machine_uuid is not None and machine != host.machine_uuid:
        raise Failed(
            f"Another machine answers at {host.uri}: its id is {machine}, and {host.name} was registered as "
            f"{host.machine_uuid}. If the host was set up anew, remove it here and add it again."
        )
    if host.machine_uuid is None and (same := Host.objects.filter(machine_uuid=machine).first()) and machine:
        raise Failed(f"This is the machine that is registered as {same.name}: both have the id {machine}.")
    return machine
