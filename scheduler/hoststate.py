"""What the scheduler sees of a host, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scheduler.facts import UNKNOWN, Facts
from scheduler.request import Request

__all__ = ["HostView", "Request"]


@dataclass(frozen=True, slots=True)
class HostView:
    """One host at the moment of the decision. Capacities already carry their ratios, aggregates' included."""

    id: int
    name: str
    zone: str
    up: bool
    enabled: bool
    down_reason: str
    memory_capacity_mb: float
    memory_used_mb: int
    memory_ratio: float
    disk_capacity_gb: float
    disk_used_gb: int
    disk_ratio: float
    vcpu_capacity: float
    vcpus_used: int
    cpu_ratio: float
    instances: int
    build_failures: int = 0  # since the last build that went well
    address: str = ""
    memory_mb: int = 0  # what the host has, without ratios
    disk_gb: int = 0
    vcpus: int = 0
    hypervisor_version: int = 0
    facts: Facts = UNKNOWN

    @property
    def free_memory_mb(self) -> float:
        """Memory left to claim."""
        return self.memory_capacity_mb - self.memory_used_mb

    @property
    def free_disk_gb(self) -> float:
        """Disk left to claim."""
        return self.disk_capacity_gb - self.disk_used_gb

    @property
    def free_vcpus(self) -> float:
        """Virtual CPUs left to claim."""
        return self.vcpu_capacity - self.vcpus_used

    def after(self, request: Request) -> HostView:
        """The host once the request is on it."""
        return replace(
            self,
            memory_used_mb=self.memory_used_mb + request.memory_mb,
            disk_used_gb=self.disk_used_gb + request.disk_gb,
            vcpus_used=self.vcpus_used + request.vcpus,
            instances=self.instances + request.instances,
        )
