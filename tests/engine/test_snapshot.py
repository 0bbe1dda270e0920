"""Snapshots and backups on a fake host: what the image says, and what remains of one that fails or is given up."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from compute import errors
from compute.hosts.connections import hypervisor_of
from compute.hypervisor.fake.faults import Fault
from compute.images import store, verbs
from compute.models import Action, Change, Image, Instance, TaskState
from compute.operations import OPERATIONS, saving
from compute.operations.create import BootRequest, create
from compute.operations.engine import request
from compute.operations.worker import perform
from portal.identity.policy import Forbidden
from tests.engine.matrix import assert_gone, assert_sound, boot, calls_made, do, each_fault, finish, shared_host, strike

__all__ = ["shared_host"]
pytestmark = pytest.mark.django_db(transaction=True)


def snapshot(persona: Any, instance: Instance, operation: str = "create_image", **params: Any) -> Action:
    return request(OPERATIONS[operation], Instance.objects.get(pk=instance.pk), persona.actor, **params)


def backup(persona: Any, instance: Instance, rotation: int, backup_type: str = "daily", name: str = "one") -> Image:
    """The image's row as it was when it was asked for."""
    params = {"name": name, "backup_type": backup_type, "rotation": rotation}
    return Image.objects.get(pk=snapshot(persona, instance, "create_backup", **params).params["image"])


def image_of(action: Action) -> Image:
    return Image.objects.get(pk=action.params["image"])


def files() -> set[str]:
    return {path.name for path in Path(settings.IMAGE_STORE).iterdir()}


def assert_no_image(instance: Instance, before: set[str], about: object = "") -> None:
    """Of the snapshot that was given up nothing is in the rows or in the store."""
    assert not Image.objects.exclude(name="tiny").exists(), about
    assert files() == before, about


def test_an_image_is_there_from_the_request_on_and_active_in_the_end(cloud, shared_host, alice):
    Image.objects.filter(pk=cloud.image.pk).update(
        properties={"hw_disk_bus": "virtio", "img_signature": "secret"}, min_memory_mb=64
    )
    instance = boot(alice, cloud)
    action = snapshot(alice, instance, name="one", metadata={"tier": "front"})
    image = image_of(action)
    assert (image.status, image.name, image.visibility, image.project_id) == ("queued", "one", "private", cloud.demo.id)
    assert Instance.objects.get(pk=instance.pk).task_state == "image_snapshot_pending"
    instance = finish(instance)
    image.refresh_from_db()
    assert (image.status, image.disk_format, image.container_format) == ("active", "qcow2", "bare")
    assert (image.min_disk_gb, image.min_memory_mb, image.virtual_size) == (1, 64, 1 << 30)
    assert image.checksum == hashlib.md5(b"".join(store.open_bytes(image))).hexdigest()
    assert image.properties == {
        "hw_disk_bus": "virtio",
        "tier": "front",
        "base_image_ref": str(cloud.image.pk),
        "image_location": "snapshot",
        "image_state": "available",
        "image_type": "snapshot",
        "instance_uuid": str(instance.pk),
        "owner_id": cloud.demo.id,
        "user_id": alice.user.id,
    }
    assert (instance.vm_state, instance.power_state) == ("active", 1)
    action.refresh_from_db()
    assert (action.state, action.progress["percent"]) == ("done", 100)
    assert [one.split()[0] for one in hypervisor_of(shared_host).calls()[-2:]] == ["copy_disk", "delete_volume"]
    assert Change.objects.filter(kind="image", object_id=str(image.pk)).count() >= 3
    assert_sound(shared_host, instance)


def test_the_task_states_are_novas_in_their_order(cloud, shared_host, alice, monkeypatch):
    instance = boot(alice, cloud)
    seen: list[str | None] = []
    for name in ("copy_disk", "begin_upload", "upload"):
        step = next(one for one in OPERATIONS["create_image"].steps if one.name == name)
        run = step.run

        def spy(operation: Any, run: Any = run) -> None:
            seen.append(Instance.objects.get(pk=instance.pk).task_state)
            run(operation)

        monkeypatch.setitem(step.__dict__, "run", spy)
    do(instance, lambda one: snapshot(alice, one))
    assert seen == [TaskState.IMAGE_SNAPSHOT, TaskState.IMAGE_PENDING_UPLOAD, TaskState.IMAGE_UPLOADING]


def test_a_new_instance_boots_from_a_snapshot(cloud, shared_host, alice):
    image = image_of(snapshot(alice, instance := boot(alice, cloud)))
    finish(instance)
    (copy,) = create(alice.actor, BootRequest(name="copy", flavor_id=cloud.nano.id, image_id=str(image.pk)))
    copy = finish(copy)
    assert (copy.vm_state, copy.image_id) == ("active", image.pk)


@pytest.mark.parametrize(("verb", "vm_state"), [("stop", "stopped"), ("pause", "paused"), ("suspend", "suspended")])
def test_from_every_state_and_it_stays_what_it_was(cloud, shared_host, alice, verb, vm_state):
    instance = do(boot(alice, cloud), lambda one: request(OPERATIONS[verb], one, alice.actor))
    instance = do(instance, lambda one: snapshot(alice, one))
    assert (instance.vm_state, instance.task_state) == (vm_state, None)
    assert Image.objects.get(name="web-snapshot").status == "active"
    assert list(hypervisor_of(shared_host).volumes(prefix=saving.copy_volume(instance))) == []


def test_a_lock_does_not_stop_it_but_an_open_task_does(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    Instance.objects.filter(pk=instance.pk).update(locked=True)
    snapshot(alice, instance)
    with pytest.raises(errors.Conflict, match=r"Cannot 'createImage' instance .* task_state image_snapshot_pending"):
        snapshot(alice, instance)
    assert Image.objects.filter(name="web-snapshot").count() == 1
    assert finish(instance).task_state is None


def test_who_may(cloud, shared_host, alice, bob, charlie, root):
    instance = boot(alice, cloud)
    for persona in (bob, charlie):
        with pytest.raises(Forbidden):
            snapshot(persona, instance)
    image = image_of(snapshot(root, instance))
    assert (image.project_id, image.visibility) == (cloud.demo.id, "shared")
    assert image.properties["user_id"] == root.user.id


def test_too_many_properties_are_refused_and_nothing_changes(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    with pytest.raises(errors.QuotaExceeded, match="128 properties"):
        snapshot(alice, instance, metadata={f"p{number}": "x" for number in range(128)})
    assert Instance.objects.get(pk=instance.pk).task_state is None
    assert not Action.objects.filter(operation="create_image").exists()
    assert not Image.objects.filter(name="web-snapshot").exists()


def delete_while(monkeypatch: pytest.MonkeyPatch, where: str, what: Any) -> None:
    """Something happens in the middle of a copy or of an upload."""
    monkeypatch.setattr(saving, "TELL_SECONDS", 0.0)
    tell = saving._tell
    done: list[int] = []

    def spy(operation: Any, percent: int) -> None:
        tell(operation, percent)
        if not done and (percent >= saving.COPIED_PERCENT) == (where == "upload"):
            done.append(percent)
            what()

    monkeypatch.setattr(saving, "_tell", spy)


@pytest.mark.parametrize("where", ["copy", "upload"])
def test_deleting_the_image_gives_it_up(cloud, shared_host, alice, monkeypatch, where):
    instance, before = boot(alice, cloud), files()
    image = image_of(snapshot(alice, instance))
    delete_while(monkeypatch, where, lambda: verbs.delete_image(actor=alice.actor, image=image))
    instance = finish(instance)
    action = Action.objects.get(operation="create_image")
    assert action.state == "error" and "was deleted while" in action.message
    assert (instance.vm_state, instance.task_state) == ("active", None)
    assert_no_image(instance, before)
    assert_sound(shared_host, instance)


@pytest.mark.parametrize("where", ["before", "copy", "upload"])
def test_deleting_the_instance_preempts_it(cloud, shared_host, alice, monkeypatch, where):
    instance, before = boot(alice, cloud), files()
    snapshot(alice, instance)

    def delete() -> None:
        request(OPERATIONS["delete"], Instance.objects.get(pk=instance.pk), alice.actor)

    if where == "before":
        delete()
    else:
        delete_while(monkeypatch, where, delete)
    instance = finish(instance)
    assert instance.vm_state == "deleted"
    assert Action.objects.get(operation="create_image").state == "cancelled"
    assert_no_image(instance, before)
    assert_gone(shared_host, instance)


def test_a_user_who_gives_the_image_other_data_is_told(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    image = image_of(snapshot(alice, instance))
    Image.objects.filter(pk=image.pk).update(status="active")
    assert finish(instance).vm_state == "active"
    assert "was given other data" in Action.objects.get(operation="create_image").message
    assert Image.objects.filter(pk=image.pk).exists()


def test_an_image_that_the_sweep_took_for_abandoned_is_saved_all_the_same(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    action = snapshot(alice, instance)
    hypervisor_of(shared_host).inject(Fault("download", do="fail", error="Unreachable"))
    perform(action.pk, "transfer")
    assert image_of(action).status == "saving"
    verbs.queue_again(image_of(action), "broken off")
    finish(instance)
    assert image_of(action).status == "active"


def test_a_copy_that_is_no_flat_qcow2_is_not_stored(cloud, shared_host, alice, monkeypatch):
    instance, before = boot(alice, cloud), files()
    snapshot(alice, instance)
    monkeypatch.setattr("compute.hypervisor.qcow2.flat", lambda content, size: b"no qcow2" * 1000)
    instance = finish(instance)
    action = Action.objects.get(operation="create_image")
    assert action.state == "error" and "does not match disk_format qcow2" in action.message
    assert_no_image(instance, before)
    assert_sound(shared_host, instance)


def test_at_every_call_it_fails_or_its_worker_is_killed(cloud, shared_host, alice):
    instance, before = boot(alice, cloud), files()
    calls = calls_made(shared_host, lambda: do(instance, lambda one: snapshot(alice, one)))
    assert calls >= 4
    verbs.delete_image(actor=alice.actor, image=Image.objects.get(name="web-snapshot"))
    for fault in each_fault(calls):
        instance = strike(shared_host, instance, lambda one: snapshot(alice, one), fault)
        action = Action.objects.filter(operation="create_image").order_by("id").last()
        assert instance.vm_state == "active", fault
        assert_sound(shared_host, instance, fault)
        if action.state == "done":
            image = image_of(action)
            assert image.status == "active", fault
            assert files() == before | {str(image.pk)}, fault
            verbs.delete_image(actor=alice.actor, image=image)
        else:
            assert fault[0] == "fail", (fault, action.message)
        assert_no_image(instance, before, fault)


# backups ------------------------------------------------------------------------------------------
def test_backups_rotate(cloud, shared_host, alice):
    instance, another = boot(alice, cloud), boot(alice, cloud)
    kept = [backup(alice, another, 1), backup(alice, instance, 1, "weekly")]
    finish(another)
    finish(instance)
    names = ["one", "two", "three", "four"]
    for name in names:
        image = backup(alice, instance, 2, name=name)
        assert Instance.objects.get(pk=instance.pk).task_state == "image_backup"
        instance = finish(instance)
    assert image.properties["image_type"] == "backup"
    daily = Image.objects.filter(properties__backup_type="daily", properties__instance_uuid=str(instance.pk))
    assert sorted(daily.values_list("name", "status")) == [("four", "active"), ("three", "active")]
    assert all(Image.objects.filter(pk=one.pk, status="active").exists() for one in kept)
    assert len(files() & {str(one) for one in Image.objects.values_list("pk", flat=True)}) == 5
    backup(alice, instance, 0, name="five")
    assert_sound_alone(shared_host, finish(instance))
    assert not daily.exists()


def assert_sound_alone(host: Any, instance: Instance) -> None:
    assert (instance.vm_state, instance.task_state) == ("active", None)
    assert list(hypervisor_of(host).volumes(prefix=saving.copy_volume(instance))) == []


def test_a_backup_that_fails_deletes_none_of_the_others(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    first = backup(alice, instance, 1)
    instance = finish(instance)
    hypervisor_of(shared_host).inject(Fault("copy_disk"))
    backup(alice, instance, 1, name="two")
    finish(instance)
    assert list(Image.objects.filter(properties__image_type="backup")) == [first]


def test_a_protected_backup_stays(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    first = backup(alice, instance, 1)
    finish(instance)
    verbs.update_image(actor=alice.actor, image=first, changes={"protected": True})
    backup(alice, instance, 1, name="two")
    finish(instance)
    assert Action.objects.filter(operation="create_backup").first().state == "done"
    assert Image.objects.filter(properties__image_type="backup").count() == 2


def test_images_of_others_are_no_backups_of_ours(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    marks = {"image_type": "backup", "backup_type": "daily", "instance_uuid": str(instance.pk)}
    foreign = Image.objects.create(name="tiny", project=cloud.other, status="active", properties=marks)
    backup(alice, instance, 0)
    finish(instance)
    assert Image.objects.filter(pk=foreign.pk).exists()


def test_a_backup_at_every_call(cloud, shared_host, alice):
    instance = boot(alice, cloud)
    calls = calls_made(shared_host, lambda: do(instance, lambda one: backup(alice, one, 1)))
    for fault in each_fault(calls):
        instance = strike(shared_host, instance, lambda one: backup(alice, one, 1), fault)
        assert_sound(shared_host, instance, fault)
        assert Image.objects.filter(properties__image_type="backup", status="active").count() == 1, fault
        assert not Image.objects.exclude(status="active").exists(), fault
