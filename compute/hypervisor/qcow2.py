"""qcow2 files without QEMU: a flat one made in memory, and another base written into a header on its way.

The format is QEMU's docs/interop/qcow2.txt. What is made here is version 2: no feature bits, nothing to interpret.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

CLUSTER = 1 << 16
ENTRIES = CLUSTER // 8  # of an L2 table
COPIED = 1 << 63  # "referenced once": may be written in place
HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
BACKING = struct.Struct(">4sIQII")  # the header's beginning: magic, version, where the base's name is, its length, bits
LARGEST_BITS = 21  # of a cluster; QEMU makes none larger


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


def rebased(chunks: Iterator[bytes], base: str) -> Iterator[bytes]:
    """The chunks of an overlay's file, with the path ``base`` as what it stands on.

    The name of what an overlay stands on is the last thing in its first cluster. Raises ValueError for a
    file that is no overlay, or has no room for the name there.
    """
    head = bytearray()
    while len(head) < BACKING.size and (chunk := next(chunks, b"")):
        head += chunk
    at, bits = _backing(bytes(head))
    while len(head) < 1 << bits and (chunk := next(chunks, b"")):
        head += chunk
    name = base.encode()
    if at + len(name) > min(len(head), 1 << bits):
        raise ValueError("There is no room in the file's header for the name of its base.")
    head[at : 1 << bits] = name.ljust((1 << bits) - at, b"\0")
    struct.pack_into(">I", head, 16, len(name))
    yield bytes(head)
    yield from chunks


def _backing(head: bytes) -> tuple[int, int]:
    """Where the name of the base is in an overlay's file, and the bits of its clusters. Raises ValueError."""
    if len(head) >= BACKING.size:
        magic, version, at, length, bits = BACKING.unpack_from(head)
        if magic == b"QFI\xfb" and version in (2, 3) and at and length and bits <= LARGEST_BITS:
            return at, bits
    raise ValueError("The file is no overlay in the format qcow2.")


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
