"""Networks, subnets, ports and security groups made, changed and deleted on the wire of the Network API."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.utils import timezone

from compute.hosts.connections import hypervisor_of
from compute.models import Host, Instance, Network, NetworkRemoval, Port, Subnet
from compute.networks import addresses, quota, ranges, removals
from tests.api.network.test_network_api import fault, listed
from tests.engine.matrix import boot

pytestmark = pytest.mark.django_db
ROOT = "/network/v2.0"
NETWORKS, SUBNETS, PORTS, GROUPS = (f"{ROOT}/{one}" for one in ("networks", "subnets", "ports", "security-groups"))


def network(persona: Any, **wanted: Any) -> dict[str, Any]:
    answer = persona.post(NETWORKS, {"network": wanted})
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()["network"]
    return made


def subnet(persona: Any, network_id: str, cidr: str = "10.50.0.0/24", **wanted: Any) -> dict[str, Any]:
    body = {"subnet": {"network_id": network_id, "cidr": cidr, "ip_version": 4, **wanted}}
    answer = persona.post(SUBNETS, body)
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()["subnet"]
    return made


@pytest.fixture
def town(alice: Any) -> dict[str, Any]:
    """A network of alice's with its subnet."""
    made = network(alice, name="town", description="d", admin_state_up=True)
    return {"network": made, "subnet": subnet(alice, made["id"], name="town-subnet")}


def on_hosts(cloud: Any) -> set[str]:
    with hypervisor_of(cloud.host)._state.change() as state:
        return set(state["networks"])


# networks ------------------------------------------------------------------------------------------------
def test_a_network_from_its_first_to_its_last_day(alice: Any, bob: Any, charlie: Any, town: Any) -> None:
    made = town["network"]
    path = f"{NETWORKS}/{made['id']}"
    assert (made["name"], made["project_id"], made["shared"], made["mtu"]) == ("town", alice.project.id, False, 1500)
    answer = alice.put(path, {"network": {"name": "city", "description": ""}})
    assert (answer.json()["network"]["name"], answer.json()["network"]["description"]) == ("city", "")
    assert alice.get(path).json()["network"]["subnets"] == [town["subnet"]["id"]]
    for persona, status in ((bob, 403), (charlie, 404)):
        fault(persona.put(path, {"network": {"name": "mine"}}), status)
        fault(persona.delete(path), status)
    fault(bob.post(NETWORKS, {"network": {}}), 403)
    assert alice.delete(path).status_code == 204
    fault(alice.delete(path), 404, "NetworkNotFound")
    assert not Subnet.objects.filter(pk=town["subnet"]["id"]).exists()


def test_what_is_shared_is_seen_by_all_and_changed_by_its_owner(alice: Any, root: Any, charlie: Any, town: Any) -> None:
    path = f"{NETWORKS}/{town['network']['id']}"
    fault(alice.put(path, {"network": {"shared": True}}), 403)
    fault(alice.post(NETWORKS, {"network": {"shared": True}}), 403)
    assert root.put(path, {"network": {"shared": True}}).json()["network"]["shared"] is True
    assert charlie.get(path).status_code == 200
    fault(charlie.put(path, {"network": {"name": "mine"}}), 403)
    fault(charlie.delete(path), 403)
    body = {"subnet": {"network_id": town["network"]["id"], "cidr": "10.60.0.0/24", "ip_version": 4}}
    fault(charlie.post(SUBNETS, body), 403)
    port = charlie.post(PORTS, {"port": {"network_id": town["network"]["id"]}}).json()["port"]
    fault(root.put(path, {"network": {"shared": False}}), 409, "InvalidSharedSetting")
    assert charlie.delete(f"{PORTS}/{port['id']}").status_code == 204
    assert root.put(path, {"network": {"shared": False}}).status_code == 200
    made = network(root, name="given", project_id=alice.project.id)
    assert made["project_id"] == alice.project.id


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"provider:network_type": "vlan"}, "provider:network_type"),
        ({"router:external": True}, "router:external"),
        ({"admin_state_up": False}, "not served"),
        ({"mtu": 100}, "mtu"),
        ({"name": 5}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"qos_policy_id": "x"}, "qos_policy_id"),
        ({"availability_zone_hints": ["nova"]}, "availability_zone_hints"),
        ({"project_id": "nobody"}, "project"),
    ],
)
def test_networks_that_are_refused(root: Any, cloud: Any, wanted: dict[str, Any], said: str) -> None:
    assert said in fault(root.post(NETWORKS, {"network": wanted}), 400)
    assert Network.objects.count() == 1


def test_the_quota_of_networks_and_subnets(alice: Any, town: Any, monkeypatch: Any) -> None:
    other = network(alice, name="other")
    monkeypatch.setitem(quota.LIMITS, "network", 2)
    fault(alice.post(NETWORKS, {"network": {}}), 409, "OverQuota")
    monkeypatch.setitem(quota.LIMITS, "subnet", 1)
    body = {"subnet": {"network_id": other["id"], "cidr": "10.60.0.0/24", "ip_version": 4}}
    fault(alice.post(SUBNETS, body), 409, "OverQuota")


def test_a_network_with_ports_stays(alice: Any, town: Any) -> None:
    port = alice.post(PORTS, {"port": {"network_id": town["network"]["id"]}}).json()["port"]
    fault(alice.delete(f"{NETWORKS}/{town['network']['id']}"), 409, "NetworkInUse")
    fault(alice.delete(f"{SUBNETS}/{town['subnet']['id']}"), 409, "SubnetInUse")
    assert alice.delete(f"{PORTS}/{port['id']}").status_code == 204
    assert alice.delete(f"{SUBNETS}/{town['subnet']['id']}").status_code == 204
    assert alice.delete(f"{NETWORKS}/{town['network']['id']}").status_code == 204


# subnets -------------------------------------------------------------------------------------------------
def test_a_subnet_as_it_comes_and_as_it_is_wanted(alice: Any, bob: Any, charlie: Any, town: Any) -> None:
    made = town["subnet"]
    assert (made["cidr"], made["gateway_ip"], made["enable_dhcp"]) == ("10.50.0.0/24", "10.50.0.1", True)
    assert made["allocation_pools"] == [{"start": "10.50.0.2", "end": "10.50.0.254"}]
    other = network(alice, name="other")
    wanted = subnet(
        alice, other["id"], "10.51.0.9/24", gateway_ip="10.51.0.100", enable_dhcp=False, host_routes=[],
        dns_nameservers=["192.0.2.53"], subnetpool_id=None,
    )  # fmt: skip
    assert (wanted["cidr"], wanted["enable_dhcp"], wanted["dns_nameservers"]) == ("10.51.0.0/24", False, ["192.0.2.53"])
    assert wanted["allocation_pools"] == [
        {"start": "10.51.0.1", "end": "10.51.0.99"},
        {"start": "10.51.0.101", "end": "10.51.0.254"},
    ]
    path = f"{SUBNETS}/{made['id']}"
    pools = [{"start": "10.50.0.20", "end": "10.50.0.21"}]
    answer = alice.put(path, {"subnet": {"name": "new", "allocation_pools": pools}}).json()["subnet"]
    assert (answer["name"], answer["allocation_pools"]) == ("new", pools)
    for persona, status in ((bob, 403), (charlie, 404)):
        fault(persona.put(path, {"subnet": {"name": "x"}}), status)
        fault(persona.delete(path), status)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"cidr": "10.77.0.0"}, "not an IPv4 range"),
        ({"cidr": "fd00::/64"}, "not an IPv4 range"),
        ({"ip_version": 6}, "ip_version"),
        ({"cidr": "10.50.0.128/25"}, "overlaps"),
        ({"cidr": "10.0.0.0/8"}, "from /16 to /30"),
        ({"cidr": "10.60.0.0/31"}, "from /16 to /30"),
        ({"cidr": "8.8.8.0/24"}, "does not lie in"),
        ({"cidr": "127.0.0.0/24"}, "does not lie in"),
        ({"cidr": "192.168.7.0/24"}, "in use by this cloud itself"),
        ({"gateway_ip": None}, "gateway_ip"),
        ({"gateway_ip": "10.61.0.1"}, "no address of a host in"),
        ({"gateway_ip": "10.60.0.0"}, "no address of a host in"),
        ({"allocation_pools": [{"start": "10.60.0.9", "end": "10.60.0.2"}]}, "ends before it starts"),
        ({"allocation_pools": [{"start": "10.60.0.1", "end": "10.60.0.2"}]}, "gateway 10.60.0.1"),
        ({"allocation_pools": [{"start": "10.60.0.2", "end": "10.61.0.2"}]}, "no address of a host"),
        ({"allocation_pools": [{"start": "10.60.0.2", "end": "10.60.0.5"}] * 2}, "overlap"),
        ({"allocation_pools": [{"start": "10.60.0.2"}]}, "end"),
        ({"dns_nameservers": ["name"]}, "not a valid IP address"),
        ({"host_routes": [{"destination": "0.0.0.0/0", "nexthop": "10.60.0.2"}]}, "host_routes"),
        ({"ipv6_ra_mode": "slaac"}, "ipv6_ra_mode"),
        ({"network_id": "{town}"}, "has a subnet already"),
    ],
)
def test_subnets_that_are_refused(alice: Any, cloud: Any, town: Any, wanted: dict[str, Any], said: str) -> None:
    Host.objects.create(name="far", uri="qemu+ssh://root@192.168.7.9/system")
    made = network(alice, name="other")
    body = {"network_id": made["id"], "cidr": "10.60.0.0/24", "ip_version": 4, **wanted}
    body["network_id"] = town["network"]["id"] if body["network_id"] == "{town}" else body["network_id"]
    assert said in fault(alice.post(SUBNETS, {"subnet": body}), 400)
    assert Subnet.objects.count() == 2


def test_a_network_that_is_not_there(alice: Any, charlie: Any, town: Any) -> None:
    body = {"network_id": town["network"]["id"], "cidr": "10.60.0.0/24", "ip_version": 4}
    fault(charlie.post(SUBNETS, {"subnet": body}), 404, "NetworkNotFound")


# on the hosts ----------------------------------------------------------------------------------------------
def test_a_deleted_network_goes_from_the_hosts_before_its_range_is_used_again(
    alice: Any, cloud: Any, town: Any, drain: Any
) -> None:
    first = town["network"]["id"]
    instance = boot(alice, cloud)
    assert first in on_hosts(cloud)
    assert alice.delete(f"/compute/v2.1/servers/{instance.id}").status_code == 204
    drain()
    assert alice.delete(f"{NETWORKS}/{first}").status_code == 204
    assert NetworkRemoval.objects.filter(host=cloud.host).count() == 1
    second = network(alice, name="again")["id"]
    subnet(alice, second)
    boot(alice, cloud)
    assert (first in on_hosts(cloud), second in on_hosts(cloud)) == (False, True)
    assert not NetworkRemoval.objects.exists()


def test_a_subnet_is_replaced_when_no_host_has_the_old_one(alice: Any, cloud: Any, town: Any) -> None:
    assert alice.delete(f"{SUBNETS}/{town['subnet']['id']}").status_code == 204
    body = {"subnet": {"network_id": town["network"]["id"], "cidr": "10.60.0.0/24", "ip_version": 4}}
    assert "still being taken off" in fault(alice.post(SUBNETS, body), 409)
    assert removals.remove_due(cloud.host, hypervisor_of(cloud.host)) == 1
    assert alice.post(SUBNETS, body).status_code == 201


def test_a_host_that_fails_keeps_the_removal(alice: Any, cloud: Any, town: Any) -> None:
    driver = hypervisor_of(cloud.host)
    alice.delete(f"{NETWORKS}/{town['network']['id']}")
    driver.break_down()
    with pytest.raises(Exception, match="no route"):
        removals.clear(cloud.host, driver)
    driver.heal()
    removals.clear(cloud.host, driver)
    assert not NetworkRemoval.objects.exists()


def test_what_somebody_else_removes_is_left_to_them(alice: Any, cloud: Any, town: Any, monkeypatch: Any) -> None:
    alice.delete(f"{NETWORKS}/{town['network']['id']}")
    NetworkRemoval.objects.update(taken_until=timezone.now() + removals.TAKEN_FOR)
    driver = hypervisor_of(cloud.host)
    assert removals.remove_due(cloud.host, driver) == 0
    monkeypatch.setattr(removals, "WAIT_SECONDS", 0.0)
    with pytest.raises(Exception, match="still being taken off"):
        removals.clear(cloud.host, driver)
    NetworkRemoval.objects.update(taken_until=timezone.now() - removals.TAKEN_FOR)
    assert removals.remove_due(cloud.host, driver) == 1


def test_what_hosts_know_changes_only_while_nobody_is_plugged_in(alice: Any, cloud: Any, town: Any) -> None:
    path = f"{SUBNETS}/{town['subnet']['id']}"
    assert alice.put(path, {"subnet": {"dns_nameservers": ["192.0.2.1"]}}).status_code == 200
    assert NetworkRemoval.objects.count() == 1
    boot(alice, cloud)
    fault(alice.put(path, {"subnet": {"dns_nameservers": []}}), 409, "SubnetInUse")
    fault(alice.put(path, {"subnet": {"enable_dhcp": False}}), 409, "SubnetInUse")
    assert alice.put(path, {"subnet": {"enable_dhcp": True, "name": "x"}}).status_code == 200
    fault(alice.put(path, {"subnet": {"gateway_ip": "10.50.0.9"}}), 409, "SubnetInUse")
    fault(alice.put(path, {"subnet": {"cidr": "10.60.0.0/24"}}), 400)


# ports and groups ----------------------------------------------------------------------------------------
def test_a_port_changes(alice: Any, bob: Any, charlie: Any, town: Any) -> None:
    made = alice.post(PORTS, {"port": {"network_id": town["network"]["id"]}}).json()["port"]
    group = alice.post(GROUPS, {"security_group": {"name": "web"}}).json()["security_group"]
    path = f"{PORTS}/{made['id']}"
    wanted = {
        "name": "new", "description": "d", "admin_state_up": True, "security_groups": [group["id"]],
        "fixed_ips": [{"ip_address": "10.50.0.40"}, {"subnet_id": town["subnet"]["id"]}],
    }  # fmt: skip
    port = alice.put(path, {"port": wanted}).json()["port"]
    assert (port["name"], port["description"], port["security_groups"]) == ("new", "d", [group["id"]])
    assert [one["ip_address"] for one in port["fixed_ips"]] == ["10.50.0.2", "10.50.0.40"]
    assert alice.put(path, {"port": {"fixed_ips": []}}).json()["port"]["fixed_ips"] == []
    for persona, status in ((bob, 403), (charlie, 404)):
        fault(persona.put(path, {"port": {"name": "x"}}), status)
    for wrong, status in (
        ({"device_id": "x"}, 400), ({"mac_address": "fa:16:3e:00:00:01"}, 400), ({"admin_state_up": False}, 400),
        ({"fixed_ips": [{"ip_address": "192.0.2.1"}]}, 400), ({"security_groups": [town["network"]["id"]]}, 404),
    ):  # fmt: skip
        fault(alice.put(path, {"port": wrong}), status)
    assert listed(alice, "ports", "name=new")[0]["security_groups"] == [group["id"]]


def test_the_first_address_of_a_card_stays(alice: Any, cloud: Any, town: Any) -> None:
    port = boot(alice, cloud).ports.get()
    path, first = f"{PORTS}/{port.id}", port.addresses.get().address
    fault(alice.put(path, {"port": {"fixed_ips": [{"ip_address": "10.50.0.90"}]}}), 409, "PortInUse")
    both = [{"ip_address": first}, {"ip_address": "10.50.0.90"}]
    assert len(alice.put(path, {"port": {"fixed_ips": both}}).json()["port"]["fixed_ips"]) == 2
    assert alice.put(path, {"port": {"fixed_ips": both[:1]}}).status_code == 200
    assert [one.address for one in port.addresses.all()] == [first]


def test_a_group_changes(alice: Any, bob: Any, charlie: Any) -> None:
    group = alice.post(GROUPS, {"security_group": {"name": "web"}}).json()["security_group"]
    path = f"{GROUPS}/{group['id']}"
    changed = alice.put(path, {"security_group": {"name": "www", "description": "d"}}).json()["security_group"]
    assert (changed["name"], changed["description"]) == ("www", "d")
    [default] = listed(alice, "security-groups", "name=default")
    wrong = {"security_group": {"name": "x"}}
    fault(alice.put(f"{GROUPS}/{default['id']}", wrong), 409, "SecurityGroupCannotUpdateDefault")
    assert alice.put(f"{GROUPS}/{default['id']}", {"security_group": {"description": "mine"}}).status_code == 200
    fault(alice.put(path, {"security_group": {"name": "default"}}), 409, "SecurityGroupDefaultAlreadyExists")
    fault(bob.put(path, wrong), 403)
    fault(charlie.put(path, wrong), 404)
    legacy = f"/compute/v2.1/os-security-groups/{group['id']}"
    answer = alice.put(legacy, {"security_group": {"name": "back", "description": ""}})
    assert answer.json()["security_group"]["name"] == "back"
    assert alice.put(legacy, {"security_group": {"name": "back"}}).status_code == 400


def test_without_a_login_nothing_is_written(anyone: Any, cloud: Any, town: Any) -> None:
    for method in ("PUT", "DELETE"):
        assert anyone.request(method, f"{NETWORKS}/{town['network']['id']}", {}).status_code == 401
        assert anyone.request(method, f"{SUBNETS}/{town['subnet']['id']}", {}).status_code == 401
    assert anyone.post(NETWORKS, {"network": {}}).status_code == 401
    assert (Network.objects.count(), settings.TENANT_RANGES[0]) == (2, "10.0.0.0/8")


def test_addresses_that_a_card_has_lost_come_last(alice: Any, cloud: Any, town: Any) -> None:
    instance: Instance = boot(alice, cloud)
    port = instance.ports.get()
    addresses.allocate_on(port, Subnet.objects.get(pk=town["subnet"]["id"]))
    port.addresses.all()[0].delete()
    made = alice.post(PORTS, {"port": {"network_id": town["network"]["id"]}}).json()["port"]
    assert made["fixed_ips"][0]["ip_address"] == "10.50.0.4"
    assert Port.objects.count() == 2


def test_a_network_without_a_subnet_has_no_address_to_give(alice: Any) -> None:
    made = network(alice, name="bare")
    for fixed in ([{}], [{"ip_address": "10.50.0.9"}]):
        fault(alice.post(PORTS, {"port": {"network_id": made["id"], "fixed_ips": fixed}}), 400, "InvalidIpForNetwork")
    port = alice.post(PORTS, {"port": {"network_id": made["id"]}}).json()["port"]
    fault(alice.put(f"{PORTS}/{port['id']}", {"port": {"fixed_ips": [{}]}}), 400, "InvalidIpForNetwork")
    assert Port.objects.get().addresses.count() == 0


def test_no_card_gets_the_gateways_address(alice: Any, town: Any) -> None:
    fixed = [{"ip_address": "10.50.0.9"}]
    assert alice.post(PORTS, {"port": {"network_id": town["network"]["id"], "fixed_ips": fixed}}).status_code == 201
    path, pools = f"{SUBNETS}/{town['subnet']['id']}", [{"start": "10.50.0.20", "end": "10.50.0.30"}]
    wanted = {"gateway_ip": "10.50.0.9", "allocation_pools": pools}
    fault(alice.put(path, {"subnet": wanted}), 409, "SubnetInUse")
    assert Subnet.objects.get(pk=town["subnet"]["id"]).gateway_ip == "10.50.0.1"


def test_no_network_stands_in_the_way_of_its_hosts_own_traffic(
    alice: Any, cloud: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the link on which a host reaches its router would be nearer than that link itself."""
    name, mask = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n", "255.255.255.0"
    lines = [
        ("eth0", "0.0.0.0", "10.50.0.1", "0.0.0.0"),
        ("eth0", "10.50.0.0", "0.0.0.0", mask),
        ("nc-0123456789ab", "10.51.0.0", "0.0.0.0", mask),
        ("eth0", "10.52.0.0", "10.50.0.1", mask),
    ]
    monkeypatch.setattr(ranges, "ROUTES", tmp_path / "route")
    ranges.ROUTES.write_text(name + "".join("\t".join(as_the_kernel_writes(line)) + "\n" for line in lines))
    bare = network(alice)["id"]
    wanted = {"network_id": bare, "cidr": "10.50.0.0/30", "ip_version": 4}
    Host.objects.update(uri="qemu:///system")
    fault(alice.post(SUBNETS, {"subnet": wanted}), 400, "InvalidInput")
    for cidr in ("10.51.0.0/24", "10.52.0.0/24"):
        subnet(alice, network(alice)["id"], cidr)
    Host.objects.update(uri="qemu+ssh://elsewhere/system")
    subnet(alice, bare, "10.50.0.0/30")


def as_the_kernel_writes(route: tuple[str, ...]) -> tuple[str, ...]:
    name, destination, gateway, mask = route
    one, other, last = (
        f"{int.from_bytes(ipaddress.IPv4Address(text).packed, sys.byteorder):08X}"
        for text in (destination, gateway, mask)
    )
    return name, one, other, "0001", "0", "0", "0", last, "0", "0", "0"
