"""What the scheduler sees: a request and the hosts, as plain values read once for each decision."""

from __future__ import annotations

from dataclasses import dataclass, field

from compute.models import Host, Instance


@dataclass(frozen=True, slots=True)
class HostView:
    """One host at the moment of the decision. Capacities already carry their ratios."""

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

    @property
    def free_memory_mb(self) -> float:
        """Memory left to claim."""
        return self.memory_capacity_mb - self.memory_used_mb


def view_of(host: Host) -> HostView:
    """The view of a row."""
    return HostView(
        id=host.id,
        name=host.name,
        zone=host.zone,
        up=host.is_up,
        enabled=host.enabled,
        down_reason=host.state_reason if host.enabled else host.disabled_reason,
        memory_capacity_mb=host.memory_capacity_mb,
        memory_used_mb=host.memory_mb_used,
        memory_ratio=host.memory_ratio,
        disk_capacity_gb=host.disk_capacity_gb,
        disk_used_gb=host.disk_gb_used,
        disk_ratio=host.disk_ratio,
        vcpu_capacity=host.vcpu_capacity,
        vcpus_used=host.vcpus_used,
        cpu_ratio=host.cpu_ratio,
        instances=host.instances_used,
    )


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of a host."""

    vcpus: int
    memory_mb: int
    disk_gb: int
    zone: str = ""
    host: str = ""
    forced: bool = False  # onto ``host`` whatever the filters say, if its room can be claimed
    tried: frozenset[int] = field(default_factory=frozenset)
    instances: int = 1  # 0: room for one that is on the host already

    @classmethod
    def of(cls, instance: Instance, tried: list[int]) -> Request:
        """What an instance wants; ``tried`` are hosts that failed already."""
        return cls(
            vcpus=instance.vcpus,
            memory_mb=instance.memory_mb,
            disk_gb=instance.disk_gb,
            zone=instance.zone,
            host=instance.asked_host,
            forced=instance.host_forced,
            tried=frozenset(tried),
        )
