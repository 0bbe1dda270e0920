"""What there is to say of a host, line by line, for who asks on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compute.models import Host


def about(host: Host) -> Iterator[tuple[str, Any]]:
    """Each with its name."""
    yield "name", host.name
    yield "id", host.uuid
    yield "uri", host.uri
    yield "state", f"{host.state_now} {host.why_down}".strip()
    yield "enabled", "yes" if host.enabled else f"no {host.disabled_reason}".strip()
    yield "zone", host.zone
    yield "console address", host.console_address
    yield "machine", host.machine_uuid or "not known yet"
    yield "virtualisation", host.domain_type or host.facts.get("domain_type", "not known yet")
    yield "vCPUs", f"{host.vcpus_used} of {host.vcpu_capacity:g} claimed ({host.vcpus} * {host.cpu_ratio:g})"
    yield (
        "memory, MiB",
        f"{host.memory_mb_used} of {host.memory_capacity_mb:g} claimed "
        f"(({host.memory_mb} - {host.reserved_memory_mb}) * {host.memory_ratio:g})",
    )
    yield (
        "disk, GiB",
        f"{host.disk_gb_used} of {host.disk_capacity_gb:g} claimed "
        f"(({host.disk_gb} - {host.reserved_disk_gb}) * {host.disk_ratio:g})",
    )
    yield "instances", host.instances_used
