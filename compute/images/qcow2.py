"""The header of a qcow2 file, read in pure Python. Layout: QEMU's ``docs/interop/qcow2.txt``."""

from __future__ import annotations

import struct

from compute.errors import Invalid

SECTOR = 512
MAX_L1_BYTES = 32 << 20  # QEMU's own limit
DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = (1 << bit for bit in range(5))
ACCEPTED_FEATURES = DIRTY | COMPRESSION | EXTENDED_L2
EXTENSION_END = 0
EXTENSION_DATA_FILE = 0x44415441
EXTENSION_BACKING_FORMAT = 0xE2792ACA
# magic, version, backing offset, backing length, cluster bits, size, encryption, L1 entries, L1 offset,
# refcount table's offset and clusters, snapshots, snapshots' offset
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")  # incompatible, compatible, autoclear, refcount order, header length


def virtual_size(head: bytes) -> int:
    """The size that a guest sees, bytes, in whole sectors. Raises struct.error for a header cut short."""
    size = int(_V2.unpack_from(head)[5])
    return -(-size // SECTOR) * SECTOR


def check(head: bytes, file_size: int) -> None:
    """Raise Invalid unless QEMU would read this file alone, and all of it is there."""
    try:
        _check(head, file_size)
    except struct.error as error:
        raise Invalid("The qcow2 file is cut short: its header is not complete.") from error


def _check(head: bytes, file_size: int) -> None:
    _, version, backing_offset, backing_length, cluster_bits, size, encryption, l1_entries, l1_offset, *_ = (
        _V2.unpack_from(head)
    )
    header_length = _V2.size
    if version not in (2, 3):
        raise Invalid(f"qcow2 version {version} is not known; convert the image to version 2 or 3.")
    if backing_offset or backing_length:
        raise Invalid("A qcow2 image with a backing file is not accepted; flatten it with 'qemu-img convert' first.")
    if encryption:
        raise Invalid("An encrypted qcow2 image is not accepted.")
    if not 9 <= cluster_bits <= 21:
        raise Invalid("The qcow2 header is not valid: the cluster size is out of range.")
    if version == 3:
        features, _, _, _, header_length = _V3.unpack_from(head, _V2.size)
        _check_features(features)
        if not _V2.size + _V3.size <= header_length <= 1 << cluster_bits:
            raise Invalid("The qcow2 header is not valid: its length is out of range.")
    _check_extensions(head, header_length, 1 << cluster_bits)
    _check_table(size, cluster_bits, l1_entries, l1_offset, file_size)


def _check_features(features: int) -> None:
    if features & DATA_FILE:
        raise Invalid("A qcow2 image with an external data file is not accepted.")
    if features & CORRUPT:
        raise Invalid("The qcow2 image is marked corrupt; repair it with 'qemu-img check -r all' first.")
    if features & ~ACCEPTED_FEATURES:
        raise Invalid(f"The qcow2 image uses features that are not known (incompatible feature bits {features:#x}).")


def _check_extensions(head: bytes, offset: int, end: int) -> None:
    end = min(end, len(head))
    while offset + 8 <= end:
        kind, length = struct.unpack_from(">II", head, offset)
        if kind == EXTENSION_END:
            return
        if kind == EXTENSION_DATA_FILE:
            raise Invalid("A qcow2 image with an external data file is not accepted.")
        if kind == EXTENSION_BACKING_FORMAT:
            raise Invalid("A qcow2 image that names a backing format is not accepted.")
        offset += 8 + (length + 7) // 8 * 8


def _check_table(size: int, cluster_bits: int, entries: int, offset: int, file_size: int) -> None:
    # One L2 table fills a cluster; its entries take 8 bytes (16 with extended L2, which halves the reach).
    reach = 1 << (cluster_bits * 2 - 3)
    if entries * 8 > MAX_L1_BYTES or entries * reach < size:
        raise Invalid("The qcow2 header is not valid: its table does not fit its virtual size.")
    if entries and (offset % (1 << cluster_bits) or offset + entries * 8 > file_size):
        raise Invalid("The qcow2 file is cut short: its table lies beyond the end of the file.")
