"""Evacuate: from a host that is off, to another, with its disks or anew; and whatever fails on the way."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from compute.errors import Conflict, Invalid
from compute.hosts import fencing
from compute.hosts.connections import hypervisor_of
from compute.hosts.registration import learn, mark_down
from compute.hosts.watch import HostWatch
from compute.hypervisor.fake.faults import Fault as Trouble
from compute.hypervisor.interface import Failed, PowerState
from compute.models import Fault, Host, HostState, Image, Instance, Migration, Snapshot
from compute.operations.cancellation import cancel_action
from compute.operations.delete import Delete, ForceDelete
from compute.operations.engine import request
from compute.operations.evacuate import Evacuate
from compute.operations.layout import Layout
from compute.operations.power import Stop
from compute.reconciliation import differences
from portal.identity.actor import SYSTEM
from portal.identity.policy import Forbidden
from tests.engine.matrix import boot, calls_to, do, each_fault, finish, strike

pytestmark = pytest.mark.django_db(transaction=True)


class Two:
    """Two hosts that processes share: ``old``, and ``new`` with or without the same storage."""

    def __init__(self, cloud: Any, folder: Path, storage: str) -> None:
        self.cloud, self.shared = cloud, bool(storage)
        place = f"fake://{folder}/hosts.sqlite3?host="
        more = f"&storage={storage}" if storage else ""
        Host.objects.filter(pk=cloud.host.pk).update(uri=f"{place}old{more}", name="old")
        self.old = Host.objects.get(pk=cloud.host.pk)
        self.new = self.add("new", more)
        for host in (self.old, self.new):
            learn(host)

    def add(self, name: str, more: str = "") -> Host:
        place = self.old.uri.split("?", maxsplit=1)[0]
        uri = f"{place}?host={name}{more}"
        added = Host.objects.create(name=name, uri=uri, state=HostState.UP, vcpus=8, memory_mb=32_768, disk_gb=500)
        learn(added)
        return added

    def running(self, persona: Any, **wanted: Any) -> Instance:
        """An instance on the old host."""
        Host.objects.exclude(pk=self.old.pk).update(enabled=False)
        instance = boot(persona, self.cloud, **wanted)
        Host.objects.update(enabled=True)
        assert instance.host == self.old
        return instance

    def lose(self, fenced: bool = True) -> None:
        """The old host is gone, and that is confirmed."""
        hypervisor_of(self.old).break_down()
        mark_down(self.old.pk, "no route to host")
        if fenced:
            fencing.confirm_off(SYSTEM, self.old)

    def comes_back(self) -> None:
        """It was off, and answers again: its watch begins."""
        driver = hypervisor_of(self.old)
        driver.heal()
        watch = HostWatch(self.old)
        watch._come_back(driver)
        watch._sync(driver, at_start=True)


@pytest.fixture(params=["", "nfs"], ids=["apart", "shared"])
def two(request: Any, cloud: Any, tmp_path: Path, settings: Any) -> Two:
    settings.LEASE_SECONDS = 0.4
    settings.STATE_SYNC_SECONDS = 0
    return Two(cloud, tmp_path, request.param)


def evacuate(instance: Instance, **params: Any) -> Any:
    return request(Evacuate, Instance.objects.get(pk=instance.pk), SYSTEM, **params)


def guests(host: Host) -> dict[Any, Any]:
    return hypervisor_of(host).guests()


def sound(two: Two, instance: Instance, about: object = "") -> None:
    """Whatever happened: it is in one place, with its disks, and counted once."""
    instance = Instance.objects.select_related("host").get(pk=instance.pk)
    assert instance.task_state is None, about
    assert not Migration.objects.filter(status__in=("accepted", "pre-migrating")).exists(), about
    assert differences() == [], about
    if instance.host == two.old:
        assert instance.id not in guests(two.new), about
        if not two.shared:
            assert hypervisor_of(two.new).volumes(prefix=str(instance.id)) == {}, about
        return
    driver = hypervisor_of(instance.host)
    seen = driver.guest(instance.id)
    assert seen is not None and int(seen.power_state) == instance.power_state, (about, seen)
    assert set(driver.volumes(prefix=str(instance.id))) == set(Layout.of(instance).volumes()), about
    assert driver.disks(instance.id) == [one.volume for one in Layout.of(instance).disks()], about


def test_it_runs_on_another_host_under_its_own_name(two, alice):
    instance = two.running(alice)
    port = instance.ports.get()
    before = (port.id, port.mac, list(port.addresses.values_list("address", flat=True)))
    disks = hypervisor_of(two.old).volumes(prefix=str(instance.id))
    two.lose()
    after = do(instance, evacuate)
    assert (after.host, after.vm_state, after.status, after.power_state) == (two.new, "active", "ACTIVE", 1)
    port = after.ports.get()
    assert (port.id, port.mac, list(port.addresses.values_list("address", flat=True))) == before
    kept = set(Layout.of(after).volumes()) == set(disks)
    assert kept == two.shared
    migration = Migration.objects.get()
    assert (migration.migration_type, migration.status) == ("evacuation", "done")
    assert (migration.source_host, migration.dest_host) == (two.old, two.new)
    sound(two, after)
    assert (Host.objects.get(name="old").instances_used, Host.objects.get(name="new").instances_used) == (0, 1)


def test_what_was_off_stays_off_and_what_shall_be_off_is(two, alice):
    off, on, broken = (two.running(alice, name=name) for name in ("off", "on", "broken"))
    do(off, lambda one: request(Stop, one, SYSTEM))
    Instance.objects.filter(pk=broken.pk).update(vm_state="error")
    two.lose()
    assert do(off, evacuate).vm_state == "stopped"
    assert do(on, lambda one: evacuate(one, stay_off=True)).vm_state == "stopped"
    assert do(broken, evacuate).vm_state == "active"
    for one in (off, on, broken):
        sound(two, one)
    assert {one.power_state for one in guests(two.new).values()} == {PowerState.RUNNING, PowerState.SHUTDOWN}


def test_only_from_a_host_that_is_down_and_fenced(two, alice):
    instance = two.running(alice)
    with pytest.raises(Invalid, match="old is still in use"):
        evacuate(instance)
    two.lose(fenced=False)
    with pytest.raises(Conflict, match="does not answer, but may still run its servers"):
        evacuate(instance)
    assert Instance.objects.get().task_state is None and not Migration.objects.exists()
    fencing.confirm_off(SYSTEM, two.old)
    with pytest.raises(Forbidden):
        request(Evacuate, Instance.objects.get(), alice.actor)
    for name, why in (("nowhere", "could not be found"), ("old", "can't be the same one")):
        with pytest.raises(Invalid, match=why):
            evacuate(instance, host=name)
    evacuate(instance)


def test_a_lock_is_no_obstacle_and_what_waits_for_the_host_gives_way(two, alice):
    instance = two.running(alice)
    Instance.objects.update(locked=True)
    two.lose()
    stop = request(Stop, Instance.objects.get(), SYSTEM)
    after = do(instance, evacuate)
    assert (after.vm_state, after.host, after.locked) == ("active", two.new, True)
    stop.refresh_from_db()
    assert stop.state == "cancelled"


def test_who_asks_for_it_may_cancel_it_and_no_other(two, alice):
    instance = two.running(alice)
    two.lose()
    action = evacuate(instance)
    with pytest.raises(Forbidden):
        cancel_action(alice.actor, instance, action.request_id)
    cancel_action(SYSTEM, instance, action.request_id)
    assert finish(instance).host == two.old
    sound(two, instance)


def test_without_an_image_the_disk_must_be_there(two, alice):
    instance = two.running(alice)
    two.lose()
    Image.objects.all().delete()
    if two.shared:
        assert do(instance, evacuate).host == two.new
        return
    with pytest.raises(Conflict, match="the image that it was built from is gone"):
        evacuate(instance)


def test_disks_are_only_lost_where_that_was_said(two, alice):
    """A host with the same storage that is full is no reason to make the disks anew."""
    instance = two.running(alice)
    far = two.add("far")
    two.lose()
    Host.objects.filter(pk=two.new.pk).update(vcpus=0)
    after = do(instance, evacuate)
    if two.shared:
        assert after.host == two.old and "could not be placed" not in Fault.objects.get().message
        after = do(instance, lambda one: evacuate(one, host="far"))  # said by whoever asks for that host
    assert (after.host, after.vm_state) == (far, "active")
    assert Layout.of(after).volume("root") != f"{after.id}-root"


def test_snapshots_live_as_long_as_the_disks(two, alice):
    instance = two.running(alice)
    Snapshot.objects.create(instance=instance, name="before", state="available")
    two.lose()
    do(instance, evacuate)
    assert Snapshot.objects.exists() == two.shared


def test_nowhere_to_go_leaves_it_as_it_was(two, alice):
    instance = two.running(alice)
    two.lose()
    Host.objects.filter(pk=two.new.pk).update(enabled=False)
    after = do(instance, evacuate)
    assert (after.host, after.vm_state, after.task_state) == (two.old, "active", None)
    assert "No valid host was found" in Fault.objects.get().message
    assert Migration.objects.get().status == "failed"
    sound(two, after)


def test_the_next_host_gets_its_turn(two, alice):
    instance = two.running(alice)
    third = two.add("third", f"&storage={two.new.uri.rsplit('=', 1)[1]}" if two.shared else "")
    two.lose()
    hypervisor_of(two.new).inject(Trouble("start", call=1))
    Host.objects.filter(pk=third.pk).update(memory_mb=16_384)  # so that the other comes first
    after = do(instance, evacuate)
    assert (after.host, after.vm_state) == (third, "active")
    assert guests(two.new) == {}
    sound(two, after)


def test_one_that_comes_back_in_time_is_left_alone(two, alice):
    instance = two.running(alice)
    two.lose()
    evacuate(instance)
    two.comes_back()
    after = finish(instance)
    assert (after.host, after.vm_state) == (two.old, "active")
    assert "still in use" in Fault.objects.get().message
    assert instance.id in guests(two.old) and guests(two.new) == {}
    sound(two, after)


def test_a_returning_host_is_rid_of_it_first(two, alice):
    instance, stays = two.running(alice), two.running(alice, name="stays")
    two.lose()
    do(instance, evacuate)
    volumes = set(hypervisor_of(two.new).volumes(prefix=str(instance.id)))
    two.comes_back()
    assert set(guests(two.old)) == {stays.id}
    driver = hypervisor_of(two.old)
    assert set(driver.volumes(prefix=str(instance.id))) == (volumes if two.shared else set())
    assert set(hypervisor_of(two.new).volumes(prefix=str(instance.id))) == volumes
    assert Migration.objects.get().status == "completed" and not Migration.objects.get().left_behind
    assert Host.objects.get(name="old").state == "up"
    sound(two, instance)


def test_what_cannot_be_removed_keeps_the_host_down(two, alice):
    instance = two.running(alice)
    two.lose()
    do(instance, evacuate)
    driver = hypervisor_of(two.old)
    driver.heal()
    driver.inject(Trouble("remove", call=1))
    with pytest.raises(Failed):
        HostWatch(two.old)._come_back(driver)
    assert Host.objects.get(name="old").state == "down"
    two.comes_back()
    assert guests(two.old) == {}


def test_one_that_comes_back_while_it_is_being_started_elsewhere(two, alice, monkeypatch):
    """The guest goes at once; the disks only when the evacuation is over, for it may yet fail."""
    instance = two.running(alice)
    two.lose()
    seen = []

    def meanwhile(operation, *args):
        two.comes_back()
        seen.append((set(guests(two.old)), set(hypervisor_of(two.old).volumes(prefix=str(instance.id)))))
        return create(operation, *args)

    from compute.operations import disks

    create = disks.create_config
    monkeypatch.setattr(disks, "create_config", meanwhile)
    after = do(instance, evacuate)
    assert (after.host, after.vm_state) == (two.new, "active")
    assert seen[0][0] == set() and f"{instance.id}-root" in seen[0][1]
    HostWatch(two.old)._sync(hypervisor_of(two.old))
    left = set(hypervisor_of(two.old).volumes(prefix=str(instance.id)))
    assert left == (set(Layout.of(after).volumes()) if two.shared else set())
    sound(two, after)


def test_a_host_that_is_said_to_be_off_and_answers_is_cut_off_first(two, alice, root):
    instance = two.running(alice)
    Host.objects.filter(pk=two.old.pk).update(forced_down=True)
    after = do(instance, evacuate)
    assert (after.host, after.vm_state) == (two.new, "active")
    assert guests(two.old)[instance.id].power_state == PowerState.SHUTDOWN
    HostWatch(two.old)._sync(hypervisor_of(two.old))
    assert guests(two.old) == {}
    sound(two, after)


def test_one_that_was_deleted_meanwhile_leaves_nothing(two, alice):
    instance = two.running(alice)
    two.lose()
    do(instance, evacuate)
    do(instance, lambda one: request(Delete, one, SYSTEM))
    Instance.objects.update(deleted_at=timezone.now() - timedelta(hours=1))
    two.comes_back()
    for host in (two.old, two.new):
        assert guests(host) == {} and hypervisor_of(host).volumes(prefix=str(instance.id)) == {}


def test_one_that_goes_back_after_its_host_has_returned_stays(two, alice):
    instance = two.running(alice)
    two.lose()
    do(instance, evacuate)
    two.comes_back()
    old, two.old, two.new = two.old, two.new, two.old
    hypervisor_of(two.old).break_down()
    mark_down(two.old.pk, "gone")
    fencing.confirm_off(SYSTEM, two.old)
    after = do(instance, evacuate)
    assert after.host == old and instance.id in guests(old)
    HostWatch(old)._come_back(hypervisor_of(old))
    assert instance.id in guests(old)
    two.comes_back()
    assert instance.id in guests(old) and guests(two.old) == {}
    sound(two, after)


@pytest.mark.parametrize("kind", ["fail", "kill", "hang"])
def test_each_call_to_the_other_host(two, alice, kind):
    """It fails, never returns, or its worker dies: then it is in one place, or as it was."""
    do(lost_one(two, alice), evacuate)  # brings the image
    instance = lost_one(two, alice)
    calls = calls_to([two.new], lambda: do(instance, evacuate))
    assert len(calls) >= 4
    for fault in each_fault(len(calls), (kind,)):
        if fault[2] == "after" and not calls[fault[1] - 1][2]:
            continue  # what only looks leaves the host as it was before
        instance = lost_one(two, alice)
        after = strike(two.new, instance, evacuate, fault)
        settle(two, after)
        sound(two, after, fault)
        if kind == "kill":
            assert (after.host, after.vm_state) == (two.new, "active"), fault
        if after.host == two.old:
            assert after.vm_state == "active" and Migration.objects.first().status == "failed", fault


def lost_one(two: Two, alice: Any) -> Instance:
    """One whose host is off; those before it are deleted."""
    for instance in Instance.objects.alive():
        do(instance, lambda one: request(ForceDelete, one, SYSTEM))
    hypervisor_of(two.old).heal()
    Host.objects.filter(pk=two.old.pk).update(state="up", fenced_at=None, down_since=None)
    instance = two.running(alice)
    two.lose()
    return instance


def settle(two: Two, instance: Instance) -> None:
    """The watcher of the other host looks, and its rules are followed."""
    HostWatch(two.new)._sync(hypervisor_of(two.new), at_start=True)
    finish(instance)
