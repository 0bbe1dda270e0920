"""/os-server-groups, and joining one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from compute.models import Change, Instance, QuotaLimit, ServerGroup
from tests.api.compute.conftest import NEWEST, at, body_of, message
from tests.conftest import Cloud, Persona

PATH = "/compute/v2.1/os-server-groups"
SERVERS = "/compute/v2.1/servers"


def make(persona: Persona, policy: str = "affinity", **more: Any) -> str:
    """A group's id."""
    response = persona.post(PATH, {"server_group": {"name": "web", "policy": policy, **more}}, headers=at("2.64"))
    assert response.status_code == 200, response.content
    return str(response.json()["server_group"]["id"])


def launch(persona: Persona, cloud: Cloud, group: str, **more: Any) -> Any:
    """POST a server that joins the group."""
    return persona.post(SERVERS, body_of(cloud, **more) | {"os:scheduler_hints": {"group": group}})


def test_a_group_in_every_version(cloud: Cloud, alice: Persona) -> None:
    old = {"id", "name", "policies", "members", "metadata"}
    made = alice.post(PATH, {"server_group": {"name": "web", "policies": ["anti-affinity"]}}).json()["server_group"]
    assert made.keys() == old and (made["policies"], made["members"], made["metadata"]) == (["anti-affinity"], [], {})
    path = f"{PATH}/{made['id']}"
    shown = alice.get(path, headers=at("2.13")).json()["server_group"]
    assert shown.keys() == old | {"project_id", "user_id"}
    assert (shown["project_id"], shown["user_id"]) == (cloud.demo.id, alice.user.id)
    shown = alice.get(path, headers=at("2.64")).json()["server_group"]
    assert shown.keys() == {"id", "name", "policy", "rules", "members", "project_id", "user_id"}
    assert (shown["policy"], shown["rules"]) == ("anti-affinity", {})
    assert alice.get(PATH, headers=at("2.64")).json() == {"server_groups": [shown]}
    assert Change.objects.filter(kind="server_group", object_id=made["id"], project_id=cloud.demo.id).exists()


def test_rules(cloud: Cloud, alice: Persona) -> None:
    key = make(alice, "anti-affinity", rules={"max_server_per_host": "3"})
    assert alice.get(f"{PATH}/{key}", headers=at("2.64")).json()["server_group"]["rules"] == {"max_server_per_host": 3}


@pytest.mark.parametrize(
    ("group", "version"),
    [
        ({"name": "web"}, "2.1"),
        ({"policies": ["affinity"]}, "2.1"),
        ({"name": "", "policies": ["affinity"]}, "2.1"),
        ({"name": "web", "policies": []}, "2.1"),
        ({"name": "web", "policies": ["affinity", "anti-affinity"]}, "2.1"),
        ({"name": "web", "policies": ["soft-affinity"]}, "2.14"),
        ({"name": "web", "policies": ["storage-affinity"]}, "2.15"),
        ({"name": "web", "policies": [{}]}, "2.15"),
        ({"name": "web", "policy": "affinity"}, "2.63"),
        ({"name": "web", "policies": ["affinity"]}, "2.64"),
        ({"name": "web", "policy": ["affinity"]}, "2.64"),
        ({"name": "web", "policy": "affinity", "rules": {"max_server_per_host": 2}}, "2.64"),
        ({"name": "web", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}, "2.64"),
        ({"name": "web", "policy": "anti-affinity", "rules": {"more": 1}}, "2.64"),
        ({"name": "web", "policy": "anti-affinity", "rules": []}, "2.64"),
        ({"name": "web", "policy": "affinity", "more": 1}, "2.64"),
    ],
)
def test_bad_groups(cloud: Cloud, alice: Persona, group: dict[str, Any], version: str) -> None:
    response = alice.post(PATH, {"server_group": group}, headers=at(version))
    assert response.status_code == 400, response.content
    assert not ServerGroup.objects.exists()


@pytest.mark.parametrize("policy", ["soft-affinity", "soft-anti-affinity"])
def test_soft_policies_came_later(cloud: Cloud, alice: Persona, policy: str) -> None:
    body = {"server_group": {"name": "web", "policies": [policy]}}
    assert alice.post(PATH, body, headers=at("2.15")).json()["server_group"]["policies"] == [policy]


def test_who_may(cloud: Cloud, alice: Persona, bob: Persona, charlie: Persona, root: Persona, anyone: Persona) -> None:
    key = make(alice)
    body = {"server_group": {"name": "web", "policies": ["affinity"]}}
    assert bob.get(f"{PATH}/{key}").status_code == 200 and len(bob.get(PATH).json()["server_groups"]) == 1
    assert bob.post(PATH, body).status_code == 403 and bob.delete(f"{PATH}/{key}").status_code == 403
    assert charlie.get(PATH).json() == {"server_groups": []}
    assert charlie.get(f"{PATH}?all_projects=1").json() == {"server_groups": []}  # not his to ask: ignored, as in Nova
    assert charlie.get(f"{PATH}/{key}").status_code == 404 and charlie.delete(f"{PATH}/{key}").status_code == 404
    assert [anyone.get(PATH).status_code, anyone.post(PATH, body).status_code] == [401, 401]
    assert root.get(PATH).json() == {"server_groups": []}
    assert [one["id"] for one in root.get(f"{PATH}?all_projects=True").json()["server_groups"]] == [key]
    assert root.get(f"{PATH}/{key}").status_code == 200 and root.delete(f"{PATH}/{key}").status_code == 204
    for gone in (key, str(uuid.uuid4()), "web"):
        assert alice.get(f"{PATH}/{gone}").status_code == alice.delete(f"{PATH}/{gone}").status_code == 404


def test_pages(cloud: Cloud, alice: Persona) -> None:
    keys = [make(alice) for _ in range(3)]
    listed = [one["id"] for one in alice.get(f"{PATH}?offset=1&limit=1").json()["server_groups"]]
    assert listed == keys[1:2]
    for query in ("offset=x", "limit=-1"):
        assert alice.get(f"{PATH}?{query}").status_code == 400
    assert alice.get(f"{PATH}?more=1").status_code == 200
    assert alice.get(f"{PATH}?more=1", headers=at("2.75")).status_code == 400


def test_a_list_costs_the_same_however_long(cloud: Cloud, alice: Persona, django_assert_num_queries: Any) -> None:
    launch(alice, cloud, make(alice))
    alice.get(PATH)
    with django_assert_num_queries(5):
        alice.get(PATH)
    for _ in range(3):
        launch(alice, cloud, make(alice))
    with django_assert_num_queries(5):
        assert [len(one["members"]) for one in alice.get(PATH).json()["server_groups"]] == [1, 1, 1, 1]


def test_members_are_the_living(cloud: Cloud, alice: Persona, drain: Callable[[], int]) -> None:
    group = make(alice)
    first, second = (launch(alice, cloud, group).json()["server"]["id"] for _ in range(2))
    drain()

    def members() -> list[str]:
        return list(alice.get(f"{PATH}/{group}").json()["server_group"]["members"])

    assert members() == [first, second]
    assert alice.get(f"{SERVERS}/{first}", headers=at("2.71")).json()["server"]["server_groups"] == [group]
    assert "server_groups" not in alice.get(f"{SERVERS}/{first}", headers=at("2.70")).json()["server"]
    alice.delete(f"{SERVERS}/{first}")
    drain()
    assert members() == [second]
    assert alice.delete(f"{PATH}/{group}").status_code == 204
    seen = alice.get(f"{SERVERS}/{second}", headers=at(NEWEST)).json()["server"]
    assert (seen["status"], seen["server_groups"]) == ("ACTIVE", [])
    assert seen["scheduler_hints"] == {"group": group}


def test_a_group_that_is_not_the_projects(cloud: Cloud, alice: Persona, charlie: Persona, root: Persona) -> None:
    group = make(alice)
    for persona, key in ((charlie, group), (root, group), (alice, str(uuid.uuid4()))):
        response = launch(persona, cloud, key)
        assert response.status_code == 400 and message(response) == f"Instance group {key} could not be found."
    assert not Instance.objects.exists()


def test_quota_of_groups(cloud: Cloud, alice: Persona, root: Persona) -> None:
    QuotaLimit.objects.create(project=cloud.demo, resource="server_groups", limit=2)
    make(alice)
    last = make(alice)
    response = alice.post(PATH, {"server_group": {"name": "web", "policies": ["affinity"]}})
    assert response.status_code == 403 and message(response) == "Quota exceeded, too many server groups."
    absolute = alice.get("/compute/v2.1/limits").json()["limits"]["absolute"]
    assert (absolute["maxServerGroups"], absolute["totalServerGroupsUsed"]) == (2, 2)
    quotas = f"/compute/v2.1/os-quota-sets/{cloud.demo.id}"
    detail = alice.get(f"{quotas}/detail").json()["quota_set"]["server_groups"]
    assert detail == {"limit": 2, "in_use": 2, "reserved": 0}
    assert root.put(quotas, {"quota_set": {"server_groups": 1}}).status_code == 400
    alice.delete(f"{PATH}/{last}")
    make(alice)


def test_quota_of_members(cloud: Cloud, alice: Persona) -> None:
    QuotaLimit.objects.create(project=cloud.demo, resource="server_group_members", limit=2)
    group = make(alice)
    assert launch(alice, cloud, group).status_code == 202
    response = launch(alice, cloud, group, min_count=2)
    assert response.status_code == 403 and message(response) == "Quota exceeded, too many servers in group"
    assert launch(alice, cloud, group).status_code == 202
    assert launch(alice, cloud, group).status_code == 403
    assert Instance.objects.count() == 2


@pytest.mark.parametrize("key", ["os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"])
def test_hints_are_kept(cloud: Cloud, alice: Persona, key: str) -> None:
    other = str(uuid.uuid4())
    hints = {
        "different_host": [other],
        "same_host": other,
        "query": '[">=", "$free_ram_mb", 1024]',
        "build_near_host_ip": "192.0.2.1",
        "cidr": "/24",
        "target_cell": "cell1",
        "reservation": "a hint that nobody knows",
    }
    server = alice.post(SERVERS, body_of(cloud) | {key: hints}).json()["server"]["id"]
    assert Instance.objects.get(pk=server).scheduler_hints == hints
    assert alice.get(f"{SERVERS}/{server}", headers=at("2.100")).json()["server"]["scheduler_hints"] == hints


@pytest.mark.parametrize(
    "hints",
    [
        [],
        "x",
        {"group": "web"},
        {"group": 1},
        {"same_host": "web"},
        {"same_host": []},
        {"different_host": ["web"]},
        {"different_host": {}},
        {"query": "not json"},
        {"query": 1},
        {"query": '["exec", 1]'},
        {"query": [">=", "$password", 1]},
        {"query": '["=", "$\\ud800", 1]'},
        {"build_near_host_ip": "10.0.0.1", "cidr": "/99"},
        {"build_near_host_ip": "here"},
        {"build_near_host_ip": 1},
        {"cidr": "24"},
        {"target_cell": ""},
        {"different_cell": [1]},
        {"own": "a\x00b"},
        {f"hint-{number}": "x" for number in range(65)},
        {"own": "x" * 65_535},
        {"own": json.loads("[" * 900 + "]" * 900)},
    ],
)
def test_bad_hints(cloud: Cloud, alice: Persona, hints: Any) -> None:
    response = alice.post(SERVERS, body_of(cloud) | {"os:scheduler_hints": hints})
    assert response.status_code == 400, response.content
    assert not Instance.objects.exists()


@pytest.mark.parametrize(
    ("zone", "status", "words"),
    [
        ("nova:host-1", 202, ""),
        (":host-1", 202, ""),
        ("nova::host-1", 202, ""),
        ("nova:host-1:host-1", 202, ""),
        ("nova:host-1:node", 400, "has no node"),
        ("nova:host-9", 400, "Compute host host-9 could not be found."),
        ("east:host-1", 400, 'Host "host-1" is not in the availability zone "east".'),
        ("nova:a:b:c", 400, "Unable to parse"),
    ],
)
def test_a_forced_host(cloud: Cloud, root: Persona, alice: Persona, zone: str, status: int, words: str) -> None:
    response = root.post(SERVERS, body_of(cloud, availability_zone=zone))
    assert response.status_code == status, response.content
    if status == 202:
        made = Instance.objects.get()
        assert (made.asked_host, made.host_forced) == ("host-1", True)
        response = alice.post(SERVERS, body_of(cloud, availability_zone=zone))
        assert response.status_code == 403 and "servers:create:forced_host" in message(response)
    else:
        assert words in message(response) and not Instance.objects.exists()


def test_a_host_that_is_asked_for(cloud: Cloud, root: Persona, alice: Persona) -> None:
    for more in ({"host": "host-1"}, {"hypervisor_hostname": "host-1"}):
        assert root.post(SERVERS, body_of(cloud, **more), headers=at("2.74")).status_code == 202
        assert root.post(SERVERS, body_of(cloud, **more), headers=at("2.73")).status_code == 400
        response = alice.post(SERVERS, body_of(cloud, **more), headers=at("2.74"))
        assert response.status_code == 403 and "create:requested_destination" in message(response)
    assert set(Instance.objects.values_list("asked_host", "host_forced")) == {("host-1", False)}
    for bad in (
        {"host": "host-9"},
        {"host": "host-1", "hypervisor_hostname": "host-9"},
        {"host": "host-1", "availability_zone": "nova:host-1"},
    ):
        assert root.post(SERVERS, body_of(cloud, **bad), headers=at("2.74")).status_code == 400, bad
