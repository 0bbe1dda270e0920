"""Shelve, offload and unshelve on fake hosts: what is freed, what comes back, and what a failure leaves."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from compute import errors, quota
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.images import verbs
from compute.models import Action, Host, Image, Instance
from compute.operations import OPERATIONS
from compute.operations.engine import request
from compute.operations.shelve import offload_due
from portal.identity.policy import Forbidden
from tests.engine.matrix import assert_gone, assert_sound, boot, calls_made, do, each_fault, finish, shared_host, strike

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)


def ask(persona: Any, instance: Instance, operation: str, **params: Any) -> Action:
    return request(OPERATIONS[operation], Instance.objects.get(pk=instance.pk), persona.actor, **params)


def act(persona: Any, operation: str, **params: Any) -> Any:
    return lambda instance: ask(persona, instance, operation, **params)


def address_of(instance: Instance) -> str:
    return instance.ports.get().addresses.get().address


def files() -> set[str]:
    return {path.name for path in Path(django_settings.IMAGE_STORE).iterdir()}


def counts(host: Host) -> tuple[int, int, int, int]:
    now = Host.objects.get(pk=host.pk)
    return now.vcpus_used, now.memory_mb_used, now.disk_gb_used, now.instances_used


def shelved_images() -> list[str]:
    return sorted(Image.objects.filter(name="web-shelved").values_list("status", flat=True))


def assert_offloaded(host: Host, instance: Instance, about: object = "") -> None:
    """It is nowhere but in its image; the quota and the address are still its own."""
    driver = hypervisor_of(host)
    assert (instance.vm_state, instance.task_state, instance.power_state) == ("shelved_offloaded", None, 4), about
    assert instance.host is None, about
    assert driver.guest(instance.id) is None, about
    assert driver.volumes(prefix=str(instance.id)) == {}, about
    assert counts(host) == (0, 0, 0, 0), about
    assert quota.usage(instance.project_id)["instances"] == 1, about
    assert instance.ports.get().addresses.count() == 1, about
    assert Image.objects.get(pk=instance.shelved_image_id).status == "active", about


def assert_here(host: Host, instance: Instance, about: object = "") -> None:
    """Shelved, and its guest is off on its host."""
    assert (instance.vm_state, instance.task_state, instance.power_state) == ("shelved", None, 4), about
    assert int(hypervisor_of(host).guest(instance.id).power_state) == 4, about
    assert counts(host)[3] == 1, about
    assert Image.objects.get(pk=instance.shelved_image_id).status == "active", about


@pytest.mark.parametrize("verb", [None, "stop", "pause", "suspend"])
def test_a_shelved_instance_frees_its_host_and_comes_back(cloud, shared_host, alice, verb):
    instance = boot(alice, cloud)
    address, config = address_of(instance), instance.config_drive
    if verb:
        instance = do(instance, act(alice, verb))
    instance = do(instance, act(alice, "shelve"))
    assert_offloaded(shared_host, instance)
    assert shelved_images() == ["active"]
    assert [one.operation for one in instance.actions.order_by("-id")[:2]] == ["shelve_offload", "shelve"]
    assert len(set(instance.actions.values_list("request_id", flat=True))) == instance.actions.count()
    assert instance.actions.first().user_name == "alice"
    before = files()
    instance = do(instance, act(alice, "unshelve"))
    assert (instance.vm_state, instance.host, address_of(instance)) == ("active", shared_host, address)
    assert (instance.config_drive, instance.image_id) == (config, cloud.image.id)
    assert (instance.shelved_image_id, instance.shelved_at) == (None, None)
    assert instance.ports.get().status == "ACTIVE"
    assert shelved_images() == []
    assert len(files()) == len(before) - 1
    assert_sound(shared_host, instance)
    do(instance, act(alice, "delete"))
    assert_gone(shared_host, instance)


def test_what_was_on_the_disk_comes_back(cloud, shared_host, alice):
    """Through two rounds; and the base of the image need not be on the host."""
    content = bytes(range(256)) * 16
    path = Path(django_settings.IMAGE_STORE) / str(cloud.image.id)
    path.write_bytes(content)
    Image.objects.filter(pk=cloud.image.pk).update(size=len(content), virtual_size=len(content))
    instance = boot(alice, cloud)
    for _ in range(2):
        instance = do(instance, act(alice, "shelve"))
        image = Image.objects.get(pk=instance.shelved_image_id)
        assert image.virtual_size == 1 << 30
        assert content in (Path(django_settings.IMAGE_STORE) / str(image.pk)).read_bytes()
        instance = do(instance, act(alice, "unshelve"))
        driver = hypervisor_of(shared_host)
        assert content in b"".join(driver.download(instance.root_volume))
        assert driver.volumes(prefix=instance.root_volume) == {instance.root_volume: 1 << 30}
        assert [name for name in driver.volumes() if name.startswith("base-")] == [cloud.image.base_volume]


def test_ephemeral_and_swap_come_back_empty(cloud, shared_host, alice):
    cloud.nano.ephemeral_gb, cloud.nano.swap_mb = 1, 8
    cloud.nano.save()
    instance = do(do(boot(alice, cloud), act(alice, "shelve")), act(alice, "unshelve"))
    assert_sound(shared_host, instance)


def test_it_may_stay_on_its_host(cloud, shared_host, alice, root, settings):
    settings.SHELVED_OFFLOAD_SECONDS = -1
    instance = do(boot(alice, cloud), act(alice, "shelve"))
    assert_here(shared_host, instance)
    assert offload_due() == 0
    instance = do(instance, act(alice, "unshelve"))
    assert (instance.vm_state, shelved_images()) == ("active", [])
    assert_sound(shared_host, instance)
    instance = do(instance, act(alice, "shelve"))
    with pytest.raises(Forbidden):
        ask(alice, instance, "shelve_offload")
    assert_offloaded(shared_host, do(instance, act(root, "shelve_offload")))


def test_it_leaves_after_a_while(cloud, shared_host, alice, settings):
    settings.SHELVED_OFFLOAD_SECONDS = 3600
    instance = do(boot(alice, cloud), act(alice, "shelve"))
    assert_here(shared_host, instance)
    assert offload_due() == 0
    Instance.objects.update(shelved_at=timezone.now() - timedelta(seconds=3601))
    assert offload_due() == 1
    assert offload_due() == 0
    assert_offloaded(shared_host, finish(instance))


def test_an_offload_that_failed_is_asked_for_again_later(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    hypervisor_of(shared_host).inject(Fault("remove"))
    instance = do(instance, act(alice, "shelve"))
    assert_here(shared_host, instance)
    assert offload_due() == 0
    Action.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    assert offload_due() == 1
    assert_offloaded(shared_host, finish(instance))


def test_without_its_image_it_is_not_offloaded(cloud, shared_host, alice, root, settings):
    settings.SHELVED_OFFLOAD_SECONDS = -1
    instance = do(boot(alice, cloud), act(alice, "shelve"))
    verbs.delete_image(actor=alice.actor, image=Image.objects.get(name="web-shelved"))
    instance = do(instance, act(root, "shelve_offload"))
    assert instance.vm_state == "shelved"
    assert "somebody has deleted it" in instance.actions.first().message
    instance = do(instance, act(alice, "unshelve"))
    assert_sound(shared_host, instance)


def test_a_failed_unshelve_says_why_and_leaves_it_offloaded(cloud, shared_host, alice):
    instance = do(boot(alice, cloud), act(alice, "shelve"))
    Host.objects.update(enabled=False)
    instance = do(instance, act(alice, "unshelve"))
    assert "No valid host was found" in instance.faults.last().message
    assert_offloaded(shared_host, instance)
    Host.objects.update(enabled=True)
    image = Image.objects.get(pk=instance.shelved_image_id)
    Image.objects.filter(pk=image.pk).update(status="deactivated")
    instance = do(instance, act(alice, "unshelve"))
    assert "cannot be used: it is deactivated" in instance.actions.first().message
    Image.objects.filter(pk=image.pk).update(status="active")
    assert_offloaded(shared_host, instance)
    verbs.delete_image(actor=alice.actor, image=image)
    instance = do(instance, act(alice, "unshelve"))
    assert (instance.vm_state, instance.host) == ("shelved_offloaded", None)
    assert "somebody has deleted it" in instance.faults.last().message
    assert counts(shared_host) == (0, 0, 0, 0)
    do(instance, act(alice, "delete"))
    assert_gone(shared_host, instance)


@pytest.fixture
def second(cloud, tmp_path) -> Host:
    """Another host, in another zone."""
    return Host.objects.create(
        name="host-2", uri=f"fake://{tmp_path}/host.sqlite3?host=second", state="up", zone="east",
        vcpus=4, memory_mb=8192, disk_gb=100,
    )  # fmt: skip


def test_where_it_comes_back(cloud, shared_host, second, alice, root):
    instance = do(boot(alice, cloud, zone=shared_host.zone), act(alice, "shelve"))
    with pytest.raises(errors.Invalid, match="availability zone is not available"):
        ask(alice, instance, "unshelve", zone="west")
    with pytest.raises(errors.Invalid, match="Compute host host-9 could not be found"):
        ask(root, instance, "unshelve", host="host-9")
    with pytest.raises(errors.Conflict, match="is not in the availability zone"):
        ask(root, instance, "unshelve", host="host-1", zone="east")
    with pytest.raises(Forbidden):
        ask(alice, instance, "unshelve", host="host-2")
    assert Instance.objects.get(pk=instance.pk).task_state is None
    instance = do(instance, act(alice, "unshelve", zone="east"))
    assert (instance.vm_state, instance.host, instance.zone) == ("active", second, "east")
    instance = do(instance, act(alice, "shelve"))
    instance = do(instance, act(root, "unshelve", host="host-1", zone=None))
    assert (instance.vm_state, instance.host, instance.zone) == ("active", shared_host, "")
    assert hypervisor_of(second).volumes(prefix=str(instance.id)) == {}


def test_a_place_is_only_for_one_that_is_offloaded(cloud, shared_host, alice, settings):
    settings.SHELVED_OFFLOAD_SECONDS = -1
    instance = do(boot(alice, cloud), act(alice, "shelve"))
    with pytest.raises(errors.Conflict, match="must be SHELVED_OFFLOADED"):
        ask(alice, instance, "unshelve", zone=shared_host.zone)
    assert Instance.objects.get(pk=instance.pk).task_state is None


def test_an_unshelve_tries_the_next_host(cloud, shared_host, second, alice):
    Host.objects.update(zone="nova")
    instance = do(boot(alice, cloud), act(alice, "shelve"))
    hypervisor_of(shared_host).inject(Fault("upload"))
    instance = do(instance, act(alice, "unshelve"))
    assert (instance.vm_state, instance.host) == ("active", second)
    assert hypervisor_of(shared_host).volumes(prefix=str(instance.id)) == {}
    assert counts(shared_host) == (0, 0, 0, 0)


def test_what_an_earlier_life_left_on_a_host_is_not_used(cloud, shared_host, alice):
    instance = do(boot(alice, cloud), act(alice, "shelve"))
    driver = hypervisor_of(shared_host)
    driver.create_volume(instance.root_volume, 5)
    driver.create_volume(f"{instance.id}-root-7", 5)
    instance = do(instance, act(alice, "unshelve"))
    assert driver.volumes(prefix=instance.root_volume) == {instance.root_volume: 1 << 30}
    assert_sound(shared_host, instance)


def test_a_protected_image_stays(cloud, shared_host, alice):
    instance = do(boot(alice, cloud), act(alice, "shelve"))
    verbs.update_image(actor=alice.actor, image=Image.objects.get(name="web-shelved"), changes={"protected": True})
    assert do(instance, act(alice, "unshelve")).vm_state == "active"
    assert shelved_images() == ["active"]


@pytest.mark.parametrize("seconds", [0, -1])
def test_deleting_a_shelved_instance_deletes_its_image(cloud, shared_host, alice, settings, seconds):
    settings.SHELVED_OFFLOAD_SECONDS = seconds
    instance, before = boot(alice, cloud), files()
    instance = do(do(instance, act(alice, "shelve")), act(alice, "delete"))
    assert shelved_images() == []
    assert files() == before
    assert_gone(shared_host, instance)


def test_deleting_an_instance_that_is_being_shelved_leaves_nothing(cloud, shared_host, alice):
    instance, before = boot(alice, cloud), files()
    ask(alice, instance, "shelve")
    ask(alice, instance, "delete")
    assert shelved_images() == []
    instance = finish(instance)
    assert files() == before
    assert_gone(shared_host, instance)


def test_a_lock_and_an_open_task_stop_it(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    ask(alice, instance, "shelve")
    with pytest.raises(errors.Conflict, match=r"Cannot 'shelve' instance .* task_state shelving"):
        ask(alice, instance, "shelve")
    assert shelved_images() == ["queued"]
    instance = finish(instance)
    Instance.objects.filter(pk=instance.pk).update(locked=True)
    with pytest.raises(errors.Conflict, match="is locked"):
        ask(alice, instance, "unshelve")


def test_a_running_guest_is_shut_down_before_the_copy_and_runs_again_if_that_fails(cloud, shared_host, alice):
    instance, before = boot(alice, cloud), files()
    hypervisor_of(shared_host).inject(Fault("copy_disk"))
    instance = do(instance, act(alice, "shelve"))
    calls = [one.split()[0] for one in hypervisor_of(shared_host).calls()]
    assert calls.index("stop") < calls.index("copy_disk") < len(calls) - calls[::-1].index("start")
    assert (instance.vm_state, shelved_images(), files()) == ("active", [], before)
    assert_sound(shared_host, instance)


def test_a_paused_guest_keeps_its_memory_until_its_disk_is_safe(cloud, shared_host, alice):
    instance = do(boot(alice, cloud), act(alice, "pause"))
    hypervisor_of(shared_host).inject(Fault("download"))
    instance = do(instance, act(alice, "shelve"))
    assert (instance.vm_state, int(hypervisor_of(shared_host).guest(instance.id).power_state)) == ("paused", 3)
    hypervisor_of(shared_host).inject(Fault("destroy", when="after"))
    instance = do(instance, act(alice, "shelve"))
    assert (instance.vm_state, instance.power_state) == ("stopped", 4)
    assert shelved_images() == []


@pytest.mark.parametrize("verb", [None, "pause"])
def test_a_shelving_at_every_call(cloud, shared_host, alice, verb):
    instance, before = boot(alice, cloud), files()

    def put() -> Instance:
        now = Instance.objects.get(pk=instance.pk)
        if now.vm_state in ("shelved", "shelved_offloaded"):
            now = do(now, act(alice, "unshelve"))
        if now.vm_state == "stopped":
            now = do(now, act(alice, "start"))
        return do(now, act(alice, verb)) if verb and now.vm_state == "active" else now

    ready = put()
    calls = calls_made(shared_host, lambda: do(ready, act(alice, "shelve")))
    assert calls >= 10
    for fault in each_fault(calls, ("fail",) if verb else ("fail", "kill")):
        ready = put()
        ended = strike(shared_host, ready, act(alice, "shelve"), fault)
        first = Action.objects.filter(operation="shelve").order_by("id").last()
        if ended.vm_state == "shelved_offloaded":
            assert_offloaded(shared_host, ended, fault)
        elif ended.vm_state == "shelved":
            assert fault[0] == "fail" and first.state == "done", fault
            assert counts(shared_host)[3] == 1, fault
            assert shelved_images() == ["active"], fault
        else:
            assert (fault[0], first.state) == ("fail", "error"), fault
            assert ended.vm_state in (ready.vm_state, "stopped"), fault
            assert (shelved_images(), files()) == ([], before), fault
            driver = hypervisor_of(shared_host)
            assert int(driver.guest(instance.id).power_state) == ended.power_state, fault
            assert f"{instance.id}-copy" not in driver.volumes(), fault
    assert_sound(shared_host, do(put(), act(alice, "unpause")) if verb else put())


@pytest.mark.parametrize("seconds", [0, -1])
def test_an_unshelving_at_every_call(cloud, shared_host, alice, settings, seconds):
    settings.SHELVED_OFFLOAD_SECONDS = seconds
    cloud.nano.ephemeral_gb, cloud.nano.swap_mb = 1, 8
    cloud.nano.save()
    instance, before = boot(alice, cloud), files()
    check = assert_offloaded if seconds == 0 else assert_here
    instance = do(instance, act(alice, "shelve"))
    calls = calls_made(shared_host, lambda: do(instance, act(alice, "unshelve")))
    assert calls >= 5
    for fault in each_fault(calls, ("fail", "kill") if seconds == 0 else ("fail",)):
        instance = Instance.objects.get(pk=instance.pk)
        if instance.vm_state == "active":
            instance = do(instance, act(alice, "shelve"))
        check(shared_host, instance, fault)
        instance = strike(shared_host, instance, act(alice, "unshelve"), fault)
        if instance.vm_state == "active":
            assert_sound(shared_host, instance, fault)
            assert (shelved_images(), files()) == ([], before), fault
        else:
            assert fault[0] == "fail", fault
            check(shared_host, instance, fault)
