"""What members read of a failure names no host, no address and no file of a host; administrators read all."""

from __future__ import annotations

import uuid

import pytest

from compute.hosts.connections import hypervisor_of
from compute.hosts.registration import add_host
from compute.hypervisor.interface import Failed, Unreachable
from compute.models import Action, Fault, Host, HostState, Instance
from compute.operations.boot import Boot
from compute.operations.create import BootRequest, create
from compute.operations.worker import perform, without_hosts
from portal.identity.actor import SYSTEM

TEXT = "cannot open '/var/lib/libvirt/images/nacelle/disk' at qemu+ssh://root:secret@10.1.2.3/system on host-1"
HIDDEN = ("/var/lib", "secret", "10.1.2.3", "host-1")


@pytest.fixture
def instance(cloud, alice) -> Instance:
    cloud.host.uri = "fake://root:secret@10.1.2.3/one"
    cloud.host.save()
    wanted = BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id))
    return create(alice.actor, wanted)[0]


def failing(host: Host, monkeypatch, error: Exception) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(type(hypervisor_of(host)), "ensure_network", fail)


def test_a_failed_boot_tells_its_owner_no_host(cloud, alice, root, instance, drain, monkeypatch):
    failing(cloud.host, monkeypatch, Failed(TEXT))
    drain()
    action = Action.objects.get()
    path = f"/compute/v2.1/servers/{instance.id}"
    version = {"OpenStack-API-Version": "compute 2.84"}
    told = [
        alice.get(path, headers=version),
        alice.get(f"{path}/os-instance-actions/{action.request_id}", headers=version),
    ]
    assert told[0].json()["server"]["fault"]["message"]
    alice.client.force_login(alice.user)
    told += [alice.client.get(f"/instances/{instance.id}/"), alice.client.get(f"/instances/{instance.id}/actions")]
    for answer in told:
        assert answer.status_code == 200
        assert [word for word in HIDDEN if word in answer.content.decode()] == []
    assert TEXT in root.get(path, headers=version).json()["server"]["fault"]["details"]


def test_a_foreign_exception_tells_only_its_kind(cloud, alice, instance, drain, monkeypatch):
    failing(cloud.host, monkeypatch, OSError("password=secret at /etc/shadow"))
    drain()
    messages = [*Fault.objects.values_list("message", flat=True)]
    messages += [event.message for event in Action.objects.get().events.all()]
    assert any("OSError" in message for message in messages)
    assert not any("secret" in message for message in messages)


def test_an_operation_that_waits_for_its_host_does_not_name_it(cloud, alice, instance, monkeypatch):
    failing(cloud.host, monkeypatch, Unreachable("10.1.2.3 does not answer on port 16509: refused"))
    monkeypatch.setattr(Boot, "try_again", lambda self, error: False)
    action = Action.objects.get()
    perform(action.pk, "compute")
    action.refresh_from_db()
    assert action.message == "a host does not answer on port 16509: refused"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("No valid host was found: host-1 wants 512 MB.", "No valid host was found: a host wants 512 MB."),
        ("host-10 is another name, and so is my.host-1x", "host-10 is another name, and so is my.host-1x"),
        ("3/4 of the room, and/or 1 GB", "3/4 of the room, and/or 1 GB"),
    ],
)
def test_words_that_only_look_alike_stay(cloud, text, told):
    assert without_hosts(text) == told


def test_the_addresses_where_hosts_are_reached_otherwise_are_hidden_too(cloud):
    Host.objects.update(console_address="10.1.2.4", migration_address="10.1.2.5")
    text = "unable to connect to server at '10.1.2.4:49152', nor from a trusted address (10.1.2.5)"
    told = "unable to connect to server at 'a host:49152', nor from a trusted address (a host)"
    assert without_hosts(text) == told


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"enabled": False, "disabled_reason": "sold to Mallory."}, "No valid host was found: a host is disabled."),
        ({"state": HostState.DOWN, "state_reason": "rack 7 burns"}, "No valid host was found: a host is down."),
    ],
)
def test_why_a_host_takes_nothing_is_for_administrators(cloud, alice, root, instance, drain, state, told):
    Host.objects.update(**state)
    drain()
    path, version = f"/compute/v2.1/servers/{instance.id}", {"OpenStack-API-Version": "compute 2.84"}
    assert alice.get(path, headers=version).json()["server"]["fault"]["message"] == told
    reason = next(text for name, text in state.items() if name.endswith("reason")).rstrip(".")
    assert reason in root.get(path, headers=version).json()["server"]["fault"]["details"]


def test_a_reason_that_begins_as_another_does_is_kept_back_whole(cloud):
    other_host = add_host(SYSTEM, uri=f"fake://{uuid.uuid4().hex}")
    Host.objects.filter(pk=cloud.host.pk).update(enabled=False, disabled_reason="sold")
    Host.objects.filter(pk=other_host.pk).update(enabled=False, disabled_reason="sold to Mallory")
    assert without_hosts(f"{other_host.name} is disabled: sold to Mallory.") == "a host is disabled."


def test_a_server_has_no_more_cards_than_slots(cloud, alice):
    body = {
        "name": "wide",
        "imageRef": str(cloud.image.id),
        "flavorRef": cloud.nano.id,
        "networks": [{"uuid": str(cloud.network.id)}] * 17,
    }
    answer = alice.post("/compute/v2.1/servers", {"server": body})
    assert answer.status_code == 400
    assert "at most 16 network cards" in answer.json()["badRequest"]["message"]
    assert not Instance.objects.exists()
