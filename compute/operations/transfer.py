"""An instance's disks on their way from one host to another, through the worker; hosts need not know each other.

Each goes as the file that it is. An overlay stands on its image's base on the other host, too; a base that is
not there comes from the image store, and from the host that is left when the image was deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

from compute.errors import ComputeError
from compute.hypervisor.interface import Hypervisor, VolumeFile
from compute.images import store
from compute.models import Host, Image, ImageStatus
from compute.operations.engine import Operation
from compute.operations.saving import Reading, Report


@dataclass(frozen=True)
class Move:
    """A volume that becomes ``target`` on the other host. The format is the rows' word, never probed."""

    volume: str
    target: str
    format: str = "qcow2"


def bring(operation: Operation, source: Host, target: Host, moves: Sequence[Move]) -> None:
    """Bring volumes from a host to another; the action tells how far that is, in percent.

    Those that an earlier attempt has brought are not brought again. Raises Lost when it is not wanted any more.
    """
    here, there = operation.hypervisor_of(source), operation.hypervisor_of(target)
    files = {move: here.volume_file(move.volume, move.format) for move in moves}
    missing = _missing_bases(there, files.values())
    way = _Way(operation, sum(file.size_bytes for file in files.values()) + sum(missing.values()))
    for base, size in missing.items():
        there.ensure_base(base, size, way.counted(_content_of(operation, base, size, here)))
    for move, file in files.items():
        brought = _brought(operation, target)
        if move.target in brought:
            way.done += file.size_bytes
            continue
        there.receive(move.target, reading(way.counted(partial(here.download, move.volume))()), file)
        operation.note(brought={str(target.pk): [*brought, move.target]})


def _brought(operation: Operation, target: Host) -> list[str]:
    """The volumes that are there and whole."""
    return list(operation.action.progress.get("brought", {}).get(str(target.pk), []))


def forget(operation: Operation) -> None:
    """What was brought is to be brought again: it was deleted there."""
    operation.note(brought={})


def bring_bases(operation: Operation, source: Host, target: Host, files: Iterable[VolumeFile]) -> None:
    """The bases that these volumes of a host stand on are on the other one, too. Otherwise as ``bring``."""
    here, there = operation.hypervisor_of(source), operation.hypervisor_of(target)
    missing = _missing_bases(there, files)
    way = _Way(operation, sum(missing.values()))
    for base, size in missing.items():
        there.ensure_base(base, size, way.counted(_content_of(operation, base, size, here)))


def reading(chunks: Iterator[bytes]) -> BinaryIO:
    """Chunks as a file to read from, for a driver."""
    return cast(BinaryIO, Reading(chunks))


def _missing_bases(there: Hypervisor, files: Iterable[VolumeFile]) -> dict[str, int]:
    """Those bases of these volumes that a host has not, with their sizes."""
    bases = {file.base: file.base_bytes for file in files if file.base}
    return {base: size for base, size in bases.items() if not there.has_base(base)}


def _content_of(operation: Operation, base: str, size: int, here: Hypervisor) -> Callable[[], Iterator[bytes]]:
    """What gives a base's content: the instance's image, if it is whole, else the host that has the base."""

    def chunks() -> Iterator[bytes]:
        image = Image.objects.filter(instances=operation.instance, status=ImageStatus.ACTIVE).first()
        if image is not None and image.base_volume == base:
            with suppress(ComputeError):
                if store.raw_size(image) == size:
                    return store.open_raw(image)
        return here.download(base)

    return chunks


class _Way:
    """How far it is, of so many bytes."""

    def __init__(self, operation: Operation, total: int) -> None:
        self._operation, self._total, self.done = operation, max(total, 1), 0
        self._report = Report(operation, 0, 100, check=_still_held)

    def counted(self, chunks: Callable[[], Iterator[bytes]]) -> Callable[[], Iterator[bytes]]:
        """The same chunks, which tell how far it is. Raise Lost when nobody wants them any more."""

        def count() -> Iterator[bytes]:
            for chunk in chunks():
                self.done += len(chunk)
                if not self._report(self.done * 100 // self._total):
                    _still_held(self._operation)
                yield chunk

        return count


def _still_held(operation: Operation) -> None:
    operation.lease.renew()
