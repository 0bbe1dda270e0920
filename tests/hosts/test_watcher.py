"""The watcher on a fake host: up and down, samples, power states, what deleted instances left."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from compute.hosts.connections import hypervisor_of
from compute.hosts.watcher import HostWatch, Watcher, cpu_percent, prune
from compute.hypervisor.interface import HostUsage, PowerState
from compute.models import Change, Host, HostSample, Instance
from compute.operations.create import BootRequest, create
from compute.operations.observe import observe, observe_all

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
    deadline = time.monotonic() + 20
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
    until(HostSample.objects.exists, "a sample")
    assert HostSample.objects.first().host == host


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


def test_nothing_is_observed_while_a_task_is_under_way_or_on_another_host(host, instance):
    Instance.objects.update(task_state="rebooting")
    assert not observe(host, instance.id, PowerState.SHUTDOWN)
    Instance.objects.update(task_state=None)
    other = Host.objects.create(name="other", uri="fake://other")
    assert not observe(other, instance.id, PowerState.SHUTDOWN)
    assert Instance.objects.get().vm_state == "active"


@pytest.mark.parametrize(
    ("vm_state", "seen", "vm_state_after", "power_after"),
    [
        ("active", PowerState.SHUTDOWN, "stopped", 4),
        ("active", PowerState.CRASHED, "stopped", 6),
        ("active", PowerState.PAUSED, "active", 3),
        ("active", None, "active", 0),
        ("active", PowerState.RUNNING, "active", 1),
        ("stopped", PowerState.RUNNING, "stopped", 1),
        ("error", PowerState.SHUTDOWN, "error", 4),
    ],
)
def test_the_periodic_pass_follows_the_table_of_the_field(host, instance, vm_state, seen, vm_state_after, power_after):
    Instance.objects.update(vm_state=vm_state)
    observe_all(host, {} if seen is None else {instance.id: seen})
    after = Instance.objects.get()
    assert (after.vm_state, after.power_state) == (vm_state_after, power_after)


def test_a_host_that_hangs_is_marked_down(host, settings):
    settings.HOST_DOWN_AFTER_SECONDS = 5
    Host.objects.update(state="up")
    watcher = Watcher()
    watcher.watches[host.pk] = HostWatch(host)
    watcher.watches[host.pk].alive_at = time.monotonic() - 6
    watcher._notice_hanging()
    assert (Host.objects.get().state, Host.objects.get().state_reason) == ("down", "No answer for 5 s.")


def test_old_samples_and_changes_are_forgotten(host):
    old = timezone.now() - timedelta(days=400)
    HostSample.objects.create(host=host, at=old, cpu_percent=1, memory_used_mb=1, disk_used_gb=1, guests_running=1)
    HostSample.objects.create(host=host, cpu_percent=2, memory_used_mb=1, disk_used_gb=1, guests_running=1)
    Change.objects.create(kind="host", object_id="1", at=old)
    prune()
    assert [sample.cpu_percent for sample in HostSample.objects.all()] == [2]
    assert not Change.objects.filter(at=old).exists()


def test_cpu_load_is_the_share_of_all_processors():
    def usage(busy: float, total: float) -> HostUsage:
        return HostUsage(busy, total, 0, 0.0, 0.0, 0)

    assert cpu_percent(usage(10, 100), usage(15, 120)) == 25.0
    assert cpu_percent(usage(10, 100), usage(10, 100)) == 0.0
