"""/nacelle/v1/servers/{id}/schedules and /nacelle/v1/schedules."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compute.models import Instance, SnapshotSchedule
from compute.operations import schedules
from tests.api.nacelle.test_snapshots import server

__all__ = ["server"]
ALL = "/nacelle/v1/schedules"
NIGHTLY = {"name": "nightly", "frequency": "daily", "hour": 2, "time_zone": "Europe/Berlin", "keep": 3}


def path(server: Instance, *parts: Any) -> str:
    return "/".join([f"/nacelle/v1/servers/{server.pk}/schedules", *(str(part) for part in parts)])


def test_from_the_first_to_the_last(cloud, server, alice, bob, drain):
    answer = alice.post(path(server), NIGHTLY)
    assert answer.status_code == 201, answer.content
    made = answer.json()["schedule"]
    assert made | NIGHTLY == made
    assert (made["kind"], made["memory"], made["enabled"], made["minute"]) == ("snapshot", False, True, 0)
    assert (made["server_id"], made["project_id"], made["user_name"]) == (str(server.pk), cloud.demo.id, "alice")
    assert (made["last_run_at"], made["last_result"], made["last_error"], made["missed_at"]) == (None, None, "", None)
    assert bob.get(path(server, made["id"])).json()["schedule"] == made
    changed = alice.patch(path(server, made["id"]), {"keep": 5, "enabled": False})
    assert changed.status_code == 200, changed.content
    assert changed.json()["schedule"] == made | {"keep": 5, "enabled": False, "next_run_at": None}
    again = alice.patch(path(server, made["id"]), {"enabled": True}).json()["schedule"]
    assert again["next_run_at"] == made["next_run_at"]
    SnapshotSchedule.objects.update(next_run_at=timezone.now(), try_at=timezone.now())
    assert schedules.run_due() == 1
    assert bob.get(path(server, made["id"])).json()["schedule"]["last_result"] == "queued"
    drain()
    (shown,) = bob.get(path(server)).json()["schedules"]
    assert (shown["last_result"], shown["waits_for"]) == ("done", "")
    gone = alice.delete(path(server, made["id"]))
    assert (gone.status_code, gone.content) == (204, b"")
    assert bob.get(path(server)).json() == {"schedules": []}
    assert server.snapshots.get().schedule is None


def test_why_it_waits_and_what_it_missed(server, alice):
    made = alice.post(path(server), NIGHTLY).json()["schedule"]
    Instance.objects.filter(pk=server.pk).update(vm_state="rescued")
    long_ago = timezone.now() - timedelta(days=3)
    SnapshotSchedule.objects.update(next_run_at=long_ago, try_at=long_ago)
    assert schedules.run_due() == 0
    shown = alice.get(path(server, made["id"])).json()["schedule"]
    assert "vm_state rescued" in shown["waits_for"]
    assert shown["missed_at"].startswith(f"{long_ago:%Y-%m-%d}")
    assert "vm_state rescued" in shown["missed_why"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "name"),
        (NIGHTLY | {"name": ""}, "name"),
        (NIGHTLY | {"name": " "}, "name"),
        (NIGHTLY | {"name": 1}, "name"),
        (NIGHTLY | {"frequency": "monthly"}, "frequency"),
        (NIGHTLY | {"frequency": None}, "frequency"),
        (NIGHTLY | {"kind": "tape"}, "kind"),
        (NIGHTLY | {"hour": 24}, "hour"),
        (NIGHTLY | {"hour": "two"}, "hour"),
        (NIGHTLY | {"minute": -1}, "minute"),
        (NIGHTLY | {"weekday": 7}, "weekday"),
        (NIGHTLY | {"time_zone": "Mars"}, "time zone"),
        (NIGHTLY | {"time_zone": "../UTC"}, "time zone"),
        (NIGHTLY | {"keep": 0}, "keep"),
        (NIGHTLY | {"keep": 17}, "keep"),
        (NIGHTLY | {"kind": "backup", "memory": True}, "memory"),
        (NIGHTLY | {"cron": "* * * * *"}, "cron"),
        ([], "object"),
    ],
)
def test_what_makes_no_sense(server, alice, body, said):
    answer = alice.post(path(server), body)
    assert answer.status_code == 400, answer.content
    assert said in answer.json()["error"]["message"]
    assert not SnapshotSchedule.objects.exists()
    made = alice.post(path(server), NIGHTLY).json()["schedule"]
    if body and isinstance(body, dict):
        assert alice.patch(path(server, made["id"]), body).status_code == 400
        assert alice.get(path(server, made["id"])).json()["schedule"] == made


def test_names_are_taken_once_and_their_number_is_limited(server, alice):
    made = alice.post(path(server), NIGHTLY).json()["schedule"]
    assert alice.post(path(server), NIGHTLY).status_code == 409
    for number in range(schedules.SCHEDULES_CAP - 1):
        assert alice.post(path(server), NIGHTLY | {"name": str(number)}).status_code == 201
    assert alice.post(path(server), NIGHTLY | {"name": "more"}).status_code == 403
    assert alice.patch(path(server, made["id"]), {"name": "1"}).status_code == 409


def test_others(server, alice, bob, charlie, root, anyone):
    made = alice.post(path(server), NIGHTLY).json()["schedule"]
    for persona, read, write in ((bob, 200, 403), (charlie, 404, 404), (anyone, 401, 401)):
        assert persona.get(path(server)).status_code == read
        assert persona.get(path(server, made["id"])).status_code == read
        assert persona.post(path(server), NIGHTLY | {"name": "x"}).status_code == write
        assert persona.patch(path(server, made["id"]), {"keep": 1}).status_code == write
        assert persona.delete(path(server, made["id"])).status_code == write
    assert SnapshotSchedule.objects.get().keep == 3
    for path_of in (path(server, uuid.uuid4()), f"/nacelle/v1/servers/{uuid.uuid4()}/schedules/{made['id']}"):
        assert alice.get(path_of).status_code == 404
        assert alice.patch(path_of, {}).status_code == 404
        assert alice.delete(path_of).status_code == 404
    assert root.get(path(server)).json()["schedules"] == [made]


def test_all_of_the_project(server, alice, bob, charlie, root, anyone):
    made = alice.post(path(server), NIGHTLY).json()["schedule"]
    for persona, wanted in ((alice, [made]), (bob, [made]), (charlie, []), (root, [])):
        assert persona.get(ALL).json() == {"schedules": wanted}
    assert root.get(f"{ALL}?all_projects=1").json() == {"schedules": [made]}
    assert charlie.get(f"{ALL}?all_projects=1").json() == {"schedules": []}
    assert anyone.get(ALL).status_code == 401
    Instance.objects.filter(pk=server.pk).update(deleted_at=timezone.now())
    assert alice.get(ALL).json() == {"schedules": []}


def test_the_lists_ask_the_database_as_often_for_many(server, alice):
    def queries(where: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert alice.get(where).status_code == 200
        return len(captured)

    alice.post(path(server), NIGHTLY)
    few = [queries(where) for where in (ALL, path(server))]
    for number in range(5):
        alice.post(path(server), NIGHTLY | {"name": str(number)})
    assert [queries(where) for where in (ALL, path(server))] == few
    assert max(few) <= 8
