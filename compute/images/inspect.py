"""What an image file really is, told from its bytes alone, before any tool is let near it.

Every format that QEMU would recognise by itself is looked for, not only the declared one: a file that
is two things at once is how images escape their format (OSSA-2024-001, -002 and their kin). The layouts
are those of QEMU's ``docs/interop`` and of the formats' own specifications.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from compute.errors import Invalid
from compute.images import qcow2, vmdk

SECTOR = 512
HEAD_BYTES = 512 * 1024
BOOTABLE = frozenset({"raw", "qcow2", "iso"})
# Partition tables at the start are ordinary content of a raw disk, and of an ISO that also boots from USB sticks.
PARTITIONED = frozenset({"mbr", "gpt"})
# Formats whose bytes are no disk image of their own: kernels, ramdisks and Amazon's old disks are plain bytes.
PLAIN = frozenset({"raw", "ami", "aki", "ari"})


@dataclass(frozen=True)
class Content:
    """What was found. ``formats`` is every format that the bytes could be; sizes are in bytes."""

    formats: frozenset[str]
    size: int
    virtual_size: int | None

    @property
    def looks_like(self) -> str:
        """The finding in words."""
        return " and ".join(sorted(self.formats)) or "raw"


def _starts(*magics: bytes) -> Callable[[bytes, bytes], bool]:
    return lambda head, tail: head.startswith(magics)


def _is_gpt(head: bytes, tail: bytes) -> bool:
    return any(head[sector : sector + 8] == b"EFI PART" for sector in (512, 4096))


# Name and test of each format; the test gets the first HEAD_BYTES and the last sector of the file.
SIGNATURES: tuple[tuple[str, Callable[[bytes, bytes], bool]], ...] = (
    ("qcow2", _starts(b"QFI\xfb")),
    ("qed", _starts(b"QED\0")),
    ("vmdk", _starts(b"KDMV", b"COWD", b"SESparse")),
    ("vmdk", lambda head, tail: vmdk.is_descriptor(head)),
    ("vdi", lambda head, tail: head[0x40:0x44] == b"\x7f\x10\xda\xbe"),
    ("vhd", lambda head, tail: head.startswith(b"conectix") or tail.startswith(b"conectix")),
    ("vhdx", _starts(b"vhdxfile")),
    ("luks", _starts(b"LUKS\xba\xbe", b"SKUL\xba\xbe")),
    ("ploop", _starts(b"WithoutFreeSpace", b"WithouFreSpacExt")),
    ("bochs", _starts(b"Bochs Virtual HD Image")),
    ("cloop", _starts(b"#!/bin/sh\n#V2.0 Format\n")),
    ("dmg", lambda head, tail: tail.startswith(b"koly")),
    ("iso", lambda head, tail: any(head[n * 2048 + 1 : n * 2048 + 6] == b"CD001" for n in range(16, 32))),
    ("gpt", _is_gpt),
    ("mbr", lambda head, tail: head[510:512] == b"\x55\xaa"),
)


def look(file: BinaryIO) -> Content:
    """What a seekable file is. Reads the head and the last sector, whatever the size."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(max(0, size - SECTOR))
    tail = file.read(SECTOR)
    formats = frozenset(name for name, test in SIGNATURES if test(head, tail))
    return Content(formats, size, _virtual_size(formats, head, tail, size))


def check(file: BinaryIO, declared: str | None) -> Content:
    """Raise Invalid, with a sentence for the uploader, unless the file is safely what ``declared`` says."""
    if declared is None:
        raise Invalid("disk_format must be set before data is uploaded.")
    content = look(file)
    if content.size == 0:
        raise Invalid("The image data is empty.")
    if not _agrees(content.formats, declared):
        raise Invalid(f"content does not match disk_format {declared}: it looks like {content.looks_like}.")
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if declared == "qcow2":
        qcow2.check(head, content.size)
    elif declared == "vmdk":
        vmdk.check(head)
    return content


def _agrees(found: frozenset[str], declared: str) -> bool:
    if declared in PLAIN:
        return found <= PARTITIONED
    if declared == "iso":
        return "iso" in found and found <= PARTITIONED | {"iso"}
    return found == {declared}


def _virtual_size(formats: frozenset[str], head: bytes, tail: bytes, size: int) -> int | None:
    try:
        if "qcow2" in formats:
            return qcow2.virtual_size(head)
        if "vmdk" in formats:
            return vmdk.virtual_size(head)
        if "vdi" in formats:
            return int(struct.unpack_from("<Q", head, 0x170)[0])
        if "vhd" in formats:
            footer = tail if tail.startswith(b"conectix") else head
            return int(struct.unpack_from(">Q", footer, 48)[0])
    except struct.error:
        return None
    return size if formats <= PARTITIONED | {"iso"} else None
