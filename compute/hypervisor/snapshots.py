"""The part of the driver interface about in-place snapshots. ``interface`` puts it together with the rest."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID


class Snapshots(Protocol):
    """Moments of a guest that are kept inside its disks, each under a name that Nacelle gives.

    The disks are those that the guest may write to; all are qcow2. What a host knows of snapshots
    besides the disks themselves may get lost; these verbs need none of it.
    """

    def create_snapshot(self, uuid: UUID, name: str, memory: bool) -> str:
        """The guest's disks are kept as they are now, all at one moment; it goes on as it was.

        ``memory``: with its memory, for which it stands still; raises Busy if the guest is not on.
        Returns what ``revert_snapshot`` needs for going back to the memory ("" without). One of this
        name that an earlier try left half-done is replaced. A suspended guest is kept as if it were off.
        """

    def revert_snapshot(self, uuid: UUID, name: str, memory: str = "") -> None:
        """The disks are what they were then. Memory that ``suspend`` saved is dropped.

        ``memory``: what ``create_snapshot`` returned. The guest then goes on as it did at that moment,
        running or paused, with the devices that it had, whether it was on or off until now. Without it
        the guest must be off, raises Busy if it is not, and stays off. Raises Failed or Gone when the disks
        hold no such snapshot; a guest that was to get its memory back may be off or stand still then.
        """

    def delete_snapshot(self, uuid: UUID, name: str) -> None:
        """The disks hold it no more; all others stay as they are. No error if it is not there, nor if the guest
        is unknown to the host."""
