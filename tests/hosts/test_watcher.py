"""The watcher on a fake host: up and down, samples, power states, what deleted instances left."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from compute.hosts.connections import hypervisor_of
from compute.hosts.watch import SYNCS_PER_LOOK, HostWatch
from compute.hosts.watcher import Watcher, prune
from compute.hypervisor.interface import GuestEvent, GuestEventKind, PowerState
from compute.models import Action, Change, Host, Instance, Sample
from compute.operations import OPERATIONS
from compute.operations.create import BootRequest, create
from compute.operations.engine import request
from compute.operations.observe import observe, observe_all
from portal.identity.actor import SYSTEM

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def host(cloud, tmp_path: Path, settings) -> Host:
    settings.HOST_SAMPLE_SECONDS = 1
    cloud.host.uri = f"fake://{tmp_path}/host.sqlite3?host=watched&memory=4096&vcpus=2"
    cloud.host.state = "new"
    cloud.host.save()
    return cloud.host


@pytest.fixture
def instance(cloud, host, alice, drain) -> Instance:
    Host.objects.update(state="up")
    (instance,) = create(alice.actor, BootRequest(name="web", flavor_id="42", image_id=str(cloud.image.id)))
    drain()
    instance.refresh_from_db()
    assert instance.vm_state == "active"
    return instance


def until(condition, what: str):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


@pytest.fixture
def watch(host):
    thread = HostWatch(host)
    thread.start()
    yield thread
    thread.stopping.set()
    thread.join(timeout=10)


def test_a_host_comes_up_with_its_facts_and_is_sampled(host, watch):
    until(lambda: Host.objects.get().state == "up", "the host is up")
    assert (Host.objects.get().memory_mb, Host.objects.get().vcpus) == (4096, 2)
    until(Sample.objects.exists, "a sample")
    assert Sample.objects.first().host == host


def test_a_host_that_breaks_goes_down_with_the_reason_and_comes_back(host, watch):
    until(lambda: Host.objects.get().state == "up", "the host is up")
    hypervisor_of(host).break_down("no route to host")
    until(lambda: Host.objects.get().state == "down", "the host is down")
    assert "no route to host" in Host.objects.get().state_reason
    hypervisor_of(host).heal()
    until(lambda: Host.objects.get().state == "up", "the host is back")
    assert Host.objects.get().state_reason == ""


def test_a_guest_that_shuts_itself_down_is_noticed_at_once(host, instance, watch):
    until(lambda: Host.objects.get().last_seen_at is not None, "the watch began")
    hypervisor_of(host).destroy(instance.id)
    until(lambda: Instance.objects.get().vm_state == "stopped", "the instance is stopped")
    stop = Instance.objects.get().actions.get(operation="stop")
    assert (stop.state, stop.message) == ("done", "The guest shut itself down.")


def test_what_an_instance_left_behind_is_removed(host, instance):
    Instance.objects.update(vm_state="deleted", deleted_at=timezone.now() - timedelta(hours=1))
    driver = hypervisor_of(host)
    assert instance.id in driver.guests()
    HostWatch(host)._sync(driver)
    assert driver.guests() == {}
    assert driver.volumes(prefix=str(instance.id)) == {}


def looking(seen: PowerState | None):
    return lambda uuid: seen


def test_nothing_is_observed_while_a_task_is_under_way_or_on_another_host(host, instance):
    for vm_state in ("active", "stopped", "paused", "soft-delete"):
        for seen in (PowerState.SHUTDOWN, PowerState.RUNNING, None):
            Instance.objects.update(vm_state=vm_state, task_state="rebooting")
            assert not observe(host, instance.id, looking(seen), at_start=True)
            Instance.objects.update(task_state=None)
            other, _ = Host.objects.get_or_create(name="other", uri="fake://other")
            assert not observe(other, instance.id, looking(seen), at_start=True)
            assert Instance.objects.get().vm_state == vm_state
    assert list(Action.objects.values_list("operation", flat=True)) == ["create"]


S = PowerState
# vm_state, what the host says → vm_state, power_state, the operation that is asked for, what the log says
TABLE = [
    ("active", S.RUNNING, "active", 1, None, None),
    ("active", S.SHUTDOWN, "stopped", 4, None, "The guest shut itself down."),
    ("active", S.CRASHED, "stopped", 6, None, "The guest crashed."),
    ("active", S.SUSPENDED, "active", 1, "stop", None),
    ("active", S.PAUSED, "active", 3, None, None),
    ("active", None, "active", 0, None, None),
    ("paused", S.SHUTDOWN, "stopped", 4, None, "The guest shut itself down."),
    ("paused", S.CRASHED, "stopped", 6, None, "The guest crashed."),
    ("paused", S.RUNNING, "paused", 1, None, None),
    ("paused", None, "paused", 0, None, None),
    ("stopped", S.RUNNING, "stopped", 1, "keep_off", None),
    ("stopped", S.PAUSED, "stopped", 1, "keep_off", None),
    ("stopped", S.SHUTDOWN, "stopped", 4, None, None),
    ("stopped", S.CRASHED, "stopped", 6, None, None),
    ("stopped", None, "stopped", 0, None, None),
    ("soft-delete", S.RUNNING, "soft-delete", 1, "keep_off", None),
    ("soft-delete", S.SHUTDOWN, "soft-delete", 4, None, None),
    ("shelved", S.RUNNING, "shelved", 1, "keep_off", None),
    ("shelved", S.SHUTDOWN, "shelved", 4, None, None),
    ("suspended", S.SHUTDOWN, "suspended", 4, None, None),
    ("suspended", S.RUNNING, "suspended", 1, None, None),
    ("rescued", S.SHUTDOWN, "rescued", 4, None, None),
    ("resized", S.SHUTDOWN, "resized", 4, None, None),
    ("error", S.SHUTDOWN, "error", 4, None, None),
    ("building", S.SHUTDOWN, "building", 1, None, None),
]


@pytest.mark.parametrize(("vm_state", "seen", "vm_state_after", "power_after", "asked", "said"), TABLE)
def test_the_periodic_pass_follows_the_table_of_the_field(
    host, instance, vm_state, seen, vm_state_after, power_after, asked, said
):
    Instance.objects.update(vm_state=vm_state, locked=True)
    observe_all(host, {} if seen is None else {instance.id: seen}, looking(seen))
    after = Instance.objects.get()
    assert (after.vm_state, after.power_state) == (vm_state_after, power_after)
    asked_for = list(Action.objects.filter(state="queued").values_list("operation", flat=True))
    assert asked_for == ([asked] if asked else [])
    assert after.task_state == ("powering-off" if asked else None)
    logged = Action.objects.filter(operation="stop", state="done").values_list("message", flat=True)
    assert list(logged) == ([said] if said else [])


def test_what_should_be_off_is_powered_off_and_logged(host, instance, watch, drain):
    until(lambda: Host.objects.get().last_seen_at is not None, "the watch began")
    Instance.objects.update(vm_state="stopped", power_state=4)
    hypervisor_of(host).reboot(instance.id, 0)
    until(lambda: Action.objects.filter(operation="keep_off").exists(), "it is noticed")
    drain()
    after = Instance.objects.get()
    assert (after.vm_state, after.task_state, after.power_state) == ("stopped", None, 4)
    assert hypervisor_of(host).guest(instance.id).power_state == PowerState.SHUTDOWN
    action = Action.objects.get(operation="keep_off")
    assert (action.state, action.request_id[:4], action.user_id) == ("done", "req-", "")


def test_what_an_operation_did_after_the_look_is_no_news(host, instance):
    def look(uuid):
        Instance.objects.update(power_state=1, updated_at=timezone.now())  # an operation ended meanwhile
        return PowerState.SHUTDOWN

    assert not observe(host, instance.id, look)
    assert Instance.objects.get().vm_state == "active"


@pytest.mark.parametrize("seen", [PowerState.SHUTDOWN, PowerState.CRASHED, None])
def test_guests_that_ran_are_started_with_their_host_where_that_is_set_up(host, instance, drain, settings, seen):
    driver = hypervisor_of(host)
    if seen is None:
        driver.remove(instance.id)
    else:
        driver.destroy(instance.id)
    settings.RESUME_GUESTS = True
    HostWatch(host)._sync(driver, at_start=True)
    assert Action.objects.get(state="queued").operation == "reboot_hard"
    drain()
    after = Instance.objects.get()
    assert (after.vm_state, after.task_state, after.power_state) == ("active", None, 1)
    assert driver.guest(instance.id).power_state == PowerState.RUNNING


def test_guests_are_not_started_later_nor_without_the_setting(host, instance, settings):
    driver = hypervisor_of(host)
    driver.destroy(instance.id)
    HostWatch(host)._sync(driver, at_start=True)
    assert Instance.objects.get().vm_state == "stopped"
    Instance.objects.update(vm_state="active", power_state=1)
    settings.RESUME_GUESTS = True
    HostWatch(host)._sync(driver)
    assert Instance.objects.get().vm_state == "stopped"


def test_volumes_without_a_guest_are_found_when_the_watch_begins(host, instance):
    Instance.objects.update(vm_state="deleted", deleted_at=timezone.now() - timedelta(hours=1))
    driver = hypervisor_of(host)
    others = set(driver.volumes()) - set(driver.volumes(prefix=str(instance.id)))
    driver.remove(instance.id)
    HostWatch(host)._sync(driver)
    assert driver.volumes(prefix=str(instance.id)) != {}
    HostWatch(host)._sync(driver, at_start=True)
    assert set(driver.volumes()) == others != set()


def settle() -> None:
    """The last change is long ago."""
    Instance.objects.update(updated_at=timezone.now() - timedelta(hours=1))


@pytest.mark.parametrize("to", ["another host", "no host"])
def test_what_moved_away_is_removed_where_it_was(host, instance, to):
    """Evacuated, shelved, or a boot that went to the next host when this one did not answer."""
    other = Host.objects.create(
        name="other",
        uri="fake://other",
        state="up",
        storage_id="its own",
        storage_seen_at=timezone.now() + timedelta(hours=1),
    )
    Instance.objects.update(host=other if to == "another host" else None, vm_state="error")
    driver = hypervisor_of(host)
    HostWatch(host)._sync(driver, at_start=True)
    assert instance.id in driver.guests()  # it was changed a moment ago
    settle()
    Instance.objects.update(task_state="spawning")
    HostWatch(host)._sync(driver, at_start=True)
    assert instance.id in driver.guests()  # something is under way
    Instance.objects.update(task_state=None)
    HostWatch(host)._sync(driver, at_start=True)
    assert driver.guests() == {}
    assert driver.volumes(prefix=str(instance.id)) == {}
    after = Instance.objects.get()
    assert (after.vm_state, after.deleted_at) == ("error", None)


def test_guests_that_this_database_does_not_know_are_anothers(host, instance):
    driver = hypervisor_of(host)
    Instance.objects.all().delete()
    HostWatch(host)._sync(driver, at_start=True)
    assert instance.id in driver.guests()


def test_a_volume_that_nothing_needs_is_removed_from_time_to_time(host, instance):
    driver = hypervisor_of(host)
    mine = set(driver.volumes(prefix=str(instance.id)))
    driver.create_volume(f"{instance.id}-root-999", 1 << 20)
    driver.create_volume(f"{instance.id}-copy", 1 << 20)
    driver.create_volume("somebody-elses", 1 << 20)
    settle()
    watch = HostWatch(host)
    for _ in range(SYNCS_PER_LOOK - 1):
        watch._sync(driver)
    assert set(driver.volumes(prefix=str(instance.id))) > mine
    watch._sync(driver)
    assert set(driver.volumes(prefix=str(instance.id))) == mine
    assert "somebody-elses" in driver.volumes()


def test_a_stop_that_a_start_follows_at_once_changes_nothing(host, instance, settings):
    """As a reboot looks from outside: both events are there before the guest is looked at."""
    driver = hypervisor_of(host)
    watch = HostWatch(host)
    before = Instance.objects.values().get()
    driver.destroy(instance.id)
    watch._on_event(GuestEvent(instance.id, GuestEventKind.STOPPED, ""))
    driver.start(instance.id)
    watch._on_event(GuestEvent(instance.id, GuestEventKind.STARTED, ""))
    settings.HOST_SAMPLE_SECONDS = 1
    watch._wait_for_events(driver)
    assert watch._events.empty()
    assert Instance.objects.values().get() == before
    assert list(Action.objects.values_list("operation", flat=True)) == ["create"]


def test_the_watcher_reclaims(host, instance, settings, drain):
    settings.RECLAIM_SECONDS = 60
    request(OPERATIONS["delete"], instance, SYSTEM)
    drain()
    assert Instance.objects.get().vm_state == "soft-delete"
    Action.objects.update(created_at=timezone.now() - timedelta(seconds=61))
    watcher = Watcher()
    watcher.watches[host.pk] = HostWatch(host)
    watcher.watches[host.pk].is_alive = lambda: True
    watcher.tick()
    drain()
    assert Instance.objects.get().vm_state == "deleted"


def test_old_changes_are_forgotten(host):
    old = timezone.now() - timedelta(days=400)
    Change.objects.create(kind="host", object_id="1", at=old)
    prune()
    assert not Change.objects.filter(at=old).exists()
