"""Boot and delete on a fake host: rows, claims, quota, addresses, and what is left behind."""

from __future__ import annotations

import pytest

from compute import errors, quota
from compute.models import Action, Event, Host, Instance, Port, PortAddress
from compute.operations import OPERATIONS
from compute.operations.create import BootRequest, create
from compute.operations.engine import request


def boot(persona, cloud, **changes):
    wanted = {"name": "web", "flavor_id": cloud.nano.id, "image_id": str(cloud.image.id), **changes}
    return create(persona.actor, BootRequest(**wanted))


def test_a_boot_ends_in_active_with_everything_in_place(cloud, alice, drain):
    (instance,) = boot(alice, cloud)
    assert (instance.vm_state, instance.task_state) == ("building", "scheduling")
    assert drain() >= 1
    instance.refresh_from_db()
    assert (instance.vm_state, instance.task_state, instance.power_state) == ("active", None, 1), list(
        Event.objects.values_list("name", "result", "traceback")
    )
    assert instance.host == cloud.host
    assert instance.launched_at is not None
    host = Host.objects.get()
    assert (host.vcpus_used, host.memory_mb_used, host.disk_gb_used, host.instances_used) == (1, 128, 1, 1)
    assert quota.usage(cloud.demo.id) == {"instances": 1, "cores": 1, "memory_mb": 128}
    port = Port.objects.get(instance=instance)
    assert port.status == "ACTIVE"
    assert PortAddress.objects.get(port=port).address == "10.78.0.2"
    action = Action.objects.get(instance=instance)
    assert action.state == "done"
    assert action.progress["placement"]["chosen"] == "host-1"
    names = [event.name for event in action.events.all() if event.result == "Success"]
    assert names == ["schedule", "allocate_networks", "fetch_image", "create_disks", "spawn"]


def test_a_delete_leaves_nothing(cloud, alice, drain):
    from compute.hosts.connections import hypervisor_of

    (instance,) = boot(alice, cloud)
    drain()
    instance.refresh_from_db()
    request(OPERATIONS["delete"], instance, alice.actor)
    drain()
    instance.refresh_from_db()
    assert (instance.vm_state, instance.task_state) == ("deleted", None)
    assert instance.deleted_at is not None
    host = Host.objects.get()
    assert (host.vcpus_used, host.memory_mb_used, host.disk_gb_used, host.instances_used) == (0, 0, 0, 0)
    assert quota.usage(cloud.demo.id) == {"instances": 0, "cores": 0, "memory_mb": 0}
    assert not Port.objects.exists()
    driver = hypervisor_of(cloud.host)
    assert driver.guests() == {}
    assert driver.volumes(prefix=str(instance.id)) == {}


def test_a_delete_during_a_boot_wins(cloud, alice, drain):
    (instance,) = boot(alice, cloud)
    request(OPERATIONS["delete"], instance, alice.actor)
    drain()
    instance.refresh_from_db()
    assert instance.vm_state == "deleted"
    assert sorted(instance.actions.values_list("operation", "state")) == [("create", "cancelled"), ("delete", "done")]
    assert Host.objects.get().instances_used == 0


def test_no_host_has_room_and_the_fault_says_what_was_short(cloud, alice, drain):
    Host.objects.update(memory_mb=700)
    (instance,) = boot(alice, cloud, flavor_id="1")
    drain()
    instance.refresh_from_db()
    assert instance.vm_state == "error"
    assert instance.host is None
    message = instance.faults.get().message
    assert message == "No valid host was found: a host wants 512 MB, 282 of 282 MB free at ratio 1.5."


def test_a_second_request_at_once_is_refused(cloud, alice, drain):
    (instance,) = boot(alice, cloud)
    drain()
    instance.refresh_from_db()
    request(OPERATIONS["stop"], instance, alice.actor)
    with pytest.raises(errors.Conflict, match="task_state powering-off"):
        request(OPERATIONS["stop"], instance, alice.actor)


def test_the_quota_is_taken_whole_or_not_at_all(cloud, alice):
    with pytest.raises(
        errors.QuotaExceeded, match="Quota exceeded for instances: Requested 11, but already used 0 of 10"
    ):
        boot(alice, cloud, min_count=11, max_count=11)
    assert not Instance.objects.exists()
    assert quota.usage(cloud.demo.id)["instances"] == 0


def test_power_goes_off_and_on_again(cloud, alice, drain):
    (instance,) = boot(alice, cloud)
    drain()
    for operation, vm_state, power in (
        ("stop", "stopped", 4),
        ("start", "active", 1),
        ("reboot", "active", 1),
        ("reboot_hard", "active", 1),
    ):
        instance.refresh_from_db()
        request(OPERATIONS[operation], instance, alice.actor)
        drain()
        instance.refresh_from_db()
        assert (instance.vm_state, instance.task_state, instance.power_state) == (vm_state, None, power), operation
