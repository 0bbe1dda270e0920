"""Rescue and unrescue on a fake host."""

from __future__ import annotations

import pytest

from compute import errors
from compute.hosts.connections import hypervisor_of
from compute.models import Action, Image, Instance, VmState
from compute.operations import OPERATIONS
from compute.operations.engine import request
from compute.operations.reset_state import reset_state
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
from tests.engine.test_rebuild import second

__all__ = ["second", "shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)


def act_of(persona, name, **params):
    return lambda instance: request(OPERATIONS[name], instance, persona.actor, **params)


@pytest.mark.parametrize("state", ["active", "stopped", "error"])
def test_there_and_back(cloud, shared_host, alice, second, state):
    instance = boot(alice, cloud)
    if state == "stopped":
        instance = do(instance, act_of(alice, "stop"))
    Instance.objects.filter(pk=instance.pk).update(vm_state=state)
    instance = do(Instance.objects.get(pk=instance.pk), act_of(alice, "rescue", image_id=str(second.id)))
    assert (instance.vm_state, instance.status, instance.power_state) == ("rescued", "RESCUE", 1)
    disks = hypervisor_of(shared_host).disks(instance.id)
    assert disks == [instance.volume("rescue"), instance.root_volume, instance.config_volume]
    assert instance.image_id == cloud.image.id
    assert_sound(shared_host, instance)
    instance = do(instance, act_of(alice, "unrescue"))
    assert (instance.vm_state, instance.power_state) == ("active", 1)
    assert_sound(shared_host, instance)


def test_its_own_image_is_the_rescue_image_where_none_is_named(cloud, shared_host, alice):
    instance = do(boot(alice, cloud), act_of(alice, "rescue"))
    assert Action.objects.get(operation="rescue").params == {"image_id": str(cloud.image.id)}
    do(instance, act_of(alice, "delete"))
    assert_gone(shared_host, instance)


def test_whoever_leaves_the_rescue_another_way_boots_from_the_own_disk(cloud, shared_host, alice, root, settings):
    settings.RECLAIM_SECONDS = 3600
    instance = do(boot(alice, cloud), act_of(alice, "rescue"))
    instance = do(instance, act_of(alice, "delete"))
    assert instance.vm_state == "soft-delete"
    instance = do(instance, act_of(alice, "restore"))
    own = [instance.root_volume, instance.config_volume]
    assert (instance.vm_state, hypervisor_of(shared_host).disks(instance.id)) == ("active", own)
    instance = do(instance, act_of(alice, "rescue"))
    reset_state(root.actor, instance, state=VmState.ACTIVE)
    instance = do(Instance.objects.get(pk=instance.pk), act_of(alice, "reboot_hard"))
    assert hypervisor_of(shared_host).disks(instance.id) == own
    instance = do(do(instance, act_of(alice, "rescue")), act_of(alice, "unrescue"))
    assert_sound(shared_host, instance)


def test_what_is_refused(cloud, shared_host, alice, bob, charlie, second):
    instance = boot(alice, cloud)
    with pytest.raises(errors.Invalid, match="Can not find requested image"):
        request(OPERATIONS["rescue"], instance, alice.actor, image_id="00000000-0000-0000-0000-000000000000")
    Image.objects.filter(pk=second.pk).update(status="deactivated")
    with pytest.raises(errors.Invalid, match="is not active"):
        request(OPERATIONS["rescue"], instance, alice.actor, image_id=str(second.id))
    for persona in (bob, charlie):
        with pytest.raises(Forbidden):
            request(OPERATIONS["rescue"], instance, persona.actor)
    with pytest.raises(errors.Conflict, match=r"Cannot 'unrescue'.* vm_state active"):
        request(OPERATIONS["unrescue"], instance, alice.actor)
    instance = do(instance, act_of(alice, "rescue"))
    with pytest.raises(errors.Conflict, match=r"Cannot 'rescue'.* vm_state rescued"):
        request(OPERATIONS["rescue"], instance, alice.actor)
    request(OPERATIONS["unrescue"], instance, alice.actor)
    with pytest.raises(errors.Conflict, match="task_state unrescuing"):
        request(OPERATIONS["unrescue"], instance, alice.actor)


@pytest.mark.parametrize(
    ("name", "other", "before"), [("rescue", "unrescue", "active"), ("unrescue", "rescue", "rescued")]
)
def test_at_every_call_it_fails_or_its_worker_is_killed(cloud, shared_host, alice, name, other, before):
    instance = boot(alice, cloud)
    if before == "rescued":
        instance = do(instance, act_of(alice, "rescue"))
    calls = calls_made(shared_host, lambda: do(instance, act_of(alice, name)))
    assert calls >= 4
    instance = do(Instance.objects.get(pk=instance.pk), act_of(alice, other))
    for fault in each_fault(calls):
        was = instance
        assert instance.vm_state == before
        instance = strike(shared_host, instance, act_of(alice, name), fault)
        action = Action.objects.filter(operation=name).order_by("id").last()
        if action.state == "done":
            assert instance.vm_state == OPERATIONS[name].leads_to, fault
        else:
            assert fault[0] == "fail", fault
            assert (instance.vm_state, instance.volume_names) == (before, was.volume_names), fault
            instance = do(instance, act_of(alice, name))
        if fault[0] == "kill" or name == "rescue":
            assert_sound(shared_host, instance, fault)
        instance = do(instance, act_of(alice, other))
