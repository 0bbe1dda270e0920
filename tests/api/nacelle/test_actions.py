"""/nacelle/v1/servers/{id}/actions, …/cancel and …/live-resize."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from compute.models import Action, Flavor, Instance
from compute.operations.create import BootRequest, create
from tests.conftest import Cloud, Persona

Drain = Callable[[], int]
ROOM = {"nacelle:max_vcpus": "4", "nacelle:max_memory_mb": "1024"}


@pytest.fixture
def server(cloud: Cloud, alice: Persona, drain: Drain) -> str:
    """A running server with headroom."""
    Flavor.objects.create(id="roomy", name="roomy", vcpus=1, memory_mb=128, disk_gb=1, extra_specs=ROOM)
    wanted = BootRequest(name="web", flavor_id="roomy", image_id=str(cloud.image.id))
    (instance,) = create(alice.actor, wanted)
    drain()
    return str(instance.id)


def path(server: str, rest: str) -> str:
    return f"/nacelle/v1/servers/{server}/{rest}"


def act(persona: Persona, server: str, **action: Any) -> str:
    answer = persona.post(f"/compute/v2.1/servers/{server}/action", action)
    assert answer.status_code in (200, 202), answer.content
    return str(answer["X-Openstack-Request-Id"])


def test_under_way_it_is_listed_and_cancelled(cloud: Cloud, alice: Persona, server: str, drain: Drain) -> None:
    request_id = act(alice, server, rebuild={"imageRef": str(cloud.image.id), "name": "anew"})
    first, boot = alice.get(path(server, "actions")).json()["actions"]
    assert (first["action"], first["state"], first["cancellable"]) == ("rebuild", "queued", True)
    assert (boot["action"], boot["state"], boot["cancellable"], boot["percent"]) == ("create", "done", False, None)
    answer = alice.post(path(server, f"actions/{request_id}/cancel"))
    assert answer.status_code == 202
    assert (answer.json()["action"]["cancelled_by"], answer.json()["action"]["cancellable"]) == ("alice", False)
    again = alice.post(path(server, f"actions/{request_id}/cancel"))
    assert again.status_code == 409 and "being cancelled already" in again.json()["error"]["message"]
    drain()
    shown = alice.get(f"/compute/v2.1/servers/{server}").json()["server"]
    assert (shown["status"], shown["name"]) == ("ACTIVE", "web")
    late = alice.post(path(server, f"actions/{request_id}/cancel"))
    assert late.status_code == 409 and "has ended already" in late.json()["error"]["message"]
    action = alice.get(path(server, "actions")).json()["actions"][0]
    assert (action["state"], action["message"]) == ("cancelled", "cancelled by alice")


def test_of_nothing(cloud: Cloud, alice: Persona, server: str) -> None:
    assert alice.post(path(server, "actions/req-none/cancel")).status_code == 404
    assert alice.post(path(str(uuid.uuid4()), "actions/req-none/cancel")).status_code == 404
    assert alice.get(path(str(uuid.uuid4()), "actions")).status_code == 404


def test_who_may_cancel(
    cloud: Cloud, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona, server: str
) -> None:
    request_id = act(alice, server, rebuild={"imageRef": str(cloud.image.id)})
    for persona, status in ((bob, 403), (charlie, 404), (anyone, 401)):
        assert persona.post(path(server, f"actions/{request_id}/cancel")).status_code == status
    assert Action.objects.filter(cancelled_by="").count() == 2
    rows = bob.get(path(server, "actions"))
    assert rows.status_code == 200 and not any(one["cancellable"] for one in rows.json()["actions"])
    assert charlie.get(path(server, "actions")).status_code == 404
    assert anyone.get(path(server, "actions")).status_code == 401


def test_a_list_costs_the_same_however_long(cloud: Cloud, alice: Persona, server: str) -> None:
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(
            connection,
        ) as seen:
            assert alice.get(path(server, "actions")).status_code == 200
        counts.append(len(seen))
        row = Action.objects.get(operation="create")
        Action.objects.bulk_create(
            Action(instance=row.instance, operation="stop", request_id=f"req-{number}", state="done")
            for number in range(9)
        )
    assert counts[0] == counts[1] <= 8


def test_it_grows_while_it_runs(cloud: Cloud, alice: Persona, server: str, drain: Drain) -> None:
    Flavor.objects.create(id="more", name="more", vcpus=2, memory_mb=256, disk_gb=1)
    shown = alice.get(path(server, "live-resize")).json()["live_resize"]
    assert (shown["max_vcpus"], shown["max_memory_mb"], shown["refusal"]) == (4, 1024, "")
    verdicts = {one["id"]: one["refusal"] for one in shown["flavors"]}
    assert verdicts["more"] == "" and "Its disks differ" in verdicts["2"]
    answer = alice.post(path(server, "live-resize"), {"flavor": "more"})
    assert answer.status_code == 202 and answer.json()["action"]["action"] == "live_resize"
    status = alice.get(f"/compute/v2.1/servers/{server}").json()["server"]
    assert (status["status"], status["OS-EXT-STS:task_state"]) == ("RESIZE", "resize_prep")
    assert alice.post(path(server, "live-resize"), {"flavor": "more"}).status_code == 409
    drain()
    answer = alice.get(f"/compute/v2.1/servers/{server}", headers={"OpenStack-API-Version": "compute 2.47"})
    server_now = answer.json()["server"]
    assert (server_now["status"], server_now["flavor"]["vcpus"], server_now["flavor"]["ram"]) == ("ACTIVE", 2, 256)
    assert set(server_now["flavor"]) == {"vcpus", "ram", "disk", "ephemeral", "swap", "original_name", "extra_specs"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "flavor"),
        ({"flavor": 7}, "flavor"),
        ({"flavor": "more", "x": 1}, "x"),
        ({"flavor": "none"}, "could not be found"),
        ({"flavor": "2"}, "A resize is needed"),
    ],
)
def test_bad_input_changes_nothing(cloud: Cloud, alice: Persona, server: str, body: Any, said: str) -> None:
    answer = alice.post(path(server, "live-resize"), body)
    assert answer.status_code == 400 and said in answer.json()["error"]["message"]
    assert Instance.objects.get().task_state is None


def test_who_may_let_it_grow(
    cloud: Cloud, alice: Persona, bob: Persona, charlie: Persona, anyone: Persona, server: str
) -> None:
    for persona, status in ((bob, 403), (charlie, 404), (anyone, 401)):
        assert persona.post(path(server, "live-resize"), {"flavor": "2"}).status_code == status
    assert bob.get(path(server, "live-resize")).status_code == 200
    assert charlie.get(path(server, "live-resize")).status_code == 404
    alice.post(f"/compute/v2.1/servers/{server}/action", {"pause": None})
    assert alice.post(path(server, "live-resize"), {"flavor": "2"}).status_code == 409
