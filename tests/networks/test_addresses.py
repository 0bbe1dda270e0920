"""Addresses and the MACs that belong to them."""

from __future__ import annotations

from compute.hypervisor.interface import mac_for
from compute.models import Port
from compute.networks import addresses


def test_a_port_takes_the_mac_of_its_address(cloud):
    port = addresses.create_port(cloud.network, project_id=cloud.demo.id)
    addresses.allocate(port)
    subnet, address = cloud.network.subnets.get(), port.addresses.get().address
    assert port.mac == mac_for(cloud.network.id, subnet.cidr, address)
    assert Port.objects.get().mac == port.mac


def test_a_second_call_changes_nothing(cloud):
    port = addresses.create_port(cloud.network, project_id=cloud.demo.id)
    addresses.allocate(port)
    before = (port.mac, port.addresses.get().address)
    addresses.allocate(port)
    port.refresh_from_db()
    assert (port.mac, port.addresses.get().address) == before


def test_a_new_port_tries_until_a_mac_is_free(cloud, monkeypatch):
    taken = addresses.create_port(cloud.network, project_id=cloud.demo.id).mac
    offered = [taken, taken, "fa:16:3e:00:00:01"]
    monkeypatch.setattr(addresses, "new_mac", lambda: offered.pop(0))
    port = addresses.create_port(cloud.network, project_id=cloud.demo.id)
    assert (port.mac, Port.objects.get(pk=port.pk).mac) == ("fa:16:3e:00:00:01",) * 2
    assert (offered, Port.objects.count()) == ([], 2)


def test_a_mac_that_another_port_has_is_left_to_it(cloud):
    subnet = cloud.network.subnets.get()
    first = subnet.allocation_pools[0]["start"]
    other = addresses.create_port(cloud.network, project_id=cloud.demo.id)
    Port.objects.filter(pk=other.pk).update(mac=mac_for(cloud.network.id, subnet.cidr, first))
    port = addresses.create_port(cloud.network, project_id=cloud.demo.id)
    before = port.mac
    addresses.allocate(port)
    port.refresh_from_db()
    assert (port.mac, port.addresses.get().address) == (before, first)


def test_a_users_own_port_keeps_its_mac(cloud):
    port = addresses.create_port(cloud.network, project_id=cloud.demo.id)
    Port.objects.filter(pk=port.pk).update(preserve=True)
    port.refresh_from_db()
    before = port.mac
    addresses.allocate(port)
    port.refresh_from_db()
    assert port.mac == before
