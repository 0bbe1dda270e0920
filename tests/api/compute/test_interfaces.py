"""Network cards and security groups of a server, on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Action, Instance, Network, Port, PortAddress, SecurityGroup
from compute.networks import groups, ports
from compute.networks.ports import PortRequest
from compute.operations.config_drive import meta_data
from compute.operations.guest import ports_of
from tests.api.compute.conftest import NEWEST, at, body_of, message
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db


def cards(instance: Instance) -> str:
    return f"/compute/v2.1/servers/{instance.id}/os-interface"


def attach(persona: Persona, instance: Instance, version: str = NEWEST, **wanted: Any) -> Any:
    return persona.post(cards(instance), {"interfaceAttachment": wanted}, headers=at(version))


def act(persona: Persona, instance: Instance, version: str = NEWEST, **action: Any) -> Any:
    return persona.post(f"/compute/v2.1/servers/{instance.id}/action", action, headers=at(version))


def test_attach_show_list_detach(
    cloud: Cloud, active: Instance, alice: Persona, backstage: Network, drain: Any
) -> None:
    wanted = {"net_id": str(backstage.id), "fixed_ips": [{"ip_address": "10.99.0.7"}], "tag": "back"}
    answer = attach(alice, active, **wanted)
    assert answer.status_code == 200, answer.content
    card = answer.json()["interfaceAttachment"]
    subnet = backstage.subnets.get()
    assert card["fixed_ips"] == [{"subnet_id": str(subnet.id), "ip_address": "10.99.0.7"}]
    assert (card["net_id"], card["tag"], card["port_state"]) == (str(backstage.id), "back", "BUILD")
    drain()
    shown = alice.get(f"{cards(active)}/{card['port_id']}", headers=at(NEWEST)).json()["interfaceAttachment"]
    assert shown == card | {"port_state": "ACTIVE"}
    listed = alice.get(cards(active), headers=at("2.69")).json()["interfaceAttachments"]
    assert [one["net_id"] for one in listed] == [str(cloud.network.id), str(backstage.id)]
    assert all("tag" not in one for one in listed)
    assert "backstage" in alice.get(f"/compute/v2.1/servers/{active.id}/ips").json()["addresses"]
    assert alice.delete(f"{cards(active)}/{card['port_id']}").status_code == 202
    drain()
    assert alice.get(f"{cards(active)}/{card['port_id']}").status_code == 404
    assert not PortAddress.objects.filter(address="10.99.0.7").exists()
    names = [one["action"] for one in alice.get(f"/compute/v2.1/servers/{active.id}/os-instance-actions").json()[
        "instanceActions"
    ]]  # fmt: skip
    assert names[:2] == ["detach_interface", "attach_interface"]


def test_by_port_and_by_nothing(cloud: Cloud, active: Instance, alice: Persona, drain: Any) -> None:
    port = ports.create_port(actor=alice.actor, wanted=PortRequest(network_id=cloud.network.id))
    assert attach(alice, active, "2.1", port_id=str(port.id)).json()["interfaceAttachment"]["port_id"] == str(port.id)
    for empty in ({}, {"interfaceAttachment": {}}, {"interfaceAttachment": {"port_id": None}}):
        answer = alice.post(cards(active), empty)
        assert answer.json()["interfaceAttachment"]["net_id"] == str(cloud.network.id)
    drain()
    assert active.ports.filter(status="ACTIVE").count() == 5


@pytest.mark.parametrize(
    ("wanted", "status", "said"),
    [
        ({"net_id": "x"}, 400, "not a valid UUID"),
        ({"net_id": 5}, 400, "net_id"),
        ({"net_id": "{network}", "port_id": "{port}"}, 400, "Must not input both network_id and port_id"),
        ({"fixed_ips": [{"ip_address": "10.7.0.9"}]}, 400, "Must input network_id when request IP address"),
        ({"net_id": "{network}", "fixed_ips": []}, 400, "fixed_ips"),
        ({"net_id": "{network}", "fixed_ips": [{"ip_address": "x"}]}, 400, "not a valid IP address"),
        ({"net_id": "{network}", "fixed_ips": [{"ip_address": "10.77.0.9"}] * 2}, 400, "fixed_ips"),
        ({"net_id": "{network}", "fixed_ips": [{"ip_address": "192.0.2.1"}]}, 400, "does not belong to network"),
        ({"net_id": "{network}", "fixed_ips": [{"ip_address": "{used}"}]}, 409, "is in use"),
        ({"net_id": "{nothing}"}, 404, "could not be found"),
        ({"port_id": "{nothing}"}, 404, "could not be found"),
        ({"port_id": "{port}"}, 409, "still in use"),
        ({"net_id": "{network}", "tag": "a/b"}, 400, "Invalid tag"),
        ({"net_id": "{network}", "mac": "x"}, 400, "Additional properties"),
    ],
)
def test_what_is_refused(
    cloud: Cloud, active: Instance, alice: Persona, wanted: dict[str, Any], status: int, said: str
) -> None:
    port = active.ports.get()
    parts = {
        "{network}": cloud.network.id,
        "{port}": port.id,
        "{nothing}": "0" * 32,
        "{used}": port.addresses.get().address,
    }

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: fill(one) for key, one in value.items()}
        if isinstance(value, list):
            return [fill(one) for one in value]
        return str(parts.get(value, value)) if isinstance(value, str) else value

    answer = attach(alice, active, **fill(wanted))
    assert answer.status_code == status, answer.content
    assert said in message(answer)
    assert list(active.ports.all()) == [port]


def test_states_locks_and_versions(active: Instance, alice: Persona, root: Persona) -> None:
    port = active.ports.get()
    assert attach(alice, active, "2.48", tag="x").status_code == 400
    assert alice.post(cards(active), {"interfaceAttachment": {}, "more": 1}).status_code == 400
    assert alice.delete(f"{cards(active)}/nonsense").status_code == 404
    Instance.objects.filter(pk=active.pk).update(locked=True)
    assert attach(alice, active).status_code == 409
    assert alice.delete(f"{cards(active)}/{port.id}").status_code == 409
    assert root.delete(f"{cards(active)}/{port.id}").status_code == 202
    Instance.objects.filter(pk=active.pk).update(locked=False, vm_state="suspended")
    answer = attach(alice, active)
    assert answer.status_code == 409
    assert "Cannot 'attach_interface'" in message(answer)


def test_tags_at_creation(cloud: Cloud, alice: Persona, drain: Any) -> None:
    body = body_of(cloud)
    body["server"]["networks"][0]["tag"] = "front"
    for version, status in (("2.31", 400), ("2.32", 202), ("2.37", 400), ("2.41", 400), ("2.42", 202)):
        assert alice.post("/compute/v2.1/servers", body, headers=at(version)).status_code == status, version
    assert set(Port.objects.values_list("tag", flat=True)) == {"front"}
    port = Port.objects.select_related("instance").first()
    assert port is not None and port.instance is not None
    card = {"type": "nic", "bus": "none", "address": "none", "mac": port.mac, "tags": ["front"]}
    assert meta_data(port.instance, ports_of(port.instance))["devices"] == [card]


def test_addresses_through_actions(cloud: Cloud, active: Instance, alice: Persona, bob: Persona, drain: Any) -> None:
    port = active.ports.get()
    assert act(alice, active, "2.44", addFixedIp={"networkId": str(cloud.network.id)}).status_code == 404
    assert act(bob, active, "2.1", addFixedIp={"networkId": str(cloud.network.id)}).status_code == 403
    assert act(alice, active, "2.1", addFixedIp={"networkId": "x"}).status_code == 400
    assert act(alice, active, "2.43", addFixedIp={"networkId": str(cloud.network.id)}).status_code == 202
    drain()
    first, second = (one.address for one in port.addresses.all())
    shown = alice.get(f"/compute/v2.1/servers/{active.id}/ips").json()["addresses"]["private"]
    assert [one["addr"] for one in shown] == [first, second]
    for wrong in ({"address": "192.0.2.9"}, {"address": "x"}, {}, None):
        assert act(alice, active, "2.1", removeFixedIp=wrong).status_code == 400
    assert act(alice, active, "2.1", removeFixedIp={"address": second}).status_code == 202
    drain()
    assert [one.address for one in port.addresses.all()] == [first]


def test_security_groups_are_put_on_and_taken_off(
    cloud: Cloud, active: Instance, alice: Persona, bob: Persona, charlie: Persona
) -> None:
    web = groups.create_group(actor=alice.actor, name="web")
    path = f"/compute/v2.1/servers/{active.id}/os-security-groups"

    def worn() -> set[str]:
        return {one["name"] for one in alice.get(path).json()["security_groups"]}

    for name in ("web", str(web.id)):
        assert act(alice, active, addSecurityGroup={"name": name}).status_code == 202
        assert act(alice, active, addSecurityGroup={"name": name}).status_code == 202
        assert worn() == {"default", "web"}
        assert act(alice, active, removeSecurityGroup={"name": name}).status_code == 202
        assert worn() == {"default"}
    assert act(alice, active, removeSecurityGroup={"name": "web"}).status_code == 404
    assert act(alice, active, removeSecurityGroup={"name": "default"}).status_code == 202
    assert worn() == set()
    theirs = groups.create_group(actor=charlie.actor, name="theirs")
    for wrong, status in (
        ({"name": "nothing"}, 404), ({"name": str(theirs.id)}, 404), ({"name": ""}, 400), ({"name": 5}, 400),
        ({}, 400), (None, 400), ({"name": "web", "more": 1}, 400),
    ):  # fmt: skip
        for key in ("addSecurityGroup", "removeSecurityGroup"):
            assert act(alice, active, **{key: wrong}).status_code == status, (key, wrong)
    SecurityGroup.objects.create(name="web", project=cloud.demo)
    answer = act(alice, active, addSecurityGroup={"name": "web"})
    assert answer.status_code == 409
    assert "Multiple security groups found" in message(answer)
    assert act(bob, active, addSecurityGroup={"name": str(web.id)}).status_code == 403
    assert act(charlie, active, addSecurityGroup={"name": "default"}).status_code == 404
    assert worn() == set()
    assert not Action.objects.filter(operation__contains="ecurity").exists()


def test_a_server_without_cards_cannot_wear_a_group(active: Instance, alice: Persona) -> None:
    active.ports.all().delete()
    assert act(alice, active, addSecurityGroup={"name": "default"}).status_code == 404


def test_the_list_costs_the_same_however_many_cards(
    cloud: Cloud, active: Instance, alice: Persona, django_assert_num_queries: Any, drain: Any
) -> None:
    with django_assert_num_queries(6):
        alice.get(cards(active))
    for _ in range(3):
        assert attach(alice, active).status_code == 200
    drain()
    with django_assert_num_queries(6):
        assert len(alice.get(cards(active)).json()["interfaceAttachments"]) == 4


def test_security_groups_of_all_projects(cloud: Cloud, alice: Persona, charlie: Persona, root: Persona) -> None:
    """``all_tenants`` is an administrator's; from anybody else it changes nothing."""
    path = "/compute/v2.1/os-security-groups"
    for who in (alice, charlie, root):
        assert who.post(path, {"security_group": {"name": "web", "description": ""}}).status_code == 200

    def owners(who: Persona, query: str = "") -> set[str]:
        return {group["tenant_id"] for group in who.get(f"{path}{query}").json()["security_groups"]}

    assert {cloud.demo.id, cloud.other.id, cloud.admin_project.id} <= owners(root, "?all_tenants=true")
    assert owners(root) == {cloud.admin_project.id} == owners(root, "?all_tenants=0")
    assert owners(alice, "?all_tenants=1") == {cloud.demo.id} == owners(alice)
    assert root.get(f"{path}?all_tenants=perhaps").status_code == 400
