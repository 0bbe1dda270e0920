"""A flat qcow2 file made in memory, of a disk with little on it: an empty swap space, a fake host's disk.

The format is QEMU's docs/interop/qcow2.txt, version 2: no feature bits, nothing to interpret.
"""

from __future__ import annotations

import struct

CLUSTER = 1 << 16
ENTRIES = CLUSTER // 8  # of an L2 table
COPIED = 1 << 63  # "referenced once": may be written in place
HEADER = struct.Struct(">4sIQIIQIIQQIIQ")


def flat(content: bytes, size_bytes: int) -> bytes:
    """A qcow2 file without a backing file: a disk of ``size_bytes`` that begins with ``content``.

    What follows the content, and whole clusters of zeros in it, take no room.
    """
    tables = max(1, -(-size_bytes // (CLUSTER * ENTRIES)))
    l1_clusters = -(-tables * 8 // CLUSTER)
    l1_at, filled = 3, 3 + l1_clusters  # clusters: header, refcount table, refcount block, L1, then the rest
    l1, parts = [0] * tables, []
    for table in range(-(-len(content) // (CLUSTER * ENTRIES))):
        entries, data = _table(content[table * CLUSTER * ENTRIES :][: CLUSTER * ENTRIES], filled + 1)
        l1[table] = filled * CLUSTER | COPIED
        parts.append(struct.pack(f">{ENTRIES}Q", *entries) + data)
        filled += len(parts[-1]) // CLUSTER
    header = HEADER.pack(b"QFI\xfb", 2, 0, 0, 16, size_bytes, 0, tables, l1_at * CLUSTER, CLUSTER, 1, 0, 0)
    blocks = (header, struct.pack(">Q", 2 * CLUSTER), struct.pack(">H", 1) * filled, struct.pack(f">{tables}Q", *l1))
    return b"".join(_padded(block) for block in blocks) + b"".join(parts)


def _table(content: bytes, first: int) -> tuple[list[int], bytes]:
    """The entries of one L2 table, and its data, which begins at the cluster ``first``."""
    entries, data = [0] * ENTRIES, bytearray()
    for number in range(-(-len(content) // CLUSTER)):
        cluster = content[number * CLUSTER : (number + 1) * CLUSTER]
        if any(cluster):
            entries[number] = first * CLUSTER + len(data) | COPIED
            data += _padded(cluster)
    return entries, bytes(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % CLUSTER)
