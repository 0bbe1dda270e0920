"""Draining hosts and evening out their load: the API, the commands and the pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from compute.hosts.registration import learn, mark_down
from compute.models import OPEN_STATES, Action, Host, Instance, Relocation
from compute.operations import OPERATIONS, relocation_steps
from compute.operations.create import BootRequest, create
from compute.operations.worker import perform
from tests.conftest import Persona

pytestmark = pytest.mark.django_db


@pytest.fixture
def full(cloud: Any, alice: Persona, drain: Any) -> Host:
    """A host with four instances of a gibibyte that it holds eight of; there is another one."""
    cloud.nano.memory_mb = 1024
    cloud.nano.save()
    for name in ("one", "two", "three", "four"):
        create(alice.actor, BootRequest(name=name, flavor_id="42", image_id=str(cloud.image.id)))
    drain()
    Host.objects.create(name="spare", uri="fake://spare-of-maintenance", state="up")
    for host in Host.objects.all():
        learn(host)
    Host.objects.update(memory_mb=8192, reserved_memory_mb=0, memory_ratio=1.0)
    return Host.objects.get(pk=cloud.host.pk)


def to_the_end() -> None:
    for _ in range(40):
        relocation_steps.advance()
        for action in Action.objects.filter(state__in=OPEN_STATES):
            perform(action.pk, action.progress.get("lane", OPERATIONS[action.operation].lane))


def test_a_host_is_drained_and_brought_back(root, full):
    Instance.objects.filter(name="two").update(vm_state="suspended")
    path = f"/nacelle/v1/hosts/{full.uuid}/drain"
    said = {one["server_name"]: one for one in root.get(path).json()["servers"]}
    assert (said["one"]["action"], said["one"]["possible"]) == ("live-migration", True)
    assert not said["two"]["possible"] and "Resume it first" in said["two"]["message"]
    begun = root.post(path, {"reason": "new disks", "at_once": 3})
    assert begun.status_code == 202, begun.content
    made = begun.json()["relocation"]
    assert (made["kind"], made["at_once"], made["shut_down"]) == ("drain", 3, False)
    assert root.post(path).status_code == 409
    to_the_end()
    shown = root.get(f"/nacelle/v1/relocations/{made['id']}").json()["relocation"]
    assert (shown["state"], shown["servers"]["done"], shown["servers"]["failed"]) == ("incomplete", 3, 1)
    service = root.get("/compute/v2.1/os-services?host=host-1").json()["services"][0]
    assert (service["status"], service["disabled_reason"]) == ("disabled", "new disks")
    assert root.post(f"/nacelle/v1/relocations/{made['id']}/retry", {"shut_down": True}).status_code == 202
    assert Relocation.objects.get().shut_down
    assert root.post(f"/nacelle/v1/hosts/{full.uuid}/resume").status_code == 204
    full.refresh_from_db()
    assert full.enabled and not full.maintenance and Relocation.objects.get().state == "stopped"


@pytest.mark.parametrize(
    "body", [{"at_once": 0}, {"at_once": 101}, {"at_once": "two"}, {"reason": 7}, {"more": 1}, [], 0, ""]
)
def test_bad_wishes_change_nothing(root, full, body):
    assert root.post(f"/nacelle/v1/hosts/{full.uuid}/drain", body).status_code == 400
    full.refresh_from_db()
    assert full.enabled and not Relocation.objects.exists()


def test_a_host_that_is_down_is_not_drained(root, full):
    mark_down(full.pk, "gone")
    path = f"/nacelle/v1/hosts/{full.uuid}/drain"
    assert "is down" in root.get(path).json()["refusal"]
    assert root.post(path).status_code == 409


def test_enabling_it_in_novas_way_brings_it_back_too(root, full):
    root.post(f"/nacelle/v1/hosts/{full.uuid}/drain")
    headers = {"OpenStack-API-Version": "compute 2.53"}
    root.put(f"/compute/v2.1/os-services/{full.service_uuid}", {"status": "enabled"}, headers=headers)
    full.refresh_from_db()
    assert full.enabled and not full.maintenance and Relocation.objects.get().state == "stopped"


def test_the_load_is_evened_out_when_told(root, full):
    shown = root.get("/nacelle/v1/rebalance").json()["rebalance"]
    assert len(shown["moves"]) == 2 and {(one["from"], one["to"]) for one in shown["moves"]} == {("host-1", "spare")}
    assert {one["name"]: (one["load"], one["load_after"]) for one in shown["hosts"]} == {
        "host-1": (0.5, 0.25), "spare": (0.0, 0.25),
    }  # fmt: skip
    assert root.post("/nacelle/v1/rebalance", {"key": "another"}).status_code == 409
    assert root.post("/nacelle/v1/rebalance", {}).status_code == 400
    begun = root.post("/nacelle/v1/rebalance", {"key": shown["key"]})
    assert begun.status_code == 202 and begun.json()["relocation"]["host"] is None
    running = root.get("/nacelle/v1/rebalance").json()["rebalance"]
    assert (running["running"], running["moves"]) == (begun.json()["relocation"]["id"], [])
    to_the_end()
    after = root.get("/nacelle/v1/rebalance").json()["rebalance"]
    assert (after["moves"], after["running"]) == ([], None) and "even enough" in after["sentence"]
    assert sorted(Host.objects.values_list("instances_used", flat=True)) == [2, 2]
    assert root.post("/nacelle/v1/rebalance", {"key": after["key"]}).status_code == 409


def test_nobody_else_sees_or_does_it(alice, bob, charlie, anyone, full):
    asked = [
        ("get", f"/nacelle/v1/hosts/{full.uuid}/drain"), ("post", f"/nacelle/v1/hosts/{full.uuid}/drain"),
        ("post", f"/nacelle/v1/hosts/{full.uuid}/resume"), ("get", "/nacelle/v1/rebalance"),
        ("post", "/nacelle/v1/rebalance"),
    ]  # fmt: skip
    for verb, path in asked:
        for persona in (alice, bob, charlie):
            assert (path, getattr(persona, verb)(path).status_code) == (path, 403)
        assert getattr(anyone, verb)(path).status_code == 401
    full.refresh_from_db()
    assert full.enabled and not Relocation.objects.exists()


def test_the_commands_say_and_do_it(full, capsys):
    call_command("host", "drain", "host-1", "--dry-run")
    assert "It is moved while it runs." in capsys.readouterr().out and not Relocation.objects.exists()
    call_command("rebalance")
    assert "2 moves narrow" in capsys.readouterr().out and not Relocation.objects.exists()
    call_command("rebalance", "--apply")
    to_the_end()
    with pytest.raises(CommandError, match="even enough"):
        call_command("rebalance", "--apply")
    call_command("host", "drain", "host-1", "--reason", "new disks", "--at-once", "1")
    assert "2 instances are being moved off" in capsys.readouterr().out
    call_command("host", "resume", "host-1")
    assert Host.objects.get(name="host-1").enabled
    with pytest.raises(CommandError, match="From 1 to 100"):
        call_command("host", "drain", "host-1", "--at-once", "0")


def test_the_pages_say_and_do_it(root, full, client):
    client.force_login(root.user)
    Instance.objects.filter(name="two").update(vm_state="suspended")
    page = f"/cloud/hosts/{full.pk}/"
    assert page + "drain" in client.get(page).content.decode()
    assert "Resume it first" in client.get(page + "drain").content.decode()
    assert client.post(page + "drain", {"at_once": "0"}).status_code == 400
    assert client.post(page + "drain", {"at_once": "2", "reason": "new disks"}).status_code == 302
    shown = client.get(page).content.decode()
    assert "maintenance" in shown and "new disks" in shown and "Bring back" in shown and "Stop" in shown
    to_the_end()
    assert "Shut down and move" in client.get(page).content.decode()
    row = Relocation.objects.get()
    client.post(f"/cloud/relocations/{row.pk}", {"how": "shut_down"})
    row.refresh_from_db()
    assert (row.state, row.shut_down) == ("running", True)
    client.post(page + "resume")
    full.refresh_from_db()
    assert full.enabled and not full.maintenance


def test_the_page_of_the_load_says_and_does_it(root, full, client):
    client.force_login(root.user)
    page = client.get("/cloud/rebalance/")
    key = page.context["proposal"].key
    assert "2 moves narrow" in page.content.decode() and "Make 2 moves" in page.content.decode()
    assert client.post("/cloud/rebalance/", {"key": "another"}).status_code == 409
    assert client.post("/cloud/rebalance/", {"key": key}).status_code == 302
    assert "evened out already" in client.get("/cloud/rebalance/").content.decode()
    to_the_end()
    assert "even enough" in client.get("/cloud/rebalance/").content.decode()
