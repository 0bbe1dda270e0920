"""The tab of in-place snapshots: the tree with the place where the instance stands, and its buttons."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compute.models import Action, Instance, Snapshot, SnapshotSchedule
from compute.operations import schedules
from portal.dashboard.snapshot_tree import Node, lines_of
from tests.conftest import Cloud, Persona
from tests.dashboard.conftest import FRAGMENT

pytestmark = pytest.mark.django_db
NIGHTLY = {
    "name": "nightly", "kind": "snapshot", "frequency": "weekly", "weekday": "6", "time": "02:30",
    "time_zone": "Europe/Berlin", "keep": "3", "enabled": "on",
}  # fmt: skip


def tab(instance: Instance) -> str:
    return f"/instances/{instance.pk}/snapshots"


def drawn(lines: list[list[Node]]) -> list[object]:
    """Names, with what branches off in lists of their own."""

    def one(node: Node) -> object:
        name = node.snapshot.name if node.snapshot else "NOW"
        return (name, drawn(node.branches)) if node.branches else name

    return [[one(node) for node in line] for line in lines]


def rows(**parents: str) -> list[Snapshot]:
    """Snapshots by name with their parents; the one named in ``_current`` is current."""
    current = parents.pop("_current", "")
    made: dict[str, Snapshot] = {}
    for number, (name, parent) in enumerate(parents.items()):
        at = timezone.now() + timedelta(seconds=number)
        made[name] = Snapshot(name=name, parent=made.get(parent), current=name == current, created_at=at)
        made[name].state = "available"
    return list(made.values())


@pytest.mark.parametrize(
    ("parents", "wanted"),
    [
        ({}, []),
        ({"a": "", "b": "a", "c": "b", "_current": "c"}, [["a", "b", "c", "NOW"]]),
        ({"a": "", "b": "a", "c": "b", "_current": "a"}, [[("a", [["b", "c"]]), "NOW"]]),
        ({"a": "", "b": "a", "c": "a", "d": "c", "_current": "d"}, [[("a", [["b"]]), "c", "d", "NOW"]]),
        ({"a": "", "b": "a", "c": "a", "_current": "b"}, [[("a", [["c"]]), "b", "NOW"]]),
        ({"a": "", "b": "", "_current": "a"}, [["b"], ["a", "NOW"]]),
        ({"a": "", "b": "a"}, [["a", "b"], ["NOW"]]),
        (
            {"a": "", "b": "a", "c": "b", "d": "b", "e": "a", "_current": "e"},
            [[("a", [[("b", [["c"]]), "d"]]), "e", "NOW"]],
        ),
    ],
)
def test_how_the_tree_is_drawn(parents: dict[str, str], wanted: list[object]) -> None:
    assert drawn(lines_of(rows(**parents))) == wanted


def test_one_that_is_being_made_is_drawn_where_the_instance_stands() -> None:
    made = rows(a="", b="a", _current="a")
    made[1].state, made[1].parent = "creating", None
    assert drawn(lines_of(made)) == [[("a", [["b"]]), "NOW"]]


def test_a_snapshot_from_the_form_to_its_end(web: Instance, alice: Persona, browse, drain) -> None:
    client = browse(alice)
    assert b"No snapshot yet" in client.get(tab(web)).content
    answer = client.post(tab(web), {"name": "before", "description": "the upgrade", "memory": "on"})
    assert (answer.status_code, answer["Location"]) == (302, tab(web))
    made = Snapshot.objects.get()
    page = client.get(tab(web)).content.decode()
    assert "creating" in page and 'data-yes="Cancel it"' in page
    drain()
    page = client.get(tab(web)).content.decode()
    for said in ("before", "the upgrade", "with memory", "You are here", "1 of 16", "With its memory"):
        assert said in page
    client.post(tab(web), {"name": "after"})
    drain()
    answer = client.post(f"{tab(web)}/{made.pk}/revert", {"way": "off"})
    assert (answer.status_code, answer["Location"]) == (302, tab(web))
    drain()
    web.refresh_from_db()
    assert web.vm_state == "stopped"
    assert drawn(client.get(tab(web)).context["lines"]) == [[("before", [["after"]]), "NOW"]]
    for way, state in (("memory", "active"), ("off", "stopped"), ("boot", "active"), ("", "active")):
        client.post(f"{tab(web)}/{made.pk}/revert", {"way": way})
        drain()
        web.refresh_from_db()
        assert (way, web.vm_state) == (way, state)
    told = client.post(f"{tab(web)}/{made.pk}/delete", headers=FRAGMENT).json()
    assert told["messages"][-1] == {"level": "success", "text": "Delete snapshot: before"}
    drain()
    assert drawn(client.get(tab(web)).context["lines"]) == [["after"], ["NOW"]]


def test_refusals_are_shown(web: Instance, alice: Persona, browse, drain) -> None:
    client = browse(alice)
    for body, said in (
        ({}, "Give the snapshot a name."),
        ({"name": " "}, "Give the snapshot a name."),
        ({"name": "x" * 256}, "at most 255 characters"),
    ):
        answer = client.post(tab(web), body)
        assert (answer.status_code, said in answer.content.decode()) == (400, True)
    client.post(tab(web), {"name": "one"})
    answer = client.post(tab(web), {"name": "two"})
    assert answer.status_code == 400 and b"task_state snapshot_creating" in answer.content
    drain()
    made = Snapshot.objects.get()
    refused = client.post(f"{tab(web)}/{made.pk}/revert", {"way": "memory"}, headers=FRAGMENT).json()
    assert "taken without memory" in refused["messages"][0]["text"]
    gone = client.post(f"{tab(web)}/00000000-0000-4000-8000-000000000000/delete", headers=FRAGMENT).json()
    assert "could not be found" in gone["messages"][0]["text"]
    Instance.objects.update(vm_state="rescued")
    page = client.get(tab(web)).content.decode()
    assert f"{made.pk}/revert" not in page and f"{made.pk}/delete" not in page


def test_what_failed_is_said(web: Instance, alice: Persona, browse, drain) -> None:
    client = browse(alice)
    client.post(tab(web), {"name": "one"})
    Snapshot.objects.update(state="error")
    Action.objects.filter(operation="create_snapshot").update(state="error", message="No room on the host.")
    Instance.objects.update(task_state=None)
    page = client.get(tab(web)).content.decode()
    assert "unusable: delete it" in page
    assert "Take snapshot failed.</strong> No room on the host." in page
    assert f"{Snapshot.objects.get().pk}/revert" not in page


def test_a_schedule_from_the_form_to_its_end(web: Instance, alice: Persona, browse) -> None:
    client = browse(alice)
    form = client.get(f"/instances/{web.pk}/schedules/add").content.decode()
    assert "<option>Europe/Berlin</option>" in form
    answer = client.post(f"/instances/{web.pk}/schedules/add", NIGHTLY)
    assert (answer.status_code, answer["Location"]) == (302, tab(web))
    made = SnapshotSchedule.objects.get()
    assert (made.frequency, made.weekday, made.hour, made.minute, made.keep) == ("weekly", 6, 2, 30, 3)
    assert (made.time_zone, made.user_name, made.enabled) == ("Europe/Berlin", "alice", True)
    for page in (tab(web), "/schedules/"):
        shown = client.get(page).content.decode()
        assert "Sundays at 02:30" in shown and "keeps 3" in shown and "none yet" in shown
    one = f"/instances/{web.pk}/schedules/{made.pk}"
    assert 'value="02:30"' in client.get(f"{one}/edit").content.decode()
    before = made.next_run_at
    assert client.post(f"{one}/edit", NIGHTLY | {"keep": "5"}).status_code == 302
    made.refresh_from_db()
    assert (made.keep, made.next_run_at) == (5, before)
    assert client.post(f"{one}/edit", NIGHTLY | {"frequency": "hourly"}).status_code == 302
    assert "each hour at :30" in client.get(tab(web)).content.decode()
    for state in (False, True):
        client.post(f"{one}/switch", headers=FRAGMENT)
        made.refresh_from_db()
        assert made.enabled is state
    client.post(f"{one}/delete", headers=FRAGMENT)
    assert not SnapshotSchedule.objects.exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "Give the schedule a name."),
        ({"time": "25:00"}, "Enter a valid time."),
        ({"time_zone": "Mars/Olympus"}, "There is no time zone"),
        ({"keep": "0"}, "greater than or equal to 1"),
        ({"keep": "17"}, "is a number from 1 to 16"),
        ({"kind": "backup", "memory": "on"}, "A backup image holds no memory."),
        ({"frequency": "yearly"}, "Select a valid choice"),
        ({"weekday": "9"}, "Select a valid choice"),
    ],
)
def test_a_schedule_that_makes_no_sense(web: Instance, alice: Persona, browse, change, said) -> None:
    client = browse(alice)
    answer = client.post(f"/instances/{web.pk}/schedules/add", NIGHTLY | change)
    assert (answer.status_code, said in answer.content.decode()) == (400, True)
    assert not SnapshotSchedule.objects.exists()


def test_what_came_of_it_is_shown(web: Instance, alice: Persona, browse, drain) -> None:
    client = browse(alice)
    client.post(f"/instances/{web.pk}/schedules/add", NIGHTLY)
    long_ago = timezone.now() - timedelta(days=9)
    SnapshotSchedule.objects.update(next_run_at=long_ago, try_at=long_ago)
    Instance.objects.update(vm_state="rescued")
    schedules.run_due()
    page = client.get(tab(web)).content.decode()
    assert "waits" in page and "missed" in page and "vm_state rescued" in page
    Instance.objects.update(vm_state="active")
    SnapshotSchedule.objects.update(try_at=timezone.now())
    schedules.run_due()
    drain()
    page = client.get(tab(web)).content.decode()
    assert "by nightly" in page and "missed" in page and ">waits<" not in page


def test_whose_it_is_not(web: Instance, alice: Persona, bob: Persona, charlie: Persona, browse, drain) -> None:
    browse(alice).post(tab(web), {"name": "one"})
    browse(alice).post(f"/instances/{web.pk}/schedules/add", NIGHTLY)
    drain()
    snapshot, schedule = Snapshot.objects.get(), SnapshotSchedule.objects.get()
    posts = [tab(web), f"{tab(web)}/{snapshot.pk}/revert", f"{tab(web)}/{snapshot.pk}/delete"]
    posts += [f"/instances/{web.pk}/schedules/{end}" for end in ("add", *(f"{schedule.pk}/{one}" for one in ENDS))]
    for path in posts:
        assert (path, browse(bob).post(path, NIGHTLY).status_code) == (path, 403)
        assert (path, browse(charlie).post(path, NIGHTLY).status_code) == (path, 404)
        assert (path, Client().post(path, NIGHTLY).status_code) == (path, 302)
    page = browse(bob).get(tab(web)).content.decode()
    assert "nightly" in page and "one" in page
    for hidden in ("Take snapshot", "New schedule", "/revert", "/delete", "/switch", "/edit"):
        assert hidden not in page
    assert browse(bob).get("/schedules/").content.count(b"nightly") == 1
    assert b"nightly" not in browse(charlie).get("/schedules/").content
    assert (Snapshot.objects.count(), SnapshotSchedule.objects.get().enabled) == (1, True)


ENDS = ("edit", "switch", "delete")


def test_queries_do_not_grow(web: Instance, cloud: Cloud, alice: Persona, browse, drain) -> None:
    client = browse(alice)

    def queries(path: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get(path).status_code == 200
        return len(captured)

    def add(name: str) -> None:
        client.post(tab(web), {"name": name})
        client.post(f"/instances/{web.pk}/schedules/add", NIGHTLY | {"name": name})
        drain()

    add("one")
    few = [queries(tab(web)), queries("/schedules/")]
    for name in ("two", "three", "four"):
        add(name)
    assert [queries(tab(web)), queries("/schedules/")] == few
    assert few[0] <= 20 and few[1] <= 10
