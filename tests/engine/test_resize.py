"""Resize, confirm and revert on a fake host: claims, quota, disks, and what remains after any fault."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from compute import errors, quota
from compute.hosts.connections import hypervisor_of
from compute.models import Action, Flavor, Host, Instance, Migration, QuotaLimit
from compute.operations import OPERATIONS
from compute.operations.engine import request
from compute.operations.resize_end import confirm_overdue
from portal.identity.policy import Forbidden
from tests.engine.matrix import (
    assert_gone,
    assert_sound,
    boot,
    calls_made,
    do,
    each_fault,
    shared_host,
    strike,
)

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)
GIB = 1 << 30


@pytest.fixture
def large(cloud) -> Flavor:
    """More of everything."""
    return Flavor.objects.create(
        id="large", name="large", vcpus=2, memory_mb=512, disk_gb=2, ephemeral_gb=2, swap_mb=16
    )


@pytest.fixture
def small(cloud) -> Flavor:
    """Less memory, the same disk."""
    return Flavor.objects.create(id="small", name="small", vcpus=1, memory_mb=64, disk_gb=1)


def act_of(persona, name, **params):
    return lambda instance: request(OPERATIONS[name], instance, persona.actor, **params)


def to(persona, flavor):
    return act_of(persona, "resize", flavor_id=flavor.id)


@pytest.mark.parametrize("stopped", [False, True])
def test_confirmed(cloud, shared_host, alice, large, stopped):
    instance = boot(alice, cloud)
    old_root = instance.root_volume
    if stopped:
        instance = do(instance, act_of(alice, "stop"))
    instance = do(instance, to(alice, large))
    assert (instance.vm_state, instance.status, instance.flavor["id"]) == ("resized", "VERIFY_RESIZE", "large")
    assert instance.power_state == (4 if stopped else 1)
    assert_sound(shared_host, instance)
    sizes = hypervisor_of(shared_host).volumes(prefix=str(instance.id))
    assert (sizes[instance.root_volume], sizes[old_root]) == (2 * GIB, GIB)
    assert (sizes[instance.volume("ephemeral0")], sizes[instance.volume("swap")]) == (2 * GIB, 16 << 20)
    host = Host.objects.get()
    assert (host.vcpus_used, host.memory_mb_used, host.disk_gb_used) == (1 + 2, 128 + 512, 1 + 5)
    assert quota.usage(cloud.demo.id) == {"instances": 1, "cores": 2, "memory_mb": 512}
    instance = do(instance, act_of(alice, "confirmResize"))
    assert instance.vm_state == ("stopped" if stopped else "active")
    assert Migration.objects.get().status == "confirmed"
    assert_sound(shared_host, instance)
    assert (Host.objects.get().memory_mb_used, Host.objects.get().disk_gb_used) == (512, 5)
    do(instance, act_of(alice, "delete"))
    assert_gone(shared_host, instance)


@pytest.mark.parametrize("stopped", [False, True])
def test_reverted(cloud, shared_host, alice, large, stopped):
    instance = boot(alice, cloud)
    before = Instance.objects.get(pk=instance.pk)
    if stopped:
        instance = do(instance, act_of(alice, "stop"))
    instance = do(instance, to(alice, large))
    instance = do(instance, act_of(alice, "revertResize"))
    assert instance.vm_state == ("stopped" if stopped else "active")
    for name in ("flavor", "vcpus", "memory_mb", "disk_gb", "volume_names"):
        assert getattr(instance, name) == getattr(before, name)
    assert Migration.objects.get().status == "reverted"
    assert_sound(shared_host, instance)
    assert quota.usage(cloud.demo.id) == {"instances": 1, "cores": 1, "memory_mb": 128}


def test_down_and_up_again_keeps_the_quota_for_the_way_back(cloud, shared_host, alice, small):
    instance = do(boot(alice, cloud), to(alice, small))
    assert quota.usage(cloud.demo.id)["memory_mb"] == 128
    assert Host.objects.get().memory_mb_used == 128 + 64
    instance = do(instance, act_of(alice, "confirmResize"))
    assert quota.usage(cloud.demo.id)["memory_mb"] == 64
    assert_sound(shared_host, instance)
    instance = do(instance, to(alice, cloud.nano))
    instance = do(instance, act_of(alice, "confirmResize"))
    assert instance.memory_mb == 128
    assert_sound(shared_host, instance)


def test_deleted_while_it_waits_to_be_confirmed(cloud, shared_host, alice, large):
    instance = do(boot(alice, cloud), to(alice, large))
    do(instance, act_of(alice, "delete"))
    assert_gone(shared_host, instance)
    assert Migration.objects.get().status == "confirmed"


def test_deleted_while_it_is_resized(cloud, shared_host, alice, large):
    instance = boot(alice, cloud)
    request(OPERATIONS["resize"], instance, alice.actor, flavor_id="large")
    do(instance, act_of(alice, "delete"))
    assert_gone(shared_host, instance)
    assert Migration.objects.get().status == "error"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"id": "42"}, "When resizing, instances must change flavor!"),
        ({"disabled": True}, "Flavor new could not be found."),
        ({"is_public": False}, "Flavor new could not be found."),
        ({"disk_gb": 0}, "Resize to zero disk flavor is not allowed."),
        ({"disk_gb": 1}, "Unable to resize disk down."),
        ({"ephemeral_gb": 0}, "Unable to resize disk down."),
    ],
)
def test_flavors_that_are_refused(cloud, shared_host, alice, changes, words):
    Flavor.objects.filter(pk=cloud.nano.pk).update(disk_gb=2, ephemeral_gb=1)
    instance = boot(alice, cloud)
    wanted = {"id": "new", "name": "new", "vcpus": 1, "memory_mb": 64, "disk_gb": 2, "ephemeral_gb": 1, **changes}
    if wanted["id"] == "new":
        Flavor.objects.create(**wanted)
    with pytest.raises(errors.Invalid) as caught:
        request(OPERATIONS["resize"], instance, alice.actor, flavor_id=wanted["id"])
    assert words in str(caught.value)
    assert not Migration.objects.exists()
    assert Instance.objects.get(pk=instance.pk).task_state is None


def test_who_may_and_when(cloud, shared_host, alice, bob, charlie, large):
    instance = boot(alice, cloud)
    for persona in (bob, charlie):
        for name in ("resize", "confirmResize", "revertResize"):
            with pytest.raises(Forbidden):
                request(OPERATIONS[name], instance, persona.actor, flavor_id="large")
    for name in ("confirmResize", "revertResize"):
        with pytest.raises(errors.Conflict, match=f"Cannot '{name}'.* vm_state active"):
            request(OPERATIONS[name], instance, alice.actor)
    Host.objects.update(state="down")
    with pytest.raises(errors.Conflict, match="unavailable"):
        request(OPERATIONS["resize"], instance, alice.actor, flavor_id="large")
    Host.objects.update(state="up")
    Instance.objects.filter(pk=instance.pk).update(vm_state="resized")
    for name in ("confirmResize", "revertResize"):
        with pytest.raises(errors.Invalid, match="has not been resized"):
            request(OPERATIONS[name], instance, alice.actor)


def test_of_two_at_once_one_is_refused(cloud, shared_host, alice, large, small):
    instance = boot(alice, cloud)
    request(OPERATIONS["resize"], instance, alice.actor, flavor_id="large")
    with pytest.raises(errors.Conflict):
        request(OPERATIONS["resize"], instance, alice.actor, flavor_id="small")
    assert Migration.objects.count() == 1
    assert quota.usage(cloud.demo.id)["memory_mb"] == 512


def test_the_quota_is_asked_for_the_difference_alone(cloud, shared_host, alice, large, small):
    instance = boot(alice, cloud)
    QuotaLimit.objects.create(project=cloud.demo, resource="memory_mb", limit=511)
    with pytest.raises(errors.QuotaExceeded, match="for ram: Requested 384, but already used 128 of 511"):
        request(OPERATIONS["resize"], instance, alice.actor, flavor_id="large")
    QuotaLimit.objects.update(limit=512)
    instance = do(instance, to(alice, large))
    instance = do(instance, act_of(alice, "confirmResize"))
    QuotaLimit.objects.update(limit=10)  # over the limit by now: to need less is no fault
    Flavor.objects.create(id="less", name="less", vcpus=1, memory_mb=256, disk_gb=2, ephemeral_gb=2)
    instance = do(instance, act_of(alice, "resize", flavor_id="less"))
    assert instance.vm_state == "resized"
    assert_sound(shared_host, instance)


def test_a_host_without_room_for_both_says_so_and_nothing_changes(cloud, shared_host, alice, large):
    instance = boot(alice, cloud)
    Host.objects.update(memory_mb=512 + 400)
    instance = do(instance, to(alice, large))
    assert (instance.vm_state, instance.flavor["id"]) == ("active", "42")
    action = Action.objects.get(operation="resize")
    assert action.state == "error" and "wants 512 MB" in action.message
    assert Migration.objects.get().status == "error"
    assert_sound(shared_host, instance)


def test_no_resize_on_the_same_host_where_that_is_not_wanted(cloud, shared_host, alice, large, settings):
    settings.RESIZE_TO_SAME_HOST = False
    instance = do(boot(alice, cloud), to(alice, large))
    assert instance.vm_state == "active"
    assert "No valid host" in Action.objects.get(operation="resize").message
    assert_sound(shared_host, instance)


def test_large_disks_are_copied_in_the_other_lane(cloud, shared_host, alice, small):
    Flavor.objects.filter(pk="42").update(disk_gb=4)
    Flavor.objects.filter(pk="small").update(disk_gb=5)
    instance = do(boot(alice, cloud), to(alice, small))
    assert instance.vm_state == "resized"
    assert Action.objects.get(operation="resize").progress["lane"] == "transfer"


def test_confirmed_by_itself_after_a_while(cloud, shared_host, alice, large, settings):
    instance = do(boot(alice, cloud), to(alice, large))
    assert confirm_overdue() == 0
    settings.RESIZE_CONFIRM_SECONDS = 60
    assert confirm_overdue() == 0
    Migration.objects.update(updated_at=timezone.now() - timedelta(seconds=61))
    instance = do(instance, lambda one: confirm_overdue())
    assert instance.vm_state == "active"
    assert confirm_overdue() == 0
    assert_sound(shared_host, instance)


def test_a_resize_at_every_call_fails_or_its_worker_is_killed(cloud, shared_host, alice, large):
    instance = boot(alice, cloud)
    calls = calls_made(shared_host, lambda: do(instance, to(alice, large)))
    assert calls >= 12
    instance = do(Instance.objects.get(pk=instance.pk), act_of(alice, "revertResize"))
    for fault in each_fault(calls):
        was = instance
        instance = strike(shared_host, instance, to(alice, large), fault)
        action = Action.objects.filter(operation="resize").order_by("id").last()
        assert_sound(shared_host, instance, (fault, action.message))
        if action.state == "done":
            assert instance.vm_state == "resized", fault
            instance = do(instance, act_of(alice, "revertResize"))
        else:
            assert fault[0] == "fail", (fault, action.message)
            assert (instance.vm_state, instance.flavor, instance.volume_names) == (
                "active",
                was.flavor,
                was.volume_names,
            ), fault
        assert_sound(shared_host, instance, fault)


@pytest.mark.parametrize(("name", "status"), [("confirmResize", "confirmed"), ("revertResize", "reverted")])
def test_its_end_at_every_call_fails_or_its_worker_is_killed(cloud, shared_host, alice, large, small, name, status):
    instance = boot(alice, cloud)
    sizes = {True: small, False: cloud.nano}

    def resized(instance: Instance) -> Instance:
        return do(instance, to(alice, sizes[instance.flavor["id"] == "42"]))

    instance = resized(instance)
    calls = calls_made(shared_host, lambda: do(instance, act_of(alice, name)))
    assert calls >= 2
    instance = Instance.objects.get(pk=instance.pk)
    for fault in each_fault(calls):
        instance = strike(shared_host, resized(instance), act_of(alice, name), fault)
        action = Action.objects.filter(operation=name).order_by("id").last()
        if action.state != "done":
            assert fault[0] == "fail", (fault, action.message)
            assert instance.vm_state == "resized", fault
            instance = do(instance, act_of(alice, name))
        assert instance.vm_state == "active", fault
        assert Migration.objects.first().status == status, fault
        if fault[0] == "kill":  # else what could not be deleted goes with the next resize
            assert_sound(shared_host, instance, fault)
