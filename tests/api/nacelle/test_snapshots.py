"""/nacelle/v1/servers/{id}/snapshots."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from compute.models import Action, Instance, Snapshot
from compute.operations.create import BootRequest, create


@pytest.fixture
def server(cloud, alice, drain) -> Instance:
    """A server of alice's that runs."""
    (instance,) = create(alice.actor, BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id)))
    drain()
    return instance


def path(server: Instance, *parts: Any) -> str:
    return "/".join([f"/nacelle/v1/servers/{server.pk}/snapshots", *(str(part) for part in parts)])


def test_from_the_first_to_the_last(server, alice, bob, drain):
    answer = alice.post(path(server), {"name": "before", "description": "the upgrade", "memory": True})
    assert answer.status_code == 202, answer.content
    made = answer.json()["snapshot"]
    assert (made["state"], made["memory"], made["size_bytes"], made["current"]) == ("creating", True, None, False)
    drain()
    shown = bob.get(path(server, made["id"])).json()["snapshot"]
    assert shown == made | {"state": "available", "size_bytes": 0, "current": True, "vm_state": "active"}
    assert set(shown) == {
        "id", "name", "description", "state", "parent_id", "current", "memory", "vm_state", "size_bytes",
        "schedule_id", "user_id", "user_name", "created_at",
    }  # fmt: skip
    assert (shown["name"], shown["user_name"], shown["parent_id"]) == ("before", "alice", None)
    alice.post(path(server), {"name": "after"})
    drain()
    listed = bob.get(path(server)).json()["snapshots"]
    assert [(one["name"], one["parent_id"], one["current"]) for one in listed] == [
        ("before", None, False),
        ("after", made["id"], True),
    ]
    back = alice.post(path(server, made["id"], "revert"), {})
    assert (back.status_code, back.json()["snapshot"]["id"]) == (202, made["id"])
    drain()
    assert alice.get(path(server, made["id"])).json()["snapshot"]["current"] is True
    assert Action.objects.get(operation="revert_snapshot").params["memory"] is True
    gone = alice.delete(path(server, made["id"]))
    assert (gone.status_code, gone.content) == (202, b"")
    drain()
    assert alice.get(path(server, made["id"])).status_code == 404
    (left,) = alice.get(path(server)).json()["snapshots"]
    assert (left["name"], left["parent_id"]) == ("after", None)


def test_going_back_without_memory(server, alice, drain):
    made = alice.post(path(server), {"name": "one", "memory": True}).json()["snapshot"]
    drain()
    answer = alice.post(path(server, made["id"], "revert"), {"memory": False, "start": False})
    assert answer.status_code == 202
    drain()
    server.refresh_from_db()
    assert (server.vm_state, server.power_state) == ("stopped", 4)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": 7}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"name": "a\x00b"}, "NUL"),
        ({"name": "a", "memory": "perhaps"}, "memory"),
        ({"name": "a", "description": "x" * 256}, "description"),
        ({"name": "a", "colour": "red"}, "colour"),
        ([], "object"),
    ],
)
def test_what_makes_no_sense(server, alice, body, said):
    answer = alice.post(path(server), body)
    assert answer.status_code == 400, answer.content
    assert said in answer.json()["error"]["message"]
    assert not Snapshot.objects.exists()


def test_what_the_state_does_not_allow(server, alice, drain, settings):
    settings.SNAPSHOTS_PER_INSTANCE = 1
    made = alice.post(path(server), {"name": "one"}).json()["snapshot"]
    busy = alice.post(path(server), {"name": "two"})
    assert (busy.status_code, "task_state snapshot_creating" in busy.json()["error"]["message"]) == (409, True)
    early = alice.post(path(server, made["id"], "revert"), {})
    assert early.status_code == 409
    drain()
    full = alice.post(path(server), {"name": "two"})
    assert (full.status_code, "1 of the 1" in full.json()["error"]["message"]) == (403, True)
    no_memory = alice.post(path(server, made["id"], "revert"), {"memory": True})
    assert (no_memory.status_code, "without memory" in no_memory.json()["error"]["message"]) == (409, True)
    for body in ({"memory": 7}, {"now": True}):
        assert alice.post(path(server, made["id"], "revert"), body).status_code == 400
    stray = uuid.uuid4()
    assert alice.get(path(server, stray)).status_code == 404
    assert alice.post(path(server, stray, "revert"), {}).status_code == 404
    assert alice.delete(path(server, stray)).status_code == 404
    assert Action.objects.count() == 2


def test_what_is_being_made_is_cancelled_by_its_deletion(server, alice, drain):
    made = alice.post(path(server), {"name": "one"}).json()["snapshot"]
    assert alice.delete(path(server, made["id"])).status_code == 202
    drain()
    assert alice.get(path(server)).json()["snapshots"] == []


def test_others(server, alice, bob, charlie, root, anyone, drain):
    made = alice.post(path(server), {"name": "one"}).json()["snapshot"]
    drain()
    for persona, read, write in ((bob, 200, 403), (charlie, 404, 404), (anyone, 401, 401)):
        assert persona.get(path(server)).status_code == read
        assert persona.get(path(server, made["id"])).status_code == read
        assert persona.post(path(server), {"name": "two"}).status_code == write
        assert persona.post(path(server, made["id"], "revert"), {}).status_code == write
        assert persona.delete(path(server, made["id"])).status_code == write
    assert Snapshot.objects.count() == 1
    assert Action.objects.count() == 2
    assert root.get(path(server)).status_code == 200
    assert root.delete(path(server, made["id"])).status_code == 202


def test_a_rebuild_says_why_not(cloud, server, alice, drain):
    alice.post(path(server), {"name": "one"})
    drain()
    action = f"/compute/v2.1/servers/{server.pk}/action"
    answer = alice.post(action, {"rebuild": {"imageRef": str(cloud.image.id)}})
    assert answer.status_code == 409
    assert "in-place snapshots (1)" in answer.json()["conflictingRequest"]["message"]


def test_the_schema_describes_them(cloud, root):
    paths = root.get("/nacelle/v1/schema").json()["paths"]
    one = "/servers/{server_id}/snapshots/{snapshot_id}"
    assert {"get", "post"} <= set(paths["/servers/{server_id}/snapshots"])
    assert set(paths[one]) == {"get", "delete"}
    assert set(paths[f"{one}/revert"]) == {"post"}
    assert {"get", "patch", "delete"} == set(paths["/servers/{server_id}/schedules/{schedule_id}"])
    assert set(paths["/schedules"]) == {"get"}


def test_the_list_asks_the_database_as_often_for_many(server, alice, drain):
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert alice.get(path(server)).status_code == 200
        return len(captured)

    alice.post(path(server), {"name": "one"})
    drain()
    few = queries()
    for name in ("two", "three", "four"):
        alice.post(path(server), {"name": name})
        drain()
    assert queries() == few <= 8
