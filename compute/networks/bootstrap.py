"""The network that a fresh cloud has."""

from __future__ import annotations

import ipaddress

from django.db import transaction

from compute.errors import Invalid
from compute.models import Network, Subnet, announce
from portal.identity.models import Project

NAME = "private"
SUBNET_NAME = "private-subnet"
SMALLEST_PREFIX = 30


def ensure_private_network(project: Project, cidr: str) -> Network:
    """The shared network ``private`` of a project with its IPv4 subnet, made when it is not there.

    The first address is the gateway's, DHCP hands out the rest. A network that is there stays as it is,
    whatever ``cidr`` says now: guests have its addresses. Raises Invalid for a range that cannot be used.
    """
    with transaction.atomic():
        network, made = Network.objects.get_or_create(project=project, name=NAME, defaults={"shared": True})
        if not network.subnets.exists():
            _create_subnet(network, cidr)
            made = True
        if made:
            announce("network", network.pk, project.pk)
    return network


def _create_subnet(network: Network, cidr: str) -> None:
    try:
        block = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        raise Invalid(f"{cidr!r} is not an IPv4 range such as 10.77.0.0/20.") from error
    if block.prefixlen > SMALLEST_PREFIX:
        raise Invalid(f"The range {cidr} has no room for a gateway and a server.")
    first = block.network_address + 1
    Subnet.objects.create(
        network=network,
        project=network.project,
        name=SUBNET_NAME,
        cidr=str(block),
        gateway_ip=str(first),
        allocation_pools=[{"start": str(first + 1), "end": str(block.broadcast_address - 1)}],
    )
