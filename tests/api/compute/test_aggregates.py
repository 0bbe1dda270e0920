"""/os-aggregates, and the zones that aggregates make of their hosts."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from compute.models import Aggregate, Change, Host, Instance
from tests.api.compute.conftest import at, body_of, message
from tests.conftest import Cloud, Persona

PATH = "/compute/v2.1/os-aggregates"
ZONES = "/compute/v2.1/os-availability-zone"


@pytest.fixture
def second(cloud: Cloud) -> Host:
    """A second host, without instances."""
    return Host.objects.create(
        name="host-2", uri=f"fake://{uuid.uuid4()}", state="up", vcpus=8, memory_mb=32_768, disk_gb=500
    )


def make(root: Persona, name: str = "rack", zone: str | None = None, hosts: tuple[str, ...] = ()) -> int:
    """An aggregate's id."""
    response = root.post(PATH, {"aggregate": {"name": name, "availability_zone": zone}})
    assert response.status_code == 200, response.content
    key: int = response.json()["aggregate"]["id"]
    for host in hosts:
        assert act(root, key, "add_host", host=host).status_code == 200
    return key


def act(persona: Persona, key: object, action: str, **given: Any) -> Any:
    """POST an action."""
    return persona.post(f"{PATH}/{key}/action", {action: given})


def zone_of(host: Host) -> str:
    """The zone in the row."""
    return Host.objects.get(pk=host.pk).zone


def test_create_show_and_list_in_every_version(cloud: Cloud, root: Persona) -> None:
    keys = {"availability_zone", "created_at", "deleted", "deleted_at", "id", "name", "updated_at"}
    body = {"aggregate": {"name": "rack", "availability_zone": "east"}}
    made = root.post(PATH, body, headers=at("2.40")).json()["aggregate"]
    assert made.keys() == keys and (made["name"], made["availability_zone"]) == ("rack", "east")
    assert (made["deleted"], made["deleted_at"], made["updated_at"]) == (False, None, None)
    shown = root.get(f"{PATH}/{made['id']}", headers=at("2.41")).json()["aggregate"]
    assert shown.keys() == keys | {"hosts", "metadata", "uuid"}
    assert (shown["hosts"], shown["metadata"]) == ([], {"availability_zone": "east"})
    assert root.get(PATH, headers=at("2.41")).json() == {"aggregates": [shown]}
    assert Change.objects.filter(kind="aggregate", object_id=str(made["id"])).exists()


def test_a_list_costs_the_same_however_long(
    cloud: Cloud, root: Persona, second: Host, django_assert_num_queries: Any
) -> None:
    make(root, hosts=("host-1",))
    root.get(PATH)
    with django_assert_num_queries(5):
        root.get(PATH)
    for number in range(3):
        make(root, f"rack-{number}", hosts=("host-1", "host-2"))
    with django_assert_num_queries(5):
        assert len(root.get(PATH).json()["aggregates"]) == 4


def test_only_administrators(cloud: Cloud, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona) -> None:
    key = Aggregate.objects.create(name="rack").pk
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        answers = [
            persona.get(PATH),
            persona.post(PATH, {"aggregate": {"name": "x"}}),
            persona.get(f"{PATH}/{key}"),
            persona.put(f"{PATH}/{key}", {"aggregate": {"name": "x"}}),
            persona.delete(f"{PATH}/{key}"),
            act(persona, key, "add_host", host="host-1"),
            act(persona, key, "set_metadata", metadata={"a": "b"}),
        ]
        assert {answer.status_code for answer in answers} == {status}
    assert Aggregate.objects.get().name == "rack" and not Aggregate.objects.get().hosts.exists()


@pytest.mark.parametrize(
    "aggregate",
    [
        {},
        {"name": ""},
        {"name": " rack"},
        {"name": "r" * 256},
        {"name": 1},
        {"name": "r", "availability_zone": ""},
        {"name": "r", "availability_zone": "a:b"},
        {"name": "r", "availability_zone": "z" * 256},
        {"name": "r", "hosts": []},
        {"name": "r\x00"},
    ],
)
def test_bad_aggregates(cloud: Cloud, root: Persona, aggregate: dict[str, Any]) -> None:
    assert root.post(PATH, {"aggregate": aggregate}).status_code == 400
    assert not Aggregate.objects.exists()


def test_a_name_is_used_once(cloud: Cloud, root: Persona) -> None:
    make(root, "one")
    key = make(root, "two")
    response = root.post(PATH, {"aggregate": {"name": "one"}})
    assert response.status_code == 409 and message(response) == "Aggregate one already exists."
    assert root.put(f"{PATH}/{key}", {"aggregate": {"name": "one"}}).status_code == 409
    assert sorted(Aggregate.objects.values_list("name", flat=True)) == ["one", "two"]


def test_what_is_not_there(cloud: Cloud, root: Persona) -> None:
    for key, status in (("-1", 404), ("12345", 404), ("9" * 30, 404), ("rack", 400)):
        assert root.get(f"{PATH}/{key}").status_code == status
        assert root.put(f"{PATH}/{key}", {"aggregate": {"name": "x"}}).status_code == status
        assert root.delete(f"{PATH}/{key}").status_code == status
        assert act(root, key, "add_host", host="host-1").status_code == status


def test_update(cloud: Cloud, root: Persona) -> None:
    key = make(root, hosts=("host-1",))
    response = root.put(f"{PATH}/{key}", {"aggregate": {"name": "row", "availability_zone": "east"}})
    shown = response.json()["aggregate"]
    assert (shown["name"], shown["availability_zone"], shown["hosts"]) == ("row", "east", ["host-1"])
    assert shown["updated_at"] and zone_of(cloud.host) == "east"
    root.put(f"{PATH}/{key}", {"aggregate": {"availability_zone": None}})
    assert zone_of(cloud.host) == "nova"
    for bad in ({}, {"aggregate": {}}, {"aggregate": {"metadata": {}}}, {"aggregate": {"name": None}}):
        assert root.put(f"{PATH}/{key}", bad).status_code == 400, bad


def test_hosts_come_and_go_and_take_the_zone(cloud: Cloud, root: Persona, second: Host) -> None:
    key = make(root, zone="east")
    assert act(root, key, "add_host", host="host-2").json()["aggregate"]["hosts"] == ["host-2"]
    assert (zone_of(cloud.host), zone_of(second)) == ("nova", "east")
    assert Change.objects.filter(kind="host", object_id=str(second.pk)).exists()
    response = act(root, key, "add_host", host="host-2")
    assert response.status_code == 409 and "already has host host-2" in message(response)
    assert act(root, key, "add_host", host="host-9").status_code == 404
    assert act(root, key, "remove_host", host="host-1").status_code == 404
    assert act(root, key, "remove_host", host="host-9").status_code == 404
    response = root.delete(f"{PATH}/{key}")
    assert response.status_code == 400 and "not empty" in message(response)
    assert act(root, key, "remove_host", host="host-2").json()["aggregate"]["hosts"] == []
    assert zone_of(second) == "nova"
    assert root.delete(f"{PATH}/{key}").status_code == 200
    assert root.get(f"{PATH}/{key}").status_code == 404


def test_a_host_is_in_one_zone(cloud: Cloud, root: Persona) -> None:
    make(root, "east", "east", hosts=("host-1",))
    plain, west = make(root, "ssd", hosts=("host-1",)), make(root, "west", "west")
    response = act(root, west, "add_host", host="host-1")
    assert response.status_code == 409 and "already in availability zone(s) east" in message(response)
    response = act(root, plain, "set_metadata", metadata={"availability_zone": "west"})
    assert response.status_code == 400 and "already in availability zone(s) east" in message(response)
    assert act(root, plain, "set_metadata", metadata={"availability_zone": "east"}).status_code == 200
    assert zone_of(cloud.host) == "east"


def test_no_zone_changes_under_instances(cloud: Cloud, root: Persona, active: Instance) -> None:
    key, east = make(root, hosts=("host-1",)), make(root, "east", "east")
    for change in (
        lambda: root.put(f"{PATH}/{key}", {"aggregate": {"availability_zone": "west"}}),
        lambda: act(root, key, "set_metadata", metadata={"availability_zone": "west"}),
    ):
        assert change().status_code == 400 and "host-1 has instances" in message(change())
    response = act(root, east, "add_host", host="host-1")
    assert response.status_code == 409 and "would change from nova to east" in message(response)
    assert zone_of(cloud.host) == "nova" and Aggregate.objects.get(pk=key).metadata == {}
    assert act(root, key, "set_metadata", metadata={"availability_zone": "nova"}).status_code == 200
    assert act(root, key, "remove_host", host="host-1").status_code == 200  # nova it is without it, too


def test_a_host_with_instances_stays_in_its_zone(cloud: Cloud, root: Persona, drain: Callable[[], int]) -> None:
    key = make(root, "east", "east", hosts=("host-1",))
    root.post("/compute/v2.1/servers", body_of(cloud, availability_zone="east"))
    drain()
    response = act(root, key, "remove_host", host="host-1")
    assert response.status_code == 409 and "would change from east to nova" in message(response)
    assert zone_of(cloud.host) == "east"


def test_metadata(cloud: Cloud, root: Persona) -> None:
    key = make(root, zone="east", hosts=("host-1",))
    act(root, key, "set_metadata", metadata={"ssd": "true", "cpu": "amd"})
    shown = act(root, key, "set_metadata", metadata={"ssd": None, "cpu": "arm", "gone": None}).json()["aggregate"]
    assert shown["metadata"] == {"availability_zone": "east", "cpu": "arm"}
    shown = act(root, key, "set_metadata", metadata={"availability_zone": None}).json()["aggregate"]
    assert (shown["availability_zone"], zone_of(cloud.host)) == (None, "nova")
    for bad in ({"a": 1}, {"": "x"}, {"a" * 256: "x"}, {"a": "x" * 256}, {"availability_zone": ""}, [], "x"):
        assert act(root, key, "set_metadata", metadata=bad).status_code == 400, bad
    assert Aggregate.objects.get().metadata == {"cpu": "arm"}


def test_bad_actions(cloud: Cloud, root: Persona) -> None:
    key = make(root)
    for body in (
        {},
        {"destroy": {}},
        {"add_host": {}},
        {"add_host": {"host": 1}},
        {"add_host": {"host": "host-1", "more": 1}},
        {"add_host": None},
        {"add_host": {"host": "host-1"}, "remove_host": {"host": "host-1"}},
        {"set_metadata": {}},
        {"set_metadata": {"metadata": {}, "more": 1}},
    ):
        assert root.post(f"{PATH}/{key}/action", body).status_code == 400, body
    assert not Aggregate.objects.get().hosts.exists()


def test_zones_are_those_of_hosts(cloud: Cloud, alice: Persona, root: Persona, second: Host) -> None:
    make(root, "empty", "empty")
    make(root, "east", "east", hosts=("host-2",))
    listed = alice.get(ZONES).json()["availabilityZoneInfo"]
    assert [zone["zoneName"] for zone in listed] == ["east", "nova"] and listed[0]["hosts"] is None
    detail = root.get(f"{ZONES}/detail").json()["availabilityZoneInfo"]
    assert {zone["zoneName"]: list(zone["hosts"]) for zone in detail} == {"east": ["host-2"], "nova": ["host-1"]}


def test_an_instance_goes_to_the_zone_and_shows_it(
    cloud: Cloud, alice: Persona, root: Persona, second: Host, drain: Callable[[], int]
) -> None:
    make(root, "east", "east", hosts=("host-2",))
    pinned = alice.post("/compute/v2.1/servers", body_of(cloud, availability_zone="east")).json()["server"]["id"]
    Host.objects.filter(pk=second.pk).update(enabled=False)
    response = alice.post("/compute/v2.1/servers", body_of(cloud, availability_zone="east"))
    assert response.status_code == 400 and "zone is not available" in message(response)
    free = alice.post("/compute/v2.1/servers", body_of(cloud)).json()["server"]["id"]
    Host.objects.filter(pk=second.pk).update(enabled=True)
    drain()
    seen = [alice.get(f"/compute/v2.1/servers/{key}", headers=at("2.96")).json()["server"] for key in (pinned, free)]
    zones = [one["OS-EXT-AZ:availability_zone"] for one in seen]
    assert zones[0] == "east" and [one["pinned_availability_zone"] for one in seen] == ["east", None]
    assert Instance.objects.get(pk=pinned).host == second


def test_zones_cost_the_same_however_many(
    cloud: Cloud, alice: Persona, root: Persona, django_assert_num_queries: Any
) -> None:
    for number in range(3):
        alice.get(ZONES)
        with django_assert_num_queries(4):
            assert len(alice.get(ZONES).json()["availabilityZoneInfo"]) == number + 1
        Host.objects.create(name=f"more-{number}", uri=f"fake://more-{number}", state="up")
        make(root, f"rack-{number}", f"zone-{number}", hosts=(f"more-{number}",))


def test_zones_need_a_login(cloud: Cloud, anyone: Persona, bob: Persona) -> None:
    assert [anyone.get(ZONES).status_code, bob.get(ZONES).status_code] == [401, 200]
    assert [anyone.get(f"{ZONES}/detail").status_code, bob.get(f"{ZONES}/detail").status_code] == [401, 403]
