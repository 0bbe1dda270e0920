"""The part of the driver interface about guests that go to another host while they run. ``interface`` puts it together.

A guest that crosses is on two hosts for a while. It runs on at most one of them: first on the one that it
leaves; at the end it stands still there, has been sent as a whole, and then runs on the other. Whoever looks
after a fault finds by ``whereabouts`` of both which of them has it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from compute.hypervisor.interface import Guest, Hypervisor


class Whereabouts(enum.StrEnum):
    """What a host says of a guest that may be crossing."""

    ABSENT = "absent"  # it is not known there
    OFF = "off"  # it is defined and not on
    RUNNING = "running"  # it runs, and nothing of it is on its way to another host
    PAUSED = "paused"  # the same, but it stands still as somebody told it to
    LEAVING = "leaving"  # it is on, and on its way to another host
    SENT = "sent"  # it stands still as it was sent as a whole; the other host may run it
    ARRIVING = "arriving"  # it is being received and has not run there


@dataclass(frozen=True)
class Passenger:
    """What the other host must be like for a running guest. ``cpu`` is in the driver's own words."""

    domain_type: str
    architecture: str
    machine: str  # with its version: "pc-i440fx-7.2"
    emulator: str  # the program that runs it, by its path
    hypervisor_version: int  # as in HostFacts
    cpu: str = ""


@dataclass(frozen=True)
class Crossing:
    """How a guest crosses, and as what it arrives.

    ``guest`` is what the other host is to define: its disks' volumes are there, those of ``copied`` empty,
    all others with their content. ``address`` is where the other host is reached by the one that it leaves.
    """

    guest: Guest
    address: str
    copied: tuple[str, ...] = ()  # volumes whose content crosses with it; none of those that both hosts see
    encrypted: bool = False  # the hosts prove to each other who they are, and nobody can listen
    bandwidth_mb: int = 0  # MiB a second at most; 0: as fast as it goes
    downtime_ms: int = 500  # for so long it may stand still at the end
    auto_converge: bool = True  # a guest that changes its memory faster than it can be sent is slowed down
    post_copy: bool = False  # ``Order.FORCE`` may let it run there before all of its memory is there


class Order(enum.Enum):
    """What whoever waits for a crossing wants to happen."""

    GO_ON = "go on"
    ABORT = "it stays where it is"
    FORCE = "it crosses now, even if it stands still for that"


@dataclass(frozen=True)
class Transfer:
    """How far a crossing is. The names are Nova's."""

    memory_total_bytes: int = 0
    memory_processed_bytes: int = 0
    memory_remaining_bytes: int = 0
    disk_total_bytes: int = 0
    disk_processed_bytes: int = 0
    disk_remaining_bytes: int = 0

    def as_stats(self) -> dict[str, int]:
        """The same as a dictionary."""
        return asdict(self)

    @property
    def percent(self) -> int:
        """How much of disks and memory is there; it can become less when the guest changes what was sent."""
        total = self.memory_total_bytes + self.disk_total_bytes
        left = self.memory_remaining_bytes + self.disk_remaining_bytes
        return max(0, (total - left) * 100 // total) if total else 0


class Migration(Protocol):
    """Guests that go to another host while they run or are paused."""

    def passenger(self, uuid: UUID) -> Passenger:
        """What another host must be like for the guest. Raises Gone, and Busy if it is not on."""

    def objections(self, passenger: Passenger) -> tuple[str, ...]:
        """Why a guest of another host cannot run on here: a sentence for each reason; none when it can."""

    def migrate(
        self, uuid: UUID, target: Hypervisor, crossing: Crossing, on_progress: Callable[[Transfer], Order]
    ) -> None:
        """The guest runs on the host of ``target`` (or is paused, if it was), and is not known here any more.

        ``on_progress`` is called several times a second and says what is wanted. Raises Busy when it was
        to be aborted and was, and what went wrong otherwise. After any error ``whereabouts`` of both
        hosts say what has become of it; what lies on the target then is not removed.
        """

    def whereabouts(self, uuid: UUID) -> Whereabouts:
        """What this host says of the guest."""

    def end_migration(self, uuid: UUID) -> None:
        """It is not ``LEAVING``: a crossing that is under way is aborted; one that cannot be is waited for."""

    def stay(self, uuid: UUID, paused: bool = False) -> None:
        """A guest that was ``SENT`` runs on here, or is paused. No other host may have it any more.

        So does one that stands still because a crossing was forced. One that is off stays off. Raises Gone.
        """

    def settle_paused(self, uuid: UUID) -> None:
        """A paused guest that came here by a crossing is paused as any other: it can be sent on, and its disks written.

        Until then it may be lost by that. It may run for a moment. Raises Gone.
        """
