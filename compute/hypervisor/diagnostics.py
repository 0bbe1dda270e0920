"""The part of the driver interface that looks at one guest closely. ``interface`` puts it together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True)
class DiskCounters:
    """One disk of a guest, since it started."""

    target: str  # "vda"
    read_bytes: int
    read_requests: int
    write_bytes: int
    write_requests: int


@dataclass(frozen=True)
class NicCounters:
    """One network card of a guest, since it was plugged in. ``device`` is the host's name of its other end."""

    device: str
    mac: str
    receive_bytes: int
    receive_packets: int
    receive_errors: int
    receive_drops: int
    transmit_bytes: int
    transmit_packets: int
    transmit_errors: int
    transmit_drops: int


@dataclass(frozen=True)
class GuestDiagnostics:
    """One guest in detail. ``cpu_seconds`` has an entry for each virtual processor that it has now."""

    cpu_seconds: tuple[float, ...]
    memory_mb: int
    memory_used_mb: int
    disks: tuple[DiskCounters, ...] = ()
    nics: tuple[NicCounters, ...] = ()


class Diagnostics(Protocol):
    """A close look at a guest that is on."""

    def diagnostics(self, uuid: UUID) -> GuestDiagnostics:
        """What the guest has done so far, device by device. Raises Gone, and Busy if it is not on."""
