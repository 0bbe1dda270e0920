"""Adopting guests: they become instances, go on as they are, and what would make them anew is refused."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute import quota
from compute.errors import Conflict, Invalid, NotFound, QuotaExceeded
from compute.hosts.checks import check_host, strangers
from compute.hosts.connections import hypervisor_of
from compute.hosts.removal import remove_host
from compute.hypervisor.adoption import ForeignCard, ForeignDisk, ForeignGuest
from compute.hypervisor.fake.faults import Fault
from compute.hypervisor.interface import PowerState
from compute.models import Action, Host, HostEvent, Instance, QuotaLimit
from compute.operations import OPERATIONS, leftovers
from compute.operations.adopt import AdoptRequest, adopt
from compute.operations.boot import Boot
from compute.operations.engine import offered, request
from compute.operations.observe import observe_all
from compute.reconciliation import differences
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden
from tests.conftest import Cloud, Persona
from tests.engine.matrix import finish

pytestmark = pytest.mark.django_db
GIB = 1 << 30
LEGACY = ForeignGuest(
    uuid=uuid.UUID(int=7),
    name="legacy",
    title="",
    power_state=PowerState.RUNNING,
    vcpus=2,
    memory_mb=512,
    persistent=True,
    saved=False,
    disks=(
        ForeignDisk("vda", "disk", "file", "/pool/legacy.qcow2", "qcow2", 3 * GIB // 2, own_pool=True, deletable=True),
        ForeignDisk("vdb", "disk", "block", "/dev/vg/data", "raw", 10 * GIB),
        ForeignDisk("hda", "cdrom", "file", "/iso/debian.iso", "raw", GIB),
    ),
    cards=(ForeignCard("52:54:00:12:34:56", "bridge", "br0", "virtio"),),
    screen="127.0.0.1",
    serial=True,
)


@pytest.fixture
def put(cloud: Cloud) -> Any:
    """Put a guest of somebody else's onto the host."""

    def onto_it(**facts: Any) -> ForeignGuest:
        guest = replace(LEGACY, uuid=uuid.uuid4(), **facts)
        hypervisor_of(cloud.host).put_foreign(guest)  # type: ignore[attr-defined]  # it is a fake one
        return guest

    return onto_it


def adopted(cloud: Cloud, guest: ForeignGuest, **wanted: Any) -> Instance:
    return finish(adopt(SYSTEM, cloud.host, guest.uuid, AdoptRequest(cloud.demo.id, **wanted)))


def test_a_running_guest_becomes_an_instance_and_runs_on(cloud: Cloud, put: Any, alice: Persona) -> None:
    guest, driver = put(), hypervisor_of(cloud.host)
    instance = adopted(cloud, guest)
    assert (instance.id, instance.name, instance.domain_name, instance.hostname) == (
        guest.uuid,
        "legacy",
        "legacy",
        "legacy",
    )
    assert (instance.vm_state, instance.power_state, instance.task_state) == ("active", PowerState.RUNNING, None)
    assert (instance.vcpus, instance.memory_mb, instance.disk_gb) == (2, 512, 2)
    assert instance.flavor["name"] == "adopted-2-512-2"
    assert instance.project_id == cloud.demo.id and instance.host_id == cloud.host.pk and instance.launched_at
    seen = driver.guest(guest.uuid)
    assert seen is not None and (seen.managed, seen.power_state) == (True, PowerState.RUNNING)
    assert [call.split()[0] for call in driver.calls() if str(guest.uuid) in call] == ["adopt"]  # type: ignore[attr-defined]
    cloud.host.refresh_from_db()
    assert (cloud.host.vcpus_used, cloud.host.memory_mb_used, cloud.host.instances_used) == (2, 512, 1)
    assert quota.usage(cloud.demo.id) == {"instances": 1, "cores": 2, "memory_mb": 512}
    assert differences() == []
    assert "legacy was adopted into the project demo" in HostEvent.objects.latest("id").message
    shown = alice.get(f"/compute/v2.1/servers/{guest.uuid}").json()["server"]
    assert (shown["status"], shown["image"], shown["addresses"]) == ("ACTIVE", "", {})


@pytest.mark.parametrize(
    ("power", "saved", "vm_state"),
    [
        (PowerState.RUNNING, False, "active"),
        (PowerState.PAUSED, False, "paused"),
        (PowerState.SHUTDOWN, False, "stopped"),
        (PowerState.SHUTDOWN, True, "suspended"),
        (PowerState.CRASHED, False, "stopped"),
    ],
)
def test_its_state_is_that_of_the_guest(cloud: Cloud, put: Any, power: PowerState, saved: bool, vm_state: str) -> None:
    instance = adopted(cloud, put(power_state=power, saved=saved), name="better name")
    assert (instance.vm_state, instance.name) == (vm_state, "better name")
    driver = hypervisor_of(cloud.host)
    observe_all(cloud.host, {key: one.power_state for key, one in driver.guests().items()}, lambda key: None)
    assert Instance.objects.get().vm_state == vm_state


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"persistent": False}, "no definition that outlives it"),
        ({"power_state": PowerState.SUSPENDED}, "It is asleep"),
        ({"power_state": PowerState.NOSTATE}, "It is unknown"),
    ],
)
def test_what_stands_in_the_way_is_said(cloud: Cloud, put: Any, facts: dict[str, Any], why: str) -> None:
    guest = put(**facts)
    with pytest.raises(Conflict, match=why):
        adopted(cloud, guest)
    check_host(SYSTEM, cloud.host)
    (told,) = strangers(cloud.host)
    assert why in told["objections"][0]
    assert not Instance.objects.exists()


def test_what_is_not_there_or_ours_or_nobodys_project_is_refused(cloud: Cloud, put: Any, alice: Persona) -> None:
    with pytest.raises(NotFound):
        adopt(SYSTEM, cloud.host, uuid.uuid4(), AdoptRequest(cloud.demo.id))
    guest = put()
    for project in ("nobody", ""):
        with pytest.raises(Invalid, match="could not be found"):
            adopt(SYSTEM, cloud.host, guest.uuid, AdoptRequest(project))
    for name in ("x" * 256, "a\nb"):
        with pytest.raises(Invalid, match="characters"):
            adopt(SYSTEM, cloud.host, guest.uuid, AdoptRequest(cloud.demo.id, name=name))
    with pytest.raises(Forbidden):
        adopt(alice.actor, cloud.host, guest.uuid, AdoptRequest(cloud.demo.id))
    adopted(cloud, guest)
    with pytest.raises(Conflict, match="legacy is one already"):
        adopted(cloud, guest)
    hypervisor_of(cloud.host).break_down()  # type: ignore[attr-defined]  # it is a fake one
    with pytest.raises(Conflict, match="does not answer"):
        adopted(cloud, replace(guest, uuid=uuid.uuid4()))


def test_another_nacelles_guest_is_not_adopted(cloud: Cloud, put: Any) -> None:
    guest = put()
    hypervisor_of(cloud.host).adopt(guest.uuid, ())
    with pytest.raises(Conflict, match="managed by Nacelle already"):
        adopted(cloud, guest)


def test_quota_and_room_are_asked_and_nothing_is_left_when_they_are_short(cloud: Cloud, put: Any) -> None:
    guest = put()
    limit = QuotaLimit.objects.create(project=cloud.demo, resource="cores", limit=1)
    with pytest.raises(QuotaExceeded):
        adopted(cloud, guest)
    limit.delete()
    Host.objects.filter(pk=cloud.host.pk).update(memory_mb=600, memory_ratio=1.0)
    with pytest.raises(Conflict, match="does not fit into what host-1 may give"):
        adopted(cloud, guest)
    assert (Instance.objects.count(), Action.objects.count(), differences()) == (0, 0, [])
    assert adopted(cloud, guest, anyway=True).vm_state == "active"
    assert differences() == []


def test_a_host_that_takes_no_new_instances_gives_its_guests_away(cloud: Cloud, put: Any) -> None:
    Host.objects.filter(pk=cloud.host.pk).update(enabled=False)
    assert adopted(cloud, put()).vm_state == "active"


def test_a_mark_that_could_not_be_put_is_put_by_the_next_start(cloud: Cloud, put: Any, alice: Persona) -> None:
    guest, driver = put(), hypervisor_of(cloud.host)
    driver.inject(Fault("adopt"))  # type: ignore[attr-defined]  # it is a fake one
    instance = adopted(cloud, guest)
    assert (instance.vm_state, Action.objects.get().state) == ("active", "error")
    assert not driver.guest(guest.uuid).managed  # type: ignore[union-attr]  # it is there
    request(OPERATIONS["reboot_hard"], instance, alice.actor)
    assert finish(instance).vm_state == "active"
    assert driver.guest(guest.uuid).managed  # type: ignore[union-attr]  # likewise


# afterwards ---------------------------------------------------------------------------------------
ALLOWED = {
    "start", "stop", "keep_off", "reboot", "reboot_hard", "pause", "unpause", "suspend", "resume", "soft_delete",
    "restore", "delete", "force_delete", "change_password", "trigger_crash_dump", "attach_interface",
    "detach_interface", "add_fixed_ip", "remove_fixed_ip", "inject_network_info", "adopt",
}  # fmt: skip


def test_exactly_what_leaves_its_definition_and_disks_alone_is_allowed(cloud: Cloud, put: Any, alice: Persona) -> None:
    assert {name for name, one in OPERATIONS.items() if one.for_adopted} == ALLOWED
    instance = adopted(cloud, put())
    for name in OPERATIONS.keys() - ALLOWED - {Boot.name}:
        with pytest.raises(Conflict, match="it was adopted"):
            request(OPERATIONS[name], instance, SYSTEM)
    assert {one.name for one in offered(instance, alice.actor)} <= ALLOWED
    refused = alice.post(f"/compute/v2.1/servers/{instance.pk}/action", {"createImage": {"name": "x"}})
    assert refused.status_code == 409 and "it was adopted" in refused.json()["conflictingRequest"]["message"]


def test_its_life_goes_on_as_that_of_any_other(cloud: Cloud, put: Any, alice: Persona) -> None:
    guest, driver = put(), hypervisor_of(cloud.host)
    instance = adopted(cloud, guest)
    for name, vm_state in (
        ("reboot", "active"), ("pause", "paused"), ("unpause", "active"), ("suspend", "suspended"),
        ("resume", "active"), ("stop", "stopped"), ("start", "active"), ("reboot_hard", "active"),
    ):  # fmt: skip
        request(OPERATIONS[name], instance, alice.actor)
        instance = finish(instance)
        assert (instance.vm_state, instance.faults.count()) == (vm_state, 0), name
    assert not any(call.startswith(("define", "create", "upload")) for call in driver.calls())  # type: ignore[attr-defined]
    assert driver.describe(guest.uuid).disks == guest.disks


def test_it_gets_further_cards_on_networks_of_this_cloud(cloud: Cloud, put: Any, alice: Persona) -> None:
    guest = put()
    instance = adopted(cloud, guest)
    request(OPERATIONS["attach_interface"], instance, alice.actor, network_id=str(cloud.network.id))
    finish(instance)
    port = instance.ports.get()
    assert set(hypervisor_of(cloud.host).nics(guest.uuid)) == {port.mac}  # type: ignore[attr-defined]
    assert alice.get(f"/compute/v2.1/servers/{guest.uuid}").json()["server"]["addresses"].keys() == {"private"}
    request(OPERATIONS["detach_interface"], instance, alice.actor, port_id=str(port.pk))
    finish(instance)
    assert not instance.ports.exists()


@pytest.mark.parametrize("delete_disks", [True, False])
def test_its_deletion_deletes_what_was_said_and_no_more(
    cloud: Cloud, put: Any, alice: Persona, delete_disks: bool
) -> None:
    guest, driver = put(), hypervisor_of(cloud.host)
    instance = adopted(cloud, guest, delete_disks=delete_disks)
    assert instance.adopted["delete_disks"] == (["/pool/legacy.qcow2"] if delete_disks else [])
    request(OPERATIONS["delete"], instance, alice.actor)
    assert finish(instance).vm_state == "deleted"
    assert driver.guest(guest.uuid) is None
    assert ("/pool/legacy.qcow2" in driver.volumes()) != delete_disks
    assert differences() == []
    with pytest.raises(Conflict, match="was one until it was deleted; give the guest another UUID"):
        adopted(cloud, guest)


def test_one_whose_host_was_away_is_forgotten_when_it_is_back(cloud: Cloud, put: Any, alice: Persona) -> None:
    guest, driver = put(), hypervisor_of(cloud.host)
    instance = adopted(cloud, guest, delete_disks=True)
    Host.objects.filter(pk=cloud.host.pk).update(forced_down=True)
    request(OPERATIONS["delete"], instance, alice.actor)
    assert finish(instance).vm_state == "deleted"
    assert driver.guest(guest.uuid) is not None
    Instance.objects.update(deleted_at=timezone.now() - timedelta(hours=1))
    leftovers.remove(cloud.host, driver, {guest.uuid}, driver.volumes())
    assert driver.guest(guest.uuid) is None
    assert "/pool/legacy.qcow2" not in driver.volumes()


def test_strangers_are_told_until_they_are_adopted(cloud: Cloud, put: Any) -> None:
    first, second = put(name="a"), put(name="b", screen="", serial=False)
    check_host(SYSTEM, cloud.host)
    told = strangers(cloud.host)
    assert [(one["id"], one["name"], one["state"]) for one in told] == [
        (str(first.uuid), "a", "running"), (str(second.uuid), "b", "running"),
    ]  # fmt: skip
    assert told[0]["disks"][1]["source"] == "/dev/vg/data"
    assert "Its log begins with its next start." in told[0]["notes"]
    assert any("no VNC screen" in one for one in told[1]["notes"])
    assert "It has no serial port, so there is no log of it." in told[1]["notes"]
    adopted(cloud, first)
    assert [one["name"] for one in strangers(cloud.host)] == ["b"]
    with pytest.raises(Conflict, match="hosting 1 instance: a"):
        remove_host(SYSTEM, cloud.host)


def test_what_a_worker_that_is_killed_leaves_is_gone_on_with(cloud: Cloud, put: Any) -> None:
    guest, driver = put(), hypervisor_of(cloud.host)
    driver.inject(Fault("adopt", when="after", error="Unreachable"))  # type: ignore[attr-defined]  # it is a fake one
    instance = adopt(SYSTEM, cloud.host, guest.uuid, AdoptRequest(cloud.demo.id))
    assert finish(instance).vm_state == "active"
    assert Action.objects.get().state == "done"
    assert driver.guest(guest.uuid).managed  # type: ignore[union-attr]  # it is there
