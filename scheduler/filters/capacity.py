"""Room for memory, disk and virtual CPUs, with the overcommit ratios of the host or its aggregates."""

from __future__ import annotations

from scheduler.filters.base import Filter
from scheduler.hoststate import HostView
from scheduler.request import Request
from scheduler.scene import Scene


def _times(free: float, wanted: int) -> int | None:
    return int(max(0.0, free) // wanted) if wanted else None


class RamFilter(Filter):
    """The host has the memory."""

    sentence = "Keeps hosts with enough free memory at their ram_allocation_ratio."
    short = "not enough memory"
    essential = True

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those whose free memory at the ratio is enough."""
        wanted = request.memory_mb
        return [host for host in hosts if host.memory_used_mb + wanted <= host.memory_capacity_mb]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """The numbers."""
        free = max(0, host.free_memory_mb)
        return (
            f"wants {request.memory_mb} MB, {free:.0f} of {host.memory_capacity_mb:.0f} MB free "
            f"at ratio {host.memory_ratio:g}"
        )

    def room(self, host: HostView, request: Request, scene: Scene) -> int | None:
        """As often as the memory lasts."""
        return _times(host.free_memory_mb, request.memory_mb)


class DiskFilter(Filter):
    """The host has the disk space."""

    sentence = "Keeps hosts with enough free disk space at their disk_allocation_ratio."
    short = "not enough disk space"
    essential = True

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those whose free disk at the ratio is enough."""
        wanted = request.disk_gb
        return [host for host in hosts if host.disk_used_gb + wanted <= host.disk_capacity_gb]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """The numbers."""
        free = max(0, host.free_disk_gb)
        return (
            f"wants {request.disk_gb} GB of disk, {free:.0f} of {host.disk_capacity_gb:.0f} GB free "
            f"at ratio {host.disk_ratio:g}"
        )

    def room(self, host: HostView, request: Request, scene: Scene) -> int | None:
        """As often as the disk lasts."""
        return _times(host.free_disk_gb, request.disk_gb)


class CoreFilter(Filter):
    """The host has the virtual CPUs."""

    sentence = "Keeps hosts with enough free vCPUs at their cpu_allocation_ratio."
    short = "not enough vCPUs"
    essential = True

    def keep(self, hosts: list[HostView], request: Request, scene: Scene) -> list[HostView]:
        """Those whose free virtual CPUs at the ratio are enough."""
        wanted = request.vcpus
        return [host for host in hosts if host.vcpus_used + wanted <= host.vcpu_capacity]

    def why(self, host: HostView, request: Request, scene: Scene) -> str:
        """The numbers."""
        free = max(0, host.free_vcpus)
        return f"wants {request.vcpus} vCPUs, {free:.0f} of {host.vcpu_capacity:.0f} free at ratio {host.cpu_ratio:g}"

    def room(self, host: HostView, request: Request, scene: Scene) -> int | None:
        """As often as the virtual CPUs last."""
        return _times(host.free_vcpus, request.vcpus)
