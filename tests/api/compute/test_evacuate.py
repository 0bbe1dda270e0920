"""The action evacuate, in each of its versions."""

from __future__ import annotations

import pytest

from compute.hosts import fencing
from compute.hosts.registration import mark_down
from compute.models import Action, Host, Instance, Migration
from compute.operations.create import BootRequest, create
from portal.identity.actor import SYSTEM

pytestmark = pytest.mark.django_db


@pytest.fixture
def lost(cloud, alice, drain) -> Instance:
    """An instance whose host is off."""
    create(alice.actor, BootRequest(name="web", flavor_id="42", image_id=str(cloud.image.id)))
    drain()
    mark_down(cloud.host.pk, "gone")
    fencing.confirm_off(SYSTEM, cloud.host)
    return Instance.objects.get()


@pytest.fixture
def spare(cloud) -> Host:
    """Where it can go."""
    return Host.objects.create(name="spare", uri="fake://spare", state="up", vcpus=8, memory_mb=32_768, disk_gb=500)


def ask(persona, instance, body, version="2.1"):
    path = f"/compute/v2.1/servers/{instance.pk}/action"
    return persona.post(path, {"evacuate": body}, headers={"OpenStack-API-Version": f"compute {version}"})


@pytest.mark.parametrize(
    ("version", "body"),
    [
        ("2.1", {"onSharedStorage": False}),
        ("2.13", {"onSharedStorage": "False", "host": "spare"}),
        ("2.14", {}),
        ("2.28", {"host": "spare"}),
        ("2.29", {"host": "spare", "force": True}),
        ("2.67", {"host": "spare", "force": False}),
        ("2.68", {"host": "spare"}),
        ("2.95", {}),
    ],
)
def test_it_is_accepted_in_the_form_of_each_version(root, lost, spare, drain, version, body):
    answer = ask(root, lost, body, version)
    assert answer.status_code == 200, answer.content
    old = version in ("2.1", "2.13")
    assert (list(answer.json()) == ["adminPass"]) if old else (answer.content == b"")
    shown = root.get(f"/compute/v2.1/servers/{lost.pk}").json()["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("REBUILD", "rebuilding")
    forced = Action.objects.get(operation="evacuate").params["force"]
    assert forced == (version in ("2.13", "2.28", "2.29"))
    drain()
    shown = root.get(f"/compute/v2.1/servers/{lost.pk}").json()["server"]
    assert shown["status"] == ("SHUTOFF" if version == "2.95" else "ACTIVE")
    assert shown["OS-EXT-SRV-ATTR:host"] == "spare"
    actions = root.get(f"/compute/v2.1/servers/{lost.pk}/os-instance-actions").json()["instanceActions"]
    assert actions[0]["action"] == "evacuate"


@pytest.mark.parametrize(
    ("version", "body", "status", "why"),
    [
        ("2.1", {}, 400, "onSharedStorage"),
        ("2.1", {"onSharedStorage": "perhaps"}, 400, "onSharedStorage"),
        ("2.1", {"onSharedStorage": True}, 400, "shares the storage"),
        ("2.1", {"onSharedStorage": True, "adminPass": "x"}, 400, "admin password can't be changed"),
        ("2.1", {"onSharedStorage": False, "force": True}, 400, "force"),
        ("2.14", {"onSharedStorage": False}, 400, "onSharedStorage"),
        ("2.29", {"force": True}, 400, "non-provided destination"),
        ("2.68", {"host": "spare", "force": True}, 400, "force"),
        ("2.14", {"host": "nowhere"}, 400, "could not be found"),
        ("2.14", {"host": "host-1"}, 400, "can't be the same one"),
        ("2.14", {"host": 7}, 400, "host"),
        ("2.14", [], 400, "object"),
    ],
)
def test_bad_requests_change_nothing(root, lost, spare, version, body, status, why):
    answer = ask(root, lost, body, version)
    assert answer.status_code == status and why in answer.content.decode()
    assert Instance.objects.get().task_state is None and not Migration.objects.exists()


def test_a_host_must_be_down_and_fenced(root, lost, spare):
    Host.objects.filter(name="host-1").update(state="up", fenced_at=None)
    answer = ask(root, lost, {}, "2.14")
    assert answer.status_code == 400 and "host-1 is still in use" in answer.content.decode()
    Host.objects.filter(name="host-1").update(state="down")
    answer = ask(root, lost, {}, "2.14")
    assert answer.status_code == 409 and "Fence it first" in answer.content.decode()
    Instance.objects.update(vm_state="paused")
    answer = ask(root, lost, {}, "2.14")
    assert answer.status_code == 409 and "while it is in vm_state paused" in answer.content.decode()


def test_only_administrators_evacuate(alice, bob, charlie, anyone, root, lost, spare):
    assert ask(alice, lost, {}, "2.14").status_code == 403
    assert ask(bob, lost, {}, "2.14").status_code == 403
    assert ask(charlie, lost, {}, "2.14").status_code == 404
    assert ask(anyone, lost, {}, "2.14").status_code == 401
    assert not Migration.objects.exists()


def test_a_member_reads_no_host_in_the_fault(alice, root, lost, spare, drain):
    Host.objects.filter(name="spare").update(enabled=False)
    ask(root, lost, {}, "2.14")
    drain()
    actions = alice.get(f"/compute/v2.1/servers/{lost.pk}/os-instance-actions").content.decode()
    assert "evacuate" in actions and "spare" not in actions and "host-1" not in actions
