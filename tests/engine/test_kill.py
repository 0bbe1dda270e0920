"""A worker killed by SIGKILL at any call of a boot or a delete: another takes over, nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from compute import quota
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.models import OPEN_STATES, Action, Host, Instance, Port
from compute.operations import OPERATIONS
from compute.operations.create import BootRequest, create
from compute.operations.doorbell import sweep
from compute.operations.engine import request
from compute.operations.worker import perform
from portal.setup.forks import close_connections

pytestmark = pytest.mark.django_db(transaction=True)

BOOT_VERBS = ("ensure_network", "reserve", "has_base", "ensure_base", "create_overlay", "upload", "define", "start")
DELETE_VERBS = ("remove", "delete_volume", "release")


@pytest.fixture
def host(cloud, tmp_path: Path, settings) -> Host:
    """A fake host that processes share, and leases that end soon."""
    settings.LEASE_SECONDS = 0.6
    cloud.host.uri = f"fake://{tmp_path}/host.sqlite3?host=shared"
    cloud.host.save()
    return cloud.host


def perform_in_another_process(action: Action) -> int:
    """Returns the signal that ended the process; 0 if it ended well."""
    close_connections()
    pid = os.fork()
    if pid == 0:
        try:
            lane = Action.objects.get(pk=action.pk).progress.get("lane", "compute")
            perform(action.pk, lane)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    return -os.waitstatus_to_exitcode(status)


def finish(instance: Instance) -> None:
    """What the janitor and other workers do: look at every open row until none is left."""
    deadline = time.monotonic() + 30
    while (open_rows := Action.objects.filter(instance=instance, state__in=OPEN_STATES)).exists():
        assert time.monotonic() < deadline, "the operation never ends"
        for action in open_rows.order_by("id"):
            perform(action.pk, action.progress.get("lane", "compute"))
        time.sleep(0.1)
    instance.refresh_from_db()


def kill_at(host: Host, instance: Instance, verb: str, when: str) -> None:
    """Run the open operation in processes until one dies of the fault."""
    hypervisor_of(host).inject(Fault(verb, do="kill", when=when))
    for _ in range(3):
        action = Action.objects.filter(instance=instance, state__in=OPEN_STATES).order_by("id").first()
        assert action is not None, f"{verb} was never called"
        if perform_in_another_process(action) == signal.SIGKILL:
            return
    raise AssertionError(f"no worker was killed at {verb}")


def boot(alice, cloud) -> Instance:
    wanted = BootRequest(name="web", flavor_id=cloud.nano.id, image_id=str(cloud.image.id))
    return create(alice.actor, wanted)[0]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", BOOT_VERBS)
def test_a_boot_outlives_its_worker(cloud, host, alice, verb, when):
    instance = boot(alice, cloud)
    kill_at(host, instance, verb, when)
    finish(instance)
    assert (instance.vm_state, instance.task_state, instance.power_state) == ("active", None, 1)
    guests = hypervisor_of(host).guests()
    assert list(guests) == [instance.id]
    assert sorted(hypervisor_of(host).volumes(prefix=str(instance.id))) == [
        instance.config_volume,
        instance.root_volume,
    ]
    assert Host.objects.get().instances_used == 1
    assert Port.objects.get().addresses.count() == 1
    action = Action.objects.get()
    assert (action.state, action.lease_owner) == ("done", "")
    assert action.attempts > 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("verb", DELETE_VERBS)
def test_a_delete_outlives_its_worker(cloud, host, alice, verb, when):
    instance = boot(alice, cloud)
    finish(instance)
    request(OPERATIONS["delete"], instance, alice.actor)
    kill_at(host, instance, verb, when)
    finish(instance)
    assert instance.vm_state == "deleted"
    assert hypervisor_of(host).guests() == {}
    assert hypervisor_of(host).volumes(prefix=str(instance.id)) == {}
    assert (Host.objects.get().instances_used, Host.objects.get().memory_mb_used) == (0, 0)
    assert quota.usage(cloud.demo.id)["instances"] == 0
    assert not Port.objects.exists()


@pytest.mark.parametrize("verb", ["ensure_network", "ensure_base", "create_overlay", "define", "start"])
def test_a_failed_boot_tries_the_next_host_and_leaves_nothing_on_the_first(cloud, host, alice, verb, tmp_path):
    second = Host.objects.create(
        name="host-2",
        uri=f"fake://{tmp_path}/host.sqlite3?host=second",
        state="up",
        vcpus=4,
        memory_mb=8192,
        disk_gb=100,
    )
    hypervisor_of(host).inject(Fault(verb, do="fail"))
    instance = boot(alice, cloud)
    finish(instance)
    assert (instance.vm_state, instance.host) == ("active", second)
    assert hypervisor_of(host).guests() == {}
    assert hypervisor_of(host).volumes(prefix=str(instance.id)) == {}
    assert Host.objects.get(pk=host.pk).instances_used == 0
    assert Action.objects.get().progress["failures"].keys() == {"host-1"}


def test_a_boot_that_fails_everywhere_leaves_a_fault_and_nothing_else(cloud, host, alice):
    hypervisor_of(host).inject(Fault("start", do="fail", error="NoSpace", times=10))
    instance = boot(alice, cloud)
    finish(instance)
    assert (instance.vm_state, instance.task_state, instance.host) == ("error", None, None)
    assert instance.faults.get().message.startswith("The server could not be built on any host that has room for it.")
    assert "a host: " in instance.faults.get().message
    assert hypervisor_of(host).guests() == {}
    assert hypervisor_of(host).volumes(prefix=str(instance.id)) == {}
    assert Host.objects.get().instances_used == 0
    request(OPERATIONS["delete"], instance, alice.actor)
    finish(instance)
    assert quota.usage(cloud.demo.id)["instances"] == 0


def test_an_operation_waits_for_a_host_that_does_not_answer(cloud, host, alice):
    instance = boot(alice, cloud)
    finish(instance)
    hypervisor_of(host).break_down("no route to host")
    action = request(OPERATIONS["stop"], instance, alice.actor)
    perform(action.pk, "compute")
    action.refresh_from_db()
    assert (action.state, action.lease_owner, action.message) == ("running", "", "no route to host")
    hypervisor_of(host).heal()
    finish(instance)
    assert instance.vm_state == "stopped"


def test_a_delete_does_not_wait_for_a_host_that_is_down(cloud, host, alice):
    instance = boot(alice, cloud)
    finish(instance)
    hypervisor_of(host).break_down()
    Host.objects.filter(pk=host.pk).update(state="down")
    request(OPERATIONS["delete"], instance, alice.actor)
    finish(instance)
    assert instance.vm_state == "deleted"
    assert quota.usage(cloud.demo.id)["instances"] == 0


def test_the_janitor_rings_for_what_nobody_is_at(cloud, host, alice, monkeypatch):
    rung = []
    instance = boot(alice, cloud)
    monkeypatch.setattr("compute.operations.doorbell.async_task", lambda *args, **_: rung.append(args[1:]))
    assert sweep() == 0  # too young: its doorbell may still be on its way
    Action.objects.update(updated_at="2020-01-01T00:00:00Z")
    assert sweep() == 1
    assert rung == [(instance.actions.get().pk, "compute")]
    assert sweep() == 0
