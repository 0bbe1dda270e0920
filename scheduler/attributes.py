"""A host's attributes by Nova's names, for flavors' ``capabilities:`` and for the hint ``query``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scheduler.hoststate import HostView
from scheduler.scene import Scene


def _cpu_info(host: HostView) -> dict[str, Any]:
    facts = host.facts
    return {
        "arch": facts.architecture,
        "model": facts.cpu_model,
        "vendor": facts.cpu_vendor,
        "features": facts.cpu_features,
        "topology": {"sockets": facts.cpu_sockets, "cores": facts.cpu_cores, "threads": facts.cpu_threads},
    }


_OF_HOST: dict[str, Callable[[HostView], Any]] = {
    "host": lambda host: host.name,
    "nodename": lambda host: host.name,
    "hypervisor_hostname": lambda host: host.name,
    "host_ip": lambda host: host.address,
    "availability_zone": lambda host: host.zone,
    "vcpus_total": lambda host: host.vcpus,
    "vcpus_used": lambda host: host.vcpus_used,
    "total_usable_ram_mb": lambda host: host.memory_mb,
    "free_ram_mb": lambda host: int(host.free_memory_mb),
    "total_usable_disk_gb": lambda host: host.disk_gb,
    "free_disk_mb": lambda host: int(host.free_disk_gb * 1024),
    "disk_mb_used": lambda host: host.disk_used_gb * 1024,
    "num_instances": lambda host: host.instances,
    "failed_builds": lambda host: host.build_failures,
    "cpu_allocation_ratio": lambda host: host.cpu_ratio,
    "ram_allocation_ratio": lambda host: host.memory_ratio,
    "disk_allocation_ratio": lambda host: host.disk_ratio,
    "hypervisor_type": lambda host: host.facts.hypervisor_type,
    "hypervisor_version": lambda host: host.facts.hypervisor_version,
    "libvirt_version": lambda host: host.facts.libvirt_version,
    "domain_type": lambda host: host.facts.domain_type,
    "supported": lambda host: host.facts.capabilities,
    "cpu_info": _cpu_info,
}
# These follow from ``HostView.facts`` alone.
OF_MAKE = frozenset(
    {"hypervisor_type", "hypervisor_version", "libvirt_version", "domain_type", "supported", "cpu_info"}
)
NAMES = frozenset({*_OF_HOST, "num_io_ops"})


def value_of(host: HostView, scene: Scene, path: list[str]) -> Any:
    """An attribute, or what lies within it (``["cpu_info", "topology", "cores"]``); None for one that no host has."""
    first, *rest = path
    if first == "num_io_ops":
        found: Any = scene.io_operations[host.id]
    else:
        found = _OF_HOST[first](host) if first in _OF_HOST else None
    for name in rest:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
