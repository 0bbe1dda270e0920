"""The part of the driver interface about guests that somebody else has defined. ``interface`` puts it together.

They stay as they are defined: nothing here makes a definition of values, as ``define`` does. Adopting one adds to
its definition what Nacelle needs of it, and changes nothing that the guest could notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from compute.hypervisor.interface import PowerState


@dataclass(frozen=True)
class ForeignDisk:
    """A disk of such a guest. ``source`` is where it lies, in the host's words."""

    target: str  # "vda"
    device: str  # "disk", "cdrom", "floppy", "lun"
    kind: str  # "file", "block", "volume", "network" …
    source: str  # a path, if it has one; empty: no medium in it
    format: str
    capacity_bytes: int = 0
    own_pool: bool = False  # it lies in the pool that the driver uses
    deletable: bool = False  # the guest's alone to write, and a volume of some storage pool of the host


@dataclass(frozen=True)
class ForeignCard:
    """A network card of such a guest, and what it is plugged into."""

    mac: str
    kind: str  # "network", "bridge", "direct", "user" …
    source: str  # the network's or bridge's name
    model: str = ""


@dataclass(frozen=True)
class ForeignGuest:
    """A guest that is on the host and was not defined by ``define``."""

    uuid: UUID
    name: str
    title: str
    power_state: PowerState
    vcpus: int
    memory_mb: int  # the most that it may have
    persistent: bool  # it is there when it is off, too
    saved: bool  # its memory was saved, and it goes on from there
    disks: tuple[ForeignDisk, ...] = ()
    cards: tuple[ForeignCard, ...] = ()
    screen: str = ""  # where its VNC screen listens; empty: it has none
    serial: bool = False  # it has a serial port


class Adoption(Protocol):
    """Guests that somebody else has defined."""

    def foreign(self) -> tuple[ForeignGuest, ...]:
        """All that are on the host, by name; those that were adopted are not among them."""

    def describe(self, uuid: UUID) -> ForeignGuest:
        """One, whether it was adopted or not. Raises Gone."""

    def adopt(self, uuid: UUID, metadata: tuple[tuple[str, str], ...]) -> None:
        """It counts as managed, with this written into its definition; and from its next start on what it writes to
        its serial port, if it has one, can be read by ``console_log``. Raises Gone, and Failed for one that is
        not persistent."""

    def disown(self, uuid: UUID, disks: tuple[str, ...]) -> None:
        """Cut its power, and forget its definition; of its disks, those with these sources are deleted.

        All others stay, and its firmware's memory with them. No error if it, or a disk, is not there.
        """
