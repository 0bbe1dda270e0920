"""Room for memory, disk and virtual CPUs, with the host's overcommit ratios."""

from __future__ import annotations

from scheduler.hoststate import HostView, Request


class RamFilter:
    """The host has the memory."""

    def passes(self, host: HostView, request: Request) -> bool:
        """Whether free memory at the ratio is enough."""
        return host.memory_used_mb + request.memory_mb <= host.memory_capacity_mb

    def why(self, host: HostView, request: Request) -> str:
        """The numbers."""
        free = max(0, host.memory_capacity_mb - host.memory_used_mb)
        return (
            f"wants {request.memory_mb} MB, {free:.0f} of {host.memory_capacity_mb:.0f} MB free "
            f"at ratio {host.memory_ratio:g}"
        )


class DiskFilter:
    """The host has the disk space."""

    def passes(self, host: HostView, request: Request) -> bool:
        """Whether free disk at the ratio is enough."""
        return host.disk_used_gb + request.disk_gb <= host.disk_capacity_gb

    def why(self, host: HostView, request: Request) -> str:
        """The numbers."""
        free = max(0, host.disk_capacity_gb - host.disk_used_gb)
        return (
            f"wants {request.disk_gb} GB of disk, {free:.0f} of {host.disk_capacity_gb:.0f} GB free "
            f"at ratio {host.disk_ratio:g}"
        )


class CoreFilter:
    """The host has the virtual CPUs."""

    def passes(self, host: HostView, request: Request) -> bool:
        """Whether free virtual CPUs at the ratio are enough."""
        return host.vcpus_used + request.vcpus <= host.vcpu_capacity

    def why(self, host: HostView, request: Request) -> str:
        """The numbers."""
        free = max(0, host.vcpu_capacity - host.vcpus_used)
        return f"wants {request.vcpus} vCPUs, {free:.0f} of {host.vcpu_capacity:.0f} free at ratio {host.cpu_ratio:g}"
