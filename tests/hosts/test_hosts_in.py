"""Hosts come, change and go."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from django.db.models import ProtectedError

from compute.errors import Conflict, Invalid
from compute.hosts import asking, registration
from compute.hosts.connections import hypervisor_of
from compute.hosts.editing import edit_host
from compute.hosts.registration import add_host, learn
from compute.hosts.removal import remove_host
from compute.hypervisor.fake import FakeHypervisor
from compute.hypervisor.fake.faults import Fault, hanging
from compute.hypervisor.interface import Failed
from compute.models import Aggregate, Change, Host, Instance, Migration, MigrationStatus, Sample
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden
from scheduler import claims
from tests.conftest import Cloud, Persona

pytestmark = pytest.mark.django_db


def machine(name: str, **facts: Any) -> str:
    """The URI of a fake machine."""
    query = "&".join(f"{key}={value}" for key, value in facts.items())
    return f"fake://{name}-{uuid.uuid4().hex[:8]}" + (f"?{query}" if query else "")


# adding -------------------------------------------------------------------------------------------
def test_a_host_has_what_its_machine_says(cloud: Cloud) -> None:
    host = add_host(SYSTEM, uri=machine("a", vcpus=4, memory=2048, disk=70))
    assert (host.vcpus, host.memory_mb, host.disk_gb, host.state) == (4, 2048, 70, "up")
    assert str(host.machine_uuid) == host.facts["uuid"]
    assert host.last_seen_at is not None
    assert Change.objects.filter(kind="host", object_id=str(host.pk)).exists()


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("qemu+tcp://192.0.2.7/system", "192.0.2.7 is not trusted"),
        ("qemu+ssh://host/system?command=x", "command is not taken"),
        ("nonsense", "No driver"),
        ("qemu+tcp://127.0.0.1:1/system", "cannot be used: 127.0.0.1 does not answer on port 1"),
    ],
)
def test_a_way_that_is_not_taken_or_leads_nowhere_is_refused(cloud: Cloud, uri: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        add_host(SYSTEM, uri=uri)
    assert Host.objects.count() == 1


def test_trusted_addresses_are_a_setting(cloud: Cloud, settings: Any) -> None:
    settings.TRUSTED_HOSTS = ["192.0.2.0/24"]
    assert registration.settled("qemu+tcp://192.0.2.7/system") == "qemu+tcp://192.0.2.7/system"


def test_the_same_machine_is_not_registered_twice(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add_host(SYSTEM, uri=machine("a"))
    known = hypervisor_of(first).facts().uuid
    real = FakeHypervisor.facts
    monkeypatch.setattr(FakeHypervisor, "facts", lambda self: replace(real(self), uuid=known))
    with pytest.raises(Conflict, match=rf"is registered as {first.name}.*host_uuid"):
        add_host(SYSTEM, uri=machine("b"))
    with pytest.raises(Conflict, match="with the URI"):
        add_host(SYSTEM, uri=first.uri)
    assert Host.objects.count() == 2


@pytest.mark.parametrize("name", ["a b", "zone:host", "x" * 256, "-x", "a\nb", "ä"])
def test_a_name_is_one_that_can_be_written(cloud: Cloud, name: str) -> None:
    with pytest.raises(Invalid, match="is no name for a host"):
        add_host(SYSTEM, uri=machine("a"), name=name)


def test_a_name_that_is_taken_is_refused(cloud: Cloud) -> None:
    with pytest.raises(Conflict, match="A host named host-1 is registered already; give this one another name"):
        add_host(SYSTEM, uri=machine("a"), name="host-1")


@pytest.mark.parametrize("verb", ["prepare", "facts"])
def test_a_host_that_stands_still_is_given_up(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.setattr(asking, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(asking.ask, "__defaults__", (0.3,))
    uri = machine("a")
    hypervisor_of(Host(uri=uri)).inject(Fault(verb, do="hang"))  # type: ignore[attr-defined]  # it is a fake one
    with pytest.raises(Invalid, match=r"cannot be used: The host did not answer within 0.3 s"):
        add_host(SYSTEM, uri=uri)
    assert hanging.end() == 1
    assert Host.objects.count() == 1


def test_another_machine_at_the_same_address_is_not_taken_for_the_host(cloud: Cloud) -> None:
    host = add_host(SYSTEM, uri=machine("a"))
    learn(host)
    host.machine_uuid = uuid.uuid4()
    with pytest.raises(Failed, match="Another machine answers"):
        learn(host)


def test_a_host_of_old_learns_its_machine_once(cloud: Cloud) -> None:
    assert cloud.host.machine_uuid is None
    learn(cloud.host)
    assert cloud.host.machine_uuid is not None
    again = Host.objects.create(name="again", uri=f"{cloud.host.uri}?vcpus=8")
    again.uri = cloud.host.uri  # as another way to the same machine
    with pytest.raises(Failed, match="registered as host-1"):
        learn(again)


# changing -----------------------------------------------------------------------------------------
def test_settings_change_and_the_rest_stays(cloud: Cloud, alice: Persona, launch: Any) -> None:
    waiting = launch(alice)
    Instance.objects.filter(pk=waiting.pk).update(asked_host="host-1")
    changes = {"name": "rack-1", "cpu_ratio": 2.5, "reserved_memory_mb": 1024, "migration_address": "10.9.9.1"}
    edit_host(SYSTEM, cloud.host, changes)
    cloud.host.refresh_from_db()
    assert cloud.host.migration_address == "10.9.9.1"
    assert (cloud.host.name, cloud.host.cpu_ratio, cloud.host.reserved_memory_mb) == ("rack-1", 2.5, 1024)
    waiting.refresh_from_db()
    assert waiting.asked_host == "rack-1"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a b"), ("uri", "qemu+tcp://192.0.2.7/system"), ("console_address", "a b"), ("domain_type", "xen"),
        ("migration_address", "a b"),
        ("cpu_ratio", 0.0), ("memory_ratio", float("nan")), ("disk_ratio", 1e9), ("cpu_ratio", float("inf")),
        ("reserved_memory_mb", -1), ("reserved_disk_gb", 2**40),
    ],
)  # fmt: skip
def test_what_makes_no_sense_changes_nothing(cloud: Cloud, field: str, value: Any) -> None:
    before = Host.objects.values().get(pk=cloud.host.pk)
    with pytest.raises(Invalid) as refused:
        edit_host(SYSTEM, cloud.host, {"name": "better", field: value} if field != "name" else {field: value})
    assert refused.value.about == field
    assert Host.objects.values().get(pk=cloud.host.pk) == before


def test_another_way_leads_to_the_same_machine_or_is_refused(cloud: Cloud, far: Host) -> None:
    learn(cloud.host)
    with pytest.raises(Conflict, match="Another machine answers"):
        edit_host(SYSTEM, cloud.host, {"uri": machine("b")})
    learn(far)
    with pytest.raises(Conflict, match=r"Another machine answers|with the URI"):
        edit_host(SYSTEM, cloud.host, {"uri": far.uri})
    with pytest.raises(Conflict, match="host-2 is registered already"):
        edit_host(SYSTEM, cloud.host, {"name": "host-2"})
    cloud.host.refresh_from_db()
    assert cloud.host.name == "host-1"


def test_a_new_way_is_kept_with_its_console_address(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    learn(cloud.host)
    facts = hypervisor_of(cloud.host).facts()
    monkeypatch.setattr(registration, "look", lambda uri: facts)
    edit_host(SYSTEM, cloud.host, {"uri": "qemu+ssh://127.0.0.9/system"})
    cloud.host.refresh_from_db()
    assert (cloud.host.uri, cloud.host.console_address) == ("qemu+ssh://127.0.0.9/system", "127.0.0.9")
    edit_host(SYSTEM, cloud.host, {"console_address": "10.0.0.9"})
    edit_host(SYSTEM, cloud.host, {"uri": "qemu+ssh://127.0.0.8/system"})
    cloud.host.refresh_from_db()
    assert cloud.host.console_address == "10.0.0.9"


# removing -----------------------------------------------------------------------------------------
def test_a_host_with_instances_stays_and_says_which(
    cloud: Cloud,
    alice: Persona,
    launch: Any,
    drain: Any,
) -> None:
    for number in range(6):
        launch(alice, f"web-{number}")
    drain()
    with pytest.raises(Conflict, match=r"hosting 6 instances: web-0, web-1, .* and 1 more\. Migrate or delete them"):
        remove_host(SYSTEM, cloud.host)
    with pytest.raises(ProtectedError):
        cloud.host.delete()
    assert Host.objects.filter(pk=cloud.host.pk).exists()


def test_a_host_that_something_is_on_its_way_to_stays(
    cloud: Cloud,
    far: Host,
    alice: Persona,
    launch: Any,
    drain: Any,
) -> None:
    instance = launch(alice)
    drain()
    moving = Migration.objects.create(
        instance=instance, source_host=cloud.host, dest_host=far, status=MigrationStatus.MIGRATING,
        old_flavor=instance.flavor, new_flavor=instance.flavor, old_vm_state="active",
    )  # fmt: skip
    with pytest.raises(Conflict, match="host-2 has 1 migration in progress"):
        remove_host(SYSTEM, far)
    Migration.objects.filter(pk=moving.pk).update(status=MigrationStatus.REVERTED)
    remove_host(SYSTEM, far)
    assert not Host.objects.filter(pk=far.pk).exists()


def test_a_removed_host_leaves_nothing_but_history(
    cloud: Cloud,
    alice: Persona,
    launch: Any,
    drain: Any,
) -> None:
    instance = launch(alice)
    drain()
    alice.delete(f"/compute/v2.1/servers/{instance.pk}")
    drain()
    Sample.objects.create(host=cloud.host, at=1, values=b"")
    Aggregate.objects.create(name="rack").hosts.add(cloud.host)
    remove_host(SYSTEM, cloud.host)
    assert (Host.objects.count(), Sample.objects.count()) == (0, 0)
    instance.refresh_from_db()
    assert (instance.host_id, instance.vm_state) == (None, "deleted")
    assert Change.objects.filter(kind="host", object_id=str(cloud.host.pk)).exists()
    assert not claims.take(cloud.host.pk, vcpus=1, memory_mb=1, disk_gb=1)


def test_a_removed_host_can_be_added_again(cloud: Cloud) -> None:
    host = add_host(SYSTEM, uri=machine("a"))
    remove_host(SYSTEM, host)
    assert add_host(SYSTEM, uri=host.uri).name == host.name


def test_only_administrators_may(cloud: Cloud, alice: Persona, bob: Persona) -> None:
    for persona in (alice, bob):
        for forbidden in (
            lambda: add_host(persona.actor, uri=machine("a")),
            lambda: edit_host(persona.actor, cloud.host, {"name": "mine"}),
            lambda: remove_host(persona.actor, cloud.host),
        ):
            with pytest.raises(Forbidden):
                forbidden()
    assert Host.objects.get().name == "host-1"
