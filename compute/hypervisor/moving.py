"""The part of the driver interface about disks on their way to another host. ``interface`` puts it together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class VolumeFile:
    """A volume as the file that it is on its host: so it goes to another one.

    ``size_bytes`` is the file's, not the disk's in it. ``base`` names the base volume that an overlay
    stands on, whose content has ``base_bytes``.
    """

    size_bytes: int
    format: str  # "qcow2" or "raw"
    base: str | None = None
    base_bytes: int = 0


class Moving(Protocol):
    """Storage that hosts may share, and volumes that go from one host to another.

    A disk goes as the file that it is, so an overlay stays an overlay and keeps its in-place snapshots.
    What differs on the other host is where the base lies, and ``receive`` sees to that.
    """

    def storage_id(self) -> str:
        """Which storage the volumes lie on: hosts that answer the same see the same volumes.

        The storage is looked at anew: what another host has made or deleted there is seen from now on. Raises
        Busy while the host makes a copy there.
        """

    def volume_file(self, volume: str, format: str = "qcow2") -> VolumeFile:
        """The volume as a file, to be read with ``download``. The format is said, never probed.

        Raises Gone, and Failed for an overlay that stands on what is no base.
        """

    def receive(self, volume: str, content: BinaryIO, file: VolumeFile) -> None:
        """The volume is this file of another host. One of the same name is replaced.

        What stood on a base there stands on the base of that name here; raises Gone without one.
        """
