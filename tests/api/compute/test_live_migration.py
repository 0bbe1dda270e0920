"""os-migrateLive, and aborting and forcing what is under way: the body at each version, and who may."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Action, Host, HostState, Instance, Migration, MigrationStatus
from portal.identity.models import Assignment, Role
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona

OLDEST = {"host": None, "block_migration": False, "disk_over_commit": False}
NOW = {"host": None, "block_migration": "auto"}


@pytest.fixture
def other(cloud: Cloud, active: Instance) -> Host:
    """Another host that is up, which came after the server."""
    return Host.objects.create(
        name="host-2", uri=f"{cloud.host.uri}-2", state=HostState.UP, vcpus=8, memory_mb=8192, disk_gb=100
    )


@pytest.fixture
def server(active: Instance, other: Host) -> str:
    return f"/compute/v2.1/servers/{active.id}"


@pytest.fixture
def manager(alice: Persona) -> Persona:
    """Alice, who manages her project."""
    Assignment.objects.create(user=alice.user, role=Role.objects.get(name="manager"), project=alice.project)
    return alice


def migrate(persona: Persona, server: str, body: dict[str, Any], version: str = NEWEST) -> Any:
    return persona.post(f"{server}/action", {"os-migrateLive": body}, headers=at(version))


@pytest.mark.parametrize(
    ("version", "body", "status"),
    [
        ("2.1", OLDEST, 202),
        ("2.24", OLDEST | {"block_migration": "True", "disk_over_commit": "no"}, 202),
        ("2.1", {"host": None, "block_migration": False}, 400),
        ("2.24", OLDEST | {"block_migration": "auto"}, 400),
        ("2.25", OLDEST, 400),
        ("2.25", NOW, 202),
        ("2.25", NOW | {"block_migration": False}, 202),
        ("2.29", NOW | {"force": False}, 400),
        ("2.30", NOW | {"force": True}, 400),
        ("2.30", NOW | {"force": True, "host": "host-2"}, 202),
        ("2.67", NOW | {"force": False, "host": "host-2"}, 202),
        ("2.68", NOW | {"force": False}, 400),
        ("2.68", NOW | {"host": "host-2"}, 202),
        (NEWEST, {"host": None}, 400),
        (NEWEST, {"block_migration": "auto"}, 400),
        (NEWEST, NOW | {"block_migration": "perhaps"}, 400),
        (NEWEST, NOW | {"host": ""}, 400),
        (NEWEST, NOW | {"host": 7}, 400),
        (NEWEST, NOW | {"more": 1}, 400),
        (NEWEST, NOW | {"host": "nowhere"}, 400),
        (NEWEST, NOW | {"host": "host-1"}, 400),
    ],
)
def test_the_body_at_each_version(server: str, root: Persona, version: str, body: Any, status: int) -> None:
    response = migrate(root, server, body, version)
    assert response.status_code == status, response.content
    assert Migration.objects.count() == (1 if status == 202 else 0)
    assert (Instance.objects.get().task_state == "migrating") == (status == 202)


def test_it_goes_and_shows_it(server: str, root: Persona, other: Host, drain: Any) -> None:
    assert migrate(root, server, NOW).status_code == 202
    assert root.get(server).json()["server"]["status"] == "MIGRATING"
    drain()
    shown = root.get(server).json()["server"]
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"], shown["progress"]) == ("ACTIVE", "host-2", 100)
    log = root.get(f"{server}/os-instance-actions", headers=at(NEWEST)).json()["instanceActions"]
    assert log[0]["action"] == "live-migration"


def test_before_2_34_the_answer_says_when_there_is_no_host(server: str, root: Persona, other: Host) -> None:
    Host.objects.filter(pk=other.pk).update(vcpus=0)
    answer = migrate(root, server, NOW, "2.33")
    assert answer.status_code == 400 and "No valid host was found" in message(answer)
    assert not Migration.objects.exists()
    assert migrate(root, server, NOW, "2.34").status_code == 202


def test_who_may(server: str, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona) -> None:
    for persona, status in ((alice, 403), (bob, 403), (charlie, 404), (anyone, 401)):
        assert migrate(persona, server, NOW).status_code == status
    assert not Migration.objects.exists()


def test_a_manager_may_but_names_no_host(server: str, manager: Persona, drain: Any) -> None:
    assert migrate(manager, server, NOW | {"host": "host-2"}).status_code == 403
    assert migrate(manager, server, NOW).status_code == 202
    drain()
    assert manager.get(server).json()["server"]["status"] == "ACTIVE"


def test_the_wrong_state_and_the_lock(server: str, root: Persona, manager: Persona) -> None:
    Instance.objects.update(vm_state="suspended")
    assert migrate(root, server, NOW).status_code == 409
    Instance.objects.update(vm_state="active", locked=True)
    assert migrate(manager, server, NOW).status_code == 409
    Instance.objects.update(locked=False)
    assert migrate(root, server, NOW).status_code == 202
    assert migrate(root, server, NOW).status_code == 409


# what is said to one that is under way --------------------------------------------------------------
@pytest.fixture
def under_way(server: str, root: Persona) -> str:
    """The address of a migration that has not begun."""
    assert migrate(root, server, NOW).status_code == 202
    return f"{server}/migrations/{Migration.objects.get().pk}"


def set_status(status: MigrationStatus) -> None:
    Migration.objects.update(status=status)


def test_abort(under_way: str, root: Persona, drain: Any) -> None:
    assert root.delete(under_way, headers=at("2.23")).status_code == 404
    for version in ("2.24", "2.64"):
        answer = root.delete(under_way, headers=at(version))
        assert answer.status_code == 400 and "is queued. Cannot abort live migration" in message(answer)
    answer = root.delete(under_way, headers=at("2.65"))
    assert answer.status_code == 202 and not answer.content
    drain()
    assert (Migration.objects.get().status, Instance.objects.get().vm_state) == ("cancelled", "active")
    assert root.delete(under_way, headers=at(NEWEST)).status_code == 409  # nothing is under way


def test_one_that_runs_is_aborted_at_2_24(under_way: str, root: Persona) -> None:
    set_status(MigrationStatus.RUNNING)
    assert root.delete(under_way, headers=at("2.24")).status_code == 202
    assert Action.objects.get(operation="live_migration").cancelled_by == "root"
    assert root.delete(under_way, headers=at("2.24")).status_code == 409  # it is being cancelled already


def test_force_complete(under_way: str, root: Persona) -> None:
    body = {"force_complete": None}
    assert root.post(f"{under_way}/action", body, headers=at("2.21")).status_code == 404
    answer = root.post(f"{under_way}/action", body, headers=at("2.22"))
    assert answer.status_code == 400 and "is queued. Cannot force complete" in message(answer)
    set_status(MigrationStatus.RUNNING)
    for wrong in ({}, {"force_complete": {}}, {"force_complete": None, "more": 1}, {"explode": None}):
        assert root.post(f"{under_way}/action", wrong, headers=at(NEWEST)).status_code == 400
    assert not Migration.objects.get().forced
    assert root.post(f"{under_way}/action", body, headers=at("2.22")).status_code == 202
    assert Migration.objects.get().forced


@pytest.mark.parametrize("number", ["0", "999999", "nonsense", "9" * 30, "-1", "%C2%B2"])
def test_there_is_no_such_migration(under_way: str, root: Persona, number: str) -> None:
    wrong = f"{under_way.rpartition('/')[0]}/{number}"
    for answer in (
        root.delete(wrong, headers=at(NEWEST)),
        root.post(f"{wrong}/action", {"force_complete": None}, headers=at(NEWEST)),
    ):
        assert answer.status_code == 404


def test_of_another_server_it_is_not_found(under_way: str, root: Persona, cloud: Cloud, drain: Any) -> None:
    number = under_way.rpartition("/")[2]
    Instance.objects.update(task_state=None)
    body = {"server": {"name": "b", "imageRef": str(cloud.image.id), "flavorRef": "42", "networks": "none"}}
    made = root.post("/compute/v2.1/servers", body, headers=at(NEWEST))
    assert made.status_code == 202, made.content
    key = made.json()["server"]["id"]
    Instance.objects.filter(pk=key).update(vm_state="active", task_state="migrating")
    assert root.delete(f"/compute/v2.1/servers/{key}/migrations/{number}", headers=at(NEWEST)).status_code == 404


def test_who_may_end_it(under_way: str, manager: Persona, bob: Persona, charlie: Persona, anyone: Persona) -> None:
    set_status(MigrationStatus.RUNNING)
    for persona, status in ((bob, 403), (charlie, 403), (anyone, 401)):
        assert persona.delete(under_way, headers=at(NEWEST)).status_code == status
        answer = persona.post(f"{under_way}/action", {"force_complete": None}, headers=at(NEWEST))
        assert answer.status_code == status
    assert not Migration.objects.get().forced
    assert manager.post(f"{under_way}/action", {"force_complete": None}, headers=at(NEWEST)).status_code == 202
    assert manager.delete(under_way, headers=at(NEWEST)).status_code == 202


def test_a_stranger_who_manages_elsewhere_finds_nothing(under_way: str, charlie: Persona) -> None:
    Assignment.objects.create(user=charlie.user, role=Role.objects.get(name="manager"), project=charlie.project)
    set_status(MigrationStatus.RUNNING)
    assert charlie.delete(under_way, headers=at(NEWEST)).status_code == 404
    assert charlie.post(f"{under_way}/action", {"force_complete": None}, headers=at(NEWEST)).status_code == 404
