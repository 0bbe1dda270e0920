"""The part of the driver interface about what a host is for whoever looks after it. ``interface`` puts it together.

``facts`` are what decisions rest on; here is the rest: what people want to know, and what may be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Machine:
    """The machine as its firmware describes it (SMBIOS). Empty where it does not."""

    vendor: str = ""
    product: str = ""
    version: str = ""
    serial: str = ""
    bios_vendor: str = ""
    bios_version: str = ""
    bios_date: str = ""


@dataclass(frozen=True)
class PoolSeen:
    """A storage pool of the host."""

    name: str
    kind: str  # "dir", "logical", "rbd" …
    path: str
    active: bool
    capacity_bytes: int = 0
    available_bytes: int = 0


@dataclass(frozen=True)
class NetworkSeen:
    """A network of the host's, or a link of it: what it is called, and the ranges of addresses on it."""

    name: str
    active: bool
    ours: bool  # made by ``ensure_network``
    ranges: tuple[str, ...] = ()  # "192.168.122.0/24"


@dataclass(frozen=True)
class HostDetails:
    """What a host is besides its facts, as it is now."""

    machine: Machine
    own_pool: str  # the name of the pool that the driver uses, and the folder that it takes it to be
    own_path: str
    pools: tuple[PoolSeen, ...]
    networks: tuple[NetworkSeen, ...]
    machine_types: tuple[str, ...]
    cpu: str  # the CPU that guests get, in the driver's own words; for ``compare_cpu`` of another host
    clock_ahead: float | None  # seconds by which the host's clock is ahead of this one; None: not to be told
    clock_within: float  # seconds by which that may be wrong
    certificate_until: datetime | None = None  # of the host, where it has shown one


@dataclass(frozen=True)
class CpuComparison:
    """Whether guests could move between two hosts while they run, as far as their CPUs are concerned.

    What is lacking is named where it is known: a host that does not fit may lack nothing that has a name.
    """

    fits_here: bool  # a guest with the other host's CPU can run on this one
    fits_there: bool
    lacking_here: tuple[str, ...] = ()
    lacking_there: tuple[str, ...] = ()


class Inspection(Protocol):
    """What a host is, for whoever looks after it."""

    def inspect(self) -> HostDetails:
        """Asked anew each time. It writes a file to the pool for a moment, to learn what time the host has."""

    def compare_cpu(self, cpu: str) -> CpuComparison:
        """This host's CPU and another's (``HostDetails.cpu``). Raises Failed for what is none."""
