"""The network that a fresh cloud has."""

from __future__ import annotations

from typing import Any

import pytest

from compute.errors import Invalid
from compute.models import Change, Network, Subnet
from compute.networks.bootstrap import ensure_private_network


def test_it_is_made_once_and_stays(cloud: Any) -> None:
    network = ensure_private_network(cloud.other, "10.9.0.0/24")
    subnet = network.subnets.get()
    assert (network.name, network.shared, network.external, network.project_id) == (
        "private", True, False, cloud.other.id,
    )  # fmt: skip
    assert (subnet.name, subnet.cidr, subnet.gateway_ip) == ("private-subnet", "10.9.0.0/24", "10.9.0.1")
    assert subnet.allocation_pools == [{"start": "10.9.0.2", "end": "10.9.0.254"}]
    assert subnet.enable_dhcp
    changes = Change.objects.filter(kind="network").count()
    assert ensure_private_network(cloud.other, "10.10.0.0/24") == network
    assert network.subnets.get() == subnet
    assert Change.objects.filter(kind="network").count() == changes == 1


@pytest.mark.parametrize("cidr", ["10.9.0.0/31", "10.9.0.1/32", "10.9.0.7/24", "nonsense", "fd00::/64", ""])
def test_a_range_that_cannot_be_used_leaves_nothing(cloud: Any, cidr: str) -> None:
    before = (Network.objects.count(), Subnet.objects.count())
    with pytest.raises(Invalid):
        ensure_private_network(cloud.other, cidr)
    assert (Network.objects.count(), Subnet.objects.count()) == before


def test_the_smallest_range_has_room_for_one_server(cloud: Any) -> None:
    subnet = ensure_private_network(cloud.other, "10.9.0.0/30").subnets.get()
    assert subnet.allocation_pools == [{"start": "10.9.0.2", "end": "10.9.0.2"}]
