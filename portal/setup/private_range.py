"""A range of addresses for the network ``private`` that this machine does not use for something else."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Network
from pathlib import Path

from compute.errors import Invalid

ROUTES = Path("/proc/net/route")
CANDIDATES = tuple(IPv4Network(f"10.{second}.0.0/20") for second in range(77, 108))


def free_range(routes: Path = ROUTES) -> str:
    """The first candidate that no route of this machine overlaps, such as ``10.77.0.0/20``.

    Raises Invalid when all are taken.
    """
    used = used_ranges(routes)
    for candidate in CANDIDATES:
        if not any(candidate.overlaps(one) for one in used):
            return str(candidate)
    raise Invalid("Every range from 10.77.0.0/20 to 10.107.0.0/20 is in use here; set NACELLE_PRIVATE_CIDR to another.")


def used_ranges(routes: Path) -> list[IPv4Network]:
    """The destinations of the kernel's IPv4 routes, but for the default one (proc(5), /proc/net/route)."""
    if not routes.exists():
        return []
    used = []
    for line in routes.read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = (socket.inet_ntoa(struct.pack("<L", int(fields[column], 16))) for column in (1, 7))
        if mask != "0.0.0.0":  # noqa: S104  (a mask, no address to listen on)
            used.append(IPv4Network(f"{destination}/{mask}"))
    return used
