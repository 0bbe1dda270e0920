"""Addresses, ports and groups without any API."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from compute.errors import Invalid, NoMoreAddresses
from compute.hypervisor.interface import mac_for
from compute.models import Change, Instance, Port, SecurityGroup, Subnet
from compute.networks import addresses, groups, ports, quota
from compute.networks.errors import (
    InvalidIpForNetwork,
    MacAddressInUse,
    NetworkNotFound,
    OverQuota,
    PortInUse,
    SecurityGroupCannotRemoveDefault,
    SecurityGroupDefaultAlreadyExists,
    SecurityGroupInUse,
    SecurityGroupNotFound,
    SubnetNotFound,
)
from compute.networks.ports import FixedAddress, PortRequest
from portal.identity.policy import Forbidden


def asked(cloud: Any, **wanted: Any) -> PortRequest:
    return PortRequest(network_id=cloud.network.id, **wanted)


def found(port: Port) -> list[str]:
    return [one.address for one in port.addresses.all()]


def test_a_small_subnet_runs_full_and_frees_again(cloud: Any) -> None:
    subnet = cloud.network.subnets.get()
    subnet.allocation_pools = [{"start": "10.78.0.2", "end": "10.78.0.3"}]
    subnet.save()
    made = [addresses.create_port(cloud.network, project_id=cloud.demo.id) for _ in range(3)]
    for port in made[:2]:
        addresses.allocate(port)
    with pytest.raises(NoMoreAddresses, match="private-subnet"):
        addresses.allocate(made[2])
    assert found(made[2]) == []
    made[0].delete()
    addresses.allocate(made[2])
    assert found(made[2]) == ["10.78.0.2"]


def test_a_certain_address_goes_to_its_own_subnet_alone(cloud: Any) -> None:
    Subnet.objects.create(
        network=cloud.network, project=cloud.demo, cidr="10.99.0.0/24", gateway_ip="10.99.0.1",
        allocation_pools=[{"start": "10.99.0.2", "end": "10.99.0.254"}],
    )  # fmt: skip
    port = addresses.create_port(cloud.network, project_id=cloud.demo.id)
    addresses.allocate(port, "10.99.0.7")
    assert found(port) == ["10.99.0.7"]
    addresses.allocate(port)
    assert found(port) == ["10.99.0.7"]
    other = addresses.create_port(cloud.network, project_id=cloud.demo.id)
    with pytest.raises(NoMoreAddresses, match="in use"):
        addresses.allocate(other, "10.99.0.7")
    with pytest.raises(NoMoreAddresses):
        addresses.allocate(other, "192.0.2.1")
    assert found(other) == []


def test_a_port_is_made_with_address_group_and_mac(alice: Any, cloud: Any) -> None:
    port = ports.create_port(actor=alice.actor, wanted=asked(cloud, name="one"))
    subnet = cloud.network.subnets.get()
    assert found(port) == ["10.78.0.2"]
    assert port.mac == mac_for(cloud.network.id, subnet.cidr, "10.78.0.2")
    assert [group.name for group in port.security_groups.all()] == ["default"]
    assert (port.preserve, port.project_id, port.status) == (True, alice.project.id, "DOWN")
    assert Change.objects.filter(kind="port", object_id=str(port.id)).exists()


def test_wanted_addresses(alice: Any, cloud: Any) -> None:
    subnet = cloud.network.subnets.get()
    one = ports.create_port(actor=alice.actor, wanted=asked(cloud, fixed=(FixedAddress(None, "10.78.0.50"),)))
    two = ports.create_port(
        actor=alice.actor, wanted=asked(cloud, fixed=(FixedAddress(subnet.id), FixedAddress(subnet.id, "10.78.0.60")))
    )
    none = ports.create_port(actor=alice.actor, wanted=asked(cloud, fixed=()))
    assert (found(one), found(two), found(none)) == (["10.78.0.50"], ["10.78.0.2", "10.78.0.60"], [])


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ({"fixed": (FixedAddress(None, "192.0.2.1"),)}, InvalidIpForNetwork),
        ({"fixed": (FixedAddress(None, "10.78.0.1"),)}, InvalidIpForNetwork),
        ({"fixed": (FixedAddress(uuid4()),)}, SubnetNotFound),
        ({"fixed": (FixedAddress(None, "10.78.0.9"), FixedAddress(None, "10.78.0.9"))}, None),
        ({"groups": (uuid4(),)}, SecurityGroupNotFound),
        ({"mac": "fa:16:3e:00:00:01"}, Forbidden),
    ],
)
def test_a_port_that_cannot_be_made_leaves_nothing(alice: Any, cloud: Any, wanted: Any, kind: Any) -> None:
    if kind is None:
        assert found(ports.create_port(actor=alice.actor, wanted=asked(cloud, **wanted))) == ["10.78.0.9"]
        return
    with pytest.raises(kind):
        ports.create_port(actor=alice.actor, wanted=asked(cloud, **wanted))
    assert not Port.objects.exists()


def test_macs(alice: Any, root: Any, cloud: Any) -> None:
    cloud.network.project = cloud.demo
    cloud.network.save()
    port = ports.create_port(actor=alice.actor, wanted=asked(cloud, mac="FA:16:3E:AA:BB:CC"))
    assert port.mac == "fa:16:3e:aa:bb:cc"
    with pytest.raises(MacAddressInUse):
        ports.create_port(actor=root.actor, wanted=asked(cloud, mac="fa:16:3e:aa:bb:cc"))
    for nonsense in ("01:00:5e:00:00:01", "nonsense", "fa:16:3e:aa:bb", "00:00:00:00:00:00", "fa:16:3e:aa:bb:cc\n"):
        with pytest.raises(Invalid, match="not a valid MAC"):
            ports.create_port(actor=alice.actor, wanted=asked(cloud, mac=nonsense))
    assert Port.objects.count() == 1


def test_who_may_make_and_delete_ports(alice: Any, bob: Any, charlie: Any, cloud: Any) -> None:
    with pytest.raises(Forbidden):
        ports.create_port(actor=bob.actor, wanted=asked(cloud))
    cloud.network.shared = False
    cloud.network.save()
    with pytest.raises(NetworkNotFound):
        ports.create_port(actor=charlie.actor, wanted=asked(cloud))
    cloud.network.shared = True
    cloud.network.save()
    port = ports.create_port(actor=alice.actor, wanted=asked(cloud))
    foreign = groups.default_group(cloud.other.id)
    with pytest.raises(SecurityGroupNotFound):
        ports.create_port(actor=alice.actor, wanted=asked(cloud, groups=(foreign.id,)))
    for who in (bob, charlie):
        with pytest.raises(Forbidden):
            ports.delete_port(actor=who.actor, port=port)
    ports.delete_port(actor=alice.actor, port=port)
    assert not Port.objects.exists()


def test_a_port_in_use_stays(alice: Any, cloud: Any) -> None:
    port = ports.create_port(actor=alice.actor, wanted=asked(cloud))
    instance = Instance.objects.create(
        name="one",
        project=cloud.demo,
        user_id=alice.user.id,
        flavor=cloud.nano.snapshot(),
        vcpus=1,
        memory_mb=64,
        disk_gb=1,
    )
    Port.objects.filter(pk=port.pk).update(instance=instance)
    port.refresh_from_db()
    with pytest.raises(PortInUse, match=str(instance.id)):
        ports.delete_port(actor=alice.actor, port=port)
    assert Port.objects.filter(pk=port.pk).exists()


def test_groups_are_made_and_deleted(alice: Any, root: Any, cloud: Any) -> None:
    group = groups.create_group(actor=alice.actor, name="web", description="of the web")
    assert [(rule.direction, rule.ethertype) for rule in group.rules.all()] == [("egress", "IPv4"), ("egress", "IPv6")]
    default = groups.default_group(alice.project.id)
    assert sorted((rule.direction, rule.ethertype, rule.remote_group_id) for rule in default.rules.all()) == [
        ("egress", "IPv4", None), ("egress", "IPv6", None),
        ("ingress", "IPv4", default.id), ("ingress", "IPv6", default.id),
    ]  # fmt: skip
    with pytest.raises(SecurityGroupCannotRemoveDefault):
        groups.delete_group(actor=alice.actor, group=default)
    port = ports.create_port(actor=alice.actor, wanted=asked(cloud, groups=(group.id,)))
    with pytest.raises(SecurityGroupInUse):
        groups.delete_group(actor=alice.actor, group=group)
    port.delete()
    groups.delete_group(actor=alice.actor, group=group)
    with pytest.raises(SecurityGroupNotFound):
        groups.delete_group(actor=alice.actor, group=group)
    groups.delete_group(actor=root.actor, group=default)
    assert not SecurityGroup.objects.filter(project=cloud.demo).exists()
    assert groups.default_group(alice.project.id).id != default.id


def test_who_may_make_and_delete_groups(alice: Any, bob: Any, charlie: Any) -> None:
    group = groups.create_group(actor=alice.actor, name="web")
    for who in (bob, charlie):
        with pytest.raises(Forbidden):
            groups.delete_group(actor=who.actor, group=group)
    with pytest.raises(Forbidden):
        groups.create_group(actor=bob.actor, name="web")
    with pytest.raises(Forbidden):
        groups.create_group(actor=charlie.actor, name="web", owner=alice.project.id)
    with pytest.raises(SecurityGroupDefaultAlreadyExists):
        groups.create_group(actor=alice.actor, name="default")


def test_quotas_hold(alice: Any, cloud: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(quota.LIMITS, "port", 2)
    monkeypatch.setitem(quota.LIMITS, "security_group", 2)
    for _ in range(2):
        ports.create_port(actor=alice.actor, wanted=asked(cloud))
    with pytest.raises(OverQuota, match="port"):
        ports.create_port(actor=alice.actor, wanted=asked(cloud))
    groups.create_group(actor=alice.actor, name="web")
    with pytest.raises(OverQuota, match="security_group"):
        groups.create_group(actor=alice.actor, name="more")
    assert (quota.used("port", cloud.demo.id), quota.used("security_group", cloud.demo.id)) == (2, 2)
    assert quota.used("router", cloud.demo.id) == 0
