"""Weighers of what is free."""

from __future__ import annotations

from scheduler.hoststate import HostView
from scheduler.request import Request
from scheduler.scene import Scene
from scheduler.weighers.base import Weigher


class RAMWeigher(Weigher):
    """Free memory."""

    sentence = "Prefers the most free memory, which spreads instances; a negative multiplier stacks them."
    multiplier_key = "ram_weight_multiplier"

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """MiB left to claim."""
        return [host.memory_capacity_mb - host.memory_used_mb for host in hosts]


class CPUWeigher(Weigher):
    """Free virtual CPUs."""

    sentence = "Prefers the most free vCPUs."
    multiplier_key = "cpu_weight_multiplier"

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """Virtual CPUs left to claim."""
        return [host.vcpu_capacity - host.vcpus_used for host in hosts]


class DiskWeigher(Weigher):
    """Free disk."""

    sentence = "Prefers the most free disk space."
    multiplier_key = "disk_weight_multiplier"

    def weigh(self, hosts: list[HostView], request: Request, scene: Scene) -> list[float]:
        """GiB left to claim."""
        return [host.disk_capacity_gb - host.disk_used_gb for host in hosts]
