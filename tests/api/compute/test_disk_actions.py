"""rebuild, rescue, unrescue, resize, confirmResize and revertResize on the wire."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from compute.models import Action, Flavor, Instance, KeyPair, QuotaLimit
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona

KEYS = ("rebuild", "rescue", "unrescue", "resize", "confirmResize", "revertResize")


@pytest.fixture
def action(active: Instance) -> str:
    return f"/compute/v2.1/servers/{active.id}/action"


@pytest.fixture
def larger(cloud: Cloud) -> Flavor:
    return Flavor.objects.create(id="84", name="larger", vcpus=1, memory_mb=256, disk_gb=2)


def status_of(persona: Persona, action: str) -> str:
    return str(persona.get(action.removesuffix("/action")).json()["server"]["status"])


def test_a_rebuild_answers_with_the_whole_server(
    action: str, alice: Persona, cloud: Cloud, drain: Callable[[], int]
) -> None:
    body = {"imageRef": str(cloud.image.id), "name": "anew", "metadata": {"a": "b"}, "adminPass": "secret"}
    response = alice.post(action, {"rebuild": body})
    assert response.status_code == 202, response.content
    server = response.json()["server"]
    assert response["Location"].endswith(f"/servers/{server['id']}")
    assert (server["name"], server["status"], server["metadata"]) == ("anew", "REBUILD", {"a": "b"})
    assert (server["adminPass"], server["image"]["id"]) == ("secret", str(cloud.image.id))
    assert status_of(alice, action) == "REBUILD"
    drain()
    assert status_of(alice, action) == "ACTIVE"


@pytest.mark.parametrize(
    ("version", "there", "absent"),
    [
        ("2.1", ("adminPass", "flavor"), ("description", "key_name", "OS-EXT-STS:vm_state", "server_groups")),
        ("2.53", ("description",), ("key_name", "user_data")),
        ("2.54", ("key_name",), ("user_data",)),
        ("2.57", ("user_data",), ("server_groups", "OS-EXT-STS:vm_state")),
        ("2.71", ("server_groups",), ("OS-EXT-STS:vm_state",)),
        (NEWEST, ("OS-EXT-STS:vm_state", "user_data", "scheduler_hints", "pinned_availability_zone"), ()),
    ],
)
def test_what_the_answer_holds_at_each_version(
    action: str, alice: Persona, cloud: Cloud, version: str, there: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    body = {"rebuild": {"imageRef": str(cloud.image.id)}}
    server = alice.post(action, body, headers=at(version)).json()["server"]
    assert set(there) <= set(server)
    assert not set(absent) & set(server)


def test_user_data_has_one_name_in_the_answer(action: str, active: Instance, root: Persona, cloud: Cloud) -> None:
    body = {"rebuild": {"imageRef": str(cloud.image.id)}}
    server = root.post(action, body, headers=at(NEWEST)).json()["server"]
    assert "OS-EXT-SRV-ATTR:host" in server and "OS-EXT-SRV-ATTR:user_data" not in server
    assert server["user_data"] is None


def test_what_a_rebuild_may_change(action: str, active: Instance, alice: Persona, cloud: Cloud) -> None:
    KeyPair.objects.create(user=alice.user, name="laptop", public_key="ssh-ed25519 AAAA", fingerprint="00")
    wanted = {
        "imageRef": str(cloud.image.id), "description": "words", "key_name": "laptop", "user_data": "aGk=",
        "hostname": "anew", "accessIPv4": "192.0.2.7", "OS-DCF:diskConfig": "AUTO",
    }  # fmt: skip
    response = alice.post(action, {"rebuild": wanted}, headers=at("2.90"))
    assert response.status_code == 202, response.content
    active.refresh_from_db()
    assert (active.description, active.key_name, active.key_public) == ("words", "laptop", "ssh-ed25519 AAAA")
    assert (active.user_data, active.hostname, active.access_ipv4) == ("aGk=", "anew", "192.0.2.7")
    assert active.disk_config == "AUTO"


@pytest.mark.parametrize(
    ("version", "more", "words"),
    [
        ("2.1", {"imageRef": "nonsense"}, "imageRef"),
        ("2.1", {"imageRef": str(uuid.UUID(int=7))}, "Can not find requested image"),
        ("2.1", {"imageRef": None}, "imageRef"),
        ("2.1", {"name": ""}, "name"),
        ("2.1", {"metadata": {"a": 1}}, "metadata"),
        ("2.1", {"explode": 1}, "explode"),
        ("2.1", {"personality": [{"path": "/a", "contents": ""}]}, "personality"),
        ("2.57", {"personality": []}, "personality"),
        ("2.18", {"description": "x"}, "description"),
        ("2.53", {"key_name": "laptop"}, "key_name"),
        ("2.54", {"key_name": "none such"}, "Invalid key_name"),
        ("2.56", {"user_data": "aGk="}, "user_data"),
        ("2.57", {"user_data": "?"}, "base64"),
        ("2.89", {"hostname": "anew"}, "hostname"),
        ("2.63", {"trusted_image_certificates": ["x"]}, "trusted_image_certificates"),
    ],
)
def test_rebuilds_that_make_no_sense(
    action: str, alice: Persona, cloud: Cloud, version: str, more: dict[str, Any], words: str
) -> None:
    body = {"rebuild": {"imageRef": str(cloud.image.id), **more}}
    response = alice.post(action, body, headers=at(version))
    assert response.status_code == 400, response.content
    assert words in message(response)
    assert not Action.objects.exclude(operation="create").exists()


def test_too_much_metadata(action: str, alice: Persona, cloud: Cloud) -> None:
    QuotaLimit.objects.create(project=cloud.demo, resource="metadata_items", limit=1)
    body = {"imageRef": str(cloud.image.id), "metadata": {"a": "b", "c": "d"}}
    assert alice.post(action, {"rebuild": body}).status_code == 403


def test_rescue_and_unrescue(action: str, alice: Persona, cloud: Cloud, drain: Callable[[], int]) -> None:
    assert alice.post(action, {"unrescue": None}).status_code == 409
    response = alice.post(action, {"rescue": {"adminPass": "secret", "rescue_image_ref": str(cloud.image.id)}})
    assert (response.status_code, response.json()) == (200, {"adminPass": "secret"})
    drain()
    assert status_of(alice, action) == "RESCUE"
    assert alice.post(action, {"rescue": None}).status_code == 409
    response = alice.post(action, {"unrescue": None})
    assert response.status_code == 202 and not response.content
    drain()
    assert status_of(alice, action) == "ACTIVE"
    response = alice.post(action, {"rescue": None})
    assert response.status_code == 200 and len(response.json()["adminPass"]) == 12


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"rescue_image_ref": "nonsense"}, "rescue_image_ref"),
        ({"rescue_image_ref": str(uuid.UUID(int=7))}, "Can not find requested image"),
        ({"explode": 1}, "explode"),
        ("yes", "object"),
    ],
)
def test_rescues_that_make_no_sense(action: str, alice: Persona, argument: Any, words: str) -> None:
    response = alice.post(action, {"rescue": argument})
    assert response.status_code == 400 and words in message(response)


def test_resize_confirm_and_revert(
    action: str, alice: Persona, cloud: Cloud, larger: Flavor, drain: Callable[[], int]
) -> None:
    for key, status, flavor in (("revertResize", 202, "42"), ("confirmResize", 204, "84")):
        response = alice.post(action, {"resize": {"flavorRef": "84", "OS-DCF:diskConfig": "AUTO"}})
        assert response.status_code == 202 and not response.content
        assert status_of(alice, action) == "RESIZE"
        drain()
        shown = alice.get(action.removesuffix("/action")).json()["server"]
        assert (shown["status"], shown["flavor"]["id"], shown["OS-DCF:diskConfig"]) == ("VERIFY_RESIZE", "84", "AUTO")
        response = alice.post(action, {key: None})
        assert response.status_code == status and not response.content
        if key == "revertResize":
            assert status_of(alice, action) == "REVERT_RESIZE"
        drain()
        shown = alice.get(action.removesuffix("/action")).json()["server"]
        assert (shown["status"], shown["flavor"]["id"]) == ("ACTIVE", flavor)
        assert alice.post(action, {key: None}).status_code == 409


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        (None, "resize"),
        ({}, "flavorRef"),
        ({"flavorRef": ""}, "flavorRef"),
        ({"flavorRef": None}, "flavorRef"),
        ({"flavorRef": True}, "flavorRef"),
        ({"flavorRef": "none such"}, "Flavor none such could not be found."),
        ({"flavorRef": 42}, "instances must change flavor"),
        ({"flavorRef": "84", "OS-DCF:diskConfig": "auto"}, "diskConfig"),
        ({"flavorRef": "84", "explode": 1}, "explode"),
    ],
)
def test_resizes_that_make_no_sense(action: str, alice: Persona, larger: Flavor, argument: Any, words: str) -> None:
    response = alice.post(action, {"resize": argument})
    assert response.status_code == 400 and words in message(response), response.content
    assert not Action.objects.exclude(operation="create").exists()


def test_a_resize_beyond_the_quota(action: str, alice: Persona, cloud: Cloud, larger: Flavor) -> None:
    QuotaLimit.objects.create(project=cloud.demo, resource="memory_mb", limit=200)
    response = alice.post(action, {"resize": {"flavorRef": "84"}})
    assert response.status_code == 403 and "Quota exceeded for ram" in message(response)


def test_whose_it_is_not(
    action: str, active: Instance, cloud: Cloud, larger: Flavor, bob: Persona, charlie: Persona, anyone: Persona
) -> None:
    arguments = {"rebuild": {"imageRef": str(cloud.image.id)}, "resize": {"flavorRef": "84"}}
    states = {"unrescue": "rescued", "confirmResize": "resized", "revertResize": "resized"}
    for key in KEYS:
        Instance.objects.update(vm_state=states.get(key, "active"))
        body = {key: arguments.get(key)}
        assert bob.post(action, body).status_code == 403, key
        assert charlie.post(action, body).status_code == 404, key
        assert anyone.post(action, body).status_code == 401, key
    assert not Action.objects.exclude(operation="create").exists()


def test_a_locked_server(action: str, cloud: Cloud, larger: Flavor, alice: Persona, root: Persona) -> None:
    Instance.objects.update(locked=True)
    arguments = {"rebuild": {"imageRef": str(cloud.image.id)}, "rescue": None, "resize": {"flavorRef": "84"}}
    for key, argument in arguments.items():
        response = alice.post(action, {key: argument})
        assert response.status_code == 409 and message(response).endswith("is locked"), key
    assert root.post(action, {"resize": {"flavorRef": "84"}}).status_code == 202
