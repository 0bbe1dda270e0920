"""Which ranges of addresses a network may have.

Every host routes every network of Nacelle itself, so no two may overlap, and none may stand in the way of
what hosts talk to: a network of public addresses would draw the host's own traffic to its guests.
"""

from __future__ import annotations

import ipaddress
import sys
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from compute.hypervisor.interface import BRIDGE_PREFIX
from compute.models import Host, Subnet
from compute.networks.errors import InvalidInput

LARGEST_PREFIX, SMALLEST_PREFIX = 16, 30
# Linux's table of routes (proc_net(5)).
ROUTES = Path("/proc/net/route")


def parse(cidr: str) -> IPv4Network:
    """The range that a text is, such as ``10.5.0.0/24``; bits beyond the prefix are dropped. Raises InvalidInput."""
    try:
        if "/" not in cidr:
            raise ValueError(cidr)
        return IPv4Network(cidr, strict=False)
    except ValueError as error:
        raise InvalidInput(f"'{cidr[:64]}' is not an IPv4 range such as 10.5.0.0/24.") from error


def check(block: IPv4Network) -> None:
    """Raise Invalid for a range that no network may have. Call it under the lock of ``subnets.create_subnet``."""
    if not LARGEST_PREFIX <= block.prefixlen <= SMALLEST_PREFIX:
        raise InvalidInput(
            f"A range has from /{LARGEST_PREFIX} to /{SMALLEST_PREFIX} addresses, not /{block.prefixlen}."
        )
    allowed = [IPv4Network(one) for one in settings.TENANT_RANGES]
    if not any(block.subnet_of(one) for one in allowed):
        among = ", ".join(settings.TENANT_RANGES)
        raise InvalidInput(f"The range {block} does not lie in those that this cloud allows: {among}.")
    if any(block.overlaps(parse(cidr)) for cidr in Subnet.objects.filter(ip_version=4).values_list("cidr", flat=True)):
        raise InvalidInput(f"The range {block} overlaps with that of another network of this cloud; choose another.")
    if any(address in block for address in _hosts()) or any(block.overlaps(link) for link in _links()):
        raise InvalidInput(f"The range {block} is in use by this cloud itself; choose another.")


def _hosts() -> set[IPv4Address]:
    """The addresses of hosts and of this cloud, as far as they are written as such."""
    texts = {urlsplit(settings.PUBLIC_URL).hostname or ""}
    for uri, *others in Host.objects.values_list("uri", "console_address", "migration_address"):
        texts |= {urlsplit(uri).hostname or "", *others}
    found = set()
    for text in texts:
        with suppress(ValueError):
            found.add(IPv4Address(text))
    return found


def _links() -> list[IPv4Network]:
    """The ranges that this machine reaches without a router, its own networks' left out, if it is a host itself.

    Of other hosts nobody knows theirs here: ``TENANT_RANGES`` leaves them out.
    """
    uris = map(urlsplit, Host.objects.values_list("uri", flat=True))
    if not any(one.scheme.startswith("qemu") and not one.hostname for one in uris) or not ROUTES.exists():
        return []
    found = []
    for line in ROUTES.read_text().splitlines()[1:]:
        name, destination, gateway, _, _, _, _, mask, *_ = line.split()
        if not name.startswith(BRIDGE_PREFIX) and int(gateway, 16) == 0 and int(mask, 16) != 0:
            found.append(IPv4Network((_address(destination), str(IPv4Address(_address(mask))))))
    return found


def _address(text: str) -> bytes:
    """An address as the kernel writes it: a number in hexadecimal, in the machine's own order of bytes."""
    return int(text, 16).to_bytes(4, sys.byteorder)


def inside(block: IPv4Network, text: str, what: str) -> IPv4Address:
    """The address that a text is, which a host of the range could have. Raises InvalidInput."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise InvalidInput(f"'{text[:64]}' is not an IPv4 address.") from error
    if address not in block or address in (block.network_address, block.broadcast_address):
        raise InvalidInput(f"{what} {address} is no address of a host in {block}.")
    return address


def pools_of(block: IPv4Network, gateway: IPv4Address) -> list[dict[str, str]]:
    """Every address of the range but the gateway's."""
    first, last = block.network_address + 1, block.broadcast_address - 1
    parts = [(first, gateway - 1), (gateway + 1, last)]
    return [{"start": str(start), "end": str(end)} for start, end in parts if start <= end]


def checked_pools(block: IPv4Network, gateway: IPv4Address, asked: list[dict[str, str]]) -> list[dict[str, str]]:
    """The pools that were asked for, in order.

    Raises InvalidInput for pools that lie outside, run backwards, overlap or hold the gateway.
    """
    pools = sorted(
        (inside(block, one["start"], "The address"), inside(block, one["end"], "The address")) for one in asked
    )
    if any(start > end for start, end in pools):
        raise InvalidInput("An allocation pool ends before it starts.")
    if any(earlier[1] >= later[0] for earlier, later in pairwise(pools)):
        raise InvalidInput("Allocation pools overlap.")
    if any(start <= gateway <= end for start, end in pools):
        raise InvalidInput(f"The gateway {gateway} lies in an allocation pool.")
    return [{"start": str(start), "end": str(end)} for start, end in pools]
