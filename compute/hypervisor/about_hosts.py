"""What a driver says of a host: what it is, and how busy it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NumaCell:
    """One NUMA cell of a host: processors and the memory that is near them."""

    id: int
    cpus: int
    memory_mb: int


@dataclass(frozen=True)
class HostFacts:
    """What a host is. ``capabilities`` names what it can do beyond the basics.

    "kvm", "live-migration", "uefi", "tpm", "sev"; "backup": disks of guests that run can be copied.
    """

    hostname: str
    uuid: str
    hypervisor_type: str  # "QEMU", as libvirt calls it
    hypervisor_version: int  # 7002022 for QEMU 7.2.22
    libvirt_version: int
    architecture: str  # "x86_64"
    domain_type: str  # "kvm" only where the CPU really has vmx or svm, else "qemu"
    cpu_model: str
    cpu_vendor: str
    cpu_sockets: int
    cpu_cores: int
    cpu_threads: int
    vcpus: int
    memory_mb: int
    disk_gb: int  # capacity of the pool that holds the guests' disks
    cpu_features: tuple[str, ...] = ()
    numa_cells: tuple[NumaCell, ...] = ()
    capabilities: frozenset[str] = frozenset()


@dataclass(frozen=True)
class HostUsage:
    """One sample of a host's load. CPU times are counters in seconds since the host started."""

    cpu_busy_seconds: float
    cpu_total_seconds: float
    memory_used_mb: int
    disk_used_gb: float
    disk_capacity_gb: float
    guests_running: int
