"""Two at once, on threads: of what may be there once, there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, connection

from compute.errors import ComputeError
from compute.models import Network, Port, Subnet
from compute.networks import networks, ports, subnets
from compute.networks.networks import NewNetwork
from compute.networks.ports import PortRequest
from compute.networks.subnets import NewSubnet

pytestmark = pytest.mark.django_db(transaction=True)


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run them at the same moment; what each returned, or the error that it raised."""
    barrier, results = threading.Barrier(len(calls)), [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            results[index] = call()
        except (ComputeError, IntegrityError) as error:  # the APIs make a 409 of the second
            results[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_two_ranges_that_overlap_one_is_refused(cloud: Any, alice: Any, charlie: Any) -> None:
    made = [networks.create_network(actor=one.actor, wanted=NewNetwork()) for one in (alice, charlie)]

    def give(persona: Any, network: Network, cidr: str) -> Subnet:
        return subnets.create_subnet(actor=persona.actor, wanted=NewSubnet(network.pk, cidr))

    results = together(lambda: give(alice, made[0], "10.50.0.0/24"), lambda: give(charlie, made[1], "10.50.0.128/25"))
    assert sorted(isinstance(one, Subnet) for one in results) == [False, True]
    assert Subnet.objects.exclude(network=cloud.network).count() == 1


def test_a_network_goes_or_has_a_port_but_not_both(cloud: Any, alice: Any) -> None:
    for number in range(5):
        network = networks.create_network(actor=alice.actor, wanted=NewNetwork())
        subnets.create_subnet(actor=alice.actor, wanted=NewSubnet(network.pk, f"10.50.{number}.0/24"))
        together(
            lambda network=network: networks.delete_network(actor=alice.actor, network=network),  # type: ignore[misc]  # lambdas with defaults
            lambda network=network: ports.create_port(  # type: ignore[misc]  # lambdas with defaults
                actor=alice.actor, wanted=PortRequest(network_id=network.pk)
            ),
        )
        there = Network.objects.filter(pk=network.pk).exists()
        assert Port.objects.filter(network_id=network.pk).exists() == there
