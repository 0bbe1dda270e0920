"""Actions of a server's life on the wire: pause, suspend, lock, delete and restore, passwords, states set by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from compute.models import Action, Image, Instance
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Persona

Drain = Callable[[], int]


@pytest.fixture
def server(active: Instance) -> str:
    return f"/compute/v2.1/servers/{active.id}"


def state_of(persona: Persona, server: str) -> tuple[str, str | None, int]:
    shown = persona.get(server).json()["server"]
    return shown["status"], shown["OS-EXT-STS:task_state"], shown["OS-EXT-STS:power_state"]


STORY = (
    ("pause", "2.1", ("ACTIVE", "pausing", 1), ("PAUSED", None, 3)),
    ("unpause", "2.1", ("PAUSED", "unpausing", 3), ("ACTIVE", None, 1)),
    ("suspend", NEWEST, ("ACTIVE", "suspending", 1), ("SUSPENDED", None, 4)),
    ("resume", NEWEST, ("SUSPENDED", "resuming", 4), ("ACTIVE", None, 1)),
    ("trigger_crash_dump", "2.17", ("ACTIVE", None, 1), ("ACTIVE", None, 1)),
)


def test_the_story(server: str, alice: Persona, drain: Drain) -> None:
    for key, version, during, after in STORY:
        response = alice.post(f"{server}/action", {key: None}, headers=at(version))
        assert (response.status_code, response.content) == (202, b""), key
        assert state_of(alice, server) == during
        if during[1]:
            again = alice.post(f"{server}/action", {key: None}, headers=at(version))
            assert again.status_code == 409
            assert message(again).startswith(f"Cannot '{key}' instance") and message(again).endswith(during[1])
        drain()
        assert state_of(alice, server) == after
    log = alice.get(f"{server}/os-instance-actions").json()["instanceActions"]
    assert [one["action"] for one in log] == [key for key, *_ in reversed(STORY)] + ["create"]
    shown = alice.get(f"{server}/os-instance-actions/{log[-2]['request_id']}", headers=at("2.51")).json()
    events = shown["instanceAction"]["events"]
    assert [(one["event"], one["result"]) for one in events] == [("compute_pause_instance", "Success")]


@pytest.mark.parametrize("key", ["unpause", "resume", "restore"])
def test_the_wrong_state(server: str, alice: Persona, key: str) -> None:
    before = Action.objects.count()
    response = alice.post(f"{server}/action", {key: {}})
    assert response.status_code == 409 and "conflictingRequest" in response.json()
    assert message(response).startswith(f"Cannot '{key}' instance")
    assert message(response).endswith("while it is in vm_state active")
    assert Action.objects.count() == before


KEYS: dict[str, Any] = {
    "pause": None,
    "suspend": None,
    "lock": None,
    "unlock": None,
    "forceDelete": "",
    "restore": None,
    "changePassword": {"adminPass": "hunter2"},
    "trigger_crash_dump": None,
    "os-resetState": {"state": "error"},
}


@pytest.mark.parametrize("key", KEYS)
def test_who_may(server: str, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona, key: str) -> None:
    before = Instance.objects.values().get(), Action.objects.count()
    body = {key: KEYS[key]}
    assert anyone.post(f"{server}/action", body, headers=at(NEWEST)).status_code == 401
    assert charlie.post(f"{server}/action", body, headers=at(NEWEST)).status_code == 404
    response = bob.post(f"{server}/action", body, headers=at(NEWEST))
    assert response.status_code == 403 and message(response).startswith("Policy doesn't allow os_compute_api:")
    if key == "os-resetState":
        assert alice.post(f"{server}/action", body).status_code == 403
    assert (Instance.objects.values().get(), Action.objects.count()) == before


@pytest.mark.parametrize(
    ("body", "version", "status"),
    [
        ({"trigger_crash_dump": None}, "2.16", 404),
        ({"trigger_crash_dump": {}}, "2.17", 400),
        ({"trigger_crash_dump": None, "pause": None}, "2.17", 400),
        ({"lock": {"locked_reason": ""}}, "2.73", 400),
        ({"lock": {"locked_reason": "x" * 256}}, "2.73", 400),
        ({"lock": {"locked_reason": 5}}, "2.73", 400),
        ({"lock": {"why": "x"}}, "2.73", 400),
        ({"lock": "x"}, "2.73", 400),
        ({"changePassword": None}, "2.1", 400),
        ({"changePassword": {}}, "2.1", 400),
        ({"changePassword": {"adminPass": 12345678}}, "2.1", 400),
        ({"changePassword": {"adminPass": "x", "user": "root"}}, "2.1", 400),
        ({"changePassword": {"adminPass": "hunter2"}}, "2.1", 409),
        ({"os-resetState": None}, "2.1", 400),
        ({"os-resetState": {}}, "2.1", 400),
        ({"os-resetState": {"state": "stopped"}}, "2.1", 400),
        ({"os-resetState": {"state": None}}, "2.1", 400),
        ({"os-resetState": {"state": "active", "more": 1}}, "2.1", 400),
    ],
)
def test_bad_bodies(server: str, root: Persona, body: dict[str, Any], version: str, status: int) -> None:
    before = Instance.objects.values().get(), Action.objects.count()
    response = root.post(f"{server}/action", body, headers=at(version))
    assert response.status_code == status, response.content
    assert (Instance.objects.values().get(), Action.objects.count()) == before


def test_the_lock_of_an_owner(server: str, alice: Persona, root: Persona, drain: Drain) -> None:
    assert alice.post(f"{server}/action", {"lock": {"locked_reason": "mine"}}, headers=at("2.73")).status_code == 202
    shown = alice.get(server, headers=at("2.73")).json()["server"]
    assert (shown["locked"], shown["locked_reason"]) == (True, "mine")
    alice.post(f"{server}/action", {"lock": {"locked_reason": "again"}}, headers=at("2.73"))
    assert Instance.objects.get().locked_reason == "mine"
    for key in ("pause", "suspend", "os-stop", "forceDelete", "trigger_crash_dump"):
        response = alice.post(f"{server}/action", {key: None}, headers=at("2.17"))
        assert response.status_code == 409 and message(response).endswith("is locked"), key
    assert alice.delete(server).status_code == 409
    assert root.post(f"{server}/action", {"pause": None}).status_code == 202
    drain()
    assert alice.post(f"{server}/action", {"unlock": None}).status_code == 202
    shown = alice.get(server, headers=at("2.73")).json()["server"]
    assert (shown["locked"], shown["locked_reason"]) == (False, None)
    assert alice.post(f"{server}/action", {"unpause": None}).status_code == 202
    log = alice.get(f"{server}/os-instance-actions").json()["instanceActions"]
    assert [one["action"] for one in log][:4] == ["unpause", "unlock", "pause", "lock"]


def test_the_lock_of_an_administrator(server: str, alice: Persona, bob: Persona, root: Persona) -> None:
    Instance.objects.get()
    root_is_of_another_project = root.project.id != alice.project.id
    assert root_is_of_another_project
    assert root.post(f"{server}/action", {"lock": {}}).status_code == 202
    response = alice.post(f"{server}/action", {"unlock": None})
    assert response.status_code == 403 and "unlock_override" in message(response)
    assert Instance.objects.get().locked
    assert root.post(f"{server}/action", {"unlock": None}).status_code == 202
    assert not Instance.objects.get().locked


def test_an_administrator_takes_any_lock_off(server: str, alice: Persona, root: Persona) -> None:
    assert alice.post(f"{server}/action", {"lock": None}).status_code == 202
    assert root.post(f"{server}/action", {"unlock": None}).status_code == 202
    assert not Instance.objects.get().locked
    assert alice.post(f"{server}/action", {"unlock": None}).status_code == 202  # what is not locked stays so


def test_a_state_set_by_hand_ends_what_is_under_way(server: str, alice: Persona, root: Persona, drain: Drain) -> None:
    alice.post(f"{server}/action", {"os-stop": None})
    assert root.post(f"{server}/action", {"os-resetState": {"state": "error"}}).status_code == 202
    assert state_of(alice, server) == ("ERROR", None, 1)
    stop = Action.objects.get(operation="stop")
    assert (stop.state, stop.message) == ("cancelled", "An administrator reset the state.")
    drain()
    assert state_of(alice, server) == ("ERROR", None, 1)
    assert root.post(f"{server}/action", {"os-resetState": {"state": "active"}}).status_code == 202
    assert state_of(alice, server) == ("ACTIVE", None, 1)
    log = alice.get(f"{server}/os-instance-actions").json()["instanceActions"]
    assert [one["action"] for one in log] == ["resetState", "resetState", "stop", "create"]
    assert alice.post(f"{server}/action", {"pause": None}).status_code == 202


def test_a_deletion_taken_back(server: str, alice: Persona, root: Persona, drain: Drain, settings: Any) -> None:
    settings.RECLAIM_SECONDS = 1000
    assert alice.delete(server).status_code == 204
    assert state_of(alice, server)[:2] == ("ACTIVE", "soft-deleting")
    drain()
    assert state_of(alice, server) == ("SOFT_DELETED", None, 4)
    assert alice.get("/compute/v2.1/servers").json()["servers"] == []
    assert len(alice.get("/compute/v2.1/servers?status=SOFT_DELETED").json()["servers"]) == 1
    assert len(root.get("/compute/v2.1/servers?all_tenants=1&deleted=true").json()["servers"]) == 1
    assert root.get("/compute/v2.1/servers?all_tenants=1&deleted=false").json()["servers"] == []
    for key in ("os-start", "pause", "reboot"):
        body = {key: {"type": "HARD"} if key == "reboot" else None}
        assert alice.post(f"{server}/action", body).status_code == 409
    assert alice.post(f"{server}/action", {"restore": None}).status_code == 202
    drain()
    assert state_of(alice, server) == ("ACTIVE", None, 1)
    alice.delete(server)
    drain()
    assert alice.post(f"{server}/action", {"forceDelete": ""}).status_code == 202
    drain()
    assert alice.get(server).status_code == 404
    log = alice.get(f"{server}/os-instance-actions", headers=at("2.21")).json()["instanceActions"]
    assert [one["action"] for one in log] == ["delete", "delete", "restore", "delete", "create"]


def test_restore_over_the_quota(server: str, alice: Persona, drain: Drain, settings: Any) -> None:
    from compute.models import QuotaLimit

    settings.RECLAIM_SECONDS = 1000
    alice.delete(server)
    drain()
    QuotaLimit.objects.create(project_id=alice.project.id, resource="instances", limit=0)
    response = alice.post(f"{server}/action", {"restore": None})
    assert response.status_code == 403 and "Quota exceeded for instances" in message(response)


def test_force_delete_without_soft_deletion(server: str, alice: Persona, drain: Drain) -> None:
    assert alice.post(f"{server}/action", {"forceDelete": None}).status_code == 202
    drain()
    assert alice.get(server).status_code == 404


def test_a_password(server: str, alice: Persona, drain: Drain) -> None:
    Image.objects.update(properties={"hw_qemu_guest_agent": "yes"})
    body = {"changePassword": {"adminPass": "hunter2"}}
    assert alice.post(f"{server}/action", body).status_code == 202
    assert state_of(alice, server) == ("PASSWORD", "updating_password", 1)
    drain()
    assert state_of(alice, server) == ("ACTIVE", None, 1)
    assert alice.get(f"{server}/os-instance-actions").json()["instanceActions"][0]["action"] == "changePassword"


def test_no_guest_has_told_a_password(
    server: str, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona
) -> None:
    path = f"{server}/os-server-password"
    for persona in (alice, bob):
        assert persona.get(path).json() == {"password": ""}
    assert alice.delete(path).status_code == 204
    assert bob.delete(path).status_code == 403
    assert [charlie.get(path).status_code, charlie.delete(path).status_code] == [404, 404]
    assert anyone.get(path).status_code == 401
