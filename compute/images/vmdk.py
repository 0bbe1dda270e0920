"""VMDK headers and descriptors: told from other files, and refused when they point at other files.

Only ``monolithicSparse`` and ``streamOptimized`` keep all of their data in the one file (OSSA-2023-002).
"""

from __future__ import annotations

import re
import struct

from compute.errors import Invalid

SECTOR = 512
ONE_FILE = frozenset({"monolithicsparse", "streamoptimized"})
DESCRIPTOR_CAP = 64 * 1024
_TYPE = re.compile(rb'^\s*createtype\s*=\s*"?([A-Za-z0-9]+)"?\s*$', re.MULTILINE | re.IGNORECASE)
_EXTENT = re.compile(rb'^\s*(?:RW|RDONLY|NOACCESS)\s+\d+\s+([A-Z]+)(?:\s+"([^"]*)")?', re.MULTILINE | re.IGNORECASE)


def is_descriptor(head: bytes) -> bool:
    """Whether the file is a text descriptor: QEMU takes blank lines and comments before its first key."""
    for line in head[:DESCRIPTOR_CAP].splitlines()[:64]:
        text = line.strip().lower()
        if not text:
            continue
        if text.startswith(b"# disk descriptorfile"):
            return True
        if not text.startswith(b"#"):
            return text.startswith((b"version=", b"version =", b"createtype"))
    return False


def virtual_size(head: bytes) -> int | None:
    """The size that a guest sees, bytes; None where the header does not say."""
    if not head.startswith(b"KDMV"):
        return None
    return int(struct.unpack_from("<Q", head, 12)[0]) * SECTOR


def check(head: bytes) -> None:
    """Raise Invalid unless all of the image's data is in this one file."""
    if not head.startswith(b"KDMV"):
        raise Invalid("Only VMDK images of one file (monolithicSparse or streamOptimized) are accepted.")
    start, length = struct.unpack_from("<QQ", head, 28)
    text = head[start * SECTOR : (start + min(length, DESCRIPTOR_CAP // SECTOR)) * SECTOR]
    kind = _TYPE.search(text)
    extents = _EXTENT.findall(text)
    if kind is None or kind[1].decode().lower() not in ONE_FILE or len(extents) != 1:
        raise Invalid("Only VMDK images of one file (monolithicSparse or streamOptimized) are accepted.")
    if extents[0][0].upper() != b"SPARSE" or b"/" in extents[0][1]:
        raise Invalid("The VMDK image names a file outside of itself.")
