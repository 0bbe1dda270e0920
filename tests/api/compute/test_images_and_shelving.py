"""createImage, createBackup, shelve, shelveOffload and unshelve on the wire, at the versions that differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compute.models import Action, Image, Instance
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona

Drain = Callable[[], int]
IMAGE_URL = "http://127.0.0.1:8000/image/v2/images/"


@pytest.fixture
def action(active: Instance) -> str:
    return f"/compute/v2.1/servers/{active.id}/action"


def shown(persona: Persona, instance: Instance, version: str = "2.1") -> dict[str, Any]:
    body: dict[str, Any] = persona.get(f"/compute/v2.1/servers/{instance.id}", headers=at(version)).json()["server"]
    return body


@pytest.mark.parametrize(
    "body",
    [
        {"createImage": {"name": "one", "metadata": {"tier": "front"}}},
        {"createBackup": {"name": "one", "backup_type": "daily", "rotation": "2", "metadata": {"tier": "front"}}},
    ],
    ids=lambda body: next(iter(body)),
)
def test_the_answer_names_the_image(action: str, active: Instance, alice: Persona, drain: Drain, body: Any) -> None:
    old = alice.post(action, body)
    assert (old.status_code, old.content) == (202, b"")
    assert old.headers["Location"].startswith(IMAGE_URL)
    image = Image.objects.get(pk=old.headers["Location"].removeprefix(IMAGE_URL))
    assert (image.name, image.status, image.properties["tier"]) == ("one", "queued", "front")
    wire = alice.get(f"/image/v2/images/{image.pk}").json()
    assert (wire["status"], wire["instance_uuid"], wire["visibility"]) == ("queued", str(active.id), "private")
    again = alice.post(action, body)
    assert again.status_code == 409 and "task_state image_" in message(again)
    drain()
    new = alice.post(action, body, headers=at("2.45"))
    assert (new.status_code, list(new.json())) == (202, ["image_id"])
    assert "Location" not in new.headers
    drain()
    assert alice.get(f"/image/v2/images/{new.json()['image_id']}").json()["status"] == "active"
    log = alice.get(f"/compute/v2.1/servers/{active.id}/os-instance-actions").json()["instanceActions"]
    assert [one["action"] for one in log] == [next(iter(body))] * 2 + ["create"]


def test_no_backup_is_kept_and_none_is_named(action: str, alice: Persona, drain: Drain) -> None:
    body = {"createBackup": {"name": "one", "backup_type": "daily", "rotation": 0}}
    response = alice.post(action, body)
    assert response.status_code == 202 and "Location" not in response.headers
    drain()
    assert not Image.objects.filter(name="one").exists()


@pytest.mark.parametrize(
    "body",
    [
        {"createImage": None},
        {"createImage": {}},
        {"createImage": {"name": ""}},
        {"createImage": {"name": " one"}},
        {"createImage": {"name": "x" * 256}},
        {"createImage": {"name": 5}},
        {"createImage": {"name": "one", "more": 1}},
        {"createImage": {"name": "one", "metadata": {"": ""}}},
        {"createImage": {"name": "one", "metadata": {"x" * 256: "y"}}},
        {"createImage": {"name": "one", "metadata": {"status": "active"}}},
        {"createImage": {"name": "one", "metadata": {"locations": "file:///etc/passwd"}}},
        {"createBackup": {"name": "one", "backup_type": "daily"}},
        {"createBackup": {"name": "one", "backup_type": "daily", "rotation": -1}},
        {"createBackup": {"name": "one", "backup_type": "daily", "rotation": "many"}},
        {"createBackup": {"name": "one", "backup_type": 5, "rotation": 1}},
        {"createBackup": {"name": "", "backup_type": "daily", "rotation": 1}},
    ],
    ids=str,
)
def test_bodies_that_make_no_sense(action: str, active: Instance, alice: Persona, body: Any) -> None:
    images = Image.objects.count()
    response = alice.post(action, body)
    assert response.status_code == 400 and message(response)
    assert Image.objects.count() == images
    assert Instance.objects.get(pk=active.pk).task_state is None


def test_metadata_count_up_to_2_38(action: str, alice: Persona) -> None:
    many = {f"m{number}": "x" for number in range(129)}
    refused = alice.post(action, {"createImage": {"name": "one", "metadata": many}}, headers=at("2.38"))
    assert refused.status_code == 403 and message(refused) == "Maximum number of metadata items exceeds 128"
    refused = alice.post(action, {"createImage": {"name": "one", "metadata": many}}, headers=at("2.39"))
    assert refused.status_code == 403 and "128 properties" in message(refused)


BODIES: list[dict[str, Any]] = [
    {"createImage": {"name": "one"}},
    {"createBackup": {"name": "one", "backup_type": "daily", "rotation": 1}},
    {"shelve": None},
    {"shelveOffload": None},
    {"unshelve": None},
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: next(iter(body)))
def test_who_may(
    action: str, active: Instance, bob: Persona, charlie: Persona, anyone: Persona, root: Persona, body: Any
) -> None:
    key = next(iter(body))
    before = Action.objects.count()
    assert bob.post(action, body).status_code == 403
    assert charlie.post(action, body).status_code == 404
    assert anyone.post(action, body).status_code == 401
    assert Action.objects.count() == before
    Instance.objects.filter(pk=active.pk).update(
        vm_state="shelved" if key in ("shelveOffload", "unshelve") else "active"
    )
    assert root.post(action, body).status_code == 202


def test_offloading_is_for_administrators(action: str, active: Instance, alice: Persona) -> None:
    Instance.objects.filter(pk=active.pk).update(vm_state="shelved")
    assert alice.post(action, {"shelveOffload": None}).status_code == 403


def test_shelve_and_unshelve(
    cloud: Cloud, action: str, active: Instance, alice: Persona, root: Persona, drain: Drain
) -> None:
    before = shown(alice, active, NEWEST)
    response = alice.post(action, {"shelve": None})
    assert (response.status_code, response.content) == (202, b"")
    assert (shown(alice, active)["status"], shown(alice, active)["OS-EXT-STS:task_state"]) == ("ACTIVE", "shelving")
    refused = alice.post(action, {"unshelve": None})
    assert refused.status_code == 409
    assert message(refused) == f"Cannot 'unshelve' instance {active.id} while it is in vm_state active"
    drain()
    now = shown(root, active, NEWEST)
    states = (now["status"], now["OS-EXT-STS:vm_state"], now["OS-EXT-STS:task_state"], now["OS-EXT-STS:power_state"])
    assert states == ("SHELVED_OFFLOADED", "shelved_offloaded", None, 4)
    nowhere = (now["OS-EXT-SRV-ATTR:host"], now["OS-EXT-SRV-ATTR:hypervisor_hostname"], now["hostId"])
    assert nowhere == (None, None, "")
    assert (now["host_status"], now["addresses"], now["image"]) == ("", before["addresses"], before["image"])
    assert [image["name"] for image in alice.get("/image/v2/images?name=web-shelved").json()["images"]] == [
        "web-shelved"
    ]
    assert alice.post(action, {"unshelve": None}, headers=at("2.90")).status_code == 202
    drain()
    now = shown(alice, active, NEWEST)
    assert (now["status"], now["addresses"]) == ("ACTIVE", before["addresses"])
    assert alice.get("/image/v2/images?name=web-shelved").json()["images"] == []
    log = alice.get(f"/compute/v2.1/servers/{active.id}/os-instance-actions").json()["instanceActions"]
    assert [one["action"] for one in log] == ["unshelve", "shelveOffload", "shelve", "create"]


@pytest.mark.parametrize(
    ("version", "argument", "status"),
    [
        ("2.1", {"availability_zone": 5}, 202),
        ("2.77", {}, 400),
        ("2.77", {"availability_zone": None}, 400),
        ("2.77", {"availability_zone": ""}, 400),
        ("2.77", {"availability_zone": "nova", "host": "host-1"}, 400),
        ("2.77", {"availability_zone": "west"}, 400),
        ("2.77", {"availability_zone": "nova"}, 202),
        ("2.91", {"availability_zone": None}, 202),
        ("2.91", {"host": "host-1"}, 202),
        ("2.91", {"host": "host-9"}, 400),
        ("2.91", {"host": ""}, 400),
        ("2.91", {"host": "host-1", "availability_zone": "nova"}, 202),
        ("2.91", [], 400),
    ],
)
def test_where_to_unshelve(
    action: str, active: Instance, root: Persona, version: str, argument: Any, status: int
) -> None:
    Instance.objects.filter(pk=active.pk).update(vm_state="shelved_offloaded")
    response = root.post(action, {"unshelve": argument}, headers=at(version))
    assert response.status_code == status, response.content
    wanted = "unshelving" if status == 202 else None
    assert Instance.objects.get(pk=active.pk).task_state == wanted


def test_a_host_is_for_administrators_and_a_place_for_the_offloaded(
    action: str, active: Instance, alice: Persona
) -> None:
    Instance.objects.filter(pk=active.pk).update(vm_state="shelved_offloaded")
    refused = alice.post(action, {"unshelve": {"host": "host-1"}}, headers=at("2.91"))
    assert refused.status_code == 403 and "os-shelve:unshelve_to_host" in message(refused)
    Instance.objects.filter(pk=active.pk).update(vm_state="shelved")
    refused = alice.post(action, {"unshelve": {"availability_zone": "nova"}}, headers=at("2.77"))
    assert refused.status_code == 409 and "must be SHELVED_OFFLOADED" in message(refused)
    assert Instance.objects.get(pk=active.pk).task_state is None


def test_images_of_a_server_through_the_proxy(action: str, active: Instance, alice: Persona, drain: Drain) -> None:
    alice.post(action, {"createImage": {"name": "one"}})
    drain()
    for query in (f"server={active.id}", f"server=http://nova/servers/{active.id}", "type=snapshot"):
        (found,) = alice.get(f"/compute/v2.1/images/detail?{query}").json()["images"]
        assert (found["name"], found["server"]["id"], found["status"]) == ("one", str(active.id), "ACTIVE")
    assert alice.get("/compute/v2.1/images?server=none").json()["images"] == []
    assert alice.get(f"/image/v2/images/{found['id']}/tasks").json() == {"tasks": []}
    assert "server" not in alice.get("/compute/v2.1/images/detail?name=tiny").json()["images"][0]


def test_tasks_of_an_image_that_one_cannot_see(charlie: Persona, anyone: Persona, alice: Persona) -> None:
    image = Image.objects.create(name="own", project=alice.project, visibility="private")
    assert alice.get(f"/image/v2/images/{image.pk}/tasks").json() == {"tasks": []}
    assert charlie.get(f"/image/v2/images/{image.pk}/tasks").status_code == 404
    assert anyone.get(f"/image/v2/images/{image.pk}/tasks").status_code == 401


def test_metadata_of_images_up_to_2_38(alice: Persona, bob: Persona, charlie: Persona, anyone: Persona) -> None:
    image = Image.objects.create(name="own", project=alice.project, visibility="private", properties={"a": "1"})
    path = f"/compute/v2.1/images/{image.pk}/metadata"
    assert alice.get(path).json() == {"metadata": {"a": "1"}}
    assert alice.post(path, {"metadata": {"b": "2"}}).json() == {"metadata": {"a": "1", "b": "2"}}
    assert alice.put(path, {"metadata": {"c": "3"}}).json() == {"metadata": {"c": "3"}}
    assert alice.put(f"{path}/d", {"meta": {"d": "4"}}).json() == {"meta": {"d": "4"}}
    assert alice.get(f"{path}/d").json() == {"meta": {"d": "4"}}
    assert alice.delete(f"{path}/c").status_code == 204
    assert alice.get(path).json() == {"metadata": {"d": "4"}}
    assert alice.get(f"{path}/c").status_code == 404 == alice.delete(f"{path}/c").status_code
    for body in ({}, {"metadata": []}, {"metadata": {"status": "x"}}, {"metadata": {"": "x"}}, {"metadata": {"a": 1}}):
        assert alice.post(path, body).status_code == 400, body
    for meta in ({}, {"e": "1"}, {"d": 1}, {"d": "1", "e": "2"}):
        assert alice.put(f"{path}/d", {"meta": meta}).status_code == 400, meta
    assert bob.get(path).status_code == 200
    assert bob.post(path, {"metadata": {}}).status_code == 403 == bob.delete(f"{path}/d").status_code
    assert charlie.get(path).status_code == 404 == charlie.post(path, {"metadata": {}}).status_code
    assert anyone.get(path).status_code == 401
    assert alice.get(path, headers=at("2.39")).status_code == 404
    assert Image.objects.get(pk=image.pk).properties == {"d": "4"}
