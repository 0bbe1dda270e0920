"""Evacuating hosts, and how far that is: the API, the command and the pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from compute.hosts import fencing
from compute.hosts.registration import mark_down
from compute.models import Aggregate, Host, Instance, Relocation
from compute.operations import relocation_steps
from compute.operations.create import BootRequest, create
from portal.identity.actor import SYSTEM
from tests.conftest import Persona

pytestmark = pytest.mark.django_db


@pytest.fixture
def lost(cloud: Any, alice: Persona, drain: Any) -> Host:
    """A host that is off, with two instances; there is another one."""
    for name in ("one", "two"):
        create(alice.actor, BootRequest(name=name, flavor_id="42", image_id=str(cloud.image.id)))
    drain()
    Host.objects.create(name="spare", uri="fake://spare", state="up", vcpus=8, memory_mb=32_768, disk_gb=500)
    mark_down(cloud.host.pk, "gone")
    fencing.confirm_off(SYSTEM, cloud.host)
    Instance.objects.filter(name="two").update(vm_state="paused")
    return cloud.host


def to_the_end(drain: Any) -> None:
    for _ in range(5):
        relocation_steps.advance()
        drain()


def test_what_becomes_of_each_is_said_beforehand_and_done(root, lost, drain):
    path = f"/nacelle/v1/hosts/{lost.uuid}/evacuate"
    said = root.get(path).json()
    assert said["refusal"] == ""
    one, two = said["servers"]
    assert (one["server_name"], one["action"], one["possible"]) == ("one", "evacuate", True)
    assert one["message"] == "It is made anew of its image; its disks are lost."
    assert (two["server_name"], two["possible"]) == ("two", False) and "It is paused" in two["message"]
    begun = root.post(path)
    assert begun.status_code == 202
    made = begun.json()["relocation"]
    assert (made["kind"], made["host"], made["state"]) == ("evacuation", "host-1", "running")
    to_the_end(drain)
    shown = root.get(f"/nacelle/v1/relocations/{made['id']}").json()
    assert shown["relocation"]["state"] == "incomplete"
    assert shown["relocation"]["servers"] == {"waiting": 0, "moving": 0, "done": 1, "failed": 1}
    assert [(one["server_name"], one["state"], one["host"]) for one in shown["servers"]] == [
        ("one", "done", "spare"), ("two", "failed", "host-1"),
    ]  # fmt: skip
    Instance.objects.filter(name="two").update(vm_state="active")
    assert root.post(f"/nacelle/v1/relocations/{made['id']}/stop").status_code == 409
    again = f"/nacelle/v1/relocations/{made['id']}/retry"
    for body, status in (({"shut_down": True}, 400), ({"more": 1}, 400), ([], 400), (None, 202)):
        assert root.post(again, body).status_code == status
    assert root.get(again).status_code == 405 and Relocation.objects.get().state == "running"
    to_the_end(drain)
    assert [one["state"] for one in root.get("/nacelle/v1/relocations").json()["relocations"]] == ["done"]
    assert root.post(f"/nacelle/v1/relocations/{made['id']}/retry").status_code == 409


def test_it_can_be_stopped(root, lost):
    made = root.post(f"/nacelle/v1/hosts/{lost.uuid}/evacuate").json()["relocation"]
    assert root.post(f"/nacelle/v1/relocations/{made['id']}/stop").json()["relocation"]["state"] == "stopped"


def test_a_host_that_is_up_is_not_evacuated(root, cloud):
    path = f"/nacelle/v1/hosts/{cloud.host.uuid}/evacuate"
    assert "still in use" in root.get(path).json()["refusal"]
    assert root.post(path).status_code == 400
    mark_down(cloud.host.pk, "gone")
    assert "Fence it first" in root.get(path).json()["refusal"]
    assert root.post(path).status_code == 409
    assert not Relocation.objects.exists()


def test_nobody_else_sees_or_does_it(alice, bob, charlie, anyone, root, lost):
    made = root.post(f"/nacelle/v1/hosts/{lost.uuid}/evacuate").json()["relocation"]
    one = f"/nacelle/v1/relocations/{made['id']}"
    asked = [
        ("get", f"/nacelle/v1/hosts/{lost.uuid}/evacuate"), ("post", f"/nacelle/v1/hosts/{lost.uuid}/evacuate"),
        ("get", "/nacelle/v1/relocations"), ("get", one), ("post", f"{one}/stop"), ("post", f"{one}/retry"),
    ]  # fmt: skip
    for verb, path in asked:
        for persona in (alice, bob, charlie):
            assert (path, getattr(persona, verb)(path).status_code) == (path, 403)
        assert getattr(anyone, verb)(path).status_code == 401
    assert Relocation.objects.get().state == "running"
    unknown = "/nacelle/v1/relocations/00000000-0000-4000-8000-000000000000"
    assert root.get(unknown).status_code == root.post(f"{unknown}/stop").status_code == 404


def test_the_command_says_and_does_it(lost, capsys):
    call_command("host", "evacuate", "host-1", "--dry-run")
    assert "It is made anew of its image" in capsys.readouterr().out and not Relocation.objects.exists()
    call_command("host", "evacuate", "host-1")
    assert "2 instances are being started elsewhere" in capsys.readouterr().out
    with pytest.raises(CommandError, match="being moved already"):
        call_command("host", "evacuate", "host-1")


def test_the_pages_say_and_do_it(root, lost, drain, client):
    client.force_login(root.user)
    page = client.get(f"/cloud/hosts/{lost.pk}/").content.decode()
    assert f"/cloud/hosts/{lost.pk}/evacuate" in page
    page = client.get(f"/cloud/hosts/{lost.pk}/evacuate").content.decode()
    assert "It is made anew of its image" in page and "It is paused" in page and "Evacuate 1 of 2" in page
    assert client.post(f"/cloud/hosts/{lost.pk}/evacuate").status_code == 302
    assert "being moved already" in client.post(f"/cloud/hosts/{lost.pk}/evacuate").content.decode()
    to_the_end(drain)
    page = client.get(f"/cloud/hosts/{lost.pk}/").content.decode()
    assert "incomplete" in page and "Try again" in page and "It is paused" in page
    row = Relocation.objects.get()
    client.post(f"/cloud/relocations/{row.pk}", {"how": "retry"})
    row.refresh_from_db()
    assert row.state == "running"
    client.post(f"/cloud/relocations/{row.pk}", {"how": "stop"})
    row.refresh_from_db()
    assert row.state == "stopped"


def test_an_aggregate_asks_for_it_by_a_checkbox(root, cloud, client):
    client.force_login(root.user)
    rack = Aggregate.objects.create(name="rack", metadata={"ssd": "true"})
    rack.hosts.add(cloud.host)
    path = f"/cloud/aggregates/{rack.pk}/"
    assert "checked" not in client.get(path).content.decode()
    client.post(path + "evacuation", {"evacuates": "on", "after": "90"})
    rack.refresh_from_db()
    assert rack.metadata == {"ssd": "true", "nacelle:evacuate": "true", "nacelle:evacuate_after": "90"}
    page = client.get(path).content.decode()
    assert "checked" in page and 'value="90"' in page and "nacelle:evacuate" not in page
    assert "When it is down for 90 s" in client.get(f"/cloud/hosts/{cloud.host.pk}/").content.decode()
    client.post(path + "evacuation", {"evacuates": "on", "after": "-1"})
    rack.refresh_from_db()
    assert rack.metadata["nacelle:evacuate_after"] == "90"
    client.post(path + "evacuation", {})
    rack.refresh_from_db()
    assert rack.metadata == {"ssd": "true"}
