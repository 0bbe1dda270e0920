"""Where images' bytes lie: one file for each, named by the image's id and by nothing that a user chose.

Bytes are written to a temporary file first, synced, checked, and then renamed: a file with an image's
name is whole. ``<id>`` is what was uploaded, ``<id>.raw`` its raw form when that differs.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from uuid import UUID

from django.conf import settings

from compute.errors import ComputeError, TooLarge
from compute.images import convert, inspect
from compute.models import Image

CHUNK_BYTES = 1 << 20
HASH_ALGORITHM = "sha512"
MISSING = "The data of image {id} is not in the store. Upload the image again under a new id."


class Readable(Protocol):
    """A stream of bytes; a request's body is no full BinaryIO."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        ...


@dataclass(frozen=True)
class Stored:
    """What was written: sizes in bytes, digests in hexadecimal."""

    size: int
    virtual_size: int | None
    checksum: str
    hash_value: str


def path_of(image_id: UUID) -> Path:
    """Where an image's bytes lie."""
    return Path(settings.IMAGE_STORE) / str(UUID(str(image_id)))


def raw_path_of(image_id: UUID) -> Path:
    """Where the raw form of an image that is not raw lies."""
    return path_of(image_id).with_suffix(".raw")


@dataclass(frozen=True)
class Received:
    """Bytes that were received and checked, and are not an image's yet."""

    image_id: UUID
    part: Path
    stored: Stored

    def keep(self) -> None:
        """Make them the image's, at once and for good."""
        with _faults("store the image"):
            os.replace(self.part, path_of(self.image_id))
            _sync_folder(self.part.parent)


@contextmanager
def receive(image_id: UUID, stream: Readable, disk_format: str | None) -> Iterator[Received]:
    """Take a stream in, if it is what ``disk_format`` says. What is not kept in the block is gone after it.

    Raises TooLarge, Invalid (the content is not what was declared, or not safe) and ComputeError (the
    disk is full, say).
    """
    path = path_of(image_id)
    with _faults("store the image"):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".part", dir=path.parent)
    try:
        with _faults("store the image"), os.fdopen(descriptor, "w+b") as file:
            stored = _take_in(stream, file, disk_format)
        yield Received(image_id, Path(name), stored)
    finally:
        Path(name).unlink(missing_ok=True)


def _take_in(stream: Readable, file: BinaryIO, disk_format: str | None) -> Stored:
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.new(HASH_ALGORITHM)
    size = 0
    while chunk := stream.read(CHUNK_BYTES):
        size += len(chunk)
        if size > settings.IMAGE_SIZE_CAP_BYTES:
            raise TooLarge(_too_large())
        md5.update(chunk)
        sha.update(chunk)
        file.write(chunk)
    file.flush()
    content = inspect.check(file, disk_format)
    if (content.virtual_size or 0) > settings.IMAGE_SIZE_CAP_BYTES:
        raise TooLarge(_too_large("virtual size"))
    os.fsync(file.fileno())
    return Stored(size, content.virtual_size, md5.hexdigest(), sha.hexdigest())


def _too_large(what: str = "data") -> str:
    return f"The image's {what} is larger than this cloud takes ({settings.IMAGE_SIZE_CAP_BYTES} bytes)."


def delete(image_id: UUID) -> None:
    """Remove an image's bytes. Nothing there is no error; what is being written, its writer removes."""
    for path in (path_of(image_id), raw_path_of(image_id)):
        path.unlink(missing_ok=True)


def is_being_written(image_id: UUID) -> bool:
    """Whether bytes of the image are on their way into the store."""
    path = path_of(image_id)
    return any(path.parent.glob(f"{path.name}.*.part"))


def discard_parts(image_id: UUID) -> None:
    """Remove what writers of the image left that died. For who knows that nobody else writes it now."""
    path = path_of(image_id)
    for part in path.parent.glob(f"{path.name}.*.part"):
        part.unlink(missing_ok=True)


def open_bytes(image: Image) -> Iterator[bytes]:
    """The bytes as they were uploaded, in chunks. Raises ComputeError at once when they are not there."""
    with _faults("read the image", MISSING.format(id=image.id)):
        file = path_of(image.id).open("rb")
    return _chunks(file)


def raw_size(image: Image) -> int:
    """How many bytes ``open_raw`` gives: the size of the disk that a guest sees."""
    if image.disk_format == "qcow2":
        return image.virtual_size or 0
    return image.size or 0


def open_raw(image: Image) -> Iterator[bytes]:
    """The image as a raw disk, in chunks of 1 MiB.

    qcow2 is converted once, into a file next to the image. Raises ComputeError with a sentence for the
    server's owner: a format that cannot be booted, missing or damaged data, no room.
    """
    if refusal := not_bootable(image):
        raise ComputeError(refusal)
    with _faults("read the image", MISSING.format(id=image.id)):
        path = path_of(image.id)
        if image.disk_format == "qcow2":
            convert.to_raw(path, raw_path_of(image.id), raw_size(image))
            path = raw_path_of(image.id)
        file = path.open("rb")
    return _chunks(file)


def not_bootable(image: Image) -> str:
    """Why servers cannot boot from an image of this format; empty when they can."""
    if image.disk_format in inspect.BOOTABLE:
        return ""
    return (
        f"Image {image.id} has disk_format {image.disk_format}, which cannot be booted yet; "
        "convert it to qcow2 or raw with 'qemu-img convert' and upload that."
    )


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _faults(what: str, missing: str = "") -> Iterator[None]:
    """Faults of the file system as sentences that name no path."""
    try:
        yield
    except FileNotFoundError as error:
        raise ComputeError(missing or f"Cannot {what}: the image store is not there.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ComputeError(f"Cannot {what}: the image store is full.") from error
        raise ComputeError(f"Cannot {what}: {os.strerror(error.errno or errno.EIO)}.") from error
