"""Rebuild on a fake host: what changes and what stays, and what remains of one that fails or is killed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from django.conf import settings

from compute import errors
from compute.hosts.connections import hypervisor_of
from compute.models import Action, Image, Instance
from compute.operations import OPERATIONS
from compute.operations.engine import request
from compute.operations.rebuild import RebuildRequest, rebuild
from portal.identity.policy import Forbidden
from tests.engine.matrix import (
    assert_gone,
    assert_sound,
    boot,
    calls_made,
    do,
    each_fault,
    finish,
    shared_host,
    strike,
)

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def second(cloud) -> Image:
    """Another image, whose bytes are others."""
    content = b"2" * 4096
    image = Image.objects.create(
        name="second", project=cloud.demo, status="active", visibility="private", disk_format="raw",
        container_format="bare", size=len(content), virtual_size=len(content),
        checksum=hashlib.md5(content).hexdigest(),
    )  # fmt: skip
    (Path(settings.IMAGE_STORE) / str(image.id)).write_bytes(content)
    return image


def act_of(alice, image, **fields):
    return lambda instance: rebuild(alice.actor, instance, RebuildRequest(str(image.id), fields))


def test_a_rebuild_keeps_what_it_should(cloud, shared_host, alice, second):
    instance = boot(alice, cloud)
    address = instance.ports.get().addresses.get().address
    old_root = instance.root_volume
    fields = {"name": "anew", "metadata": {"tier": "back"}, "user_data": "aGk=", "hostname": "anew", "key_name": None}
    shown = rebuild(alice.actor, instance, RebuildRequest(str(second.id), fields))
    assert (shown.status, shown.image_id, shown.name) == ("REBUILD", second.id, "anew")
    instance = finish(instance)
    assert (instance.vm_state, instance.image_name, instance.name) == ("active", "second", "anew")
    assert (instance.metadata, instance.user_data, instance.hostname) == ({"tier": "back"}, "aGk=", "anew")
    assert instance.ports.get().addresses.get().address == address
    assert instance.root_volume != old_root
    driver = hypervisor_of(shared_host)
    assert bytes(b"".join(driver.download(second.base_volume))) == b"2" * 4096
    assert_sound(shared_host, instance)


@pytest.mark.parametrize("state", ["stopped", "error"])
def test_the_final_state(cloud, shared_host, alice, second, state):
    instance = boot(alice, cloud)
    if state == "stopped":
        instance = do(instance, lambda one: request(OPERATIONS["stop"], one, alice.actor))
    Instance.objects.filter(pk=instance.pk).update(vm_state=state)
    instance = do(Instance.objects.get(pk=instance.pk), act_of(alice, second))
    assert instance.vm_state == ("stopped" if state == "stopped" else "active")
    assert_sound(shared_host, instance)


def test_an_ephemeral_disk_may_be_preserved(cloud, shared_host, alice, second):
    cloud.nano.ephemeral_gb, cloud.nano.swap_mb = 1, 8
    cloud.nano.save()
    instance = boot(alice, cloud)
    volumes = {role: instance.volume(role) for role in ("root", "ephemeral0", "swap")}
    wanted = RebuildRequest(str(second.id), {}, preserve_ephemeral=True)
    instance = do(instance, lambda one: rebuild(alice.actor, one, wanted))
    assert instance.volume("ephemeral0") == volumes["ephemeral0"]
    assert instance.volume("root") != volumes["root"]
    instance = do(instance, act_of(alice, second))
    assert instance.volume("ephemeral0") != volumes["ephemeral0"]
    assert_sound(shared_host, instance)


def test_an_image_that_cannot_be_fetched_leaves_it_as_it_was(cloud, shared_host, alice, second):
    instance = boot(alice, cloud, metadata={"tier": "front"})
    before = Instance.objects.get(pk=instance.pk)
    (Path(settings.IMAGE_STORE) / str(second.id)).unlink()
    calls = len(hypervisor_of(shared_host).calls())
    instance = do(instance, act_of(alice, second, name="anew", metadata={}))
    assert (instance.vm_state, instance.name, instance.image_id) == ("active", "web", cloud.image.id)
    assert (instance.metadata, instance.volume_names) == (before.metadata, {})
    action = Action.objects.get(operation="rebuild")
    assert action.state == "error" and "not in the store" in action.message
    assert not [one for one in hypervisor_of(shared_host).calls()[calls:] if one.split()[0] in ("destroy", "stop")]
    assert_sound(shared_host, instance)


def test_what_the_request_names_wrongly(cloud, shared_host, alice, bob, charlie, second):
    instance = boot(alice, cloud)
    foreign = Image.objects.create(name="foreign", project=cloud.other, status="active", visibility="private")
    for image_id in ("nonsense", "00000000-0000-0000-0000-000000000000", str(foreign.id)):
        with pytest.raises(errors.Invalid, match="Can not find requested image"):
            rebuild(alice.actor, instance, RebuildRequest(image_id))
    Image.objects.filter(pk=second.pk).update(min_disk_gb=5)
    with pytest.raises(errors.Invalid, match="disk is too small"):
        rebuild(alice.actor, instance, RebuildRequest(str(second.id)))
    Image.objects.filter(pk=second.pk).update(min_disk_gb=0, min_memory_mb=1 << 20)
    with pytest.raises(errors.Invalid, match="memory is too small"):
        rebuild(alice.actor, instance, RebuildRequest(str(second.id)))
    with pytest.raises(errors.Invalid, match="Invalid key_name"):
        rebuild(alice.actor, instance, RebuildRequest(str(cloud.image.id), {"key_name": "none such"}))
    for persona in (bob, charlie):
        with pytest.raises(Forbidden):
            rebuild(persona.actor, instance, RebuildRequest(str(cloud.image.id)))
    Instance.objects.filter(pk=instance.pk).update(vm_state="paused")
    with pytest.raises(errors.Conflict, match="vm_state paused"):
        rebuild(alice.actor, Instance.objects.get(pk=instance.pk), RebuildRequest(str(cloud.image.id)))
    assert not Action.objects.filter(operation="rebuild").exists()


def test_of_two_at_once_one_is_refused(cloud, shared_host, alice, second):
    instance = boot(alice, cloud)
    rebuild(alice.actor, instance, RebuildRequest(str(second.id)))
    with pytest.raises(errors.Conflict):
        rebuild(alice.actor, instance, RebuildRequest(str(cloud.image.id)))
    assert finish(instance).image_id == second.id


def test_at_every_call_it_fails_or_its_worker_is_killed(cloud, shared_host, alice, second):
    cloud.nano.ephemeral_gb, cloud.nano.swap_mb = 1, 8
    cloud.nano.save()
    images = {True: second, False: cloud.image}
    instance = boot(alice, cloud)
    calls = calls_made(shared_host, lambda: do(instance, act_of(alice, second, name="anew")))
    assert calls > 8
    instance = Instance.objects.get(pk=instance.pk)
    for fault in each_fault(calls):
        was = instance
        image = images[instance.image_id == cloud.image.id]
        instance = strike(shared_host, instance, act_of(alice, image, name=f"anew {fault}"), fault)
        action = Action.objects.filter(operation="rebuild").order_by("id").last()
        assert instance.vm_state == "active", fault
        if action.state == "done":
            assert (instance.image_id, instance.name) == (image.id, f"anew {fault}"), fault
        else:
            assert fault[0] == "fail", (fault, action.message)
            kept = (instance.image_id, instance.name, instance.volume_names)
            assert kept == (was.image_id, was.name, was.volume_names), fault
        if fault[0] == "fail":  # what could not be deleted goes with the next rebuild
            instance = do(instance, act_of(alice, instance.image))
        assert_sound(shared_host, instance, fault)
    do(instance, lambda one: request(OPERATIONS["delete"], one, alice.actor))
    assert_gone(shared_host, instance)
