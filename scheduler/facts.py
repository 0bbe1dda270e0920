"""What filters and weighers know of a host's make: the part of ``Host.facts`` that they ask for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class NumaCell:
    """One NUMA cell of a host."""

    id: int
    cpus: int
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Facts:
    """A host's make. Empty values: the host has not said."""

    architecture: str = ""
    domain_type: str = ""  # kvm or qemu
    hypervisor_type: str = ""
    hypervisor_version: int = 0
    libvirt_version: int = 0
    cpu_model: str = ""
    cpu_vendor: str = ""
    cpu_sockets: int = 0
    cpu_cores: int = 0
    cpu_threads: int = 0
    cpu_features: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    numa_cells: tuple[NumaCell, ...] = ()
    pci_devices: tuple[str, ...] = ()  # vendor:product of each that a guest may get


UNKNOWN = Facts()
_TEXTS = ("architecture", "domain_type", "hypervisor_type", "cpu_model", "cpu_vendor")
_NUMBERS = ("hypervisor_version", "libvirt_version", "cpu_sockets", "cpu_cores", "cpu_threads")
# Equal makes are one object, so that what depends on the make alone is asked once for thousands of hosts.
_shared: dict[Facts, Facts] = {}


def parse(text: str, domain_type: str = "") -> Facts:
    """Facts from the JSON of ``Host.facts``; what is missing or of another type counts as not said.

    ``domain_type``: an administrator's word, which stands before what was found out.
    """
    read = json.loads(text or "{}")
    said: dict[str, Any] = read if isinstance(read, dict) else {}
    plain: dict[str, Any] = {name: str(said.get(name) or "") for name in _TEXTS}
    plain |= {name: int(said.get(name) or 0) for name in _NUMBERS}
    plain["domain_type"] = domain_type or plain["domain_type"]
    made = Facts(
        **plain,
        cpu_features=frozenset(said.get("cpu_features") or ()),
        capabilities=frozenset(said.get("capabilities") or ()),
        numa_cells=tuple(NumaCell(**cell) for cell in said.get("numa_cells") or ()),
        pci_devices=tuple(said.get("pci_devices") or ()),
    )
    return _shared.setdefault(made, made)
