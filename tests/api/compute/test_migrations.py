"""Migrations on the wire: the action, the lists of all versions, and who sees what of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute.models import Action, Host, Instance, Migration
from portal.identity.models import Assignment, Role, User
from tests.api.compute.conftest import NEWEST, at, message
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/compute/v2.1/os-migrations"


@pytest.fixture
def there(cloud: Cloud) -> Host:
    """Another host."""
    return Host.objects.create(
        name="host-2", uri="fake://host-2-of-migrations", state="up", vcpus=8, memory_mb=32_768, disk_gb=500,
        console_address="10.0.0.2",
    )  # fmt: skip


@pytest.fixture
def manager(cloud: Cloud, bob: Persona) -> Persona:
    """A manager of alice's project."""
    Assignment.objects.create(user=bob.user, project=bob.project, role=Role.objects.get(name="manager"))
    return bob


@pytest.fixture
def moved(active: Instance, there: Host, alice: Persona) -> Migration:
    """A cold migration that waits to be confirmed."""
    return migration(active, there, user_id=str(alice.user.id))


def migration(instance: Instance, there: Host, **fields: Any) -> Migration:
    values = {"migration_type": "migration", "status": "finished", "project_id": instance.project_id, **fields}
    assert instance.host is not None
    return Migration.objects.create(
        instance=instance, source_host=instance.host, dest_host=there, old_flavor=instance.flavor,
        new_flavor=instance.flavor, old_vm_state="active", **values,
    )  # fmt: skip


def listed(persona: Persona, query: str = "", version: str = NEWEST) -> list[dict[str, Any]]:
    response = persona.get(f"{LIST}{query}", headers=at(version))
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = response.json()["migrations"]
    return found


# the action -----------------------------------------------------------------------------------------
def test_migrate_confirm_and_revert(
    active: Instance, there: Host, root: Persona, alice: Persona, drain: Callable[[], int]
) -> None:
    server = f"/compute/v2.1/servers/{active.id}"
    for end, status, where in (("revertResize", 202, "host-1"), ("confirmResize", 204, "host-2")):
        response = root.post(f"{server}/action", {"migrate": None})
        assert response.status_code == 202 and not response.content
        shown = root.get(server).json()["server"]
        assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("RESIZE", "resize_prep")
        drain()
        shown = root.get(server).json()["server"]
        assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("VERIFY_RESIZE", "host-2")
        assert alice.post(f"{server}/action", {end: None}).status_code == status
        drain()
        shown = root.get(server).json()["server"]
        assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", where)
    assert [row["status"] for row in listed(root)] == ["confirmed", "reverted"]
    actions = alice.get(f"{server}/os-instance-actions").json()["instanceActions"]
    assert [one["action"] for one in actions] == [
        "confirmResize", "migrate", "revertResize", "migrate", "create"
    ]  # fmt: skip


def test_to_a_host_by_name(active: Instance, there: Host, root: Persona, manager: Persona, drain: Any) -> None:
    action = f"/compute/v2.1/servers/{active.id}/action"
    for host, sentence in (
        ("nowhere", "could not be found"),
        ("host-1", "Cannot migrate to the host where the server"),
    ):
        response = root.post(action, {"migrate": {"host": host}}, headers=at("2.56"))
        assert response.status_code == 400 and sentence in message(response)
    for body in ({"host": ""}, {"host": 5}, {"where": "host-2"}, [], "host-2", {"host": "host-2", "force": True}):
        assert root.post(action, {"migrate": body}, headers=at("2.56")).status_code == 400
    assert manager.post(action, {"migrate": {"host": "host-2"}}, headers=at("2.56")).status_code == 403
    assert not Action.objects.filter(operation="migrate").exists()
    assert root.post(action, {"migrate": {"host": "host-2"}}, headers=at("2.56")).status_code == 202
    drain()
    assert Instance.objects.get().host == there


def test_before_2_56_what_it_holds_is_not_looked_at(active: Instance, there: Host, manager: Persona) -> None:
    action = f"/compute/v2.1/servers/{active.id}/action"
    assert manager.post(action, {"migrate": {"host": "host-1"}}, headers=at("2.55")).status_code == 202
    assert Action.objects.get(operation="migrate").params.get("host") is None


def test_who_may_migrate(
    active: Instance, there: Host, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona
) -> None:
    action = f"/compute/v2.1/servers/{active.id}/action"
    for persona, status in ((alice, 403), (bob, 403), (charlie, 404), (anyone, 401)):
        for body in (None, {}, {"host": "host-2"}):
            assert persona.post(action, {"migrate": body}, headers=at(NEWEST)).status_code == status
    assert not Action.objects.filter(operation="migrate").exists()


# the list -------------------------------------------------------------------------------------------
def test_a_migration_as_each_version_shows_it(moved: Migration, root: Persona, alice: Persona) -> None:
    (oldest,) = listed(root, version="2.1")
    created = oldest.pop("created_at")
    assert created.endswith(f".{moved.created_at:%f}") and oldest.pop("updated_at")
    assert oldest == {
        "id": moved.pk, "status": "finished", "instance_uuid": str(moved.instance_id), "old_instance_type_id": 42,
        "new_instance_type_id": 42, "source_compute": "host-1", "source_node": "host-1", "dest_compute": "host-2",
        "dest_node": "host-2", "dest_host": "10.0.0.2",
    }  # fmt: skip
    added = {"2.23": {"migration_type": "migration"}, "2.59": {"uuid": str(moved.uuid)},
             "2.80": {"user_id": str(alice.user.id), "project_id": alice.project.id}}  # fmt: skip
    before = set(oldest) | {"created_at", "updated_at"}
    for version, fields in added.items():
        (shown,) = listed(root, version=version)
        assert set(shown) - before == set(fields)
        assert {name: shown[name] for name in fields} == fields
        before = set(shown)


def test_a_live_one_under_way_has_links(moved: Migration, root: Persona) -> None:
    Migration.objects.update(migration_type="live-migration", status="running")
    (shown,) = listed(root)
    path = f"servers/{moved.instance_id}/migrations/{moved.pk}"
    assert [link["rel"] for link in shown["links"]] == ["self", "bookmark"]
    assert all(link["href"].endswith(path) for link in shown["links"])
    assert "links" not in listed(root, version="2.22")[0]
    Migration.objects.update(status="completed")
    assert "links" not in listed(root)[0]


def test_filters(moved: Migration, active: Instance, there: Host, root: Persona) -> None:
    Migration.objects.update(status="confirmed")
    resize = migration(active, active.host, migration_type="resize", status="reverted")
    pairs = {
        "status=confirmed": [moved], "status=running": [], "migration_type=resize": [resize],
        f"instance_uuid={active.id}": [resize, moved], "instance_uuid=nobody": [], "host=host-2": [moved],
        "host=host-1": [resize, moved], "source_compute=host-1": [resize, moved], "source_compute=host-2": [],
        "hidden=true": [], "hidden=false": [resize, moved],
    }  # fmt: skip
    for query, rows in pairs.items():
        for version in ("2.1", "2.58", "2.59", NEWEST):
            assert [row["id"] for row in listed(root, f"?{query}", version)] == [row.pk for row in rows], query
    owner = f"project_id={active.project_id}"
    assert len(listed(root, f"?{owner}")) == 2
    assert listed(root, "?user_id=nobody") == []
    assert root.get(f"{LIST}?{owner}", headers=at("2.79")).status_code == 400
    assert root.get(f"{LIST}?color=red", headers=at("2.59")).status_code == 400
    assert root.get(f"{LIST}?color=red", headers=at("2.58")).status_code == 200
    assert root.get(f"{LIST}?changes-before=2026-01-01", headers=at("2.65")).status_code == 400


def test_pages(active: Instance, there: Host, root: Persona) -> None:
    made = [migration(active, there, status="confirmed") for _ in range(5)]
    newest_first = [one.pk for one in reversed(made)]
    seen, query = [], "?limit=2&status=confirmed"
    while query:
        body = root.get(f"{LIST}{query}", headers=at("2.59")).json()
        seen.append([row["id"] for row in body["migrations"]])
        links = body.get("migrations_links", [])
        query = "?" + links[0]["href"].split("?")[1] if links else ""
        assert not links or "status=confirmed" in query
    assert seen == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    for bad in ("limit=-1", "limit=x", "marker=nothing", f"marker={active.id}"):
        assert root.get(f"{LIST}?{bad}", headers=at("2.59")).status_code == 400
    assert len(listed(root, "?limit=2", "2.58")) == 5  # it knew of no pages


def test_changes(moved: Migration, root: Persona) -> None:
    now = timezone.now()
    Migration.objects.update(updated_at=now)
    early, late = (f"{now + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}" for minutes in (-5, 5))
    assert len(listed(root, f"?changes-since={early}", "2.59")) == 1
    assert listed(root, f"?changes-since={late}") == []
    assert len(listed(root, f"?changes-since={early}&changes-before={late}")) == 1
    assert listed(root, f"?changes-before={early}") == []
    for query in (f"changes-since={late}&changes-before={early}", "changes-since=yesterday", "changes-before=x"):
        assert root.get(f"{LIST}?{query}", headers=at(NEWEST)).status_code == 400
    assert len(listed(root, f"?changes-since={late}", "2.58")) == 1  # it knew of no times


def test_who_may_list(
    moved: Migration, alice: Persona, manager: Persona, charlie: Persona, anyone: Persona, cloud: Cloud
) -> None:
    for persona, status in ((alice, 403), (charlie, 403), (anyone, 401)):
        for query in ("", f"?project_id={alice.project.id}"):
            assert persona.get(f"{LIST}{query}", headers=at(NEWEST)).status_code == status
    for query in ("", f"?project_id={cloud.other.id}", "?host=host-1"):
        assert manager.get(f"{LIST}{query}", headers=at(NEWEST)).status_code == 403
    (shown,) = listed(manager, f"?project_id={manager.project.id}")
    assert {shown[name] for name in ("source_compute", "source_node", "dest_compute", "dest_node", "dest_host")} == {
        None
    }
    assert shown["id"] == moved.pk
    own = f"?project_id={manager.project.id}"
    for name in ("host=host-1", "host=nowhere", "source_compute=host-1"):
        assert manager.get(f"{LIST}{own}&{name}", headers=at(NEWEST)).status_code == 403
    Migration.objects.update(project_id=cloud.other.id)
    assert listed(manager, own) == []
    assert manager.get(f"{LIST}{own}&marker={moved.uuid}", headers=at(NEWEST)).status_code == 400


# of a server ----------------------------------------------------------------------------------------
def test_a_servers_live_migrations_under_way(moved: Migration, root: Persona, manager: Persona) -> None:
    path = f"/compute/v2.1/servers/{moved.instance_id}/migrations"
    assert root.get(path, headers=at("2.22")).status_code == 404
    assert root.get(path, headers=at("2.23")).json() == {"migrations": []}
    one = f"{path}/{moved.pk}"
    response = root.get(one, headers=at("2.23"))
    assert response.status_code == 404 and "is not live-migration" in message(response)
    Migration.objects.update(
        migration_type="live-migration", status="running", stats={"memory_total_bytes": 100, "disk_remaining_bytes": 0}
    )
    shown = root.get(one, headers=at(NEWEST)).json()["migration"]
    assert root.get(path, headers=at(NEWEST)).json() == {"migrations": [shown]}
    assert (shown["memory_total_bytes"], shown["disk_remaining_bytes"], shown["memory_processed_bytes"]) == (
        100,
        0,
        None,
    )
    assert (shown["server_uuid"], shown["source_compute"], shown["uuid"]) == (
        str(moved.instance_id), "host-1", str(moved.uuid)
    )  # fmt: skip
    old = root.get(one, headers=at("2.23")).json()["migration"]
    assert set(shown) - set(old) == {"uuid", "user_id", "project_id"}
    (of_manager,) = manager.get(path, headers=at(NEWEST)).json()["migrations"]
    assert (of_manager["source_compute"], of_manager["dest_host"]) == (None, None)
    assert manager.get(one, headers=at(NEWEST)).status_code == 403
    Migration.objects.update(status="completed")
    response = root.get(one, headers=at(NEWEST))
    assert response.status_code == 404 and "is not in progress" in message(response)
    for number in ("0", "x", "9" * 30, "-1", str(moved.pk + 1)):
        assert root.get(f"{path}/{number}", headers=at(NEWEST)).status_code == 404


def test_who_sees_a_servers_migrations(
    moved: Migration, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona
) -> None:
    stranger = User.objects.get(name="charlie")
    Assignment.objects.create(user=stranger, project=charlie.project, role=Role.objects.get(name="manager"))
    path = f"/compute/v2.1/servers/{moved.instance_id}/migrations"
    for persona, status in ((alice, 403), (bob, 403), (charlie, 404), (anyone, 401)):
        assert persona.get(path, headers=at(NEWEST)).status_code == status
    for persona, status in ((alice, 403), (bob, 403), (charlie, 403), (anyone, 401)):
        assert persona.get(f"{path}/{moved.pk}", headers=at(NEWEST)).status_code == status
