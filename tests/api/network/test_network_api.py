"""/network/v2.0 on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings

from compute.models import Instance, Network, Port, SecurityGroup, Subnet
from compute.networks import addresses
from compute.networks.groups import default_group
from portal.api.network.discovery import EXTENSIONS

pytestmark = pytest.mark.django_db
ROOT = "/network/v2.0"
NOBODYS = "c0ffee00-0000-4000-8000-000000000000"
COLLECTIONS = ("networks", "subnets", "ports", "security-groups", "security-group-rules")


def listed(persona: Any, collection: str, query: str = "") -> list[dict[str, Any]]:
    answer = persona.get(f"{ROOT}/{collection}?{query}")
    assert answer.status_code == 200, answer.content
    rows: list[dict[str, Any]] = answer.json()[collection.replace("-", "_")]
    return rows


def names(persona: Any, collection: str, query: str = "") -> list[str]:
    return [row["name"] for row in listed(persona, collection, query)]


def fault(answer: Any, status: int, kind: str = "") -> str:
    assert answer.status_code == status, answer.content
    body = answer.json()["NeutronError"]
    assert set(body) == {"type", "message", "detail"}
    assert kind in ("", body["type"])
    return str(body["message"])


def local(url: str) -> str:
    assert url.startswith(settings.PUBLIC_URL)
    return url.removeprefix(settings.PUBLIC_URL)


@pytest.fixture
def town(cloud: Any, alice: Any, charlie: Any) -> dict[str, Any]:
    """A private network of each project, ports of both, one of them in use."""
    mine = Network.objects.create(name="mine", project=cloud.demo, mtu=1400, description="of demo")
    theirs = Network.objects.create(name="theirs", project=cloud.other, admin_state_up=False, external=True)
    for network, cidr in ((mine, "10.1.0"), (theirs, "10.2.0")):
        Subnet.objects.create(
            network=network, project=network.project, name=f"sub-{network.name}", cidr=f"{cidr}.0/24",
            gateway_ip=f"{cidr}.1", allocation_pools=[{"start": f"{cidr}.2", "end": f"{cidr}.9"}],
        )  # fmt: skip
    instance = Instance.objects.create(
        name="one", project=cloud.demo, user_id=alice.user.id, flavor=cloud.nano.snapshot(),
        vcpus=1, memory_mb=64, disk_gb=1, host=cloud.host,
    )  # fmt: skip
    used = addresses.create_port(mine, project_id=cloud.demo.id, instance=instance, name="used")
    free = addresses.create_port(cloud.network, project_id=cloud.demo.id, name="free")
    foreign = addresses.create_port(theirs, project_id=cloud.other.id, name="foreign")
    for port in (used, free, foreign):
        addresses.allocate(port)
    used.security_groups.add(default_group(cloud.demo.id))
    Port.objects.filter(pk=used.pk).update(status="ACTIVE")
    default_group(cloud.other.id)
    return {"mine": mine, "theirs": theirs, "used": used, "free": free, "foreign": foreign, "instance": instance}


# show --------------------------------------------------------------------------------------------------
def test_a_network(alice: Any, town: Any) -> None:
    body = alice.get(f"{ROOT}/networks/{town['mine'].id}").json()["network"]
    assert body == {
        "id": str(town["mine"].id), "name": "mine", "tenant_id": alice.project.id, "project_id": alice.project.id,
        "admin_state_up": True, "mtu": 1400, "status": "ACTIVE", "shared": False, "router:external": False,
        "subnets": [str(town["mine"].subnets.get().id)], "availability_zone_hints": [],
        "availability_zones": ["nova"], "ipv4_address_scope": None, "ipv6_address_scope": None,
        "description": "of demo", "tags": [], "created_at": body["created_at"], "updated_at": body["updated_at"],
    }  # fmt: skip
    datetime.strptime(body["created_at"], "%Y-%m-%dT%H:%M:%SZ")


def test_a_subnet(alice: Any, town: Any) -> None:
    subnet = town["mine"].subnets.get()
    body = alice.get(f"{ROOT}/subnets/{subnet.id}").json()["subnet"]
    assert (body["cidr"], body["gateway_ip"], body["ip_version"], body["enable_dhcp"]) == (
        "10.1.0.0/24", "10.1.0.1", 4, True,
    )  # fmt: skip
    assert body["allocation_pools"] == [{"start": "10.1.0.2", "end": "10.1.0.9"}]
    assert (body["network_id"], body["host_routes"], body["dns_nameservers"]) == (str(town["mine"].id), [], [])


def test_a_port(alice: Any, root: Any, town: Any, cloud: Any) -> None:
    used = town["used"]
    path = f"{ROOT}/ports/{used.id}"
    body = alice.get(path).json()["port"]
    assert (body["mac_address"], body["status"], body["name"]) == (used.mac, "ACTIVE", "used")
    assert (body["device_id"], body["device_owner"]) == (str(town["instance"].id), "compute:nova")
    assert body["fixed_ips"] == [{"subnet_id": str(town["mine"].subnets.get().id), "ip_address": "10.1.0.2"}]
    assert body["security_groups"] == [str(default_group(cloud.demo.id).id)]
    assert {name for name in body if name.startswith("binding:")} == {"binding:vnic_type"}
    seen = root.get(path).json()["port"]
    assert (seen["binding:host_id"], seen["binding:vif_type"]) == (cloud.host.name, "bridge")
    free = root.get(f"{ROOT}/ports/{town['free'].id}").json()["port"]
    assert (free["device_id"], free["device_owner"], free["binding:host_id"]) == ("", "", "")
    assert (free["binding:vif_type"], free["status"]) == ("unbound", "DOWN")


def test_the_default_group_and_its_four_rules(alice: Any, cloud: Any) -> None:
    [group] = listed(alice, "security-groups")
    assert (group["name"], group["project_id"], group["stateful"], group["shared"]) == (
        "default", alice.project.id, True, False,
    )  # fmt: skip
    rules = group["security_group_rules"]
    assert sorted((rule["direction"], rule["ethertype"], rule["remote_group_id"]) for rule in rules) == [
        ("egress", "IPv4", None), ("egress", "IPv6", None),
        ("ingress", "IPv4", group["id"]), ("ingress", "IPv6", group["id"]),
    ]  # fmt: skip
    assert all(rule["protocol"] is rule["port_range_min"] is rule["remote_ip_prefix"] is None for rule in rules)
    by_id = {rule["id"]: rule for rule in rules}
    assert {rule["id"]: rule for rule in listed(alice, "security-group-rules")} == by_id
    one = rules[0]
    assert alice.get(f"{ROOT}/security-group-rules/{one['id']}").json() == {"security_group_rule": one}
    assert alice.get(f"{ROOT}/security-groups/{group['id']}").json() == {"security_group": group}


@pytest.mark.parametrize(
    ("collection", "kind"),
    [("networks", "NetworkNotFound"), ("subnets", "SubnetNotFound"), ("ports", "PortNotFound"),
     ("security-groups", "SecurityGroupNotFound"), ("security-group-rules", "SecurityGroupRuleNotFound")],
)  # fmt: skip
def test_what_is_not_there_or_not_yours(
    alice: Any, bob: Any, charlie: Any, anyone: Any, root: Any, town: Any, collection: str, kind: str
) -> None:
    for nothing in ("private", str(uuid4()), "x" * 300):
        assert nothing[:64] in fault(alice.get(f"{ROOT}/{collection}/{nothing}"), 404, kind)
    own = [row["id"] for row in listed(alice, collection) if row["project_id"] == alice.project.id]
    assert own
    for row_id in own:
        path = f"{ROOT}/{collection}/{row_id}"
        fault(charlie.get(path), 404, kind)
        assert anyone.get(path).status_code == 401
        assert bob.get(path).status_code == root.get(path).status_code == 200
        if collection in ("ports", "security-groups"):
            fault(charlie.delete(path), 404, kind)
            fault(bob.delete(path), 403)
            assert alice.get(path).status_code == 200
    assert not {row["id"] for row in listed(charlie, collection)} & set(own)
    assert listed(charlie, collection, f"project_id={alice.project.id}") == []
    assert anyone.get(f"{ROOT}/{collection}").status_code == 401
    assert set(own) <= {row["id"] for row in listed(root, collection)}


# lists -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("collection", "query", "expected"),
    [
        ("networks", "", ["private", "mine"]),
        ("networks", "name=private", ["private"]),
        ("networks", "name=private&name=mine", ["private", "mine"]),
        ("networks", "name=nothing", []),
        ("networks", "id=nothing", []),
        ("networks", "shared=True", ["private"]),
        ("networks", "shared=false", ["mine"]),
        ("networks", "router:external=False", ["private", "mine"]),
        ("networks", "router:external=true", []),
        ("networks", "status=ACTIVE&mtu=1400", ["mine"]),
        ("networks", "status=DOWN", []),
        ("networks", "admin_state_up=1", ["private", "mine"]),
        ("networks", "description=of demo", ["mine"]),
        ("networks", "sort_key=name", ["mine", "private"]),
        ("networks", "sort_key=name&sort_dir=desc", ["private", "mine"]),
        ("networks", "limit=1", ["private"]),
        ("networks", "tags=x", []),
        ("subnets", "", ["private-subnet", "sub-mine"]),
        ("subnets", "cidr=10.1.0.0/24", ["sub-mine"]),
        ("subnets", "ip_version=6", []),
        ("subnets", "gateway_ip=10.1.0.1", ["sub-mine"]),
        ("subnets", "gateway_ip=nonsense", []),
        ("subnets", "enable_dhcp=true&shared=true", ["private-subnet"]),
        ("ports", "", ["used", "free"]),
        ("ports", "device_id=", ["free"]),
        ("ports", "device_id=nothing", []),
        ("ports", "device_owner=compute:nova", ["used"]),
        ("ports", "device_owner=compute:elsewhere", []),
        ("ports", "device_owner=network:dhcp", []),
        ("ports", "status=ACTIVE", ["used"]),
        ("ports", "fixed_ips=ip_address=10.1.0.2", ["used"]),
        ("ports", "fixed_ips=ip_address%3D10.1.0.2&fixed_ips=ip_address%3D10.78.0.2", ["used", "free"]),
        ("ports", "fixed_ips=ip_address_substr=10.1.", ["used"]),
        ("ports", "fixed_ips=subnet_id=nothing", []),
        ("ports", "fixed_ips=ip_address=nonsense", []),
        ("ports", "binding:vnic_type=normal&name=free", ["free"]),
        ("security-groups", "name=default", ["default"]),
        ("security-groups", "name=web", []),
        ("security-groups", "stateful=True&shared=False", ["default"]),
    ],
)  # fmt: skip
def test_filters_and_order(alice: Any, town: Any, collection: str, query: str, expected: list[str]) -> None:
    assert names(alice, collection, query) == expected


def test_filters_by_other_things(alice: Any, root: Any, town: Any, cloud: Any) -> None:
    used, mine = town["used"], town["mine"]
    for query in (
        f"device_id={town['instance'].id}", f"network_id={mine.id}", f"mac_address={used.mac.upper()}",
        f"id={used.id}", f"fixed_ips=subnet_id={mine.subnets.get().id}",
        f"security_groups={default_group(cloud.demo.id).id}",
    ):  # fmt: skip
        assert names(alice, "ports", query) == ["used"], query
    assert names(alice, "networks", f"id={mine.id}&id={cloud.network.id}") == ["private", "mine"]
    assert names(alice, "networks", f"subnets={mine.subnets.get().id}") == ["mine"]
    assert names(root, "networks", f"tenant_id={cloud.other.id}") == ["theirs"]
    assert names(root, "ports", f"binding:host_id={cloud.host.name}") == ["used"]
    assert len(listed(alice, "security-group-rules", "direction=ingress&ethertype=IPv4")) == 1
    assert len(listed(alice, "security-group-rules", "remote_ip_prefix=&protocol=")) == 4
    assert len(listed(alice, "security-group-rules", "port_range_min=22")) == 0


@pytest.mark.parametrize(
    "query",
    ["nothing=x", "limit=x", "limit=-1", "sort_key=nothing", "sort_key=subnets", "sort_dir=asc", "marker=nothing",
     f"marker={NOBODYS}", "sort_key=name&sort_dir=up", "shared=maybe", "mtu=x", "page_reverse=maybe",
     "name=a%00b", "binding:host_id=x", "mtu=99999999999999999999"],
)  # fmt: skip
def test_a_query_that_makes_no_sense_is_said_so(alice: Any, town: Any, query: str) -> None:
    assert fault(alice.get(f"{ROOT}/networks?{query}"), 400)


def test_members_do_not_filter_by_what_they_do_not_see(alice: Any, town: Any, cloud: Any) -> None:
    assert "binding:host_id" in fault(alice.get(f"{ROOT}/ports?binding:host_id={cloud.host.name}"), 400)
    assert fault(alice.get(f"{ROOT}/ports?fixed_ips=nothing=x"), 400)


@pytest.mark.parametrize(
    "query",
    ["fields=id&fields=name", "fields=%5B%27id%27%2C+%27name%27%5D", "fields=id&fields=name&fields=nothing"],
)
def test_chosen_fields(alice: Any, town: Any, query: str) -> None:
    for collection in ("networks", "ports", "security-groups"):
        assert all(set(row) == {"id", "name"} for row in listed(alice, collection, query))
    body = alice.get(f"{ROOT}/networks/{town['mine'].id}?{query}").json()
    assert set(body["network"]) == {"id", "name"}


@pytest.mark.parametrize(
    "query", ["fields=%5B%27id", "fields=%5B" + "%5B" * 3000, "fields=%5B1%5D", "fields=%5B%5D%5B0%5D"]
)
def test_fields_that_are_no_list_choose_nothing(alice: Any, town: Any, query: str) -> None:
    assert listed(alice, "networks", query) == [{}, {}]


@pytest.mark.parametrize("order", ["", "&sort_key=name", "&sort_key=mtu&sort_dir=desc&sort_key=name&sort_dir=asc"])
def test_pages_there_and_back(alice: Any, cloud: Any, order: str) -> None:
    Network.objects.bulk_create(Network(name=f"n{n % 3}", project=cloud.demo, mtu=1400 + n % 2) for n in range(6))
    whole = [row["id"] for row in listed(alice, "networks", order[1:])]
    assert len(whole) == 7
    forward, path, last = [], f"{ROOT}/networks?limit=3{order}", ""
    while path:
        body = alice.get(path).json()
        forward += [row["id"] for row in body["networks"]]
        links = {link["rel"]: local(link["href"]) for link in body.get("networks_links", [])}
        path, last = links.get("next", ""), links.get("previous", last)
    assert forward == whole
    body = alice.get(last).json()
    assert [row["id"] for row in body["networks"]] == whole[3:6]


@pytest.mark.parametrize(
    ("collection", "queries"),
    [("networks", 2), ("subnets", 1), ("ports", 3), ("security-groups", 3), ("security-group-rules", 1)],
)
def test_a_list_costs_the_same_whatever_its_length(
    alice: Any, town: Any, cloud: Any, collection: str, queries: int, django_assert_num_queries: Any
) -> None:
    for number in range(5):
        port = addresses.create_port(cloud.network, project_id=cloud.demo.id, name=f"p{number}")
        addresses.allocate(port)
        Network.objects.create(name=f"n{number}", project=cloud.demo)
        SecurityGroup.objects.create(name=f"g{number}", project=cloud.demo)
        Subnet.objects.create(network=town["mine"], project=cloud.demo, cidr=f"10.{90 + number}.0.0/24")
    alice.get(f"{ROOT}/{collection}")
    with django_assert_num_queries(3 + queries):  # three for the token
        assert len(listed(alice, collection)) > 2


# writes ------------------------------------------------------------------------------------------------
def test_groups(alice: Any, bob: Any, root: Any, cloud: Any) -> None:
    path = f"{ROOT}/security-groups"
    answer = alice.post(path, {"security_group": {"name": "web", "description": "of the web"}})
    assert answer.status_code == 201
    group = answer.json()["security_group"]
    assert [rule["direction"] for rule in group["security_group_rules"]] == ["egress", "egress"]
    assert names(alice, "security-groups") == ["default", "web"]
    fault(bob.post(path, {"security_group": {"name": "web"}}), 403)
    fault(alice.post(path, {"security_group": {"name": "web", "project_id": cloud.other.id}}), 403)
    assert root.post(path, {"security_group": {"name": "web", "tenant_id": cloud.other.id}}).status_code == 201
    default = listed(alice, "security-groups", "name=default")[0]
    fault(alice.delete(f"{path}/{default['id']}"), 409, "SecurityGroupCannotRemoveDefault")
    assert alice.delete(f"{path}/{group['id']}").status_code == 204
    fault(alice.delete(f"{path}/{group['id']}"), 404, "SecurityGroupNotFound")


def test_the_default_group_of_a_project_as_tempest_deletes_it(root: Any, charlie: Any) -> None:
    query = f"project_id={charlie.project.id}&name=default"
    [group] = listed(root, "security-groups", query)
    assert root.delete(f"{ROOT}/security-groups/{group['id']}").status_code == 204
    assert not SecurityGroup.objects.filter(project=charlie.project).exists()
    assert listed(root, "security-groups", "project_id=nobody") == []


def test_ports(alice: Any, bob: Any, root: Any, cloud: Any) -> None:
    path, network_id = f"{ROOT}/ports", str(cloud.network.id)
    answer = alice.post(path, {"port": {"network_id": network_id, "name": "one", "admin_state_up": True}})
    assert answer.status_code == 201, answer.content
    port = answer.json()["port"]
    assert (port["name"], port["fixed_ips"][0]["ip_address"], port["device_id"]) == ("one", "10.78.0.2", "")
    wanted = {"network_id": network_id, "fixed_ips": [{"ip_address": "10.78.0.40"}], "security_groups": []}
    other = alice.post(path, {"port": {**wanted, "binding:vnic_type": "normal"}}).json()["port"]
    assert (other["fixed_ips"][0]["ip_address"], other["security_groups"]) == ("10.78.0.40", [])
    assert "in use" in fault(alice.post(path, {"port": wanted}), 409)
    fault(bob.post(path, {"port": {"network_id": network_id}}), 403)
    fault(bob.delete(f"{path}/{port['id']}"), 403)
    assert alice.delete(f"{path}/{port['id']}").status_code == 204
    fault(alice.delete(f"{path}/{port['id']}"), 404, "PortNotFound")
    assert names(alice, "ports") == [""]


def test_a_port_in_use_is_not_deleted(alice: Any, town: Any) -> None:
    fault(alice.delete(f"{ROOT}/ports/{town['used'].id}"), 409, "PortInUse")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 400, "Unable to find 'port'"),
        ([], 400, "object"),
        ({"port": []}, 400, "object"),
        ({"port": {}}, 400, "network_id"),
        ({"port": {"network_id": "private"}}, 400, "not a valid UUID"),
        ({"port": {"network_id": NOBODYS}}, 404, "could not be found"),
        ({"port": {"network_id": None, "name": 7}}, 400, "name"),
        ({"port": {"network_id": "N", "nothing": 1}}, 400, "nothing"),
        ({"port": {"network_id": "N", "device_owner": "network:dhcp"}}, 400, "device_owner"),
        ({"port": {"network_id": "N", "name": "x" * 256}}, 400, "name"),
        ({"port": {"network_id": "N", "fixed_ips": [{"ip_address": "nonsense"}]}}, 400, "not a valid IP"),
        ({"port": {"network_id": "N", "fixed_ips": [{"ip_address": "192.0.2.1"}]}}, 400, "not a valid IP for any"),
        ({"port": {"network_id": "N", "fixed_ips": [{}] * 6}}, 400, "maximum amount"),
        ({"port": {"network_id": "N", "fixed_ips": [{"subnet_id": str(uuid4())}]}}, 404, "Subnet"),
        ({"port": {"network_id": "N", "security_groups": [str(uuid4())]}}, 404, "Security group"),
        ({"port": {"network_id": "N", "security_groups": "default"}}, 400, "security_groups"),
        ({"port": {"network_id": "N", "mac_address": "fa:16:3e:00:00:01"}}, 403, "foreign_mac"),
        ({"port": {"network_id": "N", "project_id": "a", "tenant_id": "b"}}, 400, "do not match"),
        ({"port": {"network_id": "N", "binding:vnic_type": "direct"}}, 400, "vnic_type"),
        ({"port": {"network_id": "N", "binding:host_id": "h"}}, 400, "host_id"),
        ({"port": {"network_id": "N", "admin_state_up": False}}, 400, "not served"),
    ],
)
def test_a_port_that_cannot_be_made_leaves_nothing(alice: Any, cloud: Any, body: Any, status: int, said: str) -> None:
    if isinstance(body, dict) and isinstance(body.get("port"), dict) and body["port"].get("network_id") == "N":
        body = {"port": {**body["port"], "network_id": str(cloud.network.id)}}
    assert said in fault(alice.post(f"{ROOT}/ports", body), status)
    assert not Port.objects.exists()


@pytest.mark.parametrize(("method", "path"), [("POST", "security-group-rules"), ("DELETE", "security-group-rules/{}")])
def test_what_comes_later_says_so(root: Any, cloud: Any, method: str, path: str) -> None:
    fault(root.request(method, f"{ROOT}/{path.format(cloud.network.id)}", {}), 405)
    fault(root.request("POST", f"{ROOT}/routers", {}), 404)


# discovery ---------------------------------------------------------------------------------------------
def test_discovery(anyone: Any, alice: Any) -> None:
    for path in ("/network", "/network/"):
        [version] = anyone.get(path).json()["versions"]
        assert (version["id"], version["status"]) == ("v2.0", "CURRENT")
        assert version["links"][0]["href"].endswith("/network/v2.0/")
    for path in (ROOT, f"{ROOT}/"):
        assert anyone.get(path).status_code == 401
        assert [one["collection"] for one in alice.get(path).json()["resources"]] == [
            name.replace("-", "_") for name in COLLECTIONS
        ]


def test_extensions(alice: Any) -> None:
    found = alice.get(f"{ROOT}/extensions").json()["extensions"]
    assert [one["alias"] for one in found] == sorted(one[0] for one in EXTENSIONS)
    one = alice.get(f"{ROOT}/extensions/security-group").json()["extension"]
    assert set(one) == {"alias", "name", "description", "updated", "links"}
    fault(alice.get(f"{ROOT}/extensions/router"), 404, "ExtensionsNotFound")
    assert not {"router", "trunk", "qos", "dvr", "l3-ha"} & {one["alias"] for one in found}


def test_zones_agents_and_quotas(alice: Any, root: Any, charlie: Any, town: Any) -> None:
    [zone] = alice.get(f"{ROOT}/availability_zones").json()["availability_zones"]
    assert zone == {"name": "nova", "resource": "network", "state": "available"}
    assert alice.get(f"{ROOT}/agents").json() == {"agents": []}
    path = f"{ROOT}/quotas/{alice.project.id}"
    limits = alice.get(path).json()["quota"]
    assert (limits["port"], limits["security_group"]) == (500, 10)
    assert alice.get(f"{path}/default").json()["quota"] == limits
    for name in ("details", "details.json"):
        assert alice.get(f"{path}/{name}").json()["quota"]["port"] == {"limit": 500, "used": 2, "reserved": 0}
    for foreign in (path, f"{path}/details", f"{path}/default"):
        fault(charlie.get(foreign), 403)
        assert root.get(foreign).status_code == 200
    fault(alice.get(f"{ROOT}/quotas"), 403)
    assert root.get(f"{ROOT}/quotas").json() == {"quotas": []}
